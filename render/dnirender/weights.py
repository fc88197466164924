"""Weights: read from checkpoints without running code, and mixed in place, theta(alpha) = sum_i alpha_i theta_i."""

from __future__ import annotations

import math
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dnirender.errors import ModelError
from dnirender.frames import Alpha

State = Mapping[str, Tensor]
"""Named tensors of one endpoint, on the CPU; floats are float32."""

UNWRAP = ("params_ema", "params-ema", "params", "model_state_dict", "state_dict", "model", "net")
PREFIXES = ("module.", "netG.")
ZIP = b"PK\x03\x04"

# torch.save does not compress, and trained weights compressed by hand shrink to half at best: more is an attack.
MAX_EXPANSION = 100
MAX_EXPANDED_BYTES = 8 << 30
# Tied weights lie two or three times on one storage; a thousand tensors on one storage are an attack.
MAX_SHARING = 4

# 64 elements are 128 bytes or more in every dtype: each tensor starts where vector units and cuDNN like it.
ALIGN = 64
# 2^17 floats are 512 kB: a block's sum is still in the second-level cache when it is rounded to the compute dtype.
BLOCK = 1 << 17


@dataclass(frozen=True)
class Checkpoint:
    """One weights file. `state` is contiguous on the CPU, floats as float32 and finite, integers as they were.

    `unwrapped` is the key that the weights lay under in the file, None for a bare state dict.
    """

    state: dict[str, Tensor]
    metadata: dict[str, str]
    unwrapped: str | None = None


def load_state_dict(path: Path) -> Checkpoint:
    """Reads safetensors, or what `torch.save` wrote, without ever running code from the file.

    ModelError, in one line with the path: not there, not a checkpoint, more than weights inside, tensors that claim
    more elements than the file holds, values that are not finite.
    """
    try:
        head = _head(path)
        is_safetensors = head[8:] == b"{" or (path.suffix == ".safetensors" and not head.startswith(ZIP))
        data, metadata = _read_safetensors(path) if is_safetensors else (_read_torch(path, head), {})
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    data, unwrapped = _unwrap(path, data)
    tensors = _only_tensors(path, data)
    _check_sizes(path, tensors)
    state = {name: _plain(path, name, tensor) for name, tensor in tensors.items()}
    return Checkpoint(_strip(state), metadata, unwrapped)


def _head(path: Path) -> bytes:
    """What tells the formats apart, as downloads are often misnamed. Safetensors: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    if not head:
        raise ModelError(f"{path}: the file is empty")
    return head


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{path}: not a valid safetensors file ({error}); download or export it again") from error


def _read_torch(path: Path, head: bytes) -> object:
    try:
        if head.startswith(ZIP):
            _check_zip(path)
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols and sparse tensors; the result is judged below
            return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, ModelError):
        raise
    except Exception as error:  # the unpickler fails in any way that a damaged file makes it fail
        raise _unreadable(path, str(error)) from error


def _unreadable(path: Path, reason: str) -> ModelError:
    if not re.search(r"GLOBAL|Can only|unrecognized function|TorchScript", reason):
        return ModelError(f"{path}: not a checkpoint, or a damaged one; expected safetensors or a file from torch.save")
    culprit = re.search(r"GLOBAL (\S+)", reason)
    what = f"more than weights ({culprit[1]})" if culprit else "more than weights"
    advice = "if you trust it, save its state dict as safetensors and give that"
    return ModelError(f"{path}: holds {what} and is not loaded, because that would run code from it; {advice}")


def _check_zip(path: Path) -> None:
    """Refuses, by the directory alone, an archive that would not fit the machine once it is unpacked."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    size = path.stat().st_size
    if unpacked > MAX_EXPANSION * size or unpacked > max(2 * size, MAX_EXPANDED_BYTES):
        raise ModelError(f"{path}: {size} bytes that unpack to {unpacked}: refused, trained weights do not compress so")


def _unwrap(path: Path, data: object) -> tuple[dict[Any, Any], str | None]:
    if not isinstance(data, Mapping):
        raise ModelError(f"{path}: holds a {type(data).__name__}, expected named tensors (a state dict)")
    found = cast("Mapping[Any, Any]", data)
    for key in UNWRAP:
        if isinstance(found.get(key), Mapping):
            return dict(found[key]), key
    return dict(found), None


def _only_tensors(path: Path, data: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Counters and notes between the tensors are passed over; what may hold weights of its own is refused."""
    tensors: dict[str, Tensor] = {}
    for name, value in data.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            tensors[name] = value.detach()
        elif not isinstance(value, str | bytes | int | float | None):
            known = ", ".join(UNWRAP)
            kind = type(value).__name__
            raise ModelError(f"{path}: entry {name!r} is a {kind}, expected a tensor, or the weights under {known}")
    if not tensors:
        raise ModelError(f"{path}: holds no tensors")
    return tensors


def _check_sizes(path: Path, tensors: State) -> None:
    """Before any arithmetic: with stride 0 a file of 1.5 kB can claim a tensor of 64 GiB."""
    held: dict[int, int] = {}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_complex():
            raise ModelError(f"{path}: {name} is not a plain tensor of real numbers")
        stored = tensor.untyped_storage().nbytes() // tensor.element_size()
        if tensor.numel() > stored:
            raise ModelError(f"{path}: {name} claims {tensor.numel()} elements, but the file holds {stored}: refused")
        held[tensor.untyped_storage().data_ptr()] = stored
    claimed, stored = sum(tensor.numel() for tensor in tensors.values()), sum(held.values())
    if claimed > MAX_SHARING * stored:
        raise ModelError(f"{path}: its tensors claim {claimed} elements, but the file holds {stored}: refused")


def _plain(path: Path, name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.contiguous()
    plain = tensor.to(torch.float32).contiguous()
    bad = plain.numel() - int(torch.isfinite(plain).sum())
    if bad:
        raise ModelError(f"{path}: {name} has {bad} of {plain.numel()} values that are not finite (NaN or Inf)")
    return plain


def _strip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def compare(endpoints: Mapping[str, State]) -> None:
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
class Entry:
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
        compare(endpoints)
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
        neighbours = used[-1] - used[0] == len(used) - 1  # then the rows are a view
        rows = slice(used[0], used[-1] + 1) if neighbours else used
        coefficients = torch.tensor([alpha[index] for index in used]).to(out.device, non_blocking=True)
        block = BLOCK if out.device.type == "cpu" else out.numel()
        total = torch.empty(min(block, out.numel()), device=out.device)
        for start in range(0, out.numel(), block):
            part = out[start : start + block]
            target = part if part.dtype == torch.float32 else total[: part.numel()]
            torch.mv(self.stack[:, start : start + block][rows].T, coefficients, out=target)
            if target is not part:
                part.copy_(target)


class Live:
    """A module in evaluation mode whose tensors are views of `flat` [P] in `dtype`, on the path's device.

    `write` changes the weights, never an address. `alpha` is what they are now, None before the first write; `writes`
    counts the times they changed. `module` is taken over: each Live needs one of its own.
    """

    def __init__(self, path: WeightPath, module: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        self.path = path
        self.alpha: Alpha | None = None
        self.writes = 0
        self.flat = torch.zeros(path.stack.shape[1], dtype=dtype, device=path.stack.device)
        self.module = module.to(self.flat).eval().requires_grad_(False)
        _point(self.module, path.layout, self.flat)

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
        self.writes += 1
        return True


def _layout(state: State, channels_last: bool) -> tuple[tuple[Entry, ...], int]:
    entries: list[Entry] = []
    size = 0
    for name, tensor in state.items():
        if tensor.is_floating_point():
            order = torch.channels_last if channels_last and tensor.ndim == 4 else torch.contiguous_format
            strides = torch.empty(tensor.shape, device="meta").contiguous(memory_format=order).stride()
            entries.append(Entry(name, size, tuple(tensor.shape), strides))
            size += -(-tensor.numel() // ALIGN) * ALIGN
    if not entries:
        raise ModelError("the endpoints hold no weights: all their tensors are integers")
    return tuple(entries), size


def _point(module: nn.Module, layout: tuple[Entry, ...], flat: Tensor) -> None:
    """Tied tensors are one object under several names: like `load_state_dict`, the last name wins."""
    live: dict[str, Tensor] = dict(module.named_buffers(remove_duplicate=False))
    live |= dict(module.named_parameters(remove_duplicate=False))
    missing = [entry.name for entry in layout if entry.name not in live]
    if missing:
        raise ModelError(f"the network has no tensor named {missing[0]} (unknown in all: {len(missing)})")
    for entry in layout:
        live[entry.name].data = entry.of(flat)
