"""Houses with rows of windows: seen from the front, or in two rows that run towards the vanishing point."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.random import Generator

from dnirender.train.data.photos import Image
from dnirender.train.data.scenes.canvas import Canvas, noise, patch

ROOM = ((1.0, 0.50, 0.16), (1.0, 0.58, 0.24), (1.0, 0.66, 0.34), (1.0, 0.76, 0.52))  # light of rooms, linear

WALLS = (
    (0.72, 0.66, 0.56),
    (0.62, 0.38, 0.28),
    (0.66, 0.66, 0.66),
    (0.82, 0.80, 0.74),
    (0.45, 0.48, 0.52),
    (0.55, 0.45, 0.36),
    (0.80, 0.62, 0.58),
)
GLASS = ((0.20, 0.27, 0.36), (0.26, 0.30, 0.34), (0.13, 0.16, 0.20), (0.33, 0.43, 0.53))


def front(canvas: Canvas, rng: Generator, textures: list[Image], horizon: int) -> None:
    row(canvas, rng, textures, horizon + int(0.04 * len(canvas.sky)), rng.uniform(0.15, 0.65), far=False)


def row(canvas: Canvas, rng: Generator, textures: list[Image], base: int, height: float, far: bool) -> None:
    w = canvas.sky.shape[1]
    haze, x = canvas.image[:base].mean((0, 1)), -int(rng.integers(0, 150))
    while x < w:
        wide, tall = int(rng.integers(90, 360)), int(base * height * rng.uniform(0.4, 1.2))
        scale = 2 if far else 1
        image, light = facade(rng, textures, tall * scale, wide * scale)
        if far:
            image, light = (cv2.resize(i, (wide, tall), interpolation=cv2.INTER_AREA) for i in (image, light))
            image = image + np.float32(0.35) * (haze - image)
        canvas.put(np.ones((tall, wide), np.float32), image, light, base - tall, x)
        x += wide + (int(rng.integers(0, 260)) if rng.random() < 0.4 else 0)


def walls(canvas: Canvas, rng: Generator, textures: list[Image], horizon: int) -> None:
    """Two rows of houses that run towards the vanishing point."""
    h, w = canvas.sky.shape
    centre = w * rng.uniform(0.35, 0.65)
    for side in (-1, 1):
        if rng.random() < 0.12:
            continue
        near, far = rng.uniform(0.5, 1.0), 1.0
        edges = np.cumsum(np.concatenate([[near], rng.uniform(0.25, 0.9, 9)]))
        for a, b in reversed(list(pairwise(edges))):
            if rng.random() < 0.1:
                continue
            height = far * horizon * rng.uniform(0.45, 1.5)
            x = [centre + side * w * 0.45 / d for d in (a, b)]
            top, bottom = [horizon - height / d for d in (a, b)], [horizon + h * 0.16 / d for d in (a, b)]
            size = (int(520 * (b - a)) + 60, int(min(height, 900)))
            image, light = facade(rng, textures, size[1], size[0])
            source = np.array([(0, 0), (size[0], 0), (size[0], size[1]), (0, size[1])], np.float32)
            corner = int(max(min(x), -w)), int(max(min(top), -h))
            extent = int(min(max(x), 2 * w)) - corner[0] + 1, int(min(max(bottom), 2 * h)) - corner[1] + 1
            target = np.array([(x[0], top[0]), (x[1], top[1]), (x[1], bottom[1]), (x[0], bottom[0])], np.float32)
            matrix = cv2.getPerspectiveTransform(source, target - np.array(corner, np.float32))
            shaded = image * np.float32(rng.uniform(0.55, 0.85) if side < 0 else 1.0)
            full, glow = (cv2.warpPerspective(i, matrix, extent, flags=cv2.INTER_AREA) for i in (shaded, light))
            cover = cv2.warpPerspective(np.ones(image.shape[:2], np.float32), matrix, extent)
            canvas.put(cover, full, glow, corner[1], corner[0])


def close(canvas: Canvas, rng: Generator, textures: list[Image]) -> None:
    """A wall near by that fills the picture, pale or of brick, in the sun or not, with a few large windows."""
    h, w = canvas.sky.shape
    wall = np.array(rng.choice(WALLS)) * rng.uniform(0.75, 1.25) + rng.normal(0, 0.04, 3)
    image = patch(rng, textures, h, w, wall.clip(0.05, 0.97))
    if rng.random() < 0.5:  # bricks
        tall, wide = int(rng.integers(14, 40)), int(rng.integers(36, 110))
        shade = rng.normal(0, rng.uniform(0.02, 0.12), (h // tall + 1, w // wide + 3)).astype(np.float32)
        rows, cols = np.arange(h)[:, None] // tall, np.arange(w)[None]
        cols = cols + (rows % 2) * (wide // 2)
        image *= 1 + shade[rows, cols // wide][..., None]
        joint = (np.arange(h)[:, None] % tall < 3) | (cols % wide < 3)
        image[joint] = np.clip(wall * rng.uniform(0.8, 1.3), 0, 1)
    image *= 1 + 0.10 * noise(rng, h, w, w / 2)[..., None]
    light = np.zeros((h, w, 3), np.float32)
    glass = np.array(GLASS[int(rng.integers(len(GLASS)))]) * rng.uniform(0.8, 2.2)
    frame = np.clip(wall * rng.uniform(0.5, 1.5), 0, 1)
    tall, wide = int(h * rng.uniform(0.2, 0.75)), int(w * rng.uniform(0.08, 0.3))
    gap_y, gap_x = int(tall * rng.uniform(0.25, 0.8)), int(wide * rng.uniform(0.4, 1.5))
    room = np.array(ROOM[int(rng.integers(len(ROOM)))])
    for y in range(int(rng.uniform(-0.5, 0.7) * tall), h, tall + gap_y):
        for x in range(int(rng.uniform(-0.5, 0.7) * wide), w, wide + gap_x):
            pane, shine = _window(rng, tall, wide, glass, room, bool(rng.random() < 0.5))
            if rng.random() < 0.5:  # a blind
                slats = (np.arange(tall) % int(rng.integers(8, 22)) < rng.integers(3, 7)).astype(np.float32)
                slats = slats[: int(tall * rng.uniform(0.3, 1.0)), None, None]
                cream = np.array((0.80, 0.80, 0.76)) * rng.uniform(0.7, 1.2)
                pane[: len(slats)] += 0.75 * (cream * slats + pane[: len(slats)] * (1 - slats) - pane[: len(slats)])
                shine[: len(slats)] *= 1 - 0.5 * slats
            for row in range(0, tall, max(tall // int(rng.integers(1, 4)), 8)):
                pane[row : row + 6], shine[row : row + 6] = frame, 0
            pane[:, :8], pane[:, -8:], pane[-12:] = frame, frame, frame
            shine[:, :8], shine[:, -8:], shine[-12:] = 0, 0, 0
            y0, x0, y1, x1 = max(y, 0), max(x, 0), min(y + tall, h), min(x + wide, w)
            if y1 > y0 and x1 > x0:
                image[y0:y1, x0:x1] = pane[y0 - y : y1 - y, x0 - x : x1 - x]
                light[y0:y1, x0:x1] = shine[y0 - y : y1 - y, x0 - x : x1 - x]
    canvas.put(np.ones((h, w), np.float32), image.clip(0, 1).astype(np.float32), light)


def facade(rng: Generator, textures: list[Image], h: int, w: int) -> tuple[Image, Image]:
    """A wall h w 3 with rows of windows, and the light of its windows at night."""
    wall = np.clip(np.array(rng.choice(WALLS)) * rng.uniform(0.6, 1.2) + rng.normal(0, 0.04, 3), 0.05, 0.95)
    image = patch(rng, textures, h, w, wall) if rng.random() < 0.4 else np.full((h, w, 3), wall, np.float32)
    image = image * (1 + 0.05 * noise(rng, h, w, 150)[..., None])
    light = np.zeros((h, w, 3), np.float32)
    glass = np.array(rng.choice(GLASS)) + rng.normal(0, 0.02, 3)
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
    """A window pane: the paler of a house are lit brightly at night, the others dimly; the darkest stay dark. Of `blue`
    ones, which mirror the sky, the brighter are lit."""
    pale = rng.beta(0.8, 1.2)
    cream = np.array((0.62, 0.58, 0.50)) * rng.uniform(0.75, 1.15)
    color = glass * (0.55 + 0.95 * pale) if blue else glass + pale * (cream - glass) * 0.75
    mirror = rng.uniform(0.05, 0.35)
    shine = np.linspace(1 + mirror, 1 - mirror, tall)[:, None, None]
    lit = np.clip((pale - 0.05) / 0.1, 0, 1) * (0.35 + 0.65 * np.clip((pale - 0.2) / 0.35, 0, 1))
    image = np.broadcast_to(color * shine, (tall, wide, 3)).copy()
    fall = np.linspace(1.2, 0.8, tall)[:, None, None]
    light = np.broadcast_to(room * lit * (0.25 + 0.65 * pale) * fall, (tall, wide, 3)).copy()
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
        image[top + rows // 3 :, x:x1], light[top + rows // 3 :, x:x1] = pane, np.array((0.9, 0.58, 0.26)) * 0.6
        board = (slice(top + 2, top + rows // 3 - 2), slice(x, x1))
        image[board], light[board] = sign, 0
        x += wide + int(rng.integers(8, 40))
