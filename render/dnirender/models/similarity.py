"""How near the weights of two networks are, layer by layer, and what that predicts of the path between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dnirender.networks.weights import WeightPath

SAME_FAMILY, FAR, UNRELATED = VERDICTS = ("same family", "far", "unrelated")
"""From the best to the worst path."""
MIN_CORRELATION = 0.15  # below, no pair is known whose middle is a picture
LOW_CORRELATION = 0.5  # below, middles are muddy
GOOD_RATIO, MAX_RATIO = 0.5, 1.0


@dataclass(frozen=True)
class LayerDifference:
    """How one tensor differs in two files: Pearson's r (NaN if one is constant), |a - b| / |a| in L2, largest
    |a - b|."""

    name: str
    shape: tuple[int, ...]
    correlation: float
    distance: float
    largest: float

    @property
    def is_matrix(self) -> bool:
        """Whether it is a convolution or a matrix, rather than a bias or a gain."""
        return math.prod(self.shape[1:]) > 1


def compare_tensors(name: str, a: Tensor, b: Tensor) -> LayerDifference:
    """Compares two tensors of one shape, in float64."""
    x, y = a.double().flatten(), b.double().flatten()
    difference = x - y
    norm, distance = float(x.norm()), float(difference.norm())
    largest = float(difference.abs().max()) if len(x) else 0.0
    relative = distance / norm if norm else (math.inf if distance else 0.0)
    return LayerDifference(name, tuple(a.shape), pearson(x, y), relative, largest)


def pearson(x: Tensor, y: Tensor) -> float:
    """Pearson's r of two vectors; NaN if one is constant."""
    x, y = x - x.mean(), y - y.mean()
    scale = float(x.norm() * y.norm())
    return min(1.0, max(-1.0, float(torch.dot(x, y)) / scale)) if scale > 0 else math.nan


def mean_correlation(layers: Sequence[LayerDifference]) -> float:
    """The mean of r over convolutions and matrices; NaN if there are none."""
    found = [layer.correlation for layer in layers if layer.is_matrix and math.isfinite(layer.correlation)]
    return sum(found) / len(found) if found else math.nan


def compare_endpoints(path: WeightPath, first: int, second: int) -> list[LayerDifference]:
    """The layers of two endpoints of a path, by their numbers, in the order of the network."""
    one, two = path.stack[first], path.stack[second]
    return [compare_tensors(view.name, view.of(one), view.of(two)) for view in path.layout]


def relative_distance(path: WeightPath, first: int, second: int) -> float:
    """|a - b| / |a| in L2 of all weights of two endpoints together."""
    one, two = path.stack[first].double(), path.stack[second].double()
    norm, distance = float(one.norm()), float((one - two).norm())
    return distance / norm if norm else (math.inf if distance else 0.0)


def verdict(correlation: float, ratio: float | None) -> str:
    """What a pair is, from the mean correlation of its weights and the path ratio of its pictures.

    The ratio, mean |f(middle) - mean of the ends| / mean |f(A) - f(B)|, decides where it is known; correlation alone
    predicts less: pairs at 0.4 and at 0.6 may have equal paths.
    """
    if correlation < MIN_CORRELATION or (ratio is not None and not ratio <= MAX_RATIO):
        return UNRELATED
    limit = correlation < LOW_CORRELATION if ratio is None else ratio >= GOOD_RATIO
    return FAR if limit else SAME_FAMILY


def doubtful_pair(path: WeightPath, pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], float] | None:
    """Of pairs of endpoints, that with the lowest correlation, and this; None if all are high enough to be mixed."""
    known = ((pair, mean_correlation(compare_endpoints(path, *pair))) for pair in pairs)
    low = [(pair, value) for pair, value in known if value < LOW_CORRELATION]
    return min(low, key=lambda found: found[1], default=None)
