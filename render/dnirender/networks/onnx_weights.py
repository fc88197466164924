"""Weights of ONNX files: the initializers of a graph by name, which exporters take from the modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnirender.errors import ModelError

EXTRA = "dnirender[onnx]"
# Their constants are sizes and scales, not weights.
SHAPE_OPERATORS = {"Resize", "Upsample", "Pad", "Reshape", "Slice", "Gather", "Expand", "Tile", "Clip", "Unsqueeze"}


def read_onnx(path: Path) -> dict[str, Tensor]:
    """The floating-point initializers of an ONNX file by name, but for sizes and scales. Files that an ONNX file refers
    to are not opened.

    Raises:
        ModelError: the package onnx is not installed, the file is corrupt, or its weights lie in another file.
    """
    try:
        import onnx  # pyright: ignore[reportMissingImports] - optional
        from onnx import numpy_helper  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ModelError(
            f"{path}: is an ONNX model, and reading its weights needs the package onnx: pip install '{EXTRA}'; "
            "or use the PyTorch weights it was converted from (.pth, .safetensors)"
        ) from error
    try:
        graph: Any = onnx.load(str(path), load_external_data=False).graph
        tensors = [tensor for tensor in graph.initializer if tensor.name in _weight_names(graph)]
        if any(tensor.external_data for tensor in tensors):
            raise ModelError(f"{path}: keeps its weights in another file; save it as one file (onnx.save)")
        arrays = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in tensors}
    except (OSError, ModelError):
        raise
    except Exception as error:  # a corrupt file can make the parser raise anything
        raise ModelError(f"{path}: not a valid ONNX file; download or export it again") from error
    state = {name: torch.from_numpy(array) for name, array in arrays.items() if array.dtype.kind == "f"}
    if not state:
        raise ModelError(f"{path}: its graph has no weights as initializers")
    return state


def _weight_names(graph: Any) -> set[str]:
    return {name for node in graph.node if node.op_type not in SHAPE_OPERATORS for name in node.input}
