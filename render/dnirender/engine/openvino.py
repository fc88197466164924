"""A network compiled by OpenVINO for a CPU, with weights that move: they are inputs of the compiled graph.

The graph is traced from `Network.codes`, pixels in and pixels out, so that it computes what PyTorch would. Pictures of
16 bits travel as int32, because OpenVINO's reader of traces knows no uint16.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dnirender.frames import Image
from dnirender.networks.network import Network
from dnirender.networks.weights import MixedWeights, TensorView

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
"""By dtype, OpenVINO's name. In bf16 what follows the last convolution stays in float32."""


def is_available() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


class OpenVINOModel:
    """`network` for one picture like `image`, as `Network.render` has it (1 h w 3 in, 1 scale*h scale*w 3 and 1 out),
    under the weights that `live`, float32 on the CPU, has now. (A NaN may become a 0 in an activation of OpenVINO's;
    PyTorch's lets it through.) `threads` are shared by `lanes` that run at the same time.

    RuntimeError and NotImplementedError (and others of OpenVINO's making): a network that cannot be compiled.
    """

    def __init__(
        self, network: Network, live: MixedWeights, image: Image, dtype: str, threads: int, workers: int = 1
    ) -> None:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        given = torch.from_numpy(image)[None]
        self._network, self._shape, self._kind = network, given.shape, given.dtype
        pixels = self._carried(given)
        self._outputs = (0, pixels.dtype), (1, torch.float32)
        weights = [_contiguous_view(entry, live.flat) for entry in live.path.layout]
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # that sizes become constants is meant
            traced = torch.jit.trace(_WeightsAsInputs(network, live.path.layout), (pixels, *weights), check_trace=False)
        # Not openvino.convert_model, which reports every call to its makers.
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced, example_input=(pixels, *weights))
        model = frontend.convert(frontend.load(decoder))
        for place, tensor in zip(model.inputs, (pixels, *weights), strict=True):
            array = tensor.numpy()
            place.get_node().set_element_type(openvino.Type(array.dtype))
            place.get_node().set_partial_shape(openvino.PartialShape(list(array.shape)))
        model.validate_nodes_and_infer_types()
        options = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": workers,
            "ENABLE_CPU_PINNING": False,  # the decoder and the encoder want the cores too
        }
        self._graph: Any = openvino.Core().compile_model(model, "CPU", options)
        self._tensor: Any = openvino.Tensor
        self._bind(live)

    def clone(self, live: MixedWeights) -> OpenVINOModel:
        """The same graph with other weights, to be run at the same time by another thread."""
        other = copy.copy(self)
        other._bind(live)
        return other

    def _bind(self, live: MixedWeights) -> None:
        self.live = live
        self._request: Any = self._graph.create_infer_request()
        for number, entry in enumerate(live.path.layout, 1):
            self._request.set_input_tensor(
                number, self._tensor(_contiguous_view(entry, live.flat).numpy(), shared_memory=True)
            )

    def fits(self, pixels: Tensor) -> bool:
        """Whether `pixels` are of the size and kind that this was compiled for."""
        return pixels.shape == self._shape and pixels.dtype == self._kind

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        carried = self._carried(pixels).numpy()  # named, since the request only borrows it
        picture, total = (torch.empty(list(self._graph.output(n).shape), dtype=kind) for n, kind in self._outputs)
        self._request.set_input_tensor(0, self._tensor(carried, shared_memory=True))
        for number, tensor in enumerate((picture, total)):
            self._request.set_output_tensor(number, self._tensor(tensor.numpy(), shared_memory=True))
        self._request.infer()
        return self._network.postprocess(picture.to(self._kind), *pixels.shape[1:3]), total

    def _carried(self, pixels: Tensor) -> Tensor:
        taken = self._network.preprocess(pixels)
        return taken if self._kind == torch.uint8 else taken.to(torch.int32)


class _WeightsAsInputs(nn.Module):
    """`network.codes` with the weights of a copy of its module as arguments."""

    def __init__(self, network: Network, layout: tuple[TensorView, ...]) -> None:
        super().__init__()
        module = copy.deepcopy(network.module).eval()
        self._fixed = [(network, module, layout)]  # in a list: not its submodule, so its own weights are no constants
        for entry in layout:
            owner, name = _owner(module, entry)
            owner._parameters.pop(name, None)  # pyright: ignore[reportPrivateUsage] - or else they hide the arguments
            owner._buffers.pop(name, None)  # pyright: ignore[reportPrivateUsage]

    def forward(self, pixels: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        [(network, module, layout)] = self._fixed
        for entry, weight in zip(layout, weights, strict=True):
            owner, name = _owner(module, entry)
            owner.__dict__[name] = weight.permute(0, 3, 1, 2) if _is_channels_last(entry) else weight
        with _FusionRewrites():
            return network.infer_quantized(module, pixels)


class _FusionRewrites(TorchFunctionMode):
    """Biases and PReLU by operations that OpenVINO joins to one pass over memory. With weights that move, its own PReLU
    takes four passes, and what it takes for a convolution's bias it leaves a pass of its own."""

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
    """The tensor as it lies in memory, contiguous: o h w i where its strides say so."""
    tensor = entry.of(flat)
    return tensor.permute(0, 2, 3, 1) if _is_channels_last(entry) else tensor


def _is_channels_last(entry: TensorView) -> bool:
    return not torch.empty_strided(entry.shape, entry.strides, device="meta").is_contiguous()
