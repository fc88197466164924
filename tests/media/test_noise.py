"""Laws of the estimate of noise."""

import cv2
import numpy as np
import pytest

from dnirender.errors import TimelineError
from dnirender.media.noise import estimate_sigma
from dnirender.timeline.noise import NoiseRange, parse_noise


def scene(seed, size=(240, 320)):
    """A picture [h, w, 3], float32 0..255: surfaces with soft shading, edges, and one with a fine texture."""
    rng = np.random.default_rng(seed)
    height, width = size
    image = cv2.resize(rng.uniform(30, 225, (4, 5, 3)).astype(np.float32), (width, height))
    for _ in range(12):
        x, y, w, h = rng.integers(0, (width, height, width // 2, height // 2))
        image[y : y + h, x : x + w] += rng.uniform(-60, 60, 3)
    image[: height // 3, : width // 3] += rng.normal(0, 40, (height // 3, width // 3, 1))
    return np.clip(image, 0, 255)


def noisy(image, sigma, seed=1):
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [10, 15, 25, 35, 50])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_white_noise_is_found_within_a_seventh(sigma, seed):
    assert estimate_sigma([noisy(scene(seed), sigma)]) == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize("sigma", [5, 20, 40])
def test_noise_alone_is_found_exactly(sigma):
    assert estimate_sigma([noisy(np.full((480, 640, 3), 127), sigma)]) == pytest.approx(sigma, rel=0.03)


def test_a_clean_picture_has_next_to_none_whatever_its_texture():
    assert estimate_sigma([scene(0).astype(np.uint8)]) < 1.5
    assert estimate_sigma([np.full((64, 64, 3), 90, np.uint8)]) == 0


def test_black_bars_and_burnt_skies_do_not_hide_it():
    image = scene(0)
    image[:100], image[-60:] = 0, 255
    assert estimate_sigma([noisy(image, 25)]) == pytest.approx(25, rel=0.15)


def test_depth_and_single_frames_do_not_matter():
    eight = noisy(scene(0), 20)
    deep = eight.astype(np.uint16) * 257
    assert estimate_sigma([deep]) == pytest.approx(estimate_sigma([eight]), rel=1e-3)
    frames = [noisy(scene(0), 20, seed) for seed in range(4)]
    black = np.zeros_like(frames[0])
    assert estimate_sigma([*frames, black]) == pytest.approx(20, rel=0.15)


@pytest.mark.parametrize("shape", [(1, 1, 3), (15, 40, 3), (16, 16, 3), (17, 33, 3)])
def test_small_images_have_an_estimate(shape):
    assert estimate_sigma([np.full(shape, 9, np.uint8)]) == 0


def test_a_range_of_noise_becomes_a_key():
    found = parse_noise("noise:15..50")
    assert found == NoiseRange(15, 50)
    assert [found.keyframes(sigma) for sigma in (3, 15, 25, 50, 80)] == [
        "0:0.000",
        "0:0.000",
        "0:0.286",
        "0:1.000",
        "0:1.000",
    ]
    assert [found.describe(sigma) for sigma in (7.5, 15, 60)] == [
        "noise of sigma 7.5 of 255, below the range of 15 to 50",
        "noise of sigma 15.0 of 255",
        "noise of sigma 60.0 of 255, above the range of 15 to 50",
    ]
    assert parse_noise("0:0, 12:noise") is None


@pytest.mark.parametrize("text", ["noise:", "noise:15", "noise:50..15", "noise:15..15", "noise:1..300", "noise:a..b"])
def test_other_ranges_are_refused(text):
    with pytest.raises(TimelineError, match=r"expected noise:LOW\.\.HIGH with 0 <= LOW < HIGH <= 255"):
        parse_noise(text)
