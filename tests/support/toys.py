"""A small network for the tests of the engine, its frames, and what it renders by hand."""

from typing import ClassVar

import numpy as np
import torch
from torch import nn

from dnirender.engine.engine import Engine
from dnirender.frames import Batch, Frame
from dnirender.networks.network import Network
from dnirender.networks.weights import WeightPath


class Toy(nn.Module):
    """Strides by 4, so its output would show any other padding. `seen` lists shape and dtype of all inputs of all toys."""

    seen: ClassVar[list] = []  # of the class: every engine renders with copies of its own

    def __init__(self, seed=0, scale=1, gain=0.3):
        super().__init__()
        torch.manual_seed(seed)
        self.down = nn.Conv2d(3, 8, 4, stride=4)
        self.up = nn.ConvTranspose2d(8, 3, 4 * scale, stride=4 * scale)
        self.fine = nn.Conv2d(3, 3, 3, padding=1)
        self.scale = scale
        for parameter in self.parameters():
            parameter.data *= gain

    def forward(self, x):
        self.seen.append((tuple(x.shape), x.dtype))
        base = nn.functional.interpolate(x, scale_factor=float(self.scale), mode="nearest")
        z = x.to(self.down.weight.dtype)
        return base + (self.up(self.down(z).relu()) + nn.functional.interpolate(self.fine(z), base.shape[2:])).to(
            x.dtype
        )


class Overflowing(Toy):
    """Not finite in bf16 and fp16 for bright images."""

    def forward(self, x):
        y = super().forward(x)
        return y + float("nan") if self.down.weight.dtype != torch.float32 and bool(x.min() > 0.9) else y


def toy(count=2, module=Toy, **metadata):
    """A network and a path of `count` endpoints."""
    scale = metadata.get("scale", 1)
    metadata = {"multiple": 4, "fp32_input": True} | metadata
    network = Network("toy", module(scale=scale), **metadata)
    return network, WeightPath({"abcd"[i]: Toy(i, scale).state_dict() for i in range(count)})


def cpu(network, path, dtype="fp32", **options):
    return Engine(network, path, device="cpu", dtype=dtype, **options)


def pictures(count, height=9, width=13, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True) for _ in range(count)]


def batches(images, alphas, size):
    """Batches of `size` frames, each under the alpha of its first frame."""
    frames = [Frame(index, 10 * index, image) for index, image in enumerate(images)]
    return [Batch(tuple(frames[i : i + size]), alphas[i]) for i in range(0, len(frames), size)]


def flat(results):
    """All images of what an engine or an executor yields."""
    return [image for result in results for image in result[1]]


def alone(network, path, jobs):
    """Every frame rendered by an engine of its own, in fp32 on the CPU."""
    return [cpu(network, path).render(frame.image, job.alpha) for job in jobs for frame in job.frames]


def close(a, b, by):
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    assert np.abs(a.astype(np.int64) - b.astype(np.int64)).max() <= by


# Pairs of alphas that are equal in all coefficients but two: a weight write must not be skipped for any of them.
NEIGHBORS = [
    [(0.2, 0.3, 0.5), (0.2, 0.5, 0.3)],
    [(0.2, 0.3, 0.5), (0.5, 0.3, 0.2)],
    [(0.2, 0.3, 0.5), (0.3, 0.2, 0.5)],
    [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)],
]
