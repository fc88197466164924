"""The U-Net generator of pix2pix (Isola et al. 2017), as pytorch-CycleGAN-and-pix2pix stores it.

Eight halvings for 256 x 256 pixels, seven for 128; skip connections; tanh; values are -1..1. Its normalization is over
each image: batch normalization with statistics of the batch, which at test time is one image, or instance
normalization without weights. Dropout, which pix2pix leaves on at test time, is off: frames must not flicker.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dnirender.networks.architectures.paint import InstanceNorm

_RUNNING = (".running_mean", ".running_var", ".num_batches_tracked")
_DOWN = re.compile(r"model\.model\.0\.weight|model(\.model\.[13])+\.model\.1\.weight")


class Level(nn.Module):
    """One level of the U: halves, runs the level below, doubles. Between its ends its input is passed on beside the
    result: n c h w to n 2c h w."""

    def __init__(
        self, outer: int, inner: int, below: nn.Module | None, *, affine: bool, bias: bool, outermost: bool
    ) -> None:
        super().__init__()
        self.outermost = outermost
        down = nn.Conv2d(3 if outermost else outer, inner, 4, 2, 1, bias=bias)
        up = nn.ConvTranspose2d(inner * (2 if below else 1), outer, 4, 2, 1, bias=bias or outermost)
        norm = InstanceNorm(outer, affine=affine)
        middle: list[nn.Module] = [below] if below else []
        if outermost:
            layers = [down, *middle, nn.ReLU(), up]
        elif below:
            layers = [nn.LeakyReLU(0.2), down, InstanceNorm(inner, affine=affine), below, nn.ReLU(), up, norm]
        else:
            layers = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, norm]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        return y if self.outermost else torch.cat([x, y], 1)


class UnetGenerator(nn.Module):
    """RGB n 3 h w, range -1..1, to the same; h and w are multiples of 2 ** len(widths). `widths` are the channels from
    half size down. Convolutions run in the dtype of the weights; the output has the dtype of the input."""

    def __init__(self, widths: list[int], *, affine: bool = True, bias: bool = False) -> None:
        super().__init__()
        level: nn.Module | None = None
        for outer, inner in reversed(list(zip([3, *widths], widths, strict=False))):
            level = Level(outer, inner, level, affine=affine, bias=bias, outermost=inner is widths[0] and outer == 3)
        assert level is not None
        self.model = level

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.model(x.to(next(self.parameters()).dtype)).to(x.dtype))


def detect(state: Mapping[str, Tensor], halvings: int) -> bool:
    """Whether these are the names of a U-Net generator of RGB images with this many halvings."""
    first = state.get("model.model.0.weight")
    return first is not None and first.shape[1:] == (3, 4, 4) and len(_downs(state)) == halvings


def from_state_dict(state: Mapping[str, Tensor]) -> UnetGenerator:
    """Builds the network and loads the weights. Running statistics are left out, as the generator does not use them.
    KeyError, RuntimeError: names or shapes do not fit."""
    widths = [state[name].shape[0] for name in _downs(state)]
    net = UnetGenerator(widths, affine="model.model.1.model.2.weight" in state, bias="model.model.0.bias" in state)
    net.load_state_dict({name: tensor for name, tensor in state.items() if not name.endswith(_RUNNING)})
    return net


def _downs(state: Mapping[str, Tensor]) -> list[str]:
    """The convolutions that halve, from the outside in."""
    return sorted((name for name in state if _DOWN.fullmatch(name)), key=len)
