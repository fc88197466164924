"""Reads and writes still images."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import cv2
import numpy as np

from dnirender.errors import MediaError, OutputError
from dnirender.files import disk_errors, publish, temporary_path
from dnirender.frames import Image, Opacity
from dnirender.media.image_files import JPEG

QUALITY = 95  # of JPEG, whose chroma has the full resolution, and of WebP
PARAMETERS = {
    ".png": [],
    ".jpg": [
        *(cv2.IMWRITE_JPEG_QUALITY, QUALITY),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, QUALITY],
}


def read_image(path: Path) -> tuple[Image, Opacity | None]:
    """Reads an image: upright RGB of 8 or 16 bits, and its opacity (None without alpha). Raises MediaError."""
    try:
        data = np.fromfile(path, np.uint8)
        if data[:2].tobytes() == JPEG:  # OpenCV decodes a truncated JPEG only with an end marker
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
    return encode_image(image, ".png")


def encode_image(image: Image, suffix: str) -> bytes:
    """Encodes an image [h, w, 3 or 4] as the extension says: `.png` with uint8 or uint16, `.jpg` or `.webp` with uint8.
    Raises OutputError."""
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    success, data = cv2.imencode(suffix, cv2.cvtColor(image, order), PARAMETERS[suffix])
    if not success:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise OutputError(f"an image of {size} could not be encoded as {suffix.lstrip('.').upper()}")
    return data.tobytes()


def decode_png(data: bytes) -> Image:
    """Decodes the output of `encode_png`."""
    image = cast(Image, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    return cast(Image, cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB))
