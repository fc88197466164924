"""Numbered PNG files, and segments whose frames are kept as PNG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dnirender.encoding.segment_file import EncodedPacket, SegmentReader, check_numbers
from dnirender.files import disk_errors
from dnirender.frames import Image
from dnirender.media.images import encode_png


class PngSegmentEncoder:
    """Pictures as PNG: whole, each for itself, 16 bits where they have them."""

    header = b""

    def record(self, index: int, picture: Any) -> Iterator[EncodedPacket]:
        yield EncodedPacket(index, True, encode_png(picture))

    def flush(self) -> Iterator[EncodedPacket]:
        return iter(())


class ImageSequenceSink:
    """Numbered PNG files after a pattern such as `frame_%04d.png`, numbered from 0; 16 bits where the picture has.

    `order` lists the number of each file's picture, where pictures come back. All get their names at the end: what an
    older sequence left under them stays until the new one is complete.
    """

    def __init__(self, pattern: Path, order: Sequence[int]) -> None:
        self._pattern, self._order = pattern, order

    def convert(self, image: Image) -> Image:
        """The picture."""
        return image

    def new_encoder(self) -> PngSegmentEncoder:
        """One that makes PNG."""
        return PngSegmentEncoder()

    def finalize(self, parts: SegmentReader, folder: Path) -> list[tuple[Path, Path]]:
        """One file for each picture."""
        check_numbers(parts, max(self._order) + 1, self._pattern)
        files: list[tuple[Path, Path]] = []
        for number, picture in enumerate(self._order):
            target = numbered_path(self._pattern, number)
            files.append((folder / f"{number}.png", target))
            with disk_errors(target):
                files[-1][0].write_bytes(parts[picture].data)
        return files


def numbered_path(pattern: Path, number: int) -> Path:
    """The path of picture `number`."""
    return pattern.with_name(pattern.name % number)
