"""The trained weights of a tunable network: a base, and what its family adds to it.

The loss is that of the network at a level, whose weights `families` computes from both: training runs the network that
is rendered, folded where that is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dnirender.families import adafm, cfsnet, dynamic_net, ftn
from dnirender.families.loading import ENDPOINTS
from dnirender.networks.architectures.denoise import DenoiseNet
from dnirender.networks.architectures.paint import PaintNet
from dnirender.networks.registry import ARCHITECTURES
from dnirender.train.subspace import Mix, Weights

TUNABLE: dict[str, Callable[[DenoiseNet | PaintNet, int], nn.Module]] = {
    "adafm": lambda net, kernel: adafm.tunable(net, kernel=kernel),
    "ftn": lambda net, _: ftn.tunable(net),
    "dynamic": lambda net, _: dynamic_net.tunable(net),
    "cfs": lambda net, _: cfsnet.tunable(net),
}
"""By family: a network with what it adds. `kernel` is that of AdaFM."""


class FamilySpace:
    """As `Subspace`, for two endpoints: levels 0 and 1 of `family`. `deltas` are nothing and what the family adds."""

    untouched: frozenset[int] = frozenset()

    def __init__(self, net: DenoiseNet | PaintNet, family: str, kernel: int = 1) -> None:
        names = [name for name, _ in net.named_parameters()]
        device = next(net.parameters()).device
        state = dict(TUNABLE[family](net, kernel).named_parameters())
        trained = {name: value.detach().to(device, copy=True).requires_grad_() for name, value in state.items()}
        self.family = family
        self._build = ARCHITECTURES["denoise" if isinstance(net, DenoiseNet) else "paint"]
        self.base = {name: trained[name] for name in names}
        self.deltas: list[Weights] = [{}, {name: value for name, value in trained.items() if name not in self.base}]

    def network(self) -> nn.Module:
        """The module that runs with the weights of `at`."""
        with torch.no_grad():
            weights = self.at((1.0, 0.0))
            return self._build(weights).to(next(iter(weights.values())).device)

    def tensors(self) -> list[Tensor]:
        """All trained tensors, in a fixed order."""
        return [*self.base.values(), *self.deltas[1].values()]

    def base_weights(self) -> Weights:
        """The weights of the base alone."""
        return self.at((1.0, 0.0))

    def at(self, mix: Mix) -> Weights:
        """The weights of `network` at the level mix[1]."""
        return ENDPOINTS[self.family](self.base | self.deltas[1], mix[1])

    def endpoint(self, k: int) -> Weights:  # noqa: ARG002
        """What the file of endpoint `k` holds: the same for both."""
        return self.base | self.deltas[1]

    def begin_at(self, endpoints: Sequence[Weights]) -> None:
        """Sets the base to the weights of the first endpoint."""
        for name, value in self.base.items():
            value.copy_(endpoints[0][name])
