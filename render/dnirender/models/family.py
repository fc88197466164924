"""Weights files of one network under one naming, that of the first file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] - its only common class

from dnirender.errors import ModelError
from dnirender.networks.checkpoint import Checkpoint, State, load_state_dict
from dnirender.networks.loading import build_network, deploy_batchnorm, describe
from dnirender.networks.network import Network
from dnirender.networks.weights import MisfitError, check_same_shapes

STATISTICS = ".running_var"


class Family:
    """Files whose weights are combined, read one at a time.

    Where a file's tensors have the names and shapes of the first file's, they are used as they are, whatever network
    they belong to. Otherwise both networks are built, which takes a known architecture, and tensors are matched by
    their role in the network. BatchNorm is combined in its deployed form, as averages of variances are wrong.
    """

    def __init__(
        self, paths: Sequence[Path], weights_key: str | None = None, checkpoints: Sequence[Checkpoint] = ()
    ) -> None:
        """`checkpoints` are combined in place of what the files hold; the paths name them in messages."""
        self.paths = tuple(paths)
        self.weights_key = weights_key
        self._checkpoints = tuple(checkpoints)
        self.first: Checkpoint = self._read(0)
        self._deploys = _has_batchnorm(self.first.state)
        self._built: tuple[Network, dict[str, str]] | None = None

    def _read(self, number: int) -> Checkpoint:
        if self._checkpoints:
            return self._checkpoints[number]
        return load_state_dict(self.paths[number], self.weights_key)

    def states(self) -> Iterator[State]:
        """The state dicts in the order of the paths, with the names and shapes of the first. ModelError: a file cannot
        be read or does not fit."""
        for number, path in enumerate(self.paths):
            checkpoint = self._read(number) if number else self.first
            plain = shapes(checkpoint.state) == shapes(self.first.state) and not self._deploys
            yield checkpoint.state if plain else self._by_role(path, checkpoint)

    def _by_role(self, path: Path, checkpoint: Checkpoint) -> State:
        try:
            first, names = self._network_and_names()
            architecture = checkpoint.metadata.get("architecture", self.first.metadata.get("architecture"))
            metadata = {"architecture": architecture} if architecture else {}
            network = build_network(path, replace(checkpoint, metadata=metadata))
        except ModelError as error:
            self._check_shapes(path, checkpoint, error)
            if self._deploys:
                error.add_note("  it has BatchNorm, which only networks of a known architecture can combine")
            raise
        if network != first:
            difference = self._difference(path, checkpoint)
            raise self._misfit(
                path, checkpoint, difference or f"{path.name} does not fit {self.paths[0].name}", network
            )
        if not self._deploys:
            placed, _ = _names_in_module(path, checkpoint)
            unknown = [
                name for name, tensor in checkpoint.state.items() if tensor.is_floating_point() and name not in placed
            ]
            if unknown:
                advice = f"a {network.architecture} has no place for it, so it would be lost"
                raise ModelError(f"{path}: {unknown[0]}: {advice}; name files with the same tensors")
        state = deployed_state(network)
        missing = [name for name in names.values() if name not in state]
        wrong = [
            name for name, role in names.items() if role in state and state[role].shape != self.first.state[name].shape
        ]
        if missing or wrong:
            where = (
                f"{missing[0]} is missing"
                if missing
                else f"{wrong[0]} is {list(state[names[wrong[0]]].shape)}, expected "
            )
            where += "" if missing else f"{list(self.first.state[wrong[0]].shape)}"
            raise self._misfit(path, checkpoint, f"{path.name} does not fit {self.paths[0].name}: {where}", network)
        left_over = [name for name in state.keys() - set(names.values()) if state[name].is_floating_point()]
        if any(bool(state[name].any()) for name in left_over):
            raise ModelError(f"{path}: {self.paths[0].name} has no name for its {left_over[0]}; name this file first")
        return {name: state[names[name]] if name in names else tensor for name, tensor in self.first.state.items()}

    def _network_and_names(self) -> tuple[Network, dict[str, str]]:
        """The network of the first file, and the names in its module by those in the file."""
        if self._built is None:
            path, state = self.paths[0], self.first.state
            network = build_network(path, self.first)
            names, marked = _names_in_module(path, self.first)
            turned = [name for name, role in names.items() if marked[role].shape != state[name].shape]
            if turned:
                raise ModelError(
                    f"{path}: {turned[0]} is stored in another layout than the network's, so files with other names "
                    "cannot be written like it; name another file first"
                )
            self._built = network, names
        return self._built

    def _check_shapes(self, path: Path, checkpoint: Checkpoint, error: ModelError) -> None:
        """Raises a clearer error where names or shapes differ."""
        if difference := self._difference(path, checkpoint):
            raise self._misfit(path, checkpoint, difference, None) from error

    def _difference(self, path: Path, checkpoint: Checkpoint) -> str:
        """In which tensors a file of another architecture or scale differs from the first."""
        try:
            check_same_shapes({self.paths[0].name: self.first.state, path.name: checkpoint.state})
        except MisfitError as misfit:
            return str(misfit)
        return ""

    def _misfit(self, path: Path, checkpoint: Checkpoint, message: str, network: Network | None) -> MisfitError:
        error = MisfitError(message, str(self.paths[0]), str(path))
        error.add_note(f"  {self.paths[0].name}: {describe(self.first, self._built[0] if self._built else None)}")
        error.add_note(f"  {path.name}: {describe(checkpoint, network)}")
        return error


def _has_batchnorm(state: State) -> bool:
    """Whether there are running statistics beside a gain, as in BatchNorm and in old files of InstanceNorm."""
    return any(f"{name.removesuffix(STATISTICS)}.weight" in state for name in state if name.endswith(STATISTICS))


def shapes(state: State) -> dict[str, tuple[tuple[int, ...], bool]]:
    """What states must have in common to be combined by name: shape, and whether the tensor holds floats."""
    return {name: (tuple(tensor.shape), tensor.is_floating_point()) for name, tensor in state.items()}


def deployed_state(network: Network) -> dict[str, Tensor]:
    """The tensors of a module, with BatchNorm as gain and shift: mean 0, and a variance that makes its divisor 1."""
    module = network.module
    norms = {name: norm.eps for name, norm in module.named_modules() if isinstance(norm, _BatchNorm)}
    deploy_batchnorm(module)
    state = dict(module.state_dict())
    for name, eps in norms.items():
        if f"{name}.running_var" in state:
            state[f"{name}.running_var"] = torch.full_like(state[f"{name}.running_var"], 1 - eps)
    return state


def _is_mark(tensor: Tensor, count: int) -> bool:
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return False
    value = float(tensor.flatten()[0])
    return value == int(value) and 1 <= value <= count and bool((tensor == value).all())


def _names_in_module(path: Path, checkpoint: Checkpoint) -> tuple[dict[str, str], State]:
    """The names in the module by those in the file, and the module's tensors; names without a place are left out.

    They are found by building the network of tensors that are filled with numbers of their own.
    """
    floats = [name for name, tensor in checkpoint.state.items() if tensor.is_floating_point()]
    marks = {name: torch.full_like(checkpoint.state[name], number + 1.0) for number, name in enumerate(floats)}
    marked = build_network(path, replace(checkpoint, state={**checkpoint.state, **marks})).module.state_dict()
    names = {floats[int(t.flatten()[0]) - 1]: role for role, t in marked.items() if _is_mark(t, len(floats))}
    return names, marked
