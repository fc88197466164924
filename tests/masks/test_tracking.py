"""Laws of tracking: values become steadier, move with the picture, stay on their side of a cut, and depend on near
frames alone."""

import cv2
import numpy as np
import pytest

from dnirender.masks.edges import as_picture, cleaned, fitted, gray, guided
from dnirender.masks.tracking import REACH, Tracker

HEIGHT, WIDTH = 120, 160
RNG = np.random.default_rng(0)
TEXTURE = cv2.GaussianBlur(RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8), (0, 0), 2.5)
OBJECT = np.clip(cv2.GaussianBlur(RNG.normal(150, 200, (40, 40, 3)), (0, 0), 2), 0, 255).astype(np.uint8)


def scene(x):
    """A picture with an object at column x, and where it is."""
    image, mask = TEXTURE.copy(), np.zeros((HEIGHT, WIDTH, 1), np.float32)
    image[40:80, x : x + 40], mask[40:80, x : x + 40] = OBJECT, 1
    return image, mask


def noisy(mask, seed):
    coarse = np.random.default_rng(seed).normal(0, 0.3, (HEIGHT // 20, WIDTH // 20)).astype(np.float32)
    return mask + cv2.resize(coarse, (WIDTH, HEIGHT))[..., None]


def tracker_of(frames, first=0):
    tracker = Tracker()
    for number, (image, values) in enumerate(frames, first):
        tracker.add(number, image, values)
    return tracker


def test_noise_of_single_frames_averages_out_along_the_motion():
    scenes = [scene(20 + 4 * number) for number in range(13)]
    tracker = tracker_of([(image, noisy(mask, number)) for number, (image, mask) in enumerate(scenes)])
    truth = scenes[6][1]
    steady, alone = tracker.steady(6), noisy(truth, 6)
    assert np.abs(steady - truth).mean() < 0.5 * np.abs(alone - truth).mean()
    inner = np.zeros((HEIGHT, WIDTH), bool)
    inner[46:74, 50:78] = True  # within the object where it is now
    assert np.abs(steady - truth)[inner].mean() < 0.7 * np.abs(alone - truth)[inner].mean()
    behind = np.zeros((HEIGHT, WIDTH), bool)
    behind[46:74, 24:36] = True  # where the object was six frames ago
    assert abs(steady[behind].mean()) < 0.15


def test_nothing_passes_a_cut():
    dark = np.rint(0.2 * TEXTURE[:, ::-1]).astype(np.uint8)
    black, white = np.zeros((HEIGHT, WIDTH, 1), np.float32), np.ones((HEIGHT, WIDTH, 1), np.float32)
    tracker = tracker_of([(TEXTURE, white)] * 5 + [(dark, black)] * 5)
    assert tracker.steady(4).mean() > 0.97 and tracker.steady(5).mean() < 0.03
    still = tracker_of([(TEXTURE, white)] * 5 + [(TEXTURE, black)] * 5)
    assert 0.5 < still.steady(4).mean() < 0.8  # without a cut they are one scene


@pytest.mark.parametrize("index", [0, 3, 10, 19])
def test_a_frame_depends_on_those_within_reach_alone(index):
    frames = [(scene(10 + 3 * n)[0], noisy(scene(10 + 3 * n)[1], n)) for n in range(20)]
    whole = tracker_of(frames).steady(index)
    first, last = max(0, index - REACH), min(19, index + REACH)
    np.testing.assert_array_equal(tracker_of(frames[first : last + 1], first).steady(index), whole)
    if index == 10:
        fewer = tracker_of(frames[first + 1 : last + 1], first + 1)
        assert not np.array_equal(fewer.steady(index), whole)
        fewer.forget(9)
        assert fewer.last == last and not np.array_equal(fewer.steady(index), whole)


def test_edges_come_to_those_of_the_picture():
    image = np.full((480, 640, 3), 60, np.uint8)
    cv2.circle(image, (300, 240), 120, (200, 180, 90), -1)
    truth = (gray(image) > 0.4).astype(np.float32)
    rough = np.roll(cv2.GaussianBlur(fitted(truth, 320, 240), (0, 0), 1), 2, 1)  # 4 pixels to the right
    plain = cv2.resize(rough, (640, 480), interpolation=cv2.INTER_LINEAR)
    wrong = ((plain > 0.5) != truth).mean()
    assert ((guided(rough, image) > 0.5) != truth).mean() < 0.3 * wrong
    flat = np.full((480, 640, 3), 60, np.uint8)
    assert ((guided(rough, flat) > 0.5) != (plain > 0.5)).mean() < 0.1 * wrong  # without edges it stays where it is


@pytest.mark.parametrize(("dtype", "error"), [(np.uint8, 0.5 / 255 / 0.98), (np.uint16, 0.5 / 65535 / 0.98)])
def test_the_picture_of_a_mask_is_read_back_as_the_mask(dtype, error):
    mask = np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64)
    back = cleaned(gray(as_picture(mask, dtype)))
    assert np.abs(back - mask).max() <= error * 1.01 + 1e-6
    assert back[0, 0] == 0 and back[-1, -1] == 1
