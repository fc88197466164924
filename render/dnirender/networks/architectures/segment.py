"""SegmentNet: a small network that finds the main subject and the sky of an image.

An encoder-decoder from 1/2 down to 1/32 of the image size, as FocusNet, but narrower in its depth: it sees images of a
few hundred pixels, in which 1/32 is a grid of ten cells.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.gain import SIDE, UnshuffledConv, unshuffle
from dnirender.networks.architectures.unet import WIDTHS, UNet, widths_of, with_weights

DILATIONS = (1, 2)  # at 1/32
CLASSES = ("subject", "sky")


class SegmentNet(UNet):
    """RGB n 3 h w, range 0..1, to the logits of `CLASSES`, n 2 h w. h and w are multiples of `multiple`."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        half, *inner = widths
        super().__init__(widths, UnshuffledConv(half, 1), inner[:-2], DILATIONS)
        self.lateral = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(widths, inner, strict=False))
        self.dec = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in (half, *inner[:-1]))
        self.head = nn.Conv2d(half, len(CLASSES) * SIDE**2, 3, padding=1)
        self.initialise(("enc", "deep", "lateral", "dec", "head"))

    def forward(self, x: Tensor) -> Tensor:
        h, skips = self.encode(unshuffle(x))
        return F.pixel_shuffle(self.head(self.decode(h, skips, self.lateral)), SIDE)


def from_state_dict(state: Mapping[str, Tensor]) -> SegmentNet:
    """Builds the network for a state dict, in its dtype, and loads the weights.

    Raises:
        KeyError: `state` has no `stem.weight`, so it is not a SegmentNet's.
        RuntimeError: names or shapes do not fit (raised by `load_state_dict`).
    """
    return with_weights(SegmentNet(widths_of(state)), state)
