"""Segment files: encoded packets of finished frames, with frame numbers, written atomically.

A segment is not a media container: it stores the packets of one encoder in the order they were produced, with a
checksum each. It is written under a temporary name and renamed when it is complete and flushed to disk.

    MAGIC | header | packet | ... | END, number of packets

The header and each packet begin with the CRC-32 of the rest of it.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from dnirender.errors import OutputError
from dnirender.files import disk_errors, publish

MAGIC, END = b"dnirender part 1\n", b"the end\n"
CRC = struct.Struct("<I")
PACKET_HEADER = struct.Struct("<IBII")  # index, key frame, length of the data, length of the side data
TRAILER = struct.Struct("<8sQ")


class CorruptSegmentError(OutputError):
    """A finished segment is truncated or its checksum does not match. `path` is the segment file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: this finished segment is corrupt; run again to render its frames again")
        self.path = path


@dataclass(frozen=True)
class EncodedPacket:
    """An encoded packet of frame `index`, counted from 0 at the first frame of the render.

    `data` is the output of the encoder, or a PNG file. `side_data` holds the alpha channel of VP8 and VP9.
    """

    index: int
    is_keyframe: bool
    data: bytes
    side_data: bytes = b""


class SegmentWriter:
    """Context manager that writes one segment file atomically.

    `path` appears when the block exits without an exception; otherwise no file is left. `header` is the extradata of
    the encoder, which the container needs.

    Raises:
        OutputError: the disk fails.
    """

    def __init__(self, path: Path, header: bytes = b"") -> None:
        self._path, self._temporary = path, path.with_suffix(".growing")
        self._header, self._count = header, 0

    def __enter__(self) -> Self:
        with disk_errors(self._path):
            self._file = self._temporary.open("wb")
            self._file.write(MAGIC)
            self._write(EncodedPacket(0, False, self._header))
        return self

    def extend(self, packets: Iterable[EncodedPacket]) -> None:
        """Appends packets in the order of the iterable.

        Raises:
            OutputError: the encoder (run by the iterable) or the disk fails.
        """
        with disk_errors(self._path):
            for packet in packets:
                self._write(packet)
                self._count += 1

    def _write(self, packet: EncodedPacket) -> None:
        header_bytes = PACKET_HEADER.pack(packet.index, packet.is_keyframe, len(packet.data), len(packet.side_data))
        self._file.write(CRC.pack(_crc32(header_bytes, packet.data, packet.side_data)) + header_bytes)
        self._file.write(packet.data)
        self._file.write(packet.side_data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with disk_errors(self._path), self._file:
                    self._file.write(TRAILER.pack(END, self._count))
                publish(self._temporary, self._path)
        finally:
            # flushing the buffer may fail on a full disk; the file is deleted anyway
            with contextlib.suppress(OSError):
                self._file.close()
            self._temporary.unlink(missing_ok=True)


class SegmentReader:
    """The packets of consecutive segment files, as one read-only sequence of `EncodedPacket`.

    `indices` holds the frame number of each packet, `header` the extradata shared by all segments. Packets are read
    from disk on access; only their headers are in memory. A context manager; not thread-safe.

    Raises:
        CorruptSegmentError: a segment is truncated or a checksum does not match, on opening or on access.
        OutputError: a segment cannot be read, or has a different encoder header.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self.header = b""
        self.indices = array("I")
        self._offsets, self._crcs = array("Q"), array("I")
        self._lengths, self._side_lengths = array("I"), array("I")
        self._keyframes, self._segment_starts = array("B"), array("I")
        self._open: tuple[int, BinaryIO] | None = None
        for segment_number, path in enumerate(self._paths):
            self._segment_starts.append(len(self.indices))
            with disk_errors(path), path.open("rb") as file:
                header = self._read_packet_headers(path, file)
            if segment_number and header != self.header:
                raise OutputError(
                    f"{path}: was encoded with different settings than the segments before it; use restart=True"
                )
            self.header = header

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> EncodedPacket:
        segment_number = bisect_right(self._segment_starts, position) - 1
        path = self._paths[segment_number]
        with disk_errors(path):
            if self._open is None or self._open[0] != segment_number:
                self.close()
                self._open = segment_number, path.open("rb")
            file = self._open[1]
            file.seek(self._offsets[position])
            data, side_data = file.read(self._lengths[position]), file.read(self._side_lengths[position])
        header_bytes = PACKET_HEADER.pack(
            self.indices[position], self._keyframes[position], self._lengths[position], self._side_lengths[position]
        )
        if _crc32(header_bytes, data, side_data) != self._crcs[position]:
            raise CorruptSegmentError(path)
        return EncodedPacket(self.indices[position], bool(self._keyframes[position]), data, side_data)

    def __iter__(self) -> Iterator[EncodedPacket]:
        return (self[position] for position in range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the segment file that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _read_packet_headers(self, path: Path, file: BinaryIO) -> bytes:
        size, count_before = path.stat().st_size, len(self)
        if file.read(len(MAGIC)) != MAGIC:
            raise CorruptSegmentError(path)
        crc, header_bytes = _read_packet_header(path, file)
        header = file.read(min(PACKET_HEADER.unpack(header_bytes)[2], size))
        if _crc32(header_bytes, header) != crc:
            raise CorruptSegmentError(path)
        while file.tell() + TRAILER.size < size:
            crc, header_bytes = _read_packet_header(path, file)
            index, is_keyframe, length, side_length = PACKET_HEADER.unpack(header_bytes)
            self.indices.append(index)
            self._keyframes.append(is_keyframe)
            self._offsets.append(file.tell())
            self._lengths.append(length)
            self._side_lengths.append(side_length)
            self._crcs.append(crc)
            file.seek(length + side_length, 1)
        if file.read(TRAILER.size) != TRAILER.pack(END, len(self) - count_before):
            raise CorruptSegmentError(path)
        return header


def _crc32(*chunks: bytes) -> int:
    crc = 0
    for chunk in chunks:
        crc = zlib.crc32(chunk, crc)
    return crc


def _read_packet_header(path: Path, file: BinaryIO) -> tuple[int, bytes]:
    """Reads the checksum and the header of the next packet."""
    data = file.read(CRC.size + PACKET_HEADER.size)
    if len(data) < CRC.size + PACKET_HEADER.size:
        raise CorruptSegmentError(path)
    return CRC.unpack_from(data)[0], data[CRC.size :]


def is_complete(path: Path) -> bool:
    """Whether a segment file exists and is not truncated; the checksums of packet data are not verified."""
    try:
        SegmentReader([path])
    except OutputError:
        return False
    return True


def check_frame_indices(segments: SegmentReader, expected: int, target: Path) -> None:
    """Checks that the segments hold each frame from 0 to `expected` - 1 exactly once.

    Raises:
        OutputError: a frame is missing or duplicated.
    """
    if sorted(segments.indices) != list(range(expected)):
        raise OutputError(f"{target}: expected {expected} frames, got {len(segments)}; nothing was published")
