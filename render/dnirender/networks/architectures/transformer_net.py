"""TransformerNet: the style network of pytorch/examples (fast_neural_style), after Johnson et al. 2016.

9x9 convolution, two of stride 2, residual blocks, two nearest-neighbor upsamplings, 9x9 convolution; instance
normalization, reflection padding. Values are 0..255 on both sides; nothing limits the output.
"""

import re
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.paint import InstanceNorm

MULTIPLE = 4
MINIMUM = 8  # the residual blocks reflect one pixel at a quarter of the size
_RUNNING = (".running_mean", ".running_var", ".num_batches_tracked")
_RESIDUAL = re.compile(r"res(\d+)\.conv1\.conv2d\.weight")


class ReflectedConv(nn.Module):
    """Reflection padding by half the kernel, then a convolution; `upsample` enlarges first, by nearest neighbor."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, upsample: float = 1) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(inputs, outputs, kernel, stride)
        self.upsample, self.pad = upsample, kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=self.upsample, mode="nearest") if self.upsample != 1 else x
        return self.conv2d(F.pad(x, (self.pad,) * 4, mode="reflect"))


class Residual(nn.Module):
    """x + norm(conv(relu(norm(conv(x)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ReflectedConv(channels, channels, 3)
        self.in1 = InstanceNorm(channels, affine=True)
        self.conv2 = ReflectedConv(channels, channels, 3)
        self.in2 = InstanceNorm(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.in2(self.conv2(F.relu(self.in1(self.conv1(x)))))


class TransformerNet(nn.Module):
    """RGB n 3 h w, range 0..255, to the same, not clamped; h and w are multiples of 4. `widths` are the channels at
    full, half and quarter size. Convolutions run in the dtype of the weights; the output has the dtype of the input."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 128), blocks: int = 5) -> None:
        super().__init__()
        full, half, quarter = widths
        self.conv1, self.in1 = ReflectedConv(3, full, 9), InstanceNorm(full, affine=True)
        self.conv2, self.in2 = ReflectedConv(full, half, 3, 2), InstanceNorm(half, affine=True)
        self.conv3, self.in3 = ReflectedConv(half, quarter, 3, 2), InstanceNorm(quarter, affine=True)
        self.blocks = blocks
        for number in range(1, blocks + 1):
            self.add_module(f"res{number}", Residual(quarter))
        self.deconv1, self.in4 = ReflectedConv(quarter, half, 3, upsample=2), InstanceNorm(half, affine=True)
        self.deconv2, self.in5 = ReflectedConv(half, full, 3, upsample=2), InstanceNorm(full, affine=True)
        self.deconv3 = ReflectedConv(full, 3, 9)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.in1(self.conv1(x.to(self.conv1.conv2d.weight.dtype))))
        h = F.relu(self.in2(self.conv2(h)))
        h = F.relu(self.in3(self.conv3(h)))
        for number in range(1, self.blocks + 1):
            h = self.get_submodule(f"res{number}")(h)
        h = F.relu(self.in4(self.deconv1(h)))
        h = F.relu(self.in5(self.deconv2(h)))
        return self.deconv3(h).to(x.dtype)


def detect(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a TransformerNet."""
    needed = ("conv1.conv2d.weight", "in1.weight", "res1.conv1.conv2d.weight", "deconv3.conv2d.weight")
    return all(name in state for name in needed)


def from_state_dict(state: Mapping[str, Tensor]) -> TransformerNet:
    """Builds the network and loads the weights. Running statistics of instance normalization, which old versions of
    PyTorch stored and the network never used, are left out. RuntimeError, KeyError: names or shapes do not fit."""
    widths = [state[f"conv{number}.conv2d.weight"].shape[0] for number in (1, 2, 3)]
    blocks = max(int(found[1]) for name in state if (found := _RESIDUAL.fullmatch(name)))
    net = TransformerNet((widths[0], widths[1], widths[2]), blocks)
    net.load_state_dict({name: tensor for name, tensor in state.items() if not is_running(name)})
    return net


def is_running(name: str) -> bool:
    """Whether it is a statistic that the network does not use."""
    return name.endswith(_RUNNING)
