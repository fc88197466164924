"""Laws of rectangles over a region: they hold all of it, do not overlap, and cost less than the picture where they can."""

import numpy as np
import pytest

from dnirender.masks.regions import Box, Surroundings, cover


def shapes(height=200, width=320):
    y, x = np.mgrid[0:height, 0:width]
    yield "disk", np.hypot(y - 90, x - 120) < 50
    yield "ring", abs(np.hypot(y - 100, x - 160) - 80) < 3
    yield "corners", ((y < 9) & (x < 9)) | ((y > 190) & (x > 310))
    yield "half", x >= width // 2
    yield "all", np.ones((height, width), bool)
    yield "dust", np.random.default_rng(0).random((height, width)) > 0.999
    yield "pixel", (y == 199) & (x == 319)


@pytest.mark.parametrize(("name", "region"), list(shapes()), ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize(("radius", "multiple"), [(5, 1), (20, 8), (108, 32)])
def test_rectangles_hold_the_region_once(name, region, radius, multiple):
    around = Surroundings(*region.shape, radius, multiple)
    counts = np.zeros(region.shape, int)
    for box in cover(region, around):
        counts[box.rows, box.columns] += 1
        outer = around.around(box)
        assert outer.top % multiple == outer.left % multiple == 0
        for start, stop, first, last, length in (
            (box.top, box.bottom, outer.top, outer.bottom, region.shape[0]),
            (box.left, box.right, outer.left, outer.right, region.shape[1]),
        ):
            assert first <= max(0, start - radius) and last >= min(length, stop + radius)
            assert last == length or last % multiple == 0
            assert last - first >= min(length, 2 * multiple)
    assert counts[region].min() == 1 and counts.max() == 1


def test_far_parts_are_rendered_apart_and_a_half_costs_a_half():
    regions = dict(shapes())
    around = Surroundings(200, 320, 5, 1)
    assert len(cover(regions["corners"], around)) == 2
    [half] = cover(regions["half"], around)
    assert half == Box(0, 160, 200, 320) and around.cost(half) == 200 * 165
    ring = cover(regions["ring"], around)
    assert sum(map(around.cost, ring)) < 0.85 * around.cost(Box(16, 72, 184, 248))


def test_no_pixel_needs_no_rectangle():
    assert cover(np.zeros((20, 30), bool), Surroundings(20, 30, 5, 1)) == []


def test_a_side_has_the_least_that_a_network_takes():
    around = Surroundings(100, 100, 1, 1, minimum=16)
    outer = around.around(Box(98, 40, 100, 42))
    assert outer.bottom - outer.top >= 16 and outer.right - outer.left >= 16
    assert Surroundings(10, 10, 1, 1, minimum=16).around(Box(3, 3, 4, 4)) == Box(0, 0, 10, 10)
