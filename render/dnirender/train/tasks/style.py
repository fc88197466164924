"""Painters: endpoints that paint like given pictures, and the path between every two of them.

For a batch of inputs x, outputs y = f(x; theta(a)) and features phi_l of VGG19,

    loss = content |phi_4(y) - phi_4(x)|^2 / |phi_4(x)|^2
         + style sum_l (|m_l(y) - m_l(a)|^2 / |m_l(a)|^2 + |C_l(y) - C_l(a)|^2 / |C_l(a)|^2) / 2
         + variation TV(y) + steadiness |y - y'| + grid lattice(y) + texture plainness(x) max(0, p(y) - p(a))
         + blotches blotchiness(y, x)

with the mean m and the covariance C of the features over space: the Gram matrix C + m m^T of Gatys et al. (CVPR 2016;
a feed-forward network as in Johnson et al., ECCV 2016) in two parts, because m m^T outweighs C by far and says nothing
of strokes. The style aimed at between two paintings is the mixture of theirs, m(a) = sum_k a_k m(painting_k) and C
alike; that of the untouched picture is its own. y' is the output for the same picture moved by some pixels and with
other noise: what is steady under both does not flicker.

m and C are those of all pictures of the batch together, and their error is averaged over the steps of the same
endpoints (the gradient is that of this batch alone). Matched picture by picture, a crop of plain sky has to hold every
color of the painting, and the network puts them into blobs. The pictures are looked at in a size drawn anew at every
step, so that no pattern of a fixed period pays; `lattice` and the periodicity p speak against the two that are left,
`blotchiness` against patches of color on one surface.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dnirender.errors import TrainingError
from dnirender.networks.architectures.paint import PaintNet, with_deviations
from dnirender.train.data.photos import fitted, load_photos, pick, read, to_tensor, uniform, view
from dnirender.train.family_space import FamilySpace
from dnirender.train.features import Features, Moments, distilled_vgg19
from dnirender.train.losses import (
    blotchiness,
    lattice,
    noise_sensitivity,
    periodicity,
    plainness,
    relative_error,
    total_variation,
)
from dnirender.train.recipe import Recipe, adafm_kernel, choose
from dnirender.train.subspace import Mix, Weights
from dnirender.train.task import Apply, Space, Task

SETTINGS = {
    "content": 1.0, "style": 8.0, "variation": 0.3, "steadiness": 4.0, "grid": 300.0, "texture": 1.0, "blotches": 0.0,
    "noise": 0.02,  # at most, added to the input
    "memory": 0.75,  # share of earlier steps in the error of the moments
    "rescaling": 0.35,  # of the pictures before they are looked at, by exp(-r)..exp(r)
    "kernel": 1.0,  # of AdaFM
}  # fmt: skip
SHIFT = 8  # pixels at most
SMALLEST = 64
MEASURED, MEASURED_SIDE = 48, 480  # photographs that deviations are measured on, and their long side


class Style(Task):
    """The training of `kind: style`."""

    architecture = "paint"

    def __init__(self, recipe: Recipe, data: Path, features: Path) -> None:
        super().__init__(recipe)
        self.settings = choose(recipe.settings, SETTINGS, "style")
        self._kernel = adafm_kernel(self.settings)
        self.photos = load_photos([data / folder for folder in recipe.photos], recipe.training.crop, recipe.held_out)
        self.phi: Features = distilled_vgg19(features)
        self._folder = features
        paintings = [_painting(data / goal.image, goal.size) if goal.image else None for goal in recipe.endpoints]
        with torch.no_grad():
            self.goals = [None if p is None else [Moments.of(f) for f in self.phi(p)] for p in paintings]
        self._periodicity = [None if p is None else float(periodicity(p).mean()) for p in paintings]
        self._errors: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        self._weights = [goal.weight for goal in recipe.endpoints]

    def network(self) -> nn.Module:
        return PaintNet()

    def space(self, net: nn.Module) -> Space:
        family = self.recipe.family
        return FamilySpace(cast(PaintNet, net), family, self._kernel) if family != "dni" else super().space(net)

    def pairs(self) -> list[tuple[int, int]]:
        """The cycle through all, and every one with every untouched."""
        every = range(len(self.goals))
        cycle = {tuple(sorted((k, (k + 1) % len(every)))) for k in every}
        star = {tuple(sorted((k, j))) for k in every if self.goals[k] is None for j in every if j != k}
        return [(a, b) for a, b in sorted(cycle | star)]

    def batch(self, mix: Mix, rng: Generator) -> tuple[Tensor, ...]:  # noqa: ARG002 - all mixtures see the same
        """Crops, and the same crops moved by `move` pixels, both with noise; then `move`, a dice and a scale."""
        crop, count = self.recipe.training.crop, self.recipe.training.batch
        room = crop + SHIFT
        wide = torch.stack([view(self.photos[pick(rng, len(self.photos))], room, rng) for _ in range(count)])
        y, x = (pick(rng, SHIFT + 1) for _ in range(2))
        sigma = self.settings["noise"] * uniform(rng)
        moved = wide[..., y : y + crop, x : x + crop]
        seen = [part + sigma * torch.randn(part.shape, generator=rng) for part in (wide[..., :crop, :crop], moved)]
        scale = math.exp(self.settings["rescaling"] * (2 * uniform(rng) - 1))
        return (*(part.clamp(0, 1) for part in seen), *(torch.tensor(v) for v in ((y, x), uniform(rng), scale)))

    def loss(self, apply: Apply, mix: Mix, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        picture, moved, move, dice, scale = batch
        settings = self.settings
        out = apply(picture)
        with torch.autocast(picture.device.type, torch.bfloat16):
            found = self.phi(resized(out, float(scale)))
            with torch.no_grad():
                before = self.phi(resized(picture, float(scale)))
        strength = sum(part * w for part, w in zip(mix, self._weights, strict=True))
        terms = {
            "content": settings["content"] * relative_error(found[-1], before[-1]),
            "style": settings["style"] * strength * self._style_error(found, before, mix),
            "variation": settings["variation"] * total_variation(out),
            "grid": settings["grid"] * lattice(out),
            "texture": settings["texture"] * self._texture_error(out, picture, mix),
            "blotches": settings["blotches"] * blotchiness(out, picture),
        }
        if dice < 0.5:
            terms["steadiness"] = 2 * settings["steadiness"] * noise_sensitivity(out, apply(moved), move)
        return terms

    def _style_error(self, found: list[Tensor], before: list[Tensor], mix: Mix) -> Tensor:
        """The distance of the moments from those aimed at, summed over the levels."""
        ends = tuple(k for k, share in enumerate(mix) if share)
        errors: list[tuple[Tensor, Tensor]] = []
        total = found[0].new_zeros((), dtype=torch.float32)
        for level, (f, b) in enumerate(zip(found, before, strict=True)):
            moments, wanted = Moments.pooled(f), self._wanted(level, b, mix)
            error = (moments.mean - wanted.mean, moments.power - wanted.power)
            if ends in self._errors:
                memory = self.settings["memory"]
                error = tuple(
                    new + memory * (old - new.detach())
                    for new, old in zip(error, self._errors[ends][level], strict=True)
                )
            errors.append((error[0].detach(), error[1].detach()))
            mean = wanted.mean + error[0]
            covariance = wanted.power + error[1] - mean[:, :, None] * mean[:, None]
            total = total + Moments(mean, covariance).distance(wanted)
        self._errors[ends] = errors
        return total

    def _texture_error(self, out: Tensor, picture: Tensor, mix: Mix) -> Tensor:
        """How much more periodic plain places are painted than the paintings are."""
        own = periodicity(picture)
        wanted = sum(
            share * (own if p is None else p) for share, p in zip(mix, self._periodicity, strict=True) if share
        )
        return (plainness(picture) * F.relu(periodicity(out) - wanted)).mean()

    def _wanted(self, level: int, before: Tensor, mix: Mix) -> Moments:
        """Of the features of one level; `before` are those of the untouched pictures."""
        ends = zip(mix, self.goals, strict=True)
        return Moments.mixed((share, goal[level] if goal else Moments.pooled(before)) for share, goal in ends if share)

    def finished(self, endpoints: list[Weights]) -> list[Weights]:
        """With the deviations of their layers, see `paint`: trained with those of each picture alone. The layers of
        other families than fine-tuned endpoints stay without."""
        if self.recipe.family != "dni":
            return endpoints
        step = -(-len(self.photos) // MEASURED)
        pictures = [fitted(photo, MEASURED_SIDE) for photo in self.photos[::step]]
        return [with_deviations(weights, pictures) for weights in endpoints]

    def state(self) -> dict[str, Any]:
        return {"errors": [(list(ends), errors) for ends, errors in self._errors.items()]}

    def restore(self, state: dict[str, Any]) -> None:
        self._errors = {tuple(ends): errors for ends, errors in state["errors"]}

    def to(self, device: torch.device) -> None:
        self.phi = distilled_vgg19(self._folder, device)
        self.goals = [goal and [level.to(device) for level in goal] for goal in self.goals]


def _painting(path: Path, size: int) -> Tensor:
    """1 3 h w with a short side of `size` pixels. TrainingError: it is too small to be one."""
    painting = to_tensor(read(path))
    short = min(painting.shape[-2:])
    if short < SMALLEST:
        raise TrainingError(f"{path}: its short side is {short} pixels; a painting needs {SMALLEST} at least")
    return resized(painting, size / short)


def resized(x: Tensor, scale: float) -> Tensor:
    """n c h w at `scale` times its size."""
    return x if scale == 1 else F.interpolate(x, scale_factor=scale, mode="bicubic", antialias=True)
