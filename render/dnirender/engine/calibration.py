"""The test image and the timer that the engine measures itself with before a job."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dnirender.frames import Image

SIDE = 192
"""Large enough for networks that compute statistics over the image: those of 64 x 64 pixels depend on every last
bit."""
NUM_DISCS = 200
GRAPH_SECONDS = 0.4  # that it takes OpenVINO to load a graph that it compiled before


def calibration_image(height: int, width: int, kind: type[np.unsignedinteger[Any]] = np.uint8) -> Image:
    """A synthetic image [height, width, 3] of dtype `kind`, over its full range, the same on every run.

    Shaded discs of all sizes and colors occlude one another under a little noise, so that there are flat areas,
    gradients, edges and detail at every scale, as in photographs (the dead leaves model, Lee, Mumford and Huang 2001).
    It repeats every SIDE pixels.
    """
    rng = np.random.default_rng(1)
    v, u = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    image = np.stack([u, v, 1 - v], axis=-1)
    for radius in np.geomspace(0.5, 0.01, NUM_DISCS):
        y, x, *color = rng.random(5)
        inside = (v - y) ** 2 + (u - x) ** 2 < radius**2
        image[inside] = color + rng.normal(0, 0.3) * (u - x)[inside, None]
    image += rng.normal(0, 0.01, image.shape)
    codes = (np.clip(image, 0, 1) * np.iinfo(kind).max).round().astype(kind)
    return np.ascontiguousarray(np.tile(codes, (-(-height // SIDE), -(-width // SIDE), 1))[:height, :width])


def best_time(call: Callable[[], object]) -> float:
    """Seconds of the fastest of three calls after a warm-up call; fewer calls once they took a second in total."""
    seconds: list[float] = []
    while len(seconds) < 4 and sum(seconds) < 1:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:] or seconds)
