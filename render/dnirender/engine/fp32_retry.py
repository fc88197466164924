"""Rendering in fp32 of frames that overflow in bf16 or fp16."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import closing

import torch

from dnirender.engine.executor import Executor, RenderedBatch
from dnirender.engine.memory import MemoryPlanner, render_errors
from dnirender.engine.memory_retry import MemoryRetry
from dnirender.engine.torch_model import TorchModel, as_tensor
from dnirender.errors import ModelError
from dnirender.frames import Alpha, Batch, Frame, Image
from dnirender.networks.network import Network
from dnirender.networks.weights import MixedWeights, WeightPath


class Fp32Renderer:
    """Renders one frame at a time in fp32 on `device`, whichever thread calls. `frames` lists their indices.

    The fp32 copy of the network is made for the first frame that needs it.
    """

    def __init__(self, network: Network, path: WeightPath, device: torch.device, planner: MemoryPlanner) -> None:
        self.frames: list[int] = []
        self._network, self._path, self._device, self._planner = network, path, device, planner
        self._model: MemoryRetry | None = None
        self._lock = threading.Lock()

    def __call__(self, frame: Frame, alpha: Alpha) -> tuple[Image, bool]:
        """The image, and whether the network's output was finite."""
        with self._lock:
            self._model = self._model or MemoryRetry(TorchModel(self._network, self._path, "fp32"), self._planner)
            with render_errors(Batch((frame,), alpha), str(self._device)):
                pixels, sums = self._model(as_tensor(frame.image)[None].to(self._device), alpha)
            self.frames.append(frame.index)
            return pixels[0].cpu().numpy(), bool(sums.isfinite().all())


class Fp32Retry:
    """An executor that renders again, in fp32, the frames for which another executor's output is not finite.

    `render_fp32` is None where that executor computes in fp32 already. ModelError: output that is not finite in fp32.
    """

    def __init__(self, executor: Executor, render_fp32: Fp32Renderer | None) -> None:
        self._executor = executor
        self._render_fp32 = render_fp32

    @property
    def weights(self) -> tuple[MixedWeights, ...]:
        """Those of the executor: what is written for single frames in fp32 is not counted."""
        return self._executor.weights

    def __call__(self, batches: Iterable[Batch]) -> Generator[RenderedBatch]:
        with closing(self._executor(batches)) as results:
            for batch, images, finite in results:
                frames = zip(batch.frames, images, finite, strict=True)
                final = tuple(image if ok else self._retry(frame, batch.alpha) for frame, image, ok in frames)
                yield RenderedBatch(batch, final, (True,) * len(final))

    def _retry(self, frame: Frame, alpha: Alpha) -> Image:
        if self._render_fp32 is not None:
            image, finite = self._render_fp32(frame, alpha)
            if finite:
                return image
        raise ModelError(
            f"frame {frame.index}, alpha {alpha}: the network's output is not finite (NaN or Inf), in fp32 too; "
            "the weights overflow there"
        )
