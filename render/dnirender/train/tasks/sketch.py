"""A sketchbook: endpoints that draw like the media of `drawing.PATH`, and the path between neighbours.

For a picture x, what a camera and a codec add to it e, an output y = f(x + e; theta(a)) and the drawing P(a)(x),

    loss = |y - t| + gradients |grad y - grad t| + contrast |dev y - dev t| + tone |mean y - mean t|
         + steadiness |y - y'|,    t = P(a)(x) + a_0 e

with means over 16x16 pixels, and standard deviations over 5x5: where a line is not sure, |y - t| alone is content with
gray. a_0 is the photograph's share of the mixture: it keeps its noise, a drawing has none. y' is the output for the
same picture with other noise, moved by whole periods of the paper.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dnirender.errors import TrainingError
from dnirender.networks.architectures.gain import GrainedConv
from dnirender.networks.architectures.relight import RelightNet
from dnirender.train.data.drawing import NAMES, PERIOD, draw, mixed, paper, strokes, study
from dnirender.train.data.photos import exposure, load_photos, noise, pick, uniform, view
from dnirender.train.data.relighting import to_linear, to_srgb
from dnirender.train.losses import charbonnier, noise_sensitivity
from dnirender.train.recipe import Recipe, choose
from dnirender.train.subspace import Mix
from dnirender.train.task import Apply, Task

SETTINGS = {"gradients": 1.0, "contrast": 1.0, "tone": 1.0, "steadiness": 0.5}
WIDTHS = (48, 64, 80)  # of the RelightNet, at 1/2, 1/4 and 1/8: lines need width where it is fine, and no context
SHIFT = PERIOD  # pixels at most; by whole periods, since the paper does not move
ROUGH = 0.1  # the deviation of the grain at the start, in units of the first features
SMALLEST = 64
MOVED = 1  # pictures of a batch that are looked at twice
ENLARGED = 0.25  # part of the crops that is as soft as enlarged video


class Sketch(Task):
    """The training of `kind: sketch`."""

    architecture = "relight"

    def __init__(self, recipe: Recipe, data: Path) -> None:
        super().__init__(recipe)
        if recipe.names != NAMES:
            raise TrainingError(f"{recipe.name}: sketch draws {', '.join(NAMES)}; got {', '.join(recipe.names)}")
        self.settings = choose(recipe.settings, SETTINGS, "sketch")
        folders = [data / folder for folder in recipe.photos]
        self.photos = load_photos(folders, SMALLEST, recipe.held_out)

    def network(self) -> nn.Module:
        net = RelightNet(WIDTHS, grain=True)
        if isinstance(net.stem, GrainedConv):
            with torch.no_grad():
                net.stem.grain.copy_(_starting_grain(WIDTHS[0]))
        return net

    def batch(self, mix: Mix, rng: Generator) -> tuple[Tensor, ...]:
        """Noisy crops, their drawings, the first `MOVED` of the crops moved by `move` pixels; then `move`."""
        crop, count = self.recipe.training.crop, self.recipe.training.batch
        wide = torch.stack([self._crop(crop + SHIFT, rng) for _ in range(count)])
        target = torch.stack([drawn(picture, mix) for picture in wide[..., :crop, :crop]])
        y, x = (PERIOD * pick(rng, SHIFT // PERIOD + 1) for _ in range(2))
        parts = wide[..., :crop, :crop], wide[:MOVED, :, y : y + crop, x : x + crop]
        noises = [torch.stack([noise(picture, rng) for picture in part]) for part in parts]
        seen, moved = ((part + added).clamp(0, 1) for part, added in zip(parts, noises, strict=True))
        return seen, (target + mix[0] * noises[0]).clamp(0, 1), moved, torch.tensor((y, x))

    def loss(self, apply: Apply, mix: Mix, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        seen, target, moved, move = batch
        both = apply(torch.cat((seen, moved)))
        out, again = both[: len(seen)], both[len(seen) :]
        error = out - target
        return {
            "values": charbonnier(error),
            "gradients": self.settings["gradients"] * (charbonnier(error.diff(dim=2)) + charbonnier(error.diff(dim=3))),
            "contrast": self.settings["contrast"] * charbonnier(_deviation(out) - _deviation(target)),
            "tone": self.settings["tone"] * charbonnier(F.avg_pool2d(error, 16)),
            "steadiness": self.settings["steadiness"]
            * (1 - mix[0])
            * noise_sensitivity(out[: len(again)], again, move),
        }

    def _crop(self, side: int, rng: Generator) -> Tensor:
        """A part of a photograph, 3 side side, with an exposure and a white balance of its own."""
        photo = self.photos[pick(rng, len(self.photos))]
        if uniform(rng) < ENLARGED:
            small = view(photo, int(side * (0.5 + 0.4 * uniform(rng))), rng)
            part = F.interpolate(small[None], size=(side, side), mode="bicubic")[0].clamp(0, 1)
        else:
            part = view(photo, side, rng)
        return to_srgb(to_linear(part) * exposure(1, rng)[0])


def drawn(picture: Tensor, mix: Mix) -> Tensor:
    """3 h w sRGB 0..1 in the medium at `mix`."""
    pixels = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    return torch.from_numpy(draw(study(pixels), mixed(mix))).permute(2, 0, 1)


def _starting_grain(channels: int) -> Tensor:
    """Random mixtures of the paper's tooth and waves and the strokes, pixel-unshuffled: channels PERIOD/2 PERIOD/2."""
    waves = F.pixel_unshuffle(torch.from_numpy(np.stack((*paper(), *strokes())))[:, None], 2).flatten(0, 1)
    waves = (waves - waves.mean()) / waves.std((1, 2), keepdim=True)
    mixtures = torch.randn(channels, len(waves)) / len(waves) ** 0.5
    return ROUGH * torch.einsum("cw,whv->chv", mixtures, waves)


def _deviation(x: Tensor) -> Tensor:
    """Standard deviations over 5x5 of n c h w."""
    mean = F.avg_pool2d(x, 5, 2)
    return torch.sqrt((F.avg_pool2d(x * x, 5, 2) - mean * mean).clamp(min=0) + 1e-4)
