"""A constant rate repeats and drops the nearest frames, says how many, and leaves the sound alone."""

from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnirender import UsageError
from dnirender.jobs.constant_rate import constant_timing, nominal_rate, resample
from dnirender.jobs.job import make_job
from dnirender.jobs.verify import verify
from support.clips import make_clip
from support.delivery import clips, decoded, frame_number, identity, numbered, packets

BASE = Fraction(1, 90000)
JITTER = (0, 2900, 6100, 9000, 11800, 15200, 18000, 20900, 24100, 27000, 29900, 33100)  # around 30/s
NTSC = Fraction(30000, 1001)


def jittery(path, pts=JITTER, **options):
    return make_clip(path, pts=pts, time_base=BASE, frames=len(pts), rate=30, **options)


def test_jitter_becomes_even_and_the_sound_is_untouched(tmp_path):
    clip = jittery(tmp_path / "clip.mp4", audio="aac")
    report = identity(clip, tmp_path / "out.mp4", cfr="auto")
    assert numbered(tmp_path / "out.mp4") == (list(range(12)), [Fraction(i, 30) for i in range(12)])
    assert packets(tmp_path / "out.mp4", "audio") == packets(clip, "audio")
    assert (report.repeated, report.dropped) == (0, 0)
    assert any("made constant, 30 frames/s, 0 repeated and 0 dropped" in text for text in report.warnings)


@pytest.mark.parametrize("target", [".mp4", ".mkv", ".mov"])
def test_a_gap_is_filled_and_a_burst_thinned_out(tmp_path, target):
    # 25/s, a gap of 0.2 s after frame 2, and three frames in one tick
    pts = [0, 3600, 7200, 25200, 28800, 29000, 29300, 32400]
    clip = make_clip(tmp_path / "clip.mp4", pts=pts, time_base=BASE, frames=8, rate=25, audio="aac")
    report = identity(clip, tmp_path / f"out{target}", cfr=25)
    numbers, times = numbered(tmp_path / f"out{target}")
    assert numbers == [0, 1, 2, 2, 2, 2, 2, 3, 4, 7]
    assert all(abs(time - Fraction(i, 25)) <= Fraction(1, 2000) for i, time in enumerate(times))
    assert (report.frames, report.repeated, report.dropped) == (10, 4, 2)
    assert any("25 frames/s, 4 repeated and 2 dropped" in text for text in report.warnings)
    assert [data for _, data in packets(tmp_path / f"out{target}", "audio")] == [d for _, d in packets(clip, "audio")]
    assert not [check for check in verify(tmp_path / f"out{target}") if not check.good]


@pytest.mark.parametrize(("cfr", "count", "rate"), [("50", 24, 50), (12.5, 6, Fraction(25, 2)), ("29.97", 14, NTSC)])
def test_any_rate_may_be_asked_for(tmp_path, cfr, count, rate):
    report = identity(make_clip(tmp_path / "clip.mp4"), tmp_path / "out.mp4", cfr=cfr)
    times = [time for time, _ in decoded(tmp_path / "out.mp4")]
    assert times == [Fraction(i) / rate for i in range(count)]
    assert report.frames == count
    with clips._open(tmp_path / "out.mp4") as container:
        found = container.streams.video[0].average_rate
        assert Fraction(found.numerator, found.denominator) == rate


@pytest.mark.parametrize("options", [{}, {"start": "3", "end": "9"}, {"segment_frames": 3}, {"boomerang": True}])
def test_a_part_and_any_segments_give_the_same_frames(tmp_path, options):
    clip = jittery(tmp_path / "clip.mp4")
    identity(clip, tmp_path / "out.mp4", cfr=60, **options)
    first, last = (3, 9) if "start" in options else (0, 12)
    numbers = [frame_number(image) for _, image in decoded(tmp_path / "out.mp4")]
    expected = [number for number in range(first, last) for _ in range(2)]
    if "boomerang" in options:
        expected += expected[-2:0:-1]
    assert numbers == expected


def test_a_late_video_stays_late(tmp_path):
    clip = jittery(tmp_path / "clip.mp4", [pts + 9001 for pts in JITTER], audio="aac")
    identity(clip, tmp_path / "out.mp4", cfr="auto")
    times = numbered(tmp_path / "out.mp4")[1]
    assert times[0] == numbered(clip)[1][0] > 0
    assert all(after - before == Fraction(1, 30) for before, after in pairwise(times))
    assert not [check for check in verify(tmp_path / "out.mp4") if not check.good]


def test_frames_of_a_sequence_are_repeated_too(tmp_path):
    report = identity(make_clip(tmp_path / "clip.mp4"), tmp_path / "a_%02d.png", cfr=50)
    assert report.frames == 24 and len(list(tmp_path.glob("a_*.png"))) == 24


def test_without_it_times_stay_exact(tmp_path):
    clip = jittery(tmp_path / "clip.mp4")
    report = identity(clip, tmp_path / "out.mp4")
    assert numbered(tmp_path / "out.mp4")[1] == [pts * BASE for pts in JITTER]
    assert (report.repeated, report.dropped) == (0, 0)


@pytest.mark.parametrize("value", ["fast", "0", -1, "2000", "1/0", True])
def test_a_rate_that_is_none_is_refused(value):
    with pytest.raises(UsageError, match="cfr: expected"):
        make_job("clip.mp4", "out.mp4", "day-to-night", cfr=value)


def test_animations_have_their_own_option(tmp_path):
    with pytest.raises(UsageError, match="cfr: applies to videos"):
        identity(make_clip(tmp_path / "clip.mp4"), tmp_path / "out.gif", cfr=25)


@pytest.mark.parametrize(
    ("steps", "rate"),
    [
        ([Fraction(1, 25)] * 9, 25),
        ([Fraction(1001, 30000)] * 9, NTSC),
        ([Fraction(33, 1000), Fraction(33, 1000), Fraction(34, 1000)] * 30, 30),
        ([Fraction(33, 1000), Fraction(33, 1000), Fraction(34, 1000)] * 300 + [Fraction(3)] * 5, 30),
        ([Fraction(33367, 1000000)] * 90, NTSC),
        (
            [Fraction(33, 1000), Fraction(33, 1000), Fraction(34, 1000), Fraction(34, 1000), Fraction(33, 1000)] * 200,
            NTSC,
        ),
        ([Fraction(41708, 1000000)] * 90, Fraction(24000, 1001)),
        ([Fraction(1, 15)] * 9, 15),
        ([Fraction(2, 25)] * 9, Fraction(25, 2)),
        ([Fraction(1, 60), Fraction(1, 30)] * 40, 60),
    ],
)
def test_the_nominal_rate_is_that_of_most_frames(steps, rate):
    times = list(accumulate(steps, initial=Fraction(0)))
    assert nominal_rate(times[:-1], times[-1]) == rate


@given(
    st.lists(st.integers(1, 20_000), min_size=1, max_size=60),
    st.fractions(1, 120, max_denominator=1001),
    st.integers(-9000, 9000),
)
def test_every_frame_is_at_its_nearest_tick_and_none_out_of_order(steps, rate, start):
    *seconds, end = (pts * BASE for pts in accumulate(steps, initial=start))
    found = resample(seconds, end, rate)
    assert list(found.shown) == sorted(found.shown) and found.shown[0] == 0
    assert found.repeated == len(found.shown) - len(set(found.shown))
    assert found.dropped == len(seconds) - len(set(found.shown))
    for tick, number in enumerate(found.shown):
        place = (seconds[number] - seconds[0]) * rate
        assert place <= tick + Fraction(1, 2)  # no frame is shown more than half a tick early
        if number + 1 < len(seconds):  # nor is one kept for more than half a tick after the next
            assert tick <= (seconds[number + 1] - seconds[0]) * rate + Fraction(1, 2)
    assert abs(len(found.shown) - (end - seconds[0]) * rate) <= 1


def test_the_timing_is_even_and_starts_where_it_is_told():
    timing = constant_timing(Fraction(0), 5, NTSC)
    assert [pts * timing.time_base for pts in timing.pts] == [Fraction(1001 * i, 30000) for i in range(5)]
    late = constant_timing(Fraction(1, 3), 5, NTSC)
    assert abs(late.pts[0] * late.time_base - Fraction(1, 3)) < Fraction(1, 90000)
    assert late.frame_rate == timing.frame_rate == NTSC
