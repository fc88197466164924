"""Procedural streets, skylines and landscapes by day, whose sky, windows and lamps are known exactly.

Drawn with flat shapes, noise and patches of photographs; crude, but every rule that the network is to learn holds in
them: sky is what is behind all else, the paler panes of a house are lit rooms at night, a lamp head is a lamp, and a
board, a line on the road or a number plate is none.
"""

import cv2
import numpy as np
from numpy.random import Generator

from dnirender.train.data.photos import Image, to_tensor
from dnirender.train.data.relighting import Scene, describe
from dnirender.train.data.scenes.canvas import Canvas, noise, patch
from dnirender.train.data.scenes.houses import close, front, row, walls
from dnirender.train.data.scenes.objects import car, lamp, things, trees

HEIGHT, WIDTH = 396, 704
OVER = 2  # drawn this much larger and averaged down, so that edges are smooth


def scene(rng: Generator, textures: list[Image]) -> Scene:
    """A random scene, drawn from `rng`, with patches of `textures` (h w 3) on its surfaces."""
    canvas = _sky(rng)
    h = canvas.sky.shape[0]
    kind = rng.choice(["street", "skyline", "land", "wall"], p=[0.36, 0.30, 0.18, 0.16])
    horizon = int(h * rng.uniform(0.48, 0.72))
    if kind == "land" or rng.random() < 0.3:
        _ridges(canvas, rng, textures, horizon)
    if kind == "skyline":
        row(canvas, rng, textures, horizon, rng.uniform(0.3, 0.75), far=True)
    if kind == "wall":
        close(canvas, rng, textures)
    elif kind != "land":
        _road(canvas, rng, horizon)
        trees(canvas, rng, textures, horizon, int(rng.integers(0, 4)), 0.5)
        (walls if kind == "street" else front)(canvas, rng, textures, horizon)
        _furniture(canvas, rng, textures, horizon)
    elif rng.random() < 0.7:
        trees(canvas, rng, textures, horizon, int(rng.integers(1, 8)), 1.0)
    if rng.random() < 0.35:
        things(canvas, rng, textures)
    return _finish(canvas, rng)


def _sky(rng: Generator) -> Canvas:
    h, w = HEIGHT * OVER, WIDTH * OVER
    low = np.array(
        rng.choice([(0.80, 0.88, 0.95), (0.92, 0.93, 0.92), (0.70, 0.75, 0.80), (0.96, 0.88, 0.80), (0.97, 0.97, 0.97)])
    )
    top = np.array(
        rng.choice([(0.25, 0.50, 0.85), (0.42, 0.62, 0.88), (0.15, 0.32, 0.66), (0.72, 0.76, 0.80), (0.62, 0.70, 0.85)])
    )
    low, top = low + rng.normal(0, 0.03, 3), top + rng.normal(0, 0.04, 3)
    t = (np.linspace(0, rng.uniform(1.0, 1.8), h).clip(0, 1) ** rng.uniform(0.7, 1.5))[:, None, None]
    image = np.broadcast_to(top + (low - top) * t, (h, w, 3)).astype(np.float32).copy()
    if rng.random() < 0.7:
        field = cv2.resize(noise(rng, h * 2, w, w / rng.uniform(2, 6)), (w, h), interpolation=cv2.INTER_AREA)
        cover = np.clip((field - rng.uniform(-0.8, 1.2)) * rng.uniform(0.4, 2), 0, 1)[..., None]
        shade = 1 - 0.25 * np.clip(noise(rng, h, w, w / 5), 0, 1)[..., None] * rng.random()
        image += cover * (
            np.array(rng.choice([(0.97, 0.97, 0.98), (0.85, 0.87, 0.90), (0.99, 0.93, 0.90)])) * shade - image
        )
    return Canvas(image.clip(0, 1), np.ones((h, w), np.float32), np.zeros((h, w, 3), np.float32))


def _ridges(canvas: Canvas, rng: Generator, textures: list[Image], horizon: int) -> None:
    h, w = canvas.sky.shape
    y = np.arange(h, dtype=np.float32)[:, None]
    haze = canvas.image[: horizon + 1].mean((0, 1))
    count = int(rng.integers(1, 4))
    for k in range(count):
        far = 1 - (k + 1) / count
        line = (
            horizon
            - h * (0.06 + 0.16 * far * rng.random())
            + h * 0.05 * noise(rng, 2, w, w / rng.uniform(1.5, 5), 0.5)[0]
        )
        cover = (y - line + rng.uniform(0.5, 6) * noise(rng, h, w, 24)).clip(0, 1)
        color = patch(rng, textures, h, w, rng.uniform(0.15, 0.5, 3) if rng.random() < 0.5 else None)
        canvas.put(cover, color + np.float32(0.7 * far) * (haze - color))
    ground = patch(rng, textures, h, w)
    canvas.put((y > horizon + h * 0.02 * noise(rng, 2, w, w / 3)[0]).astype(np.float32), ground)


def _road(canvas: Canvas, rng: Generator, horizon: int) -> None:
    h, w = canvas.sky.shape
    gray = rng.uniform(0.22, 0.55) + rng.normal(0, 0.02, 3)
    color = (gray * (1 + 0.06 * noise(rng, h, w, 200, 0.8)[..., None])).astype(np.float32)
    y = np.arange(h, dtype=np.float32)[:, None] + np.zeros((1, w), np.float32)
    canvas.put((y > horizon).astype(np.float32), color.clip(0, 1))
    centre, kerb = w * rng.uniform(0.35, 0.65), gray + rng.uniform(0.05, 0.3)
    spread = rng.uniform(0.5, 1.2)
    for side in (-1, 1):
        canvas.fill(
            [
                (centre, horizon),
                (centre + side * 3 * w, horizon),
                (centre + side * w * spread * 2, h),
                (centre + side * w * spread, h),
            ],
            kerb,
        )
    white = np.array((0.88, 0.88, 0.86))
    for lane in np.linspace(-1, 1, int(rng.integers(3, 7)))[1:-1]:
        for k in range(9):
            a, b = (0.02 + (k / 9) ** 2, 0.02 + ((k + 0.5) / 9) ** 2)
            ends = [
                (centre + lane * w * spread * t + o * 6 * t, horizon + (h - horizon) * t)
                for t, o in ((a, -1), (a, 1), (b, 1), (b, -1))
            ]
            canvas.fill(ends, white)


def _furniture(canvas: Canvas, rng: Generator, textures: list[Image], horizon: int) -> None:
    """Trees, street lamps and cars, the far ones first."""
    trees(canvas, rng, textures, horizon, int(rng.integers(0, 4)), 0.8)
    style, pole = rng.random(), rng.uniform(0.08, 0.5)
    for depth in np.sort(rng.uniform(0.12, 1.2, int(rng.integers(0, 7)))):
        lamp(canvas, rng, horizon, float(depth), style, pole)
    for depth in np.sort(rng.uniform(0.1, 0.9, int(rng.integers(0, 7)))):
        car(canvas, rng, horizon, float(depth))


def _finish(canvas: Canvas, rng: Generator) -> Scene:
    image, sky, light = (
        cv2.resize(i, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for i in (canvas.image, canvas.sky, canvas.light)
    )
    haze = rng.uniform(0, 0.05)
    image = np.clip(
        (image + 0.015 * rng.normal() + haze) / (1 + haze) + 0.006 * rng.random() * rng.normal(size=image.shape), 0, 1
    )
    light = light * _bright(image)
    return describe(to_tensor(image.astype(np.float32)), to_tensor(sky[..., None]), to_tensor(light.astype(np.float32)))


def _bright(image: Image) -> Image:
    """How far each pixel is not black by day, h w 1: only what is not may shine at night.

    Of the panes of a house the paler are lit. Were they lit by chance, the mean of lit and unlit would be learnt: a
    glow that blurs the wall.
    """
    rise = np.clip((image.max(2, keepdims=True) - 0.08) / 0.2, 0, 1)
    return (rise * rise * (3 - 2 * rise)).astype(np.float32)
