"""What is asked to be rendered."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dnirender.decoding import deinterlace, tonemap
from dnirender.encoding.animation import FORMATS
from dnirender.errors import UsageError
from dnirender.preset import Preset
from dnirender.timeline.timeline import Timeline


@dataclass(frozen=True)
class Job:
    """What is to be rendered. `start` and `end` are positions in the source, `end` exclusive; `tile` is the side of
    tiles or their (height, width); `segment` is how many frames one segment has, None for about SECONDS of work.
    `restart` forgets what earlier runs have finished; `keep_partial` publishes what is done when the render stops;
    `strict` refuses to leave out anything of the source that was not asked to be left out."""

    input: Path
    output: Path
    preset: Preset
    start: str | None = None
    end: str | None = None
    video_stream: int | None = None
    deinterlace: str = "auto"
    hdr: str = "auto"
    fps: Fraction | None = None
    boomerang: bool = False
    device: str = "auto"
    dtype: str = "auto"
    backend: str = "auto"
    batch: int | None = None
    threads: int | None = None
    tile: int | tuple[int, int] | None = None
    segment: int | None = None
    restart: bool = False
    keep_partial: bool = False
    strict: bool = False
    overwrite: bool = False
    ignore_errors: bool = False

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise UsageError(f"--fps {float(self.fps):g}: expected more than 0 and at most 1000")
        for option, given, known in (
            ("--deinterlace", self.deinterlace, deinterlace.MODES),
            ("--hdr", self.hdr, tonemap.MODES),
        ):
            if given not in known:
                raise UsageError(f"{option} {given}: expected {', '.join(known)}")

    @property
    def timeline(self) -> Timeline:
        """The preset's timeline."""
        return self.preset.timeline.parsed()

    @property
    def numbered(self) -> bool:
        """Whether the output is a pattern of numbered pictures."""
        return self.output.suffix.lower() == ".png" and "%" in self.output.name

    @property
    def animated(self) -> bool:
        """Whether the output is a GIF, WebP or APNG."""
        return self.output.suffix.lower() in FORMATS
