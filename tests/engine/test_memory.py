"""Laws of how much is rendered at once: what memory does not allow is done in smaller parts, and nothing is lost."""

import numpy as np
import pytest
import torch
from torch import nn

from dnirender.engine import memory_usage
from dnirender.engine.engine import Engine
from dnirender.engine.memory import MemoryPlanner
from dnirender.errors import RenderError, UsageError
from dnirender.networks.network import Network
from dnirender.networks.weights import WeightPath

CPU = torch.device("cpu")


class Blur(nn.Module):
    """A reach of two pixels; `most` counts what it was given at once, and more than that finds no memory."""

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
    """Looks at the whole picture."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.weight - x.mean()


def pixels(count, height=30, width=40):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


def rendered(network, room, given):
    with torch.inference_mode():
        return room.render(lambda part: network.render(network.module, part), given)


@pytest.mark.parametrize("most", [4 * 30 * 40, 2 * 30 * 40, 30 * 40, 700, 200])
def test_without_memory_the_batch_is_lowered_then_the_tile_and_no_picture_is_lost(most):
    free, tight = Network("blur", Blur()), Network("blur", Blur())
    wanted, sums = rendered(free, MemoryPlanner(free), pixels(4))
    room = MemoryPlanner(tight)
    assert room.reach == 2
    tight.module.most = most
    found, its_sums = rendered(tight, room, pixels(4))
    assert found.shape == wanted.shape
    assert abs(found.int() - wanted.int()).max() <= 1
    assert len(sums) == len(its_sums) == 4
    assert (room.tile is not None) == (most < 30 * 40)
    assert room.most == (None if most == 4 * 30 * 40 else max(1, most // (30 * 40)))


def test_the_size_found_is_kept():
    network = Network("blur", Blur())
    room = MemoryPlanner(network)
    assert room.reach is not None
    network.module.most = 700
    rendered(network, room, pixels(2))
    found = room.most, room.tile
    network.module.seen.clear()
    network.module.most = None
    rendered(network, room, pixels(2))
    assert (room.most, room.tile) == found
    assert max(height * width for _, _, height, width in network.module.seen) <= 700


def test_where_nothing_smaller_is_left_the_error_stands():
    network = Network("blur", Blur())
    room = MemoryPlanner(network)
    assert room.reach == 2
    network.module.most = 10
    with pytest.raises(torch.OutOfMemoryError):
        rendered(network, room, pixels(1))
    whole = Network("mean", Mean())
    with pytest.raises(MemoryError):
        MemoryPlanner(whole).render(lambda _: (_ for _ in ()).throw(MemoryError()), pixels(1))


def test_other_errors_are_not_taken_for_want_of_memory():
    network = Network("blur", Blur())
    calls = []

    def fail(part):
        calls.append(part)
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        MemoryPlanner(network).render(fail, pixels(4))
    assert len(calls) == 1


@pytest.mark.parametrize(("free", "workers", "tiled"), [(100.0, 3, False), (5.0, 2, False), (1.5, 3, True)])
def test_lanes_and_tiles_are_what_memory_allows(monkeypatch, free, workers, tiled):
    network = Network("blur", Blur())
    need = memory_usage.peak_bytes(network, 300, 400, torch.float32)
    monkeypatch.setattr(memory_usage, "free_memory", lambda _: int(free * need))
    room = MemoryPlanner(network)
    assert room.plan(300, 400, torch.float32, CPU, 3) == workers
    assert (room.tile is not None) == tiled


def test_what_cannot_be_cut_may_take_more_of_the_memory(monkeypatch):
    network = Network("mean", Mean())
    need = memory_usage.peak_bytes(network, 300, 400, torch.float32)
    monkeypatch.setattr(memory_usage, "free_memory", lambda _: int(1.5 * need))
    room = MemoryPlanner(network)
    assert room.plan(300, 400, torch.float32, CPU, 3) == 1
    assert room.tile is None


def test_what_does_not_fit_says_so_before_the_first_frame(monkeypatch):
    monkeypatch.setattr(memory_usage, "free_memory", lambda _: 100_000)
    state = Mean().state_dict()
    engine = Engine(Network("mean", Mean()), WeightPath({"a": state, "b": state}), device="cpu", dtype="fp32")
    with pytest.raises(
        RenderError, match="looks at the whole picture .* so it cannot be cut into tiles; use a smaller"
    ):
        engine.autotune(300, 400, 100)


def test_a_tile_asked_for_is_used_and_the_picture_is_the_same():
    blur = Network("blur", Blur())
    room = MemoryPlanner(blur, tile=16)
    assert room.plan(30, 40, torch.float32, CPU, 2) == 2
    assert room.tile == (16, 16)
    assert room.part(30, 40) == (16, 16)
    found, _ = rendered(blur, room, pixels(1))
    assert abs(found.int() - rendered(blur, MemoryPlanner(blur), pixels(1))[0].int()).max() <= 1
    assert MemoryPlanner(blur, tile=64).plan(30, 40, torch.float32, CPU, 1) == 1


def test_a_tile_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="--tile 3: tile height 3: expected a multiple of 1 above 4"):
        MemoryPlanner(Network("blur", Blur()), tile=3).plan(30, 40, torch.float32, CPU, 1)
    with pytest.raises(UsageError, match="--tile 16: mean looks at the whole picture"):
        MemoryPlanner(Network("mean", Mean()), tile=16).plan(30, 40, torch.float32, CPU, 1)
