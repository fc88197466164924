"""Painters: endpoints that paint like given pictures, and the path between every two of them.

For an input x, an output y = f(x; theta(a)) and features phi_l of VGG19,

    loss = content |phi_4(y) - phi_4(x)|^2 / |phi_4(x)|^2
         + style sum_l E_r |G_l(y_r) - G_l(a)|^2 / |G_l(a)|^2,    G_l(a) = sum_k a_k G_l(painting_k)
         + variation TV(y) + steadiness |y - y'|

with Gram matrices G (Gatys et al., CVPR 2016; a feed-forward network as in Johnson et al., ECCV 2016). The style aimed
at between two paintings is the mixture of their Gram matrices; that of the untouched picture is its own. Half of it is
asked of the whole picture and half of every quarter y_r: else one bright spot makes up for a sky without strokes. y' is
the output for the same picture moved by some pixels and with other noise: what is steady under both does not flicker.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dnirender.errors import TrainingError
from dnirender.nets.paint import PaintNet
from dnirender.train.features import Features, distilled_vgg19, gram
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
        self.grams = [self._style(data / goal.image, goal.size) if goal.image else None for goal in recipe.endpoints]
        self._weights = [goal.weight for goal in recipe.endpoints]

    def network(self) -> nn.Module:
        return PaintNet()

    def pairs(self) -> list[tuple[int, int]]:
        """The cycle through all, and every one with every untouched."""
        goals = range(len(self.recipe.endpoints))
        cycle = {tuple(sorted((k, (k + 1) % len(goals)))) for k in goals}
        star = {tuple(sorted((k, j))) for k in goals if self.grams[k] is None for j in goals if j != k}
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
            [self._distance(level, f, b, mix) for level, (f, b) in enumerate(zip(found, before, strict=True))]
        )
        strength = sum(part * w for part, w in zip(mix, self._weights, strict=True))
        terms = {
            "content": settings["content"] * content,
            "style": settings["style"] * strength * style.sum(),
            "variation": settings["variation"] * variation(out),
        }
        if dice < 0.5:
            y, x = move.tolist()
            rows, cols = out.shape[-2] - y, out.shape[-1] - x
            unsteady = out[..., y:, x:] - apply(moved)[..., :rows, :cols]
            terms["steadiness"] = 2 * settings["steadiness"] * torch.sqrt(unsteady.square() + 1e-6).mean()
        return terms

    def _distance(self, level: int, found: Tensor, before: Tensor, mix: Mix) -> Tensor:
        whole = self._apart(level, gram(found), gram(before), mix)
        return 0.5 * whole + 0.5 * self._apart(level, gram(_quarters(found)), gram(_quarters(before)), mix)

    def _apart(self, level: int, found: Tensor, own: Tensor, mix: Mix) -> Tensor:
        """How far Gram matrices n c c are from the mixture's, where `own` are those of the untouched pictures."""
        ends = ((share, own if grams is None else grams[level]) for share, grams in zip(mix, self.grams, strict=True))
        target = sum((share * end for share, end in ends if share), torch.zeros_like(own))
        return ((found - target).square().mean((1, 2)) / target.square().mean((1, 2))).mean()

    def _style(self, path: Path, size: int) -> list[Tensor]:
        """Gram matrices 1 c c of a painting."""
        painting = to_tensor(read(path))
        short = min(painting.shape[-2:])
        if short < SMALLEST:
            raise TrainingError(f"{path}: its short side is {short} pixels; a painting needs {SMALLEST} at least")
        if size < short:
            painting = F.interpolate(painting, scale_factor=size / short, mode="bilinear", antialias=True)
        with torch.no_grad():
            return [gram(f) for f in self.phi(painting)]

    def to(self, device: torch.device) -> None:
        self.phi = distilled_vgg19(self._folder, device)
        self.grams = [g if g is None else [level.to(device) for level in g] for g in self.grams]


def _quarters(x: Tensor) -> Tensor:
    """n c h w to 4n c h/2 w/2."""
    n, c, h, w = x.shape
    parts = x[..., : h // 2 * 2, : w // 2 * 2].reshape(n, c, 2, h // 2, 2, w // 2)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(4 * n, c, h // 2, w // 2)


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    """|found - wanted|^2 / |wanted|^2."""
    return (found.float() - wanted.float()).square().mean() / wanted.float().square().mean()


def variation(x: Tensor) -> Tensor:
    """The total variation of n 3 h w: mean absolute difference of neighbours."""
    return x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean()
