"""Reads checkpoints (safetensors, torch.save, ONNX) without running code from the file, and validates them."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dnirender.errors import ModelError
from dnirender.networks.onnx_weights import read_onnx
from dnirender.networks.signatures import HEAD_BYTES, ZIP, describe_signature, is_onnx, is_safetensors
from dnirender.networks.wrappers import choose_weights, find_weights, keys_to_choose

State = Mapping[str, Tensor]
"""Named tensors of one endpoint, on the CPU; floats are float32."""

# torch.save does not compress, and trained weights compress to half at best: more is a decompression bomb.
MAX_EXPANSION = 100
MAX_EXPANDED_BYTES = 256 << 20
# Tied weights share one storage two or three times; a thousand tensors on one storage are an attack.
MAX_SHARING = 4
# The largest networks have a few thousand tensors. Each costs 0.1 ms and 2 kB; a list of millions is an attack.
MAX_TENSORS = 10_000
MAX_INDEX_BYTES = 2 << 20  # of a zip directory or a pickle, about 200 bytes per tensor
MAX_HEADER_BYTES = 16 << 20  # of a safetensors header, which may include training metadata
SCALE = ".scale"  # of an int8 tensor of that name before it
MAX_SHOWN = 12  # keys that an error lists
MAX_READS = 3_000_000  # an unpickler reads two or three times per opcode, 1.5 us each


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a weights file.

    `state` holds contiguous CPU tensors: floats as finite float32, integers in their own dtype. `unwrapped` is the key
    of the file under which the state dict was found, keys in one another joined by dots, None if the file is a bare
    state dict. An int8 tensor NAME in the file beside NAME.scale, n floats for its n output channels, becomes their
    product. `others` are the file's other keys with weights, `dtypes` those of the tensors in the file.
    """

    state: dict[str, Tensor]
    metadata: dict[str, str]
    unwrapped: str | None = None
    others: tuple[str, ...] = ()
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict[str, torch.dtype])


def load_state_dict(path: Path, key: str | None = None) -> Checkpoint:
    """Reads a safetensors, `torch.save` or ONNX file without running code from it.

    Of several state dicts in a file it takes that under `key`, else the preferred one (see `wrappers`). A file that is
    a bare state dict has nothing to choose from, whatever `key` is.

    Raises:
        ModelError: there is nothing under `key`, the file is missing or not a checkpoint, contains more than weights,
            tensors claim more elements than the file holds, or values are not finite. The message is one line that
            starts with the path.
    """
    try:
        signature = _read_signature(path)
        if kind := describe_signature(signature):
            raise ModelError(f"{path}: {kind}")
        data, metadata = _read(path, signature)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    data, unwrapped, others = _unwrap(path, data, key)
    _check_count(path, len(data))
    tensors = _only_tensors(path, data)
    _check_sizes(path, tensors)
    state = {name: _to_float32(path, name, tensor) for name, tensor in _dequantized(path, tensors).items()}
    return Checkpoint(state, metadata, unwrapped, others, {name: tensor.dtype for name, tensor in tensors.items()})


def _read(path: Path, signature: bytes) -> tuple[object, dict[str, str]]:
    """What the file holds, and its metadata."""
    if is_safetensors(signature, path.suffix):
        return _read_safetensors(path)
    return read_onnx(path) if is_onnx(signature) else _read_torch(path, signature), {}


def _read_signature(path: Path) -> bytes:
    """The first bytes, which identify the format even if the file is misnamed."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ModelError(f"{path}: is a device or a pipe, expected a file")
    with path.open("rb") as file:
        signature = file.read(HEAD_BYTES)
    if not signature:
        raise ModelError(f"{path}: the file is empty")
    return signature


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if MAX_HEADER_BYTES < size < path.stat().st_size:
        raise ModelError(f"{path}: its header has {size} bytes, expected at most {MAX_HEADER_BYTES}: refused")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = list(file.keys())
            _check_count(path, len(names))
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ModelError(f"{path}: not a valid safetensors file ({error}); download or export it again") from error


def _read_torch(path: Path, signature: bytes) -> object:
    try:
        if signature.startswith(ZIP):
            _check_zip(path)
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols and sparse tensors; the result is validated below
            source: Any = file if signature.startswith(ZIP) else _ReadLimitedFile(path, file)
            return torch.load(source, map_location="cpu", weights_only=True)
    except (OSError, ModelError):
        raise
    except Exception as error:  # a corrupt file can make the unpickler raise anything
        raise _load_error(path, str(error)) from error


def _load_error(path: Path, reason: str) -> ModelError:
    if not re.search(r"GLOBAL|Can only|unrecognized function|TorchScript", reason):
        return ModelError(f"{path}: not a checkpoint, or corrupt; expected safetensors or a file from torch.save")
    global_match = re.search(r"GLOBAL (\S+)", reason)
    content = f"more than weights ({global_match[1]})" if global_match else "more than weights"
    advice = "if you trust it, save its state dict as safetensors and use that"
    return ModelError(f"{path}: holds {content} and is not loaded, because that would run code from it; {advice}")


def _check_zip(path: Path) -> None:
    """Refuses decompression bombs, from the zip directory alone.

    Raises:
        ModelError: the directory, the pickle or the unpacked size is too large.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 16)))
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    index_bytes = int.from_bytes(tail[end + 12 : end + 16], "little")
    if end >= 0 and MAX_INDEX_BYTES < index_bytes < size:
        raise ModelError(f"{path}: its directory has {index_bytes} bytes, expected at most {MAX_INDEX_BYTES}: refused")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if entries and not any(entry.filename.endswith(".pkl") for entry in entries[:MAX_TENSORS]):
        names = ", ".join(entry.filename for entry in entries[:3])
        raise ModelError(
            f"{path}: is a zip archive with {names[:100]!r}, no checkpoint; unpack it and name the weights"
        )
    _check_count(path, len(entries) // 2)
    unpacked_bytes = sum(entry.file_size for entry in entries)
    pickle_bytes = max((entry.file_size for entry in entries if entry.filename.endswith(".pkl")), default=0)
    if pickle_bytes > MAX_INDEX_BYTES:
        raise ModelError(f"{path}: its pickle has {pickle_bytes} bytes, expected at most {MAX_INDEX_BYTES}: refused")
    if unpacked_bytes > MAX_EXPANSION * size or unpacked_bytes > max(4 * size, MAX_EXPANDED_BYTES):
        raise ModelError(
            f"{path}: {size} bytes that unpack to {unpacked_bytes}: refused, trained weights do not compress that well"
        )


def _check_count(path: Path, count: int) -> None:
    if count > MAX_TENSORS:
        raise ModelError(f"{path}: holds {count} tensors, expected at most {MAX_TENSORS}: refused")


class _ReadLimitedFile:
    """File wrapper that limits the number of reads, for the legacy format, whose pickle may be as long as the file.

    It has no file descriptor, so that torch reads the tensors through it too.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._reads_left = MAX_READS
        self.seek, self.tell = file.seek, file.tell

    def _count(self) -> None:
        self._reads_left -= 1
        if self._reads_left < 0:
            raise ModelError(f"{self._path}: needs more than {MAX_READS} reads: refused")

    def read(self, size: int = -1) -> bytes:
        """Like the method of a file, but counted."""
        self._count()
        return self._file.read(size)

    def readline(self, size: int = -1) -> bytes:
        """Like the method of a file, but counted."""
        self._count()
        return self._file.readline(size)

    def readinto(self, buffer: Any) -> int:
        """Like the method of a file, but counted."""
        self._count()
        return self._file.readinto(buffer)  # pyright: ignore[reportAttributeAccessIssue]


def _unwrap(path: Path, data: object, key: str | None) -> tuple[Mapping[Any, Any], str | None, tuple[str, ...]]:
    """The state dict, the key that it was under, and other keys."""
    if not isinstance(data, Mapping):
        raise ModelError(f"{path}: holds a {type(data).__name__}, expected named tensors (a state dict)")
    mapping = cast("Mapping[Any, Any]", data)
    keys = keys_to_choose(mapping)
    wrapped = any(isinstance(value, Mapping) for value in mapping.values())
    found = find_weights(mapping) if key is None else choose_weights(mapping, key)
    if found is None and wrapped:
        raise ModelError(
            f"{path}: weights_key={key!r}: there are no weights under it; there are under {', '.join(keys[:MAX_SHOWN])}"
        )
    state, where = found or (mapping, "")
    others = tuple(name for name in keys[:MAX_SHOWN] if name != where.partition(".")[0]) if where and wrapped else ()
    return state, where or None, others


def _only_tensors(path: Path, data: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Keeps the tensors and skips numbers and strings.

    Raises:
        ModelError: an entry is a container that may hold weights, or there are no tensors.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in data.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            tensors[name] = value.detach()
        elif not isinstance(value, str | bytes | int | float | None):
            found = f"entry {name!r} is a {type(value).__name__}"
            keys = keys_to_choose(data)
            hint = f"; weights_key={keys[0]!r} opens it" if len(keys) == 1 else ""
            hint = f"; weights_key= one of {', '.join(keys[:MAX_SHOWN])} opens it" if len(keys) > 1 else hint
            raise ModelError(f"{path}: {found}, expected a tensor{hint}")
    if not tensors:
        raise ModelError(f"{path}: holds no tensors")
    return tensors


def _check_sizes(path: Path, tensors: State) -> None:
    """Checks sizes before any arithmetic: with stride 0 a file of 1.5 kB can claim a tensor of 64 GiB."""
    stored_elements: dict[int, int] = {}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_complex():
            raise ModelError(f"{path}: {name} is not a plain tensor of real numbers")
        stored = tensor.untyped_storage().nbytes() // tensor.element_size()
        if tensor.numel() > stored:
            raise ModelError(f"{path}: {name} claims {tensor.numel()} elements, but the file holds {stored}: refused")
        stored_elements[tensor.untyped_storage().data_ptr()] = stored
    claimed, stored = sum(tensor.numel() for tensor in tensors.values()), sum(stored_elements.values())
    if claimed > MAX_SHARING * stored:
        raise ModelError(f"{path}: its tensors claim {claimed} elements, but the file holds {stored}: refused")


def _dequantized(path: Path, tensors: State) -> State:
    """The tensors, with NAME * NAME.scale in place of both where NAME is int8."""
    scaled = {name for name, value in tensors.items() if value.dtype == torch.int8 and f"{name}{SCALE}" in tensors}
    plain = {name: value for name, value in tensors.items() if name.removesuffix(SCALE) not in scaled or name in scaled}
    for name in scaled:
        value, scale = tensors[name], tensors[f"{name}{SCALE}"].float()
        if value.ndim < 2 or scale.shape != value.shape[:1]:
            got = f"{list(scale.shape)} for {name} of {list(value.shape)}"
            raise ModelError(f"{path}: {name}{SCALE}: expected one number per output channel, got {got}")
        plain[name] = value.float() * scale.view(-1, *[1] * (value.ndim - 1))
    return plain


def _to_float32(path: Path, name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.contiguous()
    converted = tensor.to(torch.float32).contiguous()
    bad = converted.numel() - int(torch.isfinite(converted).sum())
    if bad:
        raise ModelError(f"{path}: {name} has {bad} of {converted.numel()} values that are not finite (NaN or Inf)")
    return converted
