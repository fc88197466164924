"""Renders batches of frames under the weights of their alphas."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import cast

import numpy as np
import torch

from dnirender.cache import Cache
from dnirender.engine.arrays import Array, Form, from_rendered, to_frames
from dnirender.engine.autotune import Autotuner, check_backend
from dnirender.engine.backend_trial import Enter, Workload, seconds_per_frame
from dnirender.engine.configuration import configure, endpoint_alphas
from dnirender.engine.cpu import CPUExecutor, CPUWorker
from dnirender.engine.cuda import CUDAExecutor
from dnirender.engine.cuda_graphs import graphed
from dnirender.engine.device import choose_device
from dnirender.engine.executor import Executor, Model, count_weight_writes
from dnirender.engine.fp32_retry import Fp32Renderer, Fp32Retry
from dnirender.engine.measurements import MeasurementCache
from dnirender.engine.memory import MemoryPlanner
from dnirender.engine.memory_retry import MemoryRetry
from dnirender.engine.torch_model import TorchModel
from dnirender.errors import RenderError, UsageError
from dnirender.frames import Alpha, Batch, Frame, Image
from dnirender.networks.network import Network
from dnirender.networks.weights import WeightPath
from dnirender.timeline.mixture import Mixture, as_alpha, with_tracks

MAX_BATCH = 4  # frames of `Engine.render` that are on a GPU at once


class Engine:
    """Renders batches: `engine(batches)` yields (batch, images) in order.

    An image has the dtype of its frame and `network.scale` times its size; it is rounded to nearest from a float
    clamped to 0..1. The result does not depend on the batch size; on the CPU it is equal bit for bit, as frames are
    rendered one by one there. After `autotune` several are rendered in parallel. On CUDA two batches are in flight, and
    the next weights are written into a second copy of the network while the current batch is rendered.

    `path` is moved to the device. `device` is auto, cpu, cuda or cuda:N. `dtype` is auto, fp32, bf16 or fp16; auto
    chooses a faster one than fp32 only if the hardware has it and its measured error is small at every endpoint (see
    configuration.py). `backend` is auto, torch or openvino: what `autotune` chooses from. `threads` is set for the
    whole process. `tile` is the side of tiles in pixels of the source, or their height and width; None tiles frames
    only if they do not fit into memory. A frame whose output is not finite (NaN or Inf) in bf16 or fp16 is rendered
    again in fp32, and its index is added to `fp32_frames`. `cache` remembers what is measured; None remembers nothing.

    UsageError: a device, dtype, backend or tile that is not available. ModelError: output that is not finite in fp32.
    RenderError: out of memory.
    """

    def __init__(
        self,
        network: Network,
        path: WeightPath,
        *,
        device: str = "auto",
        dtype: str = "auto",
        backend: str = "auto",
        threads: int | None = None,
        tile: int | tuple[int, int] | None = None,
        cache: Cache | None = None,
    ) -> None:
        if threads is not None:
            if threads < 1:
                raise UsageError(f"threads={threads}: expected 1 or more")
            torch.set_num_threads(threads)
        num_threads = torch.get_num_threads()  # of this thread: a new one has what any thread has set last
        chosen_device = choose_device(device)
        if chosen_device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # on by default: fp32 convolutions with the mantissa of fp16
        path.to(chosen_device)
        self.network = network
        self.path = path
        self.measurements = MeasurementCache(cache or Cache(None), network, path)
        self._configuration = self._base = configure(
            network, path, chosen_device, dtype, num_threads, self.measurements
        )
        self._requested_backend = check_backend(backend, network, self._base)
        self.planner = MemoryPlanner(network, tile)
        self._fp32 = Fp32Renderer(network, path, chosen_device, self.planner)
        self._models = [TorchModel(network, path, self.dtype) for _ in range(2 if self._on_cuda else 1)]
        self._executor = self._build_executor(self._models)
        self._autotuner = Autotuner(
            self._base, self._requested_backend, self._models, self.planner, self._build_executor, self.measurements
        )
        self._tuned_for: Workload | None = None

    def _build_executor(self, models: Sequence[Model]) -> Executor:
        """An executor of these models that survives what can be survived: running out of memory by rendering smaller
        pieces, frames that overflow by rendering them in fp32."""
        render_fp32 = None if self.dtype == "fp32" else self._fp32
        limited = [MemoryRetry(model, self.planner) for model in (graphed(models) if self._on_cuda else models)]
        if self._on_cuda:
            return Fp32Retry(CUDAExecutor(limited, self.device), render_fp32)
        return CPUExecutor([Fp32Retry(CPUWorker(model), render_fp32) for model in limited], self.threads)

    def autotune(self, height: int, width: int, count: int, depth: int = 8, enter: Enter | None = None) -> None:
        """Selects the fastest configuration for `count` frames of this size and bit depth: tiles if a frame does not
        fit into memory, on the CPU as many workers as threads and memory allow, and PyTorch or OpenVINO. Speed is
        measured, so the choice may differ from run to run, and images with it within the allowed error. Frames of other
        sizes, and all after an error, are rendered by PyTorch. `enter` is told the phases "choosing" and "compiling".
        ModelError: OpenVINO was requested and fails, or is wrong. RenderError: no tile fits memory.
        """
        workload = _workload(height, width, count, depth)
        if self._tuned_for is not None and self._tuned_for.covers(workload):
            return
        enter = enter or (lambda _: None)
        enter("choosing")
        self._tuned_for = None
        self._configuration, self._executor = self._base, self._build_executor(self._models)
        try:
            self._configuration, self._executor = self._autotuner.choose(workload, enter)
        except RenderError:
            with contextlib.suppress(RenderError):
                self._configuration, self._executor = self._autotuner.default(workload)
            raise
        self._tuned_for = workload

    def recall(self, height: int, width: int, count: int, depth: int = 8) -> None:
        """States the configuration that `autotune` would select, as far as that is known from earlier measurements;
        frames are rendered as before."""
        self._tuned_for = None
        self._executor = self._build_executor(self._models)
        self._configuration = self._autotuner.recall(_workload(height, width, count, depth))

    @property
    def pace(self) -> float | None:
        """Seconds that a frame of the size last tuned for, or recalled, takes among others; None where that was not
        measured."""
        return self._configuration.seconds_per_frame

    def measure_pace(self) -> float:
        """`pace`, measured where it is not known."""
        if self.pace is None and self._tuned_for is not None:
            seconds = self.seconds_per_frame(self._tuned_for.test_image(), 1)
            self._autotuner.remember_pace(self._configuration, self._tuned_for, seconds)
            self._configuration = replace(self._configuration, seconds_per_frame=seconds)
        return self.pace or 0.0

    def __call__(self, batches: Iterable[Batch]) -> Generator[tuple[Batch, tuple[Image, ...]]]:
        with closing(self._executor(batches)) as results:
            for batch, images, _ in results:
                yield batch, images

    def render(
        self,
        images: Array,
        alpha: Mixture | Sequence[Mixture],
        *,
        tracks: Mapping[str, Mixture] | None = None,
        extrapolate: bool = False,
    ) -> Array:
        """One image or a batch, as the video path renders frames; what comes back has the kind, rank, dtype and device
        of `images`, and `network.scale` times its height and width.

        `images` is a numpy array, h w, h w c or n h w c, or a torch tensor, h w, c h w or n c h w: uint8, uint16 (the
        whole range) or float32 (0..1, rendered and returned with 16 bits of precision). c is 3 for RGB, 4 for RGBA,
        whose opacity bypasses the network and is resized to the result, or 1, as rank 2, for gray, of which the Rec.
        709 luma of the rendered colors comes back.

        `alpha` is a number, 0..1 along the path of endpoints; a tuple of coefficients, one for each endpoint; or a dict
        of coefficients by endpoint, as {"monet": 0.3, "wave": 0.7}. Coefficients are in 0..1 and sum to 1. A list has
        one of these for each image of a batch. `tracks` has the mixtures of layers by their group, a pattern of the
        path's `groups`; other layers have `alpha`. `extrapolate` allows numbers outside 0..1.

        One call at a time: the weights are those of the call. UsageError: images or alpha of another form, with what
        was expected and got. ModelError: output that is not finite. RenderError: out of memory.
        """
        frames, form = to_frames(images)
        path, alphas = self.path, _alphas(alpha, len(frames), form, self.path.names, extrapolate)
        if tracks:
            alphas = with_tracks(alphas, tracks, path.names, path.groups, extrapolate=extrapolate)
        batches = list(_batches(frames, alphas))
        executor = self._executor
        if len(frames) == 1 and isinstance(executor, CPUExecutor):
            executor = executor.workers[0]
        with closing(executor(batches)) as results:
            rendered = [image for _, images_of_batch, _ in results for image in images_of_batch]
        return from_rendered(rendered, frames, form)

    def seconds_per_frame(self, image: Image, rounds: int = 2) -> float:
        """Seconds that a frame like `image` takes among others at the last endpoint, measured on `rounds` per
        worker."""
        return seconds_per_frame(self._executor, image, endpoint_alphas(self.path)[-1], rounds * self.workers)

    @property
    def weight_writes(self) -> int:
        """How often weights were written: at most once per change of alpha and worker."""
        return count_weight_writes(self._executor)

    @property
    def fp32_frames(self) -> list[int]:
        """Indices of the frames that overflowed and were rendered again in fp32."""
        return self._fp32.frames

    @property
    def decision(self) -> str:
        """The configuration and the reasons for it, for users."""
        return self._configuration.reason

    @property
    def device(self) -> torch.device:
        return self._configuration.device

    @property
    def dtype(self) -> str:
        return self._configuration.dtype

    @property
    def threads(self) -> int:
        return self._configuration.threads

    @property
    def backend(self) -> str:
        """torch or openvino: what renders frames of the size last tuned for."""
        return self._configuration.backend

    @property
    def workers(self) -> int:
        """How many frames are rendered in parallel on the CPU."""
        return self._configuration.workers

    @property
    def tile(self) -> tuple[int, int] | None:
        """Height and width of tiles in pixels of the source, None for no tiling. They are smaller than configured where
        memory ran out while rendering."""
        return self.planner.tile

    @property
    def _on_cuda(self) -> bool:
        return self.device.type == "cuda"


def _alphas(
    alpha: Mixture | Sequence[Mixture], count: int, form: Form, endpoints: Sequence[str], extrapolate: bool
) -> list[Alpha]:
    if not isinstance(alpha, list):
        return [as_alpha(cast(Mixture, alpha), endpoints, extrapolate=extrapolate)] * count
    if form.rank != 4 or len(alpha) != count:
        expected = f"{count} for this batch" if form.rank == 4 else "a tuple of coefficients for one image"
        raise UsageError(f"alpha: a list has one alpha for each image; expected {expected}, got {len(alpha)}")
    return [as_alpha(value, endpoints, extrapolate=extrapolate) for value in alpha]


def _workload(height: int, width: int, count: int, depth: int) -> Workload:
    return Workload(height, width, np.uint8 if depth <= 8 else np.uint16, count)


def _batches(frames: Sequence[Frame], alphas: Sequence[Alpha]) -> Iterator[Batch]:
    """Successive frames of one alpha, at most MAX_BATCH of them."""
    for alpha, members in itertools.groupby(zip(frames, alphas, strict=True), key=lambda pair: pair[1]):
        group = [frame for frame, _ in members]
        for start in range(0, len(group), MAX_BATCH):
            yield Batch(tuple(group[start : start + MAX_BATCH]), alpha)
