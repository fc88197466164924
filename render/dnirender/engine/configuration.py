"""What the engine renders with, and the choice of its dtype."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dnirender.engine.calibration import SIDE, calibration_image
from dnirender.engine.device import device_name, fast_dtypes, one_thread
from dnirender.engine.measurements import MeasurementCache
from dnirender.engine.torch_model import DTYPES, TorchModel
from dnirender.errors import UsageError
from dnirender.frames import Alpha
from dnirender.networks.network import Network, to_unit_range
from dnirender.networks.weights import WeightPath

MAX_ERROR = 0.5 / 255
"""Half a code of 8 bits, on average over an image: the error at any endpoint that `auto` accepts for more speed."""


@dataclass(frozen=True)
class EngineConfiguration:
    """`dtype` is a key of DTYPES, `backend` torch or openvino. `workers` frames are rendered in parallel on the CPU, in
    tiles of this height and width in pixels of the source, by `threads` threads in total. `reason` says why, for users.
    `seconds_per_frame` is what a frame of the workload takes, None where that was not measured.
    """

    device: torch.device
    dtype: str
    backend: str
    workers: int
    tile: tuple[int, int] | None
    threads: int
    reason: str
    seconds_per_frame: float | None = None


def configure(
    network: Network, path: WeightPath, device: torch.device, dtype: str, threads: int, cache: MeasurementCache
) -> EngineConfiguration:
    """PyTorch with one worker, in the requested dtype, or for `auto` in the fastest one whose measured error is at most
    MAX_ERROR. `path` is on `device`.

    The test image is the same on every run, so a render that is resumed chooses the same; what was measured by an
    earlier run is taken from `cache`. UsageError: an unknown dtype,
    or one in which the network does not work.
    """
    if dtype not in (*DTYPES, "auto"):
        raise UsageError(f"dtype={dtype!r}: expected auto, {', '.join(DTYPES)}")
    chosen, reason = ("fp32", "as requested") if dtype == "fp32" else _recall(network, path, device, dtype, cache)
    return EngineConfiguration(device, chosen, "torch", 1, None, threads, f"{device}, {chosen}: {reason}")


def _recall(
    network: Network, path: WeightPath, device: torch.device, requested: str, cache: MeasurementCache
) -> tuple[str, str]:
    """What `_measure_dtypes` finds, or has found before."""
    name = device_name(device)
    found = cache.read("dtype", device=name, requested=requested)
    if found.get("dtype") in DTYPES and isinstance(found.get("reason"), str):
        return found["dtype"], found["reason"]
    with one_thread():
        chosen, reason = _measure_dtypes(network, path, device, requested)
    cache.write("dtype", {"dtype": chosen, "reason": reason}, device=name, requested=requested)
    return chosen, reason


def _measure_dtypes(network: Network, path: WeightPath, device: torch.device, requested: str) -> tuple[str, str]:
    """The dtype and the reason; `requested` is bf16, fp16 or auto."""
    auto = requested == "auto"
    supported = {"bf16": network.supports_bf16, "fp16": network.supports_half}
    x = to_unit_range(torch.from_numpy(calibration_image(SIDE, SIDE))[None].to(device)).permute(0, 3, 1, 2)
    reasons: list[str] = []
    for dtype in fast_dtypes(device) if auto else [requested]:
        error = _dtype_error(network, path, dtype, x) if supported[dtype] else math.inf
        if not auto and error == math.inf:
            raise UsageError(
                f"dtype={dtype!r}: {network.architecture} does not work in it on {device}; use dtype='fp32'"
            )
        limit = f", at most {MAX_ERROR * 255:.1f} is allowed" if auto else ""
        reasons.append(
            f"mean error of {dtype} {error * 255:.3f} of 255{limit}" if error < 1 else f"{dtype} does not work"
        )
        if not auto or error <= MAX_ERROR:
            return dtype, reasons[-1]
    return "fp32", "; ".join(reasons) or "the hardware has nothing faster"


def _dtype_error(network: Network, path: WeightPath, dtype: str, x: Tensor) -> float:
    """The largest mean difference to fp32 at an endpoint, in 0..1; Inf where the dtype does not work."""
    exact, fast = TorchModel(network, path, "fp32"), TorchModel(network, path, dtype)
    errors: list[float] = []
    for alpha in endpoint_alphas(path):
        for weights in (*exact.weights, *fast.weights):
            weights.write(alpha)
        try:
            y = fast.forward(x)
        except RuntimeError:  # an operation that is not implemented for this dtype on this device
            return math.inf
        error = (y.clamp(0, 1) - exact.forward(x).clamp(0, 1)).abs().mean()
        errors.append(float(error) if bool(y.isfinite().all()) else math.inf)
    return max(errors)


def endpoint_alphas(path: WeightPath) -> list[Alpha]:
    """The alphas of the endpoints alone, in their order."""
    return [tuple(float(name == endpoint) for name in path.names) for endpoint in path.names]
