"""The trained weights of a `StyleNet`: one network for all styles; its endpoints are found in pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dnirender.train.subspace import Mix, Weights


class AdaINSpace:
    """As `Subspace`, with no deltas: all endpoints have the same file."""

    untouched: frozenset[int] = frozenset()

    def __init__(self, net: nn.Module) -> None:
        self.base = {name: value.detach().clone().requires_grad_() for name, value in net.named_parameters()}
        self.deltas: list[Weights] = []

    def tensors(self) -> list[Tensor]:
        """All trained tensors, in a fixed order."""
        return list(self.base.values())

    def base_weights(self) -> Weights:
        return self.base

    def at(self, mix: Mix) -> Weights:  # noqa: ARG002 - the network mixes
        return self.base

    def endpoint(self, k: int) -> Weights:  # noqa: ARG002
        return self.base

    def begin_at(self, endpoints: Sequence[Weights]) -> None:
        """Sets the painter to the mean of painters; those whose last layer is zero are left out. A file of a `StyleNet`
        sets all."""
        if "encoder.code.weight" in endpoints[0]:
            painters = [endpoints[0]]
        else:
            painters = [{f"paint.{k}": v for k, v in w.items()} for w in endpoints if w["last.weight"].any()]
        for name in painters[0]:
            self.base[name].copy_(torch.stack([w[name].float() for w in painters]).mean(0))
