"""Texture of painted pictures on plain areas: blotches, repeated patterns and the energy of strokes.

Pictures are h w 3 RGB uint8, values of figures are codes (0..255).
"""

import cv2
import numpy as np
from judges import LUMA

WINDOW = 64  # pixels, side
STRIDE = 32  # pixels from window to window
BLUR = 8.0  # pixels, the sigma beyond which a texture is a blotch
PLAIN = 3.0  # codes: the standard deviation below which a blurred window of the source is plain
PERIODS = (2.0, 10.0)  # pixels, of patterns that are looked for
FLAT = 0.3  # codes: the standard deviation up to which a window is no photograph
RING = 0.05  # cycles per pixel, width of the ring that a peak is compared with
FAINT = 48.0  # power of the rounding to codes: 1 / 12 by the sum of squares of the window, 576
GRID = (2, 4, 8)  # pixels, periods of strides and pixel shuffles
STROKES = (1.0, 4.0)  # pixels, sigmas between which the energy of strokes is taken


def windows(picture):
    """n windows of `WINDOW` x `WINDOW` pixels, one at every `STRIDE` pixels."""
    views = np.lib.stride_tricks.sliding_window_view(picture, (WINDOW, WINDOW), axis=(0, 1))[::STRIDE, ::STRIDE]
    return np.moveaxis(views.reshape(-1, *views.shape[2:]), 1, -1)


def deviation(picture):
    """Per window the standard deviation after the blur, of the channel where it is largest."""
    blurred = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), BLUR)
    return windows(blurred).std((1, 2)).max(-1)


def plain(source):
    """Which windows of the source show a plain surface; borders and graphics of one code are none."""
    return (deviation(source) < PLAIN) & (windows(source).std((1, 2)).max(-1) > FLAT)


def blotches(render, source):
    """Per plain window of the source: the standard deviation of the blurred render."""
    return deviation(render)[plain(source)]


def spectra(picture, chosen=None):
    """n x 64 x 64 power spectra of the luma of the windows, Hann window."""
    values = windows((picture.astype(np.float64) @ LUMA)[..., None])[..., 0]
    if chosen is not None:
        values = values[chosen]
    hann = np.hanning(WINDOW)
    values = (values - values.mean((1, 2), keepdims=True)) * hann[:, None] * hann
    return np.abs(np.fft.fft2(values)) ** 2


_F = np.fft.fftfreq(WINDOW)
_RADIUS = np.hypot(_F[:, None], _F)
_RINGS = np.floor(_RADIUS / RING).astype(int)
_SEARCHED = (1 / PERIODS[1] <= _RADIUS) & (1 / PERIODS[0] >= _RADIUS)


def peaks(power):
    """Of n spectra over the median of their ring: the strongest peak, and the strongest on the pixel grid."""
    median = np.stack([np.median(power[:, r == _RINGS], axis=1) for r in range(_RINGS.max() + 1)], axis=1)
    ratio = power / np.maximum(median[:, _RINGS], FAINT)
    steps = [WINDOW // period for period in GRID]
    places = [(y, x) for step in steps for y, x in ((step, 0), (0, step), (step, step), (step, -step))]
    grid = np.stack([ratio[:, y, x] for y, x in places], axis=1)
    return ratio[:, _SEARCHED].max(1), grid.max(1)


def stroke_energy(picture):
    """Mean square of the luma between the two sigmas of `STROKES`."""
    values = (picture.astype(np.float64) @ LUMA).astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(values, (0, 0), sigma) for sigma in STROKES)
    return float(((fine - coarse) ** 2).mean())


def middle(one, half, other, faded):
    """Stroke energy of the path's middle and of the crossfade's, each over the mean of the ends'."""
    ends = (stroke_energy(one) + stroke_energy(other)) / 2
    return stroke_energy(half) / ends, stroke_energy(faded) / ends


def figures(renders, sources):
    """What `renders` do to plain areas of `sources`: medians and high percentiles of blotches, peaks and grid, in
    codes and in ratios; `bold`: mean absolute difference in codes; `plain`: number of windows."""
    found = [(blotches(r, s), *peaks(spectra(r, plain(s)))) for r, s in zip(renders, sources, strict=True)]
    spots, strongest, grid = (np.concatenate(values) for values in zip(*found, strict=True))
    return {
        "blotches": percentiles(spots),
        "peak": percentiles(strongest),
        "grid": percentiles(grid),
        "bold": float(np.mean([abs(r.astype(float) - s).mean() for r, s in zip(renders, sources, strict=True)])),
        "plain": len(spots),
    }


def percentiles(values):
    """Median and 95th percentile."""
    return [float(np.percentile(values, q)) for q in (50, 95)]
