"""Timeline: exact at the keys, within the convex hull, correct timing, clear errors for text that does not parse."""

import math
import pickle
from bisect import bisect_left
from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnirender.errors import TimelineError, UsageError
from dnirender.timeline.easing import parse_easing
from dnirender.timeline.keyframes import Endpoints, Loop, Position, alpha_along_path
from dnirender.timeline.parser import parse_position
from dnirender.timeline.timeline import Timeline, path_position

SHAPES = ["sine", "quad", "cubic", "quart", "quint", "expo", "circ", "back", "elastic", "bounce"]
FAMILIES = [f"ease-{way}-{shape}" for shape in SHAPES for way in ("in", "out", "in-out")]
STEPS = [f"steps(4{jump})" for jump in ("", ", jump-start", ", jump-end", ", jump-none", ", jump-both")]
BEZIERS = ["cubic-bezier(0.1, 0.9, 0.2, 1)", "cubic-bezier(1, 0, 0, 1)", "cubic-bezier(0, 1, 1, 0)"]
CSS = ["ease", "ease-in", "ease-out", "ease-in-out"]
OVERSHOOTING = [name for name in FAMILIES if "back" in name or "elastic" in name] + ["cubic-bezier(0.5, -9, 0.5, 9)"]
MONOTONE = ["linear", "hold", "smooth", *CSS, *STEPS, *BEZIERS[:2]]
MONOTONE += [name for name in FAMILIES if not any(shape in name for shape in ("back", "elastic", "bounce"))]
EASINGS = sorted({*MONOTONE, *OVERSHOOTING, *FAMILIES, *BEZIERS})
ENDPOINTS = ["day", "golden", "starry-night", "1x"]

light = settings(max_examples=40, deadline=None)
unit_floats = st.floats(0, 1)
numbers = st.integers(0, 1000).map(lambda thousandths: str(thousandths / 1000))
weights = st.tuples(st.integers(0, 9), st.sampled_from(ENDPOINTS)).map(lambda term: f"{term[0]}.5*{term[1]}")
mixes = st.lists(weights, min_size=1, max_size=4).map("+".join)
values = numbers | st.sampled_from(ENDPOINTS) | mixes


@st.composite
def keyframes(draw, max_keys=5):
    """Keys at strictly increasing frames, their positions, values and easings not yet joined to text."""
    count = draw(st.integers(1, max_keys))
    frames = list(accumulate(draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))))
    return [(frame, draw(values), draw(st.sampled_from(EASINGS))) for frame in frames]


def as_text(keys):
    return ", ".join(f"{frame}:{value}@{easing}" for frame, value, easing in keys)


def at_fps(count, fps=24):
    return [Fraction(frame, fps) for frame in range(count)]


def alphas(text, count=41, endpoints=ENDPOINTS, **options):
    return Timeline.parse(text, **options).resolve(endpoints, at_fps(count)).alphas


def place(alpha):
    """Position of an alpha on the path of endpoints, in endpoints."""
    return sum(index * coefficient for index, coefficient in enumerate(alpha))


# Easings


@pytest.mark.parametrize("name", EASINGS)
def test_easing_ends_are_exact(name):
    easing = parse_easing(name)
    assert (easing(0.0), easing(1.0)) == (0.0, 1.0)


@pytest.mark.parametrize("name", FAMILIES + CSS)
def test_both_spellings_agree(name):
    head, *tail = name.split("-")
    camel = parse_easing(head + "".join(part.title() for part in tail))
    assert camel == parse_easing(name)
    assert all(camel(t / 16) == parse_easing(name)(t / 16) for t in range(17))


@pytest.mark.parametrize("name", MONOTONE)
def test_monotone_easings_never_turn(name):
    easing = parse_easing(name)
    walk = [easing(t / 500) for t in range(501)]
    assert all(before <= after + 1e-12 for before, after in pairwise(walk))


def expected_easing(shape, way, t):
    """The in, out and in-out curves written out one by one, as their usual formulas have them."""
    back, wide = 1.70158, 1.70158 * 1.525
    if shape == "elastic":
        swing = 2 * math.pi / (4.5 if way == "in-out" else 3)
        if way == "in":
            return -(2 ** (10 * t - 10)) * math.sin((10 * t - 10.75) * swing)
        if way == "out":
            return 2 ** (-10 * t) * math.sin((10 * t - 0.75) * swing) + 1
        wave = math.sin((20 * t - 11.125) * swing) / 2
        return -(2 ** (20 * t - 10)) * wave if t < 0.5 else 2 ** (10 - 20 * t) * wave + 1
    if shape == "back" and way == "in-out":
        u = 2 * t - 2
        return 2 * t * t * ((wide + 1) * 2 * t - wide) if t < 0.5 else (u * u * ((wide + 1) * u + wide) + 2) / 2
    if way == "in-out":
        return expected_easing(shape, "in" if t < 0.5 else "out", 2 * t % 1) / 2 + (t >= 0.5) / 2
    if way == "in" and shape == "bounce":
        return 1 - expected_easing(shape, "out", 1 - t)
    if shape == "bounce":
        floors = [(1, 0, 0), (2, 1.5, 0.75), (2.5, 2.25, 0.9375), (9, 2.625, 0.984375)]
        _, centre, height = next(arc for arc in floors if t < arc[0] / 2.75)
        return 7.5625 * (t - centre / 2.75) ** 2 + height
    powers = {"quad": 2, "cubic": 3, "quart": 4, "quint": 5}
    if shape in powers:
        return t ** powers[shape] if way == "in" else 1 - (1 - t) ** powers[shape]
    return {
        "sine": (1 - math.cos(t * math.pi / 2), math.sin(t * math.pi / 2)),
        "expo": (2 ** (10 * t - 10), 1 - 2 ** (-10 * t)),
        "circ": (1 - math.sqrt(1 - t**2), math.sqrt(1 - (t - 1) ** 2)),
        "back": ((back + 1) * t**3 - back * t**2, 1 + (back + 1) * (t - 1) ** 3 + back * (t - 1) ** 2),
    }[shape][way == "out"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("way", ["in", "out", "in-out"])
def test_easing_has_the_known_curve(shape, way):
    easing = parse_easing(f"ease-{way}-{shape}")
    for t in (0.07, 0.2, 0.37, 0.49, 0.55, 0.7, 0.83, 0.95):
        assert easing(t) == pytest.approx(expected_easing(shape, way, t), abs=1e-12)


@light
@given(st.tuples(unit_floats, st.floats(-3, 3), unit_floats, st.floats(-3, 3)), unit_floats)
def test_bezier_passes_through_its_own_points(points, s):
    x1, y1, x2, y2 = points
    x = 3 * (1 - s) ** 2 * s * x1 + 3 * (1 - s) * s**2 * x2 + s**3
    slope = 3 * ((1 - s) ** 2 * x1 + 2 * (1 - s) * s * (x2 - x1) + s**2 * (1 - x2))
    y = 3 * (1 - s) ** 2 * s * y1 + 3 * (1 - s) * s**2 * y2 + s**3
    if slope > 0.05:  # where x stands still a float of x does not tell s
        assert parse_easing(f"cubic-bezier({x1}, {y1}, {x2}, {y2})")(min(x, 1.0)) == pytest.approx(y, abs=1e-9)


def test_named_css_curves_are_their_beziers():
    for name, text in [("ease", "0.25, .1, 0.25, 1"), ("ease-in", ".42,0,1,1"), ("ease-out", "0,0,.58,1")]:
        assert parse_easing(name)(0.3) == parse_easing(f"cubic-bezier({text})")(0.3)
    assert parse_easing("ease-in-out")(0.3) == pytest.approx(0.18739590670531, abs=1e-12)


def test_steps_jump_where_css_says():
    levels = [sorted({parse_easing(name)(t / 97) for t in range(1, 97)}) for name in STEPS]
    assert levels[0] == levels[2] == [0, 1 / 4, 1 / 2, 3 / 4]
    assert levels[1] == [1 / 4, 1 / 2, 3 / 4, 1]
    assert levels[3] == [0, 1 / 3, 2 / 3, 1]
    assert levels[4] == [1 / 5, 2 / 5, 3 / 5, 4 / 5]


def test_a_step_falls_on_its_frame():
    track = alphas("0:day@steps(100), 100:golden", 101, ["day", "golden"])
    assert [alpha[1] for alpha in track] == [frame / 100 for frame in range(101)]


# Alphas


@light
@given(keyframes(), st.sampled_from(Loop))
def test_alpha_stays_in_the_hull(keys, loop):
    for alpha in alphas(as_text(keys), loop=loop):
        assert min(alpha) >= 0
        assert abs(sum(alpha) - 1) <= 1e-12


@light
@given(keyframes())
def test_extrapolated_alpha_still_sums_to_one(keys):
    assert all(abs(sum(alpha) - 1) <= 1e-12 for alpha in alphas(as_text(keys), extrapolate=True))


@light
@given(keyframes())
def test_alpha_at_a_key_is_that_key_alone(keys):
    track = alphas(as_text(keys), 60)
    for frame, value, _ in keys:
        assert track[frame] == alphas(f"0:{value}", 1)[0]


@light
@given(keyframes())
def test_values_hold_before_the_first_key_and_after_the_last(keys):
    track = alphas(as_text(keys), 60)
    first, last = keys[0][0], keys[-1][0]
    assert set(track[: first + 1]) == {track[first]}
    assert set(track[last:]) == {track[last]}


@pytest.mark.parametrize("name", MONOTONE)
def test_alpha_runs_one_way_between_two_numbers(name):
    track = [place(alpha) for alpha in alphas(f"0:0.13@{name}, 40:0.87")]
    assert all(before <= after + 1e-12 for before, after in pairwise(track))


def test_numbers_pass_through_every_endpoint_and_names_do_not():
    assert [alpha.index(1.0) for alpha in alphas("0:0, 3:1", 4)] == [0, 1, 2, 3]
    assert alphas("0:day, 2:1x", 3)[1] == (0.5, 0.0, 0.0, 0.5)
    assert alphas("0:0, 2:1x", 3)[1] == (0.5, 0.0, 0.0, 0.5)
    assert alphas("0:0.5", 1)[0] == (0.0, 0.5, 0.5, 0.0)
    assert alphas("0:0.3", 1, ["only"]) == ((1.0,),)


def test_a_number_is_exact_on_any_path():
    assert alphas("0:0.29", 1, [f"e{index}" for index in range(101)])[0][29] == 1.0
    assert alphas("0:0.3", 1, ["day", "night"])[0] == (0.7, 0.3)


def test_mixes_are_normalised():
    assert alphas("0:0.3*day+0.7*1x", 1)[0] == (0.3, 0.0, 0.0, 0.7)
    assert alphas("0:3*day + 1*day + 4*starry-night", 1)[0] == (0.5, 0.0, 0.5, 0.0)
    assert alphas("0:day+1x", 1)[0] == (0.5, 0.0, 0.0, 0.5)


def test_names_with_hyphens_digits_and_dots():
    names = ["a-b", "1x", "v1.5", "a", "_b"]
    for index, name in enumerate(names):
        assert alphas(f"0:{name}", 1, names)[0][index] == 1.0
        assert alphas(f"0:0.5*{name}+0.5*{name}", 1, names)[0][index] == 1.0
    for text in ("2*a-1*_b", "2*a - _b", "2*a - 1 * _b", "-1*_b+2*a"):
        assert alphas(f"0:{text}", 1, names, extrapolate=True)[0] == (0.0, 0.0, 0.0, 2.0, -1.0)
    assert alphas("0:2*a-b - 1x", 1, names, extrapolate=True)[0] == (2.0, -1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", OVERSHOOTING)
@pytest.mark.parametrize("text", ["0:0@{}, 40:1", "0:day@{}, 40:1x", "0:0.5*day+0.5*golden@{}, 40:0.5*1x+0.5*golden"])
def test_overshoot_is_clamped_until_extrapolated(name, text):
    clamped, free = alphas(text.format(name)), alphas(text.format(name), extrapolate=True)
    assert min(map(min, clamped)) >= 0
    assert min(map(min, free)) < -0.01
    agree = [inside == outside for inside, outside in zip(clamped, free, strict=True) if min(outside) >= 0]
    assert agree
    assert all(agree)


def test_a_clamped_path_stays_straight():
    track = alphas("0:0.5*day+0.5*golden@ease-out-back, 40:0.2*day+0.5*golden+0.3*1x")
    assert {round(alpha[1], 12) for alpha in track} == {0.5}
    assert max(alpha[3] for alpha in track) > 0.3


def test_extrapolation_keeps_the_meaning_of_plain_values():
    text = "0:0.3@smooth, 9:3*day+1*golden, 20:1x, 30:1"
    assert alphas(text) == alphas(text, extrapolate=True)
    assert alphas("0:1.5", 1, ["day", "night"], extrapolate=True)[0] == (-0.5, 1.5)
    assert alphas("0:-0.5", 1, ["a", "b", "c"], extrapolate=True)[0] == (2.0, -1.0, 0.0)


@light
@given(values)
def test_a_held_alpha_is_one_tuple(value):
    assert len(set(map(id, alphas(f"0:{value}@hold, 30:{value}", 60)[:30]))) == 1
    assert len(set(alphas(f"0:{value}@ease-in-out-elastic, 30:{value}", 60))) == 1


def test_easing_belongs_to_the_segment_that_leaves_its_key():
    assert alphas("0:day@hold, 2:1x, 4:day", 5) == alphas("0:day, 1:day, 2:1x, 4:day", 5)
    assert alphas("0:day, 4:1x@hold", 5, easing="smooth") == alphas("0:day@smooth, 4:1x", 5)
    assert alphas("0:day@linear, 4:1x", 5, easing="smooth") == alphas("0:day, 4:1x", 5)


# Loops


@light
@given(keyframes(), st.sampled_from(["repeat", "ping-pong"]))
def test_loops_are_periodic(keys, loop):
    first, last = keys[0][0], keys[-1][0]
    period = (last - first) * (1 if loop == "repeat" else 2) or 7
    track = alphas(as_text(keys), last + 3 * period, loop=loop)
    assert track[: last + 1] == alphas(as_text(keys), last + 1)
    assert track[first + 1 : -period] == track[first + 1 + period :]


@light
@given(keyframes())
def test_ping_pong_is_a_mirror_at_the_last_key(keys):
    first, last = keys[0][0], keys[-1][0]
    track = alphas(as_text(keys), 2 * last - first + 1, loop="ping-pong")
    assert track[first:] == track[first:][::-1]


def test_a_closed_cycle_repeats_without_doubling():
    assert list(map(place, alphas("0:0, 2:1, 4:0", 9, ["a", "b"], loop="repeat"))) == [
        0,
        0.5,
        1,
        0.5,
        0,
        0.5,
        1,
        0.5,
        0,
    ]
    assert list(map(place, alphas("0:0, 2:1", 7, ["a", "b"], loop="repeat"))) == [0, 0.5, 1, 0.5, 1, 0.5, 1]
    assert list(map(place, alphas("0:0, 2:1", 7, ["a", "b"], loop="ping-pong"))) == [0, 0.5, 1, 0.5, 0, 0.5, 1]


def test_closed_means_the_last_alpha_is_the_first():
    closed = {"0:0, 9:1, 18:0": True, "0:0, 9:1, 18:day": True, "0:day, 9:1*day+0*1x": True}
    closed |= {"0:0, 9:1": False, "0:0": False}
    assert {text: Timeline.parse(text).is_closed(ENDPOINTS) for text in closed} == closed


# Positions


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("0", 0),
        ("12", 12),
        ("-1", 48),
        ("-49", 0),
        ("49", 49),
        ("500", 49),
        (f"1{'0' * 60}", 49),
        ("0s", 0),
        ("1s", 24),
        ("1.01 s", 25),
        ("2S", 48),
        ("2.01s", 49),
        ("0:01", 24),
        ("00:00:01.500", 36),
        ("0 : 01.5", 36),
        ("1:00", 49),
        ("1:00:00", 49),
        ("0%", 0),
        ("50 %", 24),
        ("51%", 25),
        ("100%", 48),
        ("150%", 49),
        (" End ", 48),
    ],
)
def test_position_is_the_first_frame_at_or_after(text, frame):
    shifted = [Fraction(7, 3) + second for second in at_fps(49)]
    assert parse_position(text).frame(at_fps(49)) == parse_position(text).frame(shifted) == frame


@light
@given(st.lists(st.integers(1, 99), min_size=1, max_size=30), st.integers(0, 9999))
def test_a_time_finds_its_frame_on_uneven_pts(gaps, milliseconds):
    seconds = [Fraction(pts, 90) for pts in accumulate(gaps)]
    position = parse_position(f"{milliseconds / 1000}s")
    assert position.frame(seconds) == bisect_left([t - seconds[0] for t in seconds], Fraction(milliseconds, 1000))


def test_end_is_all_of_the_way():
    assert parse_position("end") == parse_position("100%") == Position("fraction", Fraction(1), "anything")
    assert parse_position("1:30") == parse_position("90s") == parse_position("00:01:30.000")


@light
@given(st.lists(st.integers(1, 50), min_size=2, max_size=20), st.integers(0, 40))
def test_time_keys_run_on_pts(gaps, offset):
    pts = list(accumulate(gaps, initial=offset))
    seconds = [Fraction(t, 25) for t in pts]
    track = Timeline.parse("0s:0, 8s:1").resolve(["a", "b"], seconds).alphas
    assert [alpha[1] for alpha in track] == [min((t - offset) / 200, 1.0) for t in pts]


def test_frame_keys_stand_at_their_frames_time_among_time_keys():
    seconds = [Fraction(t) for t in (5, 6, 8, 9, 15)]  # from the first on: 0, 1, 3, 4, 10
    track = Timeline.parse("0:0, 2:1, 5s:0").resolve(["a", "b"], seconds)
    assert [alpha[1] for alpha in track.alphas] == [0, 1 / 3, 1, 0.5, 0]
    assert [key[0] for key in track.keys] == [0, Fraction(3, 10), Fraction(1, 2)]
    beyond = Timeline.parse("0s:0, 6:1").resolve(["a", "b"], seconds)  # two mean durations of 2.5 s beyond 10 s
    assert beyond.alphas[-1][1] == 10 / 15
    assert beyond.keys[-1] == (Fraction(3, 2), (0.0, 1.0))
    halfway = Timeline.parse("0s:0, 50%:1, -1:0").resolve(["a", "b"], seconds)
    assert [alpha[1] for alpha in halfway.alphas] == [0, 0.2, 0.6, 0.8, 0]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("0:0, 40:1", ""),
        ("0:0, end:1", ""),
        ("0:1, 500:1", ""),
        ("500:1", ""),
        ("0:0, 41:1", '"41:1" (key 2) is behind the last frame, 40: its value is not reached, the last frame has 0.976'),
        ("0:0, 80:1@smooth", '"80:1@smooth" (key 2) is behind the last frame, 40: its value is not reached, the last frame has 0.500'),
        ("0:0@smooth, 100:1", '"100:1" (key 2) is behind the last frame, 40: its value is not reached, the last frame has 0.352'),
        ("0:day, 80:1x", '"80:1x" (key 2) is behind the last frame, 40: its value is not reached, the last frame has 0.500*day+0.500*1x'),
        ("0:0, 20:1, 99:1, 100:0", '"100:0" (key 4) is behind the last frame, 40: its value is not reached, the last frame has 1.000'),
        ("9:0.5, 100:0.50001", '"100:0.50001" (key 2) is behind the last frame, 40: its value is not reached, the last frame has 0.500003407'),
        ("0:(t/100), 50:1", '"50:1" (key 2) is behind the last frame, 40: its value is not reached, the last frame has 0.400'),
        ("90:day, 95:1x", '"95:1x" (key 2) is behind the last frame, 40: its value is not reached, the last frame has day'),
        ("0s:0, 2s:1", '"2s:1" (key 2) is behind the last frame, 40: its value is not reached, the last frame has 0.833'),
    ],
)  # fmt: skip
def test_a_value_behind_the_clip_is_named_with_how_far_it_gets(text, warning):
    track = Timeline.parse(text).resolve(ENDPOINTS, at_fps(41))
    assert track.unreached == (f"keyframes: {warning}" if warning else "")


def test_frame_keys_alone_ignore_pts():
    uneven = [Fraction(t) for t in (0, 1, 7, 8, 100)]
    assert Timeline.parse("0:0, end:1").resolve(["a", "b"], uneven) == Timeline.parse("0:0, 4:1").resolve(
        ["a", "b"], at_fps(5)
    )


def test_keys_lie_anywhere_on_the_track():
    track = Timeline.parse("0:0, 25%:0.5, -1:1, 50:0").resolve(["a", "b"], at_fps(41))
    assert track.keys == ((0, (1.0, 0.0)), (Fraction(1, 4), (0.5, 0.5)), (1, (0.0, 1.0)), (Fraction(5, 4), (1.0, 0.0)))


def test_keys_that_meet_at_the_clips_end_are_the_later():
    for text in ("0:0, end:1", "0:0, 50%:0, end:1", "0:0, -1:1", "0:0, 50%:0.2, -1:1"):
        assert alphas(text, 1, ["a", "b"]) == ((0.0, 1.0),)
    assert Timeline.parse("0:0, 12:0.5, end:1").resolve(["a", "b"], at_fps(13)).keys[1:] == ((1, (0.0, 1.0)),)
    for text in ("0:0, 12:1", "0:0, 12:0.5, 2s:1"):
        lone = Timeline.parse(text).resolve(["a", "b"], at_fps(1))
        assert lone.alphas == ((1.0, 0.0),)
        assert [key[0] > 1 for key in lone.keys] == [False] + [True] * (len(lone.keys) - 1)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0:0, 24:1", 25),
        ("0:0", 1),
        ("0s:0, 1s:1", 25),
        ("0:0, 1.01s:1", 26),
        ("0:0, end:1", 25),
        ("0:0, 50%:1, 100%:0", 25),
        ("0:0, 48:1, end:0", 50),
        ("0:0, 2s:1, end:0", 50),
        ("-30:0, -1:1", 30),
    ],
)
def test_a_still_lasts_until_its_last_key(text, count):
    timeline = Timeline.parse(text)
    assert timeline.num_frames(Fraction(24)) == count
    track = timeline.resolve(["a", "b"], at_fps(count))
    assert track.alphas[-1] == track.keys[-1][1]
    assert len(track.keys) == len(timeline.keyframes)


# Grammar


@light
@given(keyframes(), st.sampled_from(["", " ", "  \n\t "]))
def test_what_is_written_is_read(keys, space):
    text = ",".join(space.join(["", str(frame), ":", value, "@", easing, ""]) for frame, value, easing in keys)
    timeline = Timeline.parse(text)
    assert [key.position for key in timeline.keyframes] == [Position("frame", Fraction(key[0]), "") for key in keys]
    assert [key.easing for key in timeline.keyframes] == [parse_easing(easing) for *_, easing in keys]
    assert timeline == Timeline.parse(as_text(keys)) == Timeline.parse(str(timeline))


def test_deforum_strings_parse():
    assert Timeline.parse("0:(0), 120:(1)") == Timeline.parse("0:0,120:1")
    assert Timeline.parse("0: (0.25*day + 0.75*1x)") == Timeline.parse("0:0.25*day+0.75*1x")
    assert Timeline.parse("0:( 0.5 )@cubic-bezier(0, .1, 1, 2)") == Timeline.parse("0:0.5@cubicBezier(0,0.1,1,2.0)")


@pytest.mark.parametrize(
    ("text", "seconds", "value"),
    [
        ("1:30:0.5", 90, "0.5"),
        ("00:01:30.500:1x@smooth", Fraction(181, 2), "1x"),
        ("1:02:03:1", 3723, "1"),
        ("90:00:0", 5400, "0"),
    ],
)
def test_the_last_colon_divides(text, seconds, value):
    key = Timeline.parse(text).keyframes[0]
    assert key.position == Position("seconds", Fraction(seconds), "")
    assert key.alpha(ENDPOINTS) == alphas(f"0:{value}", 1)[0]


def test_a_timeline_says_what_the_user_wrote():
    timeline = Timeline.parse("0 : day@easeInCubic ,1:30:0.5,end:1")
    assert str(timeline) == "0 : day@easeInCubic, 1:30:0.5, end:1"
    assert [str(key.position) for key in timeline.keyframes] == ["frame 0", "1:30", "end"]
    assert str(timeline.keyframes[0].easing) == "ease-in-cubic"


VALUES = "a number 0..1, an endpoint's name, a mix such as 0.3*day+0.7*night or an expression such as 0.5+0.5*sin(t/9)"
POSITIONS = "a frame (12, -1), a time (2.5s, 1:30, 00:01:30.500), 50% or end"
PARTS = "expected POSITION:VALUE[@EASING]"
JUMPS = "jump-start|jump-end|jump-none|jump-both"
BEZIER = "expected cubic-bezier(a, b, c, d)"
MALFORMED = {
    "": f"keyframes: empty; {PARTS}, for example 0:0,end:1",
    " \n ": f"keyframes: empty; {PARTS}, for example 0:0,end:1",
    "0": f'keyframes: "0" (key 1): no colon between position and value; {PARTS}; one value all along is 0:0',
    "0:0,,9:1": f'keyframes: "" (key 2): no colon between position and value; {PARTS}',
    "0:0,5 ,9:1": f'keyframes: "5" (key 2): no colon between position and value; {PARTS}',
    ":1": f'keyframes: ":1" (key 1): unknown position ""; expected {POSITIONS}',
    "abc:0": f'keyframes: "abc:0" (key 1): unknown position "abc"; expected {POSITIONS}',
    "5%s:0": f'keyframes: "5%s:0" (key 1): unknown position "5%s"; expected {POSITIONS}',
    "end-1:0": f'keyframes: "end-1:0" (key 1): unknown position "end-1"; expected {POSITIONS}',
    "1:2:3:4:0": f'keyframes: "1:2:3:4:0" (key 1): unknown position "1:2:3:4"; expected {POSITIONS}',
    "12.5:0": 'keyframes: "12.5:0" (key 1): frame 12.5 is not an integer; for a time write 12.5s',
    "-2s:0": 'keyframes: "-2s:0" (key 1): "-2s" is before the first frame; only frame numbers may be negative, like -1',
    "-5%:0": 'keyframes: "-5%:0" (key 1): "-5%" is before the first frame; only frame numbers may be negative, like -1',
    "1:75:0": 'keyframes: "1:75:0" (key 1): "1:75" is not a valid timecode; seconds, and minutes after hours, must be below 60',
    "1:60:00:0": 'keyframes: "1:60:00:0" (key 1): "1:60:00" is not a valid timecode; '
    "seconds, and minutes after hours, must be below 60",
    "nan:0": 'keyframes: "nan:0" (key 1): nan is not a finite number',
    "1e400:0": 'keyframes: "1e400:0" (key 1): the number "1e400" is out of range',
    "0:": f'keyframes: "0:" (key 1): the value is missing; expected {VALUES}',
    "0:()": f'keyframes: "0:()" (key 1): the value is missing; expected {VALUES}',
    "0:nan": 'keyframes: "0:nan" (key 1): nan is not a finite number',
    "0:-inf": 'keyframes: "0:-inf" (key 1): -inf is not a finite number',
    "0:1e400": 'keyframes: "0:1e400" (key 1): the number "1e400" is out of range',
    "0:1e-999999999": 'keyframes: "0:1e-999999999" (key 1): the number "1e-999999999" is out of range',
    "0:1.5": 'keyframes: "0:1.5" (key 1): 1.5 is outside 0..1; use extrapolate=True to go beyond the endpoints',
    "1:30": 'keyframes: "1:30" (key 1): 30 is outside 0..1; use extrapolate=True to go beyond the endpoints',
    "0:-1": 'keyframes: "0:-1" (key 1): -1 is outside 0..1; use extrapolate=True to go beyond the endpoints',
    "0:2*day-1*1x": 'keyframes: "0:2*day-1*1x" (key 1): a weight is negative; '
    "use extrapolate=True to go beyond the endpoints",
    "0:0*day+0*1x": 'keyframes: "0:0*day+0*1x" (key 1): the weights sum to 0; expected 1',
    "0:0.5+0.5*day": f'keyframes: "0:0.5+0.5*day" (key 1): 0.5 has no endpoint name; expected {VALUES}',
    "0:day 1x": f'keyframes: "0:day 1x" (key 1): cannot read "1x"; expected {VALUES}',
    "0:0.5*day+": f'keyframes: "0:0.5*day+" (key 1): cannot read "+"; expected {VALUES}',
    "0:150%": 'keyframes: "0:150%" (key 1): 150% is outside 0..1; use extrapolate=True to go beyond the endpoints',
    "0:'0": 'keyframes: unbalanced quote in "0:\'0"',
    "0:0.5*": 'keyframes: "0:0.5*" (key 1): expected a value, got the end at character 5',
    "0:t@smooth": 'keyframes: "0:t@smooth" (key 1): an expression has a value of its own at every frame; '
    "it has no easing",
    "0:(0": 'keyframes: unbalanced parenthesis in "0:(0"',
    "0:0)": 'keyframes: unbalanced parenthesis in "0:0)"',
    "0:0@hold@hold": f'keyframes: "0:0@hold@hold" (key 1): two easings; {PARTS}',
    "0:0@smoth": 'keyframes: "0:0@smoth" (key 1): unknown easing "smoth"; did you mean smooth?',
    "0:0@back": 'keyframes: "0:0@back" (key 1): unknown easing "back"; '
    "did you mean ease-in-back or ease-out-back or ease-in-out-back?",
    "0:0@": 'keyframes: "0:0@" (key 1): unknown easing ""; expected linear, hold, smooth, ease, ease-in, ease-out, '
    "ease-in-out, cubic-bezier(a, b, c, d), steps(n) or ease-in-SHAPE, ease-out-SHAPE, ease-in-out-SHAPE where SHAPE "
    "is one of sine, quad, cubic, quart, quint, expo, circ, back, elastic, bounce",
    "0:0@steps(0)": 'keyframes: "0:0@steps(0)" (key 1): "steps(0)": expected at least 1 steps',
    "0:0@steps(1,jump-none)": 'keyframes: "0:0@steps(1,jump-none)" (key 1): "steps(1,jump-none)": '
    "expected at least 2 steps",
    "0:0@steps(2.5)": 'keyframes: "0:0@steps(2.5)" (key 1): "steps(2.5)": '
    f"expected steps(n) or steps(n, {JUMPS}), n an integer",
    "0:0@steps(2,up)": 'keyframes: "0:0@steps(2,up)" (key 1): "steps(2,up)": '
    f"expected steps(n) or steps(n, {JUMPS}), n an integer",
    "0:0@cubic-bezier(0,1)": f'keyframes: "0:0@cubic-bezier(0,1)" (key 1): "cubic-bezier(0,1)": {BEZIER}, four numbers',
    "0:0@cubic-bezier(2,0,0,0)": 'keyframes: "0:0@cubic-bezier(2,0,0,0)" (key 1): "cubic-bezier(2,0,0,0)": '
    f"{BEZIER} with a and c in 0..1, b and d in -100..100",
    "0:0,90:1,40:0": "keyframes: frame 40 comes after frame 90 (key 3); positions must increase",
    "0:0,end:0,9:1,9:0": "keyframes: frame 9 comes after frame 9 (key 4); positions must increase",
    "2s:0,0:01.5:1": "keyframes: 0:01.5 comes after 2s (key 2); positions must increase",
    "end:0,50%:1": "keyframes: 50% comes after end (key 2); positions must increase",
    "-1:0,-9:1": "keyframes: frame -9 comes after frame -1 (key 2); positions must increase",
    ",".join(["0:0"] * 10_001): "keyframes: 10001 keys, expected at most 10000",
    "0:" + "9" * 100_000: "keyframes: 100002 characters, expected at most 100000",
    "0:" + "9" * 65: f'keyframes: "0:{"9" * 55}..." (key 1): the number "{"9" * 57}..." is out of range',
}


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: text[:25])
def test_malformed_keyframes_are_explained(text):
    with pytest.raises(TimelineError) as caught:
        Timeline.parse(text)
    assert str(caught.value) == MALFORMED[text]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "12:foo",
            'keyframes: "12:foo" (key 1): unknown endpoint "foo"; this preset has day, golden, starry-night, 1x',
        ),
        (
            "0:starry_nihgt",
            'keyframes: "0:starry_nihgt" (key 1): unknown endpoint "starry_nihgt"; did you mean starry-night?',
        ),
        (
            "0:0, 9:0.5*day+0.5*noon",
            'keyframes: "9:0.5*day+0.5*noon" (key 2): unknown endpoint "noon"; this preset has ',
        ),
        ("-42:0", 'keyframes: "-42:0" (key 1): frame -42 is before the first frame; this clip has 41 frames'),
        (
            "0:0,90:1,end:0",
            "keyframes: end is listed after frame 90 (key 3) but is not later; this clip has 41 frames, and p",
        ),
        (
            "12:0,0.5s:1",
            "keyframes: 0.5s is listed after frame 12 (key 2) but is not later; this clip has 41 frames, and pos",
        ),
    ],
)
def test_what_does_not_fit_the_clip_is_explained(text, message):
    with pytest.raises(TimelineError) as caught:
        alphas(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Timeline.parse("0:0", loop="bounce"), 'unknown loop "bounce"; expected none, repeat, ping-pong'),
        (lambda: Timeline.parse("0:0", easing="lineal"), 'unknown easing "lineal"; did you mean linear?'),
        (lambda: Timeline.parse("0:0").resolve(ENDPOINTS, []), "keyframes: the clip has no frames"),
        (lambda: parse_position("end").frame([]), "keyframes: the clip has no frames"),
        (
            lambda: parse_position("-2").frame([Fraction(0)]),
            "frame -2 is before the first frame; this clip has 1 frame",
        ),
        (lambda: parse_position("soon"), f'unknown position "soon"; expected {POSITIONS}'),
        (
            lambda: Timeline.parse("0:1e9", extrapolate=True),
            'keyframes: "0:1e9" (key 1): 1e9 is out of range; extrapolate=True allows -100 to 100',
        ),
        (
            lambda: Timeline.parse("0:101*a-100*b", extrapolate=True),
            'keyframes: "0:101*a-100*b" (key 1): a weight is out of range; extrapolate=True allows -100 to 100',
        ),
        (
            lambda: Timeline.parse("0:2*a-0.5*b", extrapolate=True),
            'keyframes: "0:2*a-0.5*b" (key 1): the weights sum to 1.5; expected 1',
        ),
    ],
)
def test_other_mistakes_are_explained(call, message):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == message


@light
@given(st.text(alphabet="0123456789:,@()+-*.%s ednaysmoothxi", max_size=40))
def test_any_text_parses_or_is_refused(text):
    try:
        timeline = Timeline.parse(text, extrapolate=True)
    except TimelineError as error:
        assert str(error).count("\n") == 0
    else:
        assert Timeline.parse(str(timeline), extrapolate=True) == timeline


@pytest.mark.parametrize("unit", ["1", "-1", "a-", "a+", "(", "1*", "1e", "1.", " ", "@", ":", "1:", "a-1", "0.5*a+"])
def test_hostile_texts_are_answered_at_once(unit):
    body = unit * (99_000 // len(unit))
    for text in (f"0:{body}", f"{body}:0", f"0:0@{body}", f"0:{body}!"):
        with pytest.raises(TimelineError):
            Timeline.parse(text).resolve(ENDPOINTS, at_fps(2))


def test_a_long_clip_of_distinct_times_is_quick():
    seconds = [Fraction(frame * 1001, 30_000) for frame in range(50_000)]
    track = Timeline.parse("0s:0, 10s:1@smooth, 20s:day, 1:00:1", loop="ping-pong").resolve(ENDPOINTS, seconds)
    assert len(track.alphas) == 50_000


def test_the_place_on_the_path():
    mixes = [(1.0, 0, 0, 0), (0, 0.5, 0.5, 0), (0.5, 0, 0, 0.5), (0, 0, 0, 1.0), (1.0,)]
    assert [path_position(mix) for mix in mixes] == [0, 0.5, 0.5, 1, 0]


PLACED = Endpoints(("low", "middle", "high"), (0, 0.25, 1))


@light
@given(st.floats(0, 1))
def test_a_number_is_the_position_of_its_mixture(number):
    alpha = alpha_along_path(number, PLACED)
    assert path_position(alpha, PLACED) == pytest.approx(number, abs=1e-9)
    assert sum(alpha) == pytest.approx(1) and min(alpha) >= 0
    assert not (alpha[0] and alpha[2])


def test_endpoints_are_exact_where_they_lie():
    for number, name in enumerate(PLACED):
        one = tuple(float(k == number) for k in range(3))
        assert alpha_along_path(PLACED.positions[number], PLACED) == one
        assert Timeline.parse(f"0:{name}").resolve(PLACED, at_fps(1)).alphas == (one,)


def test_numbers_move_along_positions_and_beyond_them():
    track = Timeline.parse("0:0, 8:1", extrapolate=True).resolve(PLACED, at_fps(9))
    assert track.alphas[1] == (0.5, 0.5, 0.0)
    assert track.alphas[5] == (0.0, 0.5, 0.5)
    assert alpha_along_path(1.75, PLACED) == (0.0, -1.0, 2.0)
    assert alpha_along_path(-0.25, PLACED) == (2.0, -1.0, 0.0)


def test_evenly_spaced_endpoints_are_plain_names():
    names = ("a", "b", "c", "d")
    for number in (Fraction(1, 3), Fraction(2, 7), 0.31, 1.2):
        assert alpha_along_path(number, Endpoints(names)) == alpha_along_path(number, names)
    assert Endpoints(names) == names
    assert pickle.loads(pickle.dumps(PLACED)).positions == PLACED.positions
