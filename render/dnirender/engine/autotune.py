"""Choosing the fastest configuration for a job by measuring: tiles, workers, and PyTorch or OpenVINO."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dnirender.engine import openvino
from dnirender.engine.calibration import SIDE, best_time, calibration_image
from dnirender.engine.configuration import MAX_ERROR, EngineConfiguration, endpoint_alphas
from dnirender.engine.cpu import CompiledModel
from dnirender.engine.executor import Executor, Model, forget_weights
from dnirender.engine.memory import MemoryPlanner, render_errors
from dnirender.engine.torch_model import DTYPES, TorchModel
from dnirender.errors import ModelError, UsageError
from dnirender.frames import Alpha, Batch, Frame, Image
from dnirender.networks.network import Network

BACKENDS = ("auto", "torch", "openvino")
MAX_WORKERS = 4  # frames in parallel on the CPU: more would wait for memory
MIN_FRAMES_TO_TUNE = 32  # measuring takes the time of four or five frames, and a second of compiling
MIN_SECONDS_TO_TUNE = 5.0  # that a job takes in PyTorch
MAX_PLAUSIBLE_ERROR = 10 * MAX_ERROR  # rounding does not explain a larger one

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


def check_backend(requested: str, network: Network, configuration: EngineConfiguration) -> str:
    """Returns `requested`; UsageError where it is unknown, not installed, or does not support the network."""
    if requested not in BACKENDS:
        raise UsageError(f"backend={requested!r}: expected {', '.join(BACKENDS)}")
    if requested == "openvino" and not _can_compile(network, configuration):
        if not openvino.is_available():
            raise UsageError("backend='openvino': it is not installed; pip install 'dnirender[openvino]'")
        raise UsageError(
            "backend='openvino': expected a convolutional network in fp32 or bf16 on the CPU, "
            f"got {network.architecture} in {configuration.dtype} on {configuration.device}; use backend='torch'"
        )
    return requested


def _can_compile(network: Network, configuration: EngineConfiguration) -> bool:
    supported = network.channels_last and configuration.dtype in openvino.PRECISIONS
    return configuration.device.type == "cpu" and supported and openvino.is_available()


def autotune(
    base: EngineConfiguration,
    requested_backend: str,
    workload: Workload,
    models: Sequence[TorchModel],
    planner: MemoryPlanner,
    build_executor: BuildExecutor,
) -> tuple[EngineConfiguration, Executor]:
    """The fastest configuration for `workload` that keeps the device, dtype and threads of `base`, and the executor
    that has it. `models` are those of `base`; further workers get models of their own.

    ModelError: OpenVINO was requested and cannot run the network, or renders it incorrectly. RenderError: no tile fits
    into memory.
    """
    max_workers = max(1, min(base.threads, MAX_WORKERS, workload.count)) if base.device.type == "cpu" else 1
    workers = planner.plan(workload.height, workload.width, DTYPES[base.dtype], base.device, max_workers)
    planned = replace(base, workers=workers, tile=planner.tile)
    models = [*models, *(models[0].clone() for _ in range(workers - 1))]
    configuration, executor = _choose_backend(planned, requested_backend, workload, models, planner, build_executor)
    reasons = [configuration.reason]
    if workers > 1:
        reasons.append(f"{workers} frames in parallel")
    if planned.tile:
        reasons.append(f"tiles of {planned.tile[1]}x{planned.tile[0]}")
    forget_weights(executor)
    return replace(configuration, reason="; ".join(reasons)), executor


def _choose_backend(
    planned: EngineConfiguration,
    requested: str,
    workload: Workload,
    models: Sequence[TorchModel],
    planner: MemoryPlanner,
    build_executor: BuildExecutor,
) -> tuple[EngineConfiguration, Executor]:
    """PyTorch, or OpenVINO where it is requested, or is accurate and finishes the workload sooner; with the reason."""
    in_pytorch = build_executor(models)
    long_enough = workload.count >= MIN_FRAMES_TO_TUNE and _can_compile(models[0].network, planned)
    if requested == "torch" or (requested == "auto" and not long_enough):
        return planned, in_pytorch
    image = workload.test_image()
    with render_errors(Batch((Frame(0, 0, image),), ()), "cpu"):
        alpha, count = endpoint_alphas(models[0].path)[-1], 2 * planned.workers
        seconds = seconds_per_frame(in_pytorch, image, alpha, count)
        if requested == "auto" and workload.count * seconds < MIN_SECONDS_TO_TUNE:
            return planned, in_pytorch
        architecture = models[0].network.architecture
        try:
            error, compiled = _compile(planned, workload, models, planner)
            in_openvino = build_executor(compiled)
            compiled_seconds = seconds_per_frame(in_openvino, image, alpha, count)
        except Exception as failure:  # what OpenVINO raises for a network it cannot compile is not documented
            if requested == "openvino":
                raise ModelError(f"{architecture}: OpenVINO cannot run it: {failure}") from failure
            return replace(planned, reason=f"{planned.reason}; OpenVINO cannot run it"), in_pytorch
        if requested == "openvino" and error > MAX_PLAUSIBLE_ERROR:
            raise ModelError(
                f"{architecture}: OpenVINO renders it incorrectly, with a mean error of {error * 255:.3f} of 255; "
                "use backend='torch'"
            )
        faster = compiled_seconds < seconds and error <= MAX_ERROR
        backend, executor = ("openvino", in_openvino) if requested == "openvino" or faster else ("torch", in_pytorch)
        reason = (
            f"{planned.reason}; {backend}: OpenVINO takes {compiled_seconds * 1e3:.0f} ms per frame with a mean error "
            f"of {error * 255:.3f} of 255, PyTorch {seconds * 1e3:.0f} ms"
        )
        return replace(planned, backend=backend, reason=reason), executor


def _compile(
    planned: EngineConfiguration, workload: Workload, models: Sequence[TorchModel], planner: MemoryPlanner
) -> tuple[float, list[CompiledModel]]:
    """The largest mean error at an endpoint, in 0..1, and the models compiled for the tiles of the workload."""
    first = models[0]
    error = _compiled_error(first, calibration_image(SIDE, SIDE))
    tile = calibration_image(*planner.tile_shape(workload.height, workload.width), workload.kind)
    compiled = openvino.OpenVINOModel(
        first.network, first.path, tile, first.dtype, threads=planned.threads, workers=planned.workers
    )
    error = max(error, _mean_abs_error(compiled, first, tile, endpoint_alphas(first.path)[-1]))
    all_compiled = [compiled, *(compiled.clone() for _ in models[1:])]
    return error, [CompiledModel(*pair) for pair in zip(all_compiled, models, strict=True)]


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


def seconds_per_frame(executor: Executor, image: Image, alpha: Alpha, count: int) -> float:
    """Seconds per frame when `count` frames like `image` are rendered under `alpha`."""
    batches = [Batch((Frame(number, 0, image),), alpha) for number in range(count)]
    seconds = best_time(lambda: deque(executor(batches), 0)) / count
    forget_weights(executor)
    return seconds
