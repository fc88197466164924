"""Arbitrary style by adaptive instance normalization (Huang & Belongie, ICCV 2017): an encoder of styles for PaintNet.

A convolution of PaintNet is followed by y = gamma IN(f) + beta. Here gamma and beta of all its norms come from a
picture of a style: a small encoder without norms, the mean and the deviation over space of its features, and a linear
map of these to a code and of the code to gamma and beta, as in Ghiasi et al. (BMVC 2017). So a style is a code, and the
network between two styles has the gamma and beta between theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dnirender.networks.architectures.gain import UnshuffledConv, unshuffle
from dnirender.networks.architectures.paint import PaintNet

WIDTHS = (24, 48, 96, 96)  # channels at 1/2, 1/4, 1/8 and 1/16
CODE = 64
MULTIPLE = 16  # of the sides of a style picture
EPS = 1e-4
FAINT = 1e-3  # a deviation that says nothing
CENTER, SPREAD = 0.45, 0.25  # about the mean and deviation of pictures
AFFINE = (".norm.weight", ".norm.bias")


class StyleEncoder(nn.Module):
    """Pictures n 3 h w, RGB 0..1, sides multiples of 16, to `affines` numbers each, n affines."""

    def __init__(self, affines: int, widths: Sequence[int] = WIDTHS, code: int = CODE) -> None:
        super().__init__()
        half, *others = widths
        self.stem = UnshuffledConv(half, 1)
        inputs = [half, *others[:-1]]
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 3, 2, padding=1) for before, after in zip(inputs, others, strict=True)
        )
        self.code = nn.Linear(2 * sum(widths), code)
        self.affine = nn.Linear(code, affines)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> StyleEncoder:
        """The encoder of a state dict. KeyError, RuntimeError: it is of another network."""
        count = sum(name.startswith("down.") and name.endswith(".bias") for name in state)
        widths = [state[f"{layer}.bias"].numel() for layer in ("stem", *(f"down.{k}" for k in range(count)))]
        encoder = cls(state["affine.bias"].numel(), widths, state["code.bias"].numel())
        encoder.load_state_dict(dict(state))
        return encoder.eval()

    def features(self, x: Tensor) -> list[Tensor]:
        """After each convolution, the finest first."""
        x = ((x - CENTER) / SPREAD).to(self.code.weight.dtype)
        found = [F.relu(self.stem(unshuffle(x).permute(0, 3, 1, 2)))]
        for layer in self.down:
            found.append(F.relu(layer(found[-1])))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.affines_of(self.code_of(self.features(x)))

    def affines_of(self, code: Tensor) -> Tensor:
        """What n codes add to gamma and beta."""
        return self.affine(code)

    def code_of(self, features: Sequence[Tensor]) -> Tensor:
        """The code of a style, n code: linear in the statistics of its features."""
        return self.code(statistics(features))

    @torch.no_grad()
    def begin_codes(self, found: Tensor) -> None:
        """Sets the codes to the first principal components of the statistics of n styles, with deviation 1, so that
        training begins with numbers that tell styles apart."""
        mean, spread = found.mean(0), found.std(0) + FAINT
        _, _, axes = torch.linalg.svd((found - mean) / spread, full_matrices=False)
        count = min(len(axes), self.code.out_features)
        weight = axes[:count] / spread
        weight /= ((found - mean) @ weight.T).std(0).clamp(min=FAINT)[:, None]
        self.code.weight[:count] = weight
        self.code.bias[:count] = -weight @ mean


def statistics(features: Sequence[Tensor]) -> Tensor:
    """The means and the deviations of n feature maps over space, n numbers, one after the other."""
    pairs = ((f.float().mean((2, 3)), (f.float().var((2, 3)) + EPS).sqrt()) for f in features)
    return torch.cat([value for pair in pairs for value in pair], 1)


class StyleNet(nn.Module):
    """A PaintNet `paint`, and the `encoder` that gives it gamma and beta; those of `paint` are the photograph's."""

    def __init__(self) -> None:
        super().__init__()
        self.paint = PaintNet()
        self.encoder = StyleEncoder(sum(value.numel() for value in affines(self.paint).values()))
        nn.init.normal_(self.encoder.affine.weight, std=0.01)
        nn.init.zeros_(self.encoder.affine.bias)

    def forward(self, x: Tensor, styles: Tensor | None = None, mix: Tensor | None = None) -> Tensor:
        """n 3 h w to the same, in g groups of one mixture each: `mix` is g 1+s, the shares of the untouched picture
        and of the s pictures `styles`. Without these, the encoder's features of x, flat, one after the other."""
        if styles is None or mix is None:
            return torch.cat([f.flatten(1) for f in self.encoder.features(x)], 1)
        found = torch.cat([torch.zeros_like(self.encoder.affine.bias)[None], self.encoder(styles)])
        own = affines(self.paint)
        outs: list[Tensor] = []
        for part, shares in zip(x.chunk(len(mix)), mix, strict=True):
            added = split(shares @ found.float(), own)
            weights = {name: value + added[name] for name, value in own.items()}
            for name, value in self.paint.last.named_parameters(prefix="last"):
                weights[name] = value * (1 - shares[0])
            outs.append(functional_call(self.paint, weights, (part,)))
        return torch.cat(outs)


def affines(paint: nn.Module) -> dict[str, Tensor]:
    """gamma and beta of all norms, by name, in order."""
    return {name: value for name, value in paint.named_parameters() if name.endswith(AFFINE)}


def split(values: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One vector as tensors of the names and sizes of `like`."""
    parts = values.split([value.numel() for value in like.values()])
    return dict(zip(like, parts, strict=True))
