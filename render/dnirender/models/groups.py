"""Groups of tensors by their names: layers, and the blocks of the network's longest row."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_NUMBER = re.compile(r"\d+")


def layer_of(name: str) -> str:
    """The layer of a tensor: its name without the last part."""
    return name.rpartition(".")[0] or name


def trunk(names: Sequence[str]) -> str:
    """What the names of the blocks begin with before their number: that with the most different numbers. Empty if no
    name has a number."""
    numbers: dict[str, set[int]] = {}
    for name in names:
        for found in _NUMBER.finditer(name):
            numbers.setdefault(name[: found.start()], set()).add(int(found[0]))
    return max(numbers, key=lambda start: (len(numbers[start]), -len(start)), default="")


def block_numbers(names: Sequence[str]) -> dict[str, int]:
    """The number of the block of every tensor that is in one of the longest row."""
    start = trunk(names)
    found = {name: _NUMBER.match(name, len(start)) for name in names if start and name.startswith(start)}
    return {name: int(match[0]) for name, match in found.items() if match}


def _keys(names: list[str]) -> dict[str, str]:
    return {name: name for name in names}


def _layers(names: list[str]) -> dict[str, str]:
    return {name: layer_of(name) for name in names}


def _blocks(names: list[str]) -> dict[str, str]:
    start, numbers = trunk(names), block_numbers(names)
    return {name: f"{start}{numbers[name]}" if name in numbers else layer_of(name) for name in names}


GROUPINGS: dict[str, Callable[[list[str]], dict[str, str]]] = {"key": _keys, "layer": _layers, "block": _blocks}
"""By name: the group of every tensor."""
