"""Day to night: endpoints that are hours of one evening, learnt from the relighting model of `relighting.py`.

With P(a) that model at time of day a, and the path theta(a) of `subspace.py`,

    minimise  E_a E_x  | f(x; theta(a)) - P(a)(x) | + steadiness | y - y' |,    a = (k + t) / 3,  t in 0..1,

where y and y' are the clean picture under the gain and the offset that the network finds for it as it is and moved by a
few pixels, under two draws of noise: lamps that are lit in one and not in the other would flicker.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dnirender.networks.architectures.gain import SIDE, apply_gain, unshuffle
from dnirender.networks.architectures.relight import RelightNet
from dnirender.networks.pixel_shuffle import pixel_shuffle
from dnirender.timeline.timeline import path_position
from dnirender.train.data import batches
from dnirender.train.losses import charbonnier
from dnirender.train.recipe import Recipe, choose
from dnirender.train.subspace import Mix
from dnirender.train.task import Apply, Task

SETTINGS = {"streets": 240.0, "street_share": 0.4, "steadiness": 4.0, "square": 2.0}


class Relight(Task):
    """The training of `kind: relight`.

    A linear `extra` of the features before the last two layers must find the sky, height and lamps in them, at every
    alpha. Without it the network is slow to learn what the sky is.
    """

    architecture = "relight"
    extra_rate = 8.0

    def __init__(self, recipe: Recipe, data: Path, work: Path) -> None:
        super().__init__(recipe)
        self.settings = choose(recipe.settings, SETTINGS, "relight")
        photos = [data / folder for folder in recipe.photos]
        self._real, self._drawn = batches.load(
            photos, recipe.held_out, int(self.settings["streets"]), work / "streets.pt", recipe.training.seed
        )
        self._seen: tuple[Tensor, tuple[Tensor, Tensor]] = (torch.empty(0), (torch.empty(0), torch.empty(0)))
        torch.manual_seed(recipe.training.seed)
        self.extra = nn.Conv2d(RelightNet().widths[0], 5, 1)

    def network(self) -> nn.Module:
        net = RelightNet()
        net.last.register_forward_hook(self._look)
        return net

    def batch(self, mix: Mix, rng: Generator) -> tuple[Tensor, ...]:
        share, size = self.settings["street_share"], self.recipe.training.batch
        return batches.batch(self._real, self._drawn, share, path_position(mix), size, rng)

    def loss(self, apply: Apply, mix: Mix, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:  # noqa: ARG002
        picture, target, known, clean, moved, moved_clean, move = batch
        out = apply(picture)
        features, light = self._seen
        with torch.autocast(picture.device.type, torch.bfloat16):
            read = self.extra(features)
        terms = {
            "picture": picture_loss(out, target, known[:, 2:], self.settings["square"]),
            "reading": reading_loss(read.float(), known),
        }
        if len(moved):
            y, x = move.tolist()
            gain, offset = (part[: len(moved)] for part in light)
            first = under(clean[: len(moved)], (gain, offset))[:, y:, x:]
            apply(moved)
            second = under(moved_clean, self._seen[1])[:, : first.shape[1], : first.shape[2]]
            terms["steadiness"] = self.settings["steadiness"] * charbonnier(first - second)
        return terms

    def _look(self, _: nn.Module, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        self._seen = (inputs[0], output)


def under(picture: Tensor, light: tuple[Tensor, Tensor]) -> Tensor:
    """n 3 h w under the gain and offset that the last layer gives, n h w 3."""
    return pixel_shuffle(apply_gain(unshuffle(picture), light), SIDE)


def picture_loss(out: Tensor, target: Tensor, lamps: Tensor, square: float) -> Tensor:
    """Distance of two n 3 h w sRGB pictures: values, values stretched in the dark, gradients of both, means of 16x16.

    Where `lamps` (n 3 h/2 w/2, 0..1) shine, which is in few pixels, values count up to three times as much (with more,
    whatever may be a lamp shines). A distance is the mean of |x| + `square` x^2: the square, as the median of a window
    that is seldom lit is a dark one.
    """

    def distance(x: Tensor) -> Tensor:
        return charbonnier(x) + square * x.square().mean()

    weight = 1 + 2 * F.interpolate(lamps.mean(1, keepdim=True), scale_factor=2.0)
    dark = _stretch(out) - _stretch(target)
    stretched = distance(weight * dark)
    errors = (out - target, dark, F.avg_pool2d(dark, 4))  # the last: no halos, even where it is dark
    steps = sum((charbonnier(error.diff(dim=d)) for error in errors for d in (2, 3)), start=out.new_zeros(()))
    coarse = distance(F.avg_pool2d(out - target, 16))
    return distance(weight * (out - target)) + stretched + steps + 2 * coarse


def reading_loss(read: Tensor, known: Tensor) -> Tensor:
    """Cross entropy of logits and values 0..1, n 5 h w; lamps, which are few and small, count more."""
    weight = read.new_tensor((1.0, 1.0, 3.0, 3.0, 3.0)).view(1, 5, 1, 1)
    often = read.new_tensor((1.0, 1.0, 4.0, 4.0, 4.0)).view(1, 5, 1, 1)
    return F.binary_cross_entropy_with_logits(read, known, weight, pos_weight=often)


def _stretch(x: Tensor) -> Tensor:
    return torch.sqrt(x.clamp(min=0) + 0.01)
