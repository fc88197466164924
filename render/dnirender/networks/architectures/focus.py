"""FocusNet: a small network that finds the subject of an image, and a lens that blurs the rest.

An encoder-decoder from 1/2 down to 1/32 of the image size finds the cover of the background, 0..1 for every pixel, and
at 1/32 the radius of the circle of confusion. `lens` renders them, the more weakly the less of a subject there is. The
radius is what the layer `last` says, so it is linear in the weights of that layer: networks that differ in it alone
have half the radius half-way, and with a last layer of zeros the network is the identity, in every dtype.

`lens` works at half the image size, in linear light with the shoulder of film undone, so that what is bright becomes a
disc. Images blurred by discs of a few radii are averages weighted by the cover of the background, without a border
around the subject: the subject's colors do not leak into what is behind it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.gain import UnshuffledConv
from dnirender.networks.architectures.unet import WIDTHS, UNet, widths_of, with_weights
from dnirender.networks.pixel_shuffle import constants

DILATIONS = (1, 2, 4, 8)  # at 1/32: whether there is a subject must be seen from everywhere
RADIUS = 16.0
"""Pixels: the radius of the circle of confusion where `last` gives 1."""

RADII = ((2.0, 4.0, 7.0), (11.0, 16.0))
"""Pixels: the discs, by the scale at which they are made, 1/2 and 1/4 of the image size."""

GAMMA = 2.2
SHOULDER = 0.75  # 1 - 1 / (the light of white); what is white in a photograph was brighter than that
LEAST = 1e-4  # of a pixel value: black, whose logarithm is finite
STEEPNESS = 0.5  # cover per logit
ENOUGH, WITHIN = 0.25, 992  # see `presence`; pixels
TRACE = (1e-2, 1e-4)  # weight of the border around the subject, and of the subject, where there is nothing else


class FocusNet(UNet):
    """RGB n 3 h w, range 0..1, to RGB of the same shape and dtype, not clamped. h and w are multiples of `multiple`.

    `widths` are the channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image size. Convolutions run in the dtype of the
    weights, the lens in that of `x`.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        half, *inner = widths
        super().__init__(widths, UnshuffledConv(half, 1), inner[:-1], DILATIONS)
        self.lateral = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(widths, inner, strict=False))
        self.dec = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in (half, *inner[:-1]))
        self.cover = nn.Conv2d(half, self.side**2, 3, padding=1)
        self.last = nn.Conv2d(inner[-1], 1, 3, padding=1)
        self.initialise(("enc", "deep", "lateral", "dec", "cover", "last"))
        nn.init.constant_(self.last.bias, 0.5)  # pyright: ignore[reportArgumentType] - it has a bias

    def forward_unshuffled(self, x: Tensor) -> Tensor:
        cover, radius = self.find(x)
        return lens(x, cover.to(x.dtype), (radius * presence(cover)).to(x.dtype))

    def find(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """n h/2 w/2 12 to the logits of the background, n h/2 w/2 4, and the radius in `RADIUS`, n 1 h/32 w/32."""
        h, skips = self.encode(x)
        return self.cover(self.decode(h, skips, self.lateral)).permute(0, 2, 3, 1), self.last(h)


def presence(logits: Tensor) -> Tensor:
    """Whether a subject is near, 0..1, n 1 h/32 w/32, from the logits of the background n h/2 w/2 4: 1 where somewhere
    within `WITHIN` it covers `ENOUGH` of 96 x 96 pixels. Without a subject there is nothing to focus on."""
    subject = (0.5 - STEEPNESS * logits).clamp(0, 1).mean(3, keepdim=True).permute(0, 3, 1, 2)
    covered = F.avg_pool2d(F.avg_pool2d(subject, 16), 3, 1, 1, count_include_pad=False)
    reach = WITHIN // 32
    for side in ((1, 0), (0, 1)):
        covered = F.max_pool2d(covered, [1 + 2 * reach * s for s in side], 1, [reach * s for s in side])
    return (covered / ENOUGH).clamp(max=1)


def lens(x: Tensor, logits: Tensor, radius: Tensor) -> Tensor:
    """Blurs the background of n h/2 w/2 12, pixel-unshuffled, by discs; the result has the same shape.

    `logits`, n h/2 w/2 4, are those of the background, row by row; `radius`, n 1 h/32 w/32, is in `RADIUS`, and what
    is below zero is zero.
    """
    size = [x.shape[1], x.shape[2]]
    cover = (0.5 + STEEPNESS * logits).clamp(0, 1)
    border, subject = TRACE
    clear = 1 - F.max_pool2d(1 - cover.amin(3, keepdim=True).permute(0, 3, 1, 2), 3, 1, 1)
    weight = clear + border * cover.mean(3, keepdim=True).permute(0, 3, 1, 2) + subject
    cover = cover.repeat_interleave(3, 3)  # one value per channel of x
    pick = torch.eye(3, dtype=x.dtype, device=x.device).repeat(4, 1)
    share = cover + subject
    own = ((_decode(x) * share) @ pick / (share @ pick)).permute(0, 3, 1, 2)
    wide = F.interpolate(radius.clamp(min=0) * RADIUS, size=size, mode="bilinear", align_corners=False)
    blurred = _discs(torch.cat((own * weight, weight), 1), wide)
    behind = _encode((blurred[:, :3] / blurred[:, 3:]).clamp(min=1e-6))
    strength = (wide / RADII[0][0]).clamp(max=1).permute(0, 2, 3, 1)
    return x + cover * strength * (_doubled(behind) - x)


def _doubled(x: Tensor) -> Tensor:
    """n 3 h w, bilinearly enlarged to n 3 2h 2w, but pixel-unshuffled: n h w 12. It is one convolution."""
    near, far = 0.75, 0.25
    line = constants((far, near, 0.0, 0.0, near, far), x).view(2, 3)
    kernels = (line[:, None, :, None] * line[None, :, None, :]).flatten(0, 1)  # 4 3 3, row by row
    colors = torch.eye(3, dtype=x.dtype, device=x.device)
    weight = (kernels[:, None, None] * colors[None, :, :, None, None]).flatten(0, 1)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight, None).permute(0, 2, 3, 1)


def _discs(x: Tensor, radius: Tensor) -> Tensor:
    """n 4 h w under discs of `radius`, n 1 h w, in pixels of an image of twice the size, between those of `RADII`."""
    out, before = x, 0.0
    for scale, radii in zip((2, 4), RADII, strict=True):
        source = x if scale == 2 else F.avg_pool2d(x, 2)
        for now in radii:
            level = F.conv2d(source, _disc(now / scale, x), None, 1, "same", 1, x.shape[1])
            if scale == 4:
                level = F.interpolate(level, scale_factor=2.0, mode="bilinear", align_corners=False)
            # Below the first of them the image itself is shown, see `_blend`.
            part = ((radius - before) / (now - before)).clamp(0, 1) if before else torch.ones_like(radius)
            out, before = out + part * (level - out), now
    return out


def _disc(radius: float, like: Tensor) -> Tensor:
    """A disc with a soft edge whose sum is 1, as the kernel of a convolution by channel, 4 1 k k."""
    reach = int(radius + 0.5)
    square = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device).square()
    disc = (radius + 0.5 - (square[:, None] + square).sqrt()).clamp(0, 1)
    return (disc / disc.sum()).expand(like.shape[1], 1, -1, -1)


def _decode(x: Tensor) -> Tensor:
    """Pixel values 0..1 to light, with the shoulder undone: white is 1 / (1 - `SHOULDER`)."""
    light = torch.exp(GAMMA * torch.log(x.clamp(LEAST, 1)))  # OpenVINO takes a power value by value
    return light / (1 - SHOULDER * light)


def _encode(light: Tensor) -> Tensor:
    """The inverse of `_decode`."""
    return torch.exp(torch.log(light / (1 + SHOULDER * light)) / GAMMA)


def from_state_dict(state: Mapping[str, Tensor]) -> FocusNet:
    """Builds the network for a state dict, in its dtype, and loads the weights.

    Raises:
        KeyError: `state` has no `stem.weight`, so it is not a FocusNet's.
        RuntimeError: names or shapes do not fit (raised by `load_state_dict`).
    """
    return with_weights(FocusNet(widths_of(state)), state)
