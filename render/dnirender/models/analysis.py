"""How the filters of networks relate: in the same places, along a task's level, on the line between two, and in any
order (the questions of Wang et al. 2019, Deep Network Interpolation, section 3.2)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dnirender.errors import UsageError
from dnirender.models.compatibility import endpoint_names, load_or_compare
from dnirender.models.similarity import pearson
from dnirender.networks.weights import WeightPath

Floats = npt.NDArray[np.float64]
MAX_MATCHED = 1024  # filters: the assignment takes their number cubed
SHOWN_FILTERS = 64
SHOWN_CHANNELS = 3  # as red, green and blue


@dataclass(frozen=True)
class Fit:
    """How well a network between two others lies on their line: the alpha that is nearest to it, and the distance that
    is left, relative to that from the nearer end: 0 is on the line, 1 no nearer than an end. For each convolution, and
    for all of them together (`alpha`, `residual`)."""

    first: str
    middle: str
    second: str
    alpha: float
    residual: float
    alphas: list[float]
    residuals: list[float]


@dataclass(frozen=True)
class Matching:
    """The best pairing of the filters of two networks in a layer, whatever their order.

    Mean cosines: `in_place` of filters with the same number, `matched` of the pairing that makes it largest, `chance`
    what the best pairing of random filters of that shape has. `moved` is the share of filters whose partner has
    another number.
    """

    first: str
    second: str
    layer: str
    in_place: float
    matched: float
    chance: float
    moved: float


@dataclass(frozen=True, eq=False)
class Analysis:
    """Networks in the order of their task's level. Tables [network, network] are symmetric.

    `correlations` has Pearson's r of corresponding filters, [pair of neighbors][layer]; `filters` all of them by pair.
    `cosines` has for every network the mean cosine of its filters with the first network's, [network][layer].
    `table` is the mean r over all filters of all layers, `first_table` and `last_table` of the two outer layers.
    `first_filters` and `last_filters` are [n, h, w, 3] by network. `unmatched` says why no filters were matched.
    """

    names: list[str]
    files: list[str]
    architecture: str | None
    layers: list[str]
    table: Floats
    first_table: Floats
    last_table: Floats
    correlations: dict[str, list[float]]
    cosines: dict[str, list[float]]
    fits: list[Fit]
    matchings: list[Matching]
    unmatched: str
    filters: dict[str, Floats] = field(repr=False)
    first_filters: dict[str, Floats] = field(repr=False)
    last_filters: dict[str, Floats] = field(repr=False)


def analyze(paths: Sequence[Path], *, weights_key: str | None = None) -> Analysis:
    """Compares the filters of networks of one architecture, in the order of their task's level.

    Raises:
        UsageError: fewer than two files.
        ModelError: a file cannot be loaded, the networks do not fit one another, or have no convolutions.
    """
    if len(paths) < 2:
        raise UsageError(f"analyze: expected two weights files or more, got {len(paths)}")
    names = endpoint_names(paths)
    network, path, _ = load_or_compare(dict(zip(names, paths, strict=True)), weights_key)
    layers = _convolutions(path)
    states = dict(zip(names, layers, strict=True))
    order = list(layers[0])
    if not order:
        raise UsageError(f"{paths[0]}: expected convolutions, got none in its {len(path.layout)} tensors")
    per_filter = {
        (one, two): {layer: _filter_correlations(states[one][layer], states[two][layer]) for layer in order}
        for k, one in enumerate(names)
        for two in names[k:]
    }
    matchings, unmatched = _matchings(states, order)
    neighbors = {f"{one} and {two}": per_filter[one, two] for one, two in itertools.pairwise(names)}
    return Analysis(
        names,
        [str(file) for file in paths],
        network.architecture if network else None,
        order,
        _table(names, per_filter, order),
        _table(names, per_filter, order[:1]),
        _table(names, per_filter, order[-1:]),
        {pair: [_mean(found[layer]) for layer in order] for pair, found in neighbors.items()},
        {name: [_cosine(states[names[0]][layer], states[name][layer]) for layer in order] for name in names},
        [_fit(states, order, names[0], middle, names[-1]) for middle in names[1:-1]],
        matchings,
        unmatched,
        {pair: np.concatenate([found[layer] for layer in order]) for pair, found in neighbors.items()},
        {name: _pictures_of(states[name][order[0]], outgoing=False) for name in names},
        {name: _pictures_of(states[name][order[-1]], outgoing=True) for name in names},
    )


def _convolutions(path: WeightPath) -> list[dict[str, Tensor]]:
    """The convolutions of every endpoint by name, float64, in the order of the network. A filter is a row."""
    views = [view for view in path.layout if len(view.shape) == 4 and math.prod(view.shape[1:]) > 1]
    return [{view.name: view.of(row).double() for view in views} for row in path.stack]


def _filter_correlations(one: Tensor, two: Tensor) -> Floats:
    """Pearson's r of corresponding filters [n]; NaN where one is constant."""
    return np.array([pearson(x, y) for x, y in zip(one.flatten(1), two.flatten(1), strict=True)])


def _mean(values: Floats) -> float:
    found = values[np.isfinite(values)]
    return float(found.mean()) if len(found) else math.nan


def _table(
    names: Sequence[str], per_filter: Mapping[tuple[str, str], Mapping[str, Floats]], layers: Sequence[str]
) -> Floats:
    table = np.ones((len(names), len(names)))
    for (one, two), found in per_filter.items():
        a, b = names.index(one), names.index(two)
        table[a, b] = table[b, a] = _mean(np.concatenate([found[layer] for layer in layers]))
    return table


def _cosine(one: Tensor, two: Tensor) -> float:
    """The mean cosine of corresponding filters; NaN if one of each is zero, as in the last layer of an identity."""
    x, y = one.flatten(1), two.flatten(1)
    used = (x != 0).any(1) & (y != 0).any(1)
    return float(torch.cosine_similarity(x[used], y[used], dim=1).mean())


def _fit(states: Mapping[str, Mapping[str, Tensor]], layers: Sequence[str], a: str, b: str, c: str) -> Fit:
    lines = [(states[a][layer].flatten(), states[b][layer].flatten(), states[c][layer].flatten()) for layer in layers]
    found = [_fit_line(*line) for line in lines]
    alpha, residual = _fit_line(*(torch.cat(parts) for parts in zip(*lines, strict=True)))
    return Fit(a, b, c, alpha, residual, [one for one, _ in found], [other for _, other in found])


def _fit_line(a: Tensor, b: Tensor, c: Tensor) -> tuple[float, float]:
    """alpha = <b - a, c - a> / |c - a|^2, and |b - ((1 - alpha) a + alpha c)| / min(|b - a|, |b - c|)."""
    span = c - a
    square = float(torch.dot(span, span))
    alpha = float(torch.dot(b - a, span)) / square if square else 0.0
    nearer = min(float((b - a).norm()), float((b - c).norm()))
    return alpha, float((b - a - alpha * span).norm()) / nearer if nearer else 0.0


def _matchings(states: Mapping[str, Mapping[str, Tensor]], layers: Sequence[str]) -> tuple[list[Matching], str]:
    """Matches the outputs of the first layer and the inputs of the last between the first network and each other:
    there the other side is the picture, whose order is fixed."""
    if find_spec("scipy") is None:
        return [], "filters are matched with scipy: pip install 'dnirender[align]'"
    names = list(states)
    found: list[Matching] = []
    for name in names[1:]:
        for layer, outgoing in ((layers[0], False), (layers[-1], True)):
            one, two = (_rows(states[which][layer], outgoing) for which in (names[0], name))
            if 1 < len(one) <= MAX_MATCHED and bool(one.any()) and bool(two.any()):
                found.append(_match(names[0], name, layer, one, two))
    return found, ""


def _rows(weight: Tensor, outgoing: bool) -> Tensor:
    """Filters as unit vectors [n, ...]: by output, or by input for the last layer."""
    rows = (weight.transpose(0, 1) if outgoing else weight).flatten(1)
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _match(first: str, second: str, layer: str, one: Tensor, two: Tensor) -> Matching:
    random = torch.randn(2, *one.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = (rows / rows.norm(dim=1, keepdim=True) for rows in random)
    order, matched = _assign(one @ two.T)
    moved = float(np.mean(order != np.arange(len(order))))
    return Matching(first, second, layer, float((one * two).sum(1).mean()), matched, _assign(a @ b.T)[1], moved)


def _assign(cosines: Tensor) -> tuple[npt.NDArray[np.int64], float]:
    """The pairing of rows and columns with the largest mean, and that mean."""
    from scipy.optimize import linear_sum_assignment  # pyright: ignore[reportMissingImports] - optional

    table = cosines.numpy()
    rows, columns = linear_sum_assignment(table, maximize=True)
    return columns, float(table[rows, columns].mean())


def _pictures_of(weight: Tensor, *, outgoing: bool) -> Floats:
    """Filters as small pictures [n, h, w, 3]: those of the first layer by output, of the last by input. Of more than
    three channels the first three are shown."""
    filters = (weight.transpose(0, 1) if outgoing else weight)[:SHOWN_FILTERS, :SHOWN_CHANNELS]
    filters = filters if filters.shape[1] == SHOWN_CHANNELS else filters[:, :1].expand(-1, SHOWN_CHANNELS, -1, -1)
    return filters.permute(0, 2, 3, 1).numpy()
