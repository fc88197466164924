"""ICC profiles of pictures: read from PNG, JPEG and WebP, and put into what is written of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from dnirender.media.image_files import JPEG, PNG, jpeg_header_end
from dnirender.media.truncation import read_at

MAX_BYTES = 1 << 22  # of a profile; those of cameras and screens have a few kilobytes
MAX_SEGMENT = 0xFFFF - 2 - 14  # bytes of a profile in a segment of JPEG, behind the length and the mark
MARK = b"ICC_PROFILE\0"  # two bytes follow: the number of the part, and of all parts
APP2, START_OF_SCAN = 0xE2, 0xDA
WEBP_PROFILE = 0x20  # flag of a VP8X header


def read_profile(path: Path) -> bytes:
    """The ICC profile of an RGB picture; empty without one, or where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = read_at(file, 0, MAX_BYTES)
    except OSError:
        return b""
    if head.startswith(PNG):
        packed = next((body for name, body in _png_chunks(head) if name == b"iCCP"), b"")
        profile = _inflated(packed.partition(b"\0")[2][1:])
    elif head.startswith(JPEG):
        parts = sorted((body[12], body[14:]) for kind, body in _segments(head) if kind == APP2 and _is_part(body))
        profile = b"".join(part for _, part in parts)
    elif head[:4] == b"RIFF" and head[12:16] == b"VP8X" and head[30:34] == b"ICCP":
        profile = head[38 : 38 + int.from_bytes(head[34:38], "little")]
    else:
        profile = b""
    is_complete = len(profile) >= 128 and int.from_bytes(profile[:4], "big") == len(profile)
    return profile if is_complete and profile[16:20] == b"RGB " else b""


def with_profile(image: bytes, profile: bytes) -> bytes:
    """A PNG, JPEG or still WebP as `media.images` encodes it, with an ICC profile."""
    if not profile:
        return image
    if image.startswith(PNG):
        chunk = b"iCCPICC profile\0\0" + zlib.compress(profile)
        length, crc32 = (number.to_bytes(4, "big") for number in (len(chunk) - 4, zlib.crc32(chunk)))
        return image[:33] + length + chunk + crc32 + image[33:]  # behind the header
    if image.startswith(JPEG):
        at = jpeg_header_end(image)
        parts = [profile[start : start + MAX_SEGMENT] for start in range(0, len(profile), MAX_SEGMENT)]
        bodies = [MARK + bytes([number, len(parts)]) + part for number, part in enumerate(parts, 1)]
        return image[:at] + b"".join(b"\xff\xe2" + (len(b) + 2).to_bytes(2, "big") + b for b in bodies) + image[at:]
    chunk = b"ICCP" + len(profile).to_bytes(4, "little") + profile + b"\0" * (len(profile) % 2)
    header, rest = _webp_header(image)
    body = b"WEBP" + header + chunk + rest
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _webp_header(image: bytes) -> tuple[bytes, bytes]:
    """The VP8X header of a WebP, with the flag of a profile, and the chunks behind it."""
    if image[12:16] == b"VP8X":
        return image[12:20] + bytes([image[20] | WEBP_PROFILE]) + image[21:30], image[30:]
    sides = (int.from_bytes(image[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    size = b"".join((side - 1).to_bytes(3, "little") for side in sides)
    return b"VP8X" + (10).to_bytes(4, "little") + bytes([WEBP_PROFILE, 0, 0, 0]) + size, image[12:]


def _is_part(body: bytes) -> bool:
    return body.startswith(MARK) and len(body) > 14


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MAX_BYTES)
    except zlib.error:
        return b""


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, data) of the chunks before the pixels."""
    at = len(PNG)
    while at + 8 <= len(data) and (name := data[at + 4 : at + 8]) != b"IDAT":
        length = int.from_bytes(data[at : at + 4], "big")
        yield name, data[at + 8 : at + 8 + length]
        at += 12 + length


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, data) of the segments before the pixels."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != START_OF_SCAN:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], data[at + 4 : at + 2 + length]
        at += 2 + max(2, length)
