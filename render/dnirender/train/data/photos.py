"""Photographs to train on: reading, random views of them, and the noise that cameras and codecs add."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from cv2.typing import MatLike
from torch import Generator, Tensor

from dnirender.errors import TrainingError
from dnirender.frames import to_uint8
from dnirender.media.image_files import is_still
from dnirender.media.images import read_image

Image = MatLike
"""h w 3 RGB, float32 0..1."""

LONG_SIDE = 1280  # pixels; photographs are kept in memory at this size
REDUCTION = 0.4, 0.8  # of photographs, which are JPEG: a smaller one is cleaner
ORIGINAL_SHARE = 0.1  # of the crops, which are not reduced


def pictures(folders: Iterable[Path], held_out: Sequence[str] = ()) -> list[Path]:
    """The pictures in `folders`, in order of name, but those whose name starts with one of `held_out`."""
    found = (path for folder in folders for path in folder.iterdir() if is_still(path))
    return sorted(path for path in found if not path.name.startswith(tuple(held_out)))


def read(path: Path, long_side: int | None = None) -> Image:
    """A picture, made smaller (never larger) so that its long side is `long_side`. MediaError: it cannot be read."""
    pixels = to_uint8(read_image(path)[0])
    scale = long_side / max(pixels.shape[:2]) if long_side else 1.0
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(pixels, np.float32) / 255


def to_tensor(image: Image) -> Tensor:
    """h w c to 1 c h w."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]


def load_photos(folders: Sequence[Path], least: int, held_out: Sequence[str] = ()) -> list[Tensor]:
    """The photographs in `folders`, 3 h w bytes, but those held out and those with a short side below `least`.

    TrainingError: none are left.
    """
    found = [(to_tensor(read(path, LONG_SIDE))[0] * 255).round().byte() for path in pictures(folders, held_out)]
    large = [photo for photo in found if min(photo.shape[-2:]) >= least]
    if not large:
        told = ", ".join(str(folder) for folder in folders)
        raise TrainingError(
            f"{told}: none of {len(found)} pictures has a short side of {least} pixels; training needs a few dozen"
        )
    return large


def view(photo: Tensor, side: int, rng: Generator) -> Tensor:
    """A square of `side` pixels somewhere in a photograph, flipped or not, 3 side side float 0..1: between the whole
    short side and `side` pixels of the original."""
    short = min(photo.shape[-2:])
    span = int(side * (max(short, side) / side) ** uniform(rng)) if short > side else short
    y, x = (pick(rng, room - span + 1) for room in photo.shape[-2:])
    part = photo[None, :, y : y + span, x : x + span].float() / 255
    part = F.interpolate(part, size=(side, side), mode="bilinear", antialias=True)[0]
    return part.flip(2) if uniform(rng) < 0.5 else part


def reduced_view(photo: Tensor, side: int, rng: Generator) -> Tensor:
    """A square of `side` pixels somewhere in a photograph 3 h w, flipped and rotated, 3 side side float 0..1: one
    crop in ten of the original, the others of a reduced one."""
    low, high = REDUCTION
    factor = 1.0 if uniform(rng) < ORIGINAL_SHARE else low + (high - low) * uniform(rng)
    span = min(round(side / factor), *photo.shape[-2:])
    y, x = (pick(rng, room - span + 1) for room in photo.shape[-2:])
    part = photo[None, :, y : y + span, x : x + span].float() / 255
    if span > side:
        part = F.interpolate(part, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
    part = part.flip(3) if uniform(rng) < 0.5 else part
    return part[0].rot90(pick(rng, 4), (1, 2))


def fitted(photo: Tensor, side: int) -> Tensor:
    """A photograph of bytes 3 h w as 1 3 h w float 0..1, its long side at most `side`, both multiples of 8."""
    scale = min(1.0, side / max(photo.shape[-2:]))
    rows, cols = (max(8, round(length * scale / 8) * 8) for length in photo.shape[-2:])
    return F.interpolate(photo[None].float() / 255, size=(rows, cols), mode="bilinear", antialias=True)


def exposure(count: int, rng: Generator) -> Tensor:
    """Factors of linear light, count 3 1 1: an exposure and a white balance for each picture."""
    return 2 ** (0.3 * torch.randn(count, 1, 1, 1, generator=rng) + 0.08 * torch.randn(count, 3, 1, 1, generator=rng))


def noise(picture: Tensor, rng: Generator) -> Tensor:
    """What a camera and a codec add to 3 h w: sensor noise, and the error of JPEG for some."""
    kind = uniform(rng)
    if kind < 0.3:
        return torch.zeros_like(picture)
    sigma = 0.02 * uniform(rng)
    grain = sigma * torch.randn(picture.shape, generator=rng)
    if kind < 0.65:
        return grain
    noisy: Image = (picture + 0.5 * grain).clamp(0, 1).permute(1, 2, 0).numpy()
    quality = int(40 + 50 * uniform(rng))
    _, code = cv2.imencode(".jpg", (noisy * 255).round().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.float32) / 255
    return torch.from_numpy(decoded).permute(2, 0, 1) - picture


def uniform(rng: Generator) -> float:
    """A number in 0..1."""
    return float(torch.rand((), generator=rng))


def pick(rng: Generator, count: int) -> int:
    """A number in 0..count-1."""
    return int(torch.randint(count, (), generator=rng))
