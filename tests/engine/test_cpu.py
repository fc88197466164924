"""Laws of rendering on the CPU: one worker equals several, and OpenVINO equals PyTorch where it is used at all."""

import numpy as np
import pytest
import torch

from dnirender.engine.cpu import CompiledModel, CPUExecutor, CPUWorker
from dnirender.engine.executor import count_weight_writes, forget_weights
from dnirender.engine.torch_model import TorchModel
from support.toys import NEIGHBORS, alone, batches, flat, pictures, toy


def executor(workers, count=2):
    network, path = toy(count)
    models = [TorchModel(network, path, "fp32") for _ in range(workers)]
    return CPUExecutor([CPUWorker(model) for model in models], 1), models


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("size", [1, 2])
def test_workers_render_what_one_frame_alone_becomes(workers, size):
    alphas = [(1.0, 0.0)] * 3 + [(0.5, 0.5)] * 2 + [(1.0, 0.0)] + [(0.0, 1.0)] * 2
    jobs = batches(pictures(8), alphas, size)
    execute, _ = executor(workers)
    results = list(execute(jobs))
    assert [batch for batch, _, _ in results] == jobs
    assert all(finite == (True,) * len(batch.frames) for batch, _, finite in results)
    for image, expected in zip(flat(results), alone(*toy(), jobs), strict=True):
        assert np.array_equal(image, expected)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("alphas", NEIGHBORS)
def test_weights_are_written_when_any_coefficient_changes(workers, alphas):
    jobs = batches(pictures(2) * 3, alphas * 3, 1)
    execute, _ = executor(workers, 3)
    for image, expected in zip(flat(execute(jobs)), alone(*toy(3), jobs), strict=True):
        assert np.array_equal(image, expected)
    if workers == 1:
        assert count_weight_writes(execute) == 6


@pytest.mark.parametrize("workers", [1, 3])
def test_forgotten_weights_are_written_again(workers):
    jobs = batches(pictures(12), [(0.5, 0.5)] * 12, 1)
    execute, models = executor(workers)
    expected = flat(execute(jobs))
    writes = count_weight_writes(execute)
    assert 1 <= writes <= workers
    for model in models:
        model.weights[0].flat.zero_()
    forget_weights(execute)
    assert all(np.array_equal(a, b) for a, b in zip(expected, flat(execute(jobs)), strict=True))
    assert writes < count_weight_writes(execute) <= writes + workers


@pytest.mark.parametrize("workers", [1, 2])
def test_a_frame_that_is_not_finite_is_marked(workers):
    network, path = toy()
    path.stack[1] *= 1e38
    models = [TorchModel(network, path, "fp32") for _ in range(workers)]
    execute = CPUExecutor([CPUWorker(model) for model in models], 1)
    jobs = batches(pictures(3), [(1.0, 0.0), (0.0, 1.0), (1.0, 0.0)], 1)
    assert [finite for _, _, finite in execute(jobs)] == [(True,), (False,), (True,)]


def test_batches_are_read_no_earlier_than_needed():
    read = []
    execute, _ = executor(1)
    stream = execute(read.append(job) or job for job in batches(pictures(4), [(1.0, 0.0)] * 4, 1))
    assert read == []
    for count, _ in enumerate(stream, 1):
        assert len(read) == count


class Compiled:
    """In place of OpenVINO: renders black."""

    def __init__(self, path, shape):
        self.shape, self.weights = shape, TorchModel(toy()[0], path, "fp32").weights[0]

    def fits(self, pixels):
        return tuple(pixels.shape) == self.shape

    def __call__(self, pixels):
        return torch.zeros_like(pixels), torch.zeros(1)


def test_a_compiled_model_renders_its_own_shape_and_writes_only_the_weights_it_uses():
    network, path = toy()
    model = CompiledModel(Compiled(path, (1, 9, 13, 3)), TorchModel(network, path, "fp32"))
    fallback, compiled = model.weights
    assert not model(torch.ones((1, 9, 13, 3), dtype=torch.uint8), (0.5, 0.5))[0].any()
    assert (fallback.weight_writes, compiled.weight_writes) == (0, 1)
    assert model(torch.full((1, 8, 12, 3), 200, dtype=torch.uint8), (0.5, 0.5))[0].any()
    assert (fallback.weight_writes, compiled.weight_writes) == (1, 1)
