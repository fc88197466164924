"""Motion between frames, and renders steadied along it."""

import cv2
import numpy as np
import pytest

from dnirender.media.motion import find_motion, moved
from dnirender.media.steadying import WINDOW, Steadier

SIZE = 96, 144
ONE, OTHER = (1.0, 0.0), (0.0, 1.0)


def scene(number, seed=3, step=2):
    """Clouds that move by `step` pixels to the right in every frame."""
    rng = np.random.default_rng(seed)
    wide = cv2.GaussianBlur(rng.uniform(0, 255, (SIZE[0], 400, 3)).astype(np.float32), (0, 0), 3)
    wide = np.clip(128 + 5 * (wide - wide.mean()), 0, 255)
    start = 200 - step * number
    return np.ascontiguousarray(wide[:, start : start + SIZE[1]].round().astype(np.uint8))


def flickering(number, kind=np.uint8):
    """A render of the frame: strokes that move with it, and others in each frame."""

    def strokes(seed, width):
        noise = np.random.default_rng(seed).normal(0, 60, (SIZE[0], width, 3)).astype(np.float32)
        return cv2.GaussianBlur(noise, (0, 0), 1.5)

    start, factor = 200 - 2 * number, np.iinfo(kind).max // 255
    image = 128 + strokes(99, 400)[:, start : start + SIZE[1]] + strokes(number, SIZE[1])
    return np.clip(factor * image, 0, 255 * factor).astype(kind)


def steadied(sources, renders, strength=1.0, alphas=None):
    steadier = Steadier(strength)
    alphas = alphas or [ONE] * len(sources)
    return [steadier(source, render, alpha) for source, render, alpha in zip(sources, renders, alphas, strict=True)]


def unsteadiness(images, step=2):
    """Mean |frame - the frame before, moved|, away from the borders."""
    pairs = zip(images[WINDOW:], images[WINDOW + 1 :], strict=False)
    return np.mean([np.abs(b[20:-20, 20 + step : -20] - a[20:-20, 20 : -20 - step]).mean() for a, b in pairs])


def stroke_energy(images):
    bands = [cv2.GaussianBlur(image, (0, 0), 1) - cv2.GaussianBlur(image, (0, 0), 4) for image in images[WINDOW:]]
    return np.mean([(band[20:-20, 20:-20] ** 2).mean() for band in bands])


def test_motion_takes_pixels_to_where_they_were():
    before, now = scene(0), scene(1)
    motion = find_motion(before, now)
    inner = np.s_[16:-16, 16:-16]
    places = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
    assert np.abs(motion.origin[..., 0] - (places[0] - 2))[inner].mean() < 0.1
    assert motion.sure[inner].mean() > 0.9
    assert np.abs(moved(before, motion).astype(float) - now)[inner].mean() < 2
    twice = motion.after(find_motion(now, scene(2)))
    assert np.abs(twice.origin[..., 0] - (places[0] - 4))[inner].mean() < 0.2


def test_motion_is_not_sure_of_another_picture_or_a_tiny_one():
    assert find_motion(scene(0), scene(0, seed=8)).sure.mean() < 0.1
    assert not find_motion(scene(0)[:8, :8], scene(0)[:8, :8]).sure.any()


def test_motion_of_a_larger_render_is_scaled_to_it():
    motion = find_motion(scene(0), scene(1))
    large = [cv2.resize(scene(n), None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR).astype(np.float32) for n in (0, 1)]
    along = motion.scaled(2 * SIZE[1], 2 * SIZE[0])
    assert np.abs(moved(large[0], along) - large[1])[32:-32, 32:-32].mean() < 2


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_strokes_flicker_less_and_stay_as_strong(kind):
    sources, renders = [scene(n) for n in range(10)], [flickering(n, kind) for n in range(10)]
    sources = [source.astype(kind) * (np.iinfo(kind).max // 255) for source in sources]
    before = [render.astype(np.float32) for render in renders]
    rates = {}
    for strength in (0.5, 1.0):
        made = [image.astype(np.float32) for image in steadied(sources, renders, strength)]
        rates[strength] = unsteadiness(made) / unsteadiness(before)
        assert 0.8 < stroke_energy(made) / stroke_energy(before) < 1.1
    assert rates[1.0] < 0.5 and rates[1.0] < rates[0.5] < 0.7


def test_strength_0_and_the_first_frame_are_the_render_itself():
    sources, renders = [scene(n) for n in range(6)], [flickering(n) for n in range(6)]
    assert np.array_equal(steadied(sources, renders)[0], renders[0])
    for made, render in zip(steadied(sources, renders, 0.0), renders, strict=True):
        assert np.array_equal(made, render)


def test_nothing_crosses_a_cut():
    sources = [scene(n) for n in range(5)] + [scene(n, seed=8) for n in range(5)]
    renders = [np.full((*SIZE, 3), 250, np.uint8)] * 5 + [flickering(n) for n in range(5)]
    made = steadied(sources, renders)
    assert np.array_equal(made[5], renders[5])
    alone = steadied(sources[5:], renders[5:])
    assert all(np.array_equal(a, b) for a, b in zip(made[5:], alone, strict=True))


def test_an_alpha_that_jumps_takes_over_at_once():
    sources, renders = [scene(n) for n in range(8)], [flickering(n) for n in range(8)]
    made = steadied(sources, renders, alphas=[ONE] * 5 + [OTHER] * 3)
    assert np.array_equal(made[5], renders[5])
    assert not np.array_equal(made[6], renders[6])


def test_a_frame_depends_on_the_window_before_it_only():
    sources, renders = [scene(n) for n in range(12)], [flickering(n) for n in range(12)]
    made = steadied(sources, renders)
    for start in range(1, 7):
        part = steadied(sources[start:], renders[start:])
        assert all(np.array_equal(a, b) for a, b in zip(part[WINDOW:], made[start + WINDOW :], strict=True))
        assert not np.array_equal(part[WINDOW - 1], made[start + WINDOW - 1])
