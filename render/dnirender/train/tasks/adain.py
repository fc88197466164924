"""Any style: a network that paints like any picture, from gamma and beta that an encoder finds in that picture.

The loss is that of the painters (`tasks/style.py`), with another style in every group of a batch, and

    + distillation sum_l |h_l(e_l(s)) - phi_l(s)|^2 / |phi_l(s)|^2 + peaks sum_k mean max(0, |z_k| - 3)^2
    + relief mean(exp(-|grad x| / `SMOOTH`) |grad y|)

for the encoder's features e of the style pictures s, which heads h of one pixel map to those of VGG19, and the
normalized features z of the painter at 1/8 and 1/4. A network with instance norms likes to put one blob of huge
features where nothing is to be seen, which makes all others small (Karras et al., CVPR 2020); in the output it is a
gray disc. Styles are crops of pictures in other colors, photographs, and photographs drawn by rule.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dnirender.families.adain import ENCODER, STYLES, code_of, read_style
from dnirender.networks.architectures.gain import SIDE
from dnirender.networks.architectures.paint import InstanceNorm
from dnirender.networks.architectures.style_encoder import EPS, WIDTHS, StyleNet, statistics
from dnirender.train.adain_space import AdaINSpace
from dnirender.train.data.photos import load_photos, pick, uniform, view
from dnirender.train.data.style_pictures import drawn, recolored
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
from dnirender.train.recipe import Recipe, choose
from dnirender.train.report import quantized
from dnirender.train.subspace import Mix, Weights
from dnirender.train.task import Apply, Task
from dnirender.train.tasks.style import SHIFT, resized

SETTINGS = {
    "content": 2.0, "style": 11.0, "variation": 0.3, "steadiness": 2.0, "grid": 1000.0, "texture": 4.0,
    "blotches": 50.0, "distillation": 0.1, "peaks": 5.0, "relief": 20.0,
    "noise": 0.02,  # at most, added to the input
    "rescaling": 0.35,  # of the pictures before they are looked at, by exp(-r)..exp(r)
    "side": 192.0,  # of the style pictures, in pixels
    "paintings": 0.6, "drawings": 0.25,  # shares of the styles; the others are photographs
    "recolored": 0.4,  # share of the styles in other colors
}  # fmt: skip
GROUPS = 2  # of a batch, with a style each
FAINT = 0.25  # of a photograph's moments, in the measure of the error: styles without contrast weigh less
LEVELS = (1.0, 0.5, 0.5, 1.5, 1.5)  # weights of colors and features in the error of the style: strokes before dots
PURE, TO_PHOTO = 0.6, 0.25  # shares of the groups in one style, and between that and the photograph
SMOOTH = 0.04  # of 0..1
FIRST_STYLES = 200  # that the codes begin with
PEAK = 3.0  # deviations
WATCHED = ("deeper.norm", "deep.", "up.norm", "after.")  # norms whose outputs have no peaks
DISTILLED = (32, 64, 128)  # channels of relu2_1, 3_1 and 4_1


class AdaIN(Task):
    """The training of `kind: adain`."""

    architecture = "paint"

    def __init__(self, recipe: Recipe, data: Path, features: Path) -> None:
        super().__init__(recipe)
        self.settings = choose(recipe.settings, SETTINGS, "adain")
        self.side = int(self.settings["side"])
        self.photos = load_photos([data / folder for folder in recipe.photos], recipe.training.crop, recipe.held_out)
        self.paintings = [load_photos([data / folder], self.side, recipe.held_out) for folder in recipe.styles]
        self.phi: Features = distilled_vgg19(features)
        self._folder, self._data = features, data
        self._normalized: list[Tensor] = []
        self._heads = [nn.Conv2d(ours, theirs, 1) for ours, theirs in zip(WIDTHS, DISTILLED, strict=False)]
        self.extra = nn.ModuleList(self._heads)

    def network(self) -> nn.Module:
        net = StyleNet()
        for name, layer in net.paint.named_modules():
            if isinstance(layer, InstanceNorm) and name.startswith(WATCHED):
                layer.register_forward_hook(self._note)
        rng = Generator().manual_seed(self.recipe.training.seed)
        with torch.no_grad():
            styles = (self._style(rng)[None] for _ in range(FIRST_STYLES))
            net.encoder.begin_codes(torch.cat([statistics(net.encoder.features(style)) for style in styles]))
        return net

    def space(self, net: nn.Module) -> AdaINSpace:
        return AdaINSpace(net)

    def batch(self, mix: Mix, rng: Generator) -> tuple[Tensor, ...]:  # noqa: ARG002 - drawn here
        """Crops, and those of the first group moved by `move` pixels, both with noise; the style pictures; the shares
        of the photograph and of the styles in every group; then `move`, a dice and a scale."""
        crop, count = self.recipe.training.crop, self.recipe.training.batch
        room = crop + SHIFT
        wide = torch.stack([view(self.photos[pick(rng, len(self.photos))], room, rng) for _ in range(count)])
        y, x = (pick(rng, SHIFT + 1) for _ in range(2))
        sigma = self.settings["noise"] * uniform(rng)
        moved = wide[: count // GROUPS, :, y : y + crop, x : x + crop]
        seen = [part + sigma * torch.randn(part.shape, generator=rng) for part in (wide[..., :crop, :crop], moved)]
        styles = torch.stack([self._style(rng) for _ in range(GROUPS)])
        shares = torch.tensor([self._shares(group, rng) for group in range(GROUPS)])
        scale = math.exp(self.settings["rescaling"] * (2 * uniform(rng) - 1))
        numbers = (torch.tensor(v) for v in ((y, x), uniform(rng), scale))
        return (*(part.clamp(0, 1) for part in seen), styles, shares, *numbers)

    def _style(self, rng: Generator) -> Tensor:
        """3 side side."""
        kind = uniform(rng)
        if kind < self.settings["paintings"]:
            folder = self.paintings[pick(rng, len(self.paintings))]
            picture = view(folder[pick(rng, len(folder))], self.side, rng)
        else:
            photo = self.photos[pick(rng, len(self.photos))]
            by_rule = kind < self.settings["paintings"] + self.settings["drawings"]
            picture = drawn(photo, self.side, rng) if by_rule else view(photo, self.side, rng)
        return recolored(picture, rng) if uniform(rng) < self.settings["recolored"] else picture

    def _shares(self, group: int, rng: Generator) -> list[float]:
        kind, share = uniform(rng), uniform(rng)
        mix = [0.0] * (1 + GROUPS)
        if kind < PURE:
            share = 1.0
        mix[1 + group] = share
        mix[0 if kind < PURE + TO_PHOTO else 1 + (group + 1) % GROUPS] += 1 - share
        return mix

    def loss(self, apply: Apply, mix: Mix, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:  # noqa: ARG002
        picture, moved, styles, shares, move, dice, scale = batch
        settings = self.settings
        self._normalized.clear()
        out = apply(picture, styles, shares)
        peaks = self._peaks(out)
        with torch.autocast(picture.device.type, torch.bfloat16):
            found = self._looked_at(resized(out, float(scale)))
            with torch.no_grad():
                before = self._looked_at(resized(picture, float(scale)))
                wanted = self._looked_at(styles)
        terms = {
            "content": settings["content"] * relative_error(found[-1], before[-1]),
            "style": settings["style"] * self._style_error(found, before, wanted, shares),
            "variation": settings["variation"] * total_variation(out),
            "grid": settings["grid"] * lattice(out),
            "texture": settings["texture"] * self._texture_error(out, picture, styles, shares),
            "blotches": settings["blotches"] * blotchiness(out, picture),
            "distillation": settings["distillation"] * self._distillation(apply, styles, wanted),
        }
        terms |= {"peaks": settings["peaks"] * peaks, "relief": settings["relief"] * relief(out, picture)}
        if dice < 0.5:
            first = apply(moved, styles, shares[:1])
            terms["steadiness"] = 2 * settings["steadiness"] * noise_sensitivity(out[: len(moved)], first, move)
        return terms

    def _note(self, _layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._normalized.append(output)

    def _peaks(self, out: Tensor) -> Tensor:
        """How far single places of the normalized features are from the others, summed over the norms."""
        total = out.new_zeros(())
        for f in self._normalized:
            spread, mean = torch.std_mean(f.float(), (2, 3), keepdim=True)
            z = (f.float() - mean) / (spread + EPS)
            total = total + (z.abs() - PEAK).clamp(min=0).square().mean() * len(f) / len(out)
        return total

    def _looked_at(self, x: Tensor) -> list[Tensor]:
        """The colors themselves, and the features of VGG19."""
        return [x, *self.phi(x)]

    def _style_error(self, found: list[Tensor], before: list[Tensor], styles: list[Tensor], shares: Tensor) -> Tensor:
        """The distance of the moments of every group from those aimed at, summed over the levels."""
        total = found[0].new_zeros((), dtype=torch.float32)
        for weight, f, b, s in zip(LEVELS, found, before, styles, strict=True):
            goals = [Moments.of(style[None]) for style in s]
            for one, own, mix in zip(f.chunk(len(shares)), b.chunk(len(shares)), shares.tolist(), strict=True):
                photo = Moments.pooled(own)
                wanted = Moments.mixed((share, goal) for share, goal in zip(mix, [photo, *goals], strict=True) if share)
                got = Moments.pooled(one)
                for name in ("mean", "covariance"):
                    aim, ours = getattr(wanted, name), getattr(got, name)
                    size = aim.square().sum() + FAINT * getattr(photo, name).square().sum()
                    total = total + weight * (1 + FAINT) * (ours - aim).square().sum() / size / 2 / len(shares)
        return total

    def _texture_error(self, out: Tensor, picture: Tensor, styles: Tensor, shares: Tensor) -> Tensor:
        """How much more periodic plain places are painted than the styles are."""
        own = periodicity(picture).chunk(len(shares))
        goals = [periodicity(style[None]).mean() for style in styles]
        wanted = torch.cat(
            [
                mix[0] * photo + sum(share * goal for share, goal in zip(mix[1:], goals, strict=True))
                for photo, mix in zip(own, shares.tolist(), strict=True)
            ]
        )
        return (plainness(picture) * torch.relu(periodicity(out) - wanted)).mean()

    def _distillation(self, apply: Apply, styles: Tensor, wanted: list[Tensor]) -> Tensor:
        """How far the encoder's features of the styles are from those of VGG19, by the heads."""
        ours = apply(styles)
        total = styles.new_zeros(())
        for head, goal, f in zip(self._heads, wanted[2:], split_features(ours, self.side), strict=True):
            total = total + relative_error(head(f), goal)
        return total

    def finished(self, endpoints: list[Weights]) -> list[Weights]:
        """The network without a lattice on smooth places, with the codes of the recipe's pictures by the names of
        their endpoints, as they are with the int8 encoder that is written."""
        weights = {name: value.detach().cpu() for name, value in endpoints[0].items()}
        weights |= {name: even(weights[name]) for name in ("paint.last.weight", "paint.last.bias")}
        for name, value in weights.items():
            if name.startswith(ENCODER) and value.ndim == 4:
                codes, scale = quantized(value)
                weights[name] = codes * scale.view(-1, 1, 1, 1)
        for goal in self.recipe.endpoints:
            if goal.image is not None:
                weights[f"{STYLES}{goal.name}"] = code_of(weights, read_style(self._data / goal.image))
        return [weights] * len(endpoints)

    def to(self, device: torch.device) -> None:
        super().to(device)
        self.phi = distilled_vgg19(self._folder, device)


def even(head: Tensor) -> Tensor:
    """The weight or bias of a `GainHead` with which the four pixels of a 2 x 2 block get the same of constant features:
    what the sum of a kernel differs from the mean of the four is taken from its values alike."""
    blocks = head.reshape(-1, SIDE**2, *head.shape[1:])
    sums = blocks.mean((3, 4), keepdim=True) if head.ndim == 4 else blocks
    return (blocks - sums + sums.mean(1, keepdim=True)).reshape(head.shape)


def relief(out: Tensor, picture: Tensor) -> Tensor:
    """How much neighboring pixels of `out` differ where those of `picture` do not, both n 3 h w: there any texture
    looks like relief. The weight is exp(-s / `SMOOTH`) with the largest difference s in the 7 x 7 pixels around."""
    total = out.new_zeros(())
    for axis in (2, 3):
        nearby = F.max_pool2d(picture.diff(dim=axis).abs().amax(1, keepdim=True), 7, 1, padding=3)
        total = total + (torch.exp(-nearby / SMOOTH) * out.diff(dim=axis).abs()).mean()
    return total


def split_features(flat: Tensor, side: int) -> list[Tensor]:
    """The features that `StyleNet` gives for style pictures alone, as maps, but those at 1/16."""
    sides = [side >> level for level in range(1, len(WIDTHS) + 1)]
    parts = flat.split([width * side**2 for width, side in zip(WIDTHS, sides, strict=True)], 1)
    maps = [part.unflatten(1, (width, side, side)) for part, width, side in zip(parts, WIDTHS, sides, strict=True)]
    return maps[: len(DISTILLED)]
