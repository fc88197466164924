"""What the engine tries itself out on before a job: a picture like pictures are, and a stopwatch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dnirender.frames import Image

SIDE = 192
"""Large enough for networks that take statistics over the picture: those of 64 x 64 pixels follow every last bit."""
LEAVES = 200


def calibration_image(height: int, width: int, kind: type[np.unsignedinteger[Any]] = np.uint8) -> Image:
    """Discs of all sizes and colors, shaded, one over the other, under a little grain: as photographs have them, flat
    parts, slopes, edges, and detail at every scale (the dead leaves model, Lee, Mumford and Huang 2001). The same on
    every run; beyond SIDE pixels it repeats."""
    rng = np.random.default_rng(1)
    v, u = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    image = np.stack([u, v, 1 - v], axis=-1)
    for radius in np.geomspace(0.5, 0.01, LEAVES):
        y, x, *color = rng.random(5)
        inside = (v - y) ** 2 + (u - x) ** 2 < radius**2
        image[inside] = color + rng.normal(0, 0.3) * (u - x)[inside, None]
    image += rng.normal(0, 0.01, image.shape)
    codes = (np.clip(image, 0, 1) * np.iinfo(kind).max).round().astype(kind)
    return np.ascontiguousarray(np.tile(codes, (-(-height // SIDE), -(-width // SIDE), 1))[:height, :width])


def best_time(call: Callable[[], object]) -> float:
    """Seconds of the shortest of three calls after a first one, which allocates; of fewer once all took a second."""
    taken: list[float] = []
    while len(taken) < 4 and sum(taken) < 1:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken[1:] or taken)
