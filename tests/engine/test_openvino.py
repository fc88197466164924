"""The network compiled by OpenVINO paints what PyTorch paints, under weights that move."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("openvino")

from dnirender.engine import calibration as probe
from dnirender.engine import engine as engine_module
from dnirender.engine import openvino as compiled
from dnirender.engine.engine import Engine
from dnirender.errors import ModelError, UsageError
from dnirender.frames import Batch, Frame
from dnirender.networks.architectures import compact
from dnirender.networks.architectures.paint import PaintNet
from dnirender.networks.architectures.relight import RelightNet
from dnirender.networks.network import Network
from dnirender.networks.weights import WeightPath

ENDS = [(1.0, 0.0), (0.0, 1.0)]


class Tied(nn.Module):
    """A layer in two places, a batch normalisation with its buffers, and twice the size."""

    def __init__(self):
        super().__init__()
        layer = nn.Conv2d(4, 4, 3, padding=1)
        self.first, self.layers = nn.Conv2d(3, 4, 1), nn.ModuleList([layer, layer])
        self.norm, self.slope, self.last = nn.BatchNorm2d(4), nn.PReLU(4), nn.Conv2d(4, 12, 3, padding=1)

    def forward(self, x):
        z = self.first(x)
        for layer in self.layers:
            z = self.slope(self.norm(layer(z)))
        return nn.functional.pixel_shuffle(self.last(z), 2)


class Gray(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x)


def made(module, seed):
    torch.manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.normal_(std=0.2)
    for name, buffer in module.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return module


OURS = {"call": lambda module, x: module.forward_unshuffled(x), "shuffle_factors": (2, 2), "fp32_input": True}


def small_compact():
    return pytest.importorskip("spandrel.architectures.Compact").Compact(num_feat=8, num_conv=1, upscale=2)


def networks(kind):
    """A network of this kind and a path of two."""
    make, metadata = {
        "paint": (lambda: PaintNet((16, 16, 16), (1, 1, 1)), OURS | {"multiple": 8}),
        "relight": (lambda: RelightNet((16, 16, 16)), OURS | {"multiple": 32}),
        "compact": (
            small_compact,
            {"call": compact.forward_unshuffled, "shuffle_factors": (1, 2), "scale": 2, "fp32_input": True},
        ),
        "tied": (Tied, {"scale": 2}),
        "gray": (Gray, {"channels": 1}),
    }[kind]
    path = WeightPath({"a": made(make(), 1).state_dict(), "b": made(make(), 2).state_dict()})
    return Network(kind, make(), **metadata), path


def picture(kind, height=37, width=44):
    return np.random.default_rng(0).integers(0, np.iinfo(kind).max, (height, width, 3), kind, endpoint=True)


def engines(kind):
    return [Engine(*networks(kind), device="cpu", dtype="fp32", backend=backend) for backend in ("openvino", "torch")]


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["paint", "relight", "compact", "tied", "gray"])
def test_it_equals_pytorch_under_every_alpha(kind, depth):
    fast, plain = engines(kind)
    fast.autotune(37, 44, 1, 8 * np.dtype(depth).itemsize)
    assert (fast.backend, plain.backend) == ("openvino", "torch")
    image = picture(depth)
    seen = []
    for alpha in [*ENDS, (0.3, 0.7), (1.5, -0.5), (1.0, 0.0)]:
        found, wanted = fast.render(image, alpha), plain.render(image, alpha)
        assert found.dtype == wanted.dtype == depth
        assert found.shape == wanted.shape
        assert abs(found.astype(int) - wanted).max() <= (1 if depth == np.uint8 else 32)
        seen.append(found)
    assert all(abs(a.astype(int) - b).mean() > 1 for a, b in itertools.pairwise(seen))
    assert np.array_equal(seen[0], seen[-1])


def test_weights_are_written_once_per_change_of_alpha():
    fast, _ = engines("gray")
    fast.autotune(37, 44, 1)
    before = fast.weight_writes
    frames = [Frame(i, i, picture(np.uint8)) for i in range(6)]
    alphas = [ENDS[0], ENDS[0], (0.5, 0.5), ENDS[1], ENDS[1], ENDS[0]]
    list(fast(Batch((frame,), alpha) for frame, alpha in zip(frames, alphas, strict=True)))
    assert fast.weight_writes - before == 4


def test_pictures_of_another_size_are_rendered_by_pytorch():
    fast, plain = engines("relight")
    fast.autotune(37, 44, 1)
    other = picture(np.uint8, 50, 20)
    assert np.array_equal(fast.render(other, (0.5, 0.5)), plain.render(other, (0.5, 0.5)))


def test_a_short_job_is_not_worth_compiling(monkeypatch):
    auto = Engine(*networks("relight"), device="cpu", dtype="fp32")
    auto.autotune(37, 44, engine_module.MIN_FRAMES_TO_TUNE)
    assert "OpenVINO" not in auto.decision
    monkeypatch.setattr(engine_module, "MIN_SECONDS_TO_TUNE", 0.0)
    short = Engine(*networks("relight"), device="cpu", dtype="fp32")
    short.autotune(37, 44, engine_module.MIN_FRAMES_TO_TUNE - 1)
    assert "OpenVINO" not in short.decision
    short.autotune(37, 44, engine_module.MIN_FRAMES_TO_TUNE)
    assert "OpenVINO takes" in short.decision


@pytest.mark.parametrize(("error", "ours", "taken"), [(0.0, 1.0, "openvino"), (0.0, 3.0, "torch"), (0.1, 1.0, "torch")])
def test_what_is_faster_is_taken_if_it_is_right(monkeypatch, error, ours, taken):
    times = iter([2.0, ours])
    monkeypatch.setattr(engine_module, "MIN_SECONDS_TO_TUNE", 0.0)
    monkeypatch.setattr(probe, "best_time", lambda _: next(times))
    monkeypatch.setattr(Engine, "_compiled_error", lambda *_: error)
    auto = Engine(*networks("gray"), device="cpu", dtype="fp32")
    auto.autotune(37, 44, 99)
    assert auto.backend == taken


def test_a_network_that_cannot_be_compiled_is_rendered_by_pytorch(monkeypatch):
    def fail(*_):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(engine_module, "MIN_SECONDS_TO_TUNE", 0.0)
    monkeypatch.setattr(compiled, "OpenVINOModel", fail)
    auto = Engine(*networks("gray"), device="cpu", dtype="fp32")
    auto.autotune(37, 44, 99)
    assert auto.backend == "torch"
    assert "OpenVINO cannot run it" in auto.decision
    with pytest.raises(ModelError, match="no such operation"):
        engines("gray")[0].autotune(37, 44, 1)


def test_a_backend_that_is_not_to_be_had_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="expected auto, torch, openvino"):
        Engine(*networks("gray"), device="cpu", backend="tensorrt")
    network, path = networks("gray")
    network.module.odd = nn.Linear(1, 1)
    with pytest.raises(UsageError, match="convolutional network in fp32 or bf16 on the CPU, got gray in fp32 on cpu"):
        Engine(network, path, device="cpu", dtype="fp32", backend="openvino")
    monkeypatch.setattr(compiled, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"pip install 'dnirender\[openvino\]'"):
        engines("gray")


def test_a_job_is_measured_once_and_again_after_a_failure(monkeypatch):
    fast, _ = engines("gray")
    made, whole = [], compiled.OpenVINOModel

    def fail(*arguments):
        made.append(arguments)
        if len(made) == 1:
            raise MemoryError
        return whole(*arguments)

    monkeypatch.setattr(compiled, "OpenVINOModel", fail)
    with pytest.raises(ModelError):
        fast.autotune(37, 44, 1)
    fast.autotune(37, 44, 100)
    assert (fast.backend, len(made)) == ("openvino", 3)
    fast.autotune(37, 44, 99)
    assert len(made) == 3


def test_a_graph_that_renders_something_else_is_refused(monkeypatch):
    monkeypatch.setattr(Engine, "_compiled_error", lambda *_: 0.1)
    with pytest.raises(
        ModelError, match=r"renders it wrongly, with a mean error of 25\.500 of 255; use --backend torch"
    ):
        engines("gray")[0].autotune(37, 44, 1)


def test_an_overflow_is_told():
    network, path = networks("gray")
    path.stack[1] *= 1e38
    engine = Engine(network, path, device="cpu", dtype="fp32")
    engine._workers[0].graph = engine._graph(picture(np.uint8))
    assert np.array_equal(
        engine.render(picture(np.uint8), ENDS[0]), engines("gray")[1].render(picture(np.uint8), ENDS[0])
    )
    with pytest.raises(ModelError, match="not finite"):
        engine.render(picture(np.uint8), ENDS[1])


def test_bf16_stays_within_what_auto_allows():
    network, path = networks("relight")
    fast = Engine(network, path, device="cpu", dtype="bf16", backend="openvino")
    fast.autotune(37, 44, 1)
    found, wanted = (e.render(picture(np.uint8), (0.5, 0.5)).astype(int) for e in (fast, engines("relight")[1]))
    assert fast.backend == "openvino"
    assert abs(found - wanted).mean() < 1


def test_lanes_of_one_graph_have_weights_of_their_own(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    fast, plain = engines("relight")
    fast.autotune(37, 44, 100)
    assert (fast.backend, fast.workers) == ("openvino", 3)
    frames = [Frame(i, i, picture(np.uint8)) for i in range(12)]
    jobs = [Batch((frame,), (1 - i / 11, i / 11)) for i, frame in enumerate(frames)]
    for (batch, (found,)), job in zip(fast(jobs), jobs, strict=True):
        assert batch is job
        assert abs(found.astype(int) - plain.render(job.frames[0].image, job.alpha)).max() <= 1


def test_tiles_are_compiled_too():
    network, path = networks("gray")
    whole, tiled = (Engine(network, path, device="cpu", dtype="fp32", backend="openvino", tile=t) for t in (None, 16))
    for engine in (whole, tiled):
        engine.autotune(37, 44, 1)
    assert (tiled.backend, tiled.tile, whole.tile) == ("openvino", (16, 16), None)
    found, wanted = (engine.render(picture(np.uint8), (0.5, 0.5)).astype(int) for engine in (tiled, whole))
    assert abs(found - wanted).max() <= 1
