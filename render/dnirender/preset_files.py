"""The files that a preset names, which lie beside it or below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dnirender.errors import PresetError
from dnirender.mask_settings import FOUND, MaskSettings, WipeSettings, split_mask
from dnirender.options import MAX_SHOWN

WEIGHTS_ADVICE = "put the weights there, or render them as endpoints of your own"
STYLE_ADVICE = "put the picture there, or name it by the option style"
MASK_ADVICE = "put the mask there, or name it by an option"


def check_below(file: Path, where: str, advice: str) -> None:
    """A preset from elsewhere must not point at other people's files, or at a server that learns who reads it."""
    if file.is_absolute() or file.anchor or ".." in file.parts:
        raise PresetError(
            f"{where}: expected a file in the preset's folder or below, got {str(file)[:MAX_SHOWN]!r}; {advice}"
        )


def masks_beside(mask: MaskSettings, preset: Path) -> dict[str, Any]:
    """The fields of a section with files, which lie beside the preset or below, as absolute paths."""
    files = list[str]()
    for number, (name, file) in enumerate(map(split_mask, mask.files)):
        if file not in FOUND:
            check_below(Path(file), f"{preset}: mask.files[{number}]", MASK_ADVICE)
            file = str((preset.parent / file).resolve())
        files.append(f"{name}={file}" if name else file)
    if mask.depth is None:
        return {"files": tuple(files)}
    check_below(Path(mask.depth), f"{preset}: mask.depth", MASK_ADVICE)
    return {"files": tuple(files), "depth": str((preset.parent / mask.depth).resolve())}


def wipe_beside(wipe: WipeSettings, preset: Path) -> dict[str, Any]:
    """The fields of a section with its picture, which lies beside the preset or below, as an absolute path."""
    parsed = wipe.parsed
    if parsed is None or wipe.front is None or not parsed.file:
        return {}
    check_below(Path(parsed.file), f"{preset}: wipe.front", MASK_ADVICE)
    return {"front": wipe.front.replace(parsed.file, str((preset.parent / parsed.file).resolve()), 1)}


def preset_folder() -> Path:
    """Where the shipped presets lie: inside the installed package, or beside the sources."""
    here = Path(__file__).resolve().parent
    packaged = here / "presets"
    return packaged if packaged.is_dir() else here.parents[1] / "presets"
