"""Laws of the test image and the timer that the engine measures itself with."""

import itertools

import numpy as np
import pytest

from dnirender.engine import calibration


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "size", [(1, 1), (45, 80), (calibration.SIDE, calibration.SIDE), (calibration.SIDE + 1, 3 * calibration.SIDE - 1)]
)
def test_the_image_has_the_requested_size_and_dtype_and_is_the_same_on_every_run(size, kind):
    image = calibration.calibration_image(*size, kind)
    assert image.shape == (*size, 3)
    assert image.dtype == kind
    assert image.flags.c_contiguous
    assert np.array_equal(image, calibration.calibration_image(*size, kind))


def test_the_image_has_black_white_flat_areas_and_edges():
    image = calibration.calibration_image(calibration.SIDE, calibration.SIDE).astype(int)
    assert image.min() == 0
    assert image.max() == 255
    steps = np.abs(np.diff(image, axis=1)).max(axis=2)
    assert 0.02 < np.mean(steps > 40) < 0.3
    assert np.mean(steps < 10) > 0.5


@pytest.mark.parametrize(
    ("seconds", "shortest", "calls"),
    [([0.1, 0.3, 0.2, 0.25], 0.2, 4), ([0.6, 0.5], 0.5, 2), ([1.5], 1.5, 1), ([0.1, 1.2], 1.2, 2)],
)
def test_the_fastest_of_three_calls_counts_and_fewer_where_they_take_long(monkeypatch, seconds, shortest, calls):
    now = itertools.chain.from_iterable(
        (10 * number, 10 * number + duration) for number, duration in enumerate(seconds)
    )
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: next(now))
    made: list[None] = []
    assert calibration.best_time(lambda: made.append(None)) == pytest.approx(shortest)
    assert len(made) == calls
