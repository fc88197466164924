"""Checks the header of an image before decoding: its dimensions, and whether the file is truncated.

OpenCV allocates what the header declares and fills missing parts of a JPEG with gray. PNG, JPEG, WebP, BMP and TIFF are
supported; other formats that OpenCV reads are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from dnirender.errors import MediaError
from dnirender.media.containers import check_pixel_count
from dnirender.media.image_files import JPEG, PNG
from dnirender.media.truncation import is_truncated, read_at

MAX_BYTES = 1 << 29
MAX_PIXELS = 1 << 27  # more than for video: photographs are larger
MAX_DEFLATE_RATIO = 1032  # uncompressed bytes per compressed byte
SHORT, LONG, LONG8 = 3, 4, 16
Order = Literal["little", "big"]


def check_image(path: Path) -> str:
    """A message if the image is truncated but can be decoded in part, empty if it is complete.

    Raises MediaError if the file is not an image, declares too many pixels, or is truncated and not a JPEG (OpenCV
    decodes only JPEGs in part), and OSError if it cannot be read.
    """
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        if length > MAX_BYTES:
            raise MediaError(f"{path}: is {length} bytes, expected an image of at most {MAX_BYTES}")
        head = read_at(file, 0, 32)
        size, truncated = _size_and_truncation(file, head, length, path)
    if size is None:
        if truncated:
            raise MediaError(f"{path}: is truncated before its first pixel")
        raise MediaError(f"{path}: cannot be read as an image; expected PNG, JPEG, WebP, BMP or TIFF")
    check_pixel_count(path, *size, MAX_PIXELS)
    if truncated and head[:2] != JPEG:
        raise MediaError(f"{path}: is truncated; only a truncated JPEG can be decoded in part")
    return "a part of the image is there; ignore_errors=True renders it" if truncated else ""


def _size_and_truncation(file: BinaryIO, head: bytes, length: int, path: Path) -> tuple[tuple[int, int] | None, bool]:
    """(width, height), None if unknown, and whether the file is truncated."""
    if head.startswith(PNG):
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
    if width * height * head[24] // 8 > MAX_DEFLATE_RATIO * length:
        raise MediaError(f"{path}: declares {width}x{height} pixels, which {length} bytes cannot hold")
    at = 8
    while len(chunk := read_at(file, at, 4)) == 4:  # OpenCV allocates a chunk before reading it
        size = int.from_bytes(chunk, "big")
        if size > MAX_BYTES:
            raise MediaError(f"{path}: declares a chunk of {size} bytes, expected at most {MAX_BYTES}: refused")
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
    """Skips segments by their lengths, and the entropy-coded data of a scan up to the next marker."""
    size, at = None, 2
    while match := re.compile(rb"\xff+([^\x00\xff])").search(data, at):
        marker, at = match[1][0], match.end()
        if marker == 0xD9:
            return size, False
        if 0xD0 <= marker <= 0xD7 or marker == 1:
            continue
        segment = data[at : at + 9]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(segment) > 6:
            size = int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[3:5], "big")
        at += int.from_bytes(segment[:2], "big")
    return size, True


def _bmp(head: bytes, length: int) -> tuple[tuple[int, int] | None, bool]:
    if len(head) < 30:
        return None, True
    start, core_header = int.from_bytes(head[10:14], "little"), head[14:18] == b"\x0c\0\0\0"
    field, at = (2, 24) if core_header else (4, 28)
    width = abs(int.from_bytes(head[18 : 18 + field], "little", signed=not core_header))
    height = abs(int.from_bytes(head[18 + field : 18 + 2 * field], "little", signed=not core_header))
    row = (width * int.from_bytes(head[at : at + 2], "little") + 31) // 32 * 4
    uncompressed = core_header or int.from_bytes(head[30:32], "little") in (0, 3)
    return (width, height), uncompressed and start + row * height > length


def _tiff(file: BinaryIO, head: bytes, length: int) -> tuple[tuple[int, int] | None, bool]:
    """The size in the first directory, and whether its strips or tiles extend beyond the file."""
    order: Order = "little" if head[:1] == b"I" else "big"
    big_tiff = head[2:4] in (b"+\0", b"\0+")
    at = int.from_bytes(head[8:16] if big_tiff else head[4:8], order)
    tags = dict(_tiff_tags(file, at, order, big_tiff, length))
    width, height = (tags.get(tag, [0])[:1] for tag in (256, 257))
    if not (width and height and width[0] and height[0]):
        return None, at >= length
    ends = [
        start + size
        for starts, sizes in ((273, 279), (324, 325))
        for start, size in zip(tags.get(starts, []), tags.get(sizes, []), strict=False)
    ]
    return (width[0], height[0]), max(ends, default=length + 1) > length


def _tiff_tags(file: BinaryIO, at: int, order: Order, big_tiff: bool, length: int) -> Iterator[tuple[int, list[int]]]:
    counter, entry_size, inline = (8, 20, 8) if big_tiff else (2, 12, 4)
    count = int.from_bytes(read_at(file, min(at, length), counter), order)
    table = read_at(file, min(at + counter, length), entry_size * min(count, 4096))
    for start in range(0, len(table) - entry_size + 1, entry_size):
        tag, field_type = (int.from_bytes(table[start + i : start + i + 2], order) for i in (0, 2))
        width = {SHORT: 2, LONG: 4, LONG8: 8}.get(field_type)
        num_values = int.from_bytes(table[start + 4 : start + 4 + inline], order)
        if width is None or tag not in (256, 257, 273, 279, 324, 325) or num_values * width > length:
            continue
        data = table[start + 4 + inline : start + entry_size]
        if num_values * width > inline:
            data = read_at(file, min(int.from_bytes(data, order), length), num_values * width)
        yield tag, [int.from_bytes(data[i : i + width], order) for i in range(0, num_values * width, width)]
