"""CUDA graphs: what a network launches, recorded once and replayed with one call. The only file that records.

A recorded graph reads and writes the same addresses at every replay. The weights of a model never move, so one graph
serves every alpha; the mixture is a graph too, which reads the coefficients from the device.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from dnirender.engine.executor import Model
from dnirender.engine.memory import is_out_of_memory
from dnirender.frames import Alpha
from dnirender.networks.weights import MixedWeights

MAX_GRAPHS = 4  # per model, of as many shapes of pixels: each has memory of its own
Pool = Any  # what torch.cuda.graph_pool_handle returns
Replay = Callable[[], object]
T = TypeVar("T")


RECORDING = threading.Lock()
"""One graph at a time in a process."""


def record(run: Callable[[], Any], device: torch.device, pool: Pool | None = None) -> tuple[Replay, Any]:
    """A function that launches on the current stream all that `run` launches, and the result of `run`, whose tensors
    each replay fills anew. `run` was called before, so that libraries are set up. RuntimeError: it waits for the
    device, or does something else that cannot be recorded."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
    before = torch.cuda.stream(torch.cuda.current_stream(device))  # which torch.cuda.graph does not restore on errors
    with RECORDING, before, torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        result = run()
    return graph.replay, result


def graphed(models: Sequence[Model]) -> list[GraphedModel]:
    """The models with graphs that share memory, as their results are copied out of it: they take turns on a stream."""
    pool = torch.cuda.graph_pool_handle()
    return [GraphedModel(model, pool) for model in models]


class Graphed:
    """A function of a tensor to several, which records a graph for each shape of it.

    The first call of a shape runs without one, which sets up the libraries; the second one is recorded; it and those
    that follow are replayed. What cannot be recorded, and more than MAX_GRAPHS shapes, runs without.
    """

    def __init__(self, run: Callable[[Tensor], tuple[Tensor, ...]], pool: Pool | None = None) -> None:
        self._run, self._pool = run, pool
        self._graphs: dict[tuple[object, ...], tuple[Tensor, Replay, tuple[Tensor, ...]] | None] = {}
        self._seen: set[tuple[object, ...]] = set()

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        shape = (*x.shape, x.dtype)
        try:
            if shape in self._seen and shape not in self._graphs and len(self._graphs) < MAX_GRAPHS:
                self._graphs[shape] = _unless_refused(lambda: self._record(x.clone()))
            self._seen.add(shape)
            graph = self._graphs.get(shape)
            if graph is None:
                return self._run(x)
            target, replay, results = graph
            target.copy_(x)
            replay()
            return tuple(result.clone() for result in results)
        except torch.OutOfMemoryError:
            self._graphs.clear()  # their memory is needed, and smaller pieces have another shape
            raise

    def _record(self, x: Tensor) -> tuple[Tensor, Replay, tuple[Tensor, ...]]:
        return (x, *record(lambda: self._run(x), x.device, self._pool))


class GraphedModel:
    """A `Model` (see executor.py) that is `Graphed`, and its mixture."""

    def __init__(self, model: Model, pool: Pool | None = None) -> None:
        self._model, self._alpha = model, Alpha()
        self._render = Graphed(lambda pixels: self._model(pixels, self._alpha), pool)
        for weights in model.weights:
            weights.mix_in_place = weights.mix_in_place or _unless_refused(lambda weights=weights: _GraphedMix(weights))

    @property
    def weights(self) -> tuple[MixedWeights, ...]:
        return self._model.weights

    def __call__(self, pixels: Tensor, alpha: Alpha) -> tuple[Tensor, Tensor]:
        for weights in self.weights:
            weights.write(alpha)
        self._alpha = alpha
        rendered, sums = self._render(pixels)
        return rendered, sums


def _unless_refused(make: Callable[[], T]) -> T | None:
    """None where it cannot be recorded."""
    try:
        return make()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return None


class _GraphedMix:
    """`WeightPath.mix` into `weights.flat`, for alphas with one coefficient per endpoint and without a repair."""

    @torch.inference_mode()
    def __init__(self, weights: MixedWeights) -> None:
        self._stack, self._flat = weights.path.stack, weights.flat
        self._coefficients = torch.zeros(len(self._stack), device=self._flat.device)
        self._sum = torch.zeros_like(self._stack[0])
        self._run()
        self._replay, _ = record(self._run, self._flat.device)

    def __call__(self, alpha: Alpha) -> None:
        self._coefficients.copy_(torch.tensor(alpha), non_blocking=True)
        self._replay()

    def _run(self) -> None:
        torch.mv(self._stack.T, self._coefficients, out=self._sum)
        self._flat.copy_(self._sum)
