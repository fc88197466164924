"""Numbered PNG files, and segments whose packets are PNG images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dnirender.encoding.image_record import append_record
from dnirender.encoding.provenance import Provenance
from dnirender.encoding.segment_file import EncodedPacket, SegmentReader, check_frame_indices
from dnirender.files import disk_errors
from dnirender.frames import Image
from dnirender.media.images import encode_png


class PngSegmentEncoder:
    """Encodes each image [h, w, 3 or 4], uint8 or uint16, losslessly as one PNG packet of the same bit depth."""

    header = b""

    def encode(self, index: int, frame: Any) -> Iterator[EncodedPacket]:
        yield EncodedPacket(index, True, encode_png(frame))

    def flush(self) -> Iterator[EncodedPacket]:
        return iter(())


class ImageSequenceSink:
    """PNG files named by a pattern such as `frame_%04d.png`, numbered from 0, with the bit depth of the images.

    `order` gives, for each file, the number of the rendered frame in it; a boomerang lists frames twice. The files are
    renamed into place at the end: an older sequence of the same name stays until the new one is complete.
    """

    def __init__(self, pattern: Path, order: Sequence[int], provenance: Provenance | None = None) -> None:
        self._pattern, self._order, self._provenance = pattern, order, provenance

    def convert(self, image: Image) -> Image:
        """Returns the image unchanged."""
        return image

    def new_encoder(self) -> PngSegmentEncoder:
        """A new PNG encoder."""
        return PngSegmentEncoder()

    def finalize(self, segments: SegmentReader, folder: Path) -> list[tuple[Path, Path]]:
        """Writes one PNG per entry of `order` into `folder`.

        Raises:
            OutputError: a frame is missing or duplicated, a segment is corrupt, or the disk fails.
        """
        check_frame_indices(segments, max(self._order) + 1, self._pattern)
        files: list[tuple[Path, Path]] = []
        for number, image_number in enumerate(self._order):
            target = numbered_path(self._pattern, number)
            files.append((folder / f"{number}.png", target))
            with disk_errors(target):
                files[-1][0].write_bytes(segments[image_number].data)
                if self._provenance and not number:
                    append_record(files[-1][0], self._provenance)
        return files


def numbered_path(pattern: Path, number: int) -> Path:
    """The path of file `number` of an image sequence, for a pattern such as `frame_%04d.png`."""
    return pattern.with_name(pattern.name % number)
