"""Finished stretches of a render on disk: packets with the numbers of their frames, whole or not there at all.

No container is asked to keep them: a part holds what the encoder gave, in the order it gave it, and a checksum of each
packet. It grows under another name and gets its own when it is complete and durable.

    MAGIC | header | packet | ... | END, number of packets

Header and packets begin with a CRC-32 of all that follows in them.
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
CHECK = struct.Struct("<I")
HEAD = struct.Struct("<IBII")  # index, key frame, length of the data, length of what is beside it
COUNT = struct.Struct("<8sQ")


class CorruptSegmentError(OutputError):
    """A finished part is not as it was written: the disk's doing."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: this finished part is damaged; run again, and its frames are rendered anew")
        self.path = path


@dataclass(frozen=True)
class EncodedPacket:
    """What an encoder made of frame `index`, counted from the first of the render; PNG where pictures are kept.

    `side` is what travels beside the data: the opacity of VP9.
    """

    index: int
    key: bool
    data: bytes
    side: bytes = b""


class SegmentWriter:
    """Writes one part. It gets its name `path` on a clean exit, and leaves nothing on any other.

    `header` is what a container needs to know of the encoder (its extradata).
    """

    def __init__(self, path: Path, header: bytes = b"") -> None:
        self._path, self._growing = path, path.with_suffix(".growing")
        self._header, self._count = header, 0

    def __enter__(self) -> Self:
        with disk_errors(self._path):
            self._file = self._growing.open("wb")
            self._file.write(MAGIC)
            self._write(EncodedPacket(0, False, self._header))
        return self

    def extend(self, packets: Iterable[EncodedPacket]) -> None:
        """Appends packets as they come from their encoder; OutputError where it or the disk fails."""
        with disk_errors(self._path):
            for packet in packets:
                self._write(packet)
                self._count += 1

    def _write(self, packet: EncodedPacket) -> None:
        head = HEAD.pack(packet.index, packet.key, len(packet.data), len(packet.side))
        self._file.write(CHECK.pack(_check(head, packet.data, packet.side)) + head)
        self._file.write(packet.data)
        self._file.write(packet.side)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with disk_errors(self._path), self._file:
                    self._file.write(COUNT.pack(END, self._count))
                publish(self._growing, self._path)
        finally:
            with contextlib.suppress(OSError):  # what was buffered may find no room; it is thrown away in any case
                self._file.close()
            self._growing.unlink(missing_ok=True)


class SegmentReader:
    """The packets of several parts in order: `len`, `indices`, and any one by its place.

    Only their heads are held in memory. OutputError: a part is not as it was written.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self.header = b""
        self.indices = array("I")
        self._places, self._checks = array("Q"), array("I")
        self._lengths, self._sides = array("I"), array("I")
        self._keys, self._firsts = array("B"), array("I")
        self._open: tuple[int, BinaryIO] | None = None
        for number, path in enumerate(self._paths):
            self._firsts.append(len(self.indices))
            with disk_errors(path), path.open("rb") as file:
                header = self._read_heads(path, file)
            if number and header != self.header:
                raise OutputError(f"{path}: was encoded with other settings than the parts before it; use --restart")
            self.header = header

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> EncodedPacket:
        number = bisect_right(self._firsts, place) - 1
        path = self._paths[number]
        with disk_errors(path):
            if self._open is None or self._open[0] != number:
                self.close()
                self._open = number, path.open("rb")
            file = self._open[1]
            file.seek(self._places[place])
            data, side = file.read(self._lengths[place]), file.read(self._sides[place])
        head = HEAD.pack(self.indices[place], self._keys[place], self._lengths[place], self._sides[place])
        if _check(head, data, side) != self._checks[place]:
            raise CorruptSegmentError(path)
        return EncodedPacket(self.indices[place], bool(self._keys[place]), data, side)

    def __iter__(self) -> Iterator[EncodedPacket]:
        return (self[place] for place in range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file that was read last."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _read_heads(self, path: Path, file: BinaryIO) -> bytes:
        size, before = path.stat().st_size, len(self)
        if file.read(len(MAGIC)) != MAGIC:
            raise CorruptSegmentError(path)
        check, head = _head(path, file)
        header = file.read(min(HEAD.unpack(head)[2], size))
        if _check(head, header) != check:
            raise CorruptSegmentError(path)
        while file.tell() + COUNT.size < size:
            check, head = _head(path, file)
            index, key, length, side = HEAD.unpack(head)
            self.indices.append(index)
            self._keys.append(key)
            self._places.append(file.tell())
            self._lengths.append(length)
            self._sides.append(side)
            self._checks.append(check)
            file.seek(length + side, 1)
        if file.read(COUNT.size) != COUNT.pack(END, len(self) - before):
            raise CorruptSegmentError(path)
        return header


def _check(*pieces: bytes) -> int:
    check = 0
    for piece in pieces:
        check = zlib.crc32(piece, check)
    return check


def _head(path: Path, file: BinaryIO) -> tuple[int, bytes]:
    """The checksum and the head of what comes next."""
    data = file.read(CHECK.size + HEAD.size)
    if len(data) < CHECK.size + HEAD.size:
        raise CorruptSegmentError(path)
    return CHECK.unpack_from(data)[0], data[CHECK.size :]


def is_complete(path: Path) -> bool:
    """Whether a part is there as it was written, but for what only the checksums of its packets tell."""
    try:
        SegmentReader([path])
    except OutputError:
        return False
    return True


def check_numbers(parts: SegmentReader, due: int, target: Path) -> None:
    """OutputError unless the parts hold each of the frames that are due, once."""
    if sorted(parts.indices) != list(range(due)):
        raise OutputError(f"{target}: {due} frames were due, {len(parts)} came; nothing was published")
