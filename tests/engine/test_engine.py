"""Laws of the engine as jobs use it: what it renders, when it writes weights, and what it says when something fails."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dnirender.engine.engine import Engine
from dnirender.engine.memory import render_errors
from dnirender.errors import ModelError, RenderError, UsageError
from dnirender.networks.architectures import compact, denoise, paint, relight
from dnirender.networks.loading import load
from dnirender.networks.network import Network
from dnirender.networks.weights import WeightPath
from support.clips import MODELS, needs_models
from support.toys import NEIGHBORS, Toy, alone, batches, close, cpu, flat, pictures, toy

# --- the picture


@pytest.mark.parametrize("kind", ["relight", "paint", "damped", "compact", "denoise"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "width"), [(33, 47), (1, 1), (31, 70)])
def test_networks_on_groups_of_pixels_render_what_their_modules_do(kind, height, width, dtype):
    torch.manual_seed(0)
    if kind == "compact":
        module = pytest.importorskip("spandrel.architectures.Compact").Compact(num_feat=8, num_conv=1, upscale=2)
        network = Network(kind, module, compact.forward_unshuffled, (1, 2), scale=2, fp32_input=True)
    else:
        module = {
            "relight": relight.RelightNet,
            "paint": lambda: paint.PaintNet((16, 16, 16), (1, 1, 1)),
            "damped": lambda: paint.from_state_dict(
                paint.with_deviations(paint.PaintNet((16, 16, 16), (1, 1, 1)).state_dict(), [torch.rand(1, 3, 32, 32)])
            ),
            "denoise": denoise.DenoiseNet,
        }[kind]()
        torch.nn.init.normal_(module.last.weight, std=0.05)
        least = getattr(module, "minimum", 0)
        metadata = {"multiple": max(module.multiple, least), "fp32_input": True}
        network = Network(kind, module, lambda net, x: net.forward_unshuffled(x), (2, 2), **metadata)
    images = pictures(2, height, width, dtype)
    found, sums = network.render(module.eval(), torch.from_numpy(np.stack(images)))
    for image, picture in zip(images, found, strict=True):
        wanted = by_hand(image, module, network.multiple, network.scale)
        assert abs(picture.numpy().astype(int) - wanted).max() <= (1 if dtype == np.uint8 else 40)
    assert sums.isfinite().all()
    assert found.is_contiguous()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_result_does_not_depend_on_the_batch_size_by_a_bit(dtype):
    images = pictures(7, dtype=dtype)
    ones = flat(cpu(*toy())(batches(images, [(0.3, 0.7)] * 7, 1)))
    sevens = flat(cpu(*toy())(batches(images, [(0.3, 0.7)] * 7, 7)))
    assert all(np.array_equal(a, b) for a, b in zip(ones, sevens, strict=True))
    assert len({image.tobytes() for image in ones}) == 7


def by_hand(image, module, multiple, scale=1):
    """Padded by numpy, rendered, cropped, rounded."""
    height, width = image.shape[:2]
    down, right = -height % multiple, -width % multiple
    mirror = ((0, min(down, height - 1)), (0, min(right, width - 1)), (0, 0))
    padded = np.pad(image, mirror, "reflect")
    padded = np.pad(
        padded, ((0, height + down - padded.shape[0]), (0, width + right - padded.shape[1]), (0, 0)), "edge"
    )
    peak = np.iinfo(image.dtype).max
    x = torch.from_numpy(padded.astype(np.float32) / peak).permute(2, 0, 1)[None]
    with torch.no_grad():
        y = module.eval()(x)[0].permute(1, 2, 0).numpy()
    y = np.rint(np.clip(y[: height * scale, : width * scale], 0, 1).astype(np.float64) * peak)
    return y.astype(image.dtype)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 41), st.integers(1, 53), st.sampled_from([np.uint8, np.uint16]), st.sampled_from([1, 2]))
def test_any_size_is_padded_and_cropped(height, width, dtype, scale):
    [image] = pictures(1, height, width, dtype)
    network, path = toy(scale=scale, multiple=8)
    got = cpu(network, path).render(image, (1.0, 0.0))
    assert got.shape == (height * scale, width * scale, 3)
    assert got.flags.c_contiguous
    close(got, by_hand(image, Toy(0, scale), 8, scale), 1)


@pytest.mark.parametrize(("height", "width"), [(33, 47), (1, 1), (3, 2), (32, 48)])
def test_odd_and_tiny_sizes(height, width):
    [image] = pictures(1, height, width)
    network, path = toy(multiple=8)
    close(cpu(network, path).render(image, (0.0, 1.0)), by_hand(image, Toy(1), 8), 1)


def test_the_mix_is_the_network_of_the_mixed_weights():
    mixed = Toy()
    a, b, c = (Toy(i).state_dict() for i in range(3))
    mixed.load_state_dict({name: 0.2 * a[name] + 0.3 * b[name] + 0.5 * c[name] for name in a})
    [image] = pictures(1, 16, 20)
    close(cpu(*toy(3)).render(image, (0.2, 0.3, 0.5)), by_hand(image, mixed, 4), 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_code_comes_through_an_identity(dtype):
    every = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    image = np.repeat(every.reshape(16, -1, 1), 3, axis=2)
    network = Network("identity", nn.PReLU(init=1.0))
    path = WeightPath({"a": nn.PReLU(init=1.0).state_dict()})
    assert np.array_equal(cpu(network, path).render(image, (1.0,)), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_compact_net_of_zeros_is_the_identity_through_spandrel(tmp_path, dtype):
    shapes = {"body.0.weight": (4, 3, 3, 3), "body.0.bias": (4,), "body.1.weight": (4,), "body.2.weight": (4, 4, 3, 3)}
    shapes |= {"body.2.bias": (4,), "body.3.weight": (4,), "body.4.weight": (3, 4, 3, 3), "body.4.bias": (3,)}
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "zero.pth")
    network, path = load({"zero": tmp_path / "zero.pth"})
    every = np.random.default_rng(0).permutation(np.arange(np.iinfo(dtype).max + 1)).astype(dtype)
    image = np.repeat(every.reshape(-1, 64, 1), 3, axis=2)
    assert np.array_equal(cpu(network, path).render(image, (1.0,)), image)


def test_rounding_is_to_nearest_and_clamps():
    def shift(by):
        module = nn.Conv2d(3, 3, 1)
        module.weight.data, module.bias.data = torch.eye(3)[:, :, None, None], torch.full((3,), by / 255)
        return module

    path = WeightPath({"low": shift(0.4).state_dict(), "high": shift(0.6).state_dict(), "out": shift(300).state_dict()})
    render = cpu(Network("shift", shift(0)), path).render
    image = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    assert np.array_equal(render(image, (1.0, 0.0, 0.0)), image)
    assert np.array_equal(render(image, (0.0, 1.0, 0.0)), np.minimum(image.astype(int) + 1, 255))
    assert (render(image, (0.0, 0.0, 1.0)) == 255).all()


def test_images_that_are_read_only_or_flipped_are_rendered():
    [image] = pictures(1)
    engine = cpu(*toy())
    expected = engine.render(np.ascontiguousarray(image[::-1]), (0.5, 0.5))
    lent = np.frombuffer(np.ascontiguousarray(image[::-1]).tobytes(), np.uint8).reshape(image.shape)
    before = image.copy()
    assert np.array_equal(engine.render(image[::-1], (0.5, 0.5)), expected)
    assert np.array_equal(engine.render(lent, (0.5, 0.5)), expected)
    assert np.array_equal(image, before)


# --- the order and the weights


def test_batches_come_back_in_order_with_their_frames_and_are_read_no_earlier_than_needed():
    read = []

    def source():
        for batch in batches(pictures(6), [(1.0, 0.0)] * 6, 2):
            read.append(batch)
            yield batch

    stream = cpu(*toy())(source())
    assert read == []
    for count, (batch, images) in enumerate(stream, 1):
        assert len(read) == count
        assert batch is read[-1]
        assert len(images) == 2


def test_weights_are_written_when_alpha_changes_and_only_then():
    engine = cpu(*toy())
    assert engine.weight_writes == 0
    alphas = [(1.0, 0.0)] * 3 + [(0.5, 0.5)] * 2 + [(1.0, 0.0)] + [(0.0, 1.0)] * 2
    results = flat(engine(batches(pictures(8), alphas, 1)))
    assert engine.weight_writes == 4
    assert len(flat(engine(batches(pictures(8), [(0.0, 1.0)] * 8, 3)))) == 8
    assert engine.weight_writes == 4
    expected = alone(*toy(), batches(pictures(8), alphas, 1))
    assert all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))


@pytest.mark.parametrize("alphas", NEIGHBORS)
def test_weights_are_written_when_any_coefficient_changes(alphas):
    engine, jobs = cpu(*toy(3)), batches(pictures(2) * 3, alphas * 3, 1)
    expected = alone(*toy(3), jobs)
    assert all(np.array_equal(a, b) for a, b in zip(flat(engine(jobs)), expected, strict=True))
    assert engine.weight_writes == 6


@pytest.mark.parametrize("threads", [1, 3])
def test_weights_that_were_measured_are_forgotten(monkeypatch, threads):
    """The path changes after measuring at its last endpoint: only weights that are written again show that."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    network, path = toy()
    engine, jobs = cpu(network, path, backend="torch"), batches(pictures(6), [(0.0, 1.0)] * 6, 1)
    engine.autotune(9, 13, 6)
    engine.seconds_per_frame(pictures(1)[0])
    measured = engine.weight_writes
    assert measured > 0
    path.stack[1] *= 2
    results = flat(engine(jobs))
    assert measured < engine.weight_writes <= measured + threads
    assert all(np.array_equal(a, b) for a, b in zip(results, alone(network, path, jobs), strict=True))


def test_in_parallel_weights_are_written_once_per_change_and_worker_at_most(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    alphas = [(1.0, 0.0)] * 6 + [(0.5, 0.5)] * 6
    engine, jobs = cpu(*toy()), batches(pictures(12), alphas, 1)
    engine.autotune(9, 13, 12)
    assert engine.workers == 3
    before = engine.weight_writes
    results = flat(engine(jobs))
    assert 2 <= engine.weight_writes - before <= 2 * 3
    assert all(np.array_equal(a, b) for a, b in zip(results, alone(*toy(), jobs), strict=True))


def test_a_single_image_is_rendered_on_the_thread_that_calls(monkeypatch):
    names = set()

    class Noting(Toy):
        def forward(self, x):
            names.add(threading.current_thread().name)
            return super().forward(x)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    engine = cpu(*toy(module=Noting))
    engine.autotune(9, 13, 12)
    assert engine.workers == 3
    names.clear()
    engine.render(pictures(1)[0], (0.5, 0.5))
    assert names == {threading.current_thread().name}


def test_the_network_given_stays_as_it_was():
    network, path = toy()
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    cpu(network, path).render(pictures(1)[0], (0.0, 1.0))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.module.state_dict().items())


# --- what goes wrong


def test_bad_options_say_what_is_expected(monkeypatch):
    with pytest.raises(UsageError, match="dtype='half': expected auto, fp32, bf16, fp16"):
        cpu(*toy(), dtype="half")
    with pytest.raises(UsageError, match="threads=0: expected 1 or more"):
        cpu(*toy(), threads=0)
    for name in ("gpu", "cuda:", "cuda:x", "cpu:0", "auto:1", "mps"):
        with pytest.raises(UsageError, match=f"device={name!r}: expected auto, cpu, cuda or cuda:N"):
            Engine(*toy(), device=name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(
            UsageError, match=rf"device={name!r}: PyTorch \S+ \(built .+\) finds no GPU; use device='cpu'"
        ):
            Engine(*toy(), device=name)
    assert str(Engine(*toy(), device="auto", dtype="fp32").device) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="device='cuda:2': the last GPU here is cuda:1"):
        Engine(*toy(), device="cuda:2")


def test_threads_are_set():
    before = torch.get_num_threads()
    try:
        cpu(*toy(), threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_every_job_has_all_threads_whatever_ran_before_and_on_which_thread():
    seen = []

    class Counting(Toy):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return super().forward(x)

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for count, workers in ((12, 4), (2, 2), (1, 1)):
            engine = cpu(Network("counting", Counting(), multiple=4, fp32_input=True), toy()[1], backend="torch")
            engine.autotune(9, 13, count)
            assert engine.workers == workers
            seen.clear()
            with ThreadPoolExecutor(1) as fresh:
                jobs = batches(pictures(count), [(1.0, 0.0)] * count, 1)
                fresh.submit(lambda engine=engine, jobs=jobs: list(engine(jobs))).result()
            assert set(seen) == {4 // workers}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_output_that_is_not_finite_names_the_frame(value):
    class Broken(Toy):
        def forward(self, x):
            y = super().forward(x)
            y[..., 3, 2] = torch.where(x[..., 0, 0] > 0.5, value, y[..., 3, 2])
            return y

    _, path = toy()
    engine = cpu(Network("broken", Broken(), multiple=4), path)
    images = [np.zeros((8, 8, 3), np.uint8)] * 3 + [np.full((8, 8, 3), 255, np.uint8)]
    with pytest.raises(ModelError) as error:
        flat(engine(batches(images, [(0.5, 0.5)] * 4, 2)))
    assert str(error.value) == (
        "frame 3, alpha (0.5, 0.5): the network's output is not finite (NaN or Inf), in fp32 too; the weights "
        "overflow there"
    )
    assert engine.fp32_frames == []


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("x"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: ")]
)
def test_no_memory_says_what_to_do(error):
    class Hungry(Toy):
        def forward(self, _):
            raise error

    engine = cpu(Network("hungry", Hungry()), toy()[1])
    with pytest.raises(
        RenderError, match="frame 0: out of memory on cpu for 1 x 13x9; use a smaller width, such as width=6"
    ):
        flat(engine(batches(pictures(2), [(1.0, 0.0)] * 2, 2)))
    with (
        pytest.raises(RenderError, match="frame 0: out of memory on cuda:0 for 2 x 13x9; use batch=1"),
        render_errors(batches(pictures(2), [(1.0, 0.0)] * 2, 2)[0], "cuda:0"),
    ):
        raise error


def test_a_network_with_output_of_another_size_is_refused():
    engine = cpu(Network("toy", Toy(), scale=2), toy()[1])
    with pytest.raises(ModelError, match=r"toy: the output is \[1, 3, 8, 8\], expected \[1, 3, 16, 16\]"):
        engine.render(np.zeros((8, 8, 3), np.uint8), (1.0, 0.0))


# --- third-party weights


@needs_models
def test_a_x4_transition_renders():
    paths = {"denoised": MODELS / "realesr_general_x4v3.pth", "noisy": MODELS / "realesr_general_wdn_x4v3.pth"}
    engine = cpu(*load(paths))
    [small] = pictures(1, 6, 5)
    image = np.kron(small, np.ones((4, 4, 1), np.uint8))
    ends = [engine.render(image, alpha).astype(int) for alpha in ((1.0, 0.0), (0.0, 1.0))]
    middle = engine.render(image, (0.5, 0.5)).astype(int)
    assert middle.shape == (96, 80, 3)
    assert np.abs(ends[0] - ends[1]).mean() > 0.5
    assert np.abs(middle - (ends[0] + ends[1]) / 2).mean() < 0.6 * np.abs(ends[0] - ends[1]).mean()
    big = np.kron(image, np.ones((4, 4, 1), np.uint8)).astype(int)
    assert np.abs(middle - big).mean() < 25


@needs_models
@pytest.mark.parametrize(("name", "channels"), [("dncnn_color_sigma15", 3), ("dncnn_gray_sigma15", 1)])
def test_denoisers_denoise_color_or_luma(name, channels):
    engine = cpu(*load({"a": MODELS / f"{name}.pth"}))
    clean = np.full((24, 31, 3), (180, 90, 60), np.uint8)
    noise = np.random.default_rng(0).normal(0, 15, (24, 31, channels))
    noisy = (clean + noise).round().clip(0, 255).astype(np.uint8)
    error = np.abs(engine.render(noisy, (1.0,)).astype(int) - clean).mean()
    assert error < 0.4 * np.abs(noisy.astype(int) - clean).mean()
