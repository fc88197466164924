"""HDR pictures as SDR ones, for networks that have seen nothing else, in four published steps.

Light. PQ codes are light itself (ITU-R BT.2100-2, table 4). HLG codes are light of the scene, which a display of peak
Lw turns into its own (table 5): F = Lw Ys^(g - 1) E, where Ys is the scene's luminance and g = 1.2 at Lw = 1000 cd/m2.

Tone. The EETF of Report ITU-R BT.2390 on R, G and B alike, from the peak of the mastering display down to WHITE, which
SDR shows as white: the light that BT.2408 gives a white sheet of paper. With codes in PQ, as parts of the peak's:

    E2 = E1                                                                      below KS = 1.5 M - 0.5,
    E2 = (2T^3 - 3T^2 + 1) KS + (T^3 - 2T^2 + T)(1 - KS) + (3T^2 - 2T^3) M       from there on, T = (E1 - KS) / (1 - KS)

where M is the code of WHITE. With a peak of 1000 cd/m2 what has 88 or less keeps its light, paper comes out at 0.90 of
the signal, and the peak as white. Black is 0 on both sides, so nothing is lifted.

Gamut. To the primaries of BT.709 by the matrix of H.273, 8.1, in light; what lies outside is clipped.

Signal. V = L^(1/2.4), the inverse of BT.1886.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from dnirender.frames import Image
from dnirender.media.colorspace import ColorSpec, Floats, strips

MODES = ("auto", "keep", "tonemap")
PQ, HLG = 16, 18  # transfer codes of H.273
SDR = ColorSpec(matrix=1, full_range=False, primaries=1, transfer=1)
WHITE = 203.0  # cd/m2
PEAK = 1000.0  # cd/m2, where the source does not say on what it was mastered; HLG's by definition
GAMMA = 1 / 2.4
CODES = 1 << 16

# H.273 table 2: x and y of red, green, blue and white.
D65 = (0.3127, 0.3290)
PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
}
HLG_WEIGHTS = np.array([[0.2627, 0.6780, 0.0593]])

Values = npt.NDArray[np.float64]


def tone_map(image: Image, color: ColorSpec, peak: float, depth: int) -> Image:
    """An HDR picture [h, w, 3] uint16 as SDR of BT.709: uint8 where `depth` is 8, else uint16.

    `color` tells its transfer, PQ or HLG, and its primaries; `peak` is that of its mastering display in cd/m2.
    """
    result = np.empty(image.shape, np.uint8 if depth <= 8 else np.uint16)
    matrix = gamut_matrix(color.primaries).astype(np.float32)
    to_signal = _signal_table(result.dtype.type)
    for rows in strips(*image.shape[:2]):
        light = cv2.transform(_light(image[rows], color.transfer, peak), matrix)
        # The root spreads the dark, where a signal of 1/2.4 is steep, over more of the table's entries.
        roots = cv2.sqrt(np.maximum(light, 0))
        np.take(to_signal, _coded(cast(Floats, roots)), out=result[rows], mode="clip")
    return result


def gamut_matrix(primaries: int) -> Values:
    """[3, 3]: linear light of these primaries to that of BT.709; unknown ones are taken for BT.2020's."""
    known = PRIMARIES.get(primaries, PRIMARIES[9])
    return np.linalg.inv(_to_xyz(PRIMARIES[1])) @ _to_xyz(known)


def pq_eotf(codes: Values) -> Values:
    """PQ codes in 0..1 as light in cd/m2: 10000 (max(E^(1/m2) - c1, 0) / (c2 - c3 E^(1/m2)))^(1/m1)."""
    m1, m2, c1, c2, c3 = _pq_constants()
    root = np.power(codes, 1 / m2)
    return 10000 * np.power(np.maximum(root - c1, 0) / (c2 - c3 * root), 1 / m1)


def pq_inverse_eotf(light: Values) -> Values:
    """Light in cd/m2 as PQ codes in 0..1: the inverse of `pq_eotf`."""
    m1, m2, c1, c2, c3 = _pq_constants()
    part = np.power(light / 10000, m1)
    return np.power((c1 + c2 * part) / (1 + c3 * part), m2)


def hlg_inverse_oetf(codes: Values) -> Values:
    """HLG codes in 0..1 as light of the scene in 0..1 (BT.2100-2, table 5)."""
    a = 0.17883277
    b = 1 - 4 * a
    c = 0.5 - a * np.log(4 * a)
    return np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)


def eetf(light: Values, peak: float) -> Values:
    """Light in cd/m2 of a display of this peak, as parts of WHITE on one whose peak that is."""
    top = pq_inverse_eotf(np.array(peak))
    most = float(pq_inverse_eotf(np.array(WHITE)) / top)
    code = np.minimum(pq_inverse_eotf(light) / top, 1)
    if most >= 1:
        return np.minimum(light / WHITE, 1)
    knee = 1.5 * most - 0.5
    t = np.maximum(code - knee, 0) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return pq_eotf(np.where(code < knee, code, bent) * top) / WHITE


def _light(image: Image, transfer: int, peak: float) -> Floats:
    """HDR codes as SDR light in 0..1 of the source's primaries."""
    if transfer == PQ:
        return np.take(_pq_table(peak), image, mode="clip")
    scene = np.take(_scene_table(), image, mode="clip")
    luminance = cv2.transform(scene, HLG_WEIGHTS.astype(np.float32))
    display = scene * cv2.pow(luminance, 0.2).reshape(*scene.shape[:2], 1)
    return np.take(_display_table(), _coded(cast(Floats, cv2.sqrt(cv2.sqrt(display)))), mode="clip")


def _coded(values: Floats) -> Image:
    """0..1 as the nearest of CODES entries."""
    return (np.minimum(values, 1) * np.float32(CODES - 1) + np.float32(0.5)).astype(np.uint16)


def _entries() -> Values:
    return np.arange(CODES) / (CODES - 1)


@lru_cache(maxsize=2)
def _pq_table(peak: float) -> Floats:
    return eetf(pq_eotf(_entries()), peak).astype(np.float32)


@lru_cache(maxsize=1)
def _scene_table() -> Floats:
    return hlg_inverse_oetf(_entries()).astype(np.float32)


@lru_cache(maxsize=1)
def _display_table() -> Floats:
    """By the fourth root of a display's light, as parts of its peak."""
    return eetf(_entries() ** 4 * PEAK, PEAK).astype(np.float32)


@lru_cache(maxsize=2)
def _signal_table(kind: type[np.unsignedinteger[Any]]) -> Image:
    """By the square root of light."""
    return np.rint(_entries() ** (2 * GAMMA) * np.iinfo(kind).max).astype(kind)


def _pq_constants() -> tuple[float, float, float, float, float]:
    return 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _to_xyz(points: tuple[tuple[float, float], ...]) -> Values:
    """[3, 3]: R, G, B of these primaries to X, Y, Z, scaled so that equal parts are white of luminance 1."""
    *colors, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in points)
    columns = np.column_stack(colors)
    return columns * np.linalg.solve(columns, white)
