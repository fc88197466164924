"""The photographs of the day-to-night training and where the sky is in them.

A photograph has a sky if there is a mask of its name in the folder `skies` (white is sky, long side 256) or its name
starts with a key of `SKIES`; all others have none. Each mask and rule was set by looking at what it gives; pictures
whose sky could not be told from the rest are in `LEFT_OUT`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dnirender.train.data.photos import Image, pictures, read, to_tensor
from dnirender.train.data.relighting import Scene, describe
from dnirender.train.data.scenes.lights import emission, lamplit

MASKS = Path(__file__).parent / "skies"
LONG_SIDE = 704  # pixels; the scenes are kept in memory at this size


@dataclass(frozen=True)
class SkyRule:
    """Sky is above `bottom` (fraction of the height), at least `bright` (mean of RGB 0..1), blue - red at least `blue`,
    green at most `green` above the mean of red and blue, no further than `smooth` from the 31 pixel median, and, if
    `joined`, connected to the upper border. Clouds, at least `white`, need not be blue."""

    bottom: float
    bright: float = 0.0
    blue: float = -1.0
    green: float = 1.0
    smooth: float = 1.0
    joined: bool = True
    white: float = 2.0


SKIES = {
    "Bridge_": SkyRule(0.835, bright=0.4, smooth=0.09, joined=False),
    "Dragonfly_": SkyRule(1.0, bright=0.2, blue=0.14, joined=False),
    "aitzgorri_": SkyRule(0.33, bright=0.74),
    "bunny_0": SkyRule(1.0, bright=0.60, green=0.06),
    "mate_Dune": SkyRule(0.41, bright=0.3, blue=0.0, joined=False),
    "mate_Storm": SkyRule(0.56),
    "picosdeeuropa_": SkyRule(0.355, bright=0.30, blue=0.05, white=0.66),
    "road_0": SkyRule(0.46, bright=0.48, blue=0.02, smooth=0.10),
    "road_720p": SkyRule(0.46, bright=0.40, blue=0.05),
    "skimage_rocket": SkyRule(0.84, blue=0.05, smooth=0.06, joined=False),
    "sunset_": SkyRule(0.46, bright=0.35),
}
NO_SKY = ("bunny_03", "bunny_057", "bunny_06")  # meadow, forest and title: bright, but no sky
LEFT_OUT = (
    *("Infinite-Sea", "bunny_0005", "bunny_0035", "skimage_grass", "skimage_gravel"),  # drawn night, black, gray
    *("2232979.", "262780.", "2666598."),  # stars
    *("1459534.", "1687147.", "2184504.", "225284.", "5739122.", "5894435.", "631317."),  # sky in many small parts, fog
    *("pexels-photo-1029599.", "pexels-photo-1075776.", "pexels-photo-2686358.", "pexels-photo-951408."),
    *("5097354.", "261045."),  # a window or a ceiling as bright as lamps
)
CARS = ("road_",)  # seen from behind: their tail lights are switched on


def photographs(folders: list[Path], held_out: Sequence[str]) -> Iterator[Scene]:
    """The scene of every training photograph in `folders`, in order of name."""
    for path in pictures(folders, (*LEFT_OUT, *held_out)):
        image = read(path, LONG_SIDE)
        stays = lamplit(path.stem, image.shape[:2])[..., None]
        masks = (sky_mask(path.name, image), lit(path.name, image), stays)
        yield describe(to_tensor(image), *(to_tensor(mask) for mask in masks))


def sky_mask(name: str, image: Image) -> Image:
    """Sky coverage h w 1, 0..1, of the photograph called `name`; zero where no mask or rule knows the name."""
    file = MASKS / f"{Path(name).stem}.png"
    if file.is_file():
        stored = np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), np.float32) / 255
        stored = cv2.resize(stored, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return guided_filter(image.mean(2), stored, 3, 3e-4)[..., None]
    rule = next((rule for prefix, rule in SKIES.items() if name.startswith(prefix)), None)
    if rule is None or name.startswith(NO_SKY):
        return np.zeros((*image.shape[:2], 1), np.float32)
    red, green, blue = cv2.split(image)
    median = np.asarray(cv2.medianBlur((image * 255).astype(np.uint8), 31), np.float32) / 255
    mask = (image.mean(2) >= rule.bright) & (blue - red >= rule.blue) & (green - (red + blue) / 2 <= rule.green)
    mask |= image.mean(2) >= rule.white
    mask &= np.abs(image - median).max(2) <= rule.smooth
    mask[int(rule.bottom * len(mask)) :] = False
    if rule.joined:
        _, parts = cv2.connectedComponents(mask.astype(np.uint8))
        mask &= np.isin(parts, np.unique(parts[:2]))
    mask = cv2.medianBlur(mask.astype(np.uint8) * 255, 3)
    return guided_filter(image.mean(2), mask.astype(np.float32) / 255, 3, 3e-4)[..., None]


def lit(name: str, image: Image) -> Image:
    """Light h w 3 (linear) that the lamps in the photograph called `name` emit; mostly zero."""
    light = emission(Path(name).stem, image)
    if name.startswith(CARS):
        red = image[..., 0] - np.maximum(image[..., 1], image[..., 2])
        red[: int(0.4 * len(red))] = 0
        small = red - cv2.morphologyEx(red, cv2.MORPH_OPEN, np.ones((19, 19)))
        part = np.clip((small - 0.20) / 0.15, 0, 1)[..., None].astype(np.float32)
        light = light + part * np.array((1.8, 0.12, 0.05), np.float32)
    return light


def guided_filter(guide: Image, x: Image, radius: int, eps: float) -> Image:
    """He et al. 2013: `x` smoothed so that its edges are those of `guide`; both h w, result clipped to 0..1."""
    size = (2 * radius + 1, 2 * radius + 1)
    mean_g, mean_x = cv2.blur(guide, size), cv2.blur(x, size)
    slope = (cv2.blur(guide * x, size) - mean_g * mean_x) / (cv2.blur(guide * guide, size) - mean_g * mean_g + eps)
    return np.clip(cv2.blur(slope, size) * guide + cv2.blur(mean_x - slope * mean_g, size), 0, 1).astype(np.float32)
