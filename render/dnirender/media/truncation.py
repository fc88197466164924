"""Detects truncated files from the sizes and end markers in their structure: a few seeks, no decoding.

MP4/MOV (boxes), Matroska/WebM (elements), AVI (RIFF), GIF (trailer), PNG (IEND), FLV (size of the last tag), Ogg (end
of stream), IVF, MPEG-PS (packs), MXF (KLV), ASF (file size), MPEG-TS (complete packets of 188, 192 or 204 bytes).

Undetectable here: truncation exactly between two packets of MPEG-TS, MPEG-PS, FLV, NUT, MXF, IVF without a frame count,
Matroska/WebM of unknown length (live), or between two fragments of MP4; and any truncation of an elementary stream
(.h264, .hevc, .m4v, .obu). An incomplete last packet is still detected when it is read or decoded, and `scan` compares
the duration in the header with the packets.

Declared sizes are not trusted: they are compared with the file size, never allocated. Parsing stops after MAX_STEPS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from dnirender.media.image_files import PNG

MAX_STEPS = 2_000_000  # about three seconds; files with more elements count as complete
Parser = Callable[[BinaryIO, int], bool]

BOXES = {
    *(b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"wide", b"udta", b"meta", b"uuid"),
    *(b"sidx", b"ssix", b"prft", b"emsg", b"pnot", b"pdin"),
}
NESTED = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
MXF_KEY = bytes.fromhex("060e2b34")


def is_truncated(path: Path) -> bool:
    """Whether the file is shorter than its structure declares; False for formats that do not tell. Raises OSError."""
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        head = file.read(16)
        parser = _find_parser(file, head)
        return parser is not None and parser(file, length)


def _find_parser(file: BinaryIO, head: bytes) -> Parser | None:
    signatures: list[tuple[bytes, Parser]] = [
        (b"\x1aE\xdf\xa3", _matroska),
        (b"RIFF", _riff),
        (b"GIF8", _gif),
        (PNG, _png),
        (b"FLV", _flv),
        (b"OggS", _ogg),
        (b"DKIF", _ivf),
        (b"\0\0\x01\xba", _program_stream),
        (MXF_KEY, _mxf),
        (ASF_HEADER, _asf),
    ]
    if head[4:8] in BOXES:
        return _boxes
    match = next((parser for signature, parser in signatures if head.startswith(signature)), None)
    size = _packet_size(file)
    return match or ((lambda _, length: length % size != 0) if size else None)


def declared_sample_count(path: Path) -> int:
    """The number of samples that an MP4 declares without listing each, at least a byte long; 0 for other formats.

    FFmpeg allocates an entry for each sample: a file of 20 kB could allocate gigabytes.
    """
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        return sum(_declared_counts(file, 0, length)) if read_at(file, 4, 4) in BOXES else 0


def _declared_counts(file: BinaryIO, start: int, stop: int, depth: int = 0) -> Iterator[int]:
    for kind, _, content, end in boxes(file, start, stop):
        if kind in NESTED and depth < len(NESTED):
            yield from _declared_counts(file, content, min(end, stop), depth + 1)
        elif kind == b"stsz":
            head = read_at(file, content, 12)
            yield int.from_bytes(head[8:12], "big") if any(head[4:8]) else 0
        elif kind == b"trun":
            yield int.from_bytes(read_at(file, content + 4, 4), "big")


def read_at(file: BinaryIO, position: int, count: int) -> bytes:
    """Up to `count` bytes from `position`."""
    file.seek(position)
    return file.read(count)


def boxes(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int, int]]:
    """(type, start, start of the content, declared end) of every MP4 box between two positions.

    The last box may declare an end beyond `stop`. A remainder too short for a box has the type b"", unless it is zeros.
    """
    for _ in range(MAX_STEPS):
        head = read_at(file, start, min(16, stop - start)) if start < stop else b""
        if not head.strip(b"\0"):
            return
        if len(head) < 8:
            yield b"", start, start, stop + 1
            return
        size, kind, content = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if size == 1:
            size, content = int.from_bytes(head[8:16], "big"), start + 16
        end = start + size if size else stop
        if end < content:
            return
        yield kind, start, content, end
        start = end


def _boxes(file: BinaryIO, length: int) -> bool:
    last = b""
    for kind, _, content, end in boxes(file, 0, length):
        if max(content, end) > length:
            return not kind or kind in BOXES
        last = kind
    return last == b"moof"


def _matroska(file: BinaryIO, length: int) -> bool:
    at = 0
    for _ in range(MAX_STEPS):
        head = read_at(file, at, 12)
        if not head or not head[0]:
            return False  # the end, or padding
        kind_size = 9 - head[0].bit_length()
        value_size = 9 - head[kind_size].bit_length() if len(head) > kind_size else 9
        if kind_size + value_size > len(head):
            return True
        if kind_size > 4 or value_size > 8:
            return False  # not an element: unknown
        unknown = (1 << 7 * value_size) - 1
        size = int.from_bytes(head[kind_size : kind_size + value_size], "big") & unknown
        at += kind_size + value_size
        if size == unknown:  # live: the children follow
            if int.from_bytes(head[:kind_size], "big") not in (SEGMENT, CLUSTER):
                return False
            continue
        at += size
        if at > length:
            return True
    return False


def _riff(file: BinaryIO, length: int) -> bool:
    at = 0
    while (head := read_at(file, at, 8))[:4] == b"RIFF":
        size = int.from_bytes(head[4:8], "little")
        if len(head) == 8 and size in (0, 0xFFFFFFFF):
            return False  # live recording
        at += 8 + size
        if len(head) < 8 or at > length:
            return True
        at += size % 2
    return False


def _gif(file: BinaryIO, length: int) -> bool:
    head = read_at(file, 0, 13)
    if len(head) < 13:
        return True
    at = 13 + _color_table_size(head[10])
    for _ in range(MAX_STEPS):
        introducer = read_at(file, at, 1)
        if introducer == b"!":
            at = _sub_blocks(file, at + 2)
        elif introducer == b",":
            flags = read_at(file, at + 9, 1)
            at = _sub_blocks(file, at + 11 + _color_table_size(flags[0])) if flags else length + 1
        else:
            return introducer != b";"
        if at > length:
            return True
    return False


def _color_table_size(flags: int) -> int:
    """The size in bytes of a GIF color table."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _sub_blocks(file: BinaryIO, at: int) -> int:
    """The position after a chain of GIF sub-blocks; beyond any file if the chain has no end."""
    for _ in range(MAX_STEPS):
        size = read_at(file, at, 1)
        if not size:
            break
        at += 1 + size[0]
        if not size[0]:
            return at
    return 1 << 63


def _png(file: BinaryIO, length: int) -> bool:
    at = 8
    for _ in range(MAX_STEPS):
        head = read_at(file, at, 8)
        at += 12 + int.from_bytes(head[:4], "big")
        if len(head) < 8 or at > length:
            return True
        if head[4:] == b"IEND":
            return False
    return False


def _flv(file: BinaryIO, length: int) -> bool:
    size = int.from_bytes(read_at(file, length - 4, 4), "big")
    tag = read_at(file, length - 4 - size, 4) if 11 <= size <= length - 13 else b""
    return len(tag) < 4 or 11 + int.from_bytes(tag[1:], "big") != size


def _ogg(file: BinaryIO, length: int) -> bool:
    tail = read_at(file, max(0, length - (1 << 17)), 1 << 17)  # a page has at most 65,307 bytes
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]) or not page[5] & 4


def _ivf(file: BinaryIO, length: int) -> bool:
    head = read_at(file, 0, 32)
    at, declared = int.from_bytes(head[6:8], "little"), int.from_bytes(head[24:28], "little")
    for number in range(MAX_STEPS):
        if at == length:
            return number < declared < MAX_STEPS  # written last: zero or arbitrary in a live recording
        frame = read_at(file, at, 12)
        at += 12 + int.from_bytes(frame[:4], "little")
        if len(frame) < 12 or at > length:
            return True
    return False


def _program_stream(file: BinaryIO, length: int) -> bool:
    at = 0
    for _ in range(MAX_STEPS):
        head = read_at(file, at, 14)
        if not head.strip(b"\0") or (len(head) >= 4 and head[:3] != b"\0\0\x01"):
            return False  # the end, padding, or unknown
        if head[3:4] == b"\xb9":
            return False
        if head[3:4] == b"\xba":
            mpeg2 = head[4:5] >= b"\x40"
            at += 12 if not mpeg2 else 14 + (head[13] & 7 if len(head) == 14 else 0)
        else:
            at += 6 + int.from_bytes(head[4:6], "big")
        if len(head) < 6 or at > length:
            return True
    return False


def _mxf(file: BinaryIO, length: int) -> bool:
    at = 0
    for _ in range(MAX_STEPS):
        head = read_at(file, at, 25)
        if not head.strip(b"\0") or (len(head) >= 4 and head[:4] != MXF_KEY):
            return False
        count = head[16] & 0x7F if len(head) > 16 and head[16] & 0x80 else 0
        size = int.from_bytes(head[17 : 17 + count], "big") if count else int.from_bytes(head[16:17], "big")
        at += 17 + count + size
        if len(head) < 17 + count or at > length:
            return True
    return False


def _asf(file: BinaryIO, length: int) -> bool:
    head = read_at(file, 0, 1 << 16)
    at = head.find(ASF_PROPERTIES)
    flags = int.from_bytes(head[at + 88 : at + 92], "little")
    if at < 0 or flags & 1:
        return len(head) < 30  # live recording: the size is not set
    return int.from_bytes(head[at + 40 : at + 48], "little") > length


def _packet_size(file: BinaryIO) -> int | None:
    """The packet size in bytes of an MPEG transport stream, from its sync bytes; None for other files."""
    head = read_at(file, 0, 5 * 204)
    for size, at in ((188, 0), (192, 4), (204, 0)):
        sync_bytes = head[at::size]
        if len(sync_bytes) > 1 and set(sync_bytes) == {0x47}:
            return size
    return None
