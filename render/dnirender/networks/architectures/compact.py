"""Real-ESRGAN's compact network (SRVGGNetCompact, Wang et al. 2021), and its forward without the final pixel-shuffle.

The names and the output are those of spandrel's module, so that weights of ours load there and elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.pixel_shuffle import reorder_channels


class CompactNet(nn.Module):
    """RGB n 3 h w, range 0..1, to RGB n 3 scale*h scale*w, not clamped.

    A first convolution, `convolutions` of `features` channels, each with a PReLU, and a last one, all 3x3, make what is
    added to the input enlarged by repeating its pixels.
    """

    side = 1
    """It reads pixels as they are."""

    def __init__(self, features: int, convolutions: int, scale: int) -> None:
        super().__init__()
        self.upscale = self.scale = scale
        layers: list[nn.Module] = []
        for inputs in (3, *[features] * convolutions):
            layers += [nn.Conv2d(inputs, features, 3, padding=1), nn.PReLU(features)]
        self.body = nn.ModuleList([*layers, nn.Conv2d(features, 3 * scale * scale, 3, padding=1)])

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        for layer in self.body:
            residual = layer(residual)
        return F.pixel_shuffle(residual, self.scale) + F.interpolate(x, scale_factor=float(self.scale), mode="nearest")

    def forward_unshuffled(self, x: Tensor) -> Tensor:
        return forward_unshuffled(self, x)


def from_state_dict(state: Mapping[str, Tensor]) -> CompactNet:
    """Builds the network for a state dict, in its dtype, and loads the weights.

    Raises:
        KeyError: `state` lacks a layer of a CompactNet.
        RuntimeError: names or shapes do not fit (raised by `load_state_dict`).
    """
    first = state["body.0.weight"]
    last = state[f"body.{last_layer(state)}.bias"]
    scale = round((len(last) / 3) ** 0.5)
    net = CompactNet(len(first), last_layer(state) // 2 - 1, scale).to(first.dtype)
    net.load_state_dict(dict(state))
    return net


def last_layer(state: Mapping[str, Tensor]) -> int:
    """The place of the last convolution in `body`. KeyError: there is none."""
    places = [int(name.split(".")[1]) for name in state if name.startswith("body.") and name.endswith(".bias")]
    if not places:
        raise KeyError("body.0.bias")
    return max(places)


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
