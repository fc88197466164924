"""Any checkpoint as a network with stated facts: our own architectures first, then whatever spandrel detects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import torch
from torch import Tensor, nn

from dnirender.errors import ModelError
from dnirender.networks.pixel_shuffle import CHANNELS, pixel_shuffle, pixel_unshuffle

PEAKS = {torch.uint8: 255.0, torch.uint16: 65535.0, torch.int32: 65535.0}
OPENCV = {torch.uint8: cv2.CV_8U, torch.uint16: cv2.CV_16U}
CONVOLUTIONAL = (nn.Conv2d, nn.ConvTranspose2d, nn.PReLU, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)


def call_module(module: nn.Module, x: Tensor) -> Tensor:
    return module(x)


def call_unshuffled(module: Any, x: Tensor) -> Tensor:
    return module.forward_unshuffled(x)


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
        codes, sums = self.infer_quantized(module, self.preprocess(pixels), dtype)
        return self.given(codes, *pixels.shape[1:3]), sums

    def forward(self, module: nn.Module, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """n 3 h w, float32 in 0..1, to n 3 scale*h scale*w, float32, not clamped."""
        y = self._through(module, self.preprocess(x.permute(0, 2, 3, 1)), dtype)
        return self.given(y, *x.shape[2:]).permute(0, 3, 1, 2)

    def preprocess(self, pictures: Tensor) -> Tensor:
        """n h w 3 as the network takes them: grown to a size that it takes, in groups. Contiguous."""
        whole = pad_reflect(pictures, *self.padded_size(*pictures.shape[1:3]))
        return pixel_unshuffle(whole, self.shuffle_factors[0]) if self.shuffle_factors else whole

    def given(self, rendered: Tensor, height: int, width: int) -> Tensor:
        """What the network gives for pictures of this size as pictures n scale*h scale*w 3, contiguous."""
        pictures = pixel_shuffle(rendered, self.shuffle_factors[1]) if self.shuffle_factors else rendered
        return pictures[:, : height * self.scale, : width * self.scale].contiguous()

    def infer_quantized(
        self, module: nn.Module, pixels: Tensor, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        """`render` from what `taken` gives, also as int32 that holds 16 bits, to what `given` takes, in its dtype."""
        y = self._through(module, to_unit_range(pixels), dtype)
        return quantize(y, pixels.dtype), y.sum(dim=(1, 2, 3))

    def _through(self, module: nn.Module, x: Tensor, dtype: torch.dtype) -> Tensor:
        """What the network takes, n h w c, float32 in 0..1, to what it gives, float32, not clamped."""
        x = x if self.fp32_input else x.to(dtype)
        n, height, width, _ = x.shape
        if self.shuffle_factors:
            y, expected = self.call(module, x), (n, height, width, CHANNELS * self.shuffle_factors[1] ** 2)
        else:
            planes = x.permute(0, 3, 1, 2)
            planes = planes if self.channels_last else planes.contiguous()
            # A network of one channel takes red, green and blue as three pictures.
            y = self.call(module, planes.reshape(-1, self.channels, height, width))
            expected = (n * 3 // self.channels, self.channels, height * self.scale, width * self.scale)
        if y.shape != expected:
            raise ModelError(f"{self.architecture}: the output is {list(y.shape)}, expected {list(expected)}")
        return (y if self.shuffle_factors else y.reshape(n, 3, *y.shape[2:]).permute(0, 2, 3, 1)).float()


def to_unit_range(pixels: Tensor) -> Tensor:
    """Integers as float32 in 0..1."""
    return pixels.to(torch.float32) / PEAKS[pixels.dtype]


def quantize(y: Tensor, kind: torch.dtype) -> Tensor:
    """Floats as integers over the whole range, clamped, rounded half to even, which has no bias. Contiguous."""
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling()  # pyright: ignore[reportPrivateImportUsage]
    if y.device.type != "cpu" or kind not in OPENCV or traced:
        return y.clamp(0, 1).mul_(PEAKS[kind]).round_().to(kind, memory_format=torch.contiguous_format)
    # Clamped first, as OpenCV wraps what is beyond 32 bits; the rest it does in one pass instead of three.
    values = y.detach().clamp(0, 1).contiguous().view(len(y), -1).numpy()
    codes = cv2.addWeighted(values, PEAKS[kind], values, 0, 0, dtype=OPENCV[kind])
    return torch.from_numpy(codes).view(y.shape)


def pad_reflect(pictures: Tensor, height: int, width: int) -> Tensor:
    """n h w c grown at the bottom and the right: mirrored, and beyond a whole mirror image by its last line.

    Contiguous. On a GPU nothing here waits for it.
    """
    for axis, size in (1, height), (2, width):
        length = pictures.shape[axis]
        if size > length:
            lines = (2 * length - 2 - torch.arange(length, size, device=pictures.device)).clamp_(min=0)
            pictures = torch.cat([pictures, pictures.index_select(axis, lines)], axis)
    return pictures.contiguous()
