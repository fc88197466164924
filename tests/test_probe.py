"""Laws of what the engine tries itself out on."""

import numpy as np
import pytest

from dnirender import probe


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (45, 80), (probe.SIDE, probe.SIDE), (probe.SIDE + 1, 3 * probe.SIDE - 1)])
def test_the_picture_has_the_size_and_kind_asked_for_and_is_the_same_on_every_run(size, kind):
    picture = probe.picture(*size, kind)
    assert picture.shape == (*size, 3)
    assert picture.dtype == kind
    assert picture.flags.c_contiguous
    assert np.array_equal(picture, probe.picture(*size, kind))


def test_the_picture_has_black_white_flat_parts_and_edges():
    picture = probe.picture(probe.SIDE, probe.SIDE).astype(int)
    assert picture.min() == 0
    assert picture.max() == 255
    steps = np.abs(np.diff(picture, axis=1)).max(axis=2)
    assert 0.02 < np.mean(steps > 40) < 0.3
    assert np.mean(steps < 10) > 0.5


def test_the_shortest_of_three_calls_counts_and_the_first_does_not(monkeypatch):
    now = iter([0.0, 0.3, 1.0, 1.2, 2.0, 2.4])
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(now))
    calls: list[None] = []
    assert probe.soonest(lambda: calls.append(None)) == pytest.approx(0.2)
    assert len(calls) == 4


def test_a_call_of_more_than_a_second_is_measured_once(monkeypatch):
    now = iter([0.0, 1.5])
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(now))
    calls: list[None] = []
    assert probe.soonest(lambda: calls.append(None)) == 1.5
    assert len(calls) == 2
