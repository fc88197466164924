"""Pictures, one or numbered files, and segments whose packets are images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnirender.encoding.image_record import append_record
from dnirender.encoding.provenance import Provenance
from dnirender.encoding.segment_file import EncodedPacket, SegmentReader, check_frame_indices
from dnirender.errors import UsageError
from dnirender.files import disk_errors
from dnirender.frames import Image, to_uint8
from dnirender.media.color_profile import with_profile
from dnirender.media.images import encode_image

FORMATS = {".png": ".png", ".jpg": ".jpg", ".jpeg": ".jpg", ".webp": ".webp"}
NUMBERED = (".png", ".jpg", ".jpeg")
"""The extensions of patterns; that of WebP is an animation."""
MAX_SIDE = {".jpg": 65500, ".webp": 16383}


class ImageSegmentEncoder:
    """Encodes each image [h, w, 3 or 4] as one packet: losslessly as `.png`, of uint8 or uint16 and of the same depth;
    or as `.jpg` or `.webp`, of uint8."""

    header = b""

    def __init__(self, suffix: str = ".png") -> None:
        self._suffix = suffix

    def encode(self, index: int, frame: Any) -> Iterator[EncodedPacket]:
        yield EncodedPacket(index, True, encode_image(frame, self._suffix))

    def flush(self) -> Iterator[EncodedPacket]:
        return iter(())


class ImageSequenceSink:
    """One picture, or pictures named by a pattern such as `frame_%04d.png`, numbered from 0.

    PNG has the bit depth of the images; JPEG and WebP have 8 bits, and JPEG has no alpha channel.

    `order` gives, for each file, the number of the rendered frame in it; a boomerang lists frames twice.
    `profile` is the ICC profile of all files, b"" for none. The files are renamed into place at the end: an older
    sequence of the same name stays until the new one is complete.
    """

    def __init__(
        self, target: Path, order: Sequence[int], provenance: Provenance | None = None, profile: bytes = b""
    ) -> None:
        self._target, self._order, self._provenance, self._profile = target, order, provenance, profile
        self._suffix = FORMATS[target.suffix.lower()]

    def check(self, width: int, height: int) -> None:
        """Raises UsageError if the format cannot hold an image of this size."""
        limit = MAX_SIDE.get(self._suffix, max(width, height))
        if max(width, height) > limit:
            raise UsageError(
                f"{self._target.name}: a side of {self._suffix.lstrip('.')} has at most {limit} pixels, got "
                f"{width}x{height}; choose png, or a smaller width"
            )

    def convert(self, image: Image) -> Image:
        """Converts the image to the depth and the channels of the format."""
        if self._suffix == ".png":
            return image
        return to_uint8(image if keeps_opacity(self._target) else np.ascontiguousarray(image[..., :3]))

    def new_encoder(self) -> ImageSegmentEncoder:
        """A new encoder of the format."""
        return ImageSegmentEncoder(self._suffix)

    def finalize(self, segments: SegmentReader, folder: Path) -> list[tuple[Path, Path]]:
        """Writes one file per entry of `order` into `folder`.

        Raises:
            OutputError: a frame is missing or duplicated, a segment is corrupt, or the disk fails.
        """
        check_frame_indices(segments, max(self._order) + 1, self._target)
        files: list[tuple[Path, Path]] = []
        for number, image_number in enumerate(self._order):
            target = numbered_path(self._target, number)
            files.append((folder / f"{number}{self._suffix}", target))
            with disk_errors(target):
                files[-1][0].write_bytes(with_profile(segments[image_number].data, self._profile))
                if self._provenance and not number:
                    append_record(files[-1][0], self._provenance)
        return files


def is_pattern(target: Path) -> bool:
    """Whether a name is a pattern of numbered pictures, such as `frame_%04d.png`; `100% wool.png` is none."""
    return target.suffix.lower() in NUMBERED and re.search(r"%\d*[ds]", target.name) is not None


def numbered_path(target: Path, number: int) -> Path:
    """The path of file `number` of an image sequence, for a pattern such as `frame_%04d.png`; a name that is no pattern
    is that of the only file."""
    return target.with_name(target.name % number) if is_pattern(target) else target


def keeps_opacity(target: Path) -> bool:
    """Whether pictures of this extension have an alpha channel."""
    return FORMATS.get(target.suffix.lower()) != ".jpg"
