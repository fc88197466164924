"""Alignment of networks that were trained apart: the channels of one in the order of those of the other.

Weight matching of Git Re-Basin (Ainsworth et al. 2022): a permutation for each group of channels, found one group at a
time as the assignment that maximizes the inner product of both networks' weights, until none changes.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dnirender.errors import ModelError
from dnirender.models.channels import ChannelGroup, ChannelUse
from dnirender.networks.checkpoint import State

EXTRA = "dnirender[align]"
MAX_ROUNDS = 100  # over all groups; matching ends long before
STARTS = 3  # orders of the groups that are tried; the best result counts
MIN_GAIN = 1e-9  # of an assignment, relative to its value: rounding must not keep it going


def match(reference: State, other: State, groups: Sequence[ChannelGroup], seed: int = 0) -> list[Tensor]:
    """For each group, the channels of `other` in the order that fits `reference` best: int64 [size].

    ModelError: scipy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ModelError(f"aligning networks needs the package scipy: pip install '{EXTRA}'") from error
    uses = _uses_by_tensor(groups)
    one = {name: reference[name].double() for name in uses}
    two = {name: other[name].double() for name in uses}
    found: list[tuple[float, list[Tensor]]] = []
    for start in range(STARTS):
        orders = [torch.arange(group.size) for group in groups]
        numbers, draw = list(range(len(groups))), random.Random(seed + start)
        for _ in range(MAX_ROUNDS):
            draw.shuffle(numbers)
            changed = False
            for number in numbers:
                cost = _similarity(groups[number], one, two, orders, uses)
                _, columns = linear_sum_assignment(cost.numpy(), maximize=True)
                best = torch.from_numpy(columns)
                rows = torch.arange(len(best))
                gain = float(cost[rows, best].sum() - cost[rows, orders[number]].sum())
                if gain > MIN_GAIN * float(cost.abs().sum()):
                    orders[number], changed = best, True
            if not changed:
                break
        found.append((sum(float((one[name] * permuted(name, two[name], orders, uses)).sum()) for name in uses), orders))
    return max(found, key=lambda pair: pair[0])[1]


def permute(state: State, groups: Sequence[ChannelGroup], orders: Sequence[Tensor]) -> dict[str, Tensor]:
    """The weights with the channels of every group in another order: the same network."""
    uses = _uses_by_tensor(groups)
    return {name: permuted(name, tensor, orders, uses) for name, tensor in state.items()}


Uses = Mapping[str, Sequence[tuple[int, ChannelUse]]]
"""By tensor: (number of the group, use)."""


def _uses_by_tensor(groups: Sequence[ChannelGroup]) -> dict[str, list[tuple[int, ChannelUse]]]:
    found: dict[str, list[tuple[int, ChannelUse]]] = {}
    for number, group in enumerate(groups):
        for use in group.uses:
            found.setdefault(use.name, []).append((number, use))
    return found


def permuted(
    name: str, tensor: Tensor, orders: Sequence[Tensor], uses: Uses, skipped: ChannelUse | None = None
) -> Tensor:
    """The tensor with all its channels in their order, but for those of one use."""
    for axis in range(tensor.ndim):
        here = [(number, use) for number, use in uses.get(name, ()) if use.axis == axis and use is not skipped]
        if here:
            index = torch.arange(tensor.shape[axis])
            for number, use in here:
                index[use.start : use.start + len(orders[number]) * use.repeat] = use.start + _repeated(
                    orders[number], use.repeat
                )
            tensor = tensor.index_select(axis, index)
    return tensor


def _repeated(order: Tensor, repeat: int) -> Tensor:
    return (order[:, None] * repeat + torch.arange(repeat)).flatten()


def _similarity(group: ChannelGroup, one: State, two: State, orders: Sequence[Tensor], uses: Uses) -> Tensor:
    """Inner products of the weights of every channel of the first network with those of every one of the second."""
    total = torch.zeros(group.size, group.size, dtype=torch.float64)
    for use in group.uses:
        moved = permuted(use.name, two[use.name], orders, uses, skipped=use)
        a, b = (_by_channel(tensor, use, group.size) for tensor in (one[use.name], moved))
        total += a @ b.T
    return total


def _by_channel(tensor: Tensor, use: ChannelUse, size: int) -> Tensor:
    channels = tensor.movedim(use.axis, 0)[use.start : use.start + size * use.repeat]
    return channels.reshape(size, -1)
