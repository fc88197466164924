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
AROUND = 9.0  # pixels, deviation of the mean around a pane
RAMP = 0.12  # of brightness 0..1, over which a light fades in


class Lit(NamedTuple):
    """Lights in the box from left, top to right, bottom (fractions of width and height).

    own: brighter than `level` (largest of RGB 0..1), in the color that it has by day. vivid: red - blue above `level`,
    in its own color. warm, moon: mean of RGB above `level`. pane: glass darker than `level` before a lit room. panes:
    likewise, but darker than `level` times the mean around it, for walls with many windows. globe: an ellipse that
    fills the box, whatever its brightness.
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
    "1080721": (
        Lit(0.265, 0.225, 0.300, 0.290, "globe", 0.0, 1.6),
        Lit(0.415, 0.190, 0.455, 0.265, "globe", 0.0, 1.6),
        Lit(0.600, 0.135, 0.645, 0.220, "globe", 0.0, 1.6),
    ),
    "1082342": (Lit(0.0, 0.0, 1.0, 0.42, "own", 0.85, 1.5),),
    "1130683": (
        Lit(0.332, 0.621, 0.391, 0.719, "pane", 0.45, 0.60),
        Lit(0.445, 0.654, 0.496, 0.738, "pane", 0.45, 0.50),
        Lit(0.332, 0.777, 0.391, 0.879, "pane", 0.45, 0.60),
        Lit(0.449, 0.797, 0.492, 0.883, "pane", 0.45, 0.45),
        Lit(0.238, 0.512, 0.293, 0.625, "pane", 0.45, 0.50),
        Lit(0.166, 0.400, 0.199, 0.488, "pane", 0.45, 0.45),
        Lit(0.328, 0.469, 0.352, 0.557, "pane", 0.45, 0.40),
        Lit(0.379, 0.488, 0.398, 0.566, "pane", 0.45, 0.50),
        Lit(0.441, 0.531, 0.496, 0.605, "pane", 0.45, 0.45),
        Lit(0.555, 0.453, 0.580, 0.518, "pane", 0.45, 0.50),
        Lit(0.555, 0.562, 0.580, 0.625, "pane", 0.45, 0.50),
        Lit(0.652, 0.723, 0.707, 0.787, "pane", 0.45, 0.50),
        Lit(0.727, 0.738, 0.750, 0.785, "pane", 0.45, 0.40),
        Lit(0.654, 0.830, 0.729, 0.889, "pane", 0.45, 0.55),
        Lit(0.773, 0.830, 0.805, 0.879, "pane", 0.45, 0.50),
        Lit(0.539, 0.781, 0.598, 0.889, "pane", 0.45, 0.35),
    ),
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
    "1624307": (Lit(0.44, 0.72, 0.55, 0.93, "panes", 0.62, 0.6),),
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
        Lit(0.0, 0.57, 0.36, 0.69, "pane", 0.26, 0.20),
        Lit(0.755, 0.575, 0.79, 0.63, "vivid", 0.35, 2.0),
        Lit(0.79, 0.76, 0.83, 0.81, "vivid", 0.35, 2.0),
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
    "2684452db505": (
        Lit(0.10, 0.11, 0.30, 0.20, "panes", 0.70, 0.60),
        Lit(0.72, 0.11, 0.90, 0.20, "panes", 0.70, 0.60),
        Lit(0.09, 0.02, 0.22, 0.10, "panes", 0.70, 0.50),
        Lit(0.74, 0.02, 0.90, 0.10, "panes", 0.70, 0.50),
    ),
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
    "3214023": (Lit(0.36, 0.57, 0.53, 0.66, "own", 0.72, 2.0),),
    "3311574": (Lit(0.15, 0.47, 0.21, 0.54, "own", 0.45, 3.0), Lit(0.43, 0.47, 0.53, 0.54, "own", 0.45, 3.0)),
    "3315291": (Lit(0.42, 0.25, 0.83, 0.54, "own", 0.85, 1.5), Lit(0.88, 0.0, 1.0, 0.13, "own", 0.85, 0.8)),
    "3330118": (Lit(0.44, 0.79, 0.56, 0.855, "panes", 0.70, 0.80),),
    "3363331": (Lit(0.474, 0.118, 0.506, 0.146, "globe", 0.0, 3.0),),
    "3779828": (Lit(0.0, 0.0, 0.20, 1.0, "panes", 0.70, 0.45),),
    "3952034": (Lit(0.805, 0.315, 0.900, 0.415, "pane", 0.60, 1.2),),
    "4843579": (
        Lit(0.66, 0.44, 0.78, 0.54, "own", 0.82, 1.5),
        Lit(0.92, 0.41, 1.0, 0.51, "own", 0.82, 1.5),
        Lit(0.33, 0.50, 0.62, 0.55, "own", 0.80, 1.2),
    ),
    "5146462": (Lit(0.25, 0.47, 0.38, 0.585, "panes", 0.62, 0.8),),
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
    "pexels-photo-7078476": (
        Lit(0.70, 0.46, 0.86, 0.70, "panes", 0.82, 0.7),
        Lit(0.70, 0.76, 0.84, 0.88, "panes", 0.82, 0.7),
        Lit(0.86, 0.55, 0.95, 0.95, "panes", 0.82, 0.5),
        Lit(0.45, 0.38, 0.56, 0.60, "panes", 0.82, 0.7),
        Lit(0.55, 0.55, 0.66, 0.75, "panes", 0.82, 0.6),
        Lit(0.00, 0.28, 0.20, 0.46, "panes", 0.82, 0.6),
        Lit(0.12, 0.48, 0.34, 0.56, "panes", 0.80, 0.6),
        Lit(0.22, 0.60, 0.44, 0.72, "panes", 0.80, 0.5),
    ),
    "free_by_Peter_Nerlich": (Lit(0.0, 0.0, 1.0, 1.0, "warm", 0.90, 1.0),),
    "skimage_rocket": (Lit(0.0, 0.0, 1.0, 1.0, "warm", 0.80, 1.0),),
}


LAMPLIT: dict[str, tuple[tuple[float, float, float, float, float], ...]] = {
    "1082342": ((0.0, 0.0, 1.0, 1.0, 0.22),),
    "110472": ((0.0, 0.0, 1.0, 1.0, 0.26),),
    "144428": ((0.0, 0.0, 1.0, 1.0, 0.38),),
    "167491": ((0.0, 0.0, 1.0, 1.0, 0.45),),
    "169647": ((0.0, 0.0, 1.0, 1.0, 0.45),),
    "1910225": ((0.0, 0.0, 1.0, 1.0, 0.38),),
    "1943411": ((0.0, 0.0, 1.0, 1.0, 0.45),),
    "2020432": ((0.0, 0.0, 1.0, 1.0, 0.38),),
    "2504911": ((0.0, 0.0, 1.0, 0.50, 0.26), (0.0, 0.74, 1.0, 1.0, 0.15)),
    "258947": ((0.0, 0.0, 1.0, 1.0, 0.30),),
    "271619": ((0.0, 0.0, 1.0, 1.0, 0.20),),
    "271624": ((0.0, 0.0, 1.0, 1.0, 0.20),),
    "3004909": ((0.0, 0.0, 1.0, 1.0, 0.24),),
    "3315291": ((0.0, 0.0, 1.0, 1.0, 0.19),),
    "3779187": ((0.38, 0.24, 1.0, 0.97, 0.11),),
    "45258": ((0.0, 0.0, 1.0, 1.0, 0.38),),
    "4843579": ((0.0, 0.38, 1.0, 1.0, 0.26),),
    "5617414": ((0.0, 0.0, 1.0, 1.0, 0.24),),
    "7062177": ((0.0, 0.0, 1.0, 1.0, 0.49),),
    "7062197": ((0.0, 0.0, 1.0, 1.0, 0.52),),
    "7062227": ((0.0, 0.0, 1.0, 1.0, 0.52),),
    "7195294": ((0.0, 0.0, 1.0, 1.0, 0.22),),
    "c9510efb03d1": ((0.0, 0.0, 1.0, 1.0, 0.24),),
    "ff32adfa29d4": ((0.0, 0.0, 1.0, 1.0, 0.21),),
    "Wine_by_Jakkub_Mede": ((0.0, 0.0, 1.0, 1.0, 0.14),),
}
"""What is lit by lamps when the picture is taken: box from left, top to right, bottom, and how much of it stays."""


def emission(stem: str, image: Image) -> Image:
    """Light h w 3 (linear) that the lamps and windows in the photograph `stem`, h w 3 sRGB, emit; mostly zero."""
    light = np.zeros_like(image)
    h, w = image.shape[:2]
    for lit in LIGHTS.get(stem, ()):
        box = (slice(int(lit.top * h), int(lit.bottom * h)), slice(int(lit.left * w), int(lit.right * w)))
        light[box] = np.maximum(light[box], _within(image[box], lit))
    return light


def lamplit(stem: str, shape: tuple[int, int]) -> Image:
    """How much of the light h w, 0..1, in the photograph `stem` comes from lamps and stays at night; mostly zero."""
    h, w = shape
    stays = np.zeros((h, w), np.float32)
    for left, top, right, bottom, share in LAMPLIT.get(stem, ()):
        box = (slice(int(top * h), int(bottom * h)), slice(int(left * w), int(right * w)))
        stays[box] = np.maximum(stays[box], share)
    return cv2.GaussianBlur(stays, (0, 0), h / 25, borderType=cv2.BORDER_REPLICATE)


def _within(part: Image, lit: Lit) -> Image:
    linear = part**2.2
    own = linear / np.maximum(linear.max(2, keepdims=True), 0.02)
    mean = part.mean(2)
    if lit.kind == "pane":
        rise = np.clip((lit.level - cv2.GaussianBlur(mean, (0, 0), 0.7)) / RAMP, 0, 1)
        light = np.array(ROOM, np.float32) * np.clip(mean / max(mean.mean(), 0.05), 0.4, 1.8)[..., None]
    elif lit.kind == "panes":
        around = cv2.GaussianBlur(mean, (0, 0), AROUND)
        rise = np.clip((lit.level * around - cv2.GaussianBlur(mean, (0, 0), 0.7)) / (0.15 * around), 0, 1)
        light = np.array(ROOM, np.float32) * (0.5 + np.clip(mean / 0.3, 0, 1))[..., None]
    elif lit.kind == "globe":
        y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in mean.shape)
        rise = np.clip(3 * (1 - y[:, None] ** 2 - x[None] ** 2), 0, 1)
        light = np.array(WARM, np.float32)
    elif lit.kind in ("own", "vivid"):
        value = part.max(2) if lit.kind == "own" else part[..., 0] - part[..., 2]
        rise = np.clip((value - lit.level) / RAMP, 0, 1)
        light = own * np.array((1.0, 0.85, 0.65), np.float32)
    else:
        rise = np.clip((mean - lit.level) / min(RAMP, 1 - lit.level), 0, 1)
        light = np.array(MOON if lit.kind == "moon" else WARM, np.float32)
        light = light * np.clip(mean[..., None], 0, 1) ** 3 if lit.kind == "moon" else light
    return (rise[..., None] * light * lit.strength).astype(np.float32)
