"""Laws of how much is rendered at once: where memory runs out it is done in smaller pieces, and nothing is lost."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from dnirender.engine import memory_usage
from dnirender.engine.engine import Engine
from dnirender.engine.memory import MemoryPlanner
from dnirender.engine.memory_retry import MemoryRetry
from dnirender.errors import RenderError, UsageError
from dnirender.networks.network import Network
from dnirender.networks.weights import WeightPath

CPU = torch.device("cpu")


class Blur(nn.Module):
    """A receptive radius of two pixels; more than `most` pixels at once run out of memory. `seen` lists the inputs."""

    def __init__(self, most=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.most, self.seen = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 3, 3, padding=1),
            most,
            [],
        )

    def forward(self, x):
        size = x.shape[0] * x.shape[2] * x.shape[3]
        if self.most is not None and size > self.most:
            raise torch.OutOfMemoryError(f"{size} pixels")
        self.seen.append(tuple(x.shape))
        return self.last(self.first(x))


class Mean(nn.Module):
    """Its output depends on the whole frame."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.weight - x.mean()


def pixels(count, height=30, width=40):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


class Plain:
    """A model that renders with the network's own weights, under no alpha."""

    weights = ()

    def __init__(self, network):
        self.network = network

    def __call__(self, pixels, _):
        with torch.inference_mode():
            return self.network.render(self.network.module, pixels)


def rendered(network, planner, pixels):
    return MemoryRetry(Plain(network), planner)(pixels, ())


@pytest.mark.parametrize("most", [4 * 30 * 40, 2 * 30 * 40, 30 * 40, 700, 200])
def test_without_memory_the_batch_shrinks_then_the_tile_and_no_frame_is_lost(most):
    free, tight = Network("blur", Blur()), Network("blur", Blur())
    expected, sums = rendered(free, MemoryPlanner(free), pixels(4))
    planner = MemoryPlanner(tight)
    assert planner.receptive_radius == 2
    tight.module.most = most
    found, its_sums = rendered(tight, planner, pixels(4))
    assert found.shape == expected.shape
    assert abs(found.int() - expected.int()).max() <= 1
    assert len(sums) == len(its_sums) == 4
    assert (planner.tile is not None) == (most < 30 * 40)
    assert planner.max_frames == (None if most == 4 * 30 * 40 else max(1, most // (30 * 40)))


def test_the_size_that_fits_is_used_from_then_on():
    network = Network("blur", Blur())
    planner = MemoryPlanner(network)
    assert planner.receptive_radius is not None
    network.module.most = 700
    rendered(network, planner, pixels(2))
    found = planner.max_frames, planner.tile
    network.module.seen.clear()
    network.module.most = None
    rendered(network, planner, pixels(2))
    assert (planner.max_frames, planner.tile) == found
    assert max(height * width for _, _, height, width in network.module.seen) <= 700


def test_where_nothing_smaller_is_left_the_error_stands():
    network = Network("blur", Blur())
    planner = MemoryPlanner(network)
    assert planner.receptive_radius == 2
    network.module.most = 10
    with pytest.raises(torch.OutOfMemoryError):
        rendered(network, planner, pixels(1))
    statistics = Network("mean", Mean())
    with pytest.raises(MemoryError):
        MemoryRetry(lambda *_: (_ for _ in ()).throw(MemoryError()), MemoryPlanner(statistics))(pixels(1), ())


def test_other_errors_do_not_count_as_out_of_memory():
    network = Network("blur", Blur())
    calls = []

    def fail(pixels, _):
        calls.append(pixels)
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        MemoryRetry(fail, MemoryPlanner(network))(pixels(4), ())
    assert len(calls) == 1


@pytest.mark.parametrize(("free", "workers", "tiled"), [(100.0, 3, False), (5.0, 2, False), (1.5, 3, True)])
def test_workers_and_tiles_are_what_memory_allows(monkeypatch, free, workers, tiled):
    network = Network("blur", Blur())
    need = memory_usage.peak_bytes(network, 300, 400, torch.float32)
    monkeypatch.setattr(memory_usage, "free_memory", lambda _: int(free * need))
    planner = MemoryPlanner(network)
    assert planner.plan(300, 400, torch.float32, CPU, 3) == workers
    assert (planner.tile is not None) == tiled


def test_a_network_that_cannot_be_tiled_may_use_more_of_the_memory(monkeypatch):
    network = Network("mean", Mean())
    need = memory_usage.peak_bytes(network, 300, 400, torch.float32)
    monkeypatch.setattr(memory_usage, "free_memory", lambda _: int(1.5 * need))
    planner = MemoryPlanner(network)
    assert planner.plan(300, 400, torch.float32, CPU, 3) == 1
    assert planner.tile is None


def test_what_does_not_fit_says_so_before_the_first_frame(monkeypatch):
    monkeypatch.setattr(memory_usage, "free_memory", lambda _: 100_000)
    state = Mean().state_dict()
    engine = Engine(Network("mean", Mean()), WeightPath({"a": state, "b": state}), device="cpu", dtype="fp32")
    with pytest.raises(
        RenderError, match="its output depends on the whole frame .* so it cannot be tiled; use a smaller"
    ):
        engine.autotune(300, 400, 100)


def test_a_requested_tile_is_used_and_the_image_is_the_same():
    blur = Network("blur", Blur())
    planner = MemoryPlanner(blur, 16)
    assert planner.plan(30, 40, torch.float32, CPU, 2) == 2
    assert planner.tile == (16, 16)
    assert planner.tile_shape(30, 40) == (16, 16)
    found, _ = rendered(blur, planner, pixels(1))
    assert abs(found.int() - rendered(blur, MemoryPlanner(blur), pixels(1))[0].int()).max() <= 1
    assert MemoryPlanner(blur, 64).plan(30, 40, torch.float32, CPU, 1) == 1


def test_a_tile_that_is_not_possible_is_refused():
    with pytest.raises(UsageError, match="tile=3: tile height 3: expected a multiple of 1 above 4"):
        MemoryPlanner(Network("blur", Blur()), 3).plan(30, 40, torch.float32, CPU, 1)
    with pytest.raises(UsageError, match="tile=16: the output of mean depends on the whole frame"):
        MemoryPlanner(Network("mean", Mean()), 16).plan(30, 40, torch.float32, CPU, 1)


@pytest.mark.parametrize("most", [None, 700])
def test_every_piece_is_rendered_under_the_same_alpha(most):
    network = Network("blur", Blur())
    planner, alphas = MemoryPlanner(network), []
    assert planner.receptive_radius == 2
    network.module.most = most

    def model(pixels, alpha):
        alphas.append(alpha)
        return Plain(network)(pixels, alpha)

    MemoryRetry(model, planner)(pixels(2), (0.25, 0.75))
    assert set(alphas) == {(0.25, 0.75)}
    assert (len(alphas) > 2) == (most is not None)


def test_workers_that_run_out_of_memory_at_once_halve_the_tile_once():
    network = Network("blur", Blur())
    planner, together = MemoryPlanner(network), threading.Barrier(2)
    assert planner.receptive_radius == 2

    def model(pixels, alpha):
        if planner.tile is None:
            together.wait(30)  # both render a whole frame, and fail
            raise torch.OutOfMemoryError
        return Plain(network)(pixels, alpha)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: MemoryRetry(model, planner)(pixels(1), ()), range(2)))
    assert planner.tile == (30, 20)
    assert torch.equal(results[0][0], results[1][0])
