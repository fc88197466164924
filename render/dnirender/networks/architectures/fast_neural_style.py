"""The style network of jcjohnson/fast-neural-style with instance normalization, from names of an ONNX conversion.

The input is padded once by 40 pixels of reflection, the residual blocks are unpadded and crop their skips. The output
is 150 tanh, times a gain and plus an offset per channel: the mean color that Caffe's feature networks subtract, whose
order, blue first, is that of the channels. Values are 0..255.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.paint import InstanceNorm

MULTIPLE = 4
PAD = 40  # five blocks of two unpadded convolutions at a quarter of the size consume it
MINIMUM = 44  # reflection needs more than PAD
CONVOLUTIONS = 16  # three, five blocks of two, three
UP = (13, 14)


class FastNeuralStyle(nn.Module):
    """RGB n 3 h w, range 0..255, to the same, not clamped; h and w are multiples of 4, at least 44. `widths` are the
    channels at full, half and quarter size. Convolutions run in the dtype of the weights; the output has the dtype of
    the input."""

    gain: Tensor
    offset: Tensor

    def __init__(self, widths: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        full, half, quarter = widths
        down = [nn.Conv2d(3, full, 9, padding=4), nn.Conv2d(full, half, 3, 2, 1), nn.Conv2d(half, quarter, 3, 2, 1)]
        blocks = [nn.Conv2d(quarter, quarter, 3) for _ in range(10)]
        up = [nn.ConvTranspose2d(a, b, 3, 2, 1, 1) for a, b in ((quarter, half), (half, full))]
        self.convs = nn.ModuleList([*down, *blocks, *up, nn.Conv2d(full, 3, 9, padding=4)])
        channels = [full, half, quarter, *[quarter] * 10, half, full]
        self.norms = nn.ModuleList(InstanceNorm(count, affine=True) for count in channels)
        self.gain, self.offset = nn.Parameter(torch.ones(3, 1, 1)), nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = F.pad(x.flip(1), (PAD,) * 4, mode="reflect").to(self.gain.dtype)
        for index in (0, 1, 2):
            h = F.relu(self._normalized(index, h))
        for index in range(3, 13, 2):
            inner = self._normalized(index + 1, F.relu(self._normalized(index, h)))
            h = h[..., 2:-2, 2:-2] + inner
        for index in UP:
            h = F.relu(self._normalized(index, h))
        blue_first = torch.tanh(self.convs[15](h).to(x.dtype)) * 150 * self.gain + self.offset
        return blue_first.flip(1)

    def _normalized(self, index: int, x: Tensor) -> Tensor:
        return self.norms[index](self.convs[index](x))


def detect(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the initializers of a converted network, or the tensors of our module."""
    return set(state) in (set(_names()), set(_names().values()))


def from_state_dict(state: Mapping[str, Tensor]) -> FastNeuralStyle:
    """Builds the network of either naming and loads the weights. KeyError, RuntimeError: they do not fit."""
    ours = {_names().get(name, name): tensor for name, tensor in state.items()}
    widths = [ours[f"convs.{index}.weight"].shape[0] for index in (0, 1, 2)]
    net = FastNeuralStyle((widths[0], widths[1], widths[2]))
    net.load_state_dict(ours)
    return net


def _names() -> dict[str, str]:
    """Our names by those of the conversion."""
    names = {"Mul_B": "gain", "scale_B": "offset"}
    for index in range(CONVOLUTIONS):
        number = index or ""
        names |= {f"convolution{number}_W": f"convs.{index}.weight", f"convolution{number}_B": f"convs.{index}.bias"}
        if index < CONVOLUTIONS - 1:
            names[f"InstanceNormalization_scale{number}"] = f"norms.{index}.weight"
            names[f"InstanceNormalization_B{number}"] = f"norms.{index}.bias"
    return names
