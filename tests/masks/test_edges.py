"""Laws of the edges of masks."""

import numpy as np
import pytest

from dnirender.masks.edges import cleaned, fitted, gray, in_range, shaped


def disk(radius=10, side=61):
    y, x = np.mgrid[0:side, 0:side] - side // 2
    return (np.hypot(x, y) <= radius).astype(np.float32)


def test_gray_is_exact_for_gray_pictures_of_both_depths():
    for dtype in (np.uint8, np.uint16):
        values = np.linspace(0, np.iinfo(dtype).max, 256).astype(dtype).reshape(16, 16)
        np.testing.assert_array_equal(gray(np.dstack([values] * 3)), values.astype(np.float32) / np.iinfo(dtype).max)


def test_what_an_encoder_leaves_of_black_and_white_is_removed_without_a_step():
    values = np.array([[0, 2 / 255, 0.01, 0.0101, 0.5, 0.9899, 0.99, 253 / 255, 1]], np.float32)
    found = cleaned(values)[0]
    assert (found[:3] == 0).all() and (found[6:] == 1).all()
    assert 0 < found[3] < 0.001 and found[4] == pytest.approx(0.5) and 0.999 < found[5] < 1


def test_growing_adds_pixels_all_around_and_shrinking_takes_them_away():
    areas = [shaped(disk(), False, grow, 0).sum() for grow in (-4, 0, 4)]
    assert np.abs(np.sqrt(np.array(areas) / np.pi) - [6, 10, 14]).max() < 0.5
    np.testing.assert_array_equal(shaped(disk(), True, 4, 0), 1 - shaped(disk(), False, -4, 0))


@pytest.mark.parametrize("feather", [4, 16])
def test_a_feathered_edge_is_as_wide_as_asked_and_ends(feather):
    edge = np.tile((np.arange(121) >= 60).astype(np.float32), (5, 1))
    (row, *rows) = shaped(edge, False, 0, feather)
    assert all((other == row).all() for other in rows)
    width = np.interp(0.9, row, np.arange(121)) - np.interp(0.1, row, np.arange(121))
    assert width == pytest.approx(feather, abs=1)
    assert row[0] == 0 and row[-1] == 1 and (np.diff(row) >= 0).all()


def test_a_range_falls_off_on_both_sides():
    values = np.array([[0, 0.35, 0.4, 0.45, 0.6, 0.65, 0.75, 1]], np.float32)
    np.testing.assert_allclose(in_range(values, 0.4, 0.6, 0.1), [[0, 0.5, 1, 1, 1, 0.5, 0, 0]], atol=1e-6)
    np.testing.assert_array_equal(in_range(values, 0.4, 0.6, 0), [[0, 0, 1, 1, 1, 0, 0, 0]])


def test_a_fitted_mask_stays_in_range_and_keeps_its_area():
    for size in ((30, 20), (122, 122), (61, 61)):
        found = fitted(disk(), *size)
        assert found.shape == size[::-1] and found.min() >= 0 and found.max() <= 1
        assert found.mean() == pytest.approx(disk().mean(), rel=0.05)
