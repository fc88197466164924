"""Onsets, tempo and beats of a sound.

Onsets are peaks of the spectral flux (Dixon, DAFx 2006): the mean rise of the level over bands. The tempo is the lag at
which the flux resembles itself most, weighted towards 120 beats per minute, and beats are the path through the flux
that is both strong and even (Ellis, Journal of New Music Research 2007, by dynamic programming).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnirender.sound.spectrum import RATE, Array, band_filters, power_spectra

WINDOW, HOP = 1024, 128  # samples
BANDS, LOWEST, HIGHEST = 40, 40.0, 10_000.0  # hertz
FLOOR = 1e-6  # of full scale: 60 dB below it there is silence
RISE = 3  # hops over which a level rises
MIN_GAP = 0.06  # seconds between two onsets
THRESHOLD = 0.07  # of the largest flux: how far an onset rises above the flux around it
SLOWEST, FASTEST, USUAL = 30.0, 240.0, 120.0  # beats per minute
PERIODIC = 0.15  # how far the flux resembles itself more at a beat's lag than at others if a sound has a tempo
AS_GOOD, CLEAR = 0.85, 0.4  # of the self-similarity, and least self-similarity, at which the faster tempo is taken
EVENNESS = 100.0  # how much an uneven beat costs, in standard deviations of the flux by log-period squared
SNAP = 0.07  # seconds from a beat to an onset that it is moved to


@dataclass(frozen=True)
class Beats:
    """Times in seconds from the first sample, increasing. `tempo` is in beats per minute; None: the sound has none, and
    the times are those of its onsets."""

    times: tuple[float, ...]
    tempo: float | None


def find_beats(samples: Array) -> Beats:
    """The beats of a sound, float [n], mono, at RATE; its onsets if there is no tempo, nothing if it is silent."""
    peak = float(np.abs(samples).max(initial=0))
    if peak < FLOOR:
        return Beats((), None)
    samples = (samples / peak).astype(np.float32)
    flux = spectral_flux(samples)
    onsets = [_sharpened(samples, place * HOP) / RATE for place in _peaks(flux)]
    period = _period(flux)
    if period is None or len(onsets) < 4:
        return Beats(tuple(_spaced(onsets)), None)
    beats = [place * HOP / RATE for place in _track(flux, period)]
    if beats and abs(beats[0] - period * HOP / RATE) < SNAP / 2 and _begins_loud(samples, beats):
        beats.insert(0, 0.0)
    found = np.array(onsets)
    snapped = [
        float(found[nearest]) if abs(found[nearest := np.abs(found - beat).argmin()] - beat) < SNAP else beat
        for beat in beats
    ]
    return Beats(tuple(_spaced(snapped)), 60 * RATE / HOP / period)


def _begins_loud(samples: Array, beats: list[float]) -> bool:
    """Whether the first samples are about as loud as those after beats: no onset can be heard there."""
    length = RATE // 50
    after = [np.square(samples[(start := round(beat * RATE)) : start + length]).mean() for beat in beats]
    return bool(np.square(samples[:length]).mean() > np.median(after) / 16)


def spectral_flux(samples: Array) -> Array:
    """The mean rise in decibels over the bands at every HOP, float [n // HOP + 1]."""
    mel = np.linspace(_mel(LOWEST), _mel(HIGHEST), BANDS + 2)
    filters = band_filters(WINDOW, 700 * (10 ** (mel / 2595) - 1))
    levels = np.concatenate(
        [10 * np.log10(np.maximum(spectra @ filters, FLOOR)) for spectra in power_spectra(samples, WINDOW, HOP)]
    )
    complete = min(WINDOW // 2 // HOP, len(levels) - 1)
    levels[:complete] = levels[complete]  # what is before the first sample is unknown
    before = np.pad(levels, ((RISE, 0), (0, 0)), mode="edge")[: len(levels)]
    return np.maximum(levels - before, 0).mean(1)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _peaks(flux: Array) -> list[int]:
    """The hops at which onsets are: larger than all within MIN_GAP / 2, and above the mean of 0.2 s."""
    near, around = round(MIN_GAP / 2 * RATE / HOP), round(0.1 * RATE / HOP)
    padded = np.pad(flux, near)
    largest = np.lib.stride_tricks.sliding_window_view(padded, 2 * near + 1).max(1)
    mean = np.convolve(flux, np.full(2 * around + 1, 1 / (2 * around + 1)), "same")
    return np.flatnonzero((flux == largest) & (flux > mean + THRESHOLD * flux.max()) & (flux > 0)).tolist()


def _sharpened(samples: Array, center: int) -> int:
    """The sample near `center` at which the level rises most steeply: the flux knows it to half a window only."""
    step, reach = 32, 1024
    start = max(0, center - reach)
    part = samples[start : center + reach]
    energy = np.square(part[: len(part) // step * step].reshape(-1, step)).mean(1)
    before = np.concatenate([np.full(4, energy[0] if start else 0.0), energy])  # the mean of the four steps before
    before = np.convolve(before, np.full(4, 0.25), "valid")[: len(energy)]
    rise = np.sqrt(energy) - np.sqrt(before)
    return start + int(rise.argmax()) * step if len(rise) else center


def _spaced(times: list[float]) -> list[float]:
    """The times without those that follow another within MIN_GAP."""
    kept: list[float] = []
    for time in sorted(times):
        if not kept or time - kept[-1] >= MIN_GAP:
            kept.append(time)
    return kept


def _period(flux: Array) -> float | None:
    """Hops between two beats; None if no lag makes the flux resemble itself."""
    values = flux - flux.mean()
    size = 1 << (2 * len(values) - 1).bit_length()
    similarity = np.fft.irfft(np.square(np.abs(np.fft.rfft(values, size))))[: len(values)]
    shortest, longest = (int(60 * RATE / HOP / tempo) for tempo in (FASTEST, SLOWEST))
    lags = np.arange(shortest, min(longest, len(values) - 2))
    if len(lags) < 3 or similarity[0] <= 0:
        return None
    unbiased = similarity[lags] / similarity[0] * len(values) / (len(values) - lags)
    octaves = np.log2(60 * RATE / HOP / lags / USUAL)
    best = int((unbiased * np.exp(-0.5 * np.square(octaves / 0.9))).argmax())
    if unbiased[best] - np.median(unbiased) < PERIODIC:
        return None
    lag = int(lags[best])
    # Where half the lag is as good, every second beat was skipped.
    while lag // 2 > shortest and unbiased[lag // 2 - shortest] > max(AS_GOOD * unbiased[lag - shortest], CLEAR):
        lag //= 2
    # The same beat many periods later tells the period more exactly than one period does.
    many = max(1, min(16, (len(values) - 2) // (2 * lag)))
    around = np.arange(round(many * (lag - 1)), round(many * (lag + 1)) + 1)
    around = around[around < len(values)]
    top = int(around[similarity[around].argmax()])
    left, middle, right = similarity[top - 1 : top + 2]
    bend = left - 2 * middle + right
    return (top + (0.5 * (left - right) / bend if bend else 0.0)) / many


def _track(flux: Array, period: float) -> list[int]:
    """The hops of the beats: of all sequences the one with the largest sum of flux less the cost of uneven steps."""
    half = max(1, round(period / 8))
    smooth = np.exp(-0.5 * np.square(np.arange(-half, half + 1) * 32 / period))
    score = np.convolve(flux / (flux.std() or 1.0), smooth, "same")
    steps = np.arange(-round(2 * period), -round(period / 2) + 1)
    cost = -EVENNESS * np.square(np.log(-steps / period))
    best, came_from = score.copy(), np.full(len(score), -1)
    for place in range(len(score)):
        back = place + steps[place + steps >= 0]
        if not len(back):
            continue
        options = cost[-len(back) :] + best[back]
        choice = int(options.argmax())
        if options[choice] > 0:  # else the first beat is here
            best[place] += options[choice]
            came_from[place] = back[choice]
    last = len(best) - 1 - int(best[::-1][: round(period) + 1].argmax())
    beats: list[int] = []
    while last >= 0:
        beats.append(last)
        last = int(came_from[last])
    beats.reverse()
    # Nothing is played before the first and after the last strong one.
    strong = np.flatnonzero(score[beats] > 0.5 * np.sqrt(np.square(score[beats]).mean()))
    return beats[strong[0] : strong[-1] + 1] if len(strong) else []
