"""What a picture's header claims, read before any of its pixels: its size, and whether the file holds all of it.

OpenCV allocates what the header claims, and fills with gray what is missing of a JPEG. PNG, JPEG, WebP, BMP and TIFF
are known; whatever else OpenCV reads is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from dnirender.errors import MediaError
from dnirender.media.containers import check_pixel_count
from dnirender.media.truncation import is_truncated, read_at

MAX_BYTES = 1 << 29
MAX_PIXELS = 1 << 27  # photographs are larger than frames
JPEG = b"\xff\xd8"
DEFLATE = 1032  # bytes that one compressed byte unpacks to, at most
SHORT, LONG, LONG8 = 3, 4, 16
Order = Literal["little", "big"]


def check_image(path: Path) -> str:
    """What there is of a picture that lacks its end, empty if it is whole.

    Raises MediaError if it is no picture, or claims too much, or is cut off and not a JPEG: of the others OpenCV gives
    nothing; OSError.
    """
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        if length > MAX_BYTES:
            raise MediaError(f"{path}: is {length} bytes, expected a picture of at most {MAX_BYTES}")
        head = read_at(file, 0, 32)
        size, torn = _claims(file, head, length, path)
    if size is None:
        if torn:
            raise MediaError(f"{path}: is cut off before its first pixel")
        raise MediaError(f"{path}: cannot be read as a picture; expected PNG, JPEG, WebP, BMP or TIFF")
    check_pixel_count(path, *size, MAX_PIXELS)
    if torn and head[:2] != JPEG:
        raise MediaError(f"{path}: is cut off, and of such a picture no part can be decoded")
    return "a part of the picture is there; --ignore-errors renders it" if torn else ""


def _claims(file: BinaryIO, head: bytes, length: int, path: Path) -> tuple[tuple[int, int] | None, bool]:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(file, head, length, path), is_truncated(path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head), is_truncated(path)
    if head.startswith(JPEG):
        return _jpeg(read_at(file, 0, length))
    if head.startswith(b"BM"):
        return _bmp(head, length)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(file, head, length)
    return None, False


def _png(file: BinaryIO, head: bytes, length: int, path: Path) -> tuple[int, int] | None:
    if len(head) < 26 or head[12:16] != b"IHDR":
        return None
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if width * height * head[24] // 8 > DEFLATE * length:
        raise MediaError(f"{path}: announces {width}x{height} pixels, which {length} bytes cannot hold")
    at = 8
    while len(chunk := read_at(file, at, 4)) == 4:  # OpenCV makes room for a chunk before it reads one
        size = int.from_bytes(chunk, "big")
        if size > MAX_BYTES:
            raise MediaError(f"{path}: announces a chunk of {size} bytes, expected at most {MAX_BYTES}: refused")
        at += 12 + size
    return width, height


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X" and len(head) >= 30:
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(head) >= 30:
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def _jpeg(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Segments by their lengths, and behind the start of a scan to the next marker, up to the end of the image."""
    size, at = None, 2
    while found := re.compile(rb"\xff+([^\x00\xff])").search(data, at):
        mark, at = found[1][0], found.end()
        if mark == 0xD9:
            return size, False
        if 0xD0 <= mark <= 0xD7 or mark == 1:
            continue
        segment = data[at : at + 9]
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC) and len(segment) > 6:
            size = int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[3:5], "big")
        at += int.from_bytes(segment[:2], "big")
    return size, True


def _bmp(head: bytes, length: int) -> tuple[tuple[int, int] | None, bool]:
    if len(head) < 30:
        return None, True
    start, old = int.from_bytes(head[10:14], "little"), head[14:18] == b"\x0c\0\0\0"
    side, at = (2, 24) if old else (4, 28)
    width = abs(int.from_bytes(head[18 : 18 + side], "little", signed=not old))
    height = abs(int.from_bytes(head[18 + side : 18 + 2 * side], "little", signed=not old))
    row = (width * int.from_bytes(head[at : at + 2], "little") + 31) // 32 * 4
    plain = old or int.from_bytes(head[30:32], "little") in (0, 3)  # the others are compressed
    return (width, height), plain and start + row * height > length


def _tiff(file: BinaryIO, head: bytes, length: int) -> tuple[tuple[int, int] | None, bool]:
    """The size in the first directory, and whether its strips or tiles lie in the file."""
    order: Order = "little" if head[:1] == b"I" else "big"
    big = head[2:4] in (b"+\0", b"\0+")
    at = int.from_bytes(head[8:16] if big else head[4:8], order)
    tags = dict(_tiff_tags(file, at, order, big, length))
    width, height = (tags.get(tag, [0])[:1] for tag in (256, 257))
    if not (width and height and width[0] and height[0]):
        return None, at >= length
    ends = [
        start + size
        for starts, sizes in ((273, 279), (324, 325))
        for start, size in zip(tags.get(starts, []), tags.get(sizes, []), strict=False)
    ]
    return (width[0], height[0]), max(ends, default=length + 1) > length


def _tiff_tags(file: BinaryIO, at: int, order: Order, big: bool, length: int) -> Iterator[tuple[int, list[int]]]:
    counter, entry, inline = (8, 20, 8) if big else (2, 12, 4)
    count = int.from_bytes(read_at(file, min(at, length), counter), order)
    table = read_at(file, min(at + counter, length), entry * min(count, 4096))
    for place in range(0, len(table) - entry + 1, entry):
        tag, kind = (int.from_bytes(table[place + i : place + i + 2], order) for i in (0, 2))
        width = {SHORT: 2, LONG: 4, LONG8: 8}.get(kind)
        number = int.from_bytes(table[place + 4 : place + 4 + inline], order)
        if width is None or tag not in (256, 257, 273, 279, 324, 325) or number * width > length:
            continue
        data = table[place + 4 + inline : place + entry]
        if number * width > inline:
            data = read_at(file, min(int.from_bytes(data, order), length), number * width)
        yield tag, [int.from_bytes(data[i : i + width], order) for i in range(0, number * width, width)]
