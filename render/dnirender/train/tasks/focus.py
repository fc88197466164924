"""Focus: from a picture that is sharp all over to one whose subject alone is.

For a picture x with the mask m of its subject and the radius r of the blur behind it, what the network finds, the
logits z of the background and the radius q, and the lens L of `architectures.focus`,

    loss = picture |L(x; z, q) - L(x; 1 - m, r)| + cover H(z, 1 - m) + radius |q - r| + reading H(s, mean m)

with the cross entropy H, and s a linear function of the features at 1/32, which is discarded. Only the layer `last`
differs between the two endpoints: the base is trained, and `deep` is the base with that layer zero, so that the radius
is a q on the path between them.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dnirender.networks.architectures.focus import STEEPNESS, FocusNet, lens
from dnirender.networks.architectures.gain import SIDE, unshuffle
from dnirender.networks.pixel_shuffle import pixel_shuffle
from dnirender.train.data import subjects
from dnirender.train.data.photos import uniform
from dnirender.train.losses import charbonnier
from dnirender.train.recipe import Recipe, choose
from dnirender.train.subspace import Mix
from dnirender.train.task import Apply, Task

SETTINGS = {"composites": 0.45, "scenes": 0.2, "picture": 4.0, "cover": 1.0, "radius": 1.0, "reading": 0.5}
UNSEEN = 0.6  # weight of the cover where no subject is
RENDERED = 0.2  # share of the steps with a `picture` term, which take twice as long


class Focus(Task):
    """The training of `kind: focus`. Masks lie in the folder `masks` of `work`."""

    architecture = "focus"
    extra_rate = 4.0

    def __init__(self, recipe: Recipe, data: Path, work: Path) -> None:
        super().__init__(recipe)
        self.settings = choose(recipe.settings, SETTINGS, "focus")
        self.pool = subjects.load([data / folder for folder in recipe.photos], work / "masks", recipe.held_out)
        self._found: dict[str, Tensor] = {}
        self.rendering = True
        torch.manual_seed(recipe.training.seed)
        self.extra = nn.Conv2d(FocusNet().widths[-1], 1, 1)

    def network(self) -> nn.Module:
        net = _Finder(self)
        net.last.register_forward_hook(self._look_deep)
        net.cover.register_forward_hook(self._look)
        return net

    def batch(self, mix: Mix, rng: Generator) -> tuple[Tensor, ...]:  # noqa: ARG002
        size = self.recipe.training.batch
        rendered = torch.tensor(uniform(rng) < RENDERED)
        shares = self.settings["composites"], self.settings["scenes"]
        return (*subjects.batch(self.pool, size, *shares, rng), rendered)

    def loss(self, apply: Apply, mix: Mix, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:  # noqa: ARG002
        picture, mask, radius, known, rendered = batch
        self.rendering = bool(rendered)
        out = apply(picture)
        with torch.autocast(picture.device.type, torch.bfloat16):
            read = self.extra(self._found["deep"]).float()
        logits, found = self._found["cover"].float(), self._found["radius"].float()
        wanted, goal = F.pixel_unshuffle(1 - mask, 2), F.avg_pool2d(radius, 32)
        weight = torch.where(mask.amax((1, 2, 3), keepdim=True) > 0, 1.0, UNSEEN)
        entropy = F.binary_cross_entropy_with_logits(logits, wanted, weight)
        reading = F.binary_cross_entropy_with_logits(read, F.avg_pool2d(mask, 32))
        terms = {
            "cover": self.settings["cover"] * entropy,
            "radius": self.settings["radius"] * charbonnier(known * (found - goal)),
            "reading": self.settings["reading"] * reading,
        }
        if self.rendering:
            with torch.no_grad():
                ideal = (wanted.permute(0, 2, 3, 1) - 0.5) / STEEPNESS
                target = pixel_shuffle(lens(unshuffle(picture), ideal, goal), SIDE).permute(0, 3, 1, 2)
            terms["picture"] = self.settings["picture"] * charbonnier(known * (out - target))
        return terms

    def _look_deep(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._found |= {"deep": inputs[0], "radius": output}

    def _look(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG002
        self._found["cover"] = output


class _Finder(FocusNet):
    """A FocusNet that renders the pictures which its task wants to see, and returns others as they are."""

    def __init__(self, task: Focus) -> None:
        super().__init__()
        self._task = [task]  # in a list, as it is no part of the network

    def forward_unshuffled(self, x: Tensor) -> Tensor:
        if self._task[0].rendering:
            return super().forward_unshuffled(x)
        self.find(x)
        return x
