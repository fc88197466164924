"""Laws of progress: phases in order, each with its seconds, and an estimate of what is left."""

import pytest

from dnirender import progress as module
from dnirender.progress import PHASES, Progress, ProgressTracker


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_phases_are_told_once_and_timed_from_the_beginning(clock):
    told = []
    tracker = ProgressTracker(told.append, began=98.0)
    for seconds, phase in [(1, "loading"), (1, "choosing"), (2, "compiling"), (4, "choosing"), (8, "rendering")]:
        clock[0] += seconds
        tracker.enter(phase, 5, 9)
    clock[0] += 16
    assert [now.phase for now in told] == ["loading", "choosing", "compiling", "choosing", "rendering"]
    assert tracker.seconds == {"loading": 4, "choosing": 10, "compiling": 4, "rendering": 16}
    assert list(tracker.seconds) == [phase for phase in PHASES if phase != "joining"]
    assert told[-1] == Progress("rendering", 5, 9)


def test_seconds_left_are_by_the_pace_of_this_run(clock):
    told = []
    tracker = ProgressTracker(told.append)
    tracker.enter("rendering", 4, 10)
    assert (told[-1].seconds_left, tracker.first_frame) == (None, None)
    clock[0] += 3
    tracker.wrote(5, 10, (1.0,))
    assert told[-1] == Progress("rendering", 5, 10, (1.0,), 15.0)
    clock[0] += 1
    tracker.wrote(6, 10, (0.5,))
    assert told[-1].seconds_left == 8
    assert tracker.first_frame == 3
