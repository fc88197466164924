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
FOCAL, HORIZON = 0.72 * W, 0.585 * H
ROAD, WALL, FAR = 8.0, 13.5, 330.0  # half the road, where the houses stand, where the street ends
SUN = np.array([0.40, 0.80, -0.44]) / np.linalg.norm([0.40, 0.80, -0.44])
SUNLIGHT = np.array([1.62, 1.48, 1.24], np.float32)
SKYLIGHT = np.array([0.36, 0.45, 0.60], np.float32)
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


def hazed(colour: npt.ArrayLike, depth: float) -> Array:
    """Display colour 0..255 seen through `depth` metres of bright air."""
    clear = math.exp(-max(depth, 0) / 420)
    return (np.asarray(colour, np.float32) * clear + HAZE * 255 * (1 - clear)).astype(np.float32)


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
    """A facade in the making: what colour it is, where the sun falls on it, and what it shows as glass."""

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

    def relief(self, x: float, y: float, w: float, h: float, colour: Array | float, out: float) -> None:
        """A piece that stands `out` metres proud and throws its shadow down and away from the eye."""
        fall, drift = out * SUN[1] / SUN[0] * 0.8, out * -SUN[2] / SUN[0] * 0.8
        rows, columns = self.box(x, y, w, h)
        shadow = np.array([[x, y + h], [x + w, y + h], [x + w + drift, y + h - fall], [x + w + drift, y - fall]])
        shadow = np.vstack([shadow, [[x + drift, y - fall], [x, y]]]) * (1, -1) + (0, self.height)
        cv2.fillPoly(self.sun, [np.rint(shadow * DENSITY).astype(np.int32)], 0.0)
        self.sun[rows, columns] = 1
        self.is_glass[rows, columns] = 0
        self.albedo[rows, columns] = self.albedo[rows, columns] * colour if isinstance(colour, float) else colour

    def pane(self, x: float, y: float, w: float, h: float, colour: Array, deep: float) -> None:
        """Glass set back by `deep` metres: dark below, a little sky above, a slant of reflection."""
        rows, columns = self.box(x, y, w, h)
        height, width = self.sun[rows, columns].shape
        if not height or not width:
            return
        down, along = np.mgrid[0:height, 0:width].astype(np.float32)
        slant = smooth(0.0, 0.25, np.sin((along + down * 0.7) / DENSITY * 2.1 + x * 3 + y) - 0.35)
        rise = 1 - down / height
        shade = 0.55 + 0.75 * rise + 0.5 * slant * rise
        self.glass[rows, columns] = colour * shade[..., None]
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
            light = light + crisp[..., None] * SUNLIGHT * 0.72
        shown = self.albedo * (grime * streaks)[..., None] * light
        mask = cv2.GaussianBlur(self.is_glass, (0, 0), 0.6)[..., None]
        return tone(shown * (1 - mask) + self.glass * mask)


PLASTER = [(226, 214, 190), (232, 222, 204), (214, 190, 158), (220, 200, 176), (205, 196, 184), (228, 208, 190)]
PLASTER += [(196, 172, 146), (236, 230, 220), (216, 186, 164), (200, 190, 170)]
BRICK = [(168, 98, 76), (154, 92, 74), (178, 118, 92)]
SHOPS = ["BOULANGERIE", "CAFE DU PARC", "LIBRAIRIE", "FLEURS", "HOTEL", "ATELIER", "OPTIQUE", "TABAC", "VELO", "THEATRE"]
SIGNS = [(32, 62, 54), (96, 28, 30), (28, 42, 78), (44, 40, 38), (122, 84, 34), (58, 74, 60), (70, 34, 62)]


def masonry(wall: Wall, brick: bool, rng: np.random.Generator) -> None:
    rows, columns = wall.shape
    y, x = np.mgrid[0:rows, 0:columns]
    high, long = (round(0.14 * DENSITY), round(0.42 * DENSITY)) if brick else (round(0.55 * DENSITY), round(1.2 * DENSITY))
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


def shutters(wall: Wall, x: float, y: float, w: float, h: float, colour: Array) -> None:
    for left in (x - 0.62, x + w + 0.14):
        wall.relief(left, y, 0.48, h, colour, 0.05)
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
            goods = linear(*rng.integers(70, 200, 3)) * 0.20
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


def chimneys(width: float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    picture = np.zeros((70, round(width * 24), 4), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        x, w = int(rng.uniform(0.5, width - 2) * 24), int(rng.uniform(0.7, 1.6) * 24)
        shade = rng.uniform(0.8, 1.1)
        picture[22:, x : x + w] = (*(np.array([176, 132, 106]) * shade), 255)
        picture[22:, x + w * 3 // 4 : x + w, :3] = picture[22:, x + w * 3 // 4 : x + w, :3] * 0.7
        picture[20:25, x - 2 : x + w + 2] = (196, 180, 160, 255)
        for pot in range(x + 3, x + w - 6, 10):
            picture[6:20, pot : pot + 6] = (182, 104, 72, 255)
    return picture


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
    ridge = side * 2.1
    sheets.append(Sheet((x + ridge, top + 4.6, back), along, (0, -1.8, 0), chimneys(width, rng)))
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
    tops: list[tuple[float, float, float]] = []
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
