"""One network with weights that stay, by the runtimes that people use for that: bytes of a picture in, bytes out.

Every row runs `Network.render` as we do, bytes to float and back included, so that only the runtime differs.
"""

import copy
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

from dnirender.compiled import PRECISIONS
from dnirender.weights import Live


class Render(nn.Module):
    """Pixels n h w 3, uint8, to the same `scale` times as large, under the weights of the last endpoint."""

    def __init__(self, network, path, dtype=torch.float32):
        super().__init__()
        self.network = network
        self.dtype = dtype
        live = Live(path, copy.deepcopy(network.module), dtype)
        live.write((*[0.0] * (len(path.names) - 1), 1.0))
        self.module = live.module

    def forward(self, pixels):
        return self.network.render(self.module, pixels, self.dtype)[0]


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
                rows[name] = make(network, path, torch.from_numpy(image)[None])
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises
            print(f"  {name}: left out, {str(error).strip().splitlines()[0][:150]}", flush=True)
    return rows


def _called(module, pixels):
    def call():
        with torch.inference_mode():
            module(pixels)

    return call


def eager(network, path, pixels):
    return _called(Render(network, path, torch.bfloat16), pixels)


def compiled(network, path, pixels):
    call = _called(torch.compile(Render(network, path, torch.bfloat16)), pixels)
    call()
    return call


def onnxruntime(network, path, pixels):
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.onnx")
        torch.onnx.export(Render(network, path).eval(), (pixels,), str(file), opset_version=17, dynamo=False)
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: pixels.numpy()}
    return lambda: session.run(None, feed)


def openvino(network, path, pixels, dtype):
    import openvino as ov
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.no_grad():
        traced = torch.jit.trace(Render(network, path), (pixels,), check_trace=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, example_input=(pixels,))
    model = frontend.convert(frontend.load(decoder))
    model.reshape(list(pixels.shape))
    options = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = ov.Core().compile_model(model, "CPU", options).create_infer_request()
    request.set_input_tensor(0, ov.Tensor(pixels.numpy(), shared_memory=True))
    return request.infer
