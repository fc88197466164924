"""A canvas that knows, beside its picture, where the sky is and what will shine at night; noise and surfaces for it."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from dnirender.train.data.photos import Image, read

TEXTURES = (
    "life_",
    "mate_Wood",
    "mate_GreenMeadow",
    "mate_RainDrops",
    "skimage_brick",
    "skimage_gravel",
    "skimage_grass",
)


@dataclass
class Canvas:
    """What is drawn on: `image` h w 3 sRGB, `sky` h w coverage, `light` h w 3 linear emission at night; all float32."""

    image: Image
    sky: Image
    light: Image

    def put(self, cover: Image, image: Image, light: Image | None = None, y: int = 0, x: int = 0) -> None:
        """Lay `image`, which emits `light`, over the canvas where `cover` (h w, 0..1) says, its corner at row y, column
        x; what lies beyond the canvas is cut off."""
        rows, cols = (slice(max(o, 0), max(o + n, 0)) for o, n in zip((y, x), cover.shape, strict=True))
        here = (rows, cols)
        h, w = self.sky[here].shape
        there = (slice(max(-y, 0), max(-y, 0) + h), slice(max(-x, 0), max(-x, 0) + w))
        part = cover[there][..., None]
        self.image[here] += part * (image[there] - self.image[here])
        self.sky[here] *= 1 - part[..., 0]
        self.light[here] += part * ((0 if light is None else light[there]) - self.light[here])

    def fill(self, points: list[tuple[float, float]], color: Image, light: Image | None = None) -> None:
        """A polygon of one color; x, y in pixels."""
        cover = np.zeros(self.sky.shape, np.uint8)
        cv2.fillPoly(cover, [np.array(points, np.float32).round().astype(np.int32)], 1)
        x, y, w, h = cv2.boundingRect(np.array(points, np.float32))
        box = (slice(max(y - 1, 0), max(y + h + 1, 0)), slice(max(x - 1, 0), max(x + w + 1, 0)))
        inside = cover[box] > 0
        self.image[box][inside] = color
        self.sky[box][inside] = 0
        self.light[box][inside] = 0 if light is None else light


def textures(folders: list[Path]) -> list[Image]:
    """The photographs in `folders` that are good surfaces.

    Raises:
        FileNotFoundError: there is none.
    """
    found = [read(p, 900) for folder in folders for p in sorted(folder.iterdir()) if p.name.startswith(TEXTURES)]
    if not found:
        raise FileNotFoundError(f"{folders}: none of the pictures {', '.join(TEXTURES)}")
    return found


def noise(rng: Generator, h: int, w: int, largest: float, power: float = 0.55) -> Image:
    """Fractal noise h w, mean 0, deviation about 1; features up to `largest` pixels, octaves falling by `power`."""
    total = np.zeros((h, w), np.float32)
    size, weight, sum_squares = largest, 1.0, 0.0
    while size > 2:
        rows, cols = int(h / size) + 3, int(w / size) + 3
        grid = rng.normal(size=(rows, cols)).astype(np.float32)
        big = cv2.resize(grid, (int(cols * size) + 1, int(rows * size) + 1), interpolation=cv2.INTER_CUBIC)
        y, x = int(rng.integers(0, int(size))), int(rng.integers(0, int(size)))
        total += weight * big[y : y + h, x : x + w]
        sum_squares += (0.7 * weight) ** 2
        size, weight = size / 2, weight * power
    return total / np.float32(np.sqrt(sum_squares))


def patch(rng: Generator, textures: list[Image], h: int, w: int, tint: Image | None = None) -> Image:
    source = textures[int(rng.integers(len(textures)))]
    size = min(*source.shape[:2], int(rng.uniform(150, 500)))
    y, x = (int(rng.integers(0, s - size + 1)) for s in source.shape[:2])
    piece = cv2.resize(source[y : y + size, x : x + size], (512, 512), interpolation=cv2.INTER_LINEAR)
    if tint is not None:
        gray = piece.mean(2, keepdims=True)
        piece = (tint * (1 + rng.uniform(0.2, 1) * (gray / gray.mean() - 1))).astype(np.float32)
    piece = np.concatenate([piece, piece[:, ::-1]], 1)
    piece = np.concatenate([piece, piece[::-1]], 0)
    return np.tile(piece, (h // 1024 + 1, w // 1024 + 1, 1))[:h, :w].clip(0, 1)
