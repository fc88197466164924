"""A trained subspace of weights: one base, one delta per endpoint, and every mixture of the endpoints between them.

Deep network interpolation (Wang et al., CVPR 2019) mixes trained weights, theta(a) = sum_k a_k theta_k, and
does not train the mixtures. Here they are trained too (Wortsman et al., ICML 2021, "Learning neural network
subspaces"): theta_k = base + delta_k, a is drawn at random in every step, and the loss is that of the target at a.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
Mix = tuple[float, ...]
"""The share of each endpoint; they sum to 1."""


class Subspace:
    """`base` and one of `deltas` per endpoint, all trained. An `untouched` endpoint is the identity: its layer `last`
    is zero, with which the networks of this project return their input exactly."""

    def __init__(self, net: nn.Module, endpoints: int, untouched: Collection[int] = ()) -> None:
        self.base = {k: v.detach().clone().requires_grad_() for k, v in net.named_parameters()}
        self.deltas = [
            {k: torch.zeros_like(v, requires_grad=True) for k, v in self.base.items()} for _ in range(endpoints)
        ]
        self.untouched = frozenset(untouched)

    def tensors(self) -> list[Tensor]:
        """All trained tensors, in a fixed order."""
        return [v for weights in (self.base, *self.deltas) for v in weights.values()]

    def base_weights(self) -> Weights:
        """The weights of the base alone."""
        return self.base

    def begin_at(self, endpoints: Sequence[Weights]) -> None:
        """Sets the weights of all endpoints. The base is the mean of all that touch the picture. What they lack of the
        network, or have in another shape, stays as it was initialised."""
        touched = [w for k, w in enumerate(endpoints) if k not in self.untouched]
        for name, value in self.base.items():
            if name not in touched[0] or touched[0][name].shape != value.shape:
                continue
            value.copy_(torch.stack([w[name].float() for w in touched]).mean(0))
            for delta, weights in zip(self.deltas, endpoints, strict=True):
                delta[name].copy_(weights[name].to(value) - value)

    def at(self, mix: Mix) -> Weights:
        """theta(mix) = base + sum_k mix_k delta_k, but for the last layer of untouched endpoints."""
        shares = [(k, share) for k, share in enumerate(mix) if share]
        touched = sum(share for k, share in shares if k not in self.untouched)
        weights: Weights = {}
        for name, value in self.base.items():
            fixed = name.startswith("last.")
            value = value * touched if fixed and touched < 1 else value
            for k, share in shares:
                if not (fixed and k in self.untouched):
                    value = value + share * self.deltas[k][name]
            weights[name] = value
        return weights

    def endpoint(self, k: int) -> Weights:
        """theta_k."""
        return self.at(tuple(float(i == k) for i in range(len(self.deltas))))
