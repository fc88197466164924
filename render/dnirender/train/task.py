"""What a kind of training must tell: its network, its batches at a mixture of endpoints, and its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from dnirender.train.recipe import Recipe
from dnirender.train.subspace import Mix

Apply = Callable[[Tensor], Tensor]
"""The network under the weights of the moment; the result is float32, not clamped."""


class Task:
    """One kind of training of one recipe. `extra` is trained beside the network and thrown away in the end.

    `architecture` is the name under which `network.load` knows the module; its file is written with it.
    """

    architecture: str | None = None
    extra: nn.Module = nn.Module()
    extra_rate: float = 1.0
    """The learning rate of `extra` over that of the weights."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def network(self) -> nn.Module:
        """A fresh network, initialised from the global random state."""
        raise NotImplementedError

    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of endpoints between which the path is trained: neighbours, unless a kind knows better."""
        return [(k, k + 1) for k in range(len(self.recipe.endpoints) - 1)]

    def batch(self, mix: Mix, rng: Generator) -> tuple[Tensor, ...]:
        """Inputs, targets and what else the loss needs, made on the CPU in a thread of its own."""
        raise NotImplementedError

    def loss(self, apply: Apply, mix: Mix, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The terms of the loss, weighted: their sum is minimised."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What else a checkpoint must hold."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up what `state` gave."""

    def to(self, device: torch.device) -> None:
        """Moves what the loss needs."""
        self.extra.to(device)
