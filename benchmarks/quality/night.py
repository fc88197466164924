"""How dark, how blue and how falsely lit the night is, on photographs that the training held out.

    python benchmarks/quality/night.py [--preset FILE.yaml] [--data ../shared/data]

Ordinary pictures are those that the recipe of day-to-night holds out, one of each clip. The pictures with labels are
some of them and some of Urban100, whose lights and windows are in `LIGHTS`; pictures are at most 640 wide.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from day_to_night import ALPHAS, WIDTH, Renderer, line
from judges import LUMA, Array

from dnirender.frames import Image
from dnirender.media.image_files import is_still
from dnirender.media.images import read_image
from dnirender.media.resize import limit_width
from dnirender.preset import Preset
from dnirender.train.recipe import Recipe

RECIPE = Path(__file__).parents[2] / "presets/recipes/day-to-night.yaml"
TWINS = (  # frames next to one that is measured
    *("bunny_0395", "bunny_0425", "bunny_0455", "bunny_0515", "bunny_0545"),
    *("road_720p_0005", "road_720p_0029", "stream_0030", "stream_0055", "stream_0080"),
)
BRIGHTEST = 0.02  # share of pixels that may be warm
SHINES = 100.0  # luma of 255: above what white paper has at night
BLOBS = 10

Boxes = tuple[tuple[float, float, float, float], ...]
LIGHTS: dict[str, Boxes] = {
    "photos/cid22/333963": (
        *((0.20, 0.18, 0.32, 0.30), (0.0, 0.12, 0.04, 0.40), (0.10, 0.20, 0.16, 0.40), (0.30, 0.30, 0.55, 0.45)),
        *((0.60, 0.38, 0.66, 0.44), (0.0, 0.45, 0.75, 1.0)),  # the last is the street under the lamp
    ),
    "photos/cid22/pexels-photo-1130297": (
        *((0.12, 0.43, 0.19, 0.52), (0.05, 0.49, 0.12, 0.58), (0.55, 0.59, 0.61, 0.68), (0.56, 0.63, 0.67, 0.75)),
        *((0.50, 0.75, 0.68, 1.0), (0.83, 0.84, 0.94, 1.0), (0.40, 0.85, 0.70, 1.0)),
    ),
    "photos/cid22/2290070": (
        *((0.13, 0.39, 0.22, 0.53), (0.38, 0.43, 0.44, 0.54), (0.47, 0.36, 0.66, 0.55), (0.60, 0.43, 0.67, 0.54)),
        *((0.84, 0.43, 0.90, 0.54), (0.92, 0.38, 1.0, 0.54), (0.0, 0.40, 0.05, 0.45), (0.08, 0.38, 0.20, 0.62)),
    ),
    "photos/cid22/1424246": ((0.62, 0.57, 0.70, 0.75),),
    "photos/cid22/2599868": (
        *((0.70, 0.05, 0.95, 0.29), (0.69, 0.39, 0.95, 0.65), (0.70, 0.80, 0.95, 1.0), (0.0, 0.13, 0.04, 0.35)),
        (0.0, 0.40, 0.04, 0.60),
    ),
    "photos/clic/2397c73f8fee": ((0.18, 0.39, 0.24, 0.46), (0.48, 0.29, 0.62, 0.36)),
    "photos/cid22/3705529": ((0.78, 0.28, 0.88, 0.52),),
    "photos/cid22/pexels-photo-7078290": ((0.32, 0.15, 0.72, 1.0),),
    "photos/free/road_720p_0017": ((0.635, 0.58, 0.735, 0.69), (0.80, 0.57, 0.96, 0.69)),
    "photos/clic/0369d229ba4c": (),
    "photos/cid22/162511": (),
    "photos/cid22/1001682": (),
    "photos/free/bunny_0485": (),
    "photos/urban/img_094": (
        *((0.72, 0.0, 0.98, 0.66), (0.80, 0.57, 0.95, 0.72), (0.40, 0.28, 0.45, 0.33), (0.39, 0.70, 0.53, 0.83)),
        (0.50, 0.20, 0.72, 0.68),
    ),
    "photos/urban/img_088": (
        *((0.325, 0.33, 0.39, 0.49), (0.46, 0.33, 0.53, 0.49), (0.59, 0.33, 0.66, 0.49), (0.72, 0.37, 0.79, 0.49)),
        *((0.32, 0.60, 0.39, 0.72), (0.46, 0.60, 0.53, 0.77), (0.59, 0.60, 0.66, 0.72), (0.73, 0.60, 0.78, 0.72)),
        *((0.79, 0.60, 0.84, 0.72), (0.20, 0.62, 0.26, 0.74)),
    ),
    "photos/urban/img_017": (
        *((0.03, 0.16, 0.10, 0.27), (0.13, 0.20, 0.19, 0.33), (0.0, 0.40, 0.05, 0.55), (0.07, 0.44, 0.14, 0.60)),
        *((0.0, 0.73, 0.10, 0.95), (0.26, 0.24, 0.31, 0.36), (0.32, 0.28, 0.37, 0.40), (0.38, 0.30, 0.56, 0.48)),
        *((0.22, 0.40, 0.29, 0.50), (0.14, 0.70, 0.60, 0.95), (0.60, 0.65, 0.85, 0.90)),
    ),
    "photos/urban/img_044": (
        *((0.11, 0.0, 0.58, 0.40), (0.57, 0.24, 0.77, 0.33), (0.65, 0.52, 0.82, 0.60), (0.61, 0.71, 0.75, 0.77)),
        *((0.0, 0.70, 0.14, 0.78), (0.31, 0.76, 0.57, 0.95), (0.62, 0.84, 0.74, 0.90), (0.10, 0.85, 0.23, 0.90)),
        *((0.94, 0.90, 1.0, 0.95), (0.70, 0.93, 0.90, 1.0), (0.0, 0.50, 0.05, 0.60), (0.0, 0.92, 0.05, 1.0)),
    ),
    "photos/urban/img_032": ((0.90, 0.02, 0.95, 0.10), (0.76, 0.32, 0.79, 0.36)),
    "photos/urban/img_022": ((0.0, 0.12, 1.0, 1.0),),
    "photos/urban/img_098": (
        *((0.05, 0.08, 0.20, 0.30), (0.28, 0.0, 0.38, 0.15), (0.28, 0.23, 0.36, 0.36), (0.04, 0.38, 0.20, 0.52)),
        *((0.28, 0.42, 0.36, 0.53), (0.39, 0.27, 0.56, 0.42), (0.90, 0.16, 1.0, 0.30), (0.84, 0.30, 0.90, 0.38)),
        (0.70, 0.44, 0.95, 0.56),
    ),
}
"""Lights by day, windows and what they light: left, top, right, bottom, fractions of width and height."""


@dataclass(frozen=True)
class Night:
    """One night: mean code 0..255, mean blue over mean red of all but the brightest pixels."""

    name: str
    code: float
    blue: float


def night(name: str, render: Image) -> Night:
    pixels = render.reshape(-1, 3).astype(float)
    brightness = pixels.mean(1)
    below = pixels[brightness <= np.quantile(brightness, 1 - BRIGHTEST)].mean(0)
    return Night(name, float(brightness.mean()), float(below[2] / max(below[0], 1e-3)))


def blobs(render: Image) -> Array:
    """Where the brightest spots are that shine, n x 2 (x, y, fractions): the maxima within 2 % of the height of luma,
    blurred by 2 pixels, above `SHINES`; at most `BLOBS`."""
    luma = cv2.GaussianBlur(render.astype(np.float32) @ LUMA.astype(np.float32), (0, 0), 2)
    side = 2 * round(0.02 * len(luma)) + 1
    peak = (luma == cv2.dilate(luma, np.ones((side, side)))) & (luma >= SHINES)
    rows, cols = np.nonzero(peak)
    order = np.argsort(-luma[rows, cols], kind="stable")[:BLOBS]
    return np.stack([cols[order] / luma.shape[1], rows[order] / luma.shape[0]], 1)


def false_lamps(render: Image, boxes: Boxes, margin: float = 0.01) -> tuple[int, int]:
    """How many of the render's blobs are in none of `boxes`, and how many there are."""
    found = blobs(render)
    low, high = (np.array(boxes).reshape(-1, 2, 2)[:, k] for k in (0, 1))
    inside = ((found[:, None] >= low - margin) & (found[:, None] <= high + margin)).prod(2)
    return int((inside.sum(1) == 0).sum()), len(found)


def held_out(data: Path) -> list[Path]:
    recipe = Recipe.load(RECIPE)
    found = (path for folder in recipe.photos for path in sorted((data / folder).iterdir()) if is_still(path))
    return [path for path in found if path.name.startswith(tuple(recipe.held_out)) and not path.name.startswith(TWINS)]


def read(path: Path) -> Image:
    return limit_width(read_image(path)[0], WIDTH)


def ordinary(render: Renderer, paths: Sequence[Path]) -> list[str]:
    nights = [night(path.stem, render([read(path)], 1.0)[0]) for path in paths]
    codes, blues = (np.array([getattr(n, name) for n in nights]) for name in ("code", "blue"))
    outside = [f"{n.name} {n.code:.0f}" for n in nights if not 18 <= n.code <= 45]
    red = [f"{n.name} {n.blue:.2f}" for n in nights if n.blue < 1.3]
    return [
        f"night of {len(nights)} pictures held out",
        line("mean code", f"{codes.mean():.1f}, median {np.median(codes):.1f}, {codes.min():.0f} to {codes.max():.0f}"),
        line("outside 18 to 45", f"{len(outside)}: {', '.join(outside)}"),
        line("blue over red", f"{blues.mean():.2f}, median {np.median(blues):.2f} (at least 1.3)"),
        line("below 1.3", f"{len(red)}: {', '.join(red)}"),
    ]


def lamps(render: Renderer, data: Path) -> list[str]:
    counts = {name: false_lamps(render([read(data / f"{name}.jpg")], 1.0)[0], boxes) for name, boxes in LIGHTS.items()}
    wrong, found = (sum(column) for column in zip(*counts.values(), strict=True))
    bad = ", ".join(f"{Path(name).name} {w} of {n}" for name, (w, n) in counts.items() if w)
    return [
        f"false lamps: of the {BLOBS} brightest blobs of luma {SHINES:.0f} or more, those at no light and no window",
        line(f"{len(counts)} pictures with labels", f"{wrong} of {found}, {wrong / max(found, 1):.0%} (at most 10%)"),
        line("pictures with some", bad or "none"),
        line("pictures where nothing shines", str(sum(not n for _, n in counts.values()))),
    ]


def evenness(render: Renderer, paths: Sequence[Path]) -> list[str]:
    images = [read(path) for path in paths]
    walk = [render(images, value) for value in ALPHAS]
    error = max(abs(a.astype(float) - b).mean() for a, b in zip(walk[0], images, strict=True))
    steps = -np.diff([[picture.mean() for picture in pictures] for pictures in walk], axis=0)
    worst = (steps.max(0) / abs(steps.mean(0))).max()
    return [
        f"{len(images)} of them over {len(ALPHAS)} alphas",
        line("day end error", f"{error:.3f} of 255, worst picture (at most 1)"),
        line("largest step over mean step", f"{steps.mean(1).max() / steps.mean():.2f}, worst picture {worst:.2f}"),
    ]


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="day-to-night", help="a shipped preset's name or a YAML file")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds photos")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    render = Renderer(Preset.load(given.preset), "fp32")
    paths = held_out(given.data)
    parts = (ordinary(render, paths), lamps(render, given.data), evenness(render, paths[:: len(paths) // 8]))
    print("\n\n".join("\n".join(part) for part in parts))


if __name__ == "__main__":
    main()
