"""How loud a sound is over time, as a number from 0 to 1."""

from __future__ import annotations

import itertools

import numpy as np

from dnirender.sound.spectrum import RATE, Array, power_spectra
from dnirender.timeline.audio import BANDS

HOP = RATE // 50  # samples: 20 ms
WINDOW = 2048
RANGE = 30.0  # decibels below the loud parts at which the level is 0
LOUD = 95.0  # percentile of the levels at which it is 1
RELEASE = 0.25  # seconds in which a level falls to 1 / e; it rises at once


def loudness(samples: Array, band: str = "rms") -> Array:
    """The level of a band of a sound, float [n], mono, at RATE, every HOP samples: float32 [n // HOP + 1] in 0..1.

    1 is the level that 5 % of the time exceed, 0 lies 30 dB below it; in between it is linear in decibels.
    """
    low, high = BANDS[band]
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)
    inside = (frequencies >= low) & (frequencies < high)
    power = np.concatenate([part[:, inside].sum(1) for part in power_spectra(samples, WINDOW, HOP)])
    if power.max(initial=0) < 1e-10:
        return np.zeros(len(power), np.float32)
    decibels = 10 * np.log10(np.maximum(power, 1e-12))
    loud = np.percentile(decibels[decibels > decibels.max() - 60], LOUD)
    return _released(np.clip((decibels - loud) / RANGE + 1, 0, 1)).astype(np.float32)


def peaks(samples: Array, count: int) -> Array:
    """The waveform of a sound, float [n]: the largest |sample| of `count` equal parts over that of all, 0..1."""
    edges = np.linspace(0, len(samples), count + 1).astype(int)
    highest = np.array([np.abs(samples[a:b]).max(initial=0) for a, b in itertools.pairwise(edges)], np.float32)
    return highest / max(float(highest.max(initial=0)), 1e-9)


def _released(levels: Array) -> Array:
    """The levels, which fall slowly only."""
    keep = np.exp(-HOP / RATE / RELEASE)
    out, now = np.empty_like(levels), 0.0
    for place, level in enumerate(levels):
        now = max(float(level), now * keep)
        out[place] = now
    return out
