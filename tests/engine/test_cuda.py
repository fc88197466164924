"""Laws of rendering on a GPU: the order of its streams by stand-ins, so that no GPU is needed, and its results by one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from dnirender.engine.cuda import CUDAExecutor, InFlightBatch
from dnirender.engine.engine import Engine
from dnirender.engine.executor import count_weight_writes
from dnirender.engine.torch_model import TorchModel
from support.gpu_stand_in import gpu_stand_in
from support.toys import NEIGHBORS, Toy, alone, batches, close, cpu, flat, pictures, toy

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
ALPHAS = [(1.0, 0.0), (0.5, 0.5), (0.5, 0.5), (1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.0, 1.0)]


@pytest.fixture
def clock(monkeypatch):
    return gpu_stand_in(monkeypatch)[0]


def models(count=2, number=2):
    network, path = toy(count)
    return [TorchModel(network, path, "fp32") for _ in range(number)]


# --- the order of the streams


class Watched:
    """A model that checks, for every operation, that the one it depends on is certain to have happened before."""

    def __init__(self, model, clock, log):
        self.model, self.clock, self.log = model, clock, log
        self.written = self.read = None
        [self.mixed] = model.weights
        write = self.mixed.write

        def watched_write(alpha):
            if alpha != self.mixed.alpha:
                clock.expect(self.read, "weights are written while another batch may still read them")
                self.written = clock.happened("write")
                log.append("write")
            return write(alpha)

        self.mixed.write = watched_write

    @property
    def weights(self):
        return self.model.weights

    def __call__(self, pixels, alpha):
        assert self.mixed.alpha == alpha, "weights are written on the stream that computes"
        self.clock.expect(self.written, "a batch is computed before its weights are written")
        self.clock.expect(self.log.uploaded, "a batch is computed before its pixels are uploaded")
        result = self.model(pixels, alpha)
        self.read = self.log.computed = self.clock.happened("compute")
        return result


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    "alphas", [ALPHAS, [(1.0, 0.0)] * 7, [(1 - t / 6, t / 6) for t in range(7)], *(pair * 4 for pair in NEIGHBORS)]
)
def test_every_stream_waits_for_what_it_reads(clock, monkeypatch, alphas, number):
    log = type("Log", (list,), {"uploaded": None, "computed": None})()
    upload, download, pin = torch.Tensor.to, InFlightBatch.start_download, InFlightBatch.copy_to_pinned

    def watched_upload(tensor, *args, **options):
        if options.get("non_blocking") and tensor.dtype == torch.uint8:  # pixels, not coefficients of a mixture
            log.uploaded = clock.happened("upload")
            log.append("upload")
        return upload(tensor, *args, **options)

    def watched_download(in_flight):
        clock.expect(log.computed, "a batch is downloaded before it is computed")
        in_flight.last_download = clock.happened("download")
        download(in_flight)

    def watched_pin(in_flight, batch):
        assert getattr(in_flight, "last_download", None) in {None, *clock.host}, "buffers are reused while in flight"
        return pin(in_flight, batch)

    monkeypatch.setattr(torch.Tensor, "to", watched_upload)
    monkeypatch.setattr(InFlightBatch, "start_download", watched_download)
    monkeypatch.setattr(InFlightBatch, "copy_to_pinned", watched_pin)
    jobs = batches(pictures(7), alphas, 1)
    execute = CUDAExecutor([Watched(model, clock, log) for model in models(len(alphas[0]), number)], CPU)
    for _ in execute(jobs):
        assert log.computed is not None
    assert log.count("upload") == 7
    assert log.count("write") == count_weight_writes(execute) >= 1


def test_a_result_is_read_only_after_its_download(clock, monkeypatch):
    downloads = []
    download = InFlightBatch.start_download

    def watched_download(in_flight):
        downloads.append(clock.happened("download"))
        download(in_flight)

    monkeypatch.setattr(InFlightBatch, "start_download", watched_download)
    for number, _ in enumerate(CUDAExecutor(models(), CPU)(batches(pictures(5), ALPHAS, 1))):
        assert downloads[number] in clock.host


# --- the images and the weights


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_overlapped_path_is_the_plain_one(size):
    images = pictures(6) + pictures(1, seed=1)
    jobs = batches(images, ALPHAS, size) + batches(pictures(2, 5, 4, np.uint16), [(0.2, 0.8)] * 2, 2)
    plain, overlapped = cpu(*toy()), CUDAExecutor(models(), CPU)
    expected, got = list(plain(jobs)), list(overlapped(jobs))
    assert [batch for batch, _, _ in got] == jobs
    for (_, a), (batch, b, finite) in zip(expected, got, strict=True):
        assert len(a) == len(b)
        assert finite == (True,) * len(batch.frames)
        for one, other in zip(a, b, strict=True):
            close(one, other, 1)
    assert count_weight_writes(overlapped) <= plain.weight_writes
    assert all(weights.weight_writes > 0 for weights in overlapped.weights)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("alphas", NEIGHBORS)
def test_weights_are_written_when_any_coefficient_changes(alphas):
    jobs = batches(pictures(2) * 3, alphas * 3, 1)
    for image, expected in zip(flat(CUDAExecutor(models(3), CPU)(jobs)), alone(*toy(3), jobs), strict=True):
        close(image, expected, 1)


@pytest.mark.usefixtures("clock")
def test_frames_that_are_not_finite_are_marked():
    network, path = toy()
    path.stack[1] *= 1e38
    execute = CUDAExecutor([TorchModel(network, path, "fp32") for _ in range(2)], CPU)
    jobs = batches(pictures(3), [(1.0, 0.0), (0.0, 1.0), (1.0, 0.0)], 1)
    assert [finite for _, _, finite in execute(jobs)] == [(True,), (False,), (True,)]


@pytest.mark.usefixtures("clock")
def test_two_batches_are_in_flight_and_stopping_early_is_clean():
    read = []
    jobs = (read.append(batch) or batch for batch in batches(pictures(6), [(1.0, 0.0)] * 6, 1))
    stream = CUDAExecutor(models(), CPU)(jobs)
    next(stream)
    assert len(read) == 2
    next(stream)
    assert len(read) == 3
    stream.close()


# --- on a GPU


@needs_cuda
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [1, 4])
def test_cuda_is_close_to_the_cpu(dtype, size):
    images = pictures(12, 33, 47, dtype)
    alphas = [(1 - t, t) for t in np.linspace(0, 1, 12).tolist()]
    jobs = batches(images, alphas, size)
    expected, engine = flat(cpu(*toy())(jobs)), Engine(*toy(), device="cuda", dtype="fp32")
    for one, other in zip(expected, flat(engine(jobs)), strict=True):
        close(one, other, 1 if dtype == np.uint8 else 257)
    assert engine.weight_writes == len(jobs)


@needs_cuda
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_low_precision_on_cuda_is_close_on_average(dtype):
    images, alphas = pictures(6, 64, 64), [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)] * 2
    jobs = batches(images, alphas, 1)
    expected = flat(cpu(*toy())(jobs))
    got = flat(Engine(*toy(), device="cuda", dtype=dtype)(jobs))
    for one, other in zip(expected, got, strict=True):
        assert np.abs(one.astype(int) - other).mean() <= 0.5


@needs_cuda
def test_many_batches_on_cuda_never_mix():
    alphas = [(1 - t, t) for t in np.random.default_rng(0).random(60).tolist()]
    jobs = batches(pictures(60, 40, 40), alphas, 1)
    first, second = (flat(Engine(*toy(), device="cuda", dtype="fp32")(jobs)) for _ in range(2))
    alone = Engine(*toy(), device="cuda", dtype="fp32")
    for one, other, job in zip(first, second, jobs, strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, alone.render(job.frames[0].image, job.alpha))


@needs_cuda
@pytest.mark.parametrize("size", [(1, 1), (5, 4), (31, 67)])
@pytest.mark.parametrize("tile", [None, 32])
def test_odd_sizes_and_tiles_on_cuda(size, tile):
    alphas = [(1 - t, t) for t in np.linspace(0, 1, 6).tolist()]
    jobs = batches(pictures(6, *size), alphas, 1)
    engine = Engine(*toy(), device="cuda", dtype="fp32", tile=tile)
    engine.autotune(*size, 6)
    assert (engine.tile is None) == (tile is None or tile >= max(size))
    for one, other in zip(flat(cpu(*toy())(jobs)), flat(engine(jobs)), strict=True):
        close(one, other, 1)


class Waiting(Toy):
    """Waits for the device, which cannot be recorded."""

    def forward(self, x):
        return super().forward(x) + float(x.mean().item() < -1)


@needs_cuda
def test_networks_that_cannot_be_recorded_are_rendered_on_cuda():
    alphas = [(1 - t, t) for t in np.linspace(0, 1, 8).tolist()]
    jobs = batches(pictures(8), alphas, 1)
    engine = Engine(*toy(module=Waiting), device="cuda", dtype="fp32")
    for one, other in zip(flat(cpu(*toy())(jobs)), flat(engine(jobs)), strict=True):
        close(one, other, 1)


@needs_cuda
def test_without_memory_on_cuda_batches_then_tiles_shrink_and_no_frame_is_lost():
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    images, alphas = pictures(8, 256, 256), [(1 - t, t) for t in np.linspace(0, 1, 2).tolist()] * 4
    jobs = batches(images, alphas, 4)
    expected = flat(cpu(*toy())(jobs))
    engine = Engine(*toy(), device="cuda", dtype="fp32")
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (12 << 20)) / total)
    try:
        got = flat(engine(jobs))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert engine.planner.max_frames is not None or engine.tile is not None
    for one, other in zip(expected, got, strict=True):
        close(one, other, 1)


@needs_cuda
def test_two_threads_on_one_gpu_do_not_disturb_each_other():
    alphas = [(1 - t, t) for t in np.random.default_rng(0).random(30).tolist()]
    jobs = batches(pictures(30, 40, 40), alphas, 1)
    engines = [Engine(*toy(), device="cuda", dtype="fp32") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda engine: flat(engine(jobs)), engines)
    for one, other, expected in zip(first, second, flat(cpu(*toy())(jobs)), strict=True):
        assert np.array_equal(one, other)
        close(one, expected, 1)
