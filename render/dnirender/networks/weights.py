"""Weights in memory, mixed in place: theta(alpha) = sum_i alpha_i theta_i."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dnirender.errors import ModelError
from dnirender.frames import Alpha
from dnirender.networks.checkpoint import State

# 64 elements are 128 bytes or more in every dtype: each tensor starts where vector units and cuDNN like it.
ALIGN = 64
# 2^17 floats are 512 kB: a block's sum is still in the second-level cache when it is rounded to the compute dtype.
BLOCK = 1 << 17


def check_same_shapes(endpoints: Mapping[str, State]) -> None:
    """ModelError with the first differences in names, shapes and kinds (float or not) to the first endpoint."""
    (first, expected), *others = endpoints.items()
    for name, state in others:
        differences = list(_differences(expected, state))
        if differences:
            more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
            told = "; ".join(differences[:3])
            advice = "endpoints must be fine-tuned from one another"
            raise ModelError(f"{name} does not fit {first}: {told}{more}; {advice}")


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
    """Where one tensor lies in a row: from `offset` on, in the memory order that `strides` (in elements) tell."""

    name: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, flat: Tensor) -> Tensor:
        """The tensor as a view into a row or live buffer [P]."""
        return flat.as_strided(self.shape, self.strides, flat.storage_offset() + self.offset)


class WeightPath:
    """theta(alpha) = sum_i alpha_i theta_i (Wang et al. 2019, Deep Network Interpolation), for any number of endpoints.

    `stack` [N, P], float32, contiguous: one row per endpoint in the order of `names`, each tensor at its `Entry`. With
    `channels_last`, 4-d tensors lie in the memory order o h w i. Tensors of integers (`num_batches_tracked`) are not
    mixed: a bound module keeps its own. Endpoints are taken to be finite; `load_state_dict` checks it.
    """

    def __init__(self, endpoints: Mapping[str, State], *, channels_last: bool = True) -> None:
        check_same_shapes(endpoints)
        self.names = tuple(endpoints)
        states = list(endpoints.values())
        self.layout, size = _layout(states[0], channels_last)
        self.stack = torch.zeros(len(states), size)
        for row, state in zip(self.stack, states, strict=True):
            for entry in self.layout:
                entry.of(row).copy_(state[entry.name])

    def to(self, device: torch.device) -> None:
        """Moves the stack. Modules bound before stay bound to the old place: move first."""
        self.stack = self.stack.to(device)

    def mix(self, alpha: Alpha, out: Tensor) -> None:
        """out [P] = alpha @ stack, summed in float32 and rounded once; an endpoint alone is copied bit for bit.

        Rows with coefficient 0 are not read: they cost nothing and do not touch the sign of a zero.
        """
        used = [index for index, coefficient in enumerate(alpha) if coefficient != 0] or [0]
        if len(used) == 1 and alpha[used[0]] == 1:
            out.copy_(self.stack[used[0]])
            return
        step = used[1] - used[0] if len(used) > 1 else 1
        evenly = used == list(range(used[0], used[-1] + 1, step))  # then the rows are a view, as any two are
        rows = slice(used[0], used[-1] + 1, step) if evenly else used
        coefficients = torch.tensor([alpha[index] for index in used]).to(out.device, non_blocking=True)
        block = BLOCK if out.device.type == "cpu" else out.numel()
        total = torch.empty(min(block, out.numel()), device=out.device)
        for start in range(0, out.numel(), block):
            part = out[start : start + block]
            target = part if part.dtype == torch.float32 else total[: part.numel()]
            torch.mv(self.stack[:, start : start + block][rows].T, coefficients, out=target)
            if target is not part:
                part.copy_(target)


class MixedWeights:
    """One theta(alpha), `flat` [P] in `dtype` on the path's device. `write` changes the weights, never an address.

    `alpha` is what they are now, None before the first write; `writes` counts the times they changed.
    """

    def __init__(self, path: WeightPath, dtype: torch.dtype = torch.float32) -> None:
        self.path = path
        self.alpha: Alpha | None = None
        self.weight_writes = 0
        self.flat = torch.zeros(path.stack.shape[1], dtype=dtype, device=path.stack.device)

    def write(self, alpha: Alpha) -> bool:
        """Makes the weights theta(alpha); False, and no work, when they are that already."""
        names = self.path.names
        if len(alpha) != len(names):
            raise ModelError(f"alpha has {len(alpha)} coefficients, expected {len(names)}: one for each of {names}")
        if not all(math.isfinite(coefficient) for coefficient in alpha):
            raise ModelError(f"alpha is {alpha}, expected finite numbers")
        if alpha == self.alpha:
            return False
        with torch.inference_mode():
            self.path.mix(alpha, self.flat)
        self.alpha = alpha
        self.weight_writes += 1
        return True


class MixedModule(MixedWeights):
    """A module in evaluation mode whose tensors are views of the live weights.

    `module` is taken over: each Live needs one of its own.
    """

    def __init__(self, path: WeightPath, module: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(path, dtype)
        self.module = module.to(self.flat).eval().requires_grad_(False)
        _point(self.module, path.layout, self.flat)


def _layout(state: State, channels_last: bool) -> tuple[tuple[TensorView, ...], int]:
    entries: list[TensorView] = []
    size = 0
    for name, tensor in state.items():
        if tensor.is_floating_point():
            order = torch.channels_last if channels_last and tensor.ndim == 4 else torch.contiguous_format
            strides = torch.empty(tensor.shape, device="meta").contiguous(memory_format=order).stride()
            entries.append(TensorView(name, size, tuple(tensor.shape), strides))
            size += -(-tensor.numel() // ALIGN) * ALIGN
    if not entries:
        raise ModelError("the endpoints hold no weights: all their tensors are integers")
    return tuple(entries), size


def _point(module: nn.Module, layout: tuple[TensorView, ...], flat: Tensor) -> None:
    """Tied tensors are one object under several names: like `load_state_dict`, the last name wins."""
    live: dict[str, Tensor] = dict(module.named_buffers(remove_duplicate=False))
    live |= dict(module.named_parameters(remove_duplicate=False))
    missing = [entry.name for entry in layout if entry.name not in live]
    if missing:
        raise ModelError(f"the network has no tensor named {missing[0]} (unknown in all: {len(missing)})")
    for entry in layout:
        live[entry.name].data = entry.of(flat)
