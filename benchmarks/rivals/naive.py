"""What a user writes without dnirender: OpenCV in, the weights mixed by name, an eager fp32 network, OpenCV out.

The loop of `inference_realesrgan_video.py` with the mixing of the DNI authors' `net_interp.py` at every frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = Mapping[str, Tensor]
Picture = np.ndarray  # h w 3, uint8, BGR as OpenCV holds it


def naive_loop(
    input: Path,
    output: Path,
    network_module_factory: Callable[[], nn.Module],
    state_a: State,
    state_b: State,
    alphas: Sequence[float],
    limit: int | None = None,
    *,
    multiple: int = 1,
    device: str = "cpu",
    on_frame: Callable[[int], None] | None = None,
) -> int:
    """Renders at most `limit` frames, frame i with alphas[i] * a + (1 - alphas[i]) * b, and returns how many it wrote.

    No sound, a constant frame rate, MPEG-4 part 2: what `cv2.VideoWriter` gives from the wheel. `alphas` beyond its end
    stays at its last value. `on_frame(n)` is called after the n-th frame went to the writer.
    """
    module = network_module_factory().to(device).eval()
    state_a, state_b = ({name: tensor.to(device) for name, tensor in state.items()} for state in (state_a, state_b))
    capture = cv2.VideoCapture(str(input))
    if not capture.isOpened():
        raise OSError(f"OpenCV cannot open {input}")
    writer: cv2.VideoWriter | None = None
    written = 0
    try:
        while limit is None or written < limit:
            found, picture = capture.read()
            if not found:
                break
            module.load_state_dict(mixed(state_a, state_b, alphas[min(written, len(alphas) - 1)]))
            rendered = forward(module, picture, multiple, device)
            writer = writer or open_writer(output, capture.get(cv2.CAP_PROP_FPS), rendered)
            writer.write(rendered)
            written += 1
            if on_frame:
                on_frame(written)
    finally:
        capture.release()
        if writer:
            writer.release()
    return written


def mixed(a: State, b: State, alpha: float) -> dict[str, Tensor]:
    """alpha * a + (1 - alpha) * b, name by name, in fp32."""
    return {name: alpha * a[name] + (1 - alpha) * b[name] for name in a}


@torch.inference_mode()
def forward(module: nn.Module, picture: Picture, multiple: int = 1, device: str = "cpu") -> Picture:
    """One BGR picture through a network that takes and gives RGB n 3 h w in 0..1, in sizes of `multiple`."""
    height, width = picture.shape[:2]
    rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    x = torch.from_numpy(rgb).to(device).permute(2, 0, 1)[None].float() / 255
    x = F.pad(x, (0, -width % multiple, 0, -height % multiple), "reflect")
    y = module(x)
    scale = y.shape[3] // x.shape[3]
    y = y[0, :, : height * scale, : width * scale]
    codes = (y.clamp(0, 1) * 255).round().to(torch.uint8)
    return cv2.cvtColor(codes.permute(1, 2, 0).contiguous().cpu().numpy(), cv2.COLOR_RGB2BGR)


def open_writer(output: Path, rate: float, picture: Picture) -> cv2.VideoWriter:
    """An MPEG-4 part 2 file of the picture's size; the wheels of OpenCV bring no H.264 encoder."""
    height, width = picture.shape[:2]
    writer = cv2.VideoWriter(str(output), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
    if not writer.isOpened():
        raise OSError(f"OpenCV cannot write {output}")
    return writer
