"""Steadies a sequence of renders: strokes move along with the picture instead of flickering."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from dnirender.frames import Alpha, Image
from dnirender.media.motion import Floats, Motion, find_motion, moved

WINDOW = 4  # frames before a frame that it is blended with: all that it depends on
FADE = 4.0  # how fast an earlier frame loses its share as alpha moves: none after a quarter of the way
CUT = 0.1  # mean certainty of the motion below which a frame begins a new scene
BAND = 1.0, 4.0  # standard deviations in pixels between which details are strokes
AROUND = 16.0  # standard deviation in pixels of the neighborhood in which strokes keep their strength
STRONGEST = 2.0  # by which they are restored at most


@dataclass(frozen=True)
class _Earlier:
    """A frame, and the motion to it from the frame before it; None for the first of a scene."""

    source: Image
    render: Image
    alpha: Alpha
    motion: Motion | None


class Steadier:
    """Blends every render with those of the four frames before it, moved along the motion of the source.

    y_t = sum_k s^k c_k m_k(x_{t-k}) / sum_k s^k c_k for k = 0 to 4, where m_k moves a render by k frames and c_k is how
    sure the motion is (`find_motion`), less as alpha differs. Where the mean is fainter than x_t, its details of 1 to 4
    pixels are amplified to the local energy that they have there. Nothing crosses a cut. As y_t depends on five frames
    only, a render that begins four frames early has the same frames from there on.
    """

    def __init__(self, strength: float) -> None:
        """strength: s, 0..1; 0 changes nothing."""
        self._strength = strength
        self._earlier = deque[_Earlier](maxlen=WINDOW)

    def __call__(self, source: Image, render: Image, alpha: Alpha) -> Image:
        """The next frame. `source` and `render` are RGB [h, w, 3], uint8 or uint16; returns `render` steadied."""
        motion = find_motion(self._earlier[0].source, source) if self._earlier else None
        if motion is None or motion.sure.mean() < CUT:
            self._earlier.clear()
            motion = None
        result = render if motion is None else self._blend(render, alpha, motion)
        self._earlier.appendleft(_Earlier(source, render, alpha, motion))
        return result

    def _blend(self, render: Image, alpha: Alpha, motion: Motion) -> Image:
        height, width = render.shape[:2]
        total, shares = render.astype(np.float32), np.ones((height, width, 1), np.float32)
        path: Motion | None = motion
        for k, earlier in enumerate(self._earlier, 1):
            if path is None:
                break
            way = sum(abs(one - other) for one, other in zip(alpha, earlier.alpha, strict=True)) / 2
            factor = self._strength**k * max(0.0, 1 - FADE * way)
            if factor:
                along = path.scaled(width, height)
                share = (factor * along.sure)[..., None]
                total += share * moved(earlier.render.astype(np.float32), along, cv2.INTER_CUBIC)
                shares += share
            path = earlier.motion and earlier.motion.after(path)
        top = float(np.iinfo(render.dtype).max)
        mean = _restored(total / shares, render.astype(np.float32), top)
        return np.clip(np.rint(mean), 0, top).astype(render.dtype)


def _restored(blended: Floats, render: Floats, top: float) -> Floats:
    """`blended` with strokes of the local energy that those of `render` have."""
    strokes = _band(blended)
    energy, wanted = _energy(strokes), _energy(_band(render))
    gain = np.sqrt(wanted / (energy + (top / 255) ** 2 / 1000)).clip(1, STRONGEST)
    return blended + (gain - 1)[..., None] * strokes


def _band(image: Floats) -> Floats:
    fine, coarse = (cv2.GaussianBlur(image, (0, 0), sigma) for sigma in BAND)
    return np.asarray(fine - coarse, np.float32)


def _energy(strokes: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur((strokes**2).mean(-1), (0, 0), AROUND), np.float32)
