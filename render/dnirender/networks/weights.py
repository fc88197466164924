"""Mixes the weights of endpoints in place: theta(alpha) = sum_i alpha_i theta_i."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

import torch
from torch import Tensor, nn

from dnirender.errors import ModelError, UsageError
from dnirender.frames import Alpha
from dnirender.networks.checkpoint import State

# 64 elements are at least 128 bytes in every dtype, an alignment that vector units and cuDNN need to be fast.
ALIGN = 64
# 2^17 floats are 512 kB: the sum of a block is still in the L2 cache when it is rounded to the compute dtype.
BLOCK = 1 << 17
MAX_LISTED = 24  # layers that an error message names


class MisfitError(ModelError):
    """An endpoint does not fit the first one: both labels, for notes that say what the files are."""

    def __init__(self, message: str, first: str, other: str) -> None:
        super().__init__(message)
        self.first, self.other = first, other


def check_same_shapes(endpoints: Mapping[str, State]) -> None:
    """Checks that all endpoints have the tensor names, shapes and kinds (float or integer) of the first.

    Raises:
        MisfitError: they differ; the message lists the first three differences.
    """
    (first, expected), *others = endpoints.items()
    for name, state in others:
        differences = list(_differences(expected, state))
        if differences:
            more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
            summary = "; ".join(differences[:3])
            advice = "endpoints must be fine-tuned from one another"
            raise MisfitError(f"{name} does not fit {first}: {summary}{more}; {advice}", first, name)


def _differences(expected: State, state: State) -> Iterator[str]:
    for name, tensor in expected.items():
        if name not in state:
            yield f"{name} is missing"
        elif state[name].shape != tensor.shape:
            yield f"{name} is {list(state[name].shape)}, expected {list(tensor.shape)}"
        elif state[name].is_floating_point() != tensor.is_floating_point():
            yield f"{name} is {state[name].dtype}, expected {tensor.dtype}"
    yield from (f"{name} is not expected" for name in state if name not in expected)


@dataclass(frozen=True)
class TensorView:
    """Location of one tensor in a flat buffer [P]; `offset` and `strides` count elements."""

    name: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, flat: Tensor) -> Tensor:
        """The tensor as a view into `flat` [P], a row of the stack or a buffer of mixed weights."""
        return flat.as_strided(self.shape, self.strides, flat.storage_offset() + self.offset)


class Correction(Protocol):
    """Changes mixed weights in place, [P], float32; those of an endpoint alone stay as they are."""

    def apply(self, alpha: Alpha, flat: Tensor) -> None: ...


class WeightPath:
    """theta(alpha) = sum_i alpha_i theta_i (Wang et al. 2019, Deep Network Interpolation), for any number of endpoints.

    `stack` [N, P], float32, contiguous, has one row per endpoint in the order of `names`; `layout` locates the tensors
    in a row. With `channels_last`, 4-d tensors are stored in the order o h w i. Integer tensors (`num_batches_tracked`)
    are not mixed: a bound module keeps its own. Endpoints must be finite; `load_state_dict` checks that.

    `groups` are patterns of tensor names, as `body.*` or `*.bias`: tensors whose first match is one of them may have
    coefficients of their own. They lie together in a row, at `segments` (start, stop), after those that match none,
    which are the first segment. `repair` corrects mixtures after they are summed, see repair.py.

    Raises:
        ModelError: endpoints differ in names, shapes or kinds, or have no float tensors.
        UsageError: a pattern of `groups` is the first match of no tensor.
    """

    repair: Correction | None = None

    def __init__(
        self, endpoints: Mapping[str, State], *, channels_last: bool = True, groups: Sequence[str] = ()
    ) -> None:
        check_same_shapes(endpoints)
        self.names = tuple(endpoints)
        self.groups = tuple(groups)
        states = list(endpoints.values())
        members = _by_group(states[0], self.groups)
        self.layout, bounds = _layout(members, channels_last)
        self.segments = tuple(zip([0, *bounds[:-1]], bounds, strict=True))
        size = bounds[-1]
        self.stack = torch.zeros(len(states), size)
        for row, state in zip(self.stack, states, strict=True):
            for view in self.layout:
                view.of(row).copy_(state[view.name])

    def to(self, device: torch.device) -> None:
        """Moves the stack to `device`. Modules bound earlier keep their buffer on the old device, so move first."""
        self.stack = self.stack.to(device)

    def mix(self, alpha: Alpha, out: Tensor) -> None:
        """Writes out [P] = alpha @ stack, summed in float32 and rounded once; a single endpoint is copied bit for bit.

        Rows with coefficient 0 are not read: they cost nothing and cannot change the sign of a zero. `alpha` has one
        coefficient per endpoint for all layers, or for each segment.
        """
        rounds_later = self.repair is not None and out.dtype != torch.float32
        target = torch.empty_like(self.stack[0]) if rounds_later else out
        for (start, stop), coefficients in self._runs(alpha):
            self._mix_rows(coefficients, self.stack[:, start:stop], target[start:stop])
        if self.repair is not None:
            self.repair.apply(alpha, target)
        if target is not out:
            out.copy_(target)

    def _runs(self, alpha: Alpha) -> Iterator[tuple[tuple[int, int], Alpha]]:
        """Neighboring segments of equal coefficients as one, so that equal tracks cost what one costs."""
        count = len(self.names)
        if len(alpha) == count:
            yield (0, self.stack.shape[1]), alpha
            return
        of_each = [(segment, alpha[n * count : (n + 1) * count]) for n, segment in enumerate(self.segments)]
        filled = (pair for pair in of_each if pair[0][0] < pair[0][1])  # the first segment may be empty
        for coefficients, run in itertools.groupby(filled, key=lambda pair: pair[1]):
            segments = [segment for segment, _ in run]
            yield (segments[0][0], segments[-1][1]), coefficients

    @staticmethod
    def _mix_rows(alpha: Alpha, stack: Tensor, out: Tensor) -> None:
        nonzero = [index for index, coefficient in enumerate(alpha) if coefficient != 0] or [0]
        if len(nonzero) == 1 and alpha[nonzero[0]] == 1:
            out.copy_(stack[nonzero[0]])
            return
        step = nonzero[1] - nonzero[0] if len(nonzero) > 1 else 1
        # then the rows are a view, as any two rows are
        evenly_spaced = nonzero == list(range(nonzero[0], nonzero[-1] + 1, step))
        rows = slice(nonzero[0], nonzero[-1] + 1, step) if evenly_spaced else nonzero
        coefficients = torch.tensor([alpha[index] for index in nonzero]).to(out.device, non_blocking=True)
        block = BLOCK if out.device.type == "cpu" else out.numel()
        buffer = torch.empty(min(block, out.numel()), device=out.device)
        for start in range(0, out.numel(), block):
            block_out = out[start : start + block]
            target = block_out if block_out.dtype == torch.float32 else buffer[: block_out.numel()]
            torch.mv(stack[:, start : start + block][rows].T, coefficients, out=target)
            if target is not block_out:
                block_out.copy_(target)


class MixedWeights:
    """The mixed weights theta(alpha): `flat` [P] in `dtype`, on the device of the path.

    `write` changes the values in place, so that addresses stay valid. `alpha` is the current mix, None before the first
    write; `weight_writes` counts the changes. `mix_in_place` replaces `path.mix` into `flat` where all layers have the
    same coefficients and nothing is repaired.
    """

    mix_in_place: Callable[[Alpha], None] | None = None

    def __init__(self, path: WeightPath, dtype: torch.dtype = torch.float32) -> None:
        self.path = path
        self.alpha: Alpha | None = None
        self._repair = path.repair
        self.weight_writes = 0
        self.flat = torch.zeros(path.stack.shape[1], dtype=dtype, device=path.stack.device)

    def write(self, alpha: Alpha) -> bool:
        """Sets the weights to theta(alpha). Returns False, without work, if `alpha` is already the current mix.

        Raises:
            ModelError: `alpha` has the wrong length or is not finite.
        """
        names = self.path.names
        if len(alpha) not in (len(names), len(names) * len(self.path.segments)):
            expected = f"{len(names)}: one for each of {names}"
            expected += f", or as many for each of {len(self.path.segments)} segments" if self.path.groups else ""
            raise ModelError(f"alpha has {len(alpha)} coefficients, expected {expected}")
        if not all(math.isfinite(coefficient) for coefficient in alpha):
            raise ModelError(f"alpha is {alpha}, expected finite numbers")
        if alpha == self.alpha and self._repair is self.path.repair:
            return False
        with torch.inference_mode():
            if self.mix_in_place is not None and len(alpha) == len(names) and self.path.repair is None:
                self.mix_in_place(alpha)
            else:
                self.path.mix(alpha, self.flat)
        self.alpha, self._repair = alpha, self.path.repair
        self.weight_writes += 1
        return True


class MixedModule(MixedWeights):
    """A module in evaluation mode whose parameters and buffers are views of the mixed weights.

    Takes ownership of `module`: each `MixedModule` needs its own.

    Raises:
        ModelError: the module lacks a tensor of the path.
    """

    def __init__(self, path: WeightPath, module: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(path, dtype)
        self.module = module.to(self.flat).eval().requires_grad_(False)
        _bind_views(self.module, path.layout, self.flat)


def _by_group(state: State, groups: Sequence[str]) -> list[State]:
    """The tensors of floats that no pattern matches, then those of each pattern that is their first match."""
    members: list[dict[str, Tensor]] = [{} for _ in range(len(groups) + 1)]
    for name, tensor in state.items():
        if tensor.is_floating_point():
            found = next((number for number, pattern in enumerate(groups, 1) if fnmatchcase(name, pattern)), 0)
            members[found][name] = tensor
    if not any(members):
        raise ModelError("the endpoints have no weights: all their tensors are integers")
    for pattern, group in zip(groups, members[1:], strict=True):
        if not group:
            raise _no_match(pattern, state)
    return list(members)


def _no_match(pattern: str, state: State) -> UsageError:
    """The error for a pattern that has no tensor left, with names to choose from."""
    names = [name for name, tensor in state.items() if tensor.is_floating_point()]
    if any(fnmatchcase(name, pattern) for name in names):
        return UsageError(f"tracks='{pattern}': all that it matches belongs to tracks before it; put it before them")
    layers = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    close = difflib.get_close_matches(pattern, [*layers, *names], 1)
    shown = [*layers[:MAX_LISTED], f"... ({len(layers) - MAX_LISTED} more)"] if len(layers) > MAX_LISTED else layers
    error = UsageError(
        f"tracks='{pattern}': matches no tensor; expected a pattern of their names, such as '{layers[0]}.*'"
        + (f"; did you mean '{close[0]}*'?" if close else "")
    )
    error.add_note(f"  the layers are {', '.join(shown)}")
    return error


def _layout(members: Sequence[State], channels_last: bool) -> tuple[tuple[TensorView, ...], list[int]]:
    """The places of tensors, group after group, and the end of each group."""
    views: list[TensorView] = []
    size, ends = 0, list[int]()
    for state in members:
        for name, tensor in state.items():
            order = torch.channels_last if channels_last and tensor.ndim == 4 else torch.contiguous_format
            strides = torch.empty(tensor.shape, device="meta").contiguous(memory_format=order).stride()
            views.append(TensorView(name, size, tuple(tensor.shape), strides))
            size += -(-tensor.numel() // ALIGN) * ALIGN
        ends.append(size)
    return tuple(views), ends


def _bind_views(module: nn.Module, layout: tuple[TensorView, ...], flat: Tensor) -> None:
    """Points the tensors of `module` into `flat`.

    Tied tensors are one object with several names: the last name wins, as in `load_state_dict`.
    """
    tensors: dict[str, Tensor] = dict(module.named_buffers(remove_duplicate=False))
    tensors |= dict(module.named_parameters(remove_duplicate=False))
    missing = [view.name for view in layout if view.name not in tensors]
    if missing:
        raise ModelError(f"the network has no tensor named {missing[0]} ({len(missing)} missing in total)")
    for view in layout:
        tensors[view.name].data = view.of(flat)
