"""What a weights file is, and how two of them differ."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dnirender.errors import ModelError
from dnirender.models.family import STATISTICS, Family, shapes
from dnirender.models.groups import block_numbers, trunk
from dnirender.models.similarity import LayerDifference, compare_tensors, mean_correlation
from dnirender.networks.checkpoint import Checkpoint, load_state_dict
from dnirender.networks.detected import DETECTED
from dnirender.networks.loading import build_network
from dnirender.networks.network import Network


@dataclass(frozen=True)
class ModelInfo:
    """A weights file. `architecture` is None if no known one fits, then `reason` says why and sizes are unknown.

    `values` are the ranges that the network itself takes and gives; everything here converts from and to 0..1.
    `norm` is the kind of normalization, `blocks` the first and the last block of the longest row.
    """

    path: str
    bytes: int
    architecture: str | None
    reason: str
    scale: int | None
    channels: int | None
    values: str
    multiple: int | None
    minimum: int | None
    norm: str
    parameters: int
    tensors: int
    dtypes: dict[str, int]
    blocks: str
    weights_key: str | None
    other_keys: tuple[str, ...]
    metadata: dict[str, str]


def info(path: Path, weights_key: str | None = None) -> ModelInfo:
    """What a file is, whether its architecture is known or not. ModelError: it is no weights file."""
    checkpoint = load_state_dict(path, weights_key)
    network, reason = _network(path, checkpoint)
    state, names = checkpoint.state, list(checkpoint.state)
    numbers = sorted(set(block_numbers(names).values()))
    dtypes = Counter(str(dtype).removeprefix("torch.") for dtype in checkpoint.dtypes.values())
    return ModelInfo(
        path=str(path),
        bytes=path.stat().st_size,
        architecture=network.architecture if network else None,
        reason=reason,
        scale=network.scale if network else None,
        channels=network.channels if network else None,
        values=value_ranges(network) if network else "",
        multiple=network.multiple if network else None,
        minimum=network.minimum if network else None,
        norm=norm_kinds(names, network),
        parameters=sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point()),
        tensors=len(state),
        dtypes=dict(dtypes),
        blocks=f"{trunk(names)}{numbers[0]} to {trunk(names)}{numbers[-1]}" if numbers else "",
        weights_key=checkpoint.unwrapped,
        other_keys=checkpoint.others,
        metadata=checkpoint.metadata,
    )


def _network(path: Path, checkpoint: Checkpoint) -> tuple[Network | None, str]:
    try:
        return build_network(path, checkpoint), ""
    except ModelError as error:
        return None, str(error).removeprefix(f"{path}: ")


def value_ranges(network: Network) -> str:
    """The ranges that a network itself takes and gives, as text."""
    known = next((found for found in DETECTED if found.name == network.architecture), None)
    (low, high), (bottom, top) = (known.input_range, known.output_range) if known else ((0, 1), (0, 1))
    return f"{low:g}..{high:g} to {bottom:g}..{top:g}" + (", luma" if network.luma else "")


def norm_kinds(names: list[str], network: Network | None) -> str:
    """The kinds of normalization, as text."""
    kinds = {type(module).__name__ for module in network.module.modules()} if network else set[str]()
    found = sorted(
        {name for kind in kinds for name in ("BatchNorm", "InstanceNorm", "GroupNorm", "LayerNorm") if name in kind}
    )
    if network:
        return ", ".join(found) or "none"
    return "running statistics" if any(name.endswith(STATISTICS) for name in names) else "unknown"


@dataclass(frozen=True)
class ModelDifference:
    """How two files differ. `missing` and `extra` are tensors that only the first and only the second has, `shapes`
    those whose shapes differ, as text; then `layers` has what can be compared.

    `correlation` is the mean of that of all convolutions and matrices, `distance` that of all values together."""

    layers: list[LayerDifference]
    equal: int
    missing: list[str]
    extra: list[str]
    shapes: list[str]
    correlation: float
    distance: float


def diff(one: Path, two: Path, weights_key: str | None = None) -> ModelDifference:
    """Compares two files tensor by tensor: by name, or where names differ and both architectures are known, by role.

    BatchNorm is compared in its deployed form where the architecture is known. ModelError: a file cannot be read.
    """
    family = Family([one, two], weights_key)
    other = load_state_dict(two, weights_key)
    a, b = family.first.state, other.state
    try:
        a, b = family.states()
    except ModelError:  # compared by name as far as that goes
        a, b = family.first.state, other.state
    here, there = shapes(a), shapes(b)
    common = [name for name in a if here[name] == there.get(name) and a[name].is_floating_point()]
    layers = [compare_tensors(name, a[name], b[name]) for name in common]
    squares = sum(float((a[name].double() - b[name].double()).square().sum()) for name in common)
    norm = sum(float(a[name].double().square().sum()) for name in common)
    return ModelDifference(
        layers,
        sum(layer.largest == 0 for layer in layers),
        [name for name in a if name not in b],
        [name for name in b if name not in a],
        [
            f"{name}: {list(a[name].shape)} and {list(b[name].shape)}"
            for name in a
            if name in b and here[name] != there[name]
        ],
        mean_correlation(layers),
        math.sqrt(squares / norm) if norm else (0.0 if not squares else math.inf),
    )
