"""The drawing model: what a picture looks like drawn in pencil, in ink and in watercolour, and anywhere between.

It makes the targets of the sketchbook effect. Every pixel depends on some thirty pixels around it and on its place on
the paper, whose grain and hatching repeat every `PERIOD` pixels and stay where they are while the picture moves. All
that depends on the medium is a `Drawing`; between two media its numbers are interpolated, so that half-way lies a
drawing and not a crossfade. Of a picture the model measures, once for all media (`Study`):

- patches: the picture in flat patches with sharp borders, by two passes of a Kuwahara filter with smooth weights
  (Papari et al. 2007, "Artistic edge and corner enhancing smoothing"), p = sum_k w_k m_k / sum_k w_k over the Gaussian
  means m_k of eight places around the pixel, w_k = 1 / (1 + (20 s_k)^6) of the deviations s_k there;
- contours: differences of Gaussians D = (G_s - G_1.6s) * y / (G_1.6s * y + 0.12) of the luminance at two scales s,
  smoothed along the curved tangents of the structure tensor (Kang et al., "Coherent line drawing", NPAR 2007;
  Kyprianidis and Dollner 2008): negative on the dark side of an edge.

Ink covers a pixel where the lowest of several fields is below zero, with a hard edge (XDoG, Winnemoller et al.,
Computers & Graphics 2012): tone + sharpening D - black for flat blacks, D + line for contours, and one wave for each
direction of hatching, whose lines grow wider as the tone falls (a screen as in Ostromoukhov, "Digital facial
engraving", SIGGRAPH 1999). Pencil and watercolour brighten every tone by the same factor, up to a knee near the white
of the paper, so dark skin stays as much darker than light skin as it is. Paint changes a color C by its density d to
C - (C - C^2)(d - 1) (Bousseau et al., "Interactive watercolor rendering with temporal coherence and abstraction", NPAR
2006).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from dnirender.train.data.photos import Image

Color = tuple[float, float, float]
LUMA = np.array(((0.299, 0.587, 0.114),), np.float32)  # BT.601: weights of sRGB values, not of light
PERIOD = 32  # pixels, of the paper
KNEE = 20.0  # one over the width of the knee below the white of the paper
WAVES = ((4, 4, 0.68, 0.10), (5, -3, 0.34, 0.08))
"""Of hatching: waves per period along x and y; tone at which the lines begin, and at which they are widest."""
MARKS = ("grain", "strokes", "lines", "granulation", "pooling")
"""What the pencil and the brush put on a photograph: half-way three quarters of it, ahead of the tones."""
WIDEST = 0.62  # share of the paper that one direction of hatching covers at most


@dataclass(frozen=True)
class Drawing:
    """One medium. Colors are sRGB; shares are 0..1.

    `flat` is the share of the patches in place of the picture. `light` is the factor of the tones (sRGB values), less
    towards the knee; the `darkest` tone is that of black. `saturation` is a factor of the chroma. `grain` and `strokes`
    are how much the tooth of the paper and slanting strokes darken and lighten middle tones. Colors go from `shade` to
    `paper`.

    `lines` is how dark contours are, `least` the D of the faintest, `coarse` the weight of the coarser of their two
    scales, `softness` the D at which they are at 3/4, `line` their color.

    `ink` is the share of ink in place of the tone, `hard` the sharpness of its edges. `wet` is the share of the larger
    patches, `glaze` the height of soft steps of tone, `granulation` and `pooling` how much pigment gathers in the
    paper's tooth and on the dark side of edges.
    """

    flat: float = 0.0
    light: float = 1.0
    darkest: float = 0.0
    saturation: float = 1.0
    grain: float = 0.0
    strokes: float = 0.0
    shade: Color = (0, 0, 0)
    paper: Color = (1, 1, 1)
    lines: float = 0.0
    least: float = 0.01
    coarse: float = 0.8
    softness: float = 0.1
    line: Color = (0.10, 0.10, 0.11)
    ink: float = 0.0
    hard: float = 0.0
    wet: float = 0.0
    glaze: float = 0.0
    granulation: float = 0.0
    pooling: float = 0.0


PHOTO = Drawing(least=0.15)  # so the strongest contours are drawn first
PENCIL = Drawing(
    flat=0.7,
    light=1.25,
    darkest=0.1,
    saturation=0.0,
    grain=0.06,
    strokes=0.085,
    paper=(0.99, 0.985, 0.97),
    lines=1.0,
    softness=0.05,
)
INK = Drawing(
    flat=1.0,
    saturation=0.0,
    shade=(0.055, 0.06, 0.09),
    paper=(0.985, 0.975, 0.945),
    coarse=0.9,
    line=(0.055, 0.06, 0.09),
    ink=1.0,
    hard=1.0,
)
WATERCOLOR = Drawing(
    flat=1.0,
    light=1.2,
    darkest=0.1,
    saturation=1.3,
    paper=(0.995, 0.99, 0.98),
    lines=0.85,
    coarse=0.2,
    softness=0.10,
    line=(0.22, 0.16, 0.14),
    wet=0.8,
    glaze=0.01,
    granulation=0.16,
    pooling=3.0,
)
PATH = (PHOTO, PENCIL, INK, WATERCOLOR)
NAMES = ("photo", "pencil", "ink", "watercolour")


@dataclass(frozen=True)
class Study:
    """A picture (h w 3, sRGB 0..1) and what `draw` needs to know about it.

    patches, washes: h w 3, the picture in flat patches, small and larger ones.
    fine, coarse: h w, contours D at two scales, about -1..1.
    tooth: h w, the height of the paper, mean 0 and deviation 1.
    hatching: of every one of `WAVES` h w, 0..1, 0 in the middle of a line.
    """

    picture: Image
    patches: Image
    washes: Image
    fine: Image
    coarse: Image
    tooth: Image
    hatching: Sequence[Image]


def mixed(mix: Sequence[float]) -> Drawing:
    """The medium at a mixture of those of `PATH`, whose parts sum to 1."""
    parts = [(medium, share) for medium, share in zip(PATH, mix, strict=True) if share]
    if len(parts) == 1:
        return parts[0][0]
    values: dict[str, Any] = {}
    for name in (f.name for f in fields(Drawing)):
        total = np.sum([share * np.array(getattr(medium, name)) for medium, share in parts], 0)
        values[name] = (total * (1 + mix[0]) if name in MARKS else total).tolist()
    return Drawing(**values)


def study(picture: Image) -> Study:
    """Measures h w 3 sRGB 0..1. Its top left pixel lies at the top left of a period of the paper."""
    quiet = _quiet(luma(picture))
    patches = _kuwahara(_kuwahara(picture, 1.2, 2), 1.5, 3)
    contours = cv2.merge((_contours(quiet, 0.9), _contours(quiet, 2.0)))
    fine, coarse = cv2.split(_along(contours, *_tangents(quiet)))
    rows, cols = (-(-side // PERIOD) for side in picture.shape[:2])
    tooth, *hatching = (np.tile(p, (rows, cols))[: picture.shape[0], : picture.shape[1]] for p in paper())
    washes = _kuwahara(patches, 2.2, 4)
    return Study(picture, patches, washes, fine, coarse, tooth, hatching)


@lru_cache(maxsize=1)
def paper() -> tuple[Image, ...]:
    """One period of the paper, each PERIOD PERIOD: its tooth, and the waves of hatching."""
    noise = np.random.default_rng(3).normal(size=(PERIOD, PERIOD))
    frequency = np.hypot(np.fft.fftfreq(PERIOD)[:, None], np.fft.fftfreq(PERIOD))
    band = np.exp(-((frequency / 0.36) ** 2)) * (1 - np.exp(-((frequency / 0.16) ** 2)))
    tooth = np.fft.ifft2(np.fft.fft2(noise) * band).real
    y, x = np.mgrid[:PERIOD, :PERIOD] / PERIOD
    waves: list[Image] = []
    for across, down, _, _ in WAVES:
        turn = 2 * math.pi
        phase = across * x + down * y + 0.03 * np.sin(turn * (x - y)) + 0.02 * np.sin(turn * (2 * x - y) + 1)
        waves.append(np.abs(2 * (phase % 1) - 1).astype(np.float32))
    return (tooth / tooth.std()).astype(np.float32), *waves


def draw(sheet: Study, medium: Drawing) -> Image:
    """The picture of `sheet` in `medium`: h w 3 sRGB 0..1; exactly the picture itself where that is `PHOTO`."""
    if medium == PHOTO:
        return sheet.picture
    base = cv2.addWeighted(sheet.picture, 1 - medium.flat, sheet.patches, medium.flat, 0)
    base = cv2.addWeighted(base, 1 - medium.wet, sheet.washes, medium.wet, 0)
    y = luma(base)
    chroma = medium.saturation * (base - y[..., None])
    contour = _cored(sheet.fine + medium.coarse * sheet.coarse, medium.least)
    tone = _tone(sheet, medium, y)
    tone = tone + medium.ink * (_ink(sheet, medium, luma(sheet.patches), contour) - tone)
    color = np.clip(tone[..., None] + chroma, 0, 1)
    color = _paint(color, sheet, medium)
    shade, white, line = (np.array(c, np.float32) for c in (medium.shade, medium.paper, medium.line))
    color = shade + color * (white - shade)
    cover = medium.lines * np.tanh(np.maximum(-contour, 0) / medium.softness)
    return np.clip(color + cover[..., None] * (line - color), 0, 1)


def luma(picture: Image) -> Image:
    """h w 3 to h w."""
    return cv2.transform(picture, LUMA)


def _tone(sheet: Study, medium: Drawing, y: Image) -> Image:
    """The tones before ink, paint and lines, h w."""
    if medium.glaze:
        turn = 2 * math.pi / math.log(1.3)
        y = y * (1 - medium.glaze * np.sin(turn * np.log(y + 0.05)))
    bright = medium.light * y
    knee = 1 - np.logaddexp(0, KNEE * (1 - bright)) / KNEE
    tone = y + min(1.0, (medium.light - 1) / 0.1) * (knee - y)
    tone = np.sqrt(np.sqrt(np.maximum(tone, 0) ** 4 + medium.darkest**4)) if medium.darkest else tone
    middle = np.clip(4 * tone * (1 - tone), 0, 1)
    strokes = 2 * sheet.hatching[0] - 1 + _ramp(tone, 0.5, 0.2) * (2 * sheet.hatching[1] - 1)
    return tone + middle * (medium.grain * sheet.tooth + medium.strokes * strokes)


def _ink(sheet: Study, medium: Drawing, patch: Image, contour: Image) -> Image:
    """Paper 1, ink 0, h w."""
    soft = 1 - medium.hard
    floor = 0.02 + 0.5 * soft
    free = np.minimum(
        _covered(patch - 0.15 + 2.2 * contour, floor), _covered(3 * (contour + 0.032), 0.02 + 0.15 * soft)
    )
    tone = patch + contour
    for (_, _, begin, widest), wave in zip(WAVES, sheet.hatching, strict=True):
        width = WIDEST * np.clip((begin - tone) / (begin - widest), 0, 1)
        lines = _covered(wave - width, floor)
        free = np.minimum(free, 1 - (1 - lines) * _ramp(width, 0.02, 0.09))
    return free


def _covered(field: Image, floor: float) -> Image:
    """0 where `field` is negative, 1 where it is positive, with an edge of a pixel or where it is flatter than `floor`,
    a value per pixel, of a wider one."""
    dx, dy = (cv2.Sobel(field, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return np.clip(0.5 + field / np.maximum(1.1 * np.hypot(dx, dy), floor), 0, 1)


def _paint(color: Image, sheet: Study, medium: Drawing) -> Image:
    """Pigment gathers in the tooth of the paper and along the dark side of edges."""
    if not medium.granulation + medium.pooling:
        return color
    tone = luma(color)
    edge = np.maximum(_blur(tone, 2.0) - _blur(tone, 0.7), 0) / (tone + 0.25)
    density = medium.granulation * sheet.tooth + medium.pooling * np.tanh(5 * edge)
    return np.clip(color - (color - color * color) * density[..., None], 0, 1)


def _cored(contour: Image, least: float) -> Image:
    """What is fainter than `least` is noise."""
    return contour - np.clip(contour, -least, least)


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
    weight = 1 / (1 + (400 * np.maximum(square - luma(mean) ** 2, 0)) ** 3) + 1e-8
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
    """D: negative on the dark side of edges."""
    around = _blur(y, 1.6 * sigma)
    return (_blur(y, sigma) - around) / (around + 0.12)


def _tangents(y: Image) -> tuple[Image, Image]:
    """The direction x, y along the edges at every pixel, as long as it is sure: 0..1."""
    dx, dy = (cv2.Sobel(y, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    tensor = _blur(cv2.merge((dx * dx, dx * dy, dy * dy)), 2.5)
    xx, xy, yy = cv2.split(tensor)
    sure = np.sqrt((xx - yy) ** 2 + 4 * xy * xy) / (xx + yy + 1e-4)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    return -np.sin(angle) * sure, np.cos(angle) * sure


def _along(x: Image, tx: Image, ty: Image, step: float = 2.0, taps: int = 4, sigma: float = 4.5) -> Image:
    """h w c smoothed along the curves that follow the tangents, by a Gaussian over `taps` steps to both sides."""
    rows, cols = np.indices(x.shape[:2], np.float32)
    total, weights = x, 1.0
    for side in (1, -1):
        there, way = (cols, rows), (side * tx, side * ty)
        for k in range(1, taps + 1):
            there = there[0] + step * way[0], there[1] + step * way[1]
            weight = math.exp(-0.5 * (k * step / sigma) ** 2)
            total = cv2.scaleAdd(_at(x, there), weight, total)
            weights += weight
            dx, dy = cv2.split(_at(cv2.merge((tx, ty)), there))
            sign = np.where(dx * way[0] + dy * way[1] < 0, np.float32(-1), np.float32(1))  # a tangent has no sense
            way = sign * dx, sign * dy
    return np.divide(total, weights)


def _at(x: Image, place: tuple[Image, Image]) -> Image:
    return cv2.remap(x, *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _blur(x: Image, sigma: float) -> Image:
    return cv2.GaussianBlur(x, (0, 0), sigma)


def _ramp(x: Image, low: float, high: float) -> Image:
    """Smoothstep: 0 below `low`, 1 above `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
