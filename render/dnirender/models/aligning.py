"""Aligns weights files: the second with its channels in the order of those of the first, and fine-tuned if wanted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dnirender.errors import ModelError
from dnirender.models.alignment import match, permute
from dnirender.models.channels import channel_groups
from dnirender.models.family import Family
from dnirender.models.finetuning import Finetuned, check_steps, finetune, training_pictures
from dnirender.networks.checkpoint import Checkpoint, State
from dnirender.networks.loading import build_network
from dnirender.networks.network import Network

TRIAL_SIDE = 64  # of the image that shows that the network is the same
MAX_CHANGE = 1e-4  # of an output in 0..1; reordered sums of float32 differ by some 1e-6


@dataclass(frozen=True)
class Aligned:
    """The second file's weights under the names of the first.

    groups: how many groups of channels are free, and `channels` how many channels they have
    moved: how many channels got another place
    correlation: mean Pearson correlation of convolutions with the first file's, before and after
    change: largest difference of an output in 0..1 between the second file and the result, before fine-tuning
    finetuned: what that achieved, if it was wanted
    """

    state: dict[str, Tensor]
    first: Checkpoint
    groups: int
    channels: int
    moved: int
    correlation: tuple[float, float]
    change: float
    finetuned: Finetuned | None = None


def align(
    one: Path,
    two: Path,
    weights_key: str | None = None,
    seed: int = 0,
    *,
    steps: int = 0,
    on: Path | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Aligned:
    """Permutes the channels of the network of `two` so that its weights fit those of `one`: it computes what it did.
    Then `finetune`s it for `steps`, if there are any.

    Raises:
        ModelError: a file cannot be read, they do not fit, their architecture is unknown, or scipy is not installed.
        UsageError, MediaError: see `finetune`.
    """
    if steps:
        check_steps(steps)
    family = Family([one, two], weights_key)
    states = list(family.states())
    network = build_network(one, family.first)
    pictures = training_pictures(network, on) if steps else []
    places = _places(one, family.first)
    modules = [_module_state(network, places, state) for state in states]
    sides = network.padded_size(TRIAL_SIDE, TRIAL_SIDE)
    groups = channel_groups(copy.deepcopy(network.module).eval(), torch.rand(1, network.channels, *sides))
    if not groups:
        raise ModelError(f"{one}: {network.architecture} has no channels that can be put in another order")
    orders = match(modules[0], modules[1], groups, seed)
    aligned = permute(modules[1], groups, orders)
    change = _change(network, modules[1], aligned)
    if not change <= MAX_CHANGE:
        raise ModelError(
            f"{two}: in another order of channels the output differs by {change:.2g}, expected at most {MAX_CHANGE:g}; "
            "this architecture cannot be aligned"
        )
    tuned = finetune(network, modules[0], aligned, pictures, steps, seed=seed, progress=progress) if steps else None
    return Aligned(
        _file_state(states[1], places, tuned.state if tuned else aligned),
        family.first,
        len(groups),
        sum(group.size for group in groups),
        sum(int((order != torch.arange(len(order))).sum()) for order in orders),
        (_correlation(modules[0], modules[1]), _correlation(modules[0], aligned)),
        change,
        tuned,
    )


Places = Mapping[str, tuple[str, Tensor]]
"""By tensor of the module: the tensor of the file that it comes from, and which of its values each one is."""


def _places(path: Path, checkpoint: Checkpoint) -> Places:
    """Found by building the network of tensors that hold their own number, and of tensors that hold their positions."""
    floats = [name for name, tensor in checkpoint.state.items() if tensor.is_floating_point()]

    def build(values: Mapping[str, Tensor]) -> State:
        found = build_network(path, replace(checkpoint, state={**checkpoint.state, **values}))
        return found.module.state_dict()

    numbers = {name: number for number, name in enumerate(floats, 1)}
    numbered = build({name: torch.full_like(checkpoint.state[name], number) for name, number in numbers.items()})
    positions = build({name: _positions(checkpoint.state[name]) for name in floats})
    places: dict[str, tuple[str, Tensor]] = {}
    for role, tensor in numbered.items():
        number = int(tensor.flatten()[0]) if tensor.is_floating_point() and tensor.numel() else 0
        if 1 <= number <= len(floats) and bool((tensor == number).all()):
            places[role] = floats[number - 1], positions[role].long()
    return places


def _positions(tensor: Tensor) -> Tensor:
    return torch.arange(tensor.numel(), dtype=torch.float32).reshape(tensor.shape)


def _module_state(network: Network, places: Places, state: State) -> dict[str, Tensor]:
    own = dict(network.module.state_dict())
    return own | {role: state[name].float().flatten()[index] for role, (name, index) in places.items()}


def _file_state(state: State, places: Places, module: State) -> dict[str, Tensor]:
    result = {name: tensor.clone() for name, tensor in state.items()}
    for role, (name, index) in places.items():
        result[name] = torch.empty(state[name].shape).flatten().scatter(0, index.flatten(), module[role].flatten())
        result[name] = result[name].reshape(state[name].shape)
    return result


@torch.inference_mode()
def _change(network: Network, one: State, two: State) -> float:
    """The largest difference of the outputs for random pixels."""
    x = torch.rand(1, 3, TRIAL_SIDE, TRIAL_SIDE, generator=torch.Generator().manual_seed(0))
    outputs: list[Tensor] = []
    for state in (one, two):
        module = copy.deepcopy(network.module).eval()
        module.load_state_dict(dict(state))
        outputs.append(network.forward(module, x))
    return float((outputs[0] - outputs[1]).abs().max())


def _correlation(one: State, two: State) -> float:
    values = [
        float(torch.corrcoef(torch.stack([one[name].flatten(), two[name].flatten()]))[0, 1])
        for name, tensor in one.items()
        if tensor.ndim == 4
    ]
    return sum(values) / len(values)
