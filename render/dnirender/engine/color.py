"""Planes to RGB and back on any device, as `media.colorspace` does on the CPU, within one code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dnirender.media.colorspace import code_range, to_rgb_matrix
from dnirender.media.planar import PlanarFormat

DTYPES = {np.dtype(np.uint8): torch.uint8, np.dtype(np.uint16): torch.uint16}


def to_rgb(samples: Tensor, form: PlanarFormat) -> Tensor:
    """Samples [n, form.size] to pixels [n, h, w, 3], uint8 for 8 bits, else uint16 in 0..65535."""
    offset, span, chroma_offset, chroma_span = code_range(form.depth, form.color.full_range)
    luma, cb, cr = _planes(samples, form)
    luma = (luma - offset) / span
    cb, cr = ((_upsample(plane, form) - chroma_offset) / chroma_span for plane in (cb, cr))
    matrix = to_rgb_matrix(form.color.matrix).tolist()
    rgb = torch.stack([luma + row[1] * cb + row[2] * cr for row in matrix], -1)
    return _quantize(rgb, 255 if form.depth == 8 else 65535, form)


def from_rgb(pixels: Tensor, form: PlanarFormat) -> Tensor:
    """Pixels [n, h, w, 3], uint8 or uint16, to samples [n, form.size]."""
    offset, span, chroma_offset, chroma_span = code_range(form.depth, form.color.full_range)
    top = 255 if pixels.dtype == torch.uint8 else 65535
    red, green, blue = (pixels.float() / top).unbind(-1)
    rows = np.linalg.inv(to_rgb_matrix(form.color.matrix)).tolist()
    luma, cb, cr = (row[0] * red + row[1] * green + row[2] * blue for row in rows)
    cb, cr = (_downsample(plane * chroma_span + chroma_offset, form) for plane in (cb, cr))
    planes = [plane.flatten(1) for plane in (luma * span + offset, cb, cr)]
    return _quantize(torch.cat(planes, 1), (1 << form.depth) - 1, form, scale=1)


def _planes(samples: Tensor, form: PlanarFormat) -> list[Tensor]:
    """Float planes [n, rows, columns]."""
    parts = samples.split([rows * columns for rows, columns in form.shapes], 1)
    return [part.reshape(-1, *shape).float() for part, shape in zip(parts, form.shapes, strict=True)]


def _quantize(values: Tensor, top: int, form: PlanarFormat, scale: int | None = None) -> Tensor:
    """`values` times `scale`, by default `top`, rounded half to even and clipped to 0..top."""
    codes = (values * (top if scale is None else scale)).round_().clamp_(0, top)
    return codes.to(DTYPES[form.dtype])


def _upsample(plane: Tensor, form: PlanarFormat) -> Tensor:
    """A chroma plane in the size of luma, see `colorspace.upsample`."""
    across, down = form.sampling
    if down == 2:
        above, below = _rows(plane, [-1, 0]), _rows(plane, [0, 1])
        pairs = torch.stack([0.25 * above[0] + 0.75 * above[1], 0.75 * below[0] + 0.25 * below[1]], 2)
        plane = pairs.flatten(1, 2)[:, : form.height]
    if across == 2:
        right = torch.cat([plane[..., 1:], plane[..., -1:]], -1)
        plane = torch.stack([plane, 0.5 * (plane + right)], -1).flatten(2)[..., : form.width]
    return plane


def _downsample(plane: Tensor, form: PlanarFormat) -> Tensor:
    """A plane of luma size in the size of chroma, see `colorspace.downsample`."""
    across, down = form.sampling
    if down == 2:
        if plane.shape[1] % 2 and plane.shape[1] > 1:
            plane = torch.cat([plane, 1.5 * plane[:, -1:] - 0.5 * plane[:, -2:-1]], 1)
        padded = F.pad(plane, (0, 0, 1, 2), mode="replicate")
        half = -(-plane.shape[1] // 2)
        above, upper, lower, below = (padded[:, first : first + 2 * half : 2] for first in range(4))
        plane = 0.75 * (upper + lower) - 0.25 * (above + below)
    if across == 2:
        padded = F.pad(plane, (2, 4), mode="replicate")
        half = -(-plane.shape[2] // 2)
        even, odd = padded[..., ::2], padded[..., 1::2]
        left, center, right = (even[..., first : first + half] for first in range(3))
        plane = 0.75 * center - 0.125 * (left + right) + 0.25 * (odd[..., :half] + odd[..., 1 : half + 1])
    return plane


def _rows(plane: Tensor, steps: Sequence[int]) -> list[Tensor]:
    """The plane moved up by so many rows, where the first and the last row repeat."""
    padded = F.pad(plane, (0, 0, 1, 1), mode="replicate")
    return [padded[:, 1 + step : 1 + step + plane.shape[1]] for step in steps]
