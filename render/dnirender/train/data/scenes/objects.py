"""What stands in a street or field: trees, lamps, cars, and things that are only in the way."""

import numpy as np
from numpy.random import Generator

from dnirender.train.data.photos import Image
from dnirender.train.data.scenes.canvas import Canvas, noise, patch

LAMP = (5.0, 3.0, 1.1)  # linear light
HEADLIGHT = (5.0, 4.6, 3.8)
TAIL_LIGHT = (2.2, 0.10, 0.05)


def trees(canvas: Canvas, rng: Generator, textures: list[Image], horizon: int, count: int, size: float) -> None:
    h, w = canvas.sky.shape
    for _ in range(count):
        depth = rng.uniform(0.3, 1)
        x, base = rng.uniform(0, w), horizon + (h - horizon) * depth * 0.4
        radius = h * rng.uniform(0.10, 0.28) * depth * size
        trunk = radius * 0.12
        canvas.fill(
            [
                (x - trunk, base),
                (x + trunk, base),
                (x + trunk / 2, base - 2 * radius),
                (x - trunk / 2, base - 2 * radius),
            ],
            np.array((0.25, 0.19, 0.14)),
        )
        y0, x0, size_px = int(base - 4.2 * radius), int(x - 2.1 * radius), int(4.2 * radius)
        yy, xx = np.mgrid[0:size_px, 0:size_px].astype(np.float32) / np.float32(radius) - np.float32(2.1)
        distance = np.sqrt((xx / rng.uniform(0.7, 1.2)) ** 2 + yy**2)
        field = (1 - distance) * 2.2 + 0.55 * noise(rng, size_px, size_px, max(radius / 2, 8), 0.85)
        green = np.array((0.22, 0.33, 0.13)) * rng.uniform(0.5, 1.4) + rng.normal(0, 0.04, 3)
        speckle = 1 + 0.25 * noise(rng, size_px, size_px, max(radius / 3, 6), 0.8)[..., None]
        leaves = patch(rng, textures, size_px, size_px, np.clip(green, 0.03, 1)) * speckle
        lit = np.clip(1.1 - 0.35 * yy, 0.5, 1.5)[..., None]
        canvas.put(np.clip(field * 3, 0, 1), (leaves * lit).clip(0, 1).astype(np.float32), None, y0, x0)


def things(canvas: Canvas, rng: Generator, textures: list[Image]) -> None:
    """Something large and near in front of all, round or with straight sides: what reaches into the sky is no sky."""
    h, w = canvas.sky.shape
    for _ in range(int(rng.integers(1, 3))):
        tall, wide = int(h * rng.uniform(0.3, 1.1)), int(w * rng.uniform(0.08, 0.4))
        yy, xx = np.mgrid[-1 : 1 : tall * 1j, -1 : 1 : wide * 1j].astype(np.float32)
        power = float(rng.choice([2, 2, 4, 16]))
        bumps = rng.uniform(0, 0.25) * noise(rng, tall, wide, min(tall, wide) / 2)
        cover = np.clip(
            (0.9 + bumps - (np.abs(xx) ** power + np.abs(yy) ** power) ** (1 / power)) * rng.uniform(15, 150), 0, 1
        )
        tint = rng.uniform(0.05, 0.95) + rng.normal(0, 0.12, 3) if rng.random() < 0.7 else None
        piece = patch(rng, textures, tall, wide, None if tint is None else tint.clip(0.02, 1))
        round_light = (1.0 - 0.3 * xx * rng.uniform(-1, 1) - 0.2 * yy)[..., None]
        y, x = h - tall + int(h * rng.uniform(-0.25, 0.3)), int(rng.uniform(-0.2, 1.0) * w)
        canvas.put(cover.astype(np.float32), (piece * round_light).clip(0, 1).astype(np.float32), None, y, x)


def lamp(canvas: Canvas, rng: Generator, horizon: int, depth: float, style: float, gray: float) -> None:
    h, w = canvas.sky.shape
    base, tall = horizon + (h - horizon) * depth * 0.7, h * 0.75 * depth
    x, thick = rng.uniform(0, w), max(1.0, 5 * depth)
    top, metal = base - tall, np.full(3, gray)
    canvas.fill([(x - thick, base), (x + thick, base), (x + thick / 2, top), (x - thick / 2, top)], metal)
    size = max(2.0, 13 * depth)
    pale = np.array((0.93, 0.91, 0.84)) * rng.uniform(0.85, 1.05)
    if style < 0.5:  # an arm over the road, the lamp under its end
        end = x + (1 if x < w / 2 else -1) * tall * 0.22
        canvas.fill([(x, top), (end, top - thick), (end, top + thick), (x, top + 2 * thick)], metal)
        canvas.fill(
            [
                (end - 2 * size, top),
                (end + 2 * size, top),
                (end + 1.6 * size, top + size),
                (end - 1.6 * size, top + size),
            ],
            pale.clip(0, 1),
            np.array(LAMP),
        )
        canvas.fill(
            [
                (end - 2 * size, top - size * 0.5),
                (end + 2 * size, top - size * 0.5),
                (end + 2 * size, top),
                (end - 2 * size, top),
            ],
            metal,
        )
    else:  # a globe or lantern on the pole
        angle = np.linspace(0, 2 * np.pi, 16 if style < 0.8 else 5)
        canvas.fill(
            [(x + 1.5 * size * np.cos(a), top + 1.5 * size * np.sin(a)) for a in angle],
            pale.clip(0, 1),
            np.array(LAMP) * 0.8,
        )


def car(canvas: Canvas, rng: Generator, horizon: int, depth: float) -> None:
    h, w = canvas.sky.shape
    s, x, base = h * 0.20 * depth + 6, rng.uniform(0, w), horizon + (h - horizon) * (0.05 + 0.85 * depth)
    paint = np.array(
        rng.choice(
            [
                (0.85, 0.85, 0.86),
                (0.10, 0.10, 0.12),
                (0.45, 0.08, 0.08),
                (0.35, 0.38, 0.42),
                (0.12, 0.20, 0.42),
                (0.62, 0.60, 0.52),
            ]
        )
    )
    view = rng.choice(["rear", "front", "side"], p=[0.4, 0.35, 0.25])
    half = 1.25 if view == "side" else 0.62

    def box(
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        color: Image,
        light: tuple[float, float, float] | None = None,
        slope: float = 0,
    ) -> None:
        points = [
            (x + (x0 + slope) * s, base - y1 * s),
            (x + (x1 - slope) * s, base - y1 * s),
            (x + x1 * s, base - y0 * s),
            (x + x0 * s, base - y0 * s),
        ]
        canvas.fill(points, color, None if light is None else np.array(light))

    box(-half * 1.05, -0.06, half * 1.05, 0.10, np.full(3, 0.12))
    box(-half, 0.10, half, 0.58, paint)
    box(-half * 0.85, 0.58, half * 0.85, 0.98, paint * 0.92, slope=0.14)
    box(-half * 0.76, 0.60, half * 0.76, 0.92, np.array((0.18, 0.22, 0.27)) * rng.uniform(0.6, 1.8), slope=0.14)
    for wheel in (-half * 0.75, half * 0.55):
        box(wheel, -0.04, wheel + half * 0.25, 0.16, np.full(3, 0.07))
    red, clear = (
        np.array((0.62, 0.08, 0.08)) * rng.uniform(0.8, 1.4),
        np.array((0.88, 0.88, 0.84)) * rng.uniform(0.9, 1.1),
    )
    if view == "side":
        box(half - 0.10, 0.36, half, 0.48, clear.clip(0, 1), HEADLIGHT)
        box(-half, 0.36, -half + 0.10, 0.48, red.clip(0, 1), TAIL_LIGHT)
        return
    box(-0.16, 0.22, 0.16, 0.30, np.array(((0.90, 0.90, 0.88), (0.92, 0.80, 0.30))[int(rng.integers(2))]))  # its plate
    for side in (-1, 1):
        a, b = sorted((side * half * 0.94, side * half * 0.62))
        box(a, 0.34, b, 0.48, *((red.clip(0, 1), TAIL_LIGHT) if view == "rear" else (clear.clip(0, 1), HEADLIGHT)))
