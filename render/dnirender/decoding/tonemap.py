"""Tone maps HDR images to SDR, for networks that were trained on SDR only, in four standard steps.

Linear light. PQ encodes display light (EOTF: ITU-R BT.2100-2, table 4). HLG encodes scene light, which a display of
peak luminance Lw converts with its OOTF (table 5): F = Lw Ys^(g - 1) E, where Ys is the scene luminance and g = 1.2 at
Lw = 1000 cd/m2.

Tone mapping. The EETF of Report ITU-R BT.2390, applied to R, G and B separately, from the peak of the mastering display
down to SDR_WHITE, the diffuse white of BT.2408. In PQ code values, relative to that of the peak:

    E2 = E1                                                                      below KS = 1.5 M - 0.5,
    E2 = (2T^3 - 3T^2 + 1) KS + (T^3 - 2T^2 + T)(1 - KS) + (3T^2 - 2T^3) M       from there on, T = (E1 - KS) / (1 - KS)

where M is the code value of SDR_WHITE. With a peak of 1000 cd/m2, luminance up to 88 cd/m2 is unchanged, diffuse white
becomes 0.90 of the SDR signal and the peak becomes 1. Black is 0 in both, so the black lift of BT.2390 is not needed.

Gamut. Linear light is converted to the primaries of BT.709 by the matrix of H.273, 8.1, and clipped.

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
SDR_WHITE = 203.0  # cd/m2
DEFAULT_PEAK = 1000.0  # cd/m2, if the mastering display is unknown; the nominal peak of HLG
INVERSE_GAMMA = 1 / 2.4
TABLE_SIZE = 1 << 16

# Chromaticities x, y of red, green, blue and white (H.273, table 2).
D65 = (0.3127, 0.3290)
PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
}
HLG_WEIGHTS = np.array([[0.2627, 0.6780, 0.0593]])

Values = npt.NDArray[np.float64]


def tone_map(image: Image, color: ColorSpec, peak: float, depth: int) -> Image:
    """Converts an HDR image [h, w, 3] uint16 to SDR with BT.709 primaries: uint8 if `depth` is 8 or less, else uint16.

    `color` holds the transfer (PQ or HLG) and the primaries; `peak` is the peak of the mastering display in cd/m2.
    """
    result = np.empty(image.shape, np.uint8 if depth <= 8 else np.uint16)
    matrix = gamut_matrix(color.primaries).astype(np.float32)
    to_signal = _signal_table(result.dtype.type)
    for rows in strips(*image.shape[:2]):
        light = cv2.transform(_linear_sdr_light(image[rows], color.transfer, peak), matrix)
        # Indexing by the square root gives dark values, where x^(1/2.4) is steep, more entries of the table.
        roots = cv2.sqrt(np.maximum(light, 0))
        np.take(to_signal, _table_index(cast(Floats, roots)), out=result[rows], mode="clip")
    return result


def gamut_matrix(primaries: int) -> Values:
    """The matrix [3, 3] from linear light of these primaries to BT.709; unknown primaries count as BT.2020."""
    source = PRIMARIES.get(primaries, PRIMARIES[9])
    return np.linalg.inv(_to_xyz(PRIMARIES[1])) @ _to_xyz(source)


def pq_eotf(codes: Values) -> Values:
    """PQ code values (0..1) to display light in cd/m2: 10000 (max(E^(1/m2) - c1, 0) / (c2 - c3 E^(1/m2)))^(1/m1)."""
    m1, m2, c1, c2, c3 = _pq_constants()
    root = np.power(codes, 1 / m2)
    return 10000 * np.power(np.maximum(root - c1, 0) / (c2 - c3 * root), 1 / m1)


def pq_inverse_eotf(light: Values) -> Values:
    """Display light in cd/m2 to PQ code values (0..1)."""
    m1, m2, c1, c2, c3 = _pq_constants()
    power = np.power(light / 10000, m1)
    return np.power((c1 + c2 * power) / (1 + c3 * power), m2)


def hlg_inverse_oetf(codes: Values) -> Values:
    """HLG code values (0..1) to scene light in 0..1 (BT.2100-2, table 5)."""
    a = 0.17883277
    b = 1 - 4 * a
    c = 0.5 - a * np.log(4 * a)
    return np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)


def eetf(light: Values, peak: float) -> Values:
    """Display light in cd/m2, mastered for this peak, to light relative to SDR_WHITE."""
    peak_code = pq_inverse_eotf(np.array(peak))
    white_code = float(pq_inverse_eotf(np.array(SDR_WHITE)) / peak_code)
    code = np.minimum(pq_inverse_eotf(light) / peak_code, 1)
    if white_code >= 1:
        return np.minimum(light / SDR_WHITE, 1)
    knee = 1.5 * white_code - 0.5
    t = np.maximum(code - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white_code
    return pq_eotf(np.where(code < knee, code, spline) * peak_code) / SDR_WHITE


def _linear_sdr_light(image: Image, transfer: int, peak: float) -> Floats:
    """HDR code values to linear SDR light in 0..1, in the source's primaries."""
    if transfer == PQ:
        return np.take(_pq_table(peak), image, mode="clip")
    scene = np.take(_scene_table(), image, mode="clip")
    luminance = cv2.transform(scene, HLG_WEIGHTS.astype(np.float32))
    display = scene * cv2.pow(luminance, 0.2).reshape(*scene.shape[:2], 1)
    return np.take(_display_table(), _table_index(cast(Floats, cv2.sqrt(cv2.sqrt(display)))), mode="clip")


def _table_index(values: Floats) -> Image:
    """The index of the nearest table entry for values in 0..1."""
    return (np.minimum(values, 1) * np.float32(TABLE_SIZE - 1) + np.float32(0.5)).astype(np.uint16)


def _table_inputs() -> Values:
    """The value that each table entry stands for, in 0..1."""
    return np.arange(TABLE_SIZE) / (TABLE_SIZE - 1)


@lru_cache(maxsize=2)
def _pq_table(peak: float) -> Floats:
    return eetf(pq_eotf(_table_inputs()), peak).astype(np.float32)


@lru_cache(maxsize=1)
def _scene_table() -> Floats:
    return hlg_inverse_oetf(_table_inputs()).astype(np.float32)


@lru_cache(maxsize=1)
def _display_table() -> Floats:
    """SDR light, indexed by the fourth root of HDR display light relative to its peak."""
    return eetf(_table_inputs() ** 4 * DEFAULT_PEAK, DEFAULT_PEAK).astype(np.float32)


@lru_cache(maxsize=2)
def _signal_table(dtype: type[np.unsignedinteger[Any]]) -> Image:
    """The SDR signal, indexed by the square root of linear light."""
    return np.rint(_table_inputs() ** (2 * INVERSE_GAMMA) * np.iinfo(dtype).max).astype(dtype)


def _pq_constants() -> tuple[float, float, float, float, float]:
    return 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _to_xyz(points: tuple[tuple[float, float], ...]) -> Values:
    """The matrix [3, 3] from linear RGB of these primaries to XYZ; RGB (1, 1, 1) has luminance 1."""
    *colors, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in points)
    columns = np.column_stack(colors)
    return columns * np.linalg.solve(columns, white)
