"""PyTorch and OpenVINO tried on frames like those of a job, and compared."""

from __future__ import annotations

import functools
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dnirender.engine import openvino
from dnirender.engine.calibration import GRAPH_SECONDS, SIDE, best_time, calibration_image
from dnirender.engine.configuration import MAX_ERROR, EngineConfiguration, endpoint_alphas
from dnirender.engine.cpu import CompiledModel
from dnirender.engine.device import device_name, one_thread
from dnirender.engine.executor import Executor, Model, forget_weights
from dnirender.engine.measurements import Measured, MeasurementCache
from dnirender.engine.memory import MemoryPlanner, is_out_of_memory
from dnirender.engine.openvino import OpenVINOModel
from dnirender.engine.torch_model import TorchModel
from dnirender.errors import ModelError
from dnirender.frames import Alpha, Batch, Frame, Image

MIN_SECONDS_TO_TUNE = 4.0  # that a job takes in PyTorch: compiling and measuring take up to two
MAX_SECONDS_TO_TUNE = 1.0  # of rendering test images in alternation
ROUNDS_TO_TUNE = 3  # at most
FRAMES_TO_TUNE = 8  # that are rendered to measure, for each worker, at least; of a large picture each takes a minute
MAX_PLAUSIBLE_ERROR = 10 * MAX_ERROR  # rounding does not explain a larger one

Enter = Callable[[str], None]
"""Is told the name of a phase that begins."""
BuildExecutor = Callable[[Sequence[Model]], Executor]
"""Makes an executor of models that run in parallel."""


@dataclass(frozen=True)
class Workload:
    """`count` frames [height, width, 3] of dtype `kind`."""

    height: int
    width: int
    kind: type[np.unsignedinteger[Any]]
    count: int

    def covers(self, other: Workload) -> bool:
        """Whether what is chosen for this workload suits the other one, too."""
        return replace(other, count=self.count) == self and other.count <= self.count

    def test_image(self) -> Image:
        return calibration_image(self.height, self.width, self.kind)

    def empty_image(self) -> Image:
        """For its size and dtype."""
        return np.zeros((self.height, self.width, 3), self.kind)


class BackendTrial:
    """PyTorch and OpenVINO tried on one workload."""

    def __init__(
        self,
        planned: EngineConfiguration,
        workload: Workload,
        models: Sequence[TorchModel],
        planner: MemoryPlanner,
        build_executor: BuildExecutor,
        in_pytorch: Executor,
        cache: MeasurementCache,
        enter: Enter,
    ) -> None:
        self._planned, self._workload, self._models = planned, workload, models
        self._planner, self._build, self._in_pytorch = planner, build_executor, in_pytorch
        self._cache, self._enter = cache, enter
        self._alpha = endpoint_alphas(models[0].path)[-1]
        self._details = details_of(planned, workload)
        self._known = cache.measured(self._details)
        self._compiled: OpenVINOModel | None = None

    def requested(self) -> tuple[EngineConfiguration, Executor]:
        """OpenVINO; ModelError where it cannot run the network, or renders it incorrectly."""
        architecture = self._models[0].network.architecture
        try:
            executor = self._in_openvino()
            if self._known.error is None:
                self._learn(error=self._error())
        except Exception as failure:  # what OpenVINO raises for a network it cannot compile is not documented
            raise ModelError(f"{architecture}: OpenVINO cannot run it: {failure}") from failure
        error = self._known.error or 0.0
        if error > MAX_PLAUSIBLE_ERROR:
            raise ModelError(
                f"{architecture}: OpenVINO renders it incorrectly, with a mean error of {error * 255:.3f} of 255; "
                "use backend='torch'"
            )
        reason = f"{self._planned.reason}; openvino, as requested, with a mean error of {error * 255:.3f} of 255"
        pace = self._known.openvino
        return replace(self._planned, backend="openvino", reason=reason, seconds_per_frame=pace), executor

    def faster(self) -> tuple[EngineConfiguration, Executor]:
        """What finishes the workload sooner, and OpenVINO only where it is accurate."""
        try:
            if self._known.openvino is None and not self._known.failed:
                self._measure()
            if is_openvino_better(self._known, self._workload.count, self._compiled is not None):
                executor = self._in_openvino()
                return self._result("openvino"), executor
        except Exception as failure:  # noqa: BLE001 - what OpenVINO raises is not documented
            if is_out_of_memory(failure):
                self._known = replace(self._known, failed=True)
            else:
                self._learn(failed=True)
        return self._result("torch"), self._in_pytorch

    def _result(self, backend: str) -> EngineConfiguration:
        known, reason = self._known, self._planned.reason
        if known.failed:
            reason += "; OpenVINO cannot run it"
        elif known.openvino is not None and known.torch is not None:
            error = "" if known.error is None else f" with a mean error of {known.error * 255:.3f} of 255"
            reason += (
                f"; {backend}: OpenVINO takes {known.openvino * 1e3:.0f} ms per frame{error}, "
                f"PyTorch {known.torch * 1e3:.0f} ms"
            )
        pace = known.openvino if backend == "openvino" else known.torch
        return replace(self._planned, backend=backend, reason=reason, seconds_per_frame=pace)

    def _measure(self) -> None:
        """Measures as much as can pay off: nothing for a few frames, and a few frames where PyTorch is done soon."""
        count, per_round = self._workload.count, 2 * self._planned.workers
        if is_short_for(self._planned.workers, self._workload):
            return
        seconds = self._known.torch
        if seconds is None:
            # The first frames take longer than others: PyTorch prepares its kernels.
            seconds = self._time(self._in_pytorch, self._planned.workers)
            self._learn(torch=seconds)
            if seconds * count >= MIN_SECONDS_TO_TUNE:
                seconds = self._time(self._in_pytorch, per_round)
                self._learn(torch=seconds)
        if seconds * count < MIN_SECONDS_TO_TUNE:
            return
        in_openvino = self._in_openvino()
        self._enter("choosing")
        self._time(in_openvino, self._planned.workers)
        # In alternation, as what else the machine does slows both down.
        paces: dict[str, float] = {"torch": seconds, "openvino": math.inf}
        spent = 0.0
        for _ in range(ROUNDS_TO_TUNE):
            for name, executor in ("openvino", in_openvino), ("torch", self._in_pytorch):
                pace = self._time(executor, per_round)
                spent += pace * per_round
                paces[name] = min(paces[name], pace)
            if spent > MAX_SECONDS_TO_TUNE:
                break
        self._learn(**paces, error=self._error() if paces["openvino"] < paces["torch"] else None)

    @functools.cached_property
    def _image(self) -> Image:
        return self._workload.test_image()

    def _time(self, executor: Executor, count: int) -> float:
        return time_frames(executor, self._image, self._alpha, count)

    def _learn(self, **changes: Any) -> None:
        self._known = replace(self._known, **changes)
        self._cache.remember(self._known, self._details)

    def _in_openvino(self) -> Executor:
        """Compiles the network, or loads what was compiled before."""
        self._enter("compiling")
        first, planned = self._models[0], self._planned
        began = time.perf_counter()
        if self._compiled is None:
            shape = self._planner.tile_shape(self._workload.height, self._workload.width)
            tile = np.zeros((*shape, 3), self._workload.kind)
            with one_thread():
                self._compiled = openvino.OpenVINOModel(
                    first.network,
                    first.path,
                    tile,
                    first.dtype,
                    threads=planned.threads,
                    workers=planned.workers,
                    graph=self._cache.graph(self._details),
                )
            if not self._compiled.was_imported:
                self._learn(compiling=time.perf_counter() - began)
                self._cache.remember_graph(self._compiled.export(), self._details)
        compiled = [self._compiled, *(self._compiled.clone() for _ in self._models[1:])]
        return self._build([CompiledModel(*pair) for pair in zip(compiled, self._models, strict=True)])

    def _error(self) -> float:
        """The largest mean error at an endpoint, in 0..1, of the network compiled for the test image, and of the one
        compiled for this workload."""
        first, compiled = self._models[0], self._compiled
        assert compiled is not None
        tile = calibration_image(
            *self._planner.tile_shape(self._workload.height, self._workload.width), self._workload.kind
        )
        with one_thread():
            error = _compiled_error(first, calibration_image(SIDE, SIDE))
            return max(error, _mean_abs_error(compiled, first, tile, self._alpha))


def details_of(configuration: EngineConfiguration, workload: Workload) -> dict[str, Any]:
    """What measurements of backends depend on, beside the network."""
    return {
        "device": device_name(configuration.device),
        "dtype": configuration.dtype,
        "threads": configuration.threads,
        "workers": configuration.workers,
        "tile": configuration.tile,
        "height": workload.height,
        "width": workload.width,
        "depth": np.iinfo(workload.kind).bits,
    }


def is_short_for(workers: int, workload: Workload) -> bool:
    """Whether measuring renders more frames than the workload has."""
    return workload.count < FRAMES_TO_TUNE * workers


def is_openvino_better(known: Measured, count: int, is_compiled: bool = False) -> bool:
    """Whether `count` frames are done sooner with it than in PyTorch, and right."""
    if known.openvino is None or known.torch is None or known.error is None or known.failed:
        return False
    start = 0.0 if is_compiled else GRAPH_SECONDS
    return known.error <= MAX_ERROR and start + count * known.openvino < count * known.torch


def _compiled_error(model: TorchModel, image: Image) -> float:
    """The largest mean difference between OpenVINO and PyTorch in fp32 at an endpoint, in 0..1."""
    network, path = model.network, model.path
    compiled = openvino.OpenVINOModel(network, path, image, model.dtype, threads=1)
    exact = TorchModel(network, path, "fp32")
    return max(_mean_abs_error(compiled, exact, image, alpha) for alpha in endpoint_alphas(path))


def _mean_abs_error(compiled: openvino.OpenVINOModel, expected: TorchModel, image: Image, alpha: Alpha) -> float:
    """The mean difference between the images that two models render, in 0..1; Inf where `compiled` is not finite."""
    pixels = torch.from_numpy(image)[None]
    compiled.weights.write(alpha)
    rendered, total = compiled(pixels)
    difference = (rendered.float() - expected(pixels, alpha)[0].float()).abs().mean() / np.iinfo(image.dtype).max
    return float(difference) if bool(total.isfinite().all()) else math.inf


def time_frames(executor: Executor, image: Image, alpha: Alpha, count: int) -> float:
    """Seconds per frame when `count` frames like `image` are rendered once under `alpha`."""
    batches = [Batch((Frame(number, 0, image),), alpha) for number in range(count)]
    began = time.perf_counter()
    deque(executor(batches), 0)
    seconds = (time.perf_counter() - began) / count
    forget_weights(executor)
    return seconds


def seconds_per_frame(executor: Executor, image: Image, alpha: Alpha, count: int) -> float:
    """The least that `time_frames` finds, after a first call."""
    batches = [Batch((Frame(number, 0, image),), alpha) for number in range(count)]
    seconds = best_time(lambda: deque(executor(batches), 0)) / count
    forget_weights(executor)
    return seconds
