"""Losses that several kinds of training share."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.2126, 0.7152, 0.0722)  # BT.709
WINDOW = 64  # pixels, side of the windows in which texture is judged
LATTICE = 8  # pixels, the coarsest stride of our networks
LOWEST = 0.085  # cycles per pixel: what is slower than this is form, not texture
RING = 0.05  # cycles per pixel
BLOCKS = (8, 16)  # pixels, sides of the blocks whose mean colors are compared
STEP = 0.012  # of 0..1: a difference of neighbouring blocks that the eye still takes for the same surface
FAINT = 1e-3  # power of the rounding to 8 bits: (1 / 255)^2 / 12 by the sum of squares of the window, 576


def charbonnier(x: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(x^2 + epsilon^2), a |x| with a slope everywhere (Charbonnier et al., ICIP 1994)."""
    return torch.sqrt(x * x + epsilon**2).mean()


def noise_sensitivity(out: Tensor, again: Tensor, move: Tensor) -> Tensor:
    """How far `again`, n c h w, the output for the same images moved up and left by `move` (y, x) pixels, is from
    `out` where they overlap: `charbonnier`."""
    y, x = move.tolist()
    rows, cols = out.shape[-2] - y, out.shape[-1] - x
    return charbonnier(out[..., y:, x:] - again[..., :rows, :cols])


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """|found - wanted|^2 / |wanted|^2, for each of n, then averaged over n."""
    found, wanted = found.float().flatten(1), wanted.float().flatten(1)
    return ((found - wanted).square().sum(1) / wanted.square().sum(1)).mean()


def total_variation(x: Tensor) -> Tensor:
    """The total variation of n c h w: mean absolute difference of neighboring pixels."""
    return x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean()


def lattice(x: Tensor) -> Tensor:
    """What n 3 h w has in common with the pixel grid: the variance over the 64 places of a pixel in its 8 x 8 block of
    the luma's mean at that place, taken over windows of 64 pixels. Strides and pixel shuffles leave such patterns."""
    windows = _windows(luma(x))
    side = WINDOW // LATTICE
    return windows.unflatten(-1, (side, LATTICE)).unflatten(-3, (side, LATTICE)).mean((-4, -2)).var((-2, -1)).mean()


def periodicity(x: Tensor) -> Tensor:
    """How far the texture of n 3 h w is one wave repeated, per window of 64 pixels (Hann) of the luma, n windows.

    The power spectrum P is looked at in rings r of `RING` cycles per pixel from `LOWEST` on: the mean over the rings of
    log(N sum P^2 / (sum P)^2), with N frequencies in a ring, weighted by f^2 sum P, which makes up for the 1 / f^2 of
    pictures. 0: all waves of a length are as strong; about log 2: noise; log N: a single wave.
    """
    values = _windows(luma(x))
    hann = torch.hann_window(WINDOW, periodic=False, device=x.device)
    values = (values - values.mean((-2, -1), keepdim=True)) * hann[:, None] * hann
    places, frequency, rings = (tensor.to(x.device) for tensor in _rings())
    power = torch.fft.rfft2(values).abs().square().flatten(-2)[..., places] + FAINT
    sizes, total = rings.sum(0), power @ rings
    concentration = torch.log(sizes * (power.square() @ rings) / total.square())
    weights = total * (rings.T @ frequency / sizes).square()
    return (weights * concentration).sum(-1) / weights.sum(-1)


@functools.cache
def _rings() -> tuple[Tensor, Tensor, Tensor]:
    """Of the frequencies that are texture: their places in a flattened spectrum, themselves, and their rings, one-hot.
    On the CPU, as finding them on a GPU would wait for it."""
    frequency = torch.hypot(torch.fft.fftfreq(WINDOW)[:, None], torch.fft.rfftfreq(WINDOW)).flatten()
    places = ((frequency > LOWEST) & (frequency < 0.5)).nonzero()[:, 0]
    frequency = frequency[places]
    return places, frequency, F.one_hot(((frequency - LOWEST) / RING).long()).float()


def plainness(x: Tensor, slope: float = 0.03) -> Tensor:
    """exp(-s / slope) per window of 64 pixels of n 3 h w, n windows: s is the standard deviation of the luma there
    after averaging 8 x 8 pixels. 1 where nothing is to be seen."""
    side = WINDOW // LATTICE
    blocks = _windows(luma(x)).unflatten(-1, (side, LATTICE)).unflatten(-3, (side, LATTICE)).mean((-3, -1))
    return torch.exp(-blocks.flatten(-2).std(-1) / slope)


def blotchiness(out: Tensor, picture: Tensor) -> Tensor:
    """How much the color of `out` changes where that of `picture` does not, both n 3 h w: the mean absolute difference
    of neighbouring blocks, weighted by exp(-d / `STEP`) with d the largest difference of the picture's channels there;
    the sum over the sides of `BLOCKS`."""
    total = out.new_zeros(())
    for side in BLOCKS:
        ours, theirs = F.avg_pool2d(out, side), F.avg_pool2d(picture, side)
        for axis in (2, 3):
            weight = torch.exp(-theirs.diff(dim=axis).abs().amax(1, keepdim=True) / STEP)
            total = total + (weight * ours.diff(dim=axis).abs()).mean()
    return total


def luma(x: Tensor) -> Tensor:
    """n 3 h w to n h w."""
    return (x * x.new_tensor(LUMA).view(3, 1, 1)).sum(1)


def _windows(x: Tensor) -> Tensor:
    """n h w to n windows 64 64; pixels beyond the last complete window are dropped."""
    return x.unfold(1, WINDOW, WINDOW).unfold(2, WINDOW, WINDOW).flatten(1, 2)
