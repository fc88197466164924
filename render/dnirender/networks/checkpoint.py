"""Checkpoints: weights files read without running code, checked before any arithmetic."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dnirender.errors import ModelError

State = Mapping[str, Tensor]
"""Named tensors of one endpoint, on the CPU; floats are float32."""

UNWRAP = ("params_ema", "params-ema", "params", "model_state_dict", "state_dict", "model", "net")
PREFIXES = ("module.", "netG.")
ZIP = b"PK\x03\x04"

# torch.save does not compress, and trained weights compressed by hand shrink to half at best: more is an attack.
MAX_EXPANSION = 100
MAX_EXPANDED_BYTES = 256 << 20
# Tied weights lie two or three times on one storage; a thousand tensors on one storage are an attack.
MAX_SHARING = 4
# The largest networks have a few thousand tensors. Each costs 0.1 ms and 2 kB, so that a list of millions is an attack.
MAX_TENSORS = 10_000
MAX_LISTING = 2 << 20  # bytes of a directory, a pickle or a header that describes tensors: some 200 for each
MAX_METADATA = 16 << 20  # a safetensors header also holds notes on the training
MAX_READS = 3_000_000  # an unpickler reads two or three times for each opcode, in 1.5 us


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
    _check_count(path, len(data))
    tensors = _only_tensors(path, data)
    _check_sizes(path, tensors)
    state = {name: _plain(path, name, tensor) for name, tensor in tensors.items()}
    return Checkpoint(_strip(state), metadata, unwrapped)


def _head(path: Path) -> bytes:
    """What tells the formats apart, as downloads are often misnamed. Safetensors: 8 bytes of length, then JSON."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ModelError(f"{path}: is a device or a pipe, expected a file")
    with path.open("rb") as file:
        head = file.read(9)
    if not head:
        raise ModelError(f"{path}: the file is empty")
    return head


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if MAX_METADATA < size < path.stat().st_size:
        raise ModelError(f"{path}: its header has {size} bytes, expected at most {MAX_METADATA}: refused")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = list(file.keys())
            _check_count(path, len(names))
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ModelError(f"{path}: not a valid safetensors file ({error}); download or export it again") from error


def _read_torch(path: Path, head: bytes) -> object:
    try:
        if head.startswith(ZIP):
            _check_zip(path)
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols and sparse tensors; the result is judged below
            bounded: Any = file if head.startswith(ZIP) else _Bounded(path, file)
            return torch.load(bounded, map_location="cpu", weights_only=True)
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
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 16)))
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    listing = int.from_bytes(tail[end + 12 : end + 16], "little")
    if end >= 0 and MAX_LISTING < listing < size:
        raise ModelError(f"{path}: its directory has {listing} bytes, expected at most {MAX_LISTING}: refused")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    _check_count(path, len(members) // 2)
    unpacked = sum(member.file_size for member in members)
    pickled = max((member.file_size for member in members if member.filename.endswith(".pkl")), default=0)
    if pickled > MAX_LISTING:
        raise ModelError(f"{path}: its pickle has {pickled} bytes, expected at most {MAX_LISTING}: refused")
    if unpacked > MAX_EXPANSION * size or unpacked > max(4 * size, MAX_EXPANDED_BYTES):
        raise ModelError(f"{path}: {size} bytes that unpack to {unpacked}: refused, trained weights do not compress so")


def _check_count(path: Path, count: int) -> None:
    if count > MAX_TENSORS:
        raise ModelError(f"{path}: holds {count} tensors, expected at most {MAX_TENSORS}: refused")


class _Bounded:
    """A file of the format without an archive, whose pickle may be as long as the file: read so often and no more.

    It has no descriptor, so that torch reads the tensors through it too.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._left = MAX_READS
        self.seek, self.tell = file.seek, file.tell

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ModelError(f"{self._path}: is read in more than {MAX_READS} pieces: refused")

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        self._count()
        return self._file.read(size)

    def readline(self, size: int = -1) -> bytes:
        """As a file's."""
        self._count()
        return self._file.readline(size)

    def readinto(self, buffer: Any) -> int:
        """As a file's."""
        self._count()
        return self._file.readinto(buffer)  # pyright: ignore[reportAttributeAccessIssue]


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
