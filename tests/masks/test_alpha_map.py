"""Laws of alpha over the picture: shares sum to 1, and the mixture of every pixel is the one that was asked for."""

import numpy as np
import pytest

from dnirender.masks.alpha_map import constant, in_pixels, mix, over, spread

A, B, C = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def coefficients(alpha_map):
    """The coefficients of every pixel, [h, w, endpoints], and the sum of its shares."""
    total = np.zeros((alpha_map.height, alpha_map.width, len(alpha_map.layers[0].alpha)))
    shares = np.zeros((alpha_map.height, alpha_map.width))
    for layer in alpha_map.layers:
        total[layer.rows, layer.columns] += layer.share[..., None] * np.array(layer.alpha)
        shares[layer.rows, layer.columns] += layer.share
    return total, shares


def cover(seed=0, shape=(7, 11)):
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize("levels", [2, 3, 9])
def test_over_gives_every_pixel_its_own_mixture(levels):
    below, above, mask = constant(A, 7, 11), constant((0.25, 0.75, 0.0), 7, 11), cover()
    found, shares = coefficients(over(below, above, mask, levels))
    np.testing.assert_allclose(shares, 1, atol=1e-6)
    expected = mask[..., None] * np.array((0.25, 0.75, 0)) + (1 - mask[..., None]) * np.array(A)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_over_composes():
    one, two = cover(1), cover(2)
    first = over(constant(A, 7, 11), constant(B, 7, 11), one, 3)
    found, shares = coefficients(over(first, constant(C, 7, 11), two, 5))
    np.testing.assert_allclose(shares, 1, atol=1e-6)
    inner = one[..., None] * np.array(B) + (1 - one[..., None]) * np.array(A)
    np.testing.assert_allclose(found, two[..., None] * np.array(C) + (1 - two[..., None]) * inner, atol=1e-6)


def test_a_hard_mask_needs_two_mixtures_whatever_the_levels_and_only_where_they_rule():
    mask = np.zeros((7, 11), np.float32)
    mask[2:5, 3:9] = 1
    found = over(constant(A, 7, 11), constant(B, 7, 11), mask, 17)
    assert {layer.alpha for layer in found.layers} == {A, B}
    inner = next(layer for layer in found.layers if layer.alpha == B)
    assert (inner.rows, inner.columns) == (slice(2, 5), slice(3, 9))
    assert inner.share.min() == 1


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_of_one_value_is_one_exact_mixture(value):
    mask = np.full((7, 11), value, np.float32)
    found = over(constant(A, 7, 11), constant((0.3, 0.7, 0.0), 7, 11), mask, 9)
    assert found.is_constant and found.layers[0].alpha == (A, (0.3, 0.7, 0.0))[value]


def test_equal_mixtures_are_one_layer():
    assert over(constant(A, 7, 11), constant(A, 7, 11), cover(), 9).is_constant


def test_a_pixel_is_a_mixture_of_the_two_levels_beside_it():
    ramp = np.tile(np.linspace(0, 1, 101, dtype=np.float32), (3, 1))
    found = over(constant(A, 3, 101), constant(B, 3, 101), ramp, 5)
    assert len(found.layers) == 5
    used = np.zeros((3, 101))
    for layer in found.layers:
        used[layer.rows, layer.columns] += layer.share > 1e-5
    assert used.max() == 2


def test_spread_follows_a_path_with_corners():
    progress = np.tile(np.linspace(0, 1, 41, dtype=np.float32), (2, 1))
    found, shares = coefficients(spread(progress, (0, 0.25, 1), (A, B, C)))
    np.testing.assert_allclose(shares, 1, atol=1e-6)
    for k, endpoint in enumerate((A, B, C)):
        del endpoint
        expected = np.interp(progress, (0, 0.25, 1), np.eye(3)[k])
        np.testing.assert_allclose(found[..., k], expected, atol=1e-5)


def test_pixels_have_the_same_coefficients():
    found = over(constant(A, 7, 11), constant((0.2, 0.3, 0.5), 7, 11), cover(), 3)
    pixels = in_pixels(found, 3)
    assert {layer.alpha for layer in pixels.layers} == {A, B, C}
    np.testing.assert_allclose(coefficients(pixels)[0], coefficients(found)[0], atol=1e-6)


def test_mix_is_exact_at_its_ends():
    start, stop = (0.1, 0.9), (0.7, 0.3)
    assert mix(start, stop, 0) is start and mix(start, stop, 1) is stop
    assert mix((0.0, 1.0), (1.0, 0.0), 0.25) == (0.25, 0.75)
