"""DenoiseNet: a small residual network that predicts the noise of an image, to be subtracted.

Zhang et al.'s DnCNN (TIP 2017) learns the residual, their FFDNet (TIP 2018) works on the pixel-unshuffled image, a
quarter of the cost with twice the receptive field. Here are both, with residual blocks without normalisation between
the first and the last convolution. A last layer of zeros makes it the identity, in every dtype.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

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

    def __init__(self, features: int) -> None:
        super().__init__(features, CHANNELS * SIDE**2, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = (reorder_channels(parameter, SIDE) for parameter in (self.weight, self.bias))
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
        self._initialise()

    def forward_unshuffled(self, x: Tensor) -> Tensor:
        h = self.first(x.permute(0, 3, 1, 2).to(self.first.weight.dtype))
        for block in self.body:
            h = block(h)
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
    first = state["first.weight"]
    blocks = sum(name.startswith("body.") and name.endswith(".conv1.weight") for name in state)
    net = DenoiseNet(len(first), blocks).to(first.dtype)
    net.load_state_dict(dict(state))
    return net
