"""PaintNet: a small feed-forward style network that can also be the identity.

As in Johnson et al. 2016, convolutions with instance normalisation (Ulyanov et al. 2017) between a coarser stem and a
finer head, but the stem is a pixel unshuffle instead of a 9x9 convolution at full size, most of the work is done at 1/4
and 1/8 of the size, where strokes are made, and skip connections preserve contours. The head predicts a gain and an
offset for every pixel and channel, `out = x * (1 + gain) + offset`: with a last layer of zeros it is exactly the
identity, so that the original photograph can be an endpoint too. Its state dict may hold what tunable networks add
(`adapters.py`).

Instance normalisation divides by the deviation of the picture at hand, whatever it is: it makes strokes of the noise of
a dark frame, and all of a picture changes when one bright spot leaves it. A norm with a `deviation` s, that of its
channels over pictures of the training, divides by the root of a mean of both variances (shrinkage to a prior), p 0.4:

    y = gain (x - mean) / sqrt((1 - p) var + p s^2) + shift

It is computed as gain / sqrt(1 - p) (z - mean) / sqrt(var(z) + p / (1 - p)) + shift with z = x / s, by the runtimes'
own instance normalisation; the convolution makes z, its weights divided by s.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.adapters import TuningBlock, adafm_kernels, insert_adafm, transformer
from dnirender.networks.architectures.gain import SIDE, GainHead, GainNet, UnshuffledConv, apply_gain
from dnirender.networks.pixel_shuffle import reorder_channels

WIDTHS = (32, 64, 80)
BLOCKS = (2, 3, 1)  # residual blocks at 1/4, at 1/8, and at 1/4 again
# The stem gets 8-bit codes around their middle: bfloat16 represents small integers exactly, but few n / 255. Instance
# normalisation removes the constant.
MAX_CODE, MID_CODE = 255.0, 128.0
PRIOR = 0.4  # with less a fade from black is still painted with noise, with more strokes fade between paintings
DEVIATION = ".norm.deviation"  # how the names of the deviations in training end


class ReplicatePad(torch.autograd.Function):
    """`F.pad(x, (1, 1, 1, 1), mode="replicate")`, n c h w to n c h+2 w+2, in channels_last memory.

    F.pad copies to contiguous memory and back, in forward and backward: a third of a training step.
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
    """3x3 with replicate padding: with zero padding the network learns to paint a border around the image."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride, bias=False)

    def pad(self, input: Tensor) -> Tensor:
        """What the kernel is applied to."""
        return _replicate_pad(input)

    def forward(self, input: Tensor, scale: Tensor | None = None) -> Tensor:
        """`scale` multiplies the output, a factor for each channel."""
        return F.conv2d(self.pad(input), _scaled(self.weight, scale), None, self.stride)


class Stem(UnshuffledConv):
    """3x3 over pixel-unshuffled images with replicate padding."""

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs, 0, bias=False)

    def forward(self, input: Tensor, scale: Tensor | None = None) -> Tensor:
        """`scale` multiplies the output, a factor for each channel."""
        return F.conv2d(_replicate_pad(input), reorder_channels(_scaled(self.weight, scale), SIDE, 1), None, 1, 0)


def _scaled(weight: Tensor, scale: Tensor | None) -> Tensor:
    return weight if scale is None else weight * scale[:, None, None, None]


def _replicate_pad(x: Tensor) -> Tensor:
    """Replicate padding by 1. Tracing (to compile the network) uses torch's own operation, as in `InstanceNorm`."""
    traced = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return F.pad(x, (1, 1, 1, 1), mode="replicate") if traced else ReplicatePad.apply(x)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation by `F.batch_norm` per image, which keeps channels_last; `F.instance_norm` does not.

    `deviation`, if there is one, is that of each channel of what it normalises in training, see `Normalised`.
    """

    deviation: nn.Parameter | None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_parameter("deviation", None)

    def forward(self, input: Tensor) -> Tensor:
        return self.normalise(input, self.weight)

    def normalise(self, input: Tensor, gain: Tensor, eps: float | None = None) -> Tensor:
        """`forward` with another gain for each channel, and another `eps`."""
        eps = self.eps if eps is None else eps
        if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
            return F.instance_norm(input, None, None, gain, self.bias, eps=eps)
        images = [F.batch_norm(one, None, None, gain, self.bias, training=True, eps=eps) for one in input.split(1)]
        return images[0] if len(images) == 1 else torch.cat(images)


class AdaFMNorm(InstanceNorm):
    """An `InstanceNorm` with AdaFM behind it (see `adapters.AdaFMConv`): a norm would undo it before."""

    level = 1.0

    def __init__(self, norm: InstanceNorm, kernel: int = 1) -> None:
        super().__init__(norm.num_features, eps=norm.eps, affine=True)
        self.weight, self.bias = norm.weight, norm.bias
        self.transformer = transformer(norm.num_features, kernel, "replicate")

    def normalise(self, input: Tensor, gain: Tensor, eps: float | None = None) -> Tensor:
        features = super().normalise(input, gain, eps)
        return features + self.level * self.transformer(features)


ADAFM = (InstanceNorm, AdaFMNorm)
"""Where AdaFM goes, for `insert_adafm`."""


class Normalised(nn.Module):
    """A convolution without bias, then instance normalisation with a gain and a shift per channel."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = InstanceNorm(conv.out_channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.norm.deviation is None:
            return self.norm(self.conv(x))
        z, gain = self.conv(x, 1 / self.norm.deviation), self.norm.weight * (1 - PRIOR) ** -0.5
        return self.norm.normalise(z, gain, eps=PRIOR / (1 - PRIOR))


class Block(nn.Module):
    """x + norm(conv(relu(norm(conv(x)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Normalised(Convolution(channels, channels))
        self.second = Normalised(Convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)

    def residual(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)))


class BranchedBlock(Block):
    """skip x + the residual of the block + that of `branch`, `skip` a factor for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.branch = Block(channels)
        self.skip = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.residual(x) + self.branch.residual(x)


class PaintNet(GainNet):
    """RGB n 3 h w, range 0..1, to RGB of the same shape and dtype, not clamped. h and w are multiples of `multiple`.

    `widths` are the channels at 1/2, 1/4 and 1/8 of the image size, `blocks` the number of residual blocks at 1/4,
    1/8 and 1/4. Convolutions run in the dtype of the weights; gain and offset are applied to `x` in its own dtype.
    """

    multiple = 8
    minimum = 16  # a single pixel at 1/8 cannot be normalised

    def __init__(self, widths: tuple[int, ...] = WIDTHS, blocks: tuple[int, ...] = BLOCKS) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.stem = Normalised(Stem(half))
        self.stem.norm.eps *= MAX_CODE**2  # scaled like the variance of its input
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
        nn.init.zeros_(self.last.bias)  # pyright: ignore[reportArgumentType] - it has a bias
        self.tuning_blocks: nn.Module = nn.ModuleDict()

    def add_tuning_blocks(self) -> None:
        """Adds those of Dynamic-Net, which change nothing at first: after the blocks at 1/4, at 1/8, at 1/4 again."""
        quarter, eighth = self.down.conv.out_channels, self.deeper.conv.out_channels
        blocks = (TuningBlock(channels, "replicate") for channels in (quarter, eighth, quarter))
        self.tuning_blocks = nn.ModuleDict({f"tuning_block{number}": block for number, block in enumerate(blocks)})

    def _tuned(self, h: Tensor, number: int) -> Tensor:
        block = getattr(self.tuning_blocks, f"tuning_block{number}", None)
        return h if block is None else block(h)

    def normalised(self) -> dict[str, Normalised]:
        """Its layers with normalisation, by name."""
        return {name: layer for name, layer in self.named_modules() if isinstance(layer, Normalised)}

    def forward_unshuffled(self, x: Tensor) -> Tensor:
        half = F.relu(self.stem((x * MAX_CODE - MID_CODE).to(self.last.weight.dtype).permute(0, 3, 1, 2)))
        quarter = F.relu(self.down(half))
        for block in self.before:
            quarter = block(quarter)
        quarter = self._tuned(quarter, 0)
        h = F.relu(self.deeper(quarter))
        for block in self.deep:
            h = block(h)
        h = F.relu(quarter + _upsample(self.up(self._tuned(h, 1))))
        for block in self.after:
            h = block(h)
        h = F.relu(half + _upsample(self.upper(self._tuned(h, 2))))
        h = F.relu(self.fine(h))
        return apply_gain(x, self.last(_replicate_pad(h), x.dtype))


def from_state_dict(state: Mapping[str, Tensor]) -> PaintNet:
    """Builds the network for a state dict, in its dtype, and loads the weights.

    Raises:
        KeyError: `state` lacks a layer of a PaintNet.
        RuntimeError: names or shapes do not fit (raised by `load_state_dict`).
    """
    widths = tuple(state[f"{layer}.conv.weight"].shape[0] for layer in ("stem", "down", "deeper"))
    blocks = tuple(len({name.split(".")[1] for name in state if name.startswith(f"{part}.")}) for part in BLOCK_LISTS)
    net = PaintNet(widths, blocks)
    for name in [name.removesuffix(".skip.weight") for name in state if name.endswith(".skip.weight")]:
        parent, _, number = name.rpartition(".")
        setattr(net.get_submodule(parent), number, BranchedBlock(state[f"{name}.skip.weight"].shape[0]))
    insert_adafm(net, adafm_kernels(state), ADAFM)
    if any(name.startswith("tuning_blocks.") for name in state):
        net.add_tuning_blocks()
    for name, layer in net.normalised().items():
        if (deviation := state.get(f"{name}{DEVIATION}")) is not None:
            layer.norm.deviation = nn.Parameter(torch.ones_like(deviation), requires_grad=False)
    net = net.to(state["last.weight"].dtype)
    net.load_state_dict(dict(state))
    return net


def without_deviations(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights alone, which a training goes on from."""
    return {name: value for name, value in state.items() if not name.endswith(DEVIATION)}


def with_deviations(state: Mapping[str, Tensor], pictures: Iterable[Tensor]) -> dict[str, Tensor]:
    """A state dict with the `deviation` of every norm, in place of any that it has: the geometric mean over
    `pictures`, each 1 3 h w, RGB 0..1, with the instance normalisation of each picture alone."""
    weights = without_deviations(state)
    net = from_state_dict({name: value.float() for name, value in weights.items()})
    layers = net.normalised()
    found: dict[str, list[Tensor]] = {name: [] for name in layers}

    def watch(name: str) -> Callable[[InstanceNorm, tuple[Tensor, ...], Tensor], None]:
        def measure(norm: InstanceNorm, inputs: tuple[Tensor, ...], _: Tensor) -> None:
            found[name].append((inputs[0].var((0, 2, 3), correction=0) + norm.eps).log() / 2)

        return measure

    for name, layer in layers.items():
        layer.norm.register_forward_hook(watch(name))
    with torch.no_grad():
        for picture in pictures:
            net(picture)
    return weights | {f"{name}{DEVIATION}": torch.stack(values).mean(0).exp() for name, values in found.items()}


BLOCK_LISTS = ("before", "deep", "after")
INNER = ("down.", "before.", "deeper.", "deep.", "up.", "after.", "upper.", "fine.")
"""What the names of the layers between the first and the last begin with, all of them normalised convolutions."""


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
