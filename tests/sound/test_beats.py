"""Laws of onsets, tempo and beats."""

import numpy as np
import pytest

from dnirender.sound.beats import find_beats, spectral_flux
from dnirender.sound.spectrum import RATE


def clicks(times, seconds, noise=0.003, pitch=900):
    """A sound with a decaying tone at every time, over noise."""
    rng = np.random.default_rng(0)
    samples = rng.normal(0, noise, round(seconds * RATE)) if noise else np.zeros(round(seconds * RATE))
    for time in times:
        start = round(time * RATE)
        after = np.arange(min(2000, len(samples) - start))
        samples[start : start + len(after)] += np.exp(-after / 300) * np.sin(2 * np.pi * pitch * after / RATE)
    return samples.astype(np.float32)


@pytest.mark.parametrize("noise", [0, 0.003, 0.05])
@pytest.mark.parametrize("bpm", [72, 90, 120, 128, 174])
def test_every_beat_of_a_click_track_is_found_to_ten_milliseconds(bpm, noise):
    times = np.arange(0.31, 14.9, 60 / bpm)
    found = find_beats(clicks(times, 15, noise))
    assert found.tempo == pytest.approx(bpm, rel=0.002)
    assert len(found.times) == len(times)
    assert np.abs(np.array(found.times) - times).max() < 0.01


def test_a_beat_at_the_first_sample_counts():
    found = find_beats(clicks(np.arange(0, 9.9, 0.5), 10))
    assert found.times[0] == 0 and len(found.times) == 20


def test_beats_go_on_where_clicks_are_left_out():
    times = np.arange(0.5, 14.9, 0.5)
    heard = np.delete(times, [7, 12, 13])
    found = find_beats(clicks(heard, 15))
    assert len(found.times) == len(times)
    assert np.abs(np.array(found.times) - times).max() < 0.03


def test_a_louder_off_beat_instrument_does_not_move_the_beats():
    times = np.arange(0.5, 14.9, 0.5)
    found = find_beats(clicks(times, 15, noise=0.01) + 0.2 * clicks(times[::4] + 0.25, 15, 0, pitch=3000))
    assert found.tempo == pytest.approx(120, rel=0.002)
    assert np.abs(np.array(found.times) - times[: len(found.times)]).max() < 0.01


def test_a_sound_without_a_tempo_has_its_onsets():
    times = np.array([0.4, 1.9, 2.3, 4.85, 5.0, 7.77, 8.9, 12.1])
    found = find_beats(clicks(times, 13))
    assert found.tempo is None
    assert len(found.times) == len(times)
    assert np.abs(np.array(found.times) - times).max() < 0.01


@pytest.mark.parametrize("count", [0, 1, 100, RATE])
def test_silence_has_no_beats(count):
    assert find_beats(np.zeros(count, np.float32)).times == ()


def test_loudness_does_not_matter():
    sound = clicks(np.arange(0.3, 6, 0.5), 6)
    assert find_beats(sound * 1e-3).times == find_beats(sound).times


def test_the_flux_is_zero_while_nothing_changes():
    steady = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    assert spectral_flux(steady)[20:-20].max() < 0.5 < spectral_flux(steady).max()
