"""Builds networks from checkpoints: our own architectures first, then those that were registered, those that spandrel
detects, and those that installed packages offer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] - its only common class

from dnirender.errors import ModelError, UsageError
from dnirender.networks.architectures import compact
from dnirender.networks.checkpoint import Checkpoint, State, load_state_dict
from dnirender.networks.detected import find_detected
from dnirender.networks.network import Network, call_module, call_unshuffled
from dnirender.networks.registry import ARCHITECTURES, find_architecture, find_in_packages, short_message
from dnirender.networks.weights import MisfitError, WeightPath, check_same_shapes
from dnirender.networks.wrappers import without_prefixes

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor, MaskedImageModelDescriptor


# Raised by a constructor or by `load_state_dict` for an invalid state dict.
STATE_DICT_ERRORS = (KeyError, IndexError, ValueError, TypeError, RuntimeError, AttributeError, AssertionError)


class _UnknownArchitectureError(ModelError):
    """No built-in architecture has these weights."""


def load(
    endpoints: Mapping[str, str | Path],
    *,
    weights_key: str | None = None,
    groups: Sequence[str] = (),
    deploy: bool = True,
) -> tuple[Network, WeightPath]:
    """Loads weights files by endpoint, in order from 0 to 1: the network (with the weights of the first) and the path
    through their weights; for `Engine`. Files are safetensors or what `torch.save` writes; no code of them is run.

    Of several state dicts in a file `weights_key` chooses, see `load_state_dict`. Where names fit no architecture,
    their prefixes are removed, one component at a time.

    BatchNorm is folded before mixing, to gamma / sqrt(var + eps) and beta - mean * gamma / sqrt(var + eps), as
    averaging raw variances is wrong; without `deploy` it stays as the files have it, for `reestimate`. `groups` are
    patterns of the names of tensors that get coefficients of their own, see `WeightPath`.

    Raises:
        UsageError: there are no endpoints, or a pattern matches no tensor.
        ModelError: a file cannot be loaded (see `load_state_dict`), its architecture is unknown, or endpoints differ in
            architecture, scale, channels, tensor names or shapes: then its notes say what the two files are.
    """
    if not endpoints:
        raise UsageError("endpoints: expected one weights file or more, got none")
    paths = {name: Path(path) for name, path in endpoints.items()}
    checkpoints = {name: load_state_dict(path, weights_key) for name, path in paths.items()}
    if weights_key is not None and all(checkpoint.unwrapped is None for checkpoint in checkpoints.values()):
        raise ModelError(f"weights_key={weights_key!r}: no file has several entries to choose from")
    return load_checkpoints(paths, checkpoints, groups=groups, deploy=deploy)


def load_checkpoints(
    paths: Mapping[str, Path],
    checkpoints: Mapping[str, Checkpoint],
    *,
    groups: Sequence[str] = (),
    deploy: bool = True,
) -> tuple[Network, WeightPath]:
    """`load` of what was read from files, by endpoint; `paths` name them in messages."""
    labels = _labels(paths)
    networks: dict[str, Network] = {}
    try:
        network, states = _join(networks, paths, labels, checkpoints, deploy)
    except MisfitError as error:
        for name, label in labels.items():
            if label in (error.first, error.other):
                error.add_note(f"  {label}: {describe(checkpoints[name], networks.get(name))}")
        raise
    return network, WeightPath(states, channels_last=network.channels_last, groups=groups)


def _join(
    networks: dict[str, Network],
    paths: Mapping[str, Path],
    labels: Mapping[str, str],
    checkpoints: Mapping[str, Checkpoint],
    deploy: bool,
) -> tuple[Network, dict[str, State]]:
    """`load` of checkpoints, their tensors by endpoint; puts the networks that it builds into `networks`."""
    first, *others = paths
    architecture = checkpoints[first].metadata.get("architecture")
    networks[first] = _build_found(paths[first], checkpoints[first], architecture)
    ready = _ready_states(networks[first].module, checkpoints)
    for name in others:
        if name in ready:
            continue
        networks[name] = _build_like(checkpoints[first], labels[first], paths[name], checkpoints[name], labels[name])
        if networks[name] != networks[first]:
            raise MisfitError(
                f"{labels[name]} does not fit {labels[first]}: it is {_describe(networks[name])}, "
                f"expected {_describe(networks[first])}; endpoints must be fine-tuned from one another",
                labels[first],
                labels[name],
            )
    for network in networks.values() if deploy else ():
        deploy_batchnorm(network.module)
    states = {name: networks[name].module.state_dict() if name in networks else ready[name] for name in paths}
    check_same_shapes({labels[name]: state for name, state in states.items()})
    notes = tuple(note for network in networks.values() for note in network.notes)
    return replace(networks[first], notes=notes), states


def build_network(path: Path, checkpoint: Checkpoint) -> Network:
    """The network of one checkpoint with its weights; BatchNorm is as the file has it. ModelError: none fits."""
    return _build_found(path, checkpoint, checkpoint.metadata.get("architecture"))


def describe(checkpoint: Checkpoint, network: Network | None) -> str:
    """What a file is, in part of a line: architecture, size, first layer."""
    kind = _describe(network) if network else "weights of no known architecture"
    count = sum(tensor.numel() for tensor in checkpoint.state.values())
    name, tensor = next(
        ((n, t) for n, t in checkpoint.state.items() if t.ndim > 1), next(iter(checkpoint.state.items()))
    )
    return f"{kind}, {count:,} numbers in {len(checkpoint.state)} tensors, such as {name} {list(tensor.shape)}"


def _ready_states(module: nn.Module, checkpoints: Mapping[str, Checkpoint]) -> dict[str, State]:
    """The endpoints after the first whose tensors are what a module built of them would have, by name: no module needs
    to be built. That is known where `module`, built of the first, has that one's tensors, and others differ from them
    in values of floats alone. What has a note of how it was found is built."""
    (_, first), *others = checkpoints.items()
    if any(isinstance(layer, _BatchNorm) for layer in module.modules()) or not _equal(module.state_dict(), first.state):
        return {}
    counts = {key: tensor for key, tensor in first.state.items() if not tensor.is_floating_point()}
    shapes = {key: tensor.shape for key, tensor in first.state.items()}
    architecture = first.metadata.get("architecture")
    return {
        name: found.state
        for name, found in others
        if found.unwrapped is None
        and {key: tensor.shape for key, tensor in found.state.items()} == shapes
        and _equal({key: t for key, t in found.state.items() if not t.is_floating_point()}, counts)
        and found.metadata.get("architecture", architecture) == architecture
    }


def _equal(one: State, two: State) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def _labels(endpoints: Mapping[str, Path]) -> dict[str, str]:
    """Names of the endpoints for messages: the file names if they are unique, else endpoint name and path."""
    unique = len({path.name for path in endpoints.values()}) == len(endpoints)
    return {name: path.name if unique else f"{name} ({path})" for name, path in endpoints.items()}


def _describe(network: Network) -> str:
    return f"{network.architecture} (scale {network.scale}, channels {network.channels})"


def _build_like(expected: Checkpoint, expected_label: str, path: Path, checkpoint: Checkpoint, label: str) -> Network:
    """Builds an endpoint other than the first.

    Tensor names may differ between versions of one architecture until the module is built, so names and shapes are
    compared with the first only if building fails.
    """
    architecture = checkpoint.metadata.get("architecture", expected.metadata.get("architecture"))
    try:
        return _build_found(path, checkpoint, architecture)
    except ModelError:
        # raises a clearer message if names or shapes differ
        check_same_shapes({expected_label: expected.state, label: checkpoint.state})
        raise


def _build_found(path: Path, checkpoint: Checkpoint, architecture: str | None) -> Network:
    """The network of a checkpoint under the names that it has, else without the first prefixes that let one fit."""
    network, removed = _build_renamed(path, checkpoint.state, architecture)
    found = [f"takes the weights under {checkpoint.unwrapped!r}"] if checkpoint.unwrapped else []
    if others := checkpoint.others:
        found.append(f"there is {', '.join(others)} too (weights_key={others[0]!r})")
    found += [f"reads the tensors' names without {removed!r}"] if removed else []
    return replace(network, notes=(f"{path}: {'; '.join(found)}",)) if found else network


def _build_renamed(path: Path, state: State, architecture: str | None) -> tuple[Network, str]:
    """The network and the prefix that its tensors were found behind."""
    try:
        return _build(path, state, architecture), ""
    except _UnknownArchitectureError:
        for removed, inner in without_prefixes(state):
            with contextlib.suppress(_UnknownArchitectureError):
                return _build(path, inner, architecture), removed
        raise


def _build(path: Path, state: State, architecture: str | None) -> Network:
    if architecture in ARCHITECTURES:
        return _from_ours(path, state, architecture)
    if registered := find_architecture(path, state, architecture):
        return registered.network(path, state)
    if detected := find_detected(path, state, architecture):
        return detected.network(path, state)
    try:
        return _from_spandrel(path, state)
    except _UnknownArchitectureError:
        if offered := find_in_packages(path, state, architecture):
            return offered.network(path, state)
        raise


def _from_ours(path: Path, state: State, architecture: str) -> Network:
    try:
        module = ARCHITECTURES[architecture](state)
    except STATE_DICT_ERRORS as error:
        raise _UnknownArchitectureError(
            f"{path}: its weights do not fit the architecture {architecture}: {short_message(error)}"
        ) from error
    multiple: int = getattr(module, "multiple", 1)
    minimum: int = getattr(module, "minimum", 0)
    scale: int = getattr(module, "scale", 1)
    side: int | None = getattr(module, "side", None)
    call, shuffle_factors = (call_unshuffled, (side, side * scale)) if side else (call_module, None)
    return Network(
        architecture,
        module.float(),
        call,
        shuffle_factors,
        scale=scale,
        multiple=multiple,
        minimum=minimum,
        fp32_input=True,
    )


def _from_spandrel(path: Path, state: State) -> Network:
    descriptor = _load_descriptor(path, state)
    name, channels = descriptor.architecture.name, descriptor.input_channels
    if descriptor.purpose == "Inpainting":
        raise ModelError(f"{path}: {name} is an inpainting network that needs a mask; expected image to image")
    if channels not in (1, 3) or descriptor.output_channels != channels:
        raise ModelError(
            f"{path}: {name} has {channels} input, {descriptor.output_channels} output channels, expected RGB or gray"
        )
    size = descriptor.size_requirements
    unshuffled = descriptor.architecture.id == "Compact" and channels == 3
    return Network(
        name,
        descriptor.model.float(),
        # The public call clamps to 0..1, which would hide an overflow.
        compact.forward_unshuffled if unshuffled else descriptor._call_fn,  # pyright: ignore[reportPrivateUsage]
        (1, descriptor.scale) if unshuffled else None,
        fp32_input=unshuffled,
        scale=descriptor.scale,
        channels=channels,
        multiple=size.multiple_of,
        minimum=size.minimum,
        square=size.square,
        supports_half=descriptor.supports_half,
        supports_bf16=descriptor.supports_bfloat16,
        luma=channels == 1,
    )


def _load_descriptor(path: Path, state: State) -> ImageModelDescriptor[Any] | MaskedImageModelDescriptor[Any]:
    try:
        import spandrel
    except (ImportError, RuntimeError) as error:  # RuntimeError: operator torchvision::nms does not exist
        cuda = torch.version.cuda
        index = f"https://download.pytorch.org/whl/{'cu' + cuda.replace('.', '') if cuda else 'cpu'}"
        raise ModelError(
            f"{path}: needs spandrel, which cannot be imported ({short_message(error)}); install the torchvision "
            f"build for PyTorch {torch.__version__}: pip install torch torchvision --index-url {index}"
        ) from error
    try:
        return spandrel.ModelLoader().load_from_state_dict(dict(state))
    except spandrel.UnsupportedModelError as error:
        names, ours = ", ".join(list(state)[:3]), ", ".join(ARCHITECTURES)
        raise _UnknownArchitectureError(
            f"{path}: no known network has these weights ({names}, ...); expected one of ours ({ours}) or one that "
            "spandrel detects, such as ESRGAN, RealESRGAN Compact, DnCNN or SwinIR; register_architecture adds others"
        ) from error
    except STATE_DICT_ERRORS as error:
        raise _UnknownArchitectureError(
            f"{path}: spandrel recognizes the architecture, but the weights do not fit: {short_message(error)}"
        ) from error


def deploy_batchnorm(module: nn.Module) -> None:
    """Folds the statistics of every BatchNorm into its weight and bias; leaves mean 0, variance 1 and eps 0."""
    for norm in module.modules():
        if (
            isinstance(norm, _BatchNorm)
            and norm.affine
            and norm.running_mean is not None
            and norm.running_var is not None
        ):
            with torch.no_grad():
                gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
                norm.bias.copy_(norm.bias.double() - gain * norm.running_mean.double())
                norm.weight.copy_(gain)
                norm.running_mean.zero_()
                norm.running_var.fill_(1)
                norm.eps = 0.0
