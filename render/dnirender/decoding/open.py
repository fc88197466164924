"""Opens a video, an animation or a still image as a source of frames."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from dnirender.decoding.image_header import check_image
from dnirender.decoding.source import Source
from dnirender.decoding.still import StillImage
from dnirender.decoding.video import VideoDecoder
from dnirender.decoding.webp import AnimatedWebP
from dnirender.errors import MediaError
from dnirender.media.image_files import is_animated_webp, is_still


def open_source(
    path: Path,
    *,
    stream: int | None = None,
    deinterlace: str = "auto",
    hdr: str = "auto",
    sdr_depth: int = 8,
    still_frames: int = 1,
    still_rate: Fraction = Fraction(24),
    ignore_errors: bool = False,
) -> Source:
    """Opens a video or an animation, or a still image that is repeated for `still_frames` frames at `still_rate` frames
    per second.

    The other options are those of `VideoDecoder.open`. Raises MediaError if the file is neither, or if it is truncated;
    with `ignore_errors` a truncated file is opened and `metadata.warnings` says what is missing.
    """
    try:
        if not path.exists():
            raise MediaError(f"{path}: no such file")
        if path.is_dir():
            raise MediaError(f"{path}: is a folder, expected a video or an image; name its files, as {path / '*'}")
        if not path.is_file():
            raise MediaError(f"{path}: is a device or a pipe, expected a file; record it into one first")
        if path.stat().st_size == 0:
            raise MediaError(f"{path}: is empty")
        if path.suffix.lower() in (".heic", ".heif"):
            raise MediaError(f"{path}: is a HEIC image, which would be read in part; save it as JPEG or PNG first")
        if is_animated_webp(path):
            return AnimatedWebP.open(path, ignore_errors=ignore_errors)
        if not is_still(path):
            return VideoDecoder.open(
                path, stream, deinterlace=deinterlace, hdr=hdr, sdr_depth=sdr_depth, ignore_errors=ignore_errors
            )
        truncation = check_image(path)
    except OSError as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    if truncation and not ignore_errors:
        raise MediaError(f"{path}: is cut off: {truncation}")
    still = StillImage(path, still_frames, still_rate)
    if truncation:
        warning = f"{path.name}: is truncated; the missing part of the image is gray"
        still.metadata = replace(still.metadata, warnings=(*still.metadata.warnings, warning))
    return still
