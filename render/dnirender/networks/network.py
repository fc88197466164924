"""Any checkpoint as a network with stated facts: our own architectures first, then whatever spandrel detects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] - its only common class

from dnirender.errors import ModelError
from dnirender.networks.architectures import compact
from dnirender.networks.checkpoint import Checkpoint, State, load_state_dict
from dnirender.networks.pixel_shuffle import COLOURS, fold, unfold
from dnirender.networks.weights import WeightPath, compare

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor, MaskedImageModelDescriptor

PEAKS = {torch.uint8: 255.0, torch.uint16: 65535.0, torch.int32: 65535.0}
OPENCV = {torch.uint8: cv2.CV_8U, torch.uint16: cv2.CV_16U}
CONVOLUTIONAL = (nn.Conv2d, nn.ConvTranspose2d, nn.PReLU, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)

# What a damaged state dict makes a constructor or `load_state_dict` raise.
MISFITS = (KeyError, IndexError, ValueError, TypeError, RuntimeError, AttributeError, AssertionError)


def _relight(state: State) -> nn.Module:
    from dnirender.networks.architectures import relight

    return relight.from_state_dict(state)


def _paint(state: State) -> nn.Module:
    from dnirender.networks.architectures import paint

    return paint.from_state_dict(state)


ARCHITECTURES: dict[str, Callable[[State], nn.Module]] = {"relight": _relight, "paint": _paint}
"""Ours, by the `architecture` in a safetensors file's metadata. A module states its size `multiple` and, where it
has one, its `minimum`; its scale is 1, its output is in the dtype of its input, and it convolves in the dtype of its
weights. One that has a `side` also takes and gives groups of side x side pixels (`folding`), by `in_groups`."""


def _call(module: nn.Module, x: Tensor) -> Tensor:
    return module(x)


def _call_in_groups(module: Any, x: Tensor) -> Tensor:
    return module.in_groups(x)


@dataclass(frozen=True)
class Network:
    """A module and the facts needed to run it. Two networks are equal when their facts are, whatever their weights.

    `call` takes and gives n c h w, c = `channels`, range 0..1; its output is `scale` times as wide and as high. With
    `folds` it takes n h w c in groups of the first number of pixels square and gives them in groups of the second, as
    `folding` makes them. The input's sides are multiples of `multiple`, at least `minimum`, and equal where `square`.
    With `fp32_input` the picture stays float32 while the weights may be bf16 or fp16; otherwise it is given in their
    dtype.
    """

    architecture: str
    module: nn.Module = field(compare=False)
    call: Callable[[nn.Module, Tensor], Tensor] = field(default=_call, compare=False)
    folds: tuple[int, int] | None = None
    scale: int = 1
    channels: int = 3
    multiple: int = 1
    minimum: int = 0
    square: bool = False
    supports_half: bool = True
    supports_bf16: bool = True
    fp32_input: bool = False

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def channels_last(self) -> bool:
        """Whether n h w c memory helps. It does for convolutions; attention reshapes by `view`, which it breaks."""
        owners = [module for module in self.module.modules() if any(True for _ in module.parameters(recurse=False))]
        return all(isinstance(module, CONVOLUTIONAL) for module in owners)

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """The smallest size the module takes that holds height x width."""
        height, width = (max(side, self.minimum) for side in (height, width))
        height, width = (-(-side // self.multiple) * self.multiple for side in (height, width))
        return (max(height, width), max(height, width)) if self.square else (height, width)

    def render(self, module: nn.Module, pixels: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Pictures n h w 3, uint8 or uint16, to the same `scale` times as large, and n sums that NaN and Inf cannot
        hide in. `module` is this network's own or a copy of it, `dtype` that of its weights."""
        codes, sums = self.codes(module, self.taken(pixels), dtype)
        return self.given(codes, *pixels.shape[1:3]), sums

    def forward(self, module: nn.Module, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """n 3 h w, float32 in 0..1, to n 3 scale*h scale*w, float32, not clamped."""
        y = self._through(module, self.taken(x.permute(0, 2, 3, 1)), dtype)
        return self.given(y, *x.shape[2:]).permute(0, 3, 1, 2)

    def taken(self, pictures: Tensor) -> Tensor:
        """n h w 3 as the network takes them: grown to a size that it takes, in groups. Contiguous."""
        whole = grown(pictures, *self.padded_size(*pictures.shape[1:3]))
        return fold(whole, self.folds[0]) if self.folds else whole

    def given(self, rendered: Tensor, height: int, width: int) -> Tensor:
        """What the network gives for pictures of this size as pictures n scale*h scale*w 3, contiguous."""
        pictures = unfold(rendered, self.folds[1]) if self.folds else rendered
        return pictures[:, : height * self.scale, : width * self.scale].contiguous()

    def codes(self, module: nn.Module, pixels: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """`render` from what `taken` gives, also as int32 that holds 16 bits, to what `given` takes, in its dtype."""
        y = self._through(module, unit(pixels), dtype)
        return rounded(y, pixels.dtype), y.sum(dim=(1, 2, 3))

    def _through(self, module: nn.Module, x: Tensor, dtype: torch.dtype) -> Tensor:
        """What the network takes, n h w c, float32 in 0..1, to what it gives, float32, not clamped."""
        x = x if self.fp32_input else x.to(dtype)
        n, height, width, _ = x.shape
        if self.folds:
            y, expected = self.call(module, x), (n, height, width, COLOURS * self.folds[1] ** 2)
        else:
            planes = x.permute(0, 3, 1, 2)
            planes = planes if self.channels_last else planes.contiguous()
            # A network of one channel takes red, green and blue as three pictures.
            y = self.call(module, planes.reshape(-1, self.channels, height, width))
            expected = (n * 3 // self.channels, self.channels, height * self.scale, width * self.scale)
        if y.shape != expected:
            raise ModelError(f"{self.architecture}: the output is {list(y.shape)}, expected {list(expected)}")
        return (y if self.folds else y.reshape(n, 3, *y.shape[2:]).permute(0, 2, 3, 1)).float()


def unit(pixels: Tensor) -> Tensor:
    """Integers as float32 in 0..1."""
    return pixels.to(torch.float32) / PEAKS[pixels.dtype]


def rounded(y: Tensor, kind: torch.dtype) -> Tensor:
    """Floats as integers over the whole range, clamped, rounded half to even, which has no bias. Contiguous."""
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling()  # pyright: ignore[reportPrivateImportUsage]
    if y.device.type != "cpu" or kind not in OPENCV or traced:
        return y.clamp(0, 1).mul_(PEAKS[kind]).round_().to(kind, memory_format=torch.contiguous_format)
    # Clamped first, as OpenCV wraps what is beyond 32 bits; the rest it does in one pass instead of three.
    values = y.detach().clamp(0, 1).contiguous().view(len(y), -1).numpy()
    codes = cv2.addWeighted(values, PEAKS[kind], values, 0, 0, dtype=OPENCV[kind])
    return torch.from_numpy(codes).view(y.shape)


def grown(pictures: Tensor, height: int, width: int) -> Tensor:
    """n h w c grown at the bottom and the right: mirrored, and beyond a whole mirror image by its last line.

    Contiguous. On a GPU nothing here waits for it.
    """
    for axis, size in (1, height), (2, width):
        length = pictures.shape[axis]
        if size > length:
            lines = (2 * length - 2 - torch.arange(length, size, device=pictures.device)).clamp_(min=0)
            pictures = torch.cat([pictures, pictures.index_select(axis, lines)], axis)
    return pictures.contiguous()


def load(endpoints: Mapping[str, Path]) -> tuple[Network, WeightPath]:
    """The network of the first endpoint and the path through all of them, in order.

    ModelError: a file that cannot be loaded (`load_state_dict`), an architecture nobody knows, endpoints whose
    architecture, facts, names or shapes differ. BatchNorm is mixed in its deployed form, gamma / sqrt(var + eps) and
    beta - mean * gamma / sqrt(var + eps): raw variances do not average.
    """
    labels = _labels(endpoints)
    checkpoints = {name: load_state_dict(path) for name, path in endpoints.items()}
    first, *others = endpoints
    architecture = checkpoints[first].metadata.get("architecture")
    networks = {first: _build(endpoints[first], checkpoints[first].state, architecture)}
    for name in others:
        networks[name] = _build_like(
            checkpoints[first], labels[first], endpoints[name], checkpoints[name], labels[name]
        )
        if networks[name] != networks[first]:
            raise ModelError(
                f"{labels[name]} does not fit {labels[first]}: it is {_told(networks[name])}, "
                f"expected {_told(networks[first])}; endpoints must be fine-tuned from one another"
            )
    for network in networks.values():
        _deploy_batchnorm(network.module)
    states = {name: network.module.state_dict() for name, network in networks.items()}
    compare({labels[name]: state for name, state in states.items()})
    return networks[first], WeightPath(states, channels_last=networks[first].channels_last)


def _labels(endpoints: Mapping[str, Path]) -> dict[str, str]:
    """What messages call the endpoints: the file's name where that is enough."""
    unique = len({path.name for path in endpoints.values()}) == len(endpoints)
    return {name: path.name if unique else f"{name} ({path})" for name, path in endpoints.items()}


def _told(network: Network) -> str:
    return f"{network.architecture} (scale {network.scale}, channels {network.channels})"


def _build_like(expected: Checkpoint, expected_label: str, path: Path, checkpoint: Checkpoint, label: str) -> Network:
    """Old and new names of one architecture may meet here, so each endpoint is built before it is compared."""
    architecture = checkpoint.metadata.get("architecture", expected.metadata.get("architecture"))
    try:
        return _build(path, checkpoint.state, architecture)
    except ModelError:
        compare({expected_label: expected.state, label: checkpoint.state})  # says what is wrong, if it can
        raise


def _build(path: Path, state: State, architecture: str | None) -> Network:
    if architecture not in ARCHITECTURES:
        return _from_spandrel(path, state)
    try:
        module = ARCHITECTURES[architecture](state)
    except MISFITS as error:
        raise ModelError(f"{path}: its weights do not fit the architecture {architecture}: {_line(error)}") from error
    multiple: int = getattr(module, "multiple", 1)
    minimum: int = getattr(module, "minimum", 0)
    side: int | None = getattr(module, "side", None)
    call, folds = (_call_in_groups, (side, side)) if side else (_call, None)
    return Network(architecture, module.float(), call, folds, multiple=multiple, minimum=minimum, fp32_input=True)


def _from_spandrel(path: Path, state: State) -> Network:
    descriptor = _descriptor(path, state)
    name, channels = descriptor.architecture.name, descriptor.input_channels
    if descriptor.purpose == "Inpainting":
        raise ModelError(f"{path}: {name} fills holes under a mask; expected a network from picture to picture")
    if channels not in (1, 3) or descriptor.output_channels != channels:
        raise ModelError(
            f"{path}: {name} turns {channels} channels into {descriptor.output_channels}; expected RGB or gray"
        )
    size = descriptor.size_requirements
    grouped = descriptor.architecture.id == "Compact" and channels == 3
    return Network(
        name,
        descriptor.model.float(),
        # Its public call clamps to 0..1, which would hide an overflow.
        compact.in_groups if grouped else descriptor._call_fn,  # pyright: ignore[reportPrivateUsage]
        (1, descriptor.scale) if grouped else None,
        fp32_input=grouped,
        scale=descriptor.scale,
        channels=channels,
        multiple=size.multiple_of,
        minimum=size.minimum,
        square=size.square,
        supports_half=descriptor.supports_half,
        supports_bf16=descriptor.supports_bfloat16,
    )


def _descriptor(path: Path, state: State) -> ImageModelDescriptor[Any] | MaskedImageModelDescriptor[Any]:
    try:
        import spandrel
    except (ImportError, RuntimeError) as error:  # RuntimeError: operator torchvision::nms does not exist
        cuda = torch.version.cuda
        index = f"https://download.pytorch.org/whl/{'cu' + cuda.replace('.', '') if cuda else 'cpu'}"
        raise ModelError(
            f"{path}: needs spandrel, which cannot be imported ({_line(error)}); install the torchvision that belongs "
            f"to PyTorch {torch.__version__}: pip install torch torchvision --index-url {index}"
        ) from error
    try:
        return spandrel.ModelLoader().load_from_state_dict(dict(state))
    except spandrel.UnsupportedModelError as error:
        names, own = ", ".join(list(state)[:3]), ", ".join(ARCHITECTURES)
        raise ModelError(
            f"{path}: no known network has these weights ({names}, ...); expected one of ours ({own}) or one that "
            "spandrel detects, such as ESRGAN, RealESRGAN Compact, DnCNN or SwinIR"
        ) from error
    except MISFITS as error:
        raise ModelError(
            f"{path}: its weights look like a network that spandrel knows, but do not fit: {_line(error)}"
        ) from error


def _line(error: Exception) -> str:
    """The first line or two of an error, as one: `load_state_dict` writes a page."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200] or type(error).__name__


def _deploy_batchnorm(module: nn.Module) -> None:
    """Makes every BatchNorm gamma' x + beta', with mean 0, variance 1 and eps 0 left in its buffers."""
    for norm in module.modules():
        if (
            isinstance(norm, _BatchNorm)
            and norm.affine
            and norm.running_mean is not None
            and norm.running_var is not None
        ):
            with torch.no_grad():
                gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
                norm.bias.copy_(norm.bias.double() - gain * norm.running_mean.double())
                norm.weight.copy_(gain)
                norm.running_mean.zero_()
                norm.running_var.fill_(1)
                norm.eps = 0.0
