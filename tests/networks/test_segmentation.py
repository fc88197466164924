"""Laws of the network behind `--subject` and `--sky`, with the weights that ship."""

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dnirender.errors import ModelError
from dnirender.masks.found import CLASSES, WEIGHTS
from dnirender.networks.architectures import segment
from dnirender.networks.segmentation import Segmenter
from dnirender.preset import preset_folder

FILE = preset_folder() / WEIGHTS


def landscape(width=320, height=192, horizon=100):
    """A blue sky with a gradient over hills of grass, and where it is sky."""
    rng = np.random.default_rng(0)
    rows = np.linspace(0, 1, height)[:, None, None]
    image = (1 - rows) * (70, 125, 210) + rows * (215, 230, 245) + np.zeros((height, width, 3))
    line = horizon + 12 * np.sin(np.arange(width) / 40)
    ground = np.arange(height)[:, None] > line
    grass = cv2.GaussianBlur(rng.normal(0, 60, (height, width)).astype(np.float32), (0, 0), 1)
    image[ground] = ((60, 95, 35) + grass[..., None] * (0.6, 1, 0.4))[ground]
    return np.clip(image, 0, 255).astype(np.uint8), ~ground


def test_the_sky_of_a_drawn_landscape_is_found():
    image, sky = landscape()
    found = Segmenter(FILE)(image)
    assert found.shape == (192, 320, 2) and found.dtype == np.float32 and 0 <= found.min() <= found.max() <= 1
    hard = found[..., CLASSES.index("sky")] > 0.5
    assert (hard & sky).sum() / (hard | sky).sum() > 0.95
    assert found[..., CLASSES.index("subject")].mean() < 0.1


def test_any_size_is_padded_and_the_mirror_image_has_the_mirrored_mask():
    image, _ = landscape(301, 170)
    segmenter = Segmenter(FILE)
    found = segmenter(image)
    assert found.shape == (170, 301, 2)
    whole, _ = landscape(320, 192)
    np.testing.assert_allclose(segmenter(whole[:, ::-1]), segmenter(whole)[:, ::-1], atol=2e-5)


def test_the_classes_are_those_of_the_network():
    assert CLASSES == segment.CLASSES


def test_the_file_is_small_and_another_network_is_refused(tmp_path):
    assert FILE.stat().st_size < 300_000
    save_file({"weight": torch.zeros(3, 3, 3, 3)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"x\.safetensors: expected the weights of a SegmentNet"):
        Segmenter(tmp_path / "x.safetensors")
