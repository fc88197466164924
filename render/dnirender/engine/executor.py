"""The two interfaces of this room. A model renders pixels; an executor renders a stream of batches with models.

Both can be wrapped: `MemoryRetry` is a model around a model, `Fp32Retry` an executor around an executor.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import NamedTuple, Protocol

from torch import Tensor

from dnirender.frames import Alpha, Batch, Image
from dnirender.networks.weights import MixedWeights


class Model(Protocol):
    """A network that renders pixels [n, h, w, 3], uint8 or uint16, under theta(alpha).

    It returns pixels [n, scale*h, scale*w, 3] of the same dtype and n sums of the network's output, which are NaN or
    Inf where any value of it is. Weights are written only where alpha differs from that of the call before.
    """

    @property
    def weights(self) -> tuple[MixedWeights, ...]:
        """All weights that this model may write."""
        ...

    def __call__(self, pixels: Tensor, alpha: Alpha) -> tuple[Tensor, Tensor]: ...


class RenderedBatch(NamedTuple):
    """A batch, its rendered images in the order of its frames, and whether the network's output was finite for each."""

    batch: Batch
    images: tuple[Image, ...]
    finite: tuple[bool, ...]


class Executor(Protocol):
    """Renders batches lazily, in order. Closing the generator stops all work."""

    @property
    def weights(self) -> tuple[MixedWeights, ...]:
        """All weights that this executor may write."""
        ...

    def __call__(self, batches: Iterable[Batch]) -> Generator[RenderedBatch]: ...


def count_weight_writes(executor: Executor) -> int:
    """How often the weights of an executor were written, by all of its workers together."""
    return sum(weights.weight_writes for weights in executor.weights)


def forget_weights(executor: Executor) -> None:
    """Makes the next write of all weights happen, and count, even where alpha equals that of the last write."""
    for weights in executor.weights:
        weights.alpha = None
