"""Reads still images and writes PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, cast

import cv2
import numpy as np

from dnirender.errors import MediaError, OutputError
from dnirender.files import disk_errors, publish, temporary_path
from dnirender.frames import Image, Opacity

PNG = b"\x89PNG\r\n\x1a\n"
ANIMATED = 0x02  # flag of a VP8X header
MAX_CHUNKS = 1000
STILL_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


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


def _has_animation_control(file: BinaryIO) -> bool:
    """Whether an acTL chunk comes before the pixels of the PNG that `file` has read the signature of."""
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] in (b"acTL", b"IDAT", b"IEND"):
            return head[4:] == b"acTL"
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return False


def read_image(path: Path) -> tuple[Image, Opacity | None]:
    """Reads an image: upright RGB of 8 or 16 bits, and its opacity (None without alpha). Raises MediaError."""
    try:
        data = np.fromfile(path, np.uint8)
        if data[:2].tobytes() == b"\xff\xd8":  # OpenCV decodes a truncated JPEG only with an end marker
            data = np.append(data, np.frombuffer(b"\xff\xd9", np.uint8))
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        raw = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise MediaError(f"{path}: cannot be read as an image ({error.err})") from error
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    if image is None or image.dtype.name not in ("uint8", "uint16"):
        raise MediaError(f"{path}: cannot be read as an image of 8 or 16 bits")
    opacity = _upright_opacity(raw, image) if raw is not None and raw.ndim == 3 and raw.shape[2] == 4 else None
    return cast(Image, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), opacity


def _upright_opacity(raw: Image, upright: Image) -> Opacity:
    """The alpha channel of `raw`, oriented like `upright`: OpenCV returns alpha only without the EXIF rotation."""
    for mirrored in (raw, raw[:, ::-1]):
        for turns in range(4):
            rotated = np.rot90(mirrored, turns)
            if rotated.shape[:2] == upright.shape[:2] and np.array_equal(rotated[..., :3], upright):
                return np.ascontiguousarray(rotated[..., 3])
    return np.ascontiguousarray(cv2.resize(raw[..., 3], (upright.shape[1], upright.shape[0])))


def write_png(target: Path, image: Image) -> None:
    """Writes an image as a PNG file, atomically. Raises OutputError."""
    temporary = temporary_path(target)
    try:
        with disk_errors(target):
            temporary.write_bytes(encode_png(image))
        publish(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def encode_png(image: Image) -> bytes:
    """Encodes an image [h, w, 3 or 4] as PNG. Raises OutputError."""
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    success, data = cv2.imencode(".png", cv2.cvtColor(image, order))
    if not success:
        raise OutputError(f"an image of {image.shape[1]}x{image.shape[0]} could not be encoded as PNG")
    return data.tobytes()


def decode_png(data: bytes) -> Image:
    """Decodes the output of `encode_png`."""
    image = cast(Image, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    return cast(Image, cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB))
