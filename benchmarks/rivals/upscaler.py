"""framelift-video 2.1.0 on weights of our choice: upscaling by the compact network of Real-ESRGAN, file to file.

Needs `ffmpeg` and `ffprobe` on the PATH or in the folder FRAMELIFT_FFMPEG. It downloads nothing: weights are given.
Its command line knows four models by name; its table `MODELS` takes a fifth.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from framelift import EnhanceOptions, EnhanceResult, VideoEnhancer
from framelift.models import MODELS, ModelSpec
from torch import Tensor

logging.getLogger("framelift").setLevel(logging.ERROR)


def register(weights: Path, depth: int = 32, scale: int = 4) -> str:
    """Makes a compact network of 64 features and `depth` convolutions known; returns its name."""
    name = weights.stem
    MODELS[name] = ModelSpec(name, weights.name, "", "srvgg", native_scale=scale, depth=depth, summary="given")
    return name


def upscale(
    input: Path,
    output: Path,
    weights: Path,
    *,
    depth: int = 32,
    native_scale: int = 4,
    scale: float = 4.0,
    limit: int | None = None,
    backend: str = "torch",
    device: str = "cpu",
    tile: int = 256,
    ai_strength: float = 1.0,
    workers: int = 1,
    half: bool = False,
    on_frame: Callable[[int], None] | None = None,
) -> EnhanceResult:
    """One run. `tile` 256 is its default, 0 renders whole frames as we do; `backend` is `torch` or `openvino`.

    `weights` is a .pth of {"params": state dict}. At `scale` = `native_scale` nothing is resized after the network.
    """
    options = EnhanceOptions(
        model=register(weights, depth, native_scale),
        weights_dir=weights.parent,
        scale=scale,
        max_frames=limit,
        backend=backend,
        device=device,
        tile=tile,
        ai_strength=ai_strength,
        workers=workers,
        half=half,
    )

    def tell(progress: object) -> None:
        done = getattr(progress, "frames_done", 0)
        if on_frame and done and getattr(progress, "stage", "") == "frames":
            on_frame(done)

    return VideoEnhancer(options).enhance(input, output, show_progress=False, on_progress=tell)


def premix(target: Path, a: Mapping[str, Tensor], b: Mapping[str, Tensor], alpha: float) -> Path:
    """alpha * a + (1 - alpha) * b as a file that framelift loads: the only way to give it a mixture."""
    torch.save({"params": {name: alpha * a[name] + (1 - alpha) * b[name] for name in a}}, target)
    return target
