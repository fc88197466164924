"""The drawing model: what a picture looks like drawn in pencil, in ink and in watercolour, and anywhere between.

It makes the targets of the sketchbook effect. Every pixel depends on some fifty pixels around it and on nothing else:
there is neither noise nor a texture fixed to the screen, so a small network can learn it and video does not shimmer.
All that depends on the medium is a `Drawing`; between two media its numbers are interpolated, so that half-way lies a
drawing and not a crossfade. Of a picture x the model measures, once for all media (`Study`):

- patches: x in flat patches with sharp borders, by two passes of a Kuwahara filter with smooth weights (Papari et al.
  2007, "Artistic edge and corner enhancing smoothing"), p = sum_k w_k m_k / sum_k w_k over the Gaussian means
  m_k of eight places around the pixel, w_k = 1 / (1 + (30 s_k)^8) of the deviations s_k there;
- contours: differences of Gaussians D = (G_1.6s - G_s) * y over the local luminance at two scales s, smoothed along the
  tangents of the structure tensor (Kang et al., "Coherent line drawing", NPAR 2007; Kyprianidis and Dollner 2008);
- strokes: what of y is finer than 2 pixels, smoothed along the same tangents.

A line covers tanh((D - threshold) / softness) of its pixel (XDoG, Winnemoller et al., Computers & Graphics 2012). Paint
changes a color C by its density d to C - (C - C^2)(d - 1) (Bousseau et al., "Interactive watercolor rendering with
temporal coherence and abstraction", NPAR 2006): d is above 1 along the dark side of an edge, where pigment dries, and
below 1 along its bright side, where paper shows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np

from dnirender.train.data.photos import Image

Color = tuple[float, float, float]
LUMA = np.array(((0.299, 0.587, 0.114),), np.float32)  # BT.601: weights of sRGB values, not of light
STEP = 0.17  # of luminance, between two washes of watercolour
SURROUND = 12.0  # pixels, sigma of what a tone is seen against


@dataclass(frozen=True)
class Drawing:
    """One medium. Colors are sRGB; shares are 0..1.

    Tones t (1 is paper): `flat` is the share of the patches in place of the picture; `dodge` that of the tone over its
    surround in place of the tone; then 1 - `depth` (1 - t)^`power`. `strokes` is the height of strokes of graphite,
    `masses` the share of four levels of ink in place of the tone. `saturation` is a factor of the chroma, for which
    a light tone makes room. Tones 0..1 go from `shade` to `paper`.

    Lines: `lines` is how much they cover, `coarse` the weight of the coarser of their two scales, `line` their color;
    `threshold` and `softness` are in units of D.

    `wet` is how much of watercolour there is: soft steps of tone, color that bleeds, pigment at edges, highlights left
    bare.
    """

    flat: float
    dodge: float
    depth: float
    power: float
    strokes: float
    masses: float
    saturation: float
    shade: Color
    paper: Color
    lines: float
    coarse: float
    threshold: float
    softness: float
    line: Color
    wet: float


PHOTO = Drawing(
    flat=0.0,
    dodge=0.0,
    depth=1.0,
    power=1.0,
    strokes=0.0,
    masses=0.0,
    saturation=1.0,
    shade=(0, 0, 0),
    paper=(1, 1, 1),
    lines=0.0,
    coarse=0.6,
    threshold=0.008,
    softness=0.10,
    line=(0.18, 0.18, 0.20),
    wet=0.0,
)
PENCIL = Drawing(
    flat=0.25,
    dodge=0.6,
    depth=1.05,
    power=1.6,
    strokes=0.12,
    masses=0.0,
    saturation=0.0,
    shade=(0.05, 0.05, 0.06),
    paper=(0.985, 0.98, 0.965),
    lines=0.93,
    coarse=0.7,
    threshold=0.008,
    softness=0.10,
    line=(0.12, 0.12, 0.14),
    wet=0.0,
)
INK = Drawing(
    flat=0.8,
    dodge=0.6,
    depth=1.05,
    power=1.6,
    strokes=0.0,
    masses=1.0,
    saturation=0.0,
    shade=(0.055, 0.06, 0.10),
    paper=(0.985, 0.975, 0.945),
    lines=1.0,
    coarse=0.9,
    threshold=0.022,
    softness=0.035,
    line=(0.055, 0.06, 0.10),
    wet=0.0,
)
WATERCOLOR = Drawing(
    flat=1.0,
    dodge=0.12,
    depth=0.90,
    power=1.35,
    strokes=0.0,
    masses=0.0,
    saturation=1.3,
    shade=(0.10, 0.09, 0.17),
    paper=(0.995, 0.99, 0.975),
    lines=0.9,
    coarse=0.35,
    threshold=0.012,
    softness=0.07,
    line=(0.20, 0.14, 0.15),
    wet=1.0,
)
PATH = (PHOTO, PENCIL, INK, WATERCOLOR)
NAMES = ("photo", "pencil", "ink", "watercolour")
LEVELS = ((0.10, 0.17, 0.42), (0.25, 0.33, 0.28), (0.44, 0.56, 0.20))
"""Of ink: between the first two luminances the tone rises by the third number, from 0.10."""


@dataclass(frozen=True)
class Study:
    """A picture (h w 3, sRGB 0..1) and what `draw` needs to know about it; the rest is h w, but for the two of color.

    patches: h w 3, the picture in flat patches.
    bleed: h w 3, the chroma (color minus luminance) of the patches, blurred.
    surround: luminance, blurred over `SURROUND`.
    fine, coarse: contours D at two scales, about -1..1.
    strokes: fine texture along the edges, about -1..1.
    """

    picture: Image
    patches: Image
    bleed: Image
    surround: Image
    fine: Image
    coarse: Image
    strokes: Image


def mixed(mix: Sequence[float]) -> Drawing:
    """The medium at a mixture of those of `PATH`, whose parts sum to 1."""
    parts = [(medium, share) for medium, share in zip(PATH, mix, strict=True) if share]
    if len(parts) == 1:
        return parts[0][0]
    values: dict[str, Any] = {}
    for name in (f.name for f in fields(Drawing)):
        values[name] = np.sum([share * np.array(getattr(medium, name)) for medium, share in parts], 0).tolist()
    return Drawing(**values)


def study(picture: Image) -> Study:
    """Measures h w 3 sRGB 0..1."""
    y = luma(picture)
    quiet = _quiet(y)
    patches = _kuwahara(_kuwahara(picture, 1.5, 3), 2.0, 4)
    detail = quiet - _blur(quiet, 2.0)
    lines = cv2.merge((_contours(quiet, 0.8), _contours(quiet, 2.4), np.clip(8 * detail, -1, 1)))
    fine, coarse, strokes = cv2.split(_along(lines, *_tangents(quiet)))
    bleed = _blur(patches - luma(patches)[..., None], 7.0)
    return Study(picture, patches, bleed, _blur(y, SURROUND), fine, coarse, strokes)


def draw(sheet: Study, medium: Drawing) -> Image:
    """The picture of `sheet` in `medium`: h w 3 sRGB 0..1; exactly the picture itself where that is `PHOTO`."""
    if medium == PHOTO:
        return sheet.picture
    base = cv2.addWeighted(sheet.picture, 1 - medium.flat, sheet.patches, medium.flat, 0)
    y, patch = luma(base), luma(sheet.patches)
    chroma = base - y[..., None]
    chroma += 0.5 * medium.wet * (sheet.bleed - chroma)
    chroma *= medium.saturation
    tone = _tone(sheet, medium, y, patch)
    tone = tone - 0.5 * np.maximum(tone + chroma.max(2) - 1, 0)
    color = np.clip(tone[..., None] + chroma, 0, 1)
    if medium.wet:
        color = _paint(color, patch, medium.wet)
    shade, paper, line = (np.array(c, np.float32) for c in (medium.shade, medium.paper, medium.line))
    color = shade + color * (paper - shade)
    contour = np.maximum(sheet.fine, medium.coarse * sheet.coarse)
    cover = medium.lines * np.tanh(np.maximum((contour - medium.threshold) / medium.softness, 0))
    return np.clip(color + cover[..., None] * (line - color), 0, 1)


def luma(picture: Image) -> Image:
    """h w 3 to h w."""
    return cv2.transform(picture, LUMA)


def _tone(sheet: Study, medium: Drawing, y: Image, patch: Image) -> Image:
    """The tones before color and lines, h w."""
    tone = y + medium.wet * (_washes(y) - y)
    if medium.dodge:
        tone = tone + medium.dodge * (np.minimum(tone / (sheet.surround + 0.02), 1) - tone)
    tone = 1 - medium.depth * np.maximum(1 - tone, 0) ** medium.power
    tone = tone + medium.strokes * sheet.strokes * (1 - 0.5 * y)
    if medium.masses:
        local = patch + 0.6 * (patch - sheet.surround)
        ink = 0.10 + sum(rise * _ramp(local, low, high) for low, high, rise in LEVELS)
        tone = tone + medium.masses * (ink - tone)
    return tone


def _paint(color: Image, patch: Image, wet: float) -> Image:
    """Pigment gathers along the dark side of edges and leaves their bright side; highlights stay paper."""
    washes = _washes(patch)
    sharp = _blur(washes, 0.8)
    edge = np.tanh(7 * (_blur(washes, 5.0) - sharp)) + 0.8 * np.tanh(9 * (_blur(washes, 2.2) - sharp))
    density = wet * (0.8 * np.maximum(edge, 0) + 0.6 * np.minimum(edge, 0))[..., None]
    color = np.clip(color - (color - color * color) * density, 0, 1)
    bare = 0.85 * wet * _ramp(patch, 0.60, 0.95)[..., None]
    return color + bare * (1 - color)


def _washes(y: Image) -> Image:
    """Soft steps of tone: y - 0.9 sin(2 pi y / STEP) STEP / 2 pi."""
    turn = 2 * math.pi / STEP
    return y - 0.9 / turn * np.sin(turn * y)


def _quiet(y: Image) -> Image:
    """Luminance without noise: the guided filter of He et al. 2013 with itself as guide, radius 2, eps 0.02^2."""
    mean = cv2.blur(y, (5, 5))
    variance = cv2.blur(y * y, (5, 5)) - mean * mean
    slope = variance / (variance + 4e-4)
    return cv2.blur(slope, (5, 5)) * y + cv2.blur(mean - slope * mean, (5, 5))


def _kuwahara(picture: Image, sigma: float, radius: int) -> Image:
    """The Kuwahara filter with smooth weights: means over `sigma` at eight places `radius` pixels away."""
    y = luma(picture)
    mean, square = _blur(picture, sigma), _blur(y * y, sigma)
    weight = 1 / (1 + (900 * np.maximum(square - luma(mean) ** 2, 0)) ** 4) + 1e-8
    ring = _ring(radius)
    total, weights = (cv2.filter2D(part, -1, ring) for part in (mean * weight[..., None], weight))
    return np.divide(total, weights[..., None])


def _ring(radius: int) -> Image:
    """A kernel that sums eight places around the pixel."""
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    for k in range(8):
        angle = k * math.pi / 4
        kernel[radius + round(radius * math.sin(angle)), radius + round(radius * math.cos(angle))] = 1
    return kernel


def _contours(y: Image, sigma: float) -> Image:
    """D: positive on the dark side of edges."""
    around = _blur(y, 1.6 * sigma)
    return (around - _blur(y, sigma)) / (around + 0.1)


def _tangents(y: Image) -> tuple[Image, Image]:
    """The direction x, y along the edges at every pixel, as long as it is sure: 0..1."""
    dx, dy = (cv2.Sobel(y, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    tensor = _blur(cv2.merge((dx * dx, dx * dy, dy * dy)), 2.5)
    xx, xy, yy = cv2.split(tensor)
    sure = np.sqrt((xx - yy) ** 2 + 4 * xy * xy) / (xx + yy + 1e-4)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    return -np.sin(angle) * sure, np.cos(angle) * sure


def _along(x: Image, tx: Image, ty: Image, reach: int = 6, taps: int = 4) -> Image:
    """h w c smoothed along straight tangents by a Gaussian over `reach` pixels to both sides."""
    rows, cols = np.indices(x.shape[:2], np.float32)
    total, weights = x, 1.0
    for k in range(1, taps + 1):
        weight, far = math.exp(-2 * (k / taps) ** 2), reach * k / taps
        for step in (-far, far):
            there = cols + step * tx, rows + step * ty
            moved = cv2.remap(x, *there, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
            total = cv2.scaleAdd(moved, weight, total)
            weights += weight
    return np.divide(total, weights)


def _blur(x: Image, sigma: float) -> Image:
    """Gaussian; a wide one is computed on a smaller grid."""
    if sigma < 4:
        return cv2.GaussianBlur(x, (0, 0), sigma)
    step = int(sigma / 2)
    rows, cols = x.shape[:2]
    small = cv2.resize(x, (max(cols // step, 1), max(rows // step, 1)), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / step), (cols, rows))


def _ramp(x: Image, low: float, high: float) -> Image:
    """Smoothstep: 0 below `low`, 1 above `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
