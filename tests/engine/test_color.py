"""Laws of color on a device: what media.colorspace makes, within one code."""

import itertools

import numpy as np
import pytest
import torch

from dnirender.engine.color import from_rgb, to_rgb
from dnirender.media.colorspace import ColorSpec, planes_to_rgb, rgb_to_planes
from dnirender.media.planar import SAMPLINGS, PlanarFormat, PlanarImage
from support.toys import pictures

MATRICES = (1, 4, 6, 7, 9)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
FORMS = [
    PlanarFormat(*size, sampling, depth, ColorSpec(matrix, full))
    for number, (size, sampling, depth, full) in enumerate(
        itertools.product([(8, 12), (7, 9), (1, 1), (2, 1), (1, 6)], SAMPLINGS, (8, 10, 16), (False, True))
    )
    for matrix in (MATRICES[number % len(MATRICES)],)
]


def random_samples(form, seed=0):
    """Planes of random codes, also of those that no color has, as decoders make them."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1 << form.depth, (2, form.size)).astype(form.dtype)


def codes(a, b):
    return np.abs(np.asarray(a).astype(np.int64) - np.asarray(b).astype(np.int64)).max()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_planes_become_the_same_colors(form, device):
    samples = random_samples(form)
    got = to_rgb(torch.from_numpy(samples).to(device), form).cpu().numpy()
    for image, each in zip(got, samples, strict=True):
        expected = planes_to_rgb(PlanarImage(each, form).planes, form.depth, form.color)
        assert image.dtype == expected.dtype and image.shape == expected.shape
        assert codes(image, expected) <= 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_colors_become_the_same_planes(form, device):
    images = pictures(2, form.height, form.width, np.uint8 if form.depth == 8 else np.uint16)
    got = from_rgb(torch.from_numpy(np.stack(images)).to(device), form).cpu().numpy()
    for samples, image in zip(got, images, strict=True):
        expected = rgb_to_planes(image, form.sampling, form.depth, form.color)
        for plane, wanted in zip(PlanarImage(samples, form).planes, expected, strict=True):
            assert plane.dtype == wanted.dtype and plane.shape == wanted.shape
            assert codes(plane, wanted) <= 1


@pytest.mark.parametrize("form", FORMS[:18], ids=str)
def test_hardly_any_code_differs(form):
    samples = random_samples(form)
    got = to_rgb(torch.from_numpy(samples), form).numpy()
    expected = np.stack([planes_to_rgb(PlanarImage(each, form).planes, form.depth, form.color) for each in samples])
    assert (got != expected).mean() < 0.02


@pytest.mark.parametrize("form", FORMS[:6], ids=str)
def test_a_planar_image_is_its_colors_for_numpy(form):
    samples = random_samples(form)[0]
    image = PlanarImage(samples, form)
    expected = planes_to_rgb(image.planes, form.depth, form.color)
    assert np.array_equal(np.asarray(image), expected)
    assert image.shape == expected.shape and image.dtype == expected.dtype
    assert np.concatenate([plane.ravel() for plane in image.planes]).tolist() == samples.tolist()
