"""Laws of the search for cuts."""

import numpy as np
import pytest

from dnirender.decoding.cuts import find_cuts


def picture(seed, size=(90, 160)):
    """A soft random picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (9, 16, 3))
    return np.kron(coarse, np.ones((size[0] // 9, size[1] // 16, 1)))


def shot(seed, count, pan=2, noise=3):
    """Frames of a camera that pans."""
    rng = np.random.default_rng(seed + 100)
    wide = picture(seed)
    return [
        np.clip(np.roll(wide, pan * number, axis=1) + rng.normal(0, noise, wide.shape), 0, 255).astype(np.uint8)
        for number in range(count)
    ]


@pytest.mark.parametrize("pan", [0, 1, 2])
def test_every_hard_cut_is_found_and_nothing_else(pan):
    lengths = [12, 30, 7, 25]
    images = [image for seed, length in enumerate(lengths) for image in shot(seed, length, pan)]
    assert find_cuts(images) == [12, 42, 49]


def test_a_fade_is_no_cut():
    first, second = shot(1, 30, 0), shot(2, 30, 0)
    fade = [
        (a * (1 - i / 29) + b * (i / 29)).astype(np.uint8) for i, (a, b) in enumerate(zip(first, second, strict=True))
    ]
    assert find_cuts([*shot(1, 20, 0), *fade, *shot(2, 20, 0)]) == []


def test_a_flash_is_no_cut():
    images = shot(3, 40)
    images[20] = images[21] = np.full_like(images[20], 255)
    assert find_cuts(images) == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_clips_have_none(count):
    assert find_cuts(shot(4, count)) == []


def test_deep_and_transparent_images_are_read():
    images = [np.dstack([image, image[..., :1]]).astype(np.uint16) * 257 for image in [*shot(5, 10), *shot(6, 10)]]
    assert find_cuts(images) == [10]


def test_a_thing_that_moves_fast_is_no_cut():
    images = shot(7, 30, 0)
    for number in (14, 15):
        images[number][20:70, 40:90] = 255 * (number % 2)
    assert find_cuts(images) == []
