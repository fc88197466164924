"""Luma of one image with the chroma of another: exact, in range, at equal hue."""

import numpy as np
import pytest

from dnirender.media.colorspace import KR_KB
from dnirender.media.luma import with_chroma
from dnirender.media.resize import resize_to

DTYPES = [np.uint8, np.uint16]


def noise(seed, dtype=np.uint8, low=0, high=None, size=(40, 60)):
    top = np.iinfo(dtype).max if high is None else high
    return np.random.default_rng(seed).integers(low, top, (*size, 3), dtype, endpoint=True)


def luma(image, matrix=1):
    kr, kb = KR_KB[matrix]
    return image.astype(np.float64) @ [kr, 1 - kr - kb, kb]


def chroma(image, matrix=1):
    return image.astype(np.float64) - luma(image, matrix)[..., None]


@pytest.mark.parametrize("matrix", [*KR_KB, 0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_luma_is_the_renders_and_chroma_the_sources(dtype, matrix):
    top = np.iinfo(dtype).max
    render, source = noise(1, dtype, top // 3, top * 2 // 3), noise(2, dtype, top // 3, top * 2 // 3)
    made = with_chroma(render, source, matrix)
    matrix = matrix or 1
    assert made.dtype == dtype
    assert np.abs(luma(made, matrix) - luma(render, matrix)).max() < 0.51
    assert np.abs(chroma(made, matrix) - chroma(source, matrix)).max() < 1.01
    assert np.abs(chroma(made, matrix) - chroma(render, matrix)).max() > top / 10


@pytest.mark.parametrize("dtype", DTYPES)
def test_where_it_leaves_the_range_luma_and_hue_stay(dtype):
    top = np.iinfo(dtype).max
    render, source = noise(3, dtype), noise(4, dtype)
    render[:5], render[5:10] = 0, top
    made = with_chroma(render, source)
    assert np.abs(luma(made) - luma(render)).max() < 0.51
    got, wanted = chroma(made), chroma(source)
    scale = (got * wanted).sum(axis=2) / np.maximum((wanted**2).sum(axis=2), 1)
    assert scale.min() > -0.01 and scale.max() < 1.01 and (scale < 0.9).any()
    assert np.abs(got - scale[..., None] * wanted).max() < 1.5
    assert np.array_equal(made[:10], render[:10])  # black and white have no chroma
    within = (wanted + luma(render)[..., None] > 1).all(axis=2) & (wanted + luma(render)[..., None] < top - 1).all(
        axis=2
    )
    assert np.abs(got - wanted)[within].max() < 1.01 and within.sum() > 50


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("matrix", KR_KB)
def test_equal_images_stay_as_they_are(dtype, matrix):
    image = noise(5, dtype)
    image[:2], image[2:4], image[4:6, :, 0] = 0, np.iinfo(dtype).max, 0
    assert np.array_equal(with_chroma(image, image.copy(), matrix), image)


def test_the_source_is_resized_to_the_render():
    source, render = noise(6, size=(20, 30)), noise(7, size=(40, 60))
    assert np.array_equal(with_chroma(render, source), with_chroma(render, resize_to(source, 60, 40)))


def test_a_gray_source_gives_a_gray_render():
    gray = np.repeat(noise(8)[..., :1], 3, axis=2)
    made = with_chroma(noise(9), gray)
    assert (made == made[..., :1]).all()
