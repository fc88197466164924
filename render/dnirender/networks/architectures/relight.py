"""RelightNet: a small network without normalisation that changes the lighting of an image.

It predicts a gain and an offset for every pixel and channel, `out = x * (1 + gain) + offset`, so fine detail comes from
the image itself, and with a last layer of zeros it is exactly the identity, in every dtype. The encoder-decoder works
at 1/2 down to 1/32 of the image size (context decides what is sky); the first and last layers work on pixel-unshuffled
images, so that edges of the gain follow edges of the image. Nothing is normalised over space: a lamp that enters the
image does not change the brightness of the rest. With `grain` a texture that repeats every 32 pixels is added to the
first features: paper and hatching stay where they are while the image moves.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from dnirender.networks.architectures.gain import GainHead, GrainedConv, UnshuffledConv, apply_gain
from dnirender.networks.architectures.unet import WIDTHS, UNet, leaky_relu, widths_of, with_weights

DILATIONS = (1, 2, 4)  # at 1/32: the receptive field must reach from the top of the sky to the horizon


class RelightNet(UNet):
    """RGB n 3 h w, range 0..1, to RGB of the same shape and dtype, not clamped. h and w are multiples of `multiple`.

    `widths` are the channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image size. `grain`: with a `GrainedConv`, of zeros
    at first. Convolutions run in the dtype of the weights; the gain and the offset are applied to `x` in its own dtype.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, *, grain: bool = False) -> None:
        half, *inner = widths
        stem = GrainedConv(half, 1, self.multiple) if grain else UnshuffledConv(half, 1)
        super().__init__(widths, stem, inner, DILATIONS)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in zip(widths, inner, strict=False))
        self.dec = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in (half, *inner[:-1]))
        self.fine = nn.Conv2d(half, half, 3, padding=1)
        self.last = GainHead(half, 1)
        self.initialise(("enc", "deep", "up", "dec", "fine"))
        nn.init.zeros_(self.last.weight)

    def forward_unshuffled(self, x: Tensor) -> Tensor:
        h = self.decode(*self.encode(x), self.up)
        h = h + leaky_relu(self.fine(h))
        return apply_gain(x, self.last(h, x.dtype))


def from_state_dict(state: Mapping[str, Tensor]) -> RelightNet:
    """Builds the network for a state dict, in its dtype, and loads the weights.

    Raises:
        KeyError: `state` has no `stem.weight`, so it is not a RelightNet's.
        RuntimeError: names or shapes do not fit (raised by `load_state_dict`).
    """
    return with_weights(RelightNet(widths_of(state), grain="stem.grain" in state), state)
