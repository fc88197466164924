"""AdaFM (He et al., CVPR 2019, arXiv 1904.08118): filters of single channels behind the convolutions of a network.

y = c + level (g * c + b), c = W * x + b_c. For a kernel of 1 that is another convolution, to which it is folded:
W' = (1 + level g) W, b_c' = (1 + level g) b_c + level b. Larger kernels stay layers, with the weights level g, level b.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dnirender.networks.architectures.adapters import insert_adafm

SUFFIX = ".transformer.weight"


def tunable(net: nn.Module, prefix: str = "body.", kernel: int = 1) -> nn.Module:
    """`net` with AdaFM, which changes nothing at first, behind every convolution whose name begins with `prefix`."""
    names = [name for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d) and name.startswith(prefix)]
    insert_adafm(net, dict.fromkeys(names, kernel))
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
        weights[f"{conv}.weight"] = state[f"{conv}.weight"] * factor.view(-1, 1, 1, 1)
        weights[f"{conv}.bias"] = bias * factor + shift
        del weights[f"{name}{SUFFIX}"], weights[f"{name}.transformer.bias"]
    return weights


def _convolution(state: Mapping[str, Tensor], name: str) -> str:
    """The convolution that AdaFM is behind: its own layer, or that before it in a sequence."""
    if f"{name}.weight" in state:
        return name
    parent, _, number = name.rpartition(".")
    return f"{parent}.{int(number) - 1}"
