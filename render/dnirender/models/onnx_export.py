"""A weight path as an ONNX graph that mixes the weights itself: alpha is an input beside the image."""

from __future__ import annotations

import copy
import importlib.util
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnirender.errors import ModelError, UsageError
from dnirender.files import disk_errors, publish, temporary_path
from dnirender.models.files import check_place
from dnirender.networks.network import Network, call_module
from dnirender.networks.weights import WeightPath

EXTRA = "dnirender[onnx]"
MAX_ERROR = 1e-4  # of an output in 0..1
SIDES = (48, 64)  # of the image that the graph is traced with, before padding; others that it is checked with
OTHER_SIDES = (80, 56)


def check_onnx_target(target: Path, *, overwrite: bool) -> None:
    """Raises UsageError, ModelError or OutputError where `export_onnx` cannot write there, before any work."""
    if target.suffix.lower() != ".onnx":
        raise UsageError(f"{target}: expected a name that ends in .onnx")
    check_place(target, overwrite=overwrite)
    missing = [package for package in ("onnx", "onnxscript") if importlib.util.find_spec(package) is None]
    if missing:
        raise ModelError(f"{target}: writing ONNX needs the package {missing[0]}: pip install '{EXTRA}'")


def export_onnx(network: Network, path: WeightPath, target: Path, *, overwrite: bool = False) -> float | None:
    """Writes a graph of the inputs `image`, 1 3 h w, float32 in 0..1, and `alpha`, one coefficient per endpoint in the
    order of the path, to `output`, 1 3 scale*h scale*w, in 0..1. h and w are any multiples of the network's `multiple`
    from its `minimum` on. An endpoint alone has its weights exactly.

    Returns the largest difference to the network in PyTorch, where onnxruntime is installed, else None.

    Raises:
        UsageError, OutputError: the target.
        ModelError: a package is missing, the network has an operation that ONNX has not, or computes something else.
    """
    check_onnx_target(target, overwrite=overwrite)
    mixing = _Mixing(network, path).eval()
    alpha = torch.full((len(path.names),), 1 / len(path.names))
    temporary = temporary_path(target).with_suffix(".onnx")
    try:
        _export(mixing, alpha, network, temporary)
        _describe(temporary, network, path)
        error = _largest_error(temporary, mixing, len(path.names), network)
        if error is not None and not error <= MAX_ERROR:
            raise ModelError(
                f"{target}: in onnxruntime the output differs by {error:.2g} from the network's, expected at most "
                f"{MAX_ERROR:g}; nothing was written"
            )
        with disk_errors(target):
            publish(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return error


class _Mixing(nn.Module):
    """theta(alpha) = sum_i alpha_i theta_i for every tensor, then the network."""

    def __init__(self, network: Network, path: WeightPath) -> None:
        super().__init__()
        plain = replace(network, call=call_module, shuffle_factors=None) if network.shuffle_factors else network
        self._network = [replace(plain, module=nn.Identity())]  # a list hides the weights of the endpoint
        self.module = copy.deepcopy(network.module)
        self.stacks = nn.ParameterList(
            nn.Parameter(torch.stack([view.of(row).contiguous() for row in path.stack]).flatten(1), requires_grad=False)
            for view in path.layout
        )
        self._views = path.layout

    def forward(self, image: Tensor, alpha: Tensor) -> Tensor:
        mixed = {
            f"module.{view.name}": torch.matmul(alpha[None], stack).reshape(view.shape)
            for view, stack in zip(self._views, self.stacks, strict=True)
        }
        return torch.func.functional_call(_Runner(self.module, self._network[0]), mixed, (image,))


class _Runner(nn.Module):
    def __init__(self, module: nn.Module, network: Network) -> None:
        super().__init__()
        self.module, self._network = module, [network]

    def forward(self, image: Tensor) -> Tensor:
        return self._network[0].forward(self.module, image).clamp(0, 1)


def _image(network: Network, sides: tuple[int, int], seed: int = 0) -> Tensor:
    return torch.rand(1, 3, *network.padded_size(*sides), generator=torch.Generator().manual_seed(seed))


def _export(mixing: nn.Module, alpha: Tensor, network: Network, target: Path) -> None:
    axes: dict[int, Any] = {}
    for axis, name in ((2, "h"), (3, "w")):
        least = max(-(-network.minimum // network.multiple), 2)
        side = torch.export.Dim(name, min=least)
        axes[axis] = network.multiple * side if network.multiple > 1 else side
    try:
        with _quiet():
            torch.onnx.export(
                mixing,
                (_image(network, SIDES), alpha),
                target,
                dynamo=True,
                input_names=["image", "alpha"],
                output_names=["output"],
                dynamic_shapes=(axes, None),
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # what the exporter raises is its own
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"{target.stem}: {network.architecture} cannot be written as ONNX: {reason}") from error


@contextmanager
def _quiet() -> Generator[None]:
    """Silences warnings and log messages of the exporter."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _describe(file: Path, network: Network, path: WeightPath) -> None:
    """Writes into the graph what its inputs mean."""
    import onnx  # pyright: ignore[reportMissingImports] - optional

    model: Any = onnx.load(str(file))
    facts = {
        "endpoints": ",".join(path.names),
        "architecture": network.architecture,
        "scale": str(network.scale),
        "multiple": str(network.multiple),
        "minimum": str(network.minimum),
    }
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, str(file))


def _largest_error(file: Path, mixing: nn.Module, count: int, network: Network) -> float | None:
    """The largest difference of both outputs, for endpoints and a mixture, at two sizes."""
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports] - optional
    except ImportError:
        return None
    session: Any = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    errors = [0.0]
    for sides in (SIDES, OTHER_SIDES):
        image = _image(network, sides, 1)
        for alpha in (*torch.eye(count)[[0, -1]], torch.arange(1.0, count + 1) / (count * (count + 1) / 2)):
            (output,) = session.run(None, {"image": image.numpy(), "alpha": alpha.numpy()})
            with torch.inference_mode():
                errors.append(float((torch.from_numpy(output) - mixing(image, alpha)).abs().max()))
    return max(errors)
