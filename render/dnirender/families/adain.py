"""AdaIN (Huang & Belongie, ICCV 2017) and conditional instance norm (Dumoulin et al., ICLR 2017) as endpoints.

Features f are normalized to IN(f), with mean 0 and deviation 1 over space, and get the deviation and the mean of a
style: y = sigma IN(f) + mu. Between two styles the affine is linear, so the path is that of two endpoints. From content
to style, y = (1 - level) f + level (sigma IN(f) + mu), needs the skip of a gain: 1 for content, 0 for a style.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.errors import MediaError, ModelError
from dnirender.frames import Image, to_uint8
from dnirender.media.images import read_image
from dnirender.media.resize import middle, resize_to
from dnirender.networks.architectures import paint
from dnirender.networks.architectures.conditional_style import split_styles
from dnirender.networks.architectures.style_encoder import MULTIPLE, StyleEncoder, affines, split

EPS = 1e-5
PAINT, ENCODER, STYLES = "paint.", "encoder.", "styles."
LAST = ("last.weight", "last.bias")
SHORT_SIDE = 384  # pixels, of a style picture before the encoder: larger gives larger strokes
LONGEST = 4  # times the short side; of a longer picture the middle is looked at
SMALLEST = 32  # pixels, short side


class StyledNorm(nn.Module):
    """n c h w to the same: weight IN(f) + bias + skip f, factors for each channel. It is at first the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.skip = nn.Parameter(torch.ones(channels))

    def forward(self, f: Tensor) -> Tensor:
        return F.instance_norm(f, weight=self.weight, bias=self.bias, eps=EPS) + self.skip[:, None, None] * f


def style_of(features: Tensor) -> tuple[Tensor, Tensor]:
    """sigma and mu of a style, c, from its features 1 c h w."""
    spread = (features.var((0, 2, 3), unbiased=False) + EPS).sqrt()
    return spread, features.mean((0, 2, 3))


def content_endpoint(channels: int) -> dict[str, Tensor]:
    """The weights of a `StyledNorm` that lets features through."""
    return {"weight": torch.zeros(channels), "bias": torch.zeros(channels), "skip": torch.ones(channels)}


def style_endpoint(features: Tensor) -> dict[str, Tensor]:
    """The weights of a `StyledNorm` that gives features the deviation and mean of `features`, 1 c h w."""
    spread, mean = style_of(features)
    return {"weight": spread, "bias": mean, "skip": torch.zeros_like(mean)}


def conditional_endpoint(state: Mapping[str, Tensor], style: int) -> dict[str, Tensor]:
    """The weights of one style of a network with conditional instance norm, whose endpoints differ in the affines."""
    return split_styles(state)[style]


def read_style(path: Path) -> Image:
    """The picture of a style, h w 3 bytes, of the size that the encoder looks at. MediaError: it is none, or has a
    short side below `SMALLEST` pixels."""
    image = to_uint8(read_image(path)[0])
    height, width = image.shape[:2]
    short = min(height, width)
    if short < SMALLEST:
        raise MediaError(f"{path}: {width}x{height}: expected a style picture of {SMALLEST} pixels or more each way")
    image = middle(image, LONGEST * short)
    height, width = (max(1, round(side * SHORT_SIDE / short / MULTIPLE)) * MULTIPLE for side in image.shape[:2])
    return resize_to(image, width, height)


def endpoint(state: Mapping[str, Tensor], code: Tensor | None) -> dict[str, Tensor]:
    """The weights of the painter of a network for any style in the style of a code; without one, those that return the
    input.

    `state` has a painter, `paint.*`, whose gamma and beta are those of the photograph, and an encoder, `encoder.*`,
    which says what a style adds to them. KeyError, RuntimeError: it has not.
    """
    painter = {name.removeprefix(PAINT): value for name, value in state.items() if name.startswith(PAINT)}
    if code is None:
        return painter | {name: torch.zeros_like(painter[name]) for name in LAST}
    own = affines(paint.from_state_dict(painter))
    with torch.inference_mode():
        added = _encoder(state).affines_of(code).clone()
    return painter | {name: painter[name] + value for name, value in split(added, own).items()}


def code_of(state: Mapping[str, Tensor], style: Image) -> Tensor:
    """The code of a picture, h w 3 bytes, sides multiples of 16, for `endpoint`."""
    encoder = _encoder(state)
    x = torch.from_numpy(np.ascontiguousarray(style)).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        return encoder.code_of(encoder.features(x))[0].clone()


def stored_code(state: Mapping[str, Tensor], name: str) -> Tensor:
    """The code of a style that the file has by name. ModelError: it has none of that name."""
    if (code := state.get(f"{STYLES}{name}")) is not None:
        return code
    known = [key.removeprefix(STYLES) for key in state if key.startswith(STYLES)]
    raise ModelError(f"{name}: has no style, and the file none of that name; expected a picture, or {', '.join(known)}")


def _encoder(state: Mapping[str, Tensor]) -> StyleEncoder:
    return StyleEncoder.of({n.removeprefix(ENCODER): v for n, v in state.items() if n.startswith(ENCODER)})
