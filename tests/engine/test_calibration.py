"""Laws of what the engine tries itself out on."""

import itertools

import numpy as np
import pytest

from dnirender.engine import calibration as probe


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (45, 80), (probe.SIDE, probe.SIDE), (probe.SIDE + 1, 3 * probe.SIDE - 1)])
def test_the_picture_has_the_size_and_kind_asked_for_and_is_the_same_on_every_run(size, kind):
    picture = probe.calibration_image(*size, kind)
    assert picture.shape == (*size, 3)
    assert picture.dtype == kind
    assert picture.flags.c_contiguous
    assert np.array_equal(picture, probe.calibration_image(*size, kind))


def test_the_picture_has_black_white_flat_parts_and_edges():
    picture = probe.calibration_image(probe.SIDE, probe.SIDE).astype(int)
    assert picture.min() == 0
    assert picture.max() == 255
    steps = np.abs(np.diff(picture, axis=1)).max(axis=2)
    assert 0.02 < np.mean(steps > 40) < 0.3
    assert np.mean(steps < 10) > 0.5


@pytest.mark.parametrize(
    ("seconds", "shortest", "calls"),
    [([0.1, 0.3, 0.2, 0.25], 0.2, 4), ([0.6, 0.5], 0.5, 2), ([1.5], 1.5, 1), ([0.1, 1.2], 1.2, 2)],
)
def test_the_shortest_of_three_calls_counts_and_fewer_where_they_take_long(monkeypatch, seconds, shortest, calls):
    now = itertools.chain.from_iterable((10 * number, 10 * number + taken) for number, taken in enumerate(seconds))
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(now))
    made: list[None] = []
    assert probe.best_time(lambda: made.append(None)) == pytest.approx(shortest)
    assert len(made) == calls
