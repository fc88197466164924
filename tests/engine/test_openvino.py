"""Laws of OpenVINO: it renders what PyTorch renders, under weights that change, and is chosen where that is faster."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("openvino")

from dnirender.engine import backend_trial, openvino
from dnirender.engine.cpu import CompiledModel, CPUWorker
from dnirender.engine.engine import Engine
from dnirender.engine.fp32_retry import Fp32Retry
from dnirender.engine.torch_model import TorchModel
from dnirender.errors import ModelError, UsageError
from dnirender.families import dynamic_net
from dnirender.frames import Batch, Frame
from dnirender.networks.architectures import compact, paint
from dnirender.networks.architectures.denoise import DenoiseNet
from dnirender.networks.architectures.paint import PaintNet
from dnirender.networks.architectures.relight import RelightNet
from dnirender.networks.network import Network
from dnirender.networks.weights import WeightPath
from support.toys import NEIGHBORS

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
    for name, parameter in module.named_parameters():
        if not name.endswith(paint.DEVIATION):
            parameter.data.normal_(std=0.2)
    for name, buffer in module.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return module


OURS = {"call": lambda module, x: module.forward_unshuffled(x), "shuffle_factors": (2, 2), "fp32_input": True}


def small_compact():
    return pytest.importorskip("spandrel.architectures.Compact").Compact(num_feat=8, num_conv=1, upscale=2)


def damped_painter():
    torch.manual_seed(0)
    return paint.from_state_dict(
        paint.with_deviations(PaintNet((16, 16, 16), (1, 1, 1)).state_dict(), [torch.rand(1, 3, 32, 32)])
    )


def networks(kind):
    """A network of this kind and a path of two."""
    make, metadata = {
        "paint": (lambda: PaintNet((16, 16, 16), (1, 1, 1)), OURS | {"multiple": 8}),
        "damped": (damped_painter, OURS | {"multiple": 8}),
        "relight": (lambda: RelightNet((16, 16, 16)), OURS | {"multiple": 32}),
        "grained": (lambda: RelightNet((16, 16), grain=True), OURS | {"multiple": 32}),
        "compact": (
            small_compact,
            {"call": compact.forward_unshuffled, "shuffle_factors": (1, 2), "scale": 2, "fp32_input": True},
        ),
        "denoise": (lambda: DenoiseNet(8, 2), OURS | {"multiple": 2}),
        "tuned": (lambda: dynamic_net.tunable(DenoiseNet(8, 3)), OURS | {"multiple": 2}),
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
@pytest.mark.parametrize(
    "kind", ["paint", "damped", "relight", "grained", "compact", "denoise", "tuned", "tied", "gray"]
)
def test_it_equals_pytorch_under_every_alpha(kind, depth):
    fast, plain = engines(kind)
    fast.autotune(37, 44, 1, 8 * np.dtype(depth).itemsize)
    assert (fast.backend, plain.backend) == ("openvino", "torch")
    image = picture(depth)
    seen = []
    for alpha in [*ENDS, (0.3, 0.7), (1.5, -0.5), (1.0, 0.0)]:
        found, expected = (engine.render(image, alpha, extrapolate=True) for engine in (fast, plain))
        assert found.dtype == expected.dtype == depth
        assert found.shape == expected.shape
        assert abs(found.astype(int) - expected).max() <= (1 if depth == np.uint8 else 32)
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


def test_frames_of_another_size_are_rendered_by_pytorch():
    fast, plain = engines("relight")
    fast.autotune(37, 44, 1)
    other = picture(np.uint8, 50, 20)
    assert np.array_equal(fast.render(other, (0.5, 0.5)), plain.render(other, (0.5, 0.5)))


def test_a_short_job_is_not_worth_compiling(monkeypatch):
    auto = Engine(*networks("relight"), device="cpu", dtype="fp32", threads=1)
    monkeypatch.setattr(backend_trial, "time_frames", lambda *_: 0.5)
    auto.autotune(37, 44, 7)
    assert "OpenVINO" not in auto.decision
    auto.autotune(37, 44, 8)
    assert "OpenVINO takes 500 ms per frame, PyTorch 500 ms" in auto.decision


@pytest.mark.usefixtures("one_lane")
@pytest.mark.parametrize(("count", "workers"), [(7, 1), (15, 2), (8, 1), (16, 2)])
def test_fewer_frames_than_measuring_takes_are_rendered_at_once(tmp_path, monkeypatch, count, workers):
    monkeypatch.setenv("DNIRENDER_CACHE", str(tmp_path))
    rendered = []
    monkeypatch.setattr(backend_trial, "time_frames", lambda *a: rendered.append(a[-1]) or 60.0)  # of a large picture
    auto = Engine(*networks("relight"), device="cpu", dtype="fp32", threads=workers)
    auto.autotune(37, 44, count)
    assert auto.workers == workers
    assert sum(rendered) == (0 if count < 8 * workers else 8 * workers)


@pytest.mark.parametrize(
    ("error", "compiled", "chosen"), [(0.0, 1.0, "openvino"), (0.0, 3.0, "torch"), (0.1, 1.0, "torch")]
)
def test_what_is_faster_is_chosen_if_it_is_accurate(tmp_path, monkeypatch, error, compiled, chosen):
    monkeypatch.setenv("DNIRENDER_CACHE", str(tmp_path))  # nothing is known from other tests

    def time_frames(executor, *_):
        worker = executor.workers[0]
        return compiled if isinstance(worker._executor._model._model, CompiledModel) else 2.0

    monkeypatch.setattr(backend_trial, "time_frames", time_frames)
    monkeypatch.setattr(backend_trial, "_compiled_error", lambda *_: error)
    auto = Engine(*networks("gray"), device="cpu", dtype="fp32")
    auto.autotune(37, 44, 99)
    assert auto.backend == chosen


def test_a_network_that_cannot_be_compiled_is_rendered_by_pytorch(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(backend_trial, "MIN_SECONDS_TO_TUNE", 0.0)
    monkeypatch.setattr(openvino, "OpenVINOModel", fail)
    auto = Engine(*networks("gray"), device="cpu", dtype="fp32")
    auto.autotune(37, 44, 99)
    assert auto.backend == "torch"
    assert "OpenVINO cannot run it" in auto.decision
    with pytest.raises(ModelError, match="no such operation"):
        engines("gray")[0].autotune(37, 44, 1)


def test_a_backend_that_is_not_available_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="expected auto, torch, openvino"):
        Engine(*networks("gray"), device="cpu", backend="tensorrt")
    network, path = networks("gray")
    network.module.odd = nn.Linear(1, 1)
    with pytest.raises(UsageError, match="convolutional network in fp32 or bf16 on the CPU, got gray in fp32 on cpu"):
        Engine(network, path, device="cpu", dtype="fp32", backend="openvino")
    monkeypatch.setattr(openvino, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"pip install 'dnirender\[openvino\]'"):
        engines("gray")


def test_a_job_is_measured_once_and_again_after_a_failure(monkeypatch):
    fast, _ = engines("gray")
    made, compile_model = [], openvino.OpenVINOModel

    def fail(*arguments, **options):
        made.append(arguments)
        if len(made) == 1:
            raise MemoryError
        return compile_model(*arguments, **options)

    monkeypatch.setattr(openvino, "OpenVINOModel", fail)
    with pytest.raises(ModelError):
        fast.autotune(37, 44, 1)
    fast.autotune(37, 44, 100)
    assert (fast.backend, len(made)) == ("openvino", 3)
    fast.autotune(37, 44, 99)
    assert len(made) == 3


def test_a_graph_that_renders_something_else_is_refused(monkeypatch):
    monkeypatch.setattr(backend_trial, "_compiled_error", lambda *_: 0.1)
    with pytest.raises(
        ModelError, match=r"renders it incorrectly, with a mean error of 25\.500 of 255; use backend='torch'"
    ):
        engines("gray")[0].autotune(37, 44, 1)


def test_an_overflow_is_an_error():
    network, path = networks("gray")
    path.stack[1] *= 1e38
    compiled = openvino.OpenVINOModel(network, path, picture(np.uint8), "fp32", threads=1)
    execute = Fp32Retry(CPUWorker(CompiledModel(compiled, TorchModel(network, path, "fp32"))), None)
    first, second = (Batch((Frame(0, 0, picture(np.uint8)),), alpha) for alpha in ENDS)
    [(_, (found,), _)] = execute([first])
    assert np.array_equal(found, engines("gray")[1].render(picture(np.uint8), ENDS[0]))
    with pytest.raises(ModelError, match="not finite"):
        list(execute([second]))


def test_bf16_stays_within_what_auto_allows():
    network, path = networks("relight")
    fast = Engine(network, path, device="cpu", dtype="bf16", backend="openvino")
    fast.autotune(37, 44, 1)
    found, expected = (e.render(picture(np.uint8), (0.5, 0.5)).astype(int) for e in (fast, engines("relight")[1]))
    assert fast.backend == "openvino"
    assert abs(found - expected).mean() < 1


def test_clones_of_one_graph_have_separate_weights(monkeypatch):
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
    untiled, tiled = (Engine(network, path, device="cpu", dtype="fp32", backend="openvino", tile=t) for t in (None, 16))
    for engine in (untiled, tiled):
        engine.autotune(37, 44, 1)
    assert (tiled.backend, tiled.tile, untiled.tile) == ("openvino", (16, 16), None)
    found, expected = (engine.render(picture(np.uint8), (0.5, 0.5)).astype(int) for engine in (tiled, untiled))
    assert abs(found - expected).max() <= 1


@pytest.mark.parametrize("threads", [1, 3])
def test_weights_that_were_measured_are_forgotten(monkeypatch, threads):
    """The path changes after measuring at its last endpoint: only weights that are written again show that."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    network, path = networks("gray")
    engine = Engine(network, path, device="cpu", dtype="fp32", backend="openvino")
    engine.autotune(37, 44, 100)
    check_that_the_next_write_is_made(engine, network, path, threads)


def test_weights_that_were_compared_are_forgotten_where_openvino_fails_afterwards(monkeypatch):
    def time_pytorch_only(*arguments):
        time_frames(*arguments)
        if len(times) == 2:
            raise RuntimeError("failed while it was measured")
        times.append(2.0)
        return 2.0

    times, time_frames = [], backend_trial.time_frames
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(backend_trial, "time_frames", time_pytorch_only)
    network, path = networks("gray")
    engine = Engine(network, path, device="cpu", dtype="fp32")
    engine.autotune(37, 44, 99)
    assert (engine.backend, engine.decision.split("; ")[-1]) == ("torch", "OpenVINO cannot run it")
    check_that_the_next_write_is_made(engine, network, path, 1)


def check_that_the_next_write_is_made(engine, network, path, workers):
    assert engine.workers == workers
    measured = engine.weight_writes
    assert measured > 0
    path.stack[1] *= 2
    expected = Engine(network, path, device="cpu", dtype="fp32", backend="torch").render(picture(np.uint8), ENDS[1])
    for _, (found,) in engine([Batch((Frame(i, i, picture(np.uint8)),), ENDS[1]) for i in range(6)]):
        assert abs(found.astype(int) - expected).max() <= 1
    assert measured < engine.weight_writes <= measured + workers


@pytest.mark.parametrize("alphas", NEIGHBORS)
def test_weights_are_written_when_any_coefficient_changes(alphas):
    module = made(Gray(), 0)
    path = WeightPath({name: made(Gray(), seed).state_dict() for seed, name in enumerate("abc")})
    fast, plain = (
        Engine(Network("gray", module, channels=1), path, device="cpu", dtype="fp32", backend=backend, threads=1)
        for backend in ("openvino", "torch")
    )
    fast.autotune(37, 44, 1)
    before = fast.weight_writes
    for alpha in alphas * 3:
        found, expected = fast.render(picture(np.uint8), alpha), plain.render(picture(np.uint8), alpha)
        assert abs(found.astype(int) - expected).max() <= 1
    assert fast.weight_writes - before == 6


def test_after_a_failure_the_engine_renders_in_pytorch(monkeypatch):
    fast, plain = engines("gray")
    fast.autotune(37, 44, 1)
    monkeypatch.setattr(backend_trial, "_compiled_error", lambda *_: 0.1)
    with pytest.raises(ModelError, match="renders it incorrectly"):
        fast.autotune(37, 44, 2)
    assert (fast.backend, fast.workers) == ("torch", 1)
    assert np.array_equal(fast.render(picture(np.uint8), ENDS[0]), plain.render(picture(np.uint8), ENDS[0]))
