"""DnCNN (Zhang et al. 2017) in the forms that spandrel does not detect: names `dncnn.N`, layers without bias.

3x3 convolutions with ReLU between them and optionally batch normalization; the result is subtracted from the image.
Values are 0..1. The module has spandrel's names and layers, so that all forms can be mixed.
"""

import re
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

EPS = 1e-5
_LAYER = re.compile(r"(dncnn|model)\.(\d+)\.(weight|bias|running_mean|running_var|num_batches_tracked)")


class DnCNN(nn.Module):
    """n c h w, range 0..1, to the same, not clamped. `widths` are the channels before, between and after the layers."""

    def __init__(self, widths: list[int], *, normalized: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
            last = index == len(widths) - 2
            if normalized and index and not last:
                layers.append(nn.BatchNorm2d(outputs, eps=EPS))
            layers += [] if last else [nn.ReLU()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.model(x)


def detect(state: Mapping[str, Tensor], channels: int) -> bool:
    """Whether it is a DnCNN of that many channels in a form that spandrel does not detect."""
    found = [_LAYER.fullmatch(name) for name in state]
    if not found or not all(found) or len({one[1] for one in found if one}) != 1:
        return False
    convolutions = _convolutions(state)
    if len(convolutions) < 3 or any(weight.shape[2:] != (3, 3) for weight in convolutions):
        return False
    if convolutions[0].shape[1] != channels or convolutions[-1].shape[0] != channels:
        return False
    if any(one.shape[0] != two.shape[1] for one, two in pairwise(convolutions)):
        return False
    # A short chain that is called `model` may be any network, such as one with dilated convolutions.
    own = any(name.startswith("dncnn.") for name in state)
    return own or ("model.0.bias" not in state and len(convolutions) >= 8)


def from_state_dict(state: Mapping[str, Tensor]) -> DnCNN:
    """Builds the network and loads the weights; biases that are not there are 0. RuntimeError: they do not fit."""
    convolutions = _convolutions(state)
    widths = [convolutions[0].shape[1], *(weight.shape[0] for weight in convolutions)]
    net = DnCNN(widths, normalized=any(name.endswith(".running_var") for name in state))
    renamed = {_LAYER.sub(r"model.\2.\3", name): tensor for name, tensor in state.items()}
    zeros = {
        f"model.{index}.bias": torch.zeros(layer.out_channels)
        for index, layer in enumerate(net.model)
        if isinstance(layer, nn.Conv2d)
    }
    counts = {name: tensor for name, tensor in net.state_dict().items() if name.endswith("num_batches_tracked")}
    net.load_state_dict(counts | zeros | renamed)
    return net


def _convolutions(state: Mapping[str, Tensor]) -> list[Tensor]:
    numbered = [(int(name.split(".")[1]), tensor) for name, tensor in state.items() if tensor.ndim == 4]
    return [tensor for _, tensor in sorted(numbered, key=lambda pair: pair[0])]
