"""Real-ESRGAN's compact network (SRVGGNetCompact, Wang et al. 2021) as spandrel builds it, without its last shuffle."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dnirender.networks.pixel_shuffle import reorder_channels


def forward_unshuffled(module: Any, x: Tensor) -> Tensor:
    """RGB n h w 3 to groups of scale x scale pixels, n h w 3*scale*scale: `module(x)` is what they unfold to.

    Convolutions run in the dtype of the weights; what they find is added to `x` in its own.
    """
    *body, last = module.body
    h = x.permute(0, 3, 1, 2).to(last.weight.dtype)
    for layer in body:
        h = layer(h)
    side: int = module.upscale
    found = F.conv2d(h, reorder_channels(last.weight, side), None, last.stride, last.padding).permute(0, 2, 3, 1)
    return found.to(x.dtype) + reorder_channels(last.bias, side) + _repeated(x, side * side)


def _repeated(x: Tensor, count: int) -> Tensor:
    """The three channels `count` times. On a CPU the product is exact, and done ten times sooner than a copy; compiled
    it would be rounded to bf16, on a GPU perhaps to TF32."""
    if x.is_cuda or torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        return x.index_select(3, torch.arange(3, device=x.device).repeat(count))
    return x @ torch.eye(3, dtype=x.dtype).repeat(1, count)
