"""Painters: endpoints that paint like given pictures, and the path between every two of them.

For an input x, an output y = f(x; theta(a)) and features phi_l of VGG19,

    loss = content |phi_4(y) - phi_4(x)|^2 / |phi_4(x)|^2
         + style sum_l (|m_l(y) - m_l(a)|^2 / |m_l(a)|^2 + |C_l(y) - C_l(a)|^2 / |C_l(a)|^2) / 2
         + variation TV(y) + steadiness |y - y'|

with the mean m and the covariance C of the features over space: the Gram matrix C + m m^T of Gatys et al. (CVPR 2016;
a feed-forward network as in Johnson et al., ECCV 2016) in two parts, because m m^T outweighs C by far and says nothing
of strokes. The style aimed at between two paintings is the mixture of theirs, m(a) = sum_k a_k m(painting_k) and C
alike; that of the untouched picture is its own. y' is the output for the same picture moved by some pixels and with
other noise: what is steady under both does not flicker.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dnirender.errors import TrainingError
from dnirender.nets.paint import PaintNet
from dnirender.train.features import Features, Moments, distilled_vgg19
from dnirender.train.losses import relative, unsteadiness, variation
from dnirender.train.photos import load_photos, pick, read, to_tensor, uniform, view
from dnirender.train.recipe import Recipe, choose
from dnirender.train.subspace import Mix
from dnirender.train.task import Apply, Task

SETTINGS = {"content": 1.0, "style": 8.0, "variation": 0.3, "steadiness": 4.0, "noise": 0.02}
SHIFT = 8  # pixels at most
SMALLEST = 64


class Style(Task):
    """The training of `kind: style`."""

    architecture = "paint"

    def __init__(self, recipe: Recipe, data: Path, features: Path) -> None:
        super().__init__(recipe)
        self.settings = choose(recipe.settings, SETTINGS, "style")
        self.photos = load_photos([data / folder for folder in recipe.photos], recipe.training.crop, recipe.held_out)
        self.phi: Features = distilled_vgg19(features)
        self._folder = features
        self.goals = [self._style(data / goal.image, goal.size) if goal.image else None for goal in recipe.endpoints]
        self._weights = [goal.weight for goal in recipe.endpoints]

    def network(self) -> nn.Module:
        return PaintNet()

    def pairs(self) -> list[tuple[int, int]]:
        """The cycle through all, and every one with every untouched."""
        every = range(len(self.goals))
        cycle = {tuple(sorted((k, (k + 1) % len(every)))) for k in every}
        star = {tuple(sorted((k, j))) for k in every if self.goals[k] is None for j in every if j != k}
        return [(a, b) for a, b in sorted(cycle | star)]

    def batch(self, mix: Mix, rng: Generator) -> tuple[Tensor, ...]:  # noqa: ARG002 - all mixtures see the same
        """Crops, and the same crops moved by `move` pixels, both with noise; then `move`."""
        crop, count = self.recipe.training.crop, self.recipe.training.batch
        room = crop + SHIFT
        wide = torch.stack([view(self.photos[pick(rng, len(self.photos))], room, rng) for _ in range(count)])
        y, x = (pick(rng, SHIFT + 1) for _ in range(2))
        sigma = self.settings["noise"] * uniform(rng)
        moved = wide[..., y : y + crop, x : x + crop]
        seen = [part + sigma * torch.randn(part.shape, generator=rng) for part in (wide[..., :crop, :crop], moved)]
        return (*(part.clamp(0, 1) for part in seen), torch.tensor((y, x)), torch.tensor(uniform(rng)))

    def loss(self, apply: Apply, mix: Mix, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        picture, moved, move, dice = batch
        settings = self.settings
        out = apply(picture)
        with torch.autocast(picture.device.type, torch.bfloat16):
            found = self.phi(out)
            with torch.no_grad():
                before = self.phi(picture)
        content = relative(found[-1], before[-1])
        style = torch.stack(
            [
                Moments.of(f).distance(self._wanted(level, b, mix))
                for level, (f, b) in enumerate(zip(found, before, strict=True))
            ]
        )
        strength = sum(part * w for part, w in zip(mix, self._weights, strict=True))
        terms = {
            "content": settings["content"] * content,
            "style": settings["style"] * strength * style.sum(),
            "variation": settings["variation"] * variation(out),
        }
        if dice < 0.5:
            terms["steadiness"] = 2 * settings["steadiness"] * unsteadiness(out, apply(moved), move)
        return terms

    def _wanted(self, level: int, before: Tensor, mix: Mix) -> Moments:
        """Of the features of one level; `before` are those of the untouched pictures."""
        ends = zip(mix, self.goals, strict=True)
        return Moments.mixed((share, goal[level] if goal else Moments.of(before)) for share, goal in ends if share)

    def _style(self, path: Path, size: int) -> list[Moments]:
        """Of a painting, per level."""
        painting = to_tensor(read(path))
        short = min(painting.shape[-2:])
        if short < SMALLEST:
            raise TrainingError(f"{path}: its short side is {short} pixels; a painting needs {SMALLEST} at least")
        if size < short:
            painting = F.interpolate(painting, scale_factor=size / short, mode="bilinear", antialias=True)
        with torch.no_grad():
            return [Moments.of(f) for f in self.phi(painting)]

    def to(self, device: torch.device) -> None:
        self.phi = distilled_vgg19(self._folder, device)
        self.goals = [goal and [level.to(device) for level in goal] for goal in self.goals]
