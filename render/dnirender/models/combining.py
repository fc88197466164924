"""New weights from those of several files: weighted sums, and splices."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from torch import Tensor

from dnirender.errors import ModelError, UsageError
from dnirender.models.family import Family
from dnirender.models.groups import GROUPINGS, block_numbers
from dnirender.networks.checkpoint import State

SUM_TOLERANCE = 1e-6


def mix(family: Family, ratios: Sequence[float], *, extrapolate: bool = False) -> State:
    """sum_i ratio_i theta_i, summed in float64 and rounded once; a ratio of 0 takes nothing, one of 1 alone copies.

    Integers (`num_batches_tracked`) are those of the first file with a ratio.

    Raises:
        UsageError: not one ratio per file, they do not add up to 1, or one is outside 0..1 without `extrapolate`.
        ModelError: a file cannot be read or does not fit.
    """
    if len(ratios) != len(family.paths):
        raise UsageError(f"ratios: expected {len(family.paths)}, one for each file, got {len(ratios)}")
    if not all(math.isfinite(ratio) for ratio in ratios) or abs(math.fsum(ratios) - 1) > SUM_TOLERANCE:
        raise UsageError(f"ratios: expected numbers that add up to 1, got {' + '.join(f'{r:g}' for r in ratios)}")
    if not extrapolate and min(ratios) < 0:
        raise UsageError(f"ratios: expected 0 to 1, got {min(ratios):g}; extrapolate=True allows it")
    return _weighted_sum(family, ratios, 1)


def average(family: Family) -> State:
    """The mean of all files; equal files give themselves, exactly. ModelError: a file does not fit."""
    return _weighted_sum(family, [1.0] * len(family.paths), len(family.paths))


def _weighted_sum(family: Family, ratios: Sequence[float], divisor: int) -> State:
    total: dict[str, Tensor] = {}
    others: dict[str, Tensor] = {}
    for ratio, state in zip(ratios, family.states(), strict=True):
        for name, tensor in state.items() if ratio != 0 else ():
            if not tensor.is_floating_point():
                others.setdefault(name, tensor)
            elif name in total:
                total[name].add_(tensor.double(), alpha=ratio)
            else:
                total[name] = tensor.double() * ratio
    mixed = {name: (tensor / divisor).float() if divisor > 1 else tensor.float() for name, tensor in total.items()}
    return {name: mixed[name] if name in mixed else others[name] for name in family.first.state}


def splice(
    family: Family, *, p: float = 0.5, seed: int = 0, by: str = "layer", blocks: tuple[int, int] | None = None
) -> tuple[State, list[str]]:
    """The weights of the first of two files, some of them replaced by the second's; and the names of those.

    Each group of tensors is replaced with probability `p`, as `seed` decides: `by` a key, a layer (the weight and the
    bias of a convolution), or a block of the network's longest row. With `blocks` (first, last) these blocks are
    replaced instead, and nothing else.

    Raises:
        UsageError: not two files, an unknown grouping, p outside 0..1, or there are no such blocks.
        ModelError: a file cannot be read or does not fit.
    """
    if len(family.paths) != 2:
        raise UsageError(f"splice: expected two files, got {len(family.paths)}")
    if by not in GROUPINGS:
        raise UsageError(f"by={by!r}: expected one of {', '.join(GROUPINGS)}")
    if not 0 <= p <= 1:
        raise UsageError(f"p={p:g}: expected 0 to 1")
    one, two = family.states()
    names = list(one)
    chosen = _in_blocks(names, blocks) if blocks else _at_random(names, GROUPINGS[by], p, seed)
    taken = [name for name in names if name in chosen]
    return {name: two[name] if name in chosen else one[name] for name in names}, taken


def _at_random(names: list[str], grouping: Callable[[list[str]], dict[str, str]], p: float, seed: int) -> set[str]:
    groups = grouping(names)
    draw = random.Random(seed)
    chosen = {group for group in dict.fromkeys(groups.values()) if draw.random() < p}
    return {name for name in names if groups[name] in chosen}


def _in_blocks(names: list[str], blocks: tuple[int, int]) -> set[str]:
    numbers = block_numbers(names)
    known = sorted(set(numbers.values()))
    if not known:
        raise ModelError("blocks: the names of these weights have no numbered blocks")
    chosen = {name for name, number in numbers.items() if blocks[0] <= number <= blocks[1]}
    if not chosen:
        raise UsageError(f"blocks: {blocks[0]}-{blocks[1]}: expected some of {known[0]}-{known[-1]}")
    return chosen
