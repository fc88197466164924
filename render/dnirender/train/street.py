"""Procedural streets, skylines and landscapes by day, whose sky, windows and lamps are known exactly.

Drawn with flat shapes, noise and patches of photographs; crude, but every rule that the network is to learn holds in them:
sky is what is behind everything else, glass that looks pale or warm by day is a lit room at night, a lamp head is a lamp.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from dnirender.train.photographs import Image, read, to_tensor
from dnirender.train.relighting import Scene, describe

HEIGHT, WIDTH = 396, 704
OVER = 2  # drawn this much larger and averaged down, so that edges are smooth
TEXTURES = (
    "life_",
    "mate_Wood",
    "mate_GreenMeadow",
    "mate_RainDrops",
    "skimage_brick",
    "skimage_gravel",
    "skimage_grass",
)
ROOM = ((1.0, 0.50, 0.16), (1.0, 0.58, 0.24), (1.0, 0.66, 0.34), (1.0, 0.76, 0.52))  # light of rooms, linear
LAMP = (5.0, 3.0, 1.1)
HEADLIGHT = (5.0, 4.6, 3.8)
TAIL_LIGHT = (2.2, 0.10, 0.05)


@dataclass
class Canvas:
    """What is drawn on: `image` h w 3 sRGB, `sky` h w coverage, `light` h w 3 linear emission at night; all float32."""

    image: Image
    sky: Image
    light: Image

    def put(self, cover: Image, image: Image, light: Image | None = None, y: int = 0, x: int = 0) -> None:
        """Lay `image`, which emits `light`, over the canvas where `cover` (h w, 0..1) says, its corner at row y, column x;
        what lies beyond the canvas is cut off."""
        rows, cols = (slice(max(o, 0), max(o + n, 0)) for o, n in zip((y, x), cover.shape, strict=True))
        here = (rows, cols)
        h, w = self.sky[here].shape
        there = (slice(max(-y, 0), max(-y, 0) + h), slice(max(-x, 0), max(-x, 0) + w))
        part = cover[there][..., None]
        self.image[here] += part * (image[there] - self.image[here])
        self.sky[here] *= 1 - part[..., 0]
        self.light[here] += part * ((0 if light is None else light[there]) - self.light[here])

    def fill(self, points: list[tuple[float, float]], colour: Image, light: Image | None = None) -> None:
        """A polygon of one colour; x, y in pixels."""
        cover = np.zeros(self.sky.shape, np.uint8)
        cv2.fillPoly(cover, [np.array(points, np.float32).round().astype(np.int32)], 1)
        x, y, w, h = cv2.boundingRect(np.array(points, np.float32))
        box = (slice(max(y - 1, 0), max(y + h + 1, 0)), slice(max(x - 1, 0), max(x + w + 1, 0)))
        inside = cover[box] > 0
        self.image[box][inside] = colour
        self.sky[box][inside] = 0
        self.light[box][inside] = 0 if light is None else light


def scene(rng: Generator, textures: list[Image]) -> Scene:
    """A random scene, drawn from `rng`, with patches of `textures` (h w 3) on its surfaces."""
    canvas = _sky(rng)
    h, w = canvas.sky.shape
    kind = rng.choice(["street", "skyline", "land"], p=[0.40, 0.35, 0.25])
    horizon = int(h * rng.uniform(0.48, 0.72))
    if kind == "land" or rng.random() < 0.3:
        _ridges(canvas, rng, textures, horizon)
    if kind == "skyline":
        _row(canvas, rng, textures, horizon, rng.uniform(0.3, 0.75), far=True)
    if kind != "land":
        _road(canvas, rng, horizon)
        _trees(canvas, rng, textures, horizon, int(rng.integers(0, 4)), 0.5)
        (_walls if kind == "street" else _front)(canvas, rng, textures, horizon)
        _furniture(canvas, rng, textures, horizon)
    elif rng.random() < 0.7:
        _trees(canvas, rng, textures, horizon, int(rng.integers(1, 8)), 1.0)
    return _finish(canvas, rng)


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
    """Fractal noise h w with mean 0 and deviation about 1; features up to `largest` pixels, octaves falling by `power`."""
    total = np.zeros((h, w), np.float32)
    size, weight, sum_squares = largest, 1.0, 0.0
    while size > 2:
        rows, cols = int(h / size) + 3, int(w / size) + 3
        grid = rng.normal(size=(rows, cols)).astype(np.float32)
        big = cv2.resize(grid, (int(cols * size) + 1, int(rows * size) + 1), interpolation=cv2.INTER_CUBIC)
        y, x = int(rng.integers(0, size)), int(rng.integers(0, size))
        total += weight * big[y : y + h, x : x + w]
        sum_squares += (0.7 * weight) ** 2
        size, weight = size / 2, weight * power
    return total / np.float32(np.sqrt(sum_squares))


def _sky(rng: Generator) -> Canvas:
    h, w = HEIGHT * OVER, WIDTH * OVER
    low = np.array(rng.choice([(0.80, 0.88, 0.95), (0.92, 0.93, 0.92), (0.70, 0.75, 0.80), (0.96, 0.88, 0.80)]))
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


def _patch(rng: Generator, textures: list[Image], h: int, w: int, tint: Image | None = None) -> Image:
    source = textures[int(rng.integers(len(textures)))]
    size = min(*source.shape[:2], int(rng.uniform(150, 500)))
    y, x = (int(rng.integers(0, s - size + 1)) for s in source.shape[:2])
    piece = cv2.resize(source[y : y + size, x : x + size], (512, 512), interpolation=cv2.INTER_LINEAR)
    if tint is not None:
        grey = piece.mean(2, keepdims=True)
        piece = (tint * (1 + rng.uniform(0.2, 1) * (grey / grey.mean() - 1))).astype(np.float32)
    piece = np.concatenate([piece, piece[:, ::-1]], 1)
    piece = np.concatenate([piece, piece[::-1]], 0)
    return np.tile(piece, (h // 1024 + 1, w // 1024 + 1, 1))[:h, :w].clip(0, 1)


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
        colour = _patch(rng, textures, h, w, rng.uniform(0.15, 0.5, 3) if rng.random() < 0.5 else None)
        canvas.put(cover, colour + np.float32(0.7 * far) * (haze - colour))
    ground = _patch(rng, textures, h, w)
    canvas.put((y > horizon + h * 0.02 * noise(rng, 2, w, w / 3)[0]).astype(np.float32), ground)


def _road(canvas: Canvas, rng: Generator, horizon: int) -> None:
    h, w = canvas.sky.shape
    grey = rng.uniform(0.22, 0.55) + rng.normal(0, 0.02, 3)
    colour = (grey * (1 + 0.06 * noise(rng, h, w, 200, 0.8)[..., None])).astype(np.float32)
    y = np.arange(h, dtype=np.float32)[:, None] + np.zeros((1, w), np.float32)
    canvas.put((y > horizon).astype(np.float32), colour.clip(0, 1))
    centre, kerb = w * rng.uniform(0.35, 0.65), grey + rng.uniform(0.05, 0.3)
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


def _facade(rng: Generator, textures: list[Image], h: int, w: int) -> tuple[Image, Image]:
    """A wall h w 3 with rows of windows, and the light of its windows and signs at night."""
    wall = rng.choice(
        [
            (0.72, 0.66, 0.56),
            (0.62, 0.38, 0.28),
            (0.66, 0.66, 0.66),
            (0.82, 0.80, 0.74),
            (0.45, 0.48, 0.52),
            (0.55, 0.45, 0.36),
        ]
    )
    wall = np.clip(np.array(wall) * rng.uniform(0.6, 1.2) + rng.normal(0, 0.04, 3), 0.05, 0.95)
    image = _patch(rng, textures, h, w, wall) if rng.random() < 0.4 else np.full((h, w, 3), wall, np.float32)
    image = image * (1 + 0.05 * noise(rng, h, w, 150)[..., None])
    light = np.zeros((h, w, 3), np.float32)
    glass = np.array(
        rng.choice([(0.20, 0.27, 0.36), (0.26, 0.30, 0.34), (0.13, 0.16, 0.20), (0.33, 0.43, 0.53)])
    ) + rng.normal(0, 0.02, 3)
    rows, width = int(rng.integers(26, 60)), int(rng.integers(18, 60))
    tall, wide = int(rows * rng.uniform(0.45, 0.7)), int(width * rng.uniform(0.4, 0.85))
    blue = rng.random() < 0.5
    room, frame = np.array(ROOM[int(rng.integers(len(ROOM)))]), np.clip(wall * rng.uniform(0.6, 1.4), 0, 1)
    for y in range(rows // 2, h - rows - tall, rows):
        for x in range(width // 4, w - wide, width):
            image[y - 2 : y + tall + 2, max(x - 2, 0) : x + wide + 2] = frame
            image[y : y + tall, x : x + wide], light[y : y + tall, x : x + wide] = _window(
                rng, tall, wide, glass, room, blue
            )
    if rng.random() < 0.6:
        _shop(rng, image, light, rows, w)
    return image.clip(0, 1).astype(np.float32), light


def _window(rng: Generator, tall: int, wide: int, glass: Image, room: Image, blue: bool) -> tuple[Image, Image]:
    """A window pane: pale ones are lit at night, the paler the brighter; dark ones stay dark. Of `blue` ones, which mirror
    the sky, the brighter are lit."""
    pale = rng.beta(0.8, 1.2)
    cream = np.array((0.62, 0.58, 0.50)) * rng.uniform(0.75, 1.15)
    colour = glass * (0.55 + 0.95 * pale) if blue else glass + pale * (cream - glass) * 0.75
    mirror = rng.uniform(0.05, 0.35)
    shine = np.linspace(1 + mirror, 1 - mirror, tall)[:, None, None]
    lit = np.clip((pale - 0.28) / 0.3, 0, 1)
    image = np.broadcast_to(colour * shine, (tall, wide, 3)).copy()
    fall = np.linspace(1.2, 0.8, tall)[:, None, None]
    light = np.broadcast_to(room * lit * (0.35 + 0.75 * pale) * fall, (tall, wide, 3)).copy()
    if rng.random() < 0.3:  # a curtain on either side
        part = max(1, int(wide * rng.uniform(0.12, 0.3)))
        for columns in (slice(0, part), slice(wide - part, wide)):
            image[:, columns] = 0.4 * image[:, columns] + 0.6 * cream
            light[:, columns] = 0.7 * light[:, columns] * np.array((1.0, 0.85, 0.7))
    if wide > 14 and rng.random() < 0.6:
        image[:, wide // 2 - 1 : wide // 2 + 1] *= 0.7
        light[:, wide // 2 - 1 : wide // 2 + 1] *= 0.3
    if rng.random() < 0.5:  # the shadow of the wall on glass that is set back
        image[: max(tall // 10, 1)] *= 0.5
        image[:, : max(wide // 10, 1)] *= 0.65
    return image, light


def _shop(rng: Generator, image: Image, light: Image, rows: int, w: int) -> None:
    top = len(image) - rows
    pane = np.array((0.42, 0.44, 0.46)) * rng.uniform(0.6, 1.4)
    x = 6
    while x < w - 20:
        wide = int(rng.integers(30, 90))
        sign = np.array(
            rng.choice(
                [(0.85, 0.15, 0.12), (0.95, 0.75, 0.12), (0.12, 0.45, 0.80), (0.10, 0.60, 0.30), (0.92, 0.92, 0.90)]
            )
        )
        x1 = min(x + wide, w - 4)
        image[top + rows // 3 :, x:x1], light[top + rows // 3 :, x:x1] = pane, np.array((0.9, 0.66, 0.36)) * 0.8
        image[top + 2 : top + rows // 3 - 2, x:x1], light[top + 2 : top + rows // 3 - 2, x:x1] = sign, sign**2.2 * 1.3
        x += wide + int(rng.integers(8, 40))


def _front(canvas: Canvas, rng: Generator, textures: list[Image], horizon: int) -> None:
    _row(canvas, rng, textures, horizon + int(0.04 * len(canvas.sky)), rng.uniform(0.15, 0.65), far=False)


def _row(canvas: Canvas, rng: Generator, textures: list[Image], base: int, height: float, far: bool) -> None:
    w = canvas.sky.shape[1]
    haze, x = canvas.image[:base].mean((0, 1)), -int(rng.integers(0, 150))
    while x < w:
        wide, tall = int(rng.integers(90, 360)), int(base * height * rng.uniform(0.4, 1.2))
        scale = 2 if far else 1
        image, light = _facade(rng, textures, tall * scale, wide * scale)
        if far:
            image, light = (cv2.resize(i, (wide, tall), interpolation=cv2.INTER_AREA) for i in (image, light))
            image = image + np.float32(0.35) * (haze - image)
        canvas.put(np.ones((tall, wide), np.float32), image, light, base - tall, x)
        x += wide + (int(rng.integers(0, 260)) if rng.random() < 0.4 else 0)


def _walls(canvas: Canvas, rng: Generator, textures: list[Image], horizon: int) -> None:
    """Two rows of houses that run towards the vanishing point."""
    h, w = canvas.sky.shape
    centre = w * rng.uniform(0.35, 0.65)
    for side in (-1, 1):
        if rng.random() < 0.12:
            continue
        near, far = rng.uniform(0.5, 1.0), 1.0
        edges = np.cumsum(np.concatenate([[near], rng.uniform(0.25, 0.9, 9)]))
        for a, b in reversed(list(zip(edges[:-1], edges[1:], strict=True))):
            if rng.random() < 0.1:
                continue
            height = far * horizon * rng.uniform(0.45, 1.5)
            x = [centre + side * w * 0.45 / d for d in (a, b)]
            top, bottom = [horizon - height / d for d in (a, b)], [horizon + h * 0.16 / d for d in (a, b)]
            size = (int(520 * (b - a)) + 60, int(min(height, 900)))
            image, light = _facade(rng, textures, size[1], size[0])
            source = np.array([(0, 0), (size[0], 0), (size[0], size[1]), (0, size[1])], np.float32)
            corner = int(max(min(x), -w)), int(max(min(top), -h))
            extent = int(min(max(x), 2 * w)) - corner[0] + 1, int(min(max(bottom), 2 * h)) - corner[1] + 1
            target = np.array([(x[0], top[0]), (x[1], top[1]), (x[1], bottom[1]), (x[0], bottom[0])], np.float32)
            matrix = cv2.getPerspectiveTransform(source, target - np.array(corner, np.float32))
            shaded = image * np.float32(rng.uniform(0.55, 0.85) if side < 0 else 1.0)
            full, glow = (cv2.warpPerspective(i, matrix, extent, flags=cv2.INTER_AREA) for i in (shaded, light))
            cover = cv2.warpPerspective(np.ones(image.shape[:2], np.float32), matrix, extent)
            canvas.put(cover, full, glow, corner[1], corner[0])


def _trees(canvas: Canvas, rng: Generator, textures: list[Image], horizon: int, count: int, size: float) -> None:
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
        leaves = _patch(rng, textures, size_px, size_px, np.clip(green, 0.03, 1)) * speckle
        lit = np.clip(1.1 - 0.35 * yy, 0.5, 1.5)[..., None]
        canvas.put(np.clip(field * 3, 0, 1), (leaves * lit).clip(0, 1).astype(np.float32), None, y0, x0)


def _furniture(canvas: Canvas, rng: Generator, textures: list[Image], horizon: int) -> None:
    """Trees, street lamps and cars, the far ones first."""
    _trees(canvas, rng, textures, horizon, int(rng.integers(0, 4)), 0.8)
    style, pole = rng.random(), rng.uniform(0.08, 0.5)
    for depth in np.sort(rng.uniform(0.12, 1.2, int(rng.integers(0, 7)))):
        _lamp(canvas, rng, horizon, float(depth), style, pole)
    for depth in np.sort(rng.uniform(0.1, 0.9, int(rng.integers(0, 7)))):
        _car(canvas, rng, horizon, float(depth))


def _lamp(canvas: Canvas, rng: Generator, horizon: int, depth: float, style: float, grey: float) -> None:
    h, w = canvas.sky.shape
    base, tall = horizon + (h - horizon) * depth * 0.7, h * 0.75 * depth
    x, thick = rng.uniform(0, w), max(1.0, 5 * depth)
    top, metal = base - tall, np.full(3, grey)
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


def _car(canvas: Canvas, rng: Generator, horizon: int, depth: float) -> None:
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
        colour: Image,
        light: tuple[float, float, float] | None = None,
        slope: float = 0,
    ) -> None:
        points = [
            (x + (x0 + slope) * s, base - y1 * s),
            (x + (x1 - slope) * s, base - y1 * s),
            (x + x1 * s, base - y0 * s),
            (x + x0 * s, base - y0 * s),
        ]
        canvas.fill(points, colour, None if light is None else np.array(light))

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
    for side in (-1, 1):
        a, b = sorted((side * half * 0.94, side * half * 0.62))
        box(a, 0.34, b, 0.48, *((red.clip(0, 1), TAIL_LIGHT) if view == "rear" else (clear.clip(0, 1), HEADLIGHT)))


def _finish(canvas: Canvas, rng: Generator) -> Scene:
    image, sky, light = (
        cv2.resize(i, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for i in (canvas.image, canvas.sky, canvas.light)
    )
    haze = rng.uniform(0, 0.05)
    image = np.clip(
        (image + 0.015 * rng.normal() + haze) / (1 + haze) + 0.006 * rng.random() * rng.normal(size=image.shape), 0, 1
    )
    return describe(to_tensor(image.astype(np.float32)), to_tensor(sky[..., None]), to_tensor(light.astype(np.float32)))
