"""The provenance record in files of images, where viewers skip it: an extension of a GIF, a chunk of a PNG or WebP,
comments of a JPEG."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from dnirender.encoding.provenance import TAG, Provenance
from dnirender.errors import MediaError
from dnirender.media.image_files import JPEG, PNG, jpeg_header_end

END = b"\0\0\0\0IEND\xaeB\x60\x82"
MARK = TAG.encode() + b"\0"  # keyword of a tEXt chunk
EXTENSION = b"!\xff\x0b" + TAG.encode() + b"01"  # an application extension of GIF: 8 bytes of name, 3 of version
WEBP_CHUNK = b"DNIR"
SUB_BLOCK = 255  # most bytes in a block of a GIF extension
COMMENT = b"\xff\xfe"  # the marker of JPEG; a length that counts itself follows
MAX_COMMENT = 0xFFFF - 2 - len(MARK)  # bytes of text


def append_record(path: Path, provenance: Provenance) -> None:
    """Adds the record to a complete GIF, PNG, APNG, WebP or JPEG, in place, with the CRC-32 of the file without it."""
    data = path.read_bytes()
    record = provenance.model_copy(update={"crc32": zlib.crc32(data)})
    text = json.dumps(record.model_dump(mode="json")).encode("ascii")
    path.write_bytes(_with_record(data, text))


def read_record(path: Path) -> tuple[Provenance | None, int]:
    """The record, None without one, and the CRC-32 of the file without it. Raises MediaError."""
    try:
        data = path.read_bytes()
        start, stop, text = _find_record(data)
        bare = data[:start] + data[stop:]
        if data[:4] == b"RIFF" and text:
            bare = _with_riff_size(bare)
        return (Provenance.model_validate_json(text) if text else None), zlib.crc32(bare)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise MediaError(f"{path}: the embedded provenance record is invalid") from error


def _with_record(data: bytes, text: bytes) -> bytes:
    if data.startswith(PNG):
        chunk = b"tEXt" + MARK + text
        chunk = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        return data[: -len(END)] + chunk + END
    if data[:4] == b"RIFF":
        return _with_riff_size(data + WEBP_CHUNK + len(text).to_bytes(4, "little") + text + b"\0" * (len(text) % 2))
    if data.startswith(JPEG):
        start = jpeg_header_end(data)
        parts = (MARK + text[at : at + MAX_COMMENT] for at in range(0, len(text), MAX_COMMENT))
        comments = (COMMENT + (len(part) + 2).to_bytes(2, "big") + part for part in parts)
        return data[:start] + b"".join(comments) + data[start:]
    blocks = (text[at : at + SUB_BLOCK] for at in range(0, len(text), SUB_BLOCK))
    extension = EXTENSION + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    # Before the first image: behind the last one, FFmpeg would take it for the beginning of another.
    start = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    return data[:start] + extension + data[start:]


def _find_record(data: bytes) -> tuple[int, int, bytes]:
    """(start, stop, text) of the record in a file; (0, 0, b"") without one."""
    if data.startswith(PNG):
        start = data.rfind(b"tEXt" + MARK) - 4
        length = int.from_bytes(data[start : start + 4], "big")
        found = start > 0 and start + 12 + length + len(END) == len(data)
        return (start, start + 12 + length, data[start + 8 + len(MARK) : start + 8 + length]) if found else (0, 0, b"")
    if data[:4] == b"RIFF":
        start = data.rfind(WEBP_CHUNK)
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        found = start > 0 and start + 8 + length + length % 2 == len(data)
        return (start, len(data), data[start + 8 : start + 8 + length]) if found else (0, 0, b"")
    if data.startswith(JPEG):
        start = stop = jpeg_header_end(data)
        text = b""
        while data[stop : stop + 2] == COMMENT and data.startswith(MARK, stop + 4):
            end = stop + 2 + int.from_bytes(data[stop + 2 : stop + 4], "big")
            text, stop = text + data[stop + 4 + len(MARK) : end], end
        return (start, stop, text) if text else (0, 0, b"")
    start = data.find(EXTENSION)
    if start < 0:
        return 0, 0, b""
    at, text = start + len(EXTENSION), b""
    while at < len(data) and data[at]:
        text += data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    return start, at + 1, text


def _with_riff_size(data: bytes) -> bytes:
    return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
