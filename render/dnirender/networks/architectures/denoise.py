"""DenoiseNet: a small residual network that predicts the noise of an image, to be subtracted.

Zhang et al.'s DnCNN (TIP 2017) learns the residual, their FFDNet (TIP 2018) works on the pixel-unshuffled image, a
quarter of the cost with twice the receptive field. Here are both, with residual blocks without normalisation between
the first and the last convolution. A last layer of zeros makes it the identity, in every dtype. Its state dict may hold
what tunable networks add (`adapters.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.adapters import BranchedBlock, TuningBlock, adafm_kernels, insert_adafm
from dnirender.networks.architectures.gain import SIDE, GainNet, UnshuffledConv
from dnirender.networks.pixel_shuffle import CHANNELS, reorder_channels

FEATURES, BLOCKS = 32, 6


class ResidualBlock(nn.Module):
    """n c h w to the same: h + conv2(relu(conv1(h)))."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.conv2(F.relu(self.conv1(h)))


class NoiseHead(nn.Conv2d):
    """Last layer: 3x3, to the noise of every value, n h w 12, pixel-unshuffled; stored in torch's channel order."""

    channels_last = True
    """What it makes is n h w c."""

    def __init__(self, features: int) -> None:
        super().__init__(features, CHANNELS * SIDE**2, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = (reorder_channels(parameter, SIDE) for parameter in (self.weight, cast(Tensor, self.bias)))
        return F.conv2d(input, weight, bias, 1, self.padding).permute(0, 2, 3, 1)


class DenoiseNet(GainNet):
    """RGB n 3 h w, range 0..1, to RGB of the same shape and dtype, not clamped. h and w are multiples of `multiple`.

    Convolutions run in the dtype of the weights; the noise is subtracted in that of `x`.
    """

    multiple = SIDE

    def __init__(self, features: int = FEATURES, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.first = UnshuffledConv(features, 1)
        self.body = nn.ModuleList(ResidualBlock(features) for _ in range(blocks))
        self.last = NoiseHead(features)
        self.tuning_blocks = nn.ModuleDict()
        self._initialise()

    @property
    def sites(self) -> list[int]:
        """The numbers of blocks done where `tuning_block0` to 2 are: after a third, two thirds and all of the body."""
        return [-(-len(self.body) * part // 3) for part in (1, 2, 3)]

    def add_tuning_blocks(self) -> None:
        """Adds those of Dynamic-Net, which change nothing at first."""
        for number in range(3):
            self.tuning_blocks[f"tuning_block{number}"] = TuningBlock(self.first.out_channels)

    def forward_unshuffled(self, x: Tensor) -> Tensor:
        h = self.first(x.permute(0, 3, 1, 2).to(self.first.weight.dtype))
        sites = self.sites if self.tuning_blocks else []
        for done, block in enumerate(self.body, 1):
            h = block(h)
            for number, site in enumerate(sites):
                if site == done:
                    h = self.tuning_blocks[f"tuning_block{number}"](h)
        return x - self.last(h).to(x.dtype)

    def _initialise(self) -> None:
        """He initialisation, residual branches weaker, last layer zero."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter)
                parameter.data.mul_(0.4 if ".conv2." in name else 1.0)
            else:
                nn.init.zeros_(parameter)
        nn.init.zeros_(self.last.weight)


def from_state_dict(state: Mapping[str, Tensor]) -> DenoiseNet:
    """Builds the network for a state dict, in its dtype, and loads the weights.

    Raises:
        KeyError: `state` has no `first.weight`, so it is not a DenoiseNet's.
        RuntimeError: names or shapes do not fit (raised by `load_state_dict`).
    """
    features = len(state["first.weight"])
    blocks = sum(name.startswith("body.") and name.endswith(".conv1.weight") for name in state)
    net = DenoiseNet(features, blocks)
    for number in range(blocks):
        if f"body.{number}.skip.weight" in state:
            net.body[number] = BranchedBlock(features, len(state[f"body.{number}.conv1.weight"]))
    insert_adafm(net, adafm_kernels(state))
    if any(name.startswith("tuning_blocks.") for name in state):
        net.add_tuning_blocks()
    net = net.to(state["first.weight"].dtype)
    net.load_state_dict(dict(state))
    return net
