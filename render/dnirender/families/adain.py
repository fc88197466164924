"""AdaIN (Huang & Belongie, ICCV 2017) and conditional instance norm (Dumoulin et al., ICLR 2017) as endpoints.

Features f are normalized to IN(f), with mean 0 and deviation 1 over space, and get the deviation and the mean of a
style: y = sigma IN(f) + mu. Between two styles the affine is linear, so the path is that of two endpoints. From content
to style, y = (1 - level) f + level (sigma IN(f) + mu), needs the skip of a gain: 1 for content, 0 for a style.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.conditional_style import split_styles

EPS = 1e-5


class StyledNorm(nn.Module):
    """n c h w to the same: weight IN(f) + bias + skip f, factors for each channel. It is at first the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.skip = nn.Parameter(torch.ones(channels))

    def forward(self, f: Tensor) -> Tensor:
        return F.instance_norm(f, weight=self.weight, bias=self.bias, eps=EPS) + self.skip[:, None, None] * f


def style_of(features: Tensor) -> tuple[Tensor, Tensor]:
    """sigma and mu of a style, c, from its features 1 c h w."""
    spread = (features.var((0, 2, 3), unbiased=False) + EPS).sqrt()
    return spread, features.mean((0, 2, 3))


def content_endpoint(channels: int) -> dict[str, Tensor]:
    """The weights of a `StyledNorm` that lets features through."""
    return {"weight": torch.zeros(channels), "bias": torch.zeros(channels), "skip": torch.ones(channels)}


def style_endpoint(features: Tensor) -> dict[str, Tensor]:
    """The weights of a `StyledNorm` that gives features the deviation and mean of `features`, 1 c h w."""
    spread, mean = style_of(features)
    return {"weight": spread, "bias": mean, "skip": torch.zeros_like(mean)}


def conditional_endpoint(state: Mapping[str, Tensor], style: int) -> dict[str, Tensor]:
    """The weights of one style of a network with conditional instance norm, whose endpoints differ in the affines."""
    return split_styles(state)[style]
