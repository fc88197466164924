"""Opens any supported input as a source of frames."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from dnirender.decoding.image_header import check_image
from dnirender.decoding.source import Source
from dnirender.decoding.still import StillImage
from dnirender.decoding.video import VideoDecoder
from dnirender.errors import MediaError
from dnirender.media.images import is_still


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
    """A video, or a still picture held for `still_frames` frames.

    Raises MediaError if it is neither, or not whole; with `ignore_errors` what is there is given, and warnings say so.
    """
    try:
        if not path.exists():
            raise MediaError(f"{path}: no such file")
        if path.is_dir():
            raise MediaError(f"{path}: is a folder, expected a video or a picture")
        if not path.is_file():
            raise MediaError(f"{path}: is a device or a pipe, expected a file; record it into one first")
        if path.stat().st_size == 0:
            raise MediaError(f"{path}: is empty")
        if not is_still(path):
            return VideoDecoder.open(
                path, stream, deinterlace=deinterlace, hdr=hdr, sdr_depth=sdr_depth, ignore_errors=ignore_errors
            )
        torn = check_image(path)
    except OSError as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    if torn and not ignore_errors:
        raise MediaError(f"{path}: is cut off: {torn}")
    still = StillImage(path, still_frames, still_rate)
    if torn:
        told = f"{path.name}: is cut off: a part of the picture is there; what is missing is gray"
        still.metadata = replace(still.metadata, warnings=(*still.metadata.warnings, told))
    return still
