"""Mixing inside of every layer: equal to renders where alpha is constant, near the reference where it is not."""

import numpy as np
import pytest
import torch
from torch import nn

from dnirender import Engine, Preset, networks
from dnirender.engine.layered import LayeredRenderer
from dnirender.errors import UsageError
from dnirender.families.loading import load_family
from dnirender.frames import Frame
from dnirender.masks.alpha_map import constant, spread

PRESETS = ["day-to-night", "sketchbook", "denoise", "detail"]
SIZE = 70, 106  # of no multiple


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(5)
    smooth = rng.uniform(0, 255, (8, 12, 3)).repeat(9, 0).repeat(9, 1)[: SIZE[0], : SIZE[1]]
    return (np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255) * 257).astype(np.uint16)


def engine_of(name):
    network = Preset.load(name).network
    return Engine(*load_family(network.family, network.files, network.levels), device="cpu", dtype="fp32")


def alone(engine):
    """The alpha of each endpoint."""
    count = len(engine.path.names)
    return [tuple(float(k == place) for k in range(count)) for place in range(count)]


def ramp(engine, width, picture):
    """From the first end to the last over `width` pixels in the middle."""
    height, columns = (side * engine.network.scale for side in picture.shape[:2])
    progress = ((np.arange(columns) - (columns - width) / 2) / width).clip(0, 1).astype(np.float32)
    return np.repeat(progress[None], height, 0), alone(engine)[:: len(engine.path.names) - 1]


@pytest.mark.parametrize("name", PRESETS)
def test_a_constant_map_is_the_render(name, picture):
    engine = engine_of(name)
    alpha = tuple(0.3 * a + 0.7 * b for a, b in zip(alone(engine)[0], alone(engine)[-1], strict=True))
    size = [side * engine.network.scale for side in SIZE]
    made = LayeredRenderer(engine)(Frame(0, 0, picture), constant(alpha, *size))
    assert np.abs(made.astype(int) - engine.render(picture, alpha)).max() <= 4  # of 65535


def test_sides_of_a_hard_edge_are_their_renders_beyond_the_receptive_field(picture):
    engine = engine_of("denoise")
    progress, (one, other) = ramp(engine, 1, picture)
    made = LayeredRenderer(engine)(Frame(0, 0, picture), spread(progress, (0, 1), (one, other))).astype(int)
    radius = engine.planner.receptive_radius
    assert radius < 50
    middle = SIZE[1] // 2
    assert np.abs(made - engine.render(picture, one))[:, : middle - radius - 2].max() <= 4
    assert np.abs(made - engine.render(picture, other))[:, middle + radius + 2 :].max() <= 4
    assert np.abs(made - engine.render(picture, one))[:, middle:].max() > 500


@pytest.mark.parametrize("name", ["denoise", "sketchbook", "day-to-night"])
def test_a_ramp_is_nearer_to_the_reference_than_two_renders(name, picture):
    engine = engine_of(name)
    progress, (one, other) = ramp(engine, 100, picture)
    steps = 24
    renders = np.stack(
        [
            engine.render(picture, tuple(a + (b - a) * k / steps for a, b in zip(one, other, strict=True)))
            for k in range(steps + 1)
        ]
    ).astype(float)
    places = np.rint(progress * steps).astype(int)
    reference = np.take_along_axis(renders, places[None, :, :, None], 0)[0]
    made = LayeredRenderer(engine)(Frame(0, 0, picture), spread(progress, (0, 1), (one, other)))
    crossfade = renders[0] + progress[..., None] * (renders[-1] - renders[0])
    assert np.abs(made - reference).mean() < 0.7 * np.abs(crossfade - reference).mean()


def test_networks_of_others_and_several_mixtures(picture):
    torch.manual_seed(0)
    modules = {
        name: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(8), nn.Conv2d(8, 3, 3, padding=1)) for name in "abc"
    }
    engine = Engine(*networks.from_modules(modules), device="cpu", dtype="fp32")
    progress = np.tile(np.linspace(0, 1, SIZE[1], dtype=np.float32), (SIZE[0], 1))
    alphas = alone(engine)
    made = LayeredRenderer(engine)(Frame(0, 0, picture), spread(progress, (0, 0.5, 1), alphas))
    assert np.abs(made.astype(int) - engine.render(picture, alphas[0]))[:, :2].mean() < 300
    assert made.shape == (*SIZE, 3) and made.dtype == np.uint16


def test_networks_with_statistics_over_the_picture_are_refused():
    with pytest.raises(UsageError, match="all of the picture"):
        LayeredRenderer(engine_of("painters"))
