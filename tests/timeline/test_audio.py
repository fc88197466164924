"""Laws of keyframes that come from sound."""

import itertools
from fractions import Fraction

import pytest

from dnirender.errors import TimelineError, UsageError
from dnirender.preset import Preset
from dnirender.timeline.audio import BANDS, AudioLevel, beat_keyframes, parse_audio
from dnirender.timeline.timeline import Timeline


def alpha(text, second):
    """The alpha of `b` at a time, of endpoints a and b."""
    times = [Fraction(0), Fraction(str(second))] if second else [Fraction(0)]
    return Timeline.parse(text).resolve(["a", "b"], times).alphas[-1][1]


def test_other_keyframes_are_not_of_sound():
    assert parse_audio("0:0, 1:1") is None and parse_audio("0:audio") is None


@pytest.mark.parametrize("band", BANDS)
def test_every_band_is_read(band):
    assert parse_audio(f" audio: {band} ") == AudioLevel(band)
    assert parse_audio(f"audio:{band}@smooth") == AudioLevel(band, "smooth")


@pytest.mark.parametrize(
    ("text", "match"), [("audio:bass", "rms, low, mid, high"), ("audio:rms@no", "easing"), ("audio:", "band")]
)
def test_what_is_misspelt_is_named(text, match):
    with pytest.raises(TimelineError, match=match):
        parse_audio(text)


def test_alpha_is_that_of_the_beat_at_every_beat_and_of_the_base_away_from_it():
    times = [0.5, 1.0, 1.75]
    text = beat_keyframes(times, "a", "b", 0.05, 0.3)
    assert [alpha(text, time) for time in times] == [1, 1, 1]
    assert [alpha(text, time) for time in (0, 0.45, 0.8, 0.95, 1.3, 1.7, 2.05)] == [0] * 7
    assert 0 < alpha(text, 0.475) < 1 and 0 < alpha(text, 0.7) < 1


@pytest.mark.parametrize("gap", [0.06, 0.1, 0.3, 0.44, 0.45, 0.46, 2])
@pytest.mark.parametrize("first", [0, 0.001, 0.02, 0.3])
def test_keys_increase_however_near_beats_are(gap, first):
    times = [first + gap * number for number in range(5)]
    keys = Timeline.parse(beat_keyframes(times, "a", "b", 0.05, 0.4)).keyframes
    places = [key.position.value for key in keys]
    assert places == sorted(set(places)) and places[0] == 0
    assert sum("b" in key.text for key in keys) == 5


def test_a_preset_that_follows_sound_says_so_until_it_is_heard():
    preset = Preset.load("day-to-night")
    for changes in ({"beat": "night"}, {"keyframes": "audio:low"}):
        follows = preset.override({"timeline": changes})
        with pytest.raises(UsageError, match=r"(beat='night'|keyframes='audio:low'): depends on a clip"):
            follows.timeline.parsed()
    with pytest.raises(UsageError, match="nigth|parse|unknown|expected"):
        preset.override({"timeline": {"beat": "0.5*"}})


def test_the_fall_of_a_beat_is_monotone():
    text = beat_keyframes([1.0], "a", "b", 0.1, 0.5)
    values = [alpha(text, 1 + step / 20) for step in range(12)]
    assert all(one >= two for one, two in itertools.pairwise(values))
