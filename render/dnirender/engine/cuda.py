"""What batches in flight on a GPU need: streams, events, pinned memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dnirender.frames import Batch, Image


class Streams:
    """Upload, computing and download, which overlap."""

    def __init__(self, device: torch.device) -> None:
        self.upload, self.compute, self.download = (torch.cuda.Stream(device) for _ in range(3))


class InFlightBatch:
    """What one batch in flight needs. Pinned buffers are used again as long as the batch's shape stays."""

    pixels: Tensor
    rendered: Tensor
    sums: Tensor

    def __init__(self) -> None:
        self.ready, self.computed, self.done = (torch.cuda.Event() for _ in range(3))
        self.staged = self.result = self.totals = torch.empty(0)

    def stage(self, batch: Batch) -> Tensor:
        images = [torch.from_numpy(as_contiguous(frame.image)) for frame in batch.frames]
        self.staged = _pinned(self.staged, (len(images), *images[0].shape), images[0].dtype)
        for place, image in zip(self.staged, images, strict=True):
            place.copy_(image)
        return self.staged

    def download(self) -> None:
        self.result = _pinned(self.result, self.rendered.shape, self.rendered.dtype)
        self.totals = _pinned(self.totals, self.sums.shape, self.sums.dtype)
        self.result.copy_(self.rendered, non_blocking=True)
        self.totals.copy_(self.sums, non_blocking=True)


def _pinned(buffer: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    same = buffer.shape == shape and buffer.dtype == dtype
    return buffer if same else torch.empty(shape, dtype=dtype, pin_memory=True)


def as_contiguous(image: Image) -> Image:
    """As PyTorch can share memory with it: contiguous and writable."""
    return np.require(image, requirements=["C", "W"])
