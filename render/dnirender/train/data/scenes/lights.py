"""What is lit in the photographs of the day-to-night training, and which windows are lit at night.

A table set by looking at the pictures, as rules would take white shirts, paper and walls for lamps. Whatever is not in
it is no light: it must go dark, however bright it is by day.
"""

from typing import NamedTuple

import cv2
import numpy as np

from dnirender.train.data.photos import Image

WARM = (1.0, 0.60, 0.27)  # linear color of incandescent light
ROOM = (1.0, 0.55, 0.21)  # of a room behind a window
MOON = (0.75, 0.88, 1.0)
RAMP = 0.12  # of brightness 0..1, over which a light fades in


class Lit(NamedTuple):
    """Lights in the box from left, top to right, bottom (fractions of width and height).

    own: brighter than `level` (largest of RGB 0..1), in the color that it has by day. vivid: red - blue above `level`,
    in its own color. warm, moon: mean of RGB above `level`. pane: glass darker than `level` before a lit room.
    """

    left: float
    top: float
    right: float
    bottom: float
    kind: str
    level: float
    strength: float


LIGHTS: dict[str, tuple[Lit, ...]] = {
    "106399": (
        Lit(0.26, 0.48, 0.40, 0.60, "vivid", 0.20, 1.6),
        Lit(0.48, 0.48, 0.62, 0.60, "vivid", 0.20, 1.6),
        Lit(0.64, 0.69, 1.00, 0.86, "vivid", 0.20, 1.6),
        Lit(0.20, 0.70, 0.26, 0.78, "vivid", 0.12, 1.6),
    ),
    "1082342": (Lit(0.0, 0.0, 1.0, 0.42, "own", 0.85, 1.5),),
    "1183021": (Lit(0.46, 0.27, 0.54, 0.36, "moon", 0.42, 0.7),),
    "1287145": (Lit(0.86, 0.12, 0.96, 0.24, "moon", 0.91, 0.6),),
    "1370704": (
        Lit(0.39, 0.60, 0.43, 0.66, "pane", 0.55, 0.54),
        Lit(0.62, 0.57, 0.67, 0.63, "pane", 0.55, 0.36),
        Lit(0.40, 0.67, 0.47, 0.77, "pane", 0.55, 0.60),
        Lit(0.64, 0.68, 0.76, 0.79, "pane", 0.60, 0.48),
        Lit(0.20, 0.68, 0.26, 0.77, "pane", 0.55, 0.48),
        Lit(0.92, 0.66, 1.00, 0.74, "pane", 0.60, 0.48),
    ),
    "144428": (Lit(0.68, 0.72, 1.0, 0.96, "own", 0.88, 1.0),),
    "164338": (
        Lit(0.27, 0.27, 0.34, 0.39, "pane", 0.55, 0.54),
        Lit(0.39, 0.27, 0.46, 0.39, "pane", 0.55, 0.36),
        Lit(0.76, 0.27, 0.83, 0.39, "pane", 0.55, 0.54),
        Lit(0.04, 0.24, 0.10, 0.37, "pane", 0.55, 0.42),
        Lit(0.17, 0.50, 0.23, 0.65, "pane", 0.45, 0.42),
    ),
    "167491": (Lit(0.0, 0.0, 1.0, 0.62, "own", 0.85, 1.5),),
    "169647": (Lit(0.0, 0.10, 1.0, 1.0, "own", 0.55, 1.2),),
    "1910225": (Lit(0.0, 0.0, 1.0, 1.0, "own", 0.60, 1.0),),
    "1943411": (Lit(0.30, 0.03, 1.0, 0.17, "own", 0.65, 2.0),),
    "2020432": (Lit(0.0, 0.30, 1.0, 0.62, "own", 0.97, 2.0),),
    "208560": (Lit(0.56, 0.43, 0.71, 0.72, "pane", 0.42, 0.40), Lit(0.51, 0.0, 0.70, 0.09, "pane", 0.42, 0.36)),
    "2119713": (
        Lit(0.38, 0.13, 0.47, 0.22, "pane", 0.72, 0.54),
        Lit(0.35, 0.28, 0.42, 0.36, "pane", 0.72, 0.60),
        Lit(0.43, 0.28, 0.50, 0.36, "pane", 0.72, 0.48),
        Lit(0.35, 0.40, 0.42, 0.48, "pane", 0.72, 0.36),
        Lit(0.58, 0.27, 0.65, 0.34, "pane", 0.62, 0.54),
        Lit(0.91, 0.38, 0.98, 0.49, "pane", 0.72, 0.54),
    ),
    "2263510": (Lit(0.40, 0.08, 0.72, 0.24, "warm", 0.72, 2.0),),
    "2272939": (
        Lit(0.0, 0.51, 0.10, 0.56, "own", 0.75, 1.0),
        Lit(0.0, 0.57, 0.45, 0.71, "pane", 0.50, 0.20),
    ),
    "2504911": (
        Lit(0.29, 0.10, 0.73, 0.27, "own", 0.93, 2.0),
        Lit(0.0, 0.28, 0.25, 0.44, "own", 0.93, 2.0),
        Lit(0.25, 0.62, 0.31, 0.70, "own", 0.90, 1.5),
        Lit(0.56, 0.62, 0.62, 0.70, "own", 0.90, 1.5),
    ),
    "2581922": (
        Lit(0.24, 0.53, 0.29, 0.63, "pane", 0.40, 0.72),
        Lit(0.37, 0.53, 0.42, 0.63, "pane", 0.40, 0.72),
        Lit(0.67, 0.40, 0.74, 0.49, "pane", 0.35, 0.54),
    ),
    "258947": (Lit(0.27, 0.05, 0.33, 0.12, "own", 0.65, 1.2), Lit(0.73, 0.13, 0.79, 0.19, "own", 0.60, 1.2)),
    "271619": (
        Lit(0.26, 0.55, 0.34, 0.65, "warm", 0.94, 2.0),
        Lit(0.89, 0.55, 0.98, 0.65, "warm", 0.94, 2.0),
        Lit(0.78, 0.0, 1.0, 0.28, "warm", 0.97, 0.7),
    ),
    "271624": (
        Lit(0.17, 0.33, 0.29, 0.39, "own", 0.85, 2.0),
        Lit(0.14, 0.55, 0.20, 0.61, "warm", 0.90, 2.0),
        Lit(0.33, 0.50, 0.38, 0.58, "warm", 0.90, 2.0),
        Lit(0.36, 0.32, 0.71, 0.40, "warm", 0.93, 0.8),
        Lit(0.87, 0.33, 1.0, 0.40, "warm", 0.90, 0.8),
    ),
    "3004909": (Lit(0.18, 0.03, 0.27, 0.13, "own", 0.88, 2.0),),
    "3311574": (Lit(0.15, 0.47, 0.21, 0.54, "own", 0.45, 3.0), Lit(0.43, 0.47, 0.53, 0.54, "own", 0.45, 3.0)),
    "3315291": (Lit(0.42, 0.25, 0.83, 0.54, "own", 0.85, 1.5), Lit(0.88, 0.0, 1.0, 0.13, "own", 0.85, 0.8)),
    "5617414": (
        Lit(0.17, 0.17, 0.31, 0.40, "own", 0.80, 1.6),
        Lit(0.42, 0.17, 0.61, 0.32, "own", 0.80, 1.6),
        Lit(0.78, 0.20, 0.95, 0.32, "own", 0.80, 1.6),
    ),
    "7062177": (
        Lit(0.0, 0.20, 0.50, 0.45, "vivid", 0.40, 2.0),
        Lit(0.56, 0.0, 0.67, 0.09, "vivid", 0.40, 2.0),
        Lit(0.83, 0.0, 1.0, 0.60, "vivid", 0.45, 1.5),
        Lit(0.76, 0.14, 0.81, 0.19, "own", 0.85, 2.0),
    ),
    "7062197": (Lit(0.0, 0.0, 1.0, 0.60, "vivid", 0.50, 2.0),),
    "7062227": (
        Lit(0.40, 0.10, 0.57, 0.34, "own", 0.50, 2.0),
        Lit(0.57, 0.15, 1.0, 0.65, "own", 0.55, 1.0),
        Lit(0.30, 0.40, 0.57, 0.62, "own", 0.55, 1.0),
        Lit(0.0, 0.28, 0.06, 0.36, "own", 0.50, 1.0),
    ),
    "7195294": (Lit(0.41, 0.09, 0.62, 0.29, "own", 0.95, 2.0), Lit(0.25, 0.25, 0.76, 0.31, "own", 0.93, 0.8)),
    "861443": (Lit(0.30, 0.05, 0.70, 0.42, "moon", 0.50, 0.8),),
    "aed95e005df2": (Lit(0.155, 0.52, 0.195, 0.58, "own", 0.75, 3.0), Lit(0.92, 0.54, 0.97, 0.60, "own", 0.70, 3.0)),
    "c9510efb03d1": (
        Lit(0.0, 0.0, 0.14, 0.14, "own", 0.85, 1.6),
        Lit(0.49, 0.0, 0.68, 0.14, "own", 0.90, 1.6),
        Lit(0.70, 0.42, 1.0, 0.50, "own", 0.85, 1.6),
        Lit(0.37, 0.70, 0.45, 0.82, "own", 0.60, 0.6),
    ),
    "ff32adfa29d4": (Lit(0.0, 0.0, 0.22, 0.36, "own", 0.88, 2.0), Lit(0.70, 0.13, 1.0, 0.45, "own", 0.93, 0.6)),
    "pexels-photo-635405": (Lit(0.0, 0.05, 1.0, 0.35, "vivid", 0.40, 2.0),),
    "free_by_Peter_Nerlich": (Lit(0.0, 0.0, 1.0, 1.0, "warm", 0.90, 1.0),),
    "skimage_rocket": (Lit(0.0, 0.0, 1.0, 1.0, "warm", 0.80, 1.0),),
}


def emission(stem: str, image: Image) -> Image:
    """Light h w 3 (linear) that the lamps and windows in the photograph `stem`, h w 3 sRGB, emit; mostly zero."""
    light = np.zeros_like(image)
    h, w = image.shape[:2]
    for lit in LIGHTS.get(stem, ()):
        box = (slice(int(lit.top * h), int(lit.bottom * h)), slice(int(lit.left * w), int(lit.right * w)))
        light[box] = np.maximum(light[box], _within(image[box], lit))
    return light


def _within(part: Image, lit: Lit) -> Image:
    linear = part**2.2
    own = linear / np.maximum(linear.max(2, keepdims=True), 0.02)
    mean = part.mean(2)
    if lit.kind == "pane":
        rise = np.clip((lit.level - cv2.GaussianBlur(mean, (0, 0), 0.7)) / RAMP, 0, 1)
        light = np.array(ROOM, np.float32) * np.clip(mean / max(mean.mean(), 0.05), 0.4, 1.8)[..., None]
    elif lit.kind in ("own", "vivid"):
        value = part.max(2) if lit.kind == "own" else part[..., 0] - part[..., 2]
        rise = np.clip((value - lit.level) / RAMP, 0, 1)
        light = own * np.array((1.0, 0.85, 0.65), np.float32)
    else:
        rise = np.clip((mean - lit.level) / min(RAMP, 1 - lit.level), 0, 1)
        light = np.array(MOON if lit.kind == "moon" else WARM, np.float32)
        light = light * np.clip(mean[..., None], 0, 1) ** 3 if lit.kind == "moon" else light
    return (rise[..., None] * light * lit.strength).astype(np.float32)
