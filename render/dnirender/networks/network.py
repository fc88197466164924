"""A network with the properties needed to run it, and pre- and postprocessing between pixels and tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.errors import ModelError
from dnirender.networks.pixel_shuffle import CHANNELS, constants, pixel_shuffle, pixel_unshuffle

MAX_VALUES = {torch.uint8: 255.0, torch.uint16: 65535.0, torch.int32: 65535.0}
OPENCV_DEPTHS = {torch.uint8: cv2.CV_8U, torch.uint16: cv2.CV_16U}
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, BT.601
TRIAL_SIDE = 32  # of the image that shows the scale of a network
CHANNELS_LAST_MODULES = (nn.Conv2d, nn.ConvTranspose2d, nn.PReLU, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)


def call_module(module: nn.Module, x: Tensor) -> Tensor:
    return module(x)


def call_unshuffled(module: Any, x: Tensor) -> Tensor:
    return module.forward_unshuffled(x)


@dataclass(frozen=True)
class Network:
    """A module and the properties needed to run it. Networks compare equal if their properties do, ignoring weights.

    `call(module, x)` maps n c h w, c = `channels`, range 0..1, to n c scale*h scale*w. With `shuffle_factors` (a, b) it
    maps n h/a w/a 3*a*a to n h/a w/a 3*b*b instead: pixel-unshuffled by a, to be pixel-shuffled by b, in the channel
    order of `pixel_shuffle`; then scale = b / a. Input sides must be multiples of `multiple`, at least `minimum`, and
    equal if `square`. With `fp32_input` the input stays float32 when the weights are bf16 or fp16; otherwise it is
    converted to their dtype. A network with one channel gets red, green and blue as three images, or with `luma` their
    luma alone: the change of it is added to the three colors, which keeps chroma. `notes` say where in their files the
    weights were found, if not as plain state dicts.
    """

    architecture: str
    module: nn.Module = field(compare=False)
    call: Callable[[nn.Module, Tensor], Tensor] = field(default=call_module, compare=False)
    shuffle_factors: tuple[int, int] | None = None
    scale: int = 1
    channels: int = 3
    multiple: int = 1
    minimum: int = 0
    square: bool = False
    supports_half: bool = True
    supports_bf16: bool = True
    fp32_input: bool = False
    luma: bool = False
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def channels_last(self) -> bool:
        """Whether to use channels_last memory. It is faster for convolutions, but breaks `view` calls in attention."""
        leaves = [module for module in self.module.modules() if any(True for _ in module.parameters(recurse=False))]
        return all(isinstance(module, CHANNELS_LAST_MODULES) for module in leaves)

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """The smallest valid input size (height, width) that is at least height x width."""
        height, width = (max(side, self.minimum) for side in (height, width))
        height, width = (-(-side // self.multiple) * self.multiple for side in (height, width))
        return (max(height, width), max(height, width)) if self.square else (height, width)

    def render(self, module: nn.Module, pixels: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Renders n h w 3, uint8 or uint16, to n scale*h scale*w 3 of the same dtype.

        Also returns the sum of each unclamped output, n float32, which is NaN or Inf if any value is. `module` is this
        network's own or a copy; `dtype` is the dtype of its weights.
        """
        quantized, sums = self.infer_quantized(module, self.preprocess(pixels), dtype)
        return self.postprocess(quantized, *pixels.shape[1:3]), sums

    def forward(self, module: nn.Module, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Maps n 3 h w, float32 in 0..1, to n 3 scale*h scale*w, float32, not clamped."""
        y = self._forward_nhwc(module, self.preprocess(x.permute(0, 2, 3, 1)), dtype)
        return self.postprocess(y, *x.shape[2:]).permute(0, 3, 1, 2)

    def preprocess(self, images: Tensor) -> Tensor:
        """Pads n h w 3 images to a valid size and applies pixel-unshuffle if the network needs it. Contiguous."""
        padded = pad_reflect(images, *self.padded_size(*images.shape[1:3]))
        return pixel_unshuffle(padded, self.shuffle_factors[0]) if self.shuffle_factors else padded

    def postprocess(self, output: Tensor, height: int, width: int) -> Tensor:
        """Applies pixel-shuffle and crops: network output to n scale*height scale*width 3, contiguous."""
        images = pixel_shuffle(output, self.shuffle_factors[1]) if self.shuffle_factors else output
        return images[:, : height * self.scale, : width * self.scale].contiguous()

    def infer_quantized(
        self, module: nn.Module, pixels: Tensor, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        """`render` without `preprocess` and `postprocess`: integer pixels to integer pixels of the same dtype.

        `pixels` is a result of `preprocess`, uint8, uint16, or int32 with 16-bit values; the first result is input for
        `postprocess`, the second is as for `render`.
        """
        y = self._forward_nhwc(module, to_unit_range(pixels), dtype)
        return quantize(y, pixels.dtype), y.sum(dim=(1, 2, 3))

    def _forward_nhwc(self, module: nn.Module, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Runs the network on preprocessed input n h w c, float32 in 0..1; returns n h w c, float32, not clamped."""
        if self.luma:
            return self._forward_luma(module, x, dtype)
        x = x if self.fp32_input else x.to(dtype)
        n, height, width, _ = x.shape
        if self.shuffle_factors:
            y, expected = self.call(module, x), (n, height, width, CHANNELS * self.shuffle_factors[1] ** 2)
        else:
            planes = x.permute(0, 3, 1, 2)
            planes = planes if self.channels_last else planes.contiguous()
            # A single-channel network processes red, green and blue as three images.
            y = self.call(module, planes.reshape(-1, self.channels, height, width))
            expected = (n * 3 // self.channels, self.channels, height * self.scale, width * self.scale)
        self._check_shape(y, expected)
        return (y if self.shuffle_factors else y.reshape(n, 3, *y.shape[2:]).permute(0, 2, 3, 1)).float()

    def _forward_luma(self, module: nn.Module, x: Tensor, dtype: torch.dtype) -> Tensor:
        """`_forward_nhwc` of a network that sees the luma alone."""
        n, height, width, _ = x.shape
        luma = (x * constants(LUMA, x)).sum(3)[:, None]
        y = self.call(module, luma if self.fp32_input else luma.to(dtype))
        self._check_shape(y, (n, 1, height * self.scale, width * self.scale))
        colors = x.permute(0, 3, 1, 2) - luma
        if self.scale > 1:
            colors = F.interpolate(colors, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
        return (colors + y.float()).permute(0, 2, 3, 1)

    def _check_shape(self, y: Tensor, expected: tuple[int, ...]) -> None:
        if y.shape != expected:
            raise ModelError(f"{self.architecture}: the output is {list(y.shape)}, expected {list(expected)}")


@torch.inference_mode()
def with_measured_scale(network: Network, where: str) -> Network:
    """The network with the scale that one image shows. ModelError that begins with `where`: its output has another
    form."""
    given = [1, network.channels, *network.padded_size(TRIAL_SIDE, TRIAL_SIDE)]
    name = network.architecture
    try:
        output = network.call(network.module.eval(), torch.zeros(given))
    except Exception as error:  # the module may be anybody's
        raise ModelError(f"{where}: {name} fails on {' x '.join(map(str, given))}: {error}") from error
    shape = list(getattr(output, "shape", ()))
    scale = shape[2] // given[2] if len(shape) == 4 else 0
    if scale < 1 or shape != [*given[:2], scale * given[2], scale * given[3]]:
        raise ModelError(
            f"{where}: {name} makes {shape} of {given}, expected [1, {network.channels}, scale*h, scale*w]"
        )
    return replace(network, scale=scale)


def to_unit_range(pixels: Tensor) -> Tensor:
    """Integer pixels to float32 in 0..1."""
    return pixels.to(torch.float32) / MAX_VALUES[pixels.dtype]


def quantize(y: Tensor, dtype: torch.dtype) -> Tensor:
    """Floats in 0..1 to integers of `dtype`, clamped and rounded half to even (unbiased). Contiguous."""
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling()  # pyright: ignore[reportPrivateImportUsage]
    if y.device.type != "cpu" or dtype not in OPENCV_DEPTHS or traced:
        return y.clamp(0, 1).mul_(MAX_VALUES[dtype]).round_().to(dtype, memory_format=torch.contiguous_format)
    # Clamp first, as OpenCV wraps around beyond 32 bits; it does the rest in one pass instead of three.
    values = y.detach().clamp(0, 1).contiguous().view(len(y), -1).numpy()
    quantized = cv2.addWeighted(values, MAX_VALUES[dtype], values, 0, 0, dtype=OPENCV_DEPTHS[dtype])
    return torch.from_numpy(quantized).view(y.shape)


def pad_reflect(images: Tensor, height: int, width: int) -> Tensor:
    """Pads n h w c at the bottom and right to height x width by reflection; beyond a full reflection, line 0 repeats.

    Contiguous. Does not synchronize with the GPU.
    """
    if images.dtype == torch.uint16:  # which not every device selects from
        return pad_reflect(images.view(torch.int16), height, width).view(torch.uint16)
    for axis, size in (1, height), (2, width):
        length = images.shape[axis]
        if size > length:
            rows = (2 * length - 2 - torch.arange(length, size, device=images.device)).clamp_(min=0)
            images = torch.cat([images, images.index_select(axis, rows)], axis)
    return images.contiguous()
