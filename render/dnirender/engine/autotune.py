"""Choosing the fastest configuration for a job by measuring: tiles, workers, and PyTorch or OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dnirender.engine import openvino
from dnirender.engine.backend_trial import (
    MIN_SECONDS_TO_TUNE,
    BackendTrial,
    BuildExecutor,
    Enter,
    Workload,
    details_of,
    is_openvino_better,
    is_short_for,
)
from dnirender.engine.configuration import EngineConfiguration
from dnirender.engine.device import one_thread
from dnirender.engine.executor import Executor, forget_weights
from dnirender.engine.measurements import MeasurementCache
from dnirender.engine.memory import MemoryPlanner, render_errors
from dnirender.engine.torch_model import DTYPES, TorchModel
from dnirender.errors import UsageError
from dnirender.frames import Batch, Frame
from dnirender.networks.network import Network

BACKENDS = ("auto", "torch", "openvino")
MAX_WORKERS = 4  # frames in parallel on the CPU: more would wait for memory


def check_backend(requested: str, network: Network, configuration: EngineConfiguration) -> str:
    """Returns `requested`; UsageError where it is unknown, not installed, or does not support the network."""
    if requested not in BACKENDS:
        raise UsageError(f"backend={requested!r}: expected {', '.join(BACKENDS)}")
    if requested == "openvino" and not can_compile(network, configuration):
        if not openvino.is_available():
            raise UsageError("backend='openvino': it is not installed; pip install 'dnirender[openvino]'")
        raise UsageError(
            "backend='openvino': expected a convolutional network in fp32 or bf16 on the CPU, "
            f"got {network.architecture} in {configuration.dtype} on {configuration.device}; use backend='torch'"
        )
    return requested


def can_compile(network: Network, configuration: EngineConfiguration) -> bool:
    """Whether OpenVINO may run the network as it is configured."""
    supported = network.channels_last and configuration.dtype in openvino.PRECISIONS
    return configuration.device.type == "cpu" and supported and openvino.is_available()


class Autotuner:
    """Chooses the fastest configuration for a workload that keeps the device, dtype and threads of `base`.

    `models` are those of `base`; further workers get models of their own. What was measured before, by this process or
    an earlier one, is taken from `cache`. `enter` is told the phases "choosing" and "compiling".
    """

    def __init__(
        self,
        base: EngineConfiguration,
        requested_backend: str,
        models: Sequence[TorchModel],
        planner: MemoryPlanner,
        build_executor: BuildExecutor,
        cache: MeasurementCache,
    ) -> None:
        self._base, self._requested = base, requested_backend
        self._first, self._models = models[0], list(models)
        self._planner, self._build, self._cache = planner, build_executor, cache

    def recall(self, workload: Workload) -> EngineConfiguration:
        """The configuration that `choose` would find, as far as that is known without measuring."""
        planned = self._planned(workload)
        if self._requested == "auto" and not self._can_compile(planned):
            return self._described(replace(planned, seconds_per_frame=self._pace(planned, workload)))
        known = self._cache.measured(details_of(planned, workload))
        backend = self._requested
        if backend == "auto":
            backend = "openvino" if is_openvino_better(known, workload.count) else "torch"
        pace = known.openvino if backend == "openvino" else known.torch
        if self._requested == "auto" and known.openvino is None and not known.failed:
            # Both will be measured, unless there are few frames or PyTorch is done soon.
            is_short = is_short_for(planned.workers, workload) or (pace or 0) * workload.count < MIN_SECONDS_TO_TUNE
            pace = pace if is_short else None
        return self._described(replace(planned, backend=backend, seconds_per_frame=pace))

    def choose(self, workload: Workload, enter: Enter) -> tuple[EngineConfiguration, Executor]:
        """The configuration, and the executor that has it.

        ModelError: OpenVINO was requested and cannot run the network, or renders it incorrectly. RenderError: no tile
        fits into memory.
        """
        planned = self._planned(workload)
        models = self._models_of(planned)
        in_pytorch = self._build(models)
        if self._requested == "torch" or (self._requested == "auto" and not self._can_compile(planned)):
            configuration = replace(planned, seconds_per_frame=self._pace(planned, workload))
            executor = in_pytorch
        else:
            trial = BackendTrial(planned, workload, models, self._planner, self._build, in_pytorch, self._cache, enter)
            choose = trial.requested if self._requested == "openvino" else trial.faster
            with render_errors(Batch((Frame(0, 0, workload.empty_image()),), ()), "cpu"):
                configuration, executor = choose()
        forget_weights(executor)
        return self._described(configuration), executor

    def default(self, workload: Workload) -> tuple[EngineConfiguration, Executor]:
        """PyTorch, with as many workers and such tiles as memory allows: what needs no choice. RenderError: no tile
        fits into memory."""
        planned = self._planned(workload)
        return self._described(planned), self._build(self._models_of(planned))

    def remember_pace(self, configuration: EngineConfiguration, workload: Workload, seconds: float) -> None:
        """Remembers the seconds that a frame takes where nothing else measures them."""
        known = self._cache.measured(details := details_of(configuration, workload))
        self._cache.remember(replace(known, **{configuration.backend: seconds}), details)

    def _pace(self, planned: EngineConfiguration, workload: Workload) -> float | None:
        return self._cache.measured(details_of(planned, workload)).torch

    def _planned(self, workload: Workload) -> EngineConfiguration:
        """Workers and tiles, as memory allows."""
        base = self._base
        most = max(1, min(base.threads, MAX_WORKERS, workload.count)) if base.device.type == "cpu" else 1
        with one_thread():
            workers = self._planner.plan(workload.height, workload.width, DTYPES[base.dtype], base.device, most)
        return replace(base, workers=workers, tile=self._planner.tile)

    def _models_of(self, planned: EngineConfiguration) -> list[TorchModel]:
        """A model for each worker."""
        return [*self._models, *(self._first.clone() for _ in range(planned.workers - len(self._models)))]

    def _can_compile(self, planned: EngineConfiguration) -> bool:
        return can_compile(self._first.network, planned)

    def _described(self, configuration: EngineConfiguration) -> EngineConfiguration:
        reasons = [configuration.reason]
        if configuration.workers > 1:
            reasons.append(f"{configuration.workers} frames in parallel")
        if configuration.tile:
            reasons.append(f"tiles of {configuration.tile[1]}x{configuration.tile[0]}")
        return replace(configuration, reason="; ".join(reasons))
