"""Real-ESRGAN's compact network (SRVGGNetCompact, Wang et al. 2021) of spandrel, without the final pixel-shuffle."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dnirender.networks.pixel_shuffle import reorder_channels


def forward_unshuffled(module: Any, x: Tensor) -> Tensor:
    """RGB n h w 3 to n h w 3*scale*scale; `pixel_shuffle` by the scale gives `module(x)`.

    Convolutions run in the dtype of the weights; the residual is added to `x` in the dtype of `x`.
    """
    *body, last = module.body
    h = x.permute(0, 3, 1, 2).to(last.weight.dtype)
    for layer in body:
        h = layer(h)
    factor: int = module.upscale
    residual = F.conv2d(h, reorder_channels(last.weight, factor), None, last.stride, last.padding).permute(0, 2, 3, 1)
    return residual.to(x.dtype) + reorder_channels(last.bias, factor) + _repeat_channels(x, factor * factor)


def _repeat_channels(x: Tensor, count: int) -> Tensor:
    """Repeats the three channels `count` times.

    On a CPU the matrix product is exact and ten times as fast as a copy; OpenVINO would round it to bf16, a GPU to
    TF32.
    """
    if x.is_cuda or torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        return x.index_select(3, torch.arange(3, device=x.device).repeat(count))
    return x @ torch.eye(3, dtype=x.dtype).repeat(1, count)
