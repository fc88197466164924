"""The style network of lengstrom/fast-style-transfer, from TensorFlow variables.

Like Johnson et al. 2016 with zero padding as TensorFlow's SAME, transposed convolutions, instance normalization after
every convolution, no biases, and an output of 127.5 + 150 tanh. Values are 0..255.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.paint import InstanceNorm

MULTIPLE = 4
MINIMUM = 8
EPS = 1e-3
CONVOLUTIONS = 16  # three, five blocks of two, three
UP = (13, 14)
_VARIABLE = re.compile(r"Variable(?:_(\d+))?")


class Normalized(nn.Module):
    """A convolution without bias, or one of stride 2 transposed, then instance normalization."""

    def __init__(self, weight: Tensor, stride: int, transposed: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.stride, self.transposed = stride, transposed
        self.norm = InstanceNorm(weight.shape[1 if transposed else 0], eps=EPS, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self._convolve(x))

    def _convolve(self, x: Tensor) -> Tensor:
        if self.transposed:  # SAME: the last row and column beyond twice the size are cut
            return F.conv_transpose2d(x, self.weight, stride=2)[..., : 2 * x.shape[2], : 2 * x.shape[3]]
        if self.stride == 2:  # SAME pads even sizes at the end only
            return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, stride=2)
        return F.conv2d(x, self.weight, padding=self.weight.shape[2] // 2)


class FastStyleTransfer(nn.Module):
    """RGB n 3 h w, range 0..255, to the same, not clamped (-22.5..277.5); h and w are multiples of 4. Convolutions run
    in the dtype of the weights; the output has the dtype of the input."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Normalized(weight, 2 if index in (1, 2) else 1, index in UP) for index, weight in enumerate(weights)
        )

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self.layers)
        h = x.to(next(self.parameters()).dtype)
        for layer in layers[:3]:
            h = F.relu(layer(h))
        for one, two in zip(layers[3:13:2], layers[4:13:2], strict=True):
            h = h + two(F.relu(one(h)))
        for layer in layers[13:15]:
            h = F.relu(layer(h))
        return torch.tanh(layers[15](h).to(x.dtype)) * 150 + 127.5


def detect(state: Mapping[str, Tensor]) -> bool:
    """Whether these are TensorFlow's variables of the network, or the tensors of our module."""
    if all(f"layers.{index}.norm.weight" in state for index in range(CONVOLUTIONS)):
        return len(state) == 3 * CONVOLUTIONS and state["layers.0.weight"].shape[1:] == (3, 9, 9)
    if len(state) != 3 * CONVOLUTIONS or not all(_VARIABLE.fullmatch(name) for name in state):
        return False
    first = state.get("Variable")
    return first is not None and first.shape[:3] == (9, 9, 3)


def from_state_dict(state: Mapping[str, Tensor]) -> FastStyleTransfer:
    """Builds the network of either naming and loads the weights. KeyError, RuntimeError: they do not fit.

    Variables come in the order convolution (h w in out; transposed h w out in), shift, scale.
    """
    ours = _from_variables(state) if "Variable" in state else dict(state)
    net = FastStyleTransfer([torch.zeros_like(ours[f"layers.{index}.weight"]) for index in range(CONVOLUTIONS)])
    net.load_state_dict(ours)
    return net


def _from_variables(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    in_order = [state["Variable" if number == 0 else f"Variable_{number}"] for number in range(3 * CONVOLUTIONS)]
    ours: dict[str, Tensor] = {}
    for index in range(CONVOLUTIONS):
        weight, shift, scale = in_order[3 * index : 3 * index + 3]
        # The last two axes are (in, out) of a convolution and (out, in) of a transposed one, and torch has (out, in)
        # and (in, out): the same permutation for both.
        ours[f"layers.{index}.weight"] = weight.permute(3, 2, 0, 1).contiguous()
        ours[f"layers.{index}.norm.weight"], ours[f"layers.{index}.norm.bias"] = scale, shift
    return ours
