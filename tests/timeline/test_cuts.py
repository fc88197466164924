"""Laws of keyframes at cuts."""

from fractions import Fraction

import pytest

from dnirender.errors import TimelineError
from dnirender.timeline.cuts import names_cuts, place_at_cuts, snap_to_cuts
from dnirender.timeline.timeline import Timeline

SECONDS = [Fraction(number, 25) for number in range(100)]
CUTS = [30, 62, 80]


def places(text):
    return [(key.position.unit, float(key.position.value)) for key in Timeline.parse(text).keyframes]


def test_only_keys_at_cuts_are_such():
    assert names_cuts("0:day, cut:night") and names_cuts("CUT2 + 1s : 0.5@smooth")
    assert not names_cuts("0:cut, 1s:cut2") and not names_cuts("0:0,end:1")


def test_cuts_become_frames_and_times():
    text = place_at_cuts("0:a, cut:b, cut2-3:c, cut2+0.5s:d@smooth, cut3+4:e, end:f", CUTS, SECONDS)
    assert places(text) == [
        ("frame", 0), ("frame", 30), ("frame", 59), ("seconds", 2.98), ("frame", 84), ("fraction", 1),
    ]  # fmt: skip
    assert "@smooth" in text


def test_keyframes_without_cuts_stay_as_they_are():
    text = "0:a, 1.5s:b@ease-out, end:0.3*a+0.7*b"
    assert place_at_cuts(text, CUTS, SECONDS) == text


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("cut4:1", "its cuts are at frames 30, 62, 80"),
        ("cut0:1", "its cuts are at"),
        ("cut-31:1", "before the first frame; the cut is at frame 30"),
        ("cut+1.5:1", r"write cut\+1.5s"),
    ],
)
def test_what_is_not_there_is_named(text, match):
    with pytest.raises(TimelineError, match=match):
        place_at_cuts(text, CUTS, SECONDS)
    with pytest.raises(TimelineError, match="no cut was found"):
        place_at_cuts("cut:1", [], SECONDS)


def test_a_value_is_checked_before_the_clip_is_known():
    with pytest.raises(TimelineError):
        names_cuts("cut:0.5*")


def test_keys_near_a_cut_move_to_it_and_others_stay():
    text = snap_to_cuts("0:0, 28:0.2, 35:0.4@smooth, 1.9s:1, 3.9s:0.5, end:0", CUTS, SECONDS)
    assert places(text) == [
        ("frame", 0), ("frame", 30), ("frame", 35), ("seconds", 1.9), ("seconds", 3.9), ("fraction", 1),
    ]  # fmt: skip
    assert "35:0.4@smooth" in text  # of two keys near one cut the nearer one moves


def test_the_first_frame_is_no_key_to_move():
    assert snap_to_cuts("0:0, end:1", [3], SECONDS) == "0:0, end:1"
