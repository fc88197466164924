"""RelightNet: a small network without normalisation that changes the lighting of an image.

It predicts a gain and an offset for every pixel and channel, `out = x * (1 + gain) + offset`, so fine detail comes from
the image itself, and with a last layer of zeros it is exactly the identity, in every dtype. The encoder-decoder works
at 1/2 down to 1/32 of the image size (context decides what is sky); the first and last layers work on pixel-unshuffled
images, so that edges of the gain follow edges of the image. Nothing is normalised over space: a lamp that enters the
image does not change the brightness of the rest. With `grain` a texture that repeats every 32 pixels is added to the
first features: paper and hatching stay where they are while the image moves.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.gain import GainHead, GainNet, GrainedConv, UnshuffledConv, apply_gain

WIDTHS = (32, 32, 48, 64, 64)
DILATIONS = (1, 2, 4)  # at 1/32: the receptive field must reach from the top of the sky to the horizon


class RelightNet(GainNet):
    """RGB n 3 h w, range 0..1, to RGB of the same shape and dtype, not clamped. h and w are multiples of `multiple`.

    `widths` are the channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image size. `grain`: with a `GrainedConv`, of zeros
    at first. Convolutions run in the dtype of the weights; the gain and the offset are applied to `x` in its own dtype.
    """

    multiple = 32

    def __init__(self, widths: tuple[int, ...] = WIDTHS, *, grain: bool = False) -> None:
        super().__init__()
        half, *inner = widths
        self.widths = widths
        self.stem = GrainedConv(half, 1, self.multiple) if grain else UnshuffledConv(half, 1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(widths, inner, strict=False))
        self.enc = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in inner)
        self.deep = nn.ModuleList(nn.Conv2d(inner[-1], inner[-1], 3, padding=d, dilation=d) for d in DILATIONS)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in zip(widths, inner, strict=False))
        self.dec = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in (half, *inner[:-1]))
        self.fine = nn.Conv2d(half, half, 3, padding=1)
        self.last = GainHead(half, 1)
        self._initialise()

    def forward_unshuffled(self, x: Tensor) -> Tensor:
        h = _leaky_relu(self.stem(x.permute(0, 3, 1, 2).to(self.stem.weight.dtype)))
        skips: list[Tensor] = []
        for down, enc in zip(self.down, self.enc, strict=True):
            skips.append(h)
            h = _leaky_relu(down(h))
            h = h + _leaky_relu(enc(h))
        for deep in self.deep:
            h = h + _leaky_relu(deep(h))
        for up, dec in zip(reversed(self.up), reversed(self.dec), strict=True):
            h = skips.pop() + F.interpolate(up(h), scale_factor=2.0, mode="bilinear", align_corners=False)
            h = h + _leaky_relu(dec(_leaky_relu(h)))
        h = h + _leaky_relu(self.fine(h))
        return apply_gain(x, self.last(h, x.dtype))

    def _initialise(self) -> None:
        """He initialisation, last layer zero. PyTorch's default makes the context from 1/32 a hundred times weaker."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, 0.1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for name, weight in self.named_parameters():
            if name.startswith(("enc.", "deep.", "up.", "dec.", "fine.")):  # residual branches
                weight.data.mul_(0.4)
        nn.init.zeros_(self.last.weight)


def from_state_dict(state: Mapping[str, Tensor]) -> RelightNet:
    """Builds the network for a state dict, in its dtype, and loads the weights.

    Raises:
        KeyError: `state` has no `stem.weight`, so it is not a RelightNet's.
        RuntimeError: names or shapes do not fit (raised by `load_state_dict`).
    """
    inner = sorted(name for name in state if name.startswith("down.") and name.endswith(".weight"))
    widths = (state["stem.weight"].shape[0], *(state[name].shape[0] for name in inner))
    net = RelightNet(widths, grain="stem.grain" in state).to(state["stem.weight"].dtype)
    net.load_state_dict(dict(state))
    return net


def _leaky_relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)
