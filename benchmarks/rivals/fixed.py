"""One network with weights that stay, by the runtimes that people use for that: bytes of a picture in, bytes out.

Every row runs `Network.codes` as we do, bytes to float and back included, and what is before and after it in PyTorch,
so that only the runtime differs.
"""

import copy
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

from dnirender.engine.openvino import PRECISIONS
from dnirender.networks.weights import MixedModule


class Render(nn.Module):
    """`Network.codes` of uint8, without the sums, under the weights of the last endpoint."""

    def __init__(self, network, path, dtype=torch.float32):
        super().__init__()
        self.network = network
        self.dtype = dtype
        live = MixedModule(path, copy.deepcopy(network.module), dtype)
        live.write((*[0.0] * (len(path.names) - 1), 1.0))
        self.module = live.module

    def forward(self, pixels):
        return self.network.infer_quantized(self.module, pixels, self.dtype)[0]


def all_rows(network, path, image):
    """Name of a row to a call that renders `image`; what is not installed or cannot run the network is named."""
    makers = {
        "PyTorch bf16, fixed": eager,
        "torch.compile bf16, fixed": compiled,
        "ONNX Runtime fp32, fixed": onnxruntime,
        "OpenVINO fp32, fixed": lambda *given: openvino(*given, "fp32"),
        "OpenVINO bf16, fixed": lambda *given: openvino(*given, "bf16"),
    }
    rows = {}
    for name, make in makers.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows[name] = _whole(network, make(network, path, network.preprocess(_pixels(image))), image)
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises
            print(f"  {name}: left out, {str(error).strip().splitlines()[0][:150]}", flush=True)
    return rows


def _pixels(image):
    return torch.from_numpy(image)[None]


def _whole(network, run, image):
    """`run`, what the network takes to what it gives, as a call from picture to picture; it has run once."""

    def call():
        with torch.inference_mode():
            return network.postprocess(run(network.preprocess(_pixels(image))), *image.shape[:2])

    call()
    return call


def eager(network, path, _taken):
    return Render(network, path, torch.bfloat16)


def compiled(network, path, _taken):
    return torch.compile(Render(network, path, torch.bfloat16))


def onnxruntime(network, path, taken):
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.onnx")
        torch.onnx.export(Render(network, path).eval(), (taken,), str(file), opset_version=17, dynamo=False)
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: torch.from_numpy(session.run(None, {name: pixels.numpy()})[0])


def openvino(network, path, taken, dtype):
    import openvino as ov
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.no_grad():
        traced = torch.jit.trace(Render(network, path), (taken,), check_trace=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, example_input=(taken,))
    model = frontend.convert(frontend.load(decoder))
    model.reshape(list(taken.shape))
    options = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = ov.Core().compile_model(model, "CPU", options).create_infer_request()

    def run(pixels):
        request.set_input_tensor(0, ov.Tensor(pixels.numpy(), shared_memory=True))
        request.infer()
        return torch.from_numpy(request.get_output_tensor(0).data)

    return run
