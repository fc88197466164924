"""Laws of recorded graphs: by a stand-in that keeps the addresses of what it recorded, as a graph does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dnirender.engine import cuda_graphs
from dnirender.engine.cuda_graphs import MAX_GRAPHS, GraphedModel, graphed
from dnirender.engine.memory import MemoryPlanner
from dnirender.engine.memory_retry import MemoryRetry
from dnirender.engine.torch_model import TorchModel
from dnirender.families.loading import load_family
from dnirender.networks.network import Network
from dnirender.networks.weights import MixedWeights, WeightPath
from dnirender.preset import Preset, preset_folder
from support.gpu_stand_in import gpu_stand_in, render_on_gpu
from support.toys import NEIGHBORS, Toy, pictures, toy

ALPHAS = [(1.0, 0.0), (0.5, 0.5), (0.25, 0.75), (0.25, 0.75), (0.0, 1.0), (1.0, 0.0)]


@pytest.fixture
def recorder(monkeypatch):
    return gpu_stand_in(monkeypatch)[1]


def model(count=2, dtype="fp32"):
    return TorchModel(*toy(count), dtype)


def image(height=8, width=12, seed=0, count=1):
    return torch.from_numpy(np.stack(pictures(count, height, width, seed=seed)))


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_one_graph_serves_every_alpha(recorder, dtype):
    plain, [replayed] = model(dtype=dtype), graphed([model(dtype=dtype)])
    before = recorder.recorded
    for number, alpha in enumerate(ALPHAS):
        pixels = image(seed=number)
        for one, other in zip(plain(pixels, alpha), replayed(pixels, alpha), strict=True):
            assert torch.equal(one, other)
    assert recorder.recorded == before + 1


def test_results_outlive_the_next_replay(recorder):
    [replayed] = graphed([model()])
    first = [replayed(image(seed=number), (1.0, 0.0)) for number in range(4)]
    for number, (pixels, sums) in enumerate(first):
        expected = model()(image(seed=number), (1.0, 0.0))
        assert torch.equal(pixels, expected[0]) and torch.equal(sums, expected[1])


def test_shapes_have_graphs_of_their_own_up_to_a_limit(recorder):
    [replayed] = graphed([model()])
    before = recorder.recorded
    for _ in range(3):
        for width in range(8, 8 + 4 * (MAX_GRAPHS + 2), 4):
            pixels = image(width=width)
            assert torch.equal(replayed(pixels, (0.5, 0.5))[0], model()(pixels, (0.5, 0.5))[0])
    assert recorder.recorded == before + MAX_GRAPHS


def test_what_cannot_be_recorded_runs_without(recorder):
    recorder.refuses = RuntimeError("operation not permitted when stream is capturing")
    [replayed] = graphed([model()])
    for alpha in ALPHAS:
        assert torch.equal(replayed(image(), alpha)[0], model()(image(), alpha)[0])
    assert recorder.replayed == 0


def test_without_memory_graphs_are_dropped_and_no_frame_is_lost(recorder, monkeypatch):
    network, path = toy()
    [replayed] = graphed([TorchModel(network, path, "fp32")])
    limited, pixels = MemoryRetry(replayed, MemoryPlanner(network)), image(count=4)
    expected = [limited(pixels, alpha)[0] for alpha in ALPHAS[:3]]
    forward = Toy.forward

    def small(module, x):
        if len(x) > 1:
            raise torch.OutOfMemoryError("no")
        return forward(module, x)

    monkeypatch.setattr(Toy, "forward", small)
    got = [limited(pixels, alpha)[0] for alpha in ALPHAS[:3]]
    assert all(count == 1 for count, *_ in replayed._render._graphs)
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("alphas", [[(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.2, 0.0, 0.8)], *NEIGHBORS])
def test_a_recorded_mixture_is_the_mixture(recorder, alphas, dtype):
    _, path = toy(3)
    mixed, expected = MixedWeights(path, dtype), MixedWeights(path, dtype)
    mixed.mix_in_place = cuda_graphs._GraphedMix(mixed)
    for alpha in alphas * 2:
        mixed.write(alpha), expected.write(alpha)
        torch.testing.assert_close(mixed.flat, expected.flat)
        if 1.0 in alpha:
            assert torch.equal(mixed.flat, expected.flat)
    assert recorder.recorded == 1 and recorder.replayed == 2 * len(alphas)


def test_repaired_mixtures_and_those_of_groups_are_not_recorded(recorder):
    states = {name: Toy(seed).state_dict() for seed, name in enumerate("ab")}
    path = WeightPath(states, groups=("up.*",))
    mixed, expected = MixedWeights(path), MixedWeights(path)
    mixed.mix_in_place = cuda_graphs._GraphedMix(mixed)
    for alpha in [(1.0, 0.0, 0.0, 1.0), (0.5, 0.5, 0.2, 0.8)]:
        mixed.write(alpha), expected.write(alpha)
        assert torch.equal(mixed.flat, expected.flat)
    assert recorder.replayed == 0
    path.repair = type("Halved", (), {"apply": staticmethod(lambda _, flat: flat.mul_(0.5))})()
    mixed.write((0.5, 0.5)), expected.write((0.5, 0.5))
    assert torch.equal(mixed.flat, expected.flat) and recorder.replayed == 0


def test_a_model_is_recorded_once_for_all_executors(recorder):
    [one] = graphed([model()])
    before = recorder.recorded
    GraphedModel(one)
    assert recorder.recorded == before  # its mixture has a graph already


SHIPPED = sorted(path.stem for path in preset_folder().glob("*.yaml"))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("name", SHIPPED)
def test_nothing_keeps_a_shipped_network_from_being_recorded(name, dtype):
    shipped = Preset.load(name).network
    network, _ = load_family(shipped.family, shipped.files, shipped.levels, shipped.styles)
    pixels = torch.zeros((2, 67, 45, 3), dtype=dtype)
    assert render_on_gpu(network, pixels) == ((2, 67 * network.scale, 45 * network.scale, 3), dtype)


def test_nor_one_that_sees_luma_alone():
    network = Network("gray", nn.Conv2d(1, 1, 3, padding=1))
    network = replace(network, channels=1, luma=True)
    assert render_on_gpu(network, torch.zeros((1, 9, 9, 3), dtype=torch.uint8)) == ((1, 9, 9, 3), torch.uint8)
    with pytest.raises(AssertionError, match="makes a tensor on"):
        render_on_gpu(replace(network, call=lambda module, x: module(x) + torch.tensor(0.5)), image())
