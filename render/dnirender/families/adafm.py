"""AdaFM (He et al., CVPR 2019, arXiv 1904.08118): filters of single channels behind the convolutions of a network.

Where a norm follows a convolution, they are behind that, which would undo a factor for each channel.

y = c + level (g * c + b), c = W * x + b_c. For a kernel of 1 that is another convolution, to which it is folded:
W' = (1 + level g) W, b_c' = (1 + level g) b_c + level b; a norm's gain and shift alike. Larger kernels stay layers,
with the weights level g, level b.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dnirender.networks.architectures import paint
from dnirender.networks.architectures.adapters import AdaFMConv, insert_adafm
from dnirender.networks.architectures.paint import PaintNet

SUFFIX = ".transformer.weight"


def tunable(net: nn.Module, prefix: str = "body.", kernel: int = 1) -> nn.Module:
    """`net` with AdaFM, which changes nothing at first, behind every convolution whose name begins with `prefix`; of a
    PaintNet behind all norms but that of the first layer."""
    prefixes, layers = (paint.INNER, paint.ADAFM) if isinstance(net, PaintNet) else ((prefix,), (nn.Conv2d, AdaFMConv))
    names = [name for name, layer in net.named_modules() if isinstance(layer, layers[0]) and name.startswith(prefixes)]
    insert_adafm(net, dict.fromkeys(names, kernel), layers)
    return net


def endpoint(state: Mapping[str, Tensor], level: float) -> dict[str, Tensor]:
    """The weights at `level`; those of a network without AdaFM are the same at every level."""
    weights = dict(state)
    for name in [name.removesuffix(SUFFIX) for name in state if name.endswith(SUFFIX)]:
        gain, shift = state[f"{name}{SUFFIX}"] * level, state[f"{name}.transformer.bias"] * level
        if gain.shape[-1] > 1:
            weights |= {f"{name}{SUFFIX}": gain, f"{name}.transformer.bias": shift}
            continue
        conv = _convolution(state, name)
        factor = 1 + gain.flatten()
        bias = state.get(f"{conv}.bias", torch.zeros_like(shift))
        weight = state[f"{conv}.weight"]
        weights[f"{conv}.weight"] = weight * factor.view(-1, *[1] * (weight.ndim - 1))
        weights[f"{conv}.bias"] = bias * factor + shift
        del weights[f"{name}{SUFFIX}"], weights[f"{name}.transformer.bias"]
    return weights


def _convolution(state: Mapping[str, Tensor], name: str) -> str:
    """The convolution or norm that AdaFM is behind: its own layer, or that before it in a sequence."""
    if f"{name}.weight" in state:
        return name
    parent, _, number = name.rpartition(".")
    return f"{parent}.{int(number) - 1}"
