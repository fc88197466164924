"""Laws of loudness."""

import numpy as np
import pytest

from dnirender.sound.loudness import HOP, loudness
from dnirender.sound.spectrum import RATE


def tone(hertz, seconds=2.0):
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def test_levels_are_within_zero_and_one_and_follow_the_sound():
    sound = np.concatenate([tone(440), 0.1 * tone(440), 0 * tone(440)])
    levels = loudness(sound)
    assert levels.min() >= 0 and levels.max() == 1
    middle = [levels[round(second * RATE / HOP)] for second in (1, 3, 5.5)]
    assert middle[0] == pytest.approx(1, abs=0.02)
    assert middle[1] == pytest.approx(1 - 20 / 30, abs=0.05)  # a tenth of the amplitude is 20 of 30 dB
    assert middle[2] < 0.01


@pytest.mark.parametrize(("band", "hertz"), [("low", 80), ("mid", 800), ("high", 6000)])
def test_a_band_hears_its_own_frequencies_only(band, hertz):
    sound = np.concatenate([tone(80), tone(800), tone(6000)])
    levels = loudness(sound, band)
    loud = {80: 1, 800: 3, 6000: 5}
    for other, second in loud.items():
        level = levels[round((second + 0.6) * RATE / HOP)]
        assert level > 0.95 if other == hertz else level < 0.2


def test_it_rises_at_once_and_falls_slowly():
    levels = loudness(np.concatenate([0 * tone(440, 1), tone(440, 1), 0 * tone(440, 1)]))
    begun, ended = round(RATE / HOP), round(2 * RATE / HOP)
    assert levels[begun - 4] == 0 and levels[begun + 4] > 0.9
    assert 0.4 < levels[ended + 8] < 0.6 and np.all(np.diff(levels[ended + 3 :]) <= 0)


def test_silence_is_zero():
    assert not loudness(np.zeros(RATE, np.float32)).any()
