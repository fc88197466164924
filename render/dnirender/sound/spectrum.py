"""The short-time spectrum of a sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

RATE = 22050
"""Samples per second of the sounds that are analyzed."""
_CHUNK = 4096  # windows that are transformed at once, 16 MB


def power_spectra(samples: Array, window: int, hop: int) -> Iterator[Array]:
    """Chunks of the power spectrum of `samples`, shape (times, window // 2 + 1): time t is centered at sample t * hop.

    Windows are Hann windows; beyond the ends there is silence. A sine of amplitude 1 has a peak of 1.
    """
    padded = np.pad(samples, (window // 2, window))
    hann = np.hanning(window + 1)[:-1].astype(np.float32)
    scale = 2 / hann.sum()
    count = len(samples) // hop + 1
    views = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:count]
    for start in range(0, count, _CHUNK):
        yield np.square(np.abs(np.fft.rfft(views[start : start + _CHUNK] * hann)) * scale)


def band_filters(window: int, edges: Array) -> Array:
    """Triangles over the frequencies of a spectrum, shape (window // 2 + 1, bands): band i rises from `edges[i]` hertz
    to `edges[i + 1]` and falls to `edges[i + 2]`; at least one frequency wide."""
    frequencies = np.fft.rfftfreq(window, 1 / RATE)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((frequencies - low) / (middle - low), (high - frequencies) / (high - middle)).clip(0)
    nearest = np.abs(frequencies - middle).argmin(0)
    triangles[nearest, np.arange(len(middle))] = np.maximum(triangles[nearest, np.arange(len(middle))], 0.5)
    return triangles.astype(np.float32)
