"""What every kind of training defines: its network, its batches at a mixture of endpoints, and its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from dnirender.frames import Image
from dnirender.train.adain_space import AdaINSpace
from dnirender.train.family_space import FamilySpace
from dnirender.train.recipe import Recipe
from dnirender.train.subspace import Mix, Subspace, Weights

Space = Subspace | FamilySpace | AdaINSpace
"""The trained weights of a task."""

Apply = Callable[..., Tensor]
"""The network with the current weights, of its inputs; the result is float32 and not clamped."""


class Task:
    """One kind of training for one recipe. `extra` is trained with the network and discarded at the end.

    `architecture` is the name by which `networks.load` finds the module; it is written into the weights files.
    """

    architecture: str | None = None
    extra: nn.Module = nn.Module()
    extra_rate: float = 1.0
    """The learning rate of `extra`, relative to that of the weights."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def network(self) -> nn.Module:
        """A fresh network, initialized from the global random state."""
        raise NotImplementedError

    def space(self, net: nn.Module) -> Space:
        """The trained weights of `net`, as it was initialized."""
        untouched = [k for k, goal in enumerate(self.recipe.endpoints) if goal.identity]
        return Subspace(net, len(self.recipe.endpoints), untouched)

    def shown(self, image: Image) -> Image:
        """What the contact sheet shows rendered of a photograph."""
        return image

    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of endpoints between which the path is trained: neighbors by default."""
        return [(k, k + 1) for k in range(len(self.recipe.endpoints) - 1)]

    def batch(self, mix: Mix, rng: Generator) -> tuple[Tensor, ...]:
        """Inputs, targets and whatever else the loss needs; called on a CPU thread of its own. Numbers and pairs of
        numbers stay on the CPU, where the loss reads them; all else moves to the device."""
        raise NotImplementedError

    def loss(self, apply: Apply, mix: Mix, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The terms of the loss, weighted: their sum is minimized."""
        raise NotImplementedError

    def finished(self, endpoints: list[Weights]) -> list[Weights]:
        """What is written of the trained endpoints."""
        return endpoints

    def state(self) -> dict[str, Any]:
        """Additional state of a checkpoint."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned."""

    def to(self, device: torch.device) -> None:
        """Moves the tensors of the loss to `device`."""
        self.extra.to(device)
