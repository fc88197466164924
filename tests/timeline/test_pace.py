"""Laws of an even pace: equal times bring equal change, keys keep their values, the text says it all."""

import itertools
import random
from fractions import Fraction

import pytest

from dnirender.errors import TimelineError
from dnirender.timeline.pace import Line, lines, paced_keyframes, progress_at
from dnirender.timeline.simplification import simplified
from dnirender.timeline.timeline import Timeline

NAMES = ("day", "golden", "night")
SECONDS = [Fraction(n, 25) for n in range(101)]


def changes(timeline, position):
    """What a picture changes by between the samples of every line, whose look at alpha is the number position(alpha)."""
    found = {}
    for line in lines(timeline):
        looks = [position(alpha) for alpha in line.samples(NAMES)]
        found[line] = [abs(b - a) for a, b in itertools.pairwise(looks)]
    return found


def curved(alpha):
    """Most of the change is near the first endpoint."""
    return 1 - alpha[0] ** 4


@pytest.mark.parametrize("text", ["0:day, 100:night", "0:0, end:0.5", "0:day, 1.5s:0.2*day+0.8*golden, 4s:day"])
def test_equal_times_bring_equal_change(text):
    timeline = Timeline.parse(text)
    paced = Timeline.parse(paced_keyframes(timeline, NAMES, SECONDS, changes(timeline, curved)))
    largest = {}
    for name, line in (("linear", timeline), ("paced", paced)):
        looks = [curved(alpha) for alpha in line.resolve(NAMES, SECONDS).alphas]
        stop = 38 if "1.5s" in text else None  # the first of its lines
        steps = [abs(b - a) for a, b in itertools.pairwise(looks[:stop])]
        largest[name] = max(steps) / (sum(steps) / len(steps))
    assert largest["linear"] > 1.5
    assert largest["paced"] < 1.25


@pytest.mark.parametrize(
    "text", ["0:day@smooth, 33:night, end:golden", "0s:0, 1.234s:0.7@easeOutQuad, 50%:day@hold, end:1", "0:day, -1:0.3"]
)
def test_keys_keep_their_values_exactly_and_alpha_stays_on_the_line(text):
    timeline = Timeline.parse(text)
    before = timeline.resolve(NAMES, SECONDS)
    after = Timeline.parse(paced_keyframes(timeline, NAMES, SECONDS, changes(timeline, curved))).resolve(NAMES, SECONDS)
    assert set(before.keys) <= set(after.keys)
    assert all(abs(sum(alpha) - 1) < 1e-9 and min(alpha) >= 0 for alpha in after.alphas)


def test_even_change_stays_as_it_was():
    timeline = Timeline.parse("0:day@smooth, 60:night@steps(4), end:golden")
    even = {line: [1.0] * (len(line.samples(NAMES)) - 1) for line in lines(timeline)}
    paced = Timeline.parse(paced_keyframes(timeline, NAMES, SECONDS, even)).resolve(NAMES, SECONDS).alphas
    pairs = zip(paced, timeline.resolve(NAMES, SECONDS).alphas, strict=True)
    assert max(abs(a - b) for one, two in pairs for a, b in zip(one, two, strict=True)) < 2e-3


def test_progress_is_monotone_and_exact_at_the_ends():
    uneven = [0.0, 5.0, 0.0, 0.0, 1.0]
    shares = [n / 50 for n in range(51)]
    progress = [progress_at(share, uneven) for share in shares]
    assert progress[0] == 0 and progress[-1] == 1
    assert all(a < b for a, b in itertools.pairwise(progress))
    assert progress_at(0.3, [0.0, 0.0]) == 0.3, "nothing changes"
    assert (progress_at(-0.1, uneven), progress_at(1.2, uneven)) == (-0.1, 1.2)


def test_a_line_and_its_reverse_are_measured_once():
    timeline = Timeline.parse("0:day, 10:night, 20:day, 30:night, 40:night, 50:0.5")
    values = [key.value for key in timeline.keyframes]
    assert list(lines(timeline).items()) == [(Line(values[0], values[1]), 0), (Line(values[4], values[5]), 4)]
    with pytest.raises(TimelineError, match="pace of its own"):
        lines(Timeline.parse("0:0, 10:0.5+0.5*sin(t)"))


def test_a_long_clip_has_keyframes_that_can_be_parsed():
    timeline = Timeline.parse(", ".join(f"{n}s:{('day', 'night')[n % 2]}@easeInOutBounce" for n in range(300)))
    seconds = [Fraction(n, 25) for n in range(7500)]
    text = paced_keyframes(timeline, NAMES, seconds, changes(timeline, curved))
    assert len(text) <= 100_000
    assert len(Timeline.parse(text).resolve(NAMES, seconds).alphas) == 7500


@pytest.mark.parametrize("tolerance", [0.01, 0.1])
def test_lines_between_the_points_that_stay_are_near_all_others(tolerance):
    rng = random.Random(1)
    places = list(itertools.accumulate(rng.uniform(0.1, 2) for _ in range(500)))
    values = list(itertools.accumulate(rng.gauss(0, 0.02) for _ in range(500)))
    kept = simplified(places, values, tolerance)
    assert kept[0] == 0 and kept[-1] == 499 and len(kept) < 450
    for first, last in itertools.pairwise(kept):
        slope = (values[last] - values[first]) / (places[last] - places[first])
        lines = [values[first] + slope * (place - places[first]) for place in places[first:last]]
        assert all(abs(a - b) <= tolerance + 1e-9 for a, b in zip(lines, values[first:last], strict=True))
