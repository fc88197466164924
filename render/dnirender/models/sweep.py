"""Pictures along the path between two networks, and what they show: brightness, contrast, sharpness, path ratio."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dnirender.engine.calibration import calibration_image
from dnirender.frames import Image
from dnirender.models.similarity import GOOD_RATIO
from dnirender.networks.network import LUMA, Network, quantize, to_unit_range
from dnirender.networks.weights import MixedModule, WeightPath

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
MULTIPLICATIONS = 150e9  # of all pictures together: some seconds on two cores
SIDES = (96, 320)  # of a picture, at least and at most
TRIAL_SIDE = 32
ROUNDING = 1e-5  # what sums in another order differ by
NOISE = 40 / 255  # that a denoiser has much to do
FAINT = 4 / 255  # mean |f(A) - f(B)| of networks that hardly differ on pictures: the ratio is one of small errors


@dataclass(frozen=True)
class AlphaPoint:
    """What the pictures at one alpha are, as means over pictures; values are 0..1.

    Brightness is the mean of luma, contrast its standard deviation, sharpness the mean difference of neighbors.
    `to_first` and `to_second` are the mean distances |f - f(A)| and |f - f(B)|. `deviation` is the distance from the
    crossfade of the end pictures, in units of the mean |f(A) - f(B)|: at alpha 0.5, the path ratio.
    """

    alpha: float
    brightness: float
    contrast: float
    sharpness: float
    to_first: float
    to_second: float
    deviation: float


@dataclass(frozen=True, eq=False)
class Sweep:
    """The points along a path, the path ratio, and the pictures by alpha: those that were `rendered` and the crossfades
    of the ends, uint8, a row for each source."""

    points: list[AlphaPoint]
    ratio: float
    rendered: list[list[Image]]
    crossfades: list[list[Image]]

    @property
    def is_faint(self) -> bool:
        """Whether the ends hardly differ on these pictures."""
        return self.points[-1].to_first < FAINT

    @property
    def good_reach(self) -> tuple[float, float]:
        """(a, b): near the ends, up to a and from b, the pictures still deviate as little as those of a good path."""
        good = [point.alpha for point in self.points if point.deviation < GOOD_RATIO]
        bad = [point.alpha for point in self.points if not point.deviation < GOOD_RATIO]
        if not bad:
            return 1.0, 0.0
        below, above = [a for a in good if a < min(bad)], [a for a in good if a > max(bad)]
        return max(below, default=0.0), min(above, default=1.0)


def picture_side(network: Network, pictures: int) -> int:
    """The side of pictures with which a sweep takes a few seconds, whatever the network."""
    height, width = network.padded_size(TRIAL_SIDE, TRIAL_SIDE)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.forward(copy.deepcopy(network.module).eval(), torch.zeros(1, 3, height, width))
    per_pixel = max(1.0, counter.get_total_flops() / 2 / height / width)
    side = math.sqrt(MULTIPLICATIONS / per_pixel / (pictures * len(ALPHAS)))
    return int(min(max(side, SIDES[0]), SIDES[1])) // 8 * 8


def test_pictures(side: int) -> dict[str, Image]:
    """A square picture by name: a scene of discs under noise, so that whatever networks do, these differ on it."""
    return {"test picture": with_noise(calibration_image(side, side))}


def with_noise(picture: Image) -> Image:
    """A picture, uint8 or uint16, under the same noise on every call."""
    peak = np.iinfo(picture.dtype).max
    noise = np.random.default_rng(0).normal(0, NOISE * peak, picture.shape)
    return np.clip(picture + noise, 0, peak).round().astype(picture.dtype)


@torch.inference_mode()
def sweep(network: Network, path: WeightPath, pair: tuple[int, int], pictures: Sequence[Image]) -> Sweep:
    """Renders pictures, uint8 or uint16 [h, w, 3], at ALPHAS between two endpoints of `path`, by their numbers."""
    mixed = MixedModule(path, copy.deepcopy(network.module))
    rows: list[list[Tensor]] = []
    for picture in pictures:
        x = to_unit_range(torch.from_numpy(picture))[None].permute(0, 3, 1, 2)
        rows.append([])
        for alpha in ALPHAS:
            mixed.write(_mixture(len(path.names), pair, alpha))
            rows[-1].append(network.forward(mixed.module, x).clamp(0, 1))
    fades = [[torch.lerp(row[0], row[-1], alpha) for alpha in ALPHAS] for row in rows]
    points = [_point(alpha, k, rows, fades) for k, alpha in enumerate(ALPHAS)]
    middle = points[ALPHAS.index(0.5)].deviation
    return Sweep(points, middle, _images(rows), _images(fades))


def _mixture(count: int, pair: tuple[int, int], alpha: float) -> tuple[float, ...]:
    mixture = [0.0] * count
    mixture[pair[0]], mixture[pair[1]] = 1 - alpha, alpha
    return tuple(mixture)


def _point(alpha: float, k: int, rows: list[list[Tensor]], fades: list[list[Tensor]]) -> AlphaPoint:
    lumas = [_luma(row[k]) for row in rows]
    deviation = _mean([_distance(row[k], fade[k]) for row, fade in zip(rows, fades, strict=True)])
    span = _mean([_distance(row[0], row[-1]) for row in rows])
    return AlphaPoint(
        alpha,
        brightness=_mean([float(luma.mean()) for luma in lumas]),
        contrast=_mean([float(luma.std()) for luma in lumas]),
        sharpness=_mean([float(luma.diff(dim=1).abs().mean() + luma.diff(dim=0).abs().mean()) / 2 for luma in lumas]),
        to_first=_mean([_distance(row[k], row[0]) for row in rows]),
        to_second=_mean([_distance(row[k], row[-1]) for row in rows]),
        deviation=0.0 if deviation < ROUNDING else deviation / span if span else math.inf,
    )


def _luma(image: Tensor) -> Tensor:
    """[h, w] of 1 3 h w."""
    return (image[0] * torch.tensor(LUMA)[:, None, None]).sum(0)


def _distance(one: Tensor, two: Tensor) -> float:
    return float((one - two).abs().mean())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _images(rows: list[list[Tensor]]) -> list[list[Image]]:
    return [[quantize(image.permute(0, 2, 3, 1), torch.uint8)[0].numpy() for image in row] for row in rows]
