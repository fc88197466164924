"""The formats of still images, by names and first bytes, and in which of them one picture is written."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
"""What files of these formats begin with."""
JFIF = b"\xff\xe0"  # the marker of the header of a JPEG
ANIMATED = 0x02  # flag of a VP8X header
MAX_CHUNKS = 1000
STILL_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
"""The extensions under which a render of one frame is a picture."""


def is_still(path: Path) -> bool:
    """Whether a file is a still image: by its extension, unless its content is an animation (PNG, WebP or GIF)."""
    return path.suffix.lower() in STILL_SUFFIXES and not is_animated(path)


def is_animated(path: Path) -> bool:
    """Whether the content of a file is an animated PNG or WebP, or a GIF. False if it cannot be read."""
    if is_animated_webp(path):
        return True
    try:
        with path.open("rb") as file:
            head = file.read(8)
            return head[:4] == b"GIF8" or (head == PNG and _has_animation_control(file))
    except OSError:
        return False


def is_animated_webp(path: Path) -> bool:
    """Whether the content of a file is an animated WebP. False if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(21)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 21 and bool(head[20] & ANIMATED)


def jpeg_header_end(jpeg: bytes) -> int:
    """Where further segments may begin: behind the header of JFIF, which must be first, if there is one."""
    return 4 + int.from_bytes(jpeg[4:6], "big") if jpeg[2:4] == JFIF else 2


def _has_animation_control(file: BinaryIO) -> bool:
    """Whether an acTL chunk comes before the pixels of the PNG that `file` has read the signature of."""
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] in (b"acTL", b"IDAT", b"IEND"):
            return head[4:] == b"acTL"
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return False
