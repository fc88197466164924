"""Writes state dicts as checkpoints that spandrel, chaiNNer and PyTorch load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from dnirender.errors import ModelError, OutputError, UsageError
from dnirender.files import disk_errors, publish, temporary_path
from dnirender.networks.checkpoint import State
from dnirender.networks.registry import ARCHITECTURES

PICKLED = (".pth", ".pt", ".ckpt")
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def check_target(target: Path, *, overwrite: bool, metadata: Mapping[str, str] | None = None) -> None:
    """Whether `write_checkpoint` can write there: before any work.

    Raises:
        UsageError: the extension is no checkpoint's, or cannot hold the metadata that the architecture needs.
        OutputError: see `check_place`.
    """
    suffix = target.suffix.lower()
    if suffix not in (".safetensors", *PICKLED):
        raise UsageError(f"{target}: expected a name that ends in .safetensors, {', '.join(PICKLED)}")
    architecture = (metadata or {}).get("architecture")
    if suffix in PICKLED and architecture in ARCHITECTURES:
        raise UsageError(
            f"{target}: weights of the architecture {architecture} are found by metadata; expected .safetensors"
        )
    check_place(target, overwrite=overwrite)


def check_place(target: Path, *, overwrite: bool) -> None:
    """OutputError: the file exists already, or its folder does not."""
    if not target.parent.is_dir():
        raise OutputError(f"{target.parent}: no such folder; create it first")
    if target.is_dir():
        raise OutputError(f"{target}: is a folder; name a file")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists already; overwrite=True replaces it")


def write_checkpoint(
    target: Path,
    state: State,
    *,
    dtypes: Mapping[str, torch.dtype] | None = None,
    dtype: str | None = None,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a bare state dict, atomically, as safetensors or what `torch.save` writes, by the extension.

    Floats are written as `dtype` (fp32, fp16 or bf16), else each in that of `dtypes`, else as float32, as which those
    are written too that were stored as integers with a scale; never as float64. Metadata goes into safetensors only.

    Raises:
        UsageError, OutputError: see `check_target`; the disk fails.
        ModelError: a value is beyond what `dtype` can hold.
    """
    check_target(target, overwrite=overwrite, metadata=metadata)
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}")
    converted = {
        name: _convert(target, name, tensor, DTYPES[dtype] if dtype else (dtypes or {}).get(name, torch.float32))
        for name, tensor in state.items()
    }
    temporary = temporary_path(target)
    try:
        with disk_errors(target):
            if target.suffix.lower() in PICKLED:
                torch.save(converted, temporary)
            else:
                save_file(converted, temporary, {"format": "pt", **(metadata or {})})
        publish(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _convert(target: Path, name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor with a storage of its own, as files of tied weights must not share any."""
    if not tensor.is_floating_point():
        return tensor.clone().contiguous()
    wide = dtype == torch.float64 or not dtype.is_floating_point
    converted = tensor.to(torch.float32 if wide else dtype).contiguous().clone()
    if not bool(converted.isfinite().all()):
        largest = float(tensor.abs().max())
        raise ModelError(
            f"{target}: {name} has values up to {largest:.3g}, beyond what {dtype} can hold; use dtype='fp32'"
        )
    return converted
