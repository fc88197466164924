"""Rendering on the CPU: frame by frame, by one worker or by several in parallel."""

from __future__ import annotations

import functools
import math
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing

import torch
from torch import Tensor

from dnirender.engine.executor import Executor, Model, RenderedBatch
from dnirender.engine.memory import render_errors
from dnirender.engine.openvino import OpenVINOModel
from dnirender.engine.parallel import parallel_map
from dnirender.engine.torch_model import as_tensor
from dnirender.frames import Alpha, Batch, Frame, Image
from dnirender.networks.weights import MixedWeights


class CompiledModel:
    """A model that runs `compiled` for pixels of the shape and dtype that it was compiled for, `fallback` for
    others."""

    def __init__(self, compiled: OpenVINOModel, fallback: Model) -> None:
        self._compiled = compiled
        self._fallback = fallback

    @property
    def weights(self) -> tuple[MixedWeights, ...]:
        return (*self._fallback.weights, self._compiled.weights)

    def __call__(self, pixels: Tensor, alpha: Alpha) -> tuple[Tensor, Tensor]:
        if not self._compiled.fits(pixels):
            return self._fallback(pixels, alpha)
        self._compiled.weights.write(alpha)
        return self._compiled(pixels)


class CPUWorker:
    """An executor that renders one frame after the other on the thread that calls it. That is faster than several at
    once, as activations stay in the caches, and the result cannot depend on the batch size."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def weights(self) -> tuple[MixedWeights, ...]:
        return self._model.weights

    def __call__(self, batches: Iterable[Batch]) -> Generator[RenderedBatch]:
        for batch in batches:
            yield _join(batch, [self._render_frame(frame, batch.alpha) for frame in batch.frames])

    def _render_frame(self, frame: Frame, alpha: Alpha) -> tuple[Image, bool]:
        with render_errors(Batch((frame,), alpha), "cpu"):
            pixels, sums = self._model(as_tensor(frame.image)[None], alpha)
        return pixels[0].numpy(), math.isfinite(float(sums))


class CPUExecutor:
    """An executor that shares `threads` threads among its workers: one runs on the calling thread, several each on a
    thread of their own, where they render single frames."""

    def __init__(self, workers: Sequence[Executor], threads: int) -> None:
        self.workers = workers
        self._threads = threads

    @property
    def weights(self) -> tuple[MixedWeights, ...]:
        return tuple(weights for worker in self.workers for weights in worker.weights)

    def __call__(self, batches: Iterable[Batch]) -> Generator[RenderedBatch]:
        if len(self.workers) == 1:
            torch.set_num_threads(self._threads)
            yield from self.workers[0](batches)
            return
        calls = [functools.partial(_render_single, worker) for worker in self.workers]
        with closing(parallel_map(calls, max(1, self._threads // len(calls)), batches)) as results:
            for batch, frames in results:
                yield _join(batch, frames)


def _render_single(worker: Executor, frame: Frame, alpha: Alpha) -> tuple[Image, bool]:
    [(_, (image,), (finite,))] = worker([Batch((frame,), alpha)])
    return image, finite


def _join(batch: Batch, frames: Sequence[tuple[Image, bool]]) -> RenderedBatch:
    return RenderedBatch(batch, tuple(image for image, _ in frames), tuple(finite for _, finite in frames))
