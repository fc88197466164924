"""PaintNet: a small feed-forward style network that can also leave its picture alone.

As in Johnson et al. 2016, convolutions with instance normalisation (Ulyanov et al. 2017) between a coarser stem and a
finer head, but the stem is a pixel unshuffle instead of a 9x9 convolution at full size, most of the work is done at 1/4
and 1/8 of the size, where strokes are made, and skips carry contours past it. The head gives a gain and an offset for
every pixel and channel, `out = x * (1 + gain) + offset`: with a last layer of zeros it is the identity exactly, so that
the untouched photograph is an endpoint among the paintings.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.gain import GainHead, GainNet, UnshuffledConv, apply_gain

WIDTHS = (32, 64, 80)
BLOCKS = (2, 3, 1)  # residual blocks at 1/4, at 1/8, and at 1/4 again
# The stem sees codes of 8 bits around their middle: bfloat16 holds small integers exactly, and few of n / 255; what is
# constant over a picture, its normalisation takes away.
CODES, MIDDLE = 255.0, 128.0


class Bordered(torch.autograd.Function):
    """n c h w to n c h+2 w+2 with the border repeated, as `F.pad(x, (1, 1, 1, 1), mode="replicate")` gives it.

    That one leaves channels_last for a copy on the way there and another on the way back: a third of a training step.
    """

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # noqa: ARG004
        n, c, h, w = x.shape
        out = torch.empty((n, c, h + 2, w + 2), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        out[..., 1:-1, 1:-1] = x
        out[..., 0, 1:-1] = x[..., 0, :]
        out[..., -1, 1:-1] = x[..., -1, :]
        out[..., 0] = out[..., 1]
        out[..., -1] = out[..., -2]
        return out

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:  # noqa: ARG004
        (grad,) = grads
        inner = grad[..., 1:-1, 1:-1].clone(memory_format=torch.channels_last)
        inner[..., 0, :] += grad[..., 0, 1:-1]
        inner[..., -1, :] += grad[..., -1, 1:-1]
        for side in (0, -1):
            inner[..., side] += grad[..., 1:-1, side]
            for end in (0, -1):
                inner[..., end, side] += grad[..., end, side]
        return inner


class Convolution(nn.Conv2d):
    """3x3. Borders are repeated: a network that sees zeros there learns to paint frames."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(_bordered(input))


class Stem(UnshuffledConv):
    """3x3 over folded pictures, borders repeated."""

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs, 0, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(_bordered(input))


def _bordered(x: Tensor) -> Tensor:
    """x with its border repeated. Who traces the network to compile it sees torch's own operations, as below."""
    traced = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return F.pad(x, (1, 1, 1, 1), mode="replicate") if traced else Bordered.apply(x)


class InstanceNorm(nn.InstanceNorm2d):
    """Batch normalisation of every picture by itself, which keeps channels_last where `F.instance_norm` does not."""

    def forward(self, input: Tensor) -> Tensor:
        if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
            return super().forward(input)
        parts = [
            F.batch_norm(one, None, None, self.weight, self.bias, training=True, eps=self.eps) for one in input.split(1)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class Normalised(nn.Module):
    """A convolution without bias, then instance normalisation with a gain and a shift per channel."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = InstanceNorm(conv.out_channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Block(nn.Module):
    """x + norm(conv(relu(norm(conv(x)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Normalised(Convolution(channels, channels))
        self.second = Normalised(Convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class PaintNet(GainNet):
    """RGB n 3 h w, range 0..1, to RGB of the same shape and dtype, not clamped. h and w are multiples of `multiple`.

    `widths` are the channels at 1/2, 1/4 and 1/8 of the picture's size, `blocks` the residual blocks at 1/4, 1/8 and
    1/4. Convolutions run in the dtype of the weights; gain and offset are applied to `x` in its own dtype.
    """

    multiple = 8
    minimum = 16  # one pixel at 1/8 cannot be normalised

    def __init__(self, widths: tuple[int, ...] = WIDTHS, blocks: tuple[int, ...] = BLOCKS) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.stem = Normalised(Stem(half))
        self.stem.norm.eps *= CODES**2  # as its input's variance is
        self.down = Normalised(Convolution(half, quarter, 2))
        self.before = nn.ModuleList(Block(quarter) for _ in range(blocks[0]))
        self.deeper = Normalised(Convolution(quarter, eighth, 2))
        self.deep = nn.ModuleList(Block(eighth) for _ in range(blocks[1]))
        self.up = Normalised(Convolution(eighth, quarter))
        self.after = nn.ModuleList(Block(quarter) for _ in range(blocks[2]))
        self.upper = Normalised(Convolution(quarter, half))
        self.fine = Normalised(Convolution(half, half))
        self.last = GainHead(half, 0)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # pyright: ignore[reportArgumentType] - there is one

    def forward_unshuffled(self, x: Tensor) -> Tensor:
        half = F.relu(self.stem((x * CODES - MIDDLE).to(self.last.weight.dtype).permute(0, 3, 1, 2)))
        quarter = F.relu(self.down(half))
        for block in self.before:
            quarter = block(quarter)
        h = F.relu(self.deeper(quarter))
        for block in self.deep:
            h = block(h)
        h = F.relu(quarter + _twice(self.up(h)))
        for block in self.after:
            h = block(h)
        h = F.relu(half + _twice(self.upper(h)))
        h = F.relu(self.fine(h))
        return apply_gain(x, self.last(_bordered(h), x.dtype))


def from_state_dict(state: Mapping[str, Tensor]) -> PaintNet:
    """The network that `state` fits, in the dtype of `state`, with its weights loaded.

    Raises:
        KeyError: `state` lacks a layer of a PaintNet.
        RuntimeError: names or shapes do not fit (raised by `load_state_dict`).
    """
    widths = tuple(state[f"{layer}.conv.weight"].shape[0] for layer in ("stem", "down", "deeper"))
    blocks = tuple(len({name.split(".")[1] for name in state if name.startswith(f"{part}.")}) for part in PARTS)
    net = PaintNet(widths, blocks).to(state["last.weight"].dtype)
    net.load_state_dict(dict(state))
    return net


PARTS = ("before", "deep", "after")


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
