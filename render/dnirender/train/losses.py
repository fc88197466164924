"""Distances that several trainings minimise."""

import torch
from torch import Tensor


def charbonnier(x: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(x^2 + epsilon^2), a |x| with a slope everywhere (Charbonnier et al., ICIP 1994)."""
    return torch.sqrt(x * x + epsilon**2).mean()


def unsteadiness(out: Tensor, again: Tensor, move: Tensor) -> Tensor:
    """How far `again`, n c h w, the output for the same pictures moved up and left by `move` (y, x) pixels, is from
    `out` where they overlap: `charbonnier`."""
    y, x = move.tolist()
    rows, cols = out.shape[-2] - y, out.shape[-1] - x
    return charbonnier(out[..., y:, x:] - again[..., :rows, :cols])


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    """|found - wanted|^2 / |wanted|^2, for each of n, then averaged over n."""
    found, wanted = found.float().flatten(1), wanted.float().flatten(1)
    return ((found - wanted).square().sum(1) / wanted.square().sum(1)).mean()


def variation(x: Tensor) -> Tensor:
    """The total variation of n c h w: mean absolute difference of neighbours."""
    return x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean()
