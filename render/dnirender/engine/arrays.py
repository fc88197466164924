"""Arrays and tensors of users as frames of the engine, and rendered frames in the form that they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dnirender.errors import UsageError
from dnirender.frames import Frame, Image
from dnirender.media.resize import with_opacity

Array = TypeVar("Array", npt.NDArray[Any], Tensor)
CHANNELS = (1, 3, 4)  # gray, RGB, RGBA
DTYPES = ("uint8", "uint16", "float32")
FLOAT_SCALE = 65535  # float32 is rendered as 16 bits
LUMA = np.array([0.2126, 0.7152, 0.0722])  # Rec. 709, of values as they are stored


@dataclass(frozen=True)
class Form:
    """How images came. Rank 2 is h w, 3 has channels too, 4 is a batch; `device` is None for a numpy array."""

    rank: int
    channels: int
    dtype: str
    device: torch.device | None


def to_frames(images: object) -> tuple[list[Frame], Form]:
    """The frames of one image or a batch, numbered from 0, and their form. UsageError: not a form that is rendered."""
    if isinstance(images, Tensor):
        device, dtype, layouts = images.device, str(images.dtype).removeprefix("torch."), "h w, c h w or n c h w"
        shape, channel_axis = list(images.shape), -3
    elif isinstance(images, np.ndarray):
        device, dtype, layouts = None, str(images.dtype), "h w, h w c or n h w c"
        shape, channel_axis = list(images.shape), -1
    else:
        raise UsageError(f"images: expected a numpy array or a torch tensor, got {type(images).__name__}")
    if dtype not in DTYPES:
        raise UsageError(f"images: expected uint8, uint16 or float32 in 0..1, got {dtype}")
    channels = shape[channel_axis] if len(shape) > 2 else 1
    if len(shape) not in (2, 3, 4) or channels not in CHANNELS or 0 in shape:
        raise UsageError(f"images: expected {layouts} with c 1, 3 or 4, got shape {shape}{_hint(shape, device)}")
    pixels: Image = images.detach().cpu().numpy() if isinstance(images, Tensor) else images
    if len(shape) == 2:
        pixels = pixels[:, :, None]
    elif device is not None:
        pixels = np.moveaxis(pixels, -3, -1)
    batch = pixels if len(shape) == 4 else pixels[None]
    return [_to_frame(number, image) for number, image in enumerate(batch)], Form(len(shape), channels, dtype, device)


def from_rendered(images: Sequence[Image], frames: Sequence[Frame], form: Form) -> Any:
    """Rendered images in the form of the frames that they were made from, contiguous."""
    ready = [_from_rendered(image, frame, form) for image, frame in zip(images, frames, strict=True)]
    batch = np.stack(ready)
    if form.device is not None and form.rank > 2:
        batch = np.ascontiguousarray(np.moveaxis(batch, -1, -3))
    result = batch if form.rank == 4 else batch[0]
    result = result[:, :, 0] if form.rank == 2 else result
    return result if form.device is None else torch.from_numpy(result).to(form.device)


def _hint(shape: Sequence[int], device: torch.device | None) -> str:
    if len(shape) not in (3, 4) or (shape[-3] in CHANNELS) == (shape[-1] in CHANNELS):
        return ""
    return "; an array has its channels last" if device is None else "; a tensor has its channels before h and w"


def _to_frame(number: int, pixels: Image) -> Frame:
    """`pixels` is h w c, uint8, uint16 or float32."""
    if pixels.dtype == np.float32:
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= 1):  # NaN too
            raise UsageError(f"images: expected float32 in 0..1, got {low:g} to {high:g} in image {number}")
        pixels = np.rint(pixels * np.float32(FLOAT_SCALE)).astype(np.uint16)
    color = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.ascontiguousarray(pixels[:, :, :3])
    opacity = np.ascontiguousarray(pixels[:, :, 3]) if pixels.shape[2] == 4 else None
    return Frame(number, number, color, opacity)


def _from_rendered(image: Image, frame: Frame, form: Form) -> Image:
    if form.channels == 1:
        gray = (image @ LUMA)[:, :, None]
        return (gray / FLOAT_SCALE).astype(np.float32) if form.dtype == "float32" else np.rint(gray).astype(image.dtype)
    image = with_opacity(image, frame.opacity)
    return image.astype(np.float32) / np.float32(FLOAT_SCALE) if form.dtype == "float32" else image
