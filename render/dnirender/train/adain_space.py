"""The trained weights of a `StyleNet`: one network for all styles; its endpoints are found in pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dnirender.networks.architectures.paint import without_deviations
from dnirender.train.subspace import Mix, Weights

GRAY = 0.45  # about the mean of pictures
GAIN_LEFT, DEPTH_LEFT = 0.2, 0.4  # of the painters' weights


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
        """Sets all to a file of a `StyleNet`, or the painter to the mean of painters; those whose last layer is zero
        are left out.

        Painters are changed for their new task: the output begins without the picture's own colors, which a style
        replaces (gain -1), and the blocks at 1/8 are weakened, where the mean of painters has peaks.
        """
        if "encoder.code.weight" in endpoints[0]:
            for name, value in self.base.items():
                value.copy_(endpoints[0][name])
            return
        painters = [weights for weights in endpoints if weights["last.weight"].any()]
        for name in without_deviations(painters[0]):
            self.base[f"paint.{name}"].copy_(torch.stack([weights[name].float() for weights in painters]).mean(0))
        gain, offset = self.base["paint.last.bias"].chunk(2)
        gain.fill_(-1.0)
        offset.fill_(GRAY)
        self.base["paint.last.weight"].chunk(2)[0].mul_(GAIN_LEFT)
        for name, value in self.base.items():
            if name.startswith("paint.deep.") and ".second.norm." in name:
                value.mul_(DEPTH_LEFT)
