"""Where the weights are in a checkpoint: inside the wrappers of the field's training codes, and behind prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

from torch import Tensor

EMA = (
    "params_ema", "params-ema", "g_ema", "generator_ema", "netG_ema", "net_g_ema", "ema_generator", "model_ema",
    "ema_model", "ema_state_dict", "state_dict_ema", "ema", "shadow",
)  # fmt: skip
"""Names of running means of the weights, which look better than the last step's."""
WRAPPERS = (
    *EMA, "params", "generator", "g", "G", "netG", "net_g", "gen", "model_state_dict", "state_dict", "model", "net",
    "network", "module", "_orig_mod", "weights",
)  # fmt: skip
"""In order of preference."""
MAX_NESTING = 5

Value = TypeVar("Value")


def find_weights(data: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], str]:
    """The innermost mapping with tensors behind the preferred WRAPPERS, and their names joined by dots, empty where
    `data` itself is the state dict or there are no weights."""
    state, names = _search(data, MAX_NESTING, set()) or (data, ())
    return state, ".".join(names)


def _search(
    data: Mapping[Any, Any], depth: int, searched: set[int]
) -> tuple[Mapping[Any, Any], tuple[str, ...]] | None:
    """`searched` are the mappings without weights by id: a pickle may hold one a thousand times."""
    if id(data) in searched:
        return None
    searched.add(id(data))
    for name in WRAPPERS if depth else ():
        inner = data.get(name)
        if isinstance(inner, Mapping) and (found := _search(cast("Mapping[Any, Any]", inner), depth - 1, searched)):
            return found[0], (name, *found[1])
    return (data, ()) if any(isinstance(value, Tensor) and value.ndim for value in data.values()) else None


def choose_weights(data: Mapping[Any, Any], key: str) -> tuple[Mapping[Any, Any], str] | None:
    """What lies under `key`: an entry, entries in one another joined by dots, or the tensors whose names begin so.

    Wrappers inside are opened. None if there are no weights.
    """
    for stop in range(len(key), 0, -1):
        inner, rest = data.get(key[:stop]), key[stop + 1 :]
        if isinstance(inner, Mapping) and key[stop : stop + 1] in (".", ""):
            entry = cast("Mapping[Any, Any]", inner)
            found = choose_weights(entry, rest) if rest else find_weights(entry)
            if found is None or not any(isinstance(value, Tensor) for value in found[0].values()):
                return None
            return found[0], ".".join(part for part in (key[:stop], found[1]) if part)
    outer, where = find_weights(data)
    if where and (nested := choose_weights(outer, key)):
        return nested[0], f"{where}.{nested[1]}"
    members = _behind({name: value for name, value in data.items() if isinstance(name, str)}, f"{key}.")
    return (members, key) if members else None


def keys_to_choose(data: Mapping[Any, Any]) -> tuple[str, ...]:
    """The entries that lead to weights, or what names of tensors begin with where that differs."""
    entries = [
        (str(name), cast("Mapping[Any, Any]", value)) for name, value in data.items() if isinstance(value, Mapping)
    ]
    names = tuple(name for name, value in entries if _search(value, MAX_NESTING, set()))
    if names:
        return names
    heads = dict.fromkeys(str(name).partition(".")[0] for name in data if "." in str(name))
    return tuple(heads) if len(heads) > 1 else ()


def without_prefixes(state: Mapping[str, Value]) -> Iterator[tuple[str, Mapping[str, Value]]]:
    """What to try where names as they are fit no architecture: (prefix, tensors behind it), one dotted component more
    each time. One that is common to all names goes first, else only the tensors of a wrapper are looked at, as in
    Lightning's checkpoints of a generator and a discriminator.
    """
    removed = ""
    for _ in range(MAX_NESTING):
        heads = {name.partition(".")[0] for name in state}
        common = heads.pop() if len(heads) == 1 else next((name for name in WRAPPERS if name in heads), None)
        behind = _behind(state, f"{common}.")
        if common is None or not behind:
            return
        state, removed = behind, f"{removed}{common}."
        yield removed, state


def _behind(state: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
