"""The drawing model: what a picture looks like drawn in pencil, in ink and in watercolour, and anywhere between.

It makes the targets of the sketchbook effect. Every pixel depends on some thirty pixels around it and on its place on
the paper, whose grain and hatching repeat every `PERIOD` pixels and stay where they are while the picture moves. All
that depends on the medium is a `Drawing`; between two media its numbers are interpolated, so that half-way lies a
drawing and not a crossfade. Of a picture the model measures, once for all media (`Study`):

- patches and washes: the picture in flat patches with sharp borders, small and larger ones, by passes of a Kuwahara
  filter with smooth weights (Papari et al. 2007, "Artistic edge and corner enhancing smoothing"),
  p = sum_k w_k m_k / sum_k w_k over the Gaussian means m_k of eight places around the pixel,
  w_k = 1 / (1 + (20 s_k)^6) of the deviations s_k there;
- contours: differences of Gaussians D = (G_s - G_1.6s) * y / (G_1.6s * y + 0.12) of the luminance at three scales s,
  smoothed along the curved tangents of the structure tensor (Kang et al., "Coherent line drawing", NPAR 2007;
  Kyprianidis and Dollner 2008): negative on the dark side of an edge;
- the direction in which the hand draws: along the shapes, and up to the right where there are none.

Ink covers a pixel where the lowest of several fields is below zero, with a hard edge (XDoG, Winnemoller et al.,
Computers & Graphics 2012): tone + sharpening D - black for flat blacks, D + line for contours, and a wave for hatching,
whose lines grow wider as the tone falls (a screen as in Ostromoukhov, "Digital facial engraving", SIGGRAPH 1999). Only
dark areas without contours are hatched: however small the picture is, detail is drawn by its contours. The strokes of
the pencil follow the shapes. Pencil and watercolour brighten every tone by the same factor, up to a knee near the white
of the paper, so dark skin stays as much darker than light skin as it is; pencil and ink leave green and blue lighter.
The chroma of watercolour is that of the washes and runs a little. Paint changes a color C by its density d to
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

from dnirender.train.data.filters import along, blur, contours, kuwahara, luma, quiet, ramp, tangents
from dnirender.train.data.photos import Image

Color = tuple[float, float, float]
PERIOD = 32  # pixels, of the paper
KNEE = 20.0  # one over the width of the knee below the white of the paper
WAVES = ((4, 3), (4, -3))  # of hatching: per period along x and y
BEGIN, WIDEST, COVER = 0.36, 0.12, 0.62  # tones at which hatching begins and is widest; the share it covers there
LAYER = 1.33  # ratio of the tones of two layers of paint
MARKS = ("grain", "strokes", "lines", "granulation", "pooling")
"""What the pencil and the brush put on a photograph: half-way three quarters of it, ahead of the tones."""
DIRECTIONS = ((1, 0), (2, 1), (1, 1), (1, 2), (0, 1), (-1, 2), (-1, 1), (-2, 1))  # x, y, of the strokes of the pencil
HAND = -math.pi / 4  # the direction of strokes where the picture has none: up to the right


@dataclass(frozen=True)
class Drawing:
    """One medium. Colors are sRGB; shares are 0..1.

    `flat` is the share of the patches in place of the picture. `light` is the factor of the tones (sRGB values), less
    towards the knee; the `darkest` tone is that of black. `saturation` is a factor of the chroma; `cool` is how much
    lighter green and blue are than gray. `grain` and `strokes` are how much the tooth of the paper and strokes along
    the shapes darken and lighten middle tones. Colors go from `shade` to `paper`.

    `lines` is how dark contours are, `least` the D of the faintest, `coarse` the weight of the coarser of their two
    scales, `softness` the D at which they are at 3/4, `line` their color.

    `ink` is the share of ink in place of the tone, `hard` the sharpness of its edges. `wet` is the share of the washes,
    `glaze` how flat the layers of paint are, `granulation` and `pooling` how much pigment
    gathers in the paper's tooth and along edges.
    """

    flat: float = 0.0
    light: float = 1.0
    darkest: float = 0.0
    saturation: float = 1.0
    cool: float = 0.0
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
    flat=0.9,
    light=1.25,
    darkest=0.11,
    saturation=0.0,
    cool=0.5,
    grain=0.025,
    strokes=0.052,
    paper=(0.99, 0.985, 0.97),
    lines=0.9,
    softness=0.05,
    line=(0.13, 0.13, 0.14),
)
INK = Drawing(
    flat=1.0,
    saturation=0.0,
    cool=0.4,
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
    darkest=0.112,
    saturation=1.25,
    paper=(0.995, 0.99, 0.98),
    lines=0.88,
    coarse=0.6,
    least=0.012,
    softness=0.06,
    line=(0.22, 0.16, 0.14),
    wet=0.45,
    glaze=0.027,
    granulation=0.06,
    pooling=1.5,
)
PATH = (PHOTO, PENCIL, INK, WATERCOLOR)
NAMES = ("photo", "pencil", "ink", "watercolour")


@dataclass(frozen=True)
class Study:
    """A picture (h w 3, sRGB 0..1) and what `draw` needs to know about it.

    patches, washes: h w 3, the picture in flat patches, small and larger ones.
    fine, coarse, bold: h w, contours D at three scales, about -1..1.
    plain, falling: h w, 0..1, 1 where hardly a contour is near, and where shapes fall to the right.
    tooth: h w, the height of the paper, mean 0 and deviation 1.
    strokes: h w, the same of strokes along the shapes.
    hatching: of every one of `WAVES` h w, 0..1, 0 in the middle of a line.
    """

    picture: Image
    patches: Image
    washes: Image
    fine: Image
    coarse: Image
    bold: Image
    plain: Image
    falling: Image
    tooth: Image
    strokes: Image
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
    size = picture.shape[:2]
    y = quiet(luma(picture))
    patches = kuwahara(kuwahara(picture, 1.2, 2), 1.5, 3)
    scales = cv2.merge((contours(y, 0.9), contours(y, 2.0), contours(y, 3.6)))
    fine, coarse, bold = cv2.split(along(scales, *tangents(y)))
    plain = 1 - ramp(blur(np.maximum(abs(fine), abs(coarse)), 5.0), 0.02, 0.06)
    tooth, *waves = (tiled(p, size) for p in paper())
    double = directions(y)
    falling = ramp(np.sin(double), 0.1, 0.6)
    return Study(picture, patches, washed(patches), fine, coarse, bold, plain, falling, tooth, shaded(double), waves)


def washed(patches: Image) -> Image:
    """The patches in large washes with firm borders, h w 3."""
    return kuwahara(kuwahara(kuwahara(kuwahara(patches, 2.0, 4), 2.5, 5), 2.0, 4), 1.2, 2)


def directions(y: Image) -> Image:
    """Twice the angle at which the hand draws, h w: along the shapes of the luminance `y`, or else `HAND`."""
    tx, ty = tangents(blur(y, 1.5), 7.0)
    double = 2 * np.arctan2(ty, tx)
    sure = ramp(np.hypot(tx, ty), 0.35, 0.75)
    return np.arctan2(
        sure * np.sin(double) + (1 - sure) * math.sin(2 * HAND), sure * np.cos(double) + (1 - sure) * math.cos(2 * HAND)
    )


def shaded(double: Image) -> Image:
    """Strokes at half the angles `double`, h w, mean 0 and deviation 1."""
    total, power = np.zeros_like(double), np.zeros_like(double)
    for (right, below), texture in zip(DIRECTIONS, strokes(), strict=True):
        near = np.maximum(np.cos(double - 2 * math.atan2(below, right)), 0) ** 5
        total += near * tiled(texture, double.shape)
        power += near * near
    return total / np.sqrt(power)


def tiled(texture: Image, size: tuple[int, ...]) -> Image:
    rows, cols = (-(-side // PERIOD) for side in size)
    return np.tile(texture, (rows, cols))[: size[0], : size[1]]


@lru_cache(maxsize=1)
def paper() -> tuple[Image, ...]:
    """One period of the paper, each PERIOD PERIOD: its tooth, and the waves of hatching."""
    frequency = np.hypot(np.fft.fftfreq(PERIOD)[:, None], np.fft.fftfreq(PERIOD))
    tooth = _noise(3, np.exp(-((frequency / 0.36) ** 2)) * (1 - np.exp(-((frequency / 0.16) ** 2))))
    y, x = np.mgrid[:PERIOD, :PERIOD] / PERIOD
    waves: list[Image] = []
    for across, down in WAVES:
        turn = 2 * math.pi
        phase = across * x + down * y + 0.03 * np.sin(turn * (x - y)) + 0.02 * np.sin(turn * (2 * x - y) + 1)
        waves.append(np.abs(2 * (phase % 1) - 1).astype(np.float32))
    return tooth, *waves


@lru_cache(maxsize=1)
def strokes() -> tuple[Image, ...]:
    """Strokes of the pencil in every one of `DIRECTIONS`, each PERIOD PERIOD."""
    fy, fx = np.fft.fftfreq(PERIOD)[:, None], np.fft.fftfreq(PERIOD)
    textures: list[Image] = []
    for k, (x, y) in enumerate(DIRECTIONS):
        lengthwise, across = (part / math.hypot(x, y) for part in (fx * x + fy * y, fy * x - fx * y))
        band = np.exp(-(((abs(across) - 0.22) / 0.1) ** 2) - (lengthwise / 0.03) ** 2)
        gaps = np.exp(0.4 * _noise(5 + k, band))
        textures.append((gaps - gaps.mean()) / gaps.std())
    return tuple(textures)


def _noise(seed: int, band: Image) -> Image:
    """PERIOD PERIOD of the spectrum `band`, mean 0 and deviation 1."""
    noise = np.random.default_rng(seed).normal(size=(PERIOD, PERIOD))
    texture = np.fft.ifft2(np.fft.fft2(noise) * band).real
    return ((texture - texture.mean()) / texture.std()).astype(np.float32)


def draw(sheet: Study, medium: Drawing) -> Image:
    """The picture of `sheet` in `medium`: h w 3 sRGB 0..1; exactly the picture itself where that is `PHOTO`."""
    if medium == PHOTO:
        return sheet.picture
    base = cv2.addWeighted(sheet.picture, 1 - medium.flat, sheet.patches, medium.flat, 0)
    base = cv2.addWeighted(base, 1 - medium.wet, sheet.washes, medium.wet, 0)
    y = luma(base)
    bled = blur(sheet.washes - luma(sheet.washes)[..., None], 1.5)
    chroma = medium.saturation * cv2.addWeighted(base - y[..., None], 1 - medium.wet, bled, medium.wet, 0)
    chroma = chroma * (1 + 6.5 * medium.glaze * _layers(y))[..., None]
    y = y + medium.cool * _cool(base)
    contour = _cored(sheet.fine + medium.coarse * sheet.coarse, medium.least)
    tone = _tone(sheet, medium, y)
    tone = tone + medium.ink * (_ink(sheet, medium, y, contour) - tone)
    color = np.clip(tone[..., None] + chroma, 0, 1)
    color = _paint(color, sheet, medium)
    shade, white, line = (np.array(c, np.float32) for c in (medium.shade, medium.paper, medium.line))
    color = shade + color * (white - shade)
    cover = medium.lines * np.tanh(np.maximum(-contour, 0) / medium.softness)
    return np.clip(color + cover[..., None] * np.minimum(line - color, 0), 0, 1)


def _cool(picture: Image) -> Image:
    """By how much green or blue is above red, at most 0.3, h w."""
    red, green, blue = cv2.split(picture)
    return 0.3 * np.tanh(np.maximum(np.maximum(green, blue) - red, 0) / 0.3)


def _tone(sheet: Study, medium: Drawing, y: Image) -> Image:
    """The tones before ink, paint and lines, h w."""
    if medium.glaze:
        y = y * (1 - medium.glaze * _layers(y))
    bright = medium.light * y
    knee = 1 - np.logaddexp(0, KNEE * (1 - bright)) / KNEE
    tone = y + min(1.0, (medium.light - 1) / 0.1) * (knee - y)
    tone = np.sqrt(np.sqrt(np.maximum(tone, 0) ** 4 + medium.darkest**4)) if medium.darkest else tone
    middle = np.clip(5 * tone**1.5 * (1 - tone), 0, 1)
    return tone + middle * (medium.grain * sheet.tooth + medium.strokes * sheet.strokes)


def _layers(y: Image) -> Image:
    """-1..1, a wave over the tone: layers of paint, each flat and with a firm edge, h w."""
    turn = 2 * math.pi / math.log(LAYER) * np.log(y + 0.05)
    return np.sin(turn + 0.5 * np.sin(turn))


def _ink(sheet: Study, medium: Drawing, patch: Image, contour: Image) -> Image:
    """Paper 1, ink 0, h w."""
    soft = 1 - medium.hard
    floor = 0.02 + 0.5 * soft
    bold = contour + 0.5 * _cored(sheet.bold, 0.02)
    free = np.minimum(_covered(patch - 0.15 + 1.2 * bold, floor), _covered(3 * (bold + 0.036), 0.02 + 0.15 * soft))
    width = COVER * sheet.plain * np.clip((BEGIN - patch) / (BEGIN - WIDEST), 0, 1)
    for share, wave in zip((1 - sheet.falling, sheet.falling), sheet.hatching, strict=True):
        lines = _covered(wave - width * share, floor)
        free = np.minimum(free, 1 - (1 - lines) * ramp(width * share, 0.04, 0.12))
    return free


def _covered(field: Image, floor: float) -> Image:
    """0 where `field` is negative, 1 where it is positive, with an edge of a pixel or where it is flatter than `floor`,
    a value per pixel, of a wider one."""
    dx, dy = (cv2.Sobel(field, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return np.clip(0.5 + field / np.maximum(1.1 * np.hypot(dx, dy), floor), 0, 1)


def _paint(color: Image, sheet: Study, medium: Drawing) -> Image:
    """Pigment gathers in the tooth of the paper and along the dark side of edges, and leaves highlights bare."""
    if not medium.granulation + medium.pooling:
        return color
    tone = luma(color)
    near, far = (np.maximum(blur(tone, sigma) - blur(tone, 0.7), 0) / (tone + 0.2) for sigma in (2.0, 5.0))
    density = medium.granulation * sheet.tooth + medium.pooling * np.tanh(6 * near + 1.5 * far)
    color = np.clip(color - (color - color * color) * density[..., None], 0, 1)
    bare = medium.wet * ramp(tone, 0.88, 0.95)
    return color + bare[..., None] * (1 - color)


def _cored(contour: Image, least: float) -> Image:
    """What is fainter than `least` is noise."""
    return contour - np.clip(contour, -least, least)
