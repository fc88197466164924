"""Laws of ranges: the frames of a range are shown as long as in the source, the last one too."""

from dataclasses import replace
from fractions import Fraction

import pytest

from dnirender.decoding.open import open_source
from dnirender.jobs.frame_selection import animation_frames, timing_and_range

PTS = (0, 1, 3, 7, 15, 31)


@pytest.fixture
def metadata(clip):
    """Six frames, each shown twice as long as the one before."""
    return replace(
        open_source(clip).metadata, pts=PTS, time_base=Fraction(1, 25), last_duration=32, clock_start=Fraction(0)
    )


@pytest.mark.parametrize(("start", "stop"), [(start, stop) for stop in range(1, 7) for start in range(stop)])
def test_a_range_lasts_until_the_next_frame(metadata, start, stop):
    times, time_range = timing_and_range(metadata, start, stop)
    ends = [*PTS[1:], PTS[-1] + 32]
    assert [times.duration(i) for i in range(stop - start)] == [ends[i] - PTS[i] for i in range(start, stop)]
    if (start, stop) != (0, 6):
        assert time_range.start == time_range.shift == Fraction(PTS[start], 25)
        assert time_range.stop == (Fraction(PTS[stop], 25) if stop < 6 else None)


def test_an_animation_of_a_range_lasts_as_long(metadata):
    shown, times = animation_frames(metadata, 1, 4, Fraction(25))
    assert shown == [0, 1, 2] and [times.duration(i) for i in range(3)] == [2, 4, 8]
