"""Laws of frames that overflow in a small dtype: they are rendered again in fp32, under the alpha of their own frame."""

import numpy as np
import pytest
import torch

from dnirender.engine.executor import RenderedBatch
from dnirender.engine.fp32_retry import Fp32Renderer, Fp32Retry
from dnirender.engine.memory import MemoryPlanner
from dnirender.errors import ModelError
from support.toys import Overflowing, alone, batches, close, cpu, flat, pictures, toy

ALPHAS = [(1.0, 0.0), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.0, 1.0)]
CPU = torch.device("cpu")


class Stub:
    """An executor that renders black; frames with the indices of `overflowing` are not finite."""

    weights = ()

    def __init__(self, overflowing):
        self.overflowing, self.closed = overflowing, False

    def __call__(self, batches):
        try:
            for batch in batches:
                images = tuple(np.zeros_like(frame.image) for frame in batch.frames)
                yield RenderedBatch(batch, images, tuple(f.index not in self.overflowing for f in batch.frames))
        finally:
            self.closed = True


def renderer(path=None):
    network, own_path = toy()
    return Fp32Renderer(network, path or own_path, CPU, MemoryPlanner(network))


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("overflowing", [(), (1, 3), (0, 1, 2, 3, 4)])
def test_frames_that_are_not_finite_are_rendered_in_fp32_under_their_own_alpha(size, overflowing):
    jobs, render_fp32 = batches(pictures(5), ALPHAS, size), renderer()
    results = list(Fp32Retry(Stub(overflowing), render_fp32)(jobs))
    assert [batch for batch, _, _ in results] == jobs
    assert all(all(finite) for _, _, finite in results)
    assert render_fp32.frames == list(overflowing)
    for index, (image, exact) in enumerate(zip(flat(results), alone(*toy(), jobs), strict=True)):
        assert np.array_equal(image, exact) if index in overflowing else not image.any()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_overflows_in_a_small_dtype_is_rendered_in_fp32(workers):
    network, path = toy(module=Overflowing, fp32_input=False)
    images = [image // 2 for image in pictures(5)]
    images[1], images[3] = np.full_like(images[1], 255), np.full_like(images[3], 240)
    jobs = batches(images, ALPHAS, 1)
    engine = cpu(network, path, dtype="bf16", threads=workers)
    engine.autotune(*images[0].shape[:2], len(images))
    assert engine.workers == workers
    rendered, exact = flat(engine(jobs)), alone(network, path, jobs)
    assert sorted(engine.fp32_frames) == [1, 3]
    for number in (1, 3):
        assert np.array_equal(rendered[number], exact[number])
    for number in (0, 2, 4):
        close(rendered[number], exact[number], 3)


@pytest.mark.parametrize("in_fp32", [True, False])
def test_what_is_not_finite_in_fp32_names_the_frame_and_its_alpha(in_fp32):
    _, path = toy()
    path.stack[0] *= 1e38
    retry = Fp32Retry(Stub([2]), None if in_fp32 else renderer(path))
    with pytest.raises(ModelError) as error:
        flat(retry(batches(pictures(5), ALPHAS, 1)))
    assert str(error.value) == (
        "frame 2, alpha (0.5, 0.5): the network's output is not finite (NaN or Inf), in fp32 too; the weights "
        "overflow there"
    )


def test_closing_it_closes_the_executor():
    stub = Stub(())
    retry = Fp32Retry(stub, None)
    stream = retry(batches(pictures(5), ALPHAS, 1))
    next(stream)
    stream.close()
    assert stub.closed


def test_its_weights_are_those_of_the_executor():
    stub = Stub(())
    stub.weights = toy()
    assert Fp32Retry(stub, renderer()).weights is stub.weights
