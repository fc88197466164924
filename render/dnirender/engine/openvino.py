"""A network compiled by OpenVINO for a CPU, with weights that can be changed: they are inputs of the compiled graph.

The graph is traced from `Network.infer_quantized`, pixels in and pixels out, so that it computes what PyTorch does.
16-bit pixels are passed as int32, because OpenVINO's TorchScript frontend does not support uint16.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dnirender.frames import Image
from dnirender.networks.network import Network
from dnirender.networks.weights import MixedWeights, TensorView, WeightPath

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
"""OpenVINO's name of each dtype. In bf16, operations after the last convolution stay in float32."""


def is_available() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


class OpenVINOModel:
    """`network` compiled for pixels of the shape and dtype of `image`. Like `Network.render` it maps pixels
    [1, h, w, 3] to pixels [1, scale*h, scale*w, 3] and one sum, under what `weights`, float32 on the CPU, hold when it
    is called. (An activation of OpenVINO may turn NaN into 0; PyTorch's activations propagate it.)

    `path` is on the CPU; `dtype` is a key of PRECISIONS; `threads` are shared by `workers` clones that run at the same
    time. `graph` is what `export` returned for the same arguments, or nothing is taken of it; `was_imported` tells.
    RuntimeError, NotImplementedError and exceptions of OpenVINO's own: the network cannot be compiled.
    """

    def __init__(
        self,
        network: Network,
        path: WeightPath,
        image: Image,
        dtype: str,
        threads: int,
        workers: int = 1,
        graph: bytes | None = None,
    ) -> None:
        import openvino

        example = torch.from_numpy(image)[None]
        self._network, self._path, self._shape, self._dtype = network, path, example.shape, example.dtype
        pixels = self._to_input(example)
        self._outputs = (0, pixels.dtype), (1, torch.float32)
        mixed = MixedWeights(path)
        inputs = [pixels, *(_contiguous_view(entry, mixed.flat) for entry in path.layout)]
        options = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": workers,
            "ENABLE_CPU_PINNING": False,  # the decoder and the encoder need the cores too
        }
        imported = _import(graph, inputs, options) if graph else None
        self.was_imported = imported is not None
        self._graph: Any = imported or _compile(network, path, inputs, options)
        self._tensor: Any = openvino.Tensor
        self._bind(mixed)

    def clone(self) -> OpenVINOModel:
        """The same graph with separate weights, to be run at the same time by another thread."""
        other = copy.copy(self)
        other._bind(MixedWeights(self._path))
        return other

    def export(self) -> bytes:
        """The compiled graph, without weights, for the same version of OpenVINO and the same processor."""
        stream = io.BytesIO()
        self._graph.export_model(stream)
        return stream.getvalue()

    def _bind(self, weights: MixedWeights) -> None:
        self.weights = weights
        self._request: Any = self._graph.create_infer_request()
        for number, entry in enumerate(self._path.layout, 1):
            self._request.set_input_tensor(
                number, self._tensor(_contiguous_view(entry, weights.flat).numpy(), shared_memory=True)
            )

    def fits(self, pixels: Tensor) -> bool:
        """Whether `pixels` have the shape and dtype that this was compiled for."""
        return pixels.shape == self._shape and pixels.dtype == self._dtype

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        inputs = self._to_input(pixels).numpy()  # a name keeps the memory alive, which the request only borrows
        rendered, total = (torch.empty(list(self._graph.output(n).shape), dtype=dtype) for n, dtype in self._outputs)
        self._request.set_input_tensor(0, self._tensor(inputs, shared_memory=True))
        for number, tensor in enumerate((rendered, total)):
            self._request.set_output_tensor(number, self._tensor(tensor.numpy(), shared_memory=True))
        self._request.infer()
        return self._network.postprocess(rendered.to(self._dtype), *pixels.shape[1:3]), total

    def _to_input(self, pixels: Tensor) -> Tensor:
        inputs = self._network.preprocess(pixels)
        return inputs if self._dtype == torch.uint8 else inputs.to(torch.int32)


def _compile(network: Network, path: WeightPath, inputs: list[Tensor], options: dict[str, Any]) -> Any:
    """The compiled graph; `inputs` are pixels and weights."""
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # sizes are meant to become constants
        traced = torch.jit.trace(_WeightsAsInputs(network, path.layout), tuple(inputs), check_trace=False)
    # Not openvino.convert_model, which sends telemetry.
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, example_input=tuple(inputs))  # a name keeps it alive
    model = frontend.convert(frontend.load(decoder))
    for parameter, tensor in zip(model.inputs, inputs, strict=True):
        array = tensor.numpy()
        parameter.get_node().set_element_type(openvino.Type(array.dtype))
        parameter.get_node().set_partial_shape(openvino.PartialShape(list(array.shape)))
    model.validate_nodes_and_infer_types()
    return openvino.Core().compile_model(model, "CPU", options)


def _import(graph: bytes, inputs: list[Tensor], options: dict[str, Any]) -> Any:
    """A graph that was exported; None where this OpenVINO does not take it, or it has other inputs."""
    import openvino

    try:
        found = openvino.Core().import_model(io.BytesIO(graph), "CPU", options)
    except Exception:  # noqa: BLE001 - what it raises is not documented; the network is compiled anew
        return None
    return found if [list(port.shape) for port in found.inputs] == [list(tensor.shape) for tensor in inputs] else None


class _WeightsAsInputs(nn.Module):
    """`network.infer_quantized` with the weights of a copy of its module as arguments."""

    def __init__(self, network: Network, layout: tuple[TensorView, ...]) -> None:
        super().__init__()
        module = copy.deepcopy(network.module).eval()
        self._hidden = [(network, module, layout)]  # a list hides the submodule: its weights must not become constants
        for entry in layout:
            owner, name = _owner(module, entry)
            owner._parameters.pop(name, None)  # pyright: ignore[reportPrivateUsage] - or else they hide the arguments
            owner._buffers.pop(name, None)  # pyright: ignore[reportPrivateUsage]

    def forward(self, pixels: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        [(network, module, layout)] = self._hidden
        for entry, weight in zip(layout, weights, strict=True):
            owner, name = _owner(module, entry)
            owner.__dict__[name] = weight.permute(0, 3, 1, 2) if _is_channels_last(entry) else weight
        with _FusionRewrites():
            return network.infer_quantized(module, pixels)


class _FusionRewrites(TorchFunctionMode):
    """Rewrites biases and PReLU as operations that OpenVINO fuses into one pass over memory. With weights as inputs,
    its own PReLU takes four passes, and it does not fuse an addition that it recognizes as the bias of a
    convolution."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.prelu:
            x, slope = args
            return x.clamp_min(0) + _per_channel(slope, x) * x.clamp_max(0)
        if func is F.conv2d and args[2] is not None:
            x, weight, bias, *rest = args
            y = func(x, weight, None, *rest)
            return 0.25 * y + (0.75 * y + _per_channel(bias, y))
        return func(*args, **(kwargs or {}))


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(1, -1, *(1 for _ in x.shape[2:]))


def _owner(module: nn.Module, entry: TensorView) -> tuple[nn.Module, str]:
    path, _, name = entry.name.rpartition(".")
    return module.get_submodule(path), name


def _contiguous_view(entry: TensorView, flat: Tensor) -> Tensor:
    """The tensor in its memory order, which makes it contiguous: o h w i if it is channels-last, otherwise o i h w."""
    tensor = entry.of(flat)
    return tensor.permute(0, 2, 3, 1) if _is_channels_last(entry) else tensor


def _is_channels_last(entry: TensorView) -> bool:
    return not torch.empty_strided(entry.shape, entry.strides, device="meta").is_contiguous()
