"""Draws samples/boulevard.mp4: five sunny seconds on a boulevard that exists nowhere else.

Everything is computed here from one seed: python samples/make_boulevard.py [--frame N picture.png]
World coordinates are metres: x to the right, y up, z along the street. The eye stands near the middle of the road.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Point = tuple[float, float, float]

SEED = 1889
WIDTH, HEIGHT, FPS, SECONDS, RATE = 640, 360, 25, 5, 48000
ZOOM = 2  # drawn twice as large, then averaged
W, H = WIDTH * ZOOM, HEIGHT * ZOOM
FOCAL, HORIZON = 0.72 * W, 0.635 * H
ROAD, WALL, FAR = 8.0, 13.5, 330.0  # half the road, where the houses stand, where the street ends
SUN = np.array([0.40, 0.80, -0.44]) / np.linalg.norm([0.40, 0.80, -0.44])
SUNLIGHT = np.array([2.15, 1.94, 1.58], np.float32)
SKYLIGHT = np.array([0.31, 0.39, 0.53], np.float32)
HAZE = np.array([0.735, 0.815, 0.895], np.float32)
DENSITY = 44  # texels per metre of a facade


def fbm(size: int, cells: int, octaves: int, rng: np.random.Generator) -> Array:
    """Tileable fractal noise [size, size] with mean 0 and deviation 1."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        count = cells * 2**octave
        grid = np.pad(rng.standard_normal((count, count)).astype(np.float32), 2, mode="wrap")
        edge = 2 * size // count
        large = cv2.resize(grid, (size + 2 * edge, size + 2 * edge), interpolation=cv2.INTER_CUBIC)
        total += large[edge : edge + size, edge : edge + size] * 0.55**octave
    return (total - total.mean()) / total.std()


RNG = np.random.default_rng(SEED)
SOFT = fbm(1024, 4, 7, RNG)
GRAIN = fbm(1024, 64, 4, RNG)


def noise(picture: Array, x: Array, y: Array) -> Array:
    """The tileable picture sampled at (x, y), one unit being the whole tile."""
    size = picture.shape[0]
    u, v = (np.mod(x, 1) * size).astype(np.float32), (np.mod(y, 1) * size).astype(np.float32)
    return cv2.remap(picture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def smooth(low: float, high: float, value: Array | float) -> Array:
    t = np.clip((np.asarray(value, np.float32) - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def tone(linear: Array) -> npt.NDArray[np.uint8]:
    """Scene light to an 8-bit picture: a soft shoulder, then gamma."""
    shown = np.maximum(linear, 0)
    shown = shown * (1 + shown / 2.6**2) / (1 + shown * 0.62)
    return (np.clip(shown, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)


def linear(*rgb: int) -> Array:
    return ((np.array(rgb, np.float32)) / 255) ** 2.2


# The eye


@dataclass(frozen=True)
class Eye:
    x: float
    y: float
    z: float
    yaw: float

    def depth(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        x, _, z = (np.asarray(points, np.float64) - (self.x, self.y, self.z)).T
        return x * math.sin(self.yaw) + z * math.cos(self.yaw)

    def project(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Pixels [n, 2] of points [n, 3]."""
        x, y, z = (np.asarray(points, np.float64) - (self.x, self.y, self.z)).T
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        ahead = np.maximum(x * sin + z * cos, 0.5)
        return np.stack([W / 2 + FOCAL * (x * cos - z * sin) / ahead, HORIZON - FOCAL * y / ahead], axis=-1)


def eye_at(seconds: float) -> Eye:
    t = seconds / SECONDS
    return Eye(-0.5 + 0.35 * t, 2.35, 4.2 * t, math.radians(-3.4 + 3.0 * (t * t * (3 - 2 * t))))


def hazed(color: npt.ArrayLike, depth: float) -> Array:
    """Display color 0..255 seen through `depth` metres of bright air."""
    clear = math.exp(-max(depth, 0) / 420)
    return (np.asarray(color, np.float32) * clear + HAZE * 255 * (1 - clear)).astype(np.float32)


# Flat pieces of the world


@dataclass
class Sheet:
    """A textured parallelogram: texel (0, 0) at `origin`, `across` and `down` its edges; alpha in a fourth channel."""

    origin: Point
    across: Point
    down: Point
    texture: npt.NDArray[np.uint8]
    shrunk: npt.NDArray[np.uint8] | None = field(default=None)

    def corners(self) -> npt.NDArray[np.float64]:
        o, u, v = (np.array(edge, np.float64) for edge in (self.origin, self.across, self.down))
        return np.stack([o, o + u, o + u + v, o + v])


def draw_sheet(frame: npt.NDArray[np.uint8], eye: Eye, sheet: Sheet) -> None:
    """Warps a sheet into the frame. Its texture is first shrunk, once for the clip, to what the nearest edge needs."""
    corners = sheet.corners()
    depth = eye.depth(corners)
    if depth.max() < 3:
        return
    if sheet.shrunk is None:
        sheet.shrunk = shrink(sheet)
    texture = sheet.shrunk
    height, width = texture.shape[:2]
    u0, u1 = 0.0, 1.0
    if depth.min() < 3:  # cut across the near plane; only sheets along the street come that close
        cut = float((3 - depth[0]) / (depth[1] - depth[0]))
        u0, u1 = (cut, 1.0) if depth[1] > depth[0] else (0.0, cut)
        corners = np.stack([corners[0] + u * (corners[1] - corners[0]) for u in (u0, u1)] * 2)
        corners[2:] = corners[1::-1] + np.array(sheet.down)
    pixels = eye.project(corners)
    left, top = np.floor(pixels.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(pixels.max(axis=0)).astype(int) + 2
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, W), min(bottom, H)
    if left >= right or top >= bottom:
        return
    texels = np.array([[u0 * width, 0], [u1 * width, 0], [u1 * width, height], [u0 * width, height]]) - 0.5
    matrix = cv2.getPerspectiveTransform(texels.astype(np.float32), (pixels - (left, top)).astype(np.float32))
    size = (right - left, bottom - top)
    shown = cv2.warpPerspective(texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = np.zeros(size[::-1], np.uint8)
    cv2.fillConvexPoly(inside, np.rint((pixels - (left, top)) * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    cover = inside.astype(np.float32)[..., None] / 255
    if texture.shape[2] == 4:
        cover = cover * shown[..., 3:].astype(np.float32) / 255
    target = frame[top:bottom, left:right]
    target[:] = target + (shown[..., :3].astype(np.float32) - target) * cover + 0.5


def shrink(sheet: Sheet) -> npt.NDArray[np.uint8]:
    eye, corners = eye_at(SECONDS), sheet.corners()
    step = 0.02

    def density(origin: npt.NDArray[np.float64], edge: npt.NDArray[np.float64]) -> float:
        near = eye.project(np.stack([origin, origin + edge * step]))
        return float(np.linalg.norm(near[1] - near[0])) / step

    depth = np.maximum(eye.depth(corners), 0)
    closest = corners[int(np.argmin(np.where(depth < 5, 1e9, depth)))]
    middle = corners.mean(axis=0)
    start = closest + (middle - closest) * 0.15
    needs = [density(start, np.array(edge)) for edge in (sheet.across, sheet.down)]
    width, height = (
        max(4, min(size, math.ceil(need))) for size, need in zip(sheet.texture.shape[1::-1], needs, strict=True)
    )
    small = cv2.resize(sheet.texture, (width, height), interpolation=cv2.INTER_AREA)
    small[..., :3] = np.clip(hazed(small[..., :3], float(eye.depth(middle[None])[0])), 0, 255)
    return small


# Houses


class Wall:
    """A facade in the making: what color it is, where the sun falls on it, and what it shows as glass."""

    def __init__(self, width: float, height: float, albedo: Array, lit: bool) -> None:
        self.width, self.height, self.lit = width, height, lit
        self.shape = (round(height * DENSITY), round(width * DENSITY))
        self.albedo = np.ones((*self.shape, 3), np.float32) * albedo
        self.sun = np.ones(self.shape, np.float32)
        self.glass = np.zeros((*self.shape, 3), np.float32)
        self.is_glass = np.zeros(self.shape, np.float32)

    def box(self, x: float, y: float, w: float, h: float) -> tuple[slice, slice]:
        """Texels of a rectangle given in metres from the left and from the ground."""
        rows = slice(max(0, round((self.height - y - h) * DENSITY)), max(0, round((self.height - y) * DENSITY)))
        return rows, slice(max(0, round(x * DENSITY)), max(0, round((x + w) * DENSITY)))

    def relief(self, x: float, y: float, w: float, h: float, color: Array | float, out: float) -> None:
        """A piece that stands `out` metres proud and throws its shadow down and away from the eye."""
        fall, drift = out * SUN[1] / SUN[0] * 0.8, out * -SUN[2] / SUN[0] * 0.8
        rows, columns = self.box(x, y, w, h)
        shadow = np.array([[x, y + h], [x + w, y + h], [x + w + drift, y + h - fall], [x + w + drift, y - fall]])
        shadow = np.vstack([shadow, [[x + drift, y - fall], [x, y]]]) * (1, -1) + (0, self.height)
        cv2.fillPoly(self.sun, [np.rint(shadow * DENSITY).astype(np.int32)], 0.0)
        self.sun[rows, columns] = 1
        self.is_glass[rows, columns] = 0
        self.albedo[rows, columns] = self.albedo[rows, columns] * color if isinstance(color, float) else color

    def pane(self, x: float, y: float, w: float, h: float, color: Array, deep: float) -> None:
        """Glass set back by `deep` metres: dark below, a little sky above, a slant of reflection."""
        rows, columns = self.box(x, y, w, h)
        height, width = self.sun[rows, columns].shape
        if not height or not width:
            return
        down, along = np.mgrid[0:height, 0:width].astype(np.float32)
        slant = smooth(0.0, 0.25, np.sin((along + down * 0.7) / DENSITY * 2.1 + x * 3 + y) - 0.35)
        rise = 1 - down / height
        shade = 0.55 + 0.75 * rise + 0.5 * slant * rise
        self.glass[rows, columns] = color * shade[..., None]
        edge = max(1, round(deep * DENSITY))
        self.glass[rows, columns][: edge * 2] *= 0.45
        self.glass[rows, columns][:, :edge] *= 0.6
        self.is_glass[rows, columns] = 1

    def picture(self) -> npt.NDArray[np.uint8]:
        """The lit facade as texels: sun, sky, light thrown back by the street, dark in the corners."""
        rows, columns = self.shape
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) / DENSITY
        grime = 1 + 0.05 * noise(SOFT, x / 23 + self.width, y / 31) + 0.045 * noise(GRAIN, x / 9, y / 9 + self.height)
        streaks = 1 - 0.10 * smooth(0.3, 1.8, noise(SOFT, x / 6 + self.height, y / 140))
        closed = cv2.GaussianBlur(1 - self.sun, (0, 0), DENSITY * 0.16)
        crisp = cv2.GaussianBlur(self.sun, (0, 0), 1.2)
        above = np.clip((self.height - y) / 6, 0, 1)
        ambient = (1 - 0.45 * closed) * (0.62 + 0.38 * above)
        light = ambient[..., None] * SKYLIGHT * (0.95 if self.lit else 0.86)
        light = light + np.array([0.22, 0.19, 0.15], np.float32) * (1 - 0.5 * above)[..., None] * ambient[..., None]
        if self.lit:
            light = light + crisp[..., None] * SUNLIGHT * 0.62
        shown = self.albedo * (grime * streaks)[..., None] * light
        mask = cv2.GaussianBlur(self.is_glass, (0, 0), 0.6)[..., None]
        return tone(shown * (1 - mask) + self.glass * mask)


PLASTER = [(226, 214, 190), (232, 222, 204), (214, 190, 158), (220, 200, 176), (205, 196, 184), (228, 208, 190)]
PLASTER += [(196, 172, 146), (236, 230, 220), (216, 186, 164), (200, 190, 170)]
BRICK = [(168, 98, 76), (154, 92, 74), (178, 118, 92)]
SHOPS = [
    "BOULANGERIE",
    "CAFE DU PARC",
    "LIBRAIRIE",
    "FLEURS",
    "HOTEL",
    "ATELIER",
    "OPTIQUE",
    "TABAC",
    "VELO",
    "THEATRE",
]
SIGNS = [(32, 62, 54), (96, 28, 30), (28, 42, 78), (44, 40, 38), (92, 66, 40), (58, 74, 60), (58, 42, 56)]


def masonry(wall: Wall, brick: bool, rng: np.random.Generator) -> None:
    rows, columns = wall.shape
    y, x = np.mgrid[0:rows, 0:columns]
    high, long = (
        (round(0.14 * DENSITY), round(0.42 * DENSITY)) if brick else (round(0.55 * DENSITY), round(1.2 * DENSITY))
    )
    course = (rows - y) // high
    block = (x + course % 2 * (long // 2)) // long
    tint = rng.normal(1, 0.09 if brick else 0.025, (course.max() + 1, block.max() + 2)).astype(np.float32)
    wall.albedo *= tint[course, block][..., None]
    joint = ((rows - y) % high == 0) | ((x + course % 2 * (long // 2)) % long == 0)
    wall.albedo[joint] *= 1.16 if brick else 0.90


def window(wall: Wall, x: float, y: float, w: float, h: float, trim: Array, rng: np.random.Generator) -> None:
    """A window with its surround, sill, lintel, frame, and panes behind."""
    lift = 0.5 + 0.5 * y / wall.height
    sky = linear(70, 96, 128) * (0.55 + 0.7 * lift) if wall.lit else linear(58, 72, 92) * (0.6 + 0.5 * lift)
    glass = sky * rng.uniform(0.55, 1.25)
    wall.relief(x - 0.14, y - 0.02, w + 0.28, h + 0.16, trim, 0.05)
    wall.relief(x - 0.2, y + h + 0.1, w + 0.4, 0.14, trim, 0.16)
    rows, columns = wall.box(x, y, w, h)
    wall.albedo[rows, columns] = linear(214, 212, 204)
    wall.sun[rows, columns] = 0.25
    half = (w - 0.24) / 2
    for side in range(2):
        left = x + 0.08 + side * (half + 0.08)
        wall.pane(left, y + 0.08, half, h * 0.70 - 0.08, glass, 0.09)
        wall.pane(left, y + h * 0.70 + 0.06, half, h * 0.30 - 0.14, glass * 1.15, 0.09)
        if rng.random() < 0.30:
            r, c = wall.box(left, y + 0.08, half * rng.uniform(0.25, 0.6), h * 0.70 - 0.08)
            wall.glass[r, c] = wall.glass[r, c] * 0.5 + linear(150, 146, 136) * 0.22
    wall.relief(x - 0.18, y - 0.16, w + 0.36, 0.14, trim, 0.14)


def shutters(wall: Wall, x: float, y: float, w: float, h: float, color: Array) -> None:
    for left in (x - 0.62, x + w + 0.14):
        wall.relief(left, y, 0.48, h, color, 0.05)
        for slat in np.arange(0.06, h - 0.06, 0.12):
            rows, columns = wall.box(left + 0.06, y + slat, 0.36, 0.04)
            wall.albedo[rows, columns] *= 0.6


def railing(wall: Wall, x: float, y: float, w: float) -> None:
    """A wrought-iron balcony: slab with its shadow, rail and bars."""
    wall.relief(x, y - 0.16, w, 0.16, linear(206, 200, 188), 0.42)
    iron = linear(38, 40, 44)
    for bar in np.arange(0, w - 0.03, 0.16):
        rows, columns = wall.box(x + bar, y, 0.035, 0.85)
        wall.albedo[rows, columns], wall.is_glass[rows, columns] = iron, 0
    for height in (0.82, 0.06):
        rows, columns = wall.box(x, y + height, w, 0.06)
        wall.albedo[rows, columns], wall.is_glass[rows, columns] = iron, 0


def shop(wall: Wall, name: str, rng: np.random.Generator) -> Array:
    """The ground floor: painted front, panes with dim goods inside, a sign with letters. Returns the paint."""
    paint = linear(*SIGNS[rng.integers(len(SIGNS))])
    wall.relief(0.5, 0, wall.width - 1.0, 3.9, paint * 1.25, 0.06)
    bays = max(2, round((wall.width - 1.4) / 2.3))
    step = (wall.width - 1.4) / bays
    door = int(rng.integers(bays))
    for bay in range(bays):
        left, foot = 0.7 + bay * step + 0.1, 0.12 if bay == door else 0.62
        rows, columns = wall.box(left - 0.06, foot - 0.06, step - 0.08, 2.78 - foot)
        wall.albedo[rows, columns] = paint * 1.9 + 0.06
        wall.pane(left, foot, step - 0.2, 2.66 - foot, linear(64, 74, 84) * rng.uniform(0.7, 1.1), 0.12)
        for _ in range(9):
            x, h = left + rng.uniform(0.05, step - 0.5), rng.uniform(0.2, 1.0)
            goods = linear(*(rng.integers(90, 170) + rng.integers(-25, 26, 3))) * 0.22
            rows, columns = wall.box(x, foot + 0.08, rng.uniform(0.08, 0.3), h)
            wall.glass[rows, columns] = wall.glass[rows, columns] * 0.55 + goods
    wall.relief(0.5, 2.95, wall.width - 1.0, 0.72, paint, 0.12)
    sign = np.zeros((round(0.72 * DENSITY), round((wall.width - 1) * DENSITY)), np.uint8)
    scale = 0.9 * DENSITY / 44
    (long, tall), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_DUPLEX, scale, 2)
    place = ((sign.shape[1] - long) // 2, (sign.shape[0] + tall) // 2)
    cv2.putText(sign, name, place, cv2.FONT_HERSHEY_DUPLEX, scale, 255, 2, cv2.LINE_AA)
    rows, columns = wall.box(0.5, 2.95, wall.width - 1.0, 0.72)
    area = wall.albedo[rows, columns]
    ink = sign[: area.shape[0], : area.shape[1], None].astype(np.float32) / 255
    area[:] = area * (1 - ink) + linear(244, 228, 186) * ink
    wall.relief(0.3, 3.75, wall.width - 0.6, 0.2, 1.0, 0.3)
    return paint


def facade(width: float, floors: int, lit: bool, name: str, rng: np.random.Generator) -> tuple[Wall, Array, bool]:
    """One house front: its wall, its shop's paint and whether the shop has an awning."""
    brick = rng.random() < 0.25
    base = linear(*(BRICK[rng.integers(len(BRICK))] if brick else PLASTER[rng.integers(len(PLASTER))]))
    trim = linear(228, 220, 204) if brick or rng.random() < 0.5 else np.minimum(base * 1.18, 0.9)
    wall = Wall(width, 4.2 + floors * 3.35 + 0.9, base, lit)
    masonry(wall, brick, rng)
    paint = shop(wall, name, rng)
    count = max(2, round((width - 1) / rng.uniform(2.3, 3.0)))
    step, broad, tall = (width - 0.8) / count, rng.uniform(1.05, 1.3), rng.uniform(1.9, 2.25)
    blinds = rng.random() < 0.4 and step > broad + 1.3
    blind = linear(*[(84, 104, 96), (112, 124, 134), (138, 120, 100), (74, 88, 110)][rng.integers(4)])
    style = int(rng.integers(3))
    for floor in range(floors):
        sill = 4.2 + floor * 3.35 + 0.65
        wall.relief(0, sill - 0.75, width, 0.16, trim, 0.14)
        if style == 1 and floor in (0, floors - 1):
            railing(wall, 0.35, sill - 0.16, width - 0.7)
        for column in range(count):
            left = 0.4 + step * (column + 0.5) - broad / 2
            window(wall, left, sill, broad, tall * (1 - 0.05 * floor), trim, rng)
            if blinds:
                shutters(wall, left, sill, broad, tall * (1 - 0.05 * floor), blind)
            if style == 2 and floor % 2 == 0:
                railing(wall, left - 0.2, sill - 0.1, broad + 0.4)
    for edge in (0.0, width - 0.35):
        wall.relief(edge, 4.2, 0.35, floors * 3.35, trim * 0.97, 0.06)
    wall.relief(0, wall.height - 0.42, width, 0.42, trim, 0.5)
    wall.relief(0, wall.height - 0.75, width, 0.18, trim, 0.2)
    for bracket in np.arange(0.2, width - 0.2, 0.5):
        wall.relief(bracket, wall.height - 0.57, 0.2, 0.15, trim * 0.95, 0.1)
    return wall, paint, bool(rng.random() < 0.75)


def roof(width: float, lit: bool, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A zinc or slate mansard with seams and dormers."""
    wall = Wall(width, 3.2, linear(*[(128, 138, 150), (104, 110, 122), (146, 152, 158)][rng.integers(3)]), lit)
    for seam in np.arange(0.3, width, 0.55):
        rows, columns = wall.box(seam, 0, 0.05, 3.2)
        wall.albedo[rows, columns] *= 1.25
    count = max(2, round(width / 3.4))
    for index in range(count):
        left = (index + 0.5) * width / count - 0.6
        wall.relief(left - 0.12, 0.3, 1.44, 2.1, linear(214, 208, 196), 0.35)
        rows, columns = wall.box(left + 0.05, 0.45, 1.1, 1.6)
        wall.albedo[rows, columns] = linear(225, 224, 220)
        for side in (0.12, 0.66):
            wall.pane(left + side, 0.52, 0.42, 1.45, linear(66, 90, 120) * rng.uniform(0.6, 1.2), 0.06)
        wall.relief(left - 0.25, 2.35, 1.7, 0.16, linear(120, 126, 134), 0.2)
    return wall.picture()


def chimneys(x: float, top: float, start: float, width: float, rng: np.random.Generator) -> list[Sheet]:
    """Brick stacks behind the ridge: a face towards the eye, a flank along the street, a pale cap."""
    sheets = []
    for z in sorted(start + rng.uniform(0.1, 0.8, rng.integers(1, 3)) * width)[::-1]:
        high, deep, shade = rng.uniform(2.0, 3.2), rng.uniform(1.0, 2.0), rng.uniform(0.75, 1.05)
        brick = np.ones((48, 32, 3)) * (186, 138, 110) * shade * rng.normal(1, 0.05, (48, 32, 1))
        brick[4:9] = np.array([214, 202, 184]) * shade
        face, flank = np.clip(brick, 0, 255).astype(np.uint8), np.clip(brick * (1.05, 1.03, 1), 0, 255).astype(np.uint8)
        if x > 0:
            flank = (flank * 0.62).astype(np.uint8)
        sheets.append(Sheet((x - 0.45, top + high, float(z)), (0.9, 0, 0), (0, -high, 0), face))
        sheets.append(Sheet((x - math.copysign(0.45, x), top + high, float(z)), (0, 0, deep), (0, -high, 0), flank))
    return sheets


def house(side: int, start: float, width: float, floors: int, name: str, rng: np.random.Generator) -> list[Sheet]:
    """The sheets of one house, back to front. `side` is -1 on the sunny left, 1 on the shaded right."""
    lit = side < 0
    wall, paint, awning = facade(width, floors, lit, name, rng)
    x, top = side * WALL, wall.height
    back = start if side < 0 else start + width  # letters run to the right as seen from the street
    along = (0.0, 0.0, width if side < 0 else -width)
    gable = Wall(9, top, linear(206, 190, 166) * rng.uniform(0.8, 1.1), True)
    masonry(gable, rng.random() < 0.3, rng)
    if side > 0:
        gable.sun[:, : round(0.4 * DENSITY)] = 0.6
    inner = (x, top, start) if side > 0 else (x - 9, top, start)
    sheets = [Sheet(inner, (9, 0, 0), (0, -top, 0), gable.picture())]
    ridge = side * 1.1
    fire_wall = (x + ridge - 0.1, top + 3.0, start) if side > 0 else (x + ridge - 7.9, top + 3.0, start)
    sheets.append(Sheet(fire_wall, (8, 0, 0), (0, -3.0, 0), gable.picture()[: 3 * DENSITY]))
    sheets += chimneys(x + ridge, top + 2.0, start, width, rng)
    sheets.append(Sheet((x + ridge, top + 2.9, back), along, (-ridge + side * 0.1, -2.9, 0), roof(width, lit, rng)))
    sheets.append(Sheet((x, top, back), along, (0, -top, 0), wall.picture()))
    if awning:
        cloth = Wall(width - 2.0, 1.0, np.ones(3, np.float32), lit)
        stripe = (np.arange(cloth.shape[1]) // round(0.3 * DENSITY) % 2).astype(bool)
        hue = np.minimum(paint * 2.6 + 0.03, 0.6)
        cloth.albedo[:] = np.where(stripe[None, :, None], linear(238, 232, 220), hue)
        bright = cloth.picture() if lit else (cloth.picture() * 0.95).astype(np.uint8)
        begin = back + (1.0 if side < 0 else -1.0)
        run = (0.0, 0.0, along[2] - math.copysign(2, along[2]))
        sheets.append(Sheet((x, 2.98, begin), run, (-side * 1.25, -0.62, 0), bright))
        sheets.append(Sheet((x - side * 1.25, 2.36, begin), run, (0, -0.22, 0), (bright * 0.82).astype(np.uint8)[:9]))
    return sheets


def street_fronts(rng: np.random.Generator) -> tuple[list[Sheet], list[tuple[float, float, float]]]:
    """All houses far to near, and (start, stop, height) of those on the right, which shade the road."""
    rows: list[tuple[float, list[Sheet]]] = []
    tops = [(-60.0, -22.0, 17.0), (-22.0, -6.0, 21.0), (-6.0, 8.0, 16.0)]  # behind the eye; only their shadows show
    for side in (-1, 1):
        start, index = 8.0, 0
        while start < FAR:
            if 118 < start < 124 or 208 < start < 214:
                start += 11  # a side street lets the sun in
            width = float(rng.uniform(9.5, 15.5)) * (1 if start < 150 else 1.8)
            floors = int(rng.integers(3, 6)) if side > 0 else int(rng.integers(4, 7))
            name = SHOPS[(index * 3 + (side > 0) * 5) % len(SHOPS)]
            rows.append((start, house(side, start, width, floors, name, rng)))
            if side > 0:
                tops.append((start, start + width, 4.2 + floors * 3.35 + 0.9 + 2.0))
            start, index = start + width, index + 1
    return [sheet for _, sheets in sorted(rows, key=lambda row: -row[0]) for sheet in sheets], tops


# Ground


def sunny(x: Array, z: Array, tops: Sequence[tuple[float, float, float]], trees: Sequence[Point]) -> Array:
    """How much sun reaches the ground: the houses on the right and the crowns of the trees stand in its way."""
    reach = (WALL - x) / SUN[0]
    meets_y, meets_z = reach * SUN[1], z + reach * SUN[2]
    clear = np.ones_like(x)
    soft = 0.15 + 0.018 * reach
    for start, stop, height in tops:
        within = smooth(-1.2, 0.0, (meets_z - start) / soft) * smooth(-1.2, 0.0, (stop - meets_z) / soft)
        clear = np.minimum(clear, 1 - within * (1 - smooth(-1, 1, (meets_y - height) / soft)))
    for tree_x, tree_z, size in trees:
        rise = 5.3 * size / SUN[1]
        off_x, off_z = x - (tree_x - SUN[0] * rise), z - (tree_z - SUN[2] * rise)
        near = np.hypot(off_x, off_z) < 6
        if near.any():
            away = np.hypot(off_x[near], off_z[near] * 0.85) / (2.5 * size)
            leafy = 1.15 - away + 0.30 * noise(SOFT, x[near][None] / 9, z[near][None] / 9)[0]
            clear[near] *= 1 - 0.88 * smooth(-0.05, 0.35, leafy)
            trunk = (np.abs(off_x[near] - off_z[near] * SUN[0] / SUN[2]) < 0.12) & (np.abs(off_x[near]) < 2.4)
            clear[near] = np.where(trunk & (off_x[near] > 0), 0.1, clear[near])
    return clear


def ground(
    z0: float, z1: float, tops: Sequence[tuple[float, float, float]], trees: Sequence[Point]
) -> npt.NDArray[np.uint8]:
    """The street between z0 and z1 from wall to wall, texel (0, 0) at the far left."""
    wide, deep = min(2400, int(2 * WALL * FOCAL / z0 * 1.1)), int((z1 - z0) * FOCAL * 2.4 / z0**2 * 1.6) + 4
    z, x = np.meshgrid(np.linspace(z1, z0, deep), np.linspace(-WALL, WALL, wide), indexing="ij")
    x, z = x.astype(np.float32), z.astype(np.float32)
    far = min(1.0, 12 / z0)
    grain = noise(GRAIN, x / 5, z / 5) * far
    mottle = noise(SOFT, x / 26, z / 60)
    asphalt = linear(126, 124, 122) * (1 + 0.055 * grain + 0.09 * mottle)[..., None]
    worn = sum((np.exp(-(((np.abs(x) - lane) / 0.45) ** 2)) for lane in (1.2, 2.7, 4.1, 5.5)), np.zeros_like(x))
    asphalt *= (1 + 0.06 * worn - 0.10 * smooth(0.6, 2.0, noise(SOFT, x / 14 + 0.4, z / 33)))[..., None]
    crack = np.abs(noise(SOFT, x / 15 + 0.3, z / 15)) < 0.018
    asphalt *= np.where(crack, 0.80, 1.0)[..., None]
    paint = (np.abs(np.abs(x) - 0.16) < 0.06) | ((np.abs(np.abs(x) - 3.35) < 0.07) & (np.mod(z, 6) < 2.6))
    paint |= (np.abs(np.abs(x) - 6.15) < 0.05) & (np.mod(z, 5.5) < 4.9)
    for start in (24.0, 128.0):
        zebra = (z > start) & (z < start + 3.6) & (np.abs(x) < ROAD - 0.3)
        paint = np.where(zebra, np.mod(x + 0.25, 1.0) < 0.5, paint)
        paint |= (np.abs(z - start + 2.0) < 0.18) & (x > 0.3) & (x < 6)
    for cover_x, cover_z in ((1.1, 14.2), (-2.6, 19.5), (4.9, 37.0), (-5.0, 12.0)):
        away = np.hypot(x - cover_x, z - cover_z)
        asphalt *= np.where(away < 0.36, 0.58 + 0.14 * (np.sin(x * 60) * np.sin(z * 60) > 0), 1.0)[..., None]
        asphalt *= (1 - 0.3 * np.exp(-(((away - 0.42) / 0.05) ** 2)))[..., None]
    for patch_x, patch_z, wide, long in ((-3.9, 10.5, 1.1, 5.0), (2.6, 17.0, 0.8, 3.0), (-1.5, 31.0, 0.9, 9.0)):
        inside = (np.abs(x - patch_x) < wide) & (np.abs(z - patch_z) < long)
        asphalt *= np.where(inside, 0.87, 1.0)[..., None]
    fade = np.clip(0.90 - 0.22 * smooth(0.2, 1.4, noise(SOFT, x / 4, z / 4)) - 0.1 * grain, 0, 1)
    asphalt = asphalt * (1 - paint * fade)[..., None] + linear(226, 224, 216) * (paint * fade)[..., None]
    slab_x, slab_z = np.abs(x) - ROAD, z + np.floor(np.abs(x) / 0.9) % 2 * 0.45
    tint = noise(GRAIN, np.floor(slab_x / 0.9) * 0.137, np.floor(slab_z / 0.9) * 0.093)
    slabs = linear(190, 184, 174) * (1 + 0.06 * grain + 0.06 * mottle + 0.045 * tint)[..., None]
    joint = (np.mod(slab_x, 0.9) < 0.03) | (np.mod(slab_z, 0.9) < 0.03)
    slabs *= np.where(joint, 1 - 0.3 * far, 1.0)[..., None]
    for tree_x, tree_z, _ in trees:
        pit = (np.abs(x - tree_x) < 0.62) & (np.abs(z - tree_z) < 0.62)
        slabs[pit] = linear(98, 80, 62) * (1 + 0.2 * grain[pit])[..., None]
    kerb = np.abs(np.abs(x) - ROAD - 0.12) < 0.12
    slabs = np.where(kerb[..., None], linear(204, 200, 192) * (1 + 0.05 * grain)[..., None], slabs)
    albedo = np.where((np.abs(x) > ROAD)[..., None], slabs, asphalt)
    corner = 1 - 0.55 * np.exp((np.abs(x) - WALL) / 0.8)
    gutter = 1 - 0.35 * np.exp(-np.maximum(ROAD - np.abs(x), 0) / 0.12) * (np.abs(x) < ROAD)
    light = sunny(x, z, tops, trees)[..., None] * SUNLIGHT * SUN[1] * 0.80 + SKYLIGHT * (corner * gutter)[..., None]
    return tone(albedo * light)


# Sky


def sky(eye: Eye, seconds: float, far_line: Array) -> npt.NDArray[np.uint8]:
    """Blue above, milky below, clouds on a plane high overhead that drift; a hazy city at the end of the street."""
    rows = int(HORIZON) + 40
    v, u = np.mgrid[0:rows, 0:W].astype(np.float32)
    side, rise = (u - W / 2) / FOCAL, np.maximum((HORIZON - v) / FOCAL, 0.012)
    steep = rise / np.sqrt(1 + side**2 + rise**2)
    blue = np.array([0.22, 0.45, 0.80], np.float32)
    pale = np.array([0.62, 0.78, 0.93], np.float32)
    base = pale + (blue - pale) * (smooth(-0.06, 0.62, steep) ** 0.9)[..., None]
    turn = math.tan(eye.yaw)
    above = rise + 0.30  # a cloud has height: the plane they lie on is never seen quite edge on
    x, z = (side + turn) / above / 6 + 0.003 * seconds + 0.475, 1 / above / 4 + 0.10
    thick = noise(SOFT, x, z) + 0.20 * noise(SOFT, x * 3.7, z * 3.7)
    toward = noise(SOFT, x + 0.012, z - 0.016) + 0.20 * noise(SOFT, x * 3.7 + 0.03, z * 3.7 - 0.04)
    cover = smooth(0.15, 1.05, thick) * smooth(0.0, 0.10, rise)
    glow = np.clip(0.93 - 0.07 * smooth(0.8, 2.4, thick) + 0.16 * (thick - toward), 0.74, 1.0)
    cloud = glow[..., None] * np.array([1.0, 0.995, 0.985], np.float32) + 0.03
    shown = base + (cloud - base) * (cover * 0.88)[..., None]
    shown += (HAZE - shown) * (np.exp(-rise / 0.05) * 0.85)[..., None]
    picture = np.zeros((H, W, 3), np.uint8)
    picture[:rows] = np.clip(shown * 255 + 0.5, 0, 255)
    picture[rows:] = HAZE * 255
    shift = math.tan(eye.yaw) * FOCAL
    for layer, (height, fog) in enumerate(((26.0, 0.82), (17.0, 0.70))):
        places = (np.arange(W) + shift).astype(np.float32) + 400 + 700 * layer
        line = HORIZON - height * (0.6 + far_line[np.clip(places / 9, 0, len(far_line) - 1).astype(int)] * 0.5)
        tint = np.array([118, 132, 152]) * (1 - fog) + HAZE * 255 * fog
        for column in range(W):
            picture[int(line[column]) : int(HORIZON) + 4, column] = tint
    return picture


# Sprites that stand in the street


def foliage(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A tree, RGBA 900 x 760 texels for 9 x 7.6 metres: forked trunk, then thousands of leaves, dark ones first."""
    size = (900, 760)
    picture, cover = np.zeros((*size, 3), np.float32), np.zeros(size, np.uint8)
    bark = linear(104, 88, 72)
    limbs = [((380, 900), (380, 560), 26, 20)]
    limbs += [((380, 600), (380 + dx, 600 - dy), 15, 6) for dx, dy in ((-150, 220), (-60, 300), (60, 310), (150, 210))]
    for (x0, y0), (x1, y1), w0, w1 in limbs:
        for t in np.linspace(0, 1, 60):
            centre = (x0 + (x1 - x0) * t, y0 + (y1 - y0) * t)
            wide = w0 + (w1 - w0) * t
            for part in np.linspace(-1, 1, 9):
                light = SKYLIGHT * 0.7 + SUNLIGHT * max(0.0, part) * 0.5
                spot = (round(centre[0] + part * wide * 0.9), round(centre[1]))
                shade = bark * light * rng.uniform(0.7, 1.25)
                cv2.circle(picture, spot, max(2, round(wide / 4)), shade.tolist(), -1)
                cv2.circle(cover, spot, max(2, round(wide / 4)), 255, -1)
    clumps = [(380 + 235 * math.cos(a) * r, 330 + 215 * math.sin(a) * r) for a, r in crown(rng)]
    leaves: list[tuple[float, float, float, float, float]] = []
    for x, y in clumps:
        wide = rng.uniform(34, 88)
        depth = rng.uniform(-1, 1)
        for _ in range(int(wide * 3.4)):
            angle, out = rng.uniform(0, math.tau), math.sqrt(rng.random()) * rng.uniform(0.75, 1.3)
            dx, dy = math.cos(angle) * out, math.sin(angle) * out * 0.8
            bulge = math.sqrt(max(0.0, 1 - dx * dx - dy * dy))
            facing = 0.50 * dx - 0.80 * dy + 0.40 * bulge
            leaves.append((depth + bulge * 0.5, x + dx * wide, y + dy * wide, facing, (330 - y) / 330))
    for depth, x, y, facing, height in sorted(leaves):
        sun = max(0.0, 0.12 + 0.88 * facing) * (0.30 + 0.70 * smooth(-0.6, 0.7, depth)) * (0.75 + 0.35 * height)
        hue = linear(78, 98, 46) * rng.uniform(0.6, 1.35) + linear(58, 46, 4) * rng.uniform(0, 0.8)
        light = SKYLIGHT * (0.42 + 0.3 * height + 0.22 * depth) + SUNLIGHT * float(sun) * rng.uniform(0.6, 1.25)
        axes, turn = (int(rng.integers(4, 9)), int(rng.integers(2, 5))), float(rng.uniform(0, 180))
        color = (hue * np.maximum(light, 0.05)).tolist()
        cv2.ellipse(picture, (round(x), round(y)), axes, turn, 0, 360, color, -1)
        cv2.ellipse(cover, (round(x), round(y)), axes, turn, 0, 360, 255, -1)
    return np.dstack([tone(picture), cover])


def crown(rng: np.random.Generator) -> list[tuple[float, float]]:
    return [(rng.uniform(0, math.tau), math.sqrt(rng.random()) * (0.85 + 0.3 * rng.random())) for _ in range(52)]


def draw_sprite(frame: npt.NDArray[np.uint8], eye: Eye, sprite: npt.NDArray[np.uint8], foot: Point, high: float,
                sway: float, light: float) -> None:  # fmt: skip
    """An upright RGBA sprite `high` metres tall with its foot at `foot`; `sway` metres of lean at the top."""
    depth = float(eye.depth(np.array([foot]))[0])
    if depth < 4:
        return
    x, y = eye.project(np.array([foot]))[0]
    tall = high * FOCAL / depth
    scale = tall / sprite.shape[0]
    small = cv2.resize(sprite, None, fx=max(scale, 0.01), fy=max(scale, 0.01), interpolation=cv2.INTER_AREA)
    matrix = np.array([[1, -sway / high, x - small.shape[1] / 2 + sway / high * tall], [0, 1, y - tall]], np.float32)
    left, top = max(0, int(x - small.shape[1])), max(0, int(y - tall - 2))
    right, bottom = min(W, int(x + small.shape[1])), min(H, int(y + 3))
    if left >= right or top >= bottom:
        return
    matrix[:, 2] -= (left, top)
    premultiplied = small.astype(np.float32)
    premultiplied[..., :3] = hazed(premultiplied[..., :3] * light, depth * 0.8)
    premultiplied[..., 3:] /= 255
    premultiplied[..., :3] *= premultiplied[..., 3:]
    shown = cv2.warpAffine(premultiplied, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    target = frame[top:bottom, left:right]
    target[:] = np.clip(target * (1 - shown[..., 3:]) + shown[..., :3] + 0.5, 0, 255)


def polygon(frame: npt.NDArray[np.uint8], pixels: npt.ArrayLike, color: npt.ArrayLike) -> None:
    shown = np.clip(np.asarray(color, np.float64), 0, 255).tolist()
    cv2.fillConvexPoly(frame, np.rint(np.asarray(pixels) * 16).astype(np.int32), shown, cv2.LINE_AA, 4)


def draw_lamp(frame: npt.NDArray[np.uint8], eye: Eye, x: float, z: float) -> None:
    """A cast-iron post with an arm over the road and two white globes."""
    depth = float(eye.depth(np.array([[x, 0, z]]))[0])
    if depth < 4:
        return
    metre = FOCAL / depth
    tint = hazed([58, 66, 64], depth)
    light = hazed([128, 134, 128], depth)
    for low, high, wide in ((0.0, 0.9, 0.13), (0.9, 1.1, 0.17), (1.1, 5.4, 0.065)):
        (px, y0), (_, y1) = eye.project(np.array([[x, low, z], [x, high, z]]))
        r = max(wide * metre, 0.8)
        polygon(frame, [(px - r, y0), (px + r, y0), (px + r, y1), (px - r, y1)], tint)
        polygon(frame, [(px + r * 0.1, y0), (px + r * 0.6, y0), (px + r * 0.6, y1), (px + r * 0.1, y1)], light)
    for side in (-1, 1):
        arm = eye.project(np.array([[x, 5.2, z], [x + side * 0.75, 5.35, z], [x + side * 0.75, 5.55, z], [x, 5.4, z]]))
        polygon(frame, arm, tint)
        centre = eye.project(np.array([[x + side * 0.75, 5.86, z]]))[0]
        for radius, offset, color in ((0.33, 0.0, (206, 208, 206)), (0.29, 0.03, (238, 238, 232)),
                                       (0.17, 0.09, (255, 254, 248))):  # fmt: skip
            at = np.rint((centre + np.array([offset, -offset]) * metre) * 16).astype(int)
            shade = hazed(color, depth * 0.5).tolist()
            cv2.circle(frame, at.tolist(), max(8, round(radius * metre * 16)), shade, -1, cv2.LINE_AA, 4)
        cap = centre + np.array([[-0.2, -0.27], [0.2, -0.27], [0.06, -0.46], [-0.06, -0.46]]) * metre
        polygon(frame, cap, tint)


# Cars

PROFILE = [(-2.15, 0.62), (-2.12, 0.95), (-1.98, 1.04), (-1.45, 1.36), (-0.9, 1.46), (-0.1, 1.47), (0.35, 1.40),
           (0.95, 1.06), (1.15, 0.97), (1.75, 0.86), (2.02, 0.74), (2.12, 0.55)]  # fmt: skip
"""Height of a car over its length, tail to nose, in metres."""


@dataclass(frozen=True)
class Car:
    lane: float
    start: float
    speed: float  # metres per second along z; below zero it comes towards us
    paint: tuple[int, int, int]
    size: float = 1.0


def car_surface(size: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """Quads [n, 4, 3] of a body whose nose points to +z, and what each is made of: 0 paint, 1 glass, 2 trim."""
    length = np.linspace(-2.15, 2.12, 49)
    top = np.interp(length, *np.array(PROFILE).T)
    top = np.convolve(np.pad(top, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    end = np.clip((2.2 - np.abs(length)) / 0.35, 0, 1) ** 0.5
    belt = np.minimum(0.93 - 0.03 * length / 2, top - 0.02)
    rings = []
    for z, high, waist, taper in zip(length, top, belt, end, strict=True):
        wide, cabin = 0.90 * (0.86 + 0.14 * taper), max(0.0, (high - 0.98) / 0.49)
        inner = wide - 0.06 - 0.20 * cabin
        half = [
            (0.92 * wide, 0.22),
            (wide, 0.42),
            (wide, 0.70),
            (wide * 0.985, waist),
            (inner + 0.06, (waist + high) / 2),
        ]
        half += [(inner, high - 0.05 * cabin - 0.01), (inner * 0.75, high - 0.005), (inner * 0.35, high + 0.01)]
        rings.append([(x, y, z) for x, y in half] + [(-x, y, z) for x, y in half[::-1]])
    mesh = np.array(rings) * (1, size, 1)
    quads = np.stack([mesh[:-1, :-1], mesh[1:, :-1], mesh[1:, 1:], mesh[:-1, 1:]], axis=2)
    station, part = np.mgrid[0 : quads.shape[0], 0 : quads.shape[1]]
    z = (length[:-1] + length[1:])[station] / 2
    side = np.minimum(part, quads.shape[1] - 1 - part)
    made = np.zeros(z.shape, np.int8)
    made[(side >= 3) & (side <= 4) & (z > -1.62) & (z < 0.72) & (np.abs(z + 0.30) > 0.06)] = 1
    made[(side >= 5) & ((z > 0.36) & (z < 1.02))] = 1
    made[(side >= 5) & ((z > -1.98) & (z < -1.28))] = 1
    made[side == 0] = 2
    return quads.reshape(-1, 4, 3), made.reshape(-1)


def car_colors(quads: npt.NDArray[np.float64], made: npt.NDArray[np.int8], paint: Array, sun: float,
                eye: npt.NDArray[np.float64]) -> tuple[Array, npt.NDArray[np.bool_]]:  # fmt: skip
    """Linear color of each quad in world coordinates and whether it faces the eye."""
    normal = np.cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    centre = quads.mean(axis=1)
    outward = centre - (*centre.mean(axis=0)[[0]], 0.6, centre.mean(axis=0)[2])
    normal *= np.sign((normal * outward).sum(axis=1, keepdims=True) + 1e-9)
    look = centre - eye
    look /= np.linalg.norm(look, axis=1, keepdims=True)
    facing = -(look * normal).sum(axis=1)
    bounce = look + 2 * facing[:, None] * normal
    diffuse = np.maximum(normal @ SUN, 0)[:, None] * SUNLIGHT * sun
    ambient = SKYLIGHT * (0.45 + 0.55 * np.maximum(normal[:, 1:2], 0)) + 0.08
    glance = 0.06 + 0.94 * (1 - np.clip(facing, 0, 1))[:, None] ** 5
    mirror = np.where(bounce[:, 1:2] > 0.05, np.array([0.42, 0.60, 0.88]) + 0.25 * (1 - bounce[:, 1:2]), 0.16)
    gleam = np.maximum(bounce @ SUN, 0)[:, None] ** 90 * SUNLIGHT * 2.2 * sun
    body = paint * (diffuse + ambient) + mirror * (0.05 + glance * 0.6) + gleam
    glass = linear(30, 38, 46) * 0.7 + mirror * (0.10 + glance) * 0.75 + gleam
    trim = linear(46, 46, 48) * (diffuse + ambient)
    colors = np.where((made == 1)[:, None], glass, np.where((made == 2)[:, None], trim, body))
    return colors.astype(np.float32), facing > 0


def draw_car(
    frame: npt.NDArray[np.uint8], eye: Eye, car: Car, seconds: float, lit: Callable[[float, float], float]
) -> None:
    z = car.start + car.speed * seconds
    nose = -1.0 if car.speed < 0 or (car.speed == 0 and car.lane < 0) else 1.0
    place, turn = np.array([car.lane, 0, z]), np.array([nose, 1, nose])
    depth = float(eye.depth(place[None])[0])
    if not -3 < depth < 260:
        return
    sun = lit(car.lane, z)

    def world(points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.asarray(points, np.float64) * turn + place

    def seen(points: npt.ArrayLike, color: npt.ArrayLike) -> None:
        if eye.depth(world(points)).min() > 0.8:
            polygon(frame, eye.project(world(points)), hazed(color, depth))

    shade(frame, eye, car, z, sun)
    where = np.array([eye.x, eye.y, eye.z])
    for side in (-1, 1):
        if (eye.x - car.lane) * side * nose < 0:
            continue
        for hub in (-1.32, 1.34):
            angle = np.linspace(0, math.tau, 24, endpoint=False)
            ring = np.stack([np.zeros(24), np.sin(angle), np.cos(angle)], axis=1)
            seen(ring * 0.33 + (side * 0.86, 0.33, hub), (28, 28, 30))
    quads, made = car_surface(car.size)
    flat = world(quads.reshape(-1, 3)).reshape(-1, 4, 3)
    colors, front = car_colors(flat, made, linear(*car.paint), sun, where)
    pixels = eye.project(flat.reshape(-1, 3)).reshape(-1, 4, 2)
    middle = pixels.mean(axis=1, keepdims=True)
    pixels = middle + (pixels - middle) * 1.06  # neighbours overlap a little, or the joints would shine through
    shown = hazed(tone(colors), depth)
    front &= eye.depth(flat.reshape(-1, 3)).reshape(-1, 4).min(axis=1) > 0.8
    order = np.argsort(-eye.depth(flat.mean(axis=1)))
    for index in order[front[order]]:
        polygon(frame, pixels[index], shown[index])
    for side in (-1, 1):
        if (eye.x - car.lane) * side * nose < 0:
            continue
        for hub in (-1.32, 1.34):
            angle = np.linspace(0, math.tau, 24, endpoint=False)
            ring = np.stack([np.zeros(24), np.sin(angle), np.cos(angle)], axis=1)
            for radius, color in (
                (0.38, (20, 20, 22)),
                (0.325, (36, 36, 38)),
                (0.21, (150, 152, 156)),
                (0.06, (70, 70, 74)),
            ):
                seen(ring * radius + (side * 0.905, 0.34, hub), color)
        for split in (-0.34, 0.78):
            seen([(side * 0.907, 0.40, split), (side * 0.907, 0.92, split), (side * 0.907, 0.92, split + 0.02),
                  (side * 0.907, 0.40, split + 0.02)], np.array(car.paint) * 0.45)  # fmt: skip
        mirror = [
            (side * 0.90, 0.98, 0.62),
            (side * 1.06, 0.98, 0.60),
            (side * 1.06, 1.12, 0.60),
            (side * 0.90, 1.10, 0.62),
        ]
        seen(mirror, np.array(car.paint) * 0.8)
    tail = nose > 0
    end = -2.19 if tail else 2.16
    height = car.size
    base = tone(linear(*car.paint) * (SKYLIGHT * 0.75 + SUNLIGHT * (0.40 if tail or nose < 0 else 0.1) * sun))
    seen([(-0.80, 0.28, end), (0.80, 0.28, end), (0.84, 0.62, end), (-0.84, 0.62, end)], base)
    seen([(-0.80, 0.20, end), (0.80, 0.20, end), (0.80, 0.36, end), (-0.80, 0.36, end)], (40, 40, 42))
    if tail:
        seen(
            [
                (-0.84, 0.60, end),
                (0.84, 0.60, end),
                (0.80, 0.94 * height, end + 0.05),
                (-0.80, 0.94 * height, end + 0.05),
            ],
            base,
        )
    else:
        seen([(-0.52, 0.44, end), (0.52, 0.44, end), (0.56, 0.60, end), (-0.56, 0.60, end)], (34, 36, 38))
    seen([(-0.26, 0.46, end), (0.26, 0.46, end), (0.26, 0.57, end), (-0.26, 0.57, end)], (236, 236, 226))
    for side in (-1, 1):
        if tail:
            lamp = [
                (side * 0.82, 0.66, end),
                (side * 0.52, 0.70, end),
                (side * 0.52, 0.84, end + 0.02),
                (side * 0.81, 0.90, end + 0.03),
            ]
            seen(lamp, (186, 26, 24))
            seen(np.array(lamp) * 0.5 + np.array(lamp).mean(axis=0) * 0.5, (238, 74, 58))
        else:
            lamp = [
                (side * 0.84, 0.58, end - 0.06),
                (side * 0.52, 0.56, end),
                (side * 0.54, 0.68, end - 0.02),
                (side * 0.82, 0.75, end - 0.1),
            ]
            seen(lamp, (196, 204, 212))
            seen(np.array(lamp) * 0.62 + np.array(lamp).mean(axis=0) * 0.38, (255, 253, 244))


def shade(frame: npt.NDArray[np.uint8], eye: Eye, car: Car, z: float, sun: float) -> None:
    """The car's cast shadow, and the dark underneath it that is there in any light."""
    foot = np.array([[-0.9, -2.15], [0.9, -2.15], [0.9, 2.15], [-0.9, 2.15]])
    throw = -np.array([SUN[0], SUN[2]]) / SUN[1] * 1.45
    hull = cv2.convexHull(np.vstack([foot, foot * 0.8 + throw]).astype(np.float32))[:, 0]
    for outline, strength, blur in ((hull, 0.85 * sun, 0.03), (foot * (0.98, 1.03), 0.85, 0.08)):
        points = np.stack([outline[:, 0] + car.lane, np.full(len(outline), 0.01), outline[:, 1] + z], axis=1)
        pixels = eye.project(points)
        soft = max(0.8, blur * FOCAL / max(5.0, z - eye.z))
        pad = int(soft * 3) + 2
        left, top = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - pad, 0)
        right, bottom = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + pad, (W, H))
        if left >= right or top >= bottom:
            continue
        mask = np.zeros((bottom - top, right - left), np.float32)
        cv2.fillConvexPoly(mask, np.rint((pixels - (left, top)) * 16).astype(np.int32), strength, cv2.LINE_AA, 4)
        mask = cv2.GaussianBlur(mask, (0, 0), soft)[..., None]
        target = frame[top:bottom, left:right]
        target[:] = target * (1 - mask) + target * mask * np.array([0.36, 0.40, 0.50])


# People


def draw_walker(frame: npt.NDArray[np.uint8], eye: Eye, walker: tuple[float, float, float, int], seconds: float,
                lit: Callable[[float, float], float]) -> None:  # fmt: skip
    """Somebody on the pavement: two legs in step, a coat, arms, a head."""
    x, z0, pace, look = walker
    z = z0 + pace * seconds
    depth = float(eye.depth(np.array([[x, 0, z]]))[0])
    if depth < 6:
        return
    rng = np.random.default_rng(look)
    bright = 0.45 + 0.55 * lit(x, z)
    gray = rng.choice([45, 70, 120, 190, 215])
    coat, cloth = (gray + rng.integers(-28, 29, 3)) * bright, (rng.integers(35, 90) + np.array([0, 2, 12])) * bright
    skin, hair = np.array([222, 178, 150]) * bright, rng.integers(25, 120) * np.array([1, 0.85, 0.7]) * bright
    foot, metre = eye.project(np.array([[x, 0, z]]))[0], FOCAL / depth
    swing = math.sin(seconds * 5.6 * abs(pace) / 1.3 + look)

    def at(dx: float, y: float) -> npt.NDArray[np.float64]:
        return foot + np.array([dx, -y]) * metre

    def limb(start: tuple[float, float], stop: tuple[float, float], wide: float, color: npt.ArrayLike) -> None:
        ends = [np.rint(at(*end) * 16).astype(int).tolist() for end in (start, stop)]
        shown = hazed(color, depth).tolist()
        cv2.line(frame, ends[0], ends[1], shown, max(1, round(wide * metre)), cv2.LINE_AA, 4)

    ground_shadow = [at(-0.1, 0), at(0.1, 0), at(-0.62, 0.12), at(-0.82, 0.10)]
    polygon(
        frame, ground_shadow, hazed(frame[min(H - 1, max(0, int(foot[1]))), min(W - 1, max(0, int(foot[0])))] * 0.6, 0)
    )
    limb((-0.05, 0.85), (-0.09 - 0.05 * swing, 0.05 + 0.07 * max(0, swing)), 0.15, cloth)
    limb((0.05, 0.85), (0.09 - 0.05 * swing, 0.05 + 0.07 * max(0, -swing)), 0.15, cloth * 0.8)
    limb((-0.2, 1.36), (-0.25 + 0.04 * swing, 0.86), 0.10, coat * 0.85)
    limb((0.2, 1.36), (0.25 + 0.04 * swing, 0.86), 0.10, coat)
    polygon(
        frame,
        [at(-0.17, 0.78), at(0.17, 0.78), at(0.21, 1.42), at(0.1, 1.5), at(-0.1, 1.5), at(-0.22, 1.42)],
        hazed(coat, depth),
    )
    polygon(frame, [at(-0.2, 0.78), at(-0.05, 0.78), at(-0.05, 1.48), at(-0.22, 1.42)], hazed(coat * 0.72, depth))
    for dy, radius, color in ((1.63, 0.115, skin), (1.67, 0.115, hair)):
        centre = np.rint(at(0, dy) * 16).astype(int).tolist()
        cv2.circle(frame, centre, max(10, round(radius * metre * 16)), hazed(color, depth).tolist(), -1, cv2.LINE_AA, 4)


# The film


@dataclass
class Scene:
    """All that stands in the street, built once."""

    grounds: list[Sheet]
    houses: list[Sheet]
    trees: list[Point]
    sprites: list[npt.NDArray[np.uint8]]
    lamps: list[tuple[float, float]]
    cars: list[Car]
    walkers: list[tuple[float, float, float, int]]
    tops: list[tuple[float, float, float]]
    far_line: Array

    def lit(self, x: float, z: float) -> float:
        return float(sunny(np.full((1, 1), x, np.float32), np.full((1, 1), z, np.float32), self.tops, [])[0, 0])


def build() -> Scene:
    rng = np.random.default_rng(SEED)
    houses, tops = street_fronts(rng)
    trees = [(side * 9.6, z + rng.uniform(-0.6, 0.6), float(rng.uniform(0.85, 1.1)))
             for side in (-1, 1) for z in np.arange(27.0 + (side > 0) * 3, FAR, 12.5)]  # fmt: skip
    lamps = [(side * 8.75, z) for side in (-1, 1) for z in np.arange(20.5 + (side > 0) * 3, FAR, 25.0)]
    edges = [3.0]
    while edges[-1] < FAR:
        edges.append(edges[-1] * 1.35)
    grounds = []
    for near, far in pairwise(edges):
        texture = ground(near, far, tops, trees)
        # along the street first, so that the near plane can cut it
        turned = np.ascontiguousarray(texture[::-1].transpose(1, 0, 2))
        grounds.append(Sheet((-WALL, 0, near), (0, 0, far - near), (2 * WALL, 0, 0), turned))
    moving = [
        (1.85, 16.0, 8.5, (172, 34, 36)),
        (4.75, 30.0, 6.5, (232, 232, 228)),
        (1.85, -14.0, 10.0, (38, 66, 118)),
        (1.85, 62.0, 9.0, (60, 62, 66)),
        (4.75, 88.0, 8.0, (200, 160, 60)),
        (-1.85, 62.0, -8.5, (226, 226, 230)),
        (-4.75, 40.0, -6.8, (44, 92, 128)),
        (-1.85, 105.0, -9.5, (150, 30, 34)),
        (-4.75, 92.0, -8.0, (70, 74, 80)),
        (-1.85, 150.0, -9.0, (210, 206, 196)),
        (4.75, 140.0, 8.0, (90, 110, 92)),
    ]
    cars = [Car(*car, size=1.0 + 0.1 * (index % 3 == 1)) for index, car in enumerate(moving)]
    paints = [
        (196, 198, 202),
        (52, 60, 72),
        (122, 34, 40),
        (228, 226, 220),
        (84, 110, 140),
        (40, 42, 44),
        (168, 150, 118),
    ]
    for side in (-1, 1):
        for index, z in enumerate(np.arange(32.0 + 3 * (side > 0), 170.0, 5.6)):
            if rng.random() < 0.62:
                cars.append(
                    Car(side * 7.05, float(z), 0.0, paints[(index * 3 + side) % len(paints)], 1.0 + 0.08 * (index % 2))
                )
    walkers = [
        (side * float(rng.uniform(10.4, 12.6)), float(rng.uniform(19, 95)), float(rng.choice([-1.3, 1.25, 1.1])), n)
        for n, side in enumerate([-1, 1] * 11)
    ]
    sprites = [foliage(np.random.default_rng(SEED + n)) for n in range(3)]
    far_line = np.repeat(rng.uniform(0.1, 1.6, 90), rng.integers(1, 5, 90)).astype(np.float32)
    return Scene(grounds, houses, trees, sprites, lamps, cars, walkers, tops, far_line)


def draw(scene: Scene, seconds: float) -> npt.NDArray[np.uint8]:
    """The frame at a moment, RGB [HEIGHT, WIDTH, 3]."""
    eye = eye_at(seconds)
    frame = sky(eye, seconds, scene.far_line)
    for sheet in (*scene.grounds[::-1], *scene.houses):
        draw_sheet(frame, eye, sheet)
    things: list[tuple[float, Callable[[], None]]] = []
    for index, (x, z, size) in enumerate(scene.trees):
        sway = 0.06 * math.sin(seconds * 1.7 + index * 2.1) + 0.03 * math.sin(seconds * 3.3 + index)
        sprite, light = scene.sprites[index % 3], 1.0 if x < 0 else 0.86
        things.append(
            (z, lambda s=sprite, p=(x, 0.0, z), h=8.4 * size, w=sway, g=light: draw_sprite(frame, eye, s, p, h, w, g))
        )
    things += [(z, lambda x=x, z=z: draw_lamp(frame, eye, x, z)) for x, z in scene.lamps]
    things += [
        (c.start + c.speed * seconds, lambda c=c: draw_car(frame, eye, c, seconds, scene.lit)) for c in scene.cars
    ]
    things += [
        (p[1] + p[2] * seconds, lambda p=p: draw_walker(frame, eye, p, seconds, scene.lit)) for p in scene.walkers
    ]
    for _, paint in sorted(things, key=lambda thing: -thing[0]):
        paint()
    glow = cv2.GaussianBlur(np.maximum(frame, 200) - 200, (0, 0), 14)
    frame = cv2.addWeighted(frame, 1.0, glow, 0.22, 0)
    return cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


# Sound


def tone_of(hertz: float, seconds: float, decay: float, partials: Sequence[float]) -> npt.NDArray[np.float64]:
    """A plucked or, with a long decay, a swelling note."""
    t = np.arange(int(seconds * RATE)) / RATE
    wave = sum((level * np.sin(math.tau * hertz * (n + 1) * t) * np.exp(-t * n * 1.6 / decay)
                for n, level in enumerate(partials)), np.zeros_like(t))  # fmt: skip
    return wave * np.exp(-t / decay) * np.minimum(1, t / 0.006)


def band(length: int, low: float, high: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Noise between two frequencies, falling like pink noise, deviation 1."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    hertz = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 1)
    spectrum *= 1 / np.sqrt(hertz) / (1 + (low / hertz) ** 4) / (1 + (hertz / high) ** 4)
    wave = np.fft.irfft(spectrum, length)
    return wave / wave.std()


def sound(scene: Scene) -> Array:
    """The street and a few quiet chords over it, stereo [2, samples] in -1..1."""
    rng = np.random.default_rng(SEED)
    length = SECONDS * RATE
    t = np.arange(length) / RATE
    music, street = np.zeros((2, length + 3 * RATE)), np.zeros((2, length))
    chords = [(0.0, (146.83, 220.0, 277.18, 329.63)), (2.5, (123.47, 185.0, 220.0, 293.66))]
    for begin, notes in chords:
        for index, hertz in enumerate(notes):
            for ear, detune in ((0, 0.9985), (1, 1.0015)):
                pad = tone_of(hertz * detune, 3.4, 2.4, (1, 0.35, 0.16, 0.05))
                pad *= np.minimum(1, np.arange(len(pad)) / RATE / 0.7) * np.minimum(
                    1, (3.4 - np.arange(len(pad)) / RATE) / 0.9
                )
                music[ear, int(begin * RATE) :][: len(pad)] += pad * (0.050 if index else 0.07)
        for step, pick in enumerate((0, 2, 1, 3, 2, 3, 1, 2)):
            pluck = tone_of(notes[pick] * 2, 1.6, 0.42, (1, 0.3, 0.12, 0.06))
            at, pan = int((begin + step * 0.3125) * RATE), 0.5 + 0.3 * math.sin(step * 1.9)
            for ear, level in ((0, 1 - pan), (1, pan)):
                music[ear, at:][: len(pluck)] += pluck * level * 0.11
    tail = np.exp(-np.arange(int(1.1 * RATE)) / RATE / 0.30)
    for ear in range(2):
        room = rng.standard_normal(len(tail)) * tail
        size = 2 ** math.ceil(math.log2(music.shape[1] + len(room)))
        wet = np.fft.irfft(np.fft.rfft(music[ear], size) * np.fft.rfft(room / np.sqrt((room**2).sum()), size), size)
        music[ear] = music[ear] * 0.8 + wet[: music.shape[1]] * 0.35
        street[ear] = 0.020 * band(length, 45, 420, rng) + 0.0045 * band(length, 500, 5200, rng)
    for car in scene.cars:
        away = np.hypot(
            np.array([eye_at(s).z for s in (0, SECONDS)])[0] + 4.2 * t / SECONDS - car.start - car.speed * t, 3.0
        )
        if car.speed:
            pan = 0.5 + 0.4 * np.tanh(car.lane / 3)
            hiss = band(length, 180, 1500, rng) * 0.22 / (3 + away)
            street += np.stack([(1 - pan) * hiss, pan * hiss])
    for begin, hertz, pan in (
        (0.6, 3600, 0.2),
        (0.82, 4100, 0.2),
        (2.1, 3300, 0.8),
        (2.28, 3900, 0.8),
        (4.0, 4300, 0.35),
    ):
        chirp = np.arange(int(0.12 * RATE)) / RATE
        wave = np.sin(math.tau * (hertz * chirp + 5200 * chirp**2)) * np.sin(math.pi * chirp / 0.12) ** 2 * 0.016
        street[:, int(begin * RATE) :][:, : len(wave)] += np.stack([wave * (1 - pan), wave * pan])
    mix = (music[:, :length] + street) * np.minimum(1, t / 0.25) * np.minimum(1, (SECONDS - t) / 0.5)
    return (mix * 0.6 / np.abs(mix).max()).astype(np.float32)


# File


def planes(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """BT.709 limited-range 4:2:0 as one array [HEIGHT * 3 / 2, WIDTH]; chroma sits at the left, as H.264 expects."""
    red, green, blue = (picture[..., channel].astype(np.float32) / 255 for channel in range(3))
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    rows = [16 + 219 * luma]
    for color, span in ((blue, 1.8556), (red, 1.5748)):
        chroma = cv2.sepFilter2D((color - luma) / span, -1, np.array([0.25, 0.5, 0.25]), np.array([0.0, 0.5, 0.5]))
        rows.append((128 + 224 * chroma[::2, ::2]).reshape(-1, WIDTH))
    return np.clip(np.rint(np.vstack(rows)), 0, 255).astype(np.uint8)


def write(path: Path) -> None:
    scene = build()
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as out:
        video = out.add_stream("libx264", FPS, options={"crf": "16", "preset": "veryslow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        context = video.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
        audio = out.add_stream("aac", RATE, layout="stereo")
        audio.bit_rate = 128_000
        for index in range(SECONDS * FPS):
            frame = av.VideoFrame.from_ndarray(planes(draw(scene, index / FPS)), format="yuv420p")
            frame.color_range, frame.colorspace = 1, 1
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            out.mux(video.encode(frame))
        wave = sound(scene)
        for start in range(0, wave.shape[1], 1024):
            piece = np.ascontiguousarray(wave[:, start : start + 1024])
            samples = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            samples.sample_rate, samples.pts, samples.time_base = RATE, start, Fraction(1, RATE)
            out.mux(audio.encode(samples))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))


def main() -> None:
    if "--frame" in sys.argv:
        number, path = sys.argv[sys.argv.index("--frame") + 1 :][:2]
        cv2.imwrite(path, draw(build(), int(number) / FPS)[..., ::-1])
    else:
        path = Path(__file__).with_name("boulevard.mp4")
        unfinished = path.with_name("boulevard.part.mp4")
        write(unfinished)
        unfinished.replace(path)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
