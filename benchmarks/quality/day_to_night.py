"""Figures of the shipped day-to-night weights, measured through the engine on pictures and a clip of your choice.

    python benchmarks/quality/day_to_night.py --pictures DIR --clip CLIP.mp4 [--frames 20]

Day error: mean |day(x) - x| in 1/255. Luminance: mean of the output over 11 alphas, and the largest step of any picture
over its mean step. bf16: mean |bf16 - fp32| in 1/255. Flicker: mean change between consecutive frames of the clip's
render over that of the source scaled to the render's brightness; above 1 the render is less steady than its source.
"""

import argparse
from pathlib import Path

import numpy as np

from dnirender.compose import fit
from dnirender.decode import open_source
from dnirender.engine import Engine
from dnirender.network import load
from dnirender.pictures import is_still, read_picture
from dnirender.preset import Preset
from dnirender.timeline import Timeline

ALPHAS = [i / 10 for i in range(11)]
MARKS = (1 / 3, 0.5, 2 / 3, 1.0)


def mix(value, endpoints):
    return Timeline.parse(f"0:{value}").resolve(endpoints, [0]).alphas[0]


def small(image):
    """The picture at 640 wide at most."""
    scale = min(1.0, 640 / image.shape[1])
    return fit(image, round(image.shape[1] * scale), round(image.shape[0] * scale))


def engines(preset):
    files = {endpoint.name: endpoint.weights for endpoint in preset.network.endpoints}
    return [Engine(*load(files), device="cpu", dtype=dtype) for dtype in ("fp32", "bf16")]


def luminance(engine, pictures, endpoints):
    return np.array([[engine.render(p, mix(a, endpoints)).mean() / 255 for a in ALPHAS] for p in pictures])


def flicker(engine, frames, alpha):
    source = np.stack(frames).astype(float)
    render = np.stack([engine.render(frame, alpha) for frame in frames]).astype(float)
    scaled = source * render.mean() / source.mean()
    return abs(np.diff(render, axis=0)).mean() / abs(np.diff(scaled, axis=0)).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=20, help="frames of the clip")
    given = parser.parse_args()
    preset = Preset.load("day-to-night")
    endpoints = preset.endpoints
    fp32, bf16 = engines(preset)
    pictures = [small(read_picture(path)[0]) for path in sorted(given.pictures.iterdir()) if is_still(path)]
    frames = [small(frame.image) for frame in open_source(given.clip).frames(range(given.frames))]
    day = [abs(fp32.render(p, mix(0, endpoints)).astype(float) - p).mean() for p in pictures]
    print(f"{len(pictures)} pictures, {fp32.network.parameters} parameters")
    print(f"day error: mean {np.mean(day):.3f}, worst {max(day):.3f} of 255")
    levels = luminance(fp32, pictures, endpoints)
    steps = -np.diff(levels, axis=1)
    print("luminance: " + " ".join(f"{level:.3f}" for level in levels.mean(0)))
    print(
        f"largest step over mean step: {(steps.max(1) / steps.mean(1)).max():.2f}; all fall: {bool((steps > 0).all())}"
    )
    for value in MARKS:
        alpha = mix(value, endpoints)
        apart = [abs(fp32.render(p, alpha).astype(float) - bf16.render(p, alpha)).mean() for p in pictures]
        unsteady = flicker(fp32, frames, alpha)
        print(
            f"alpha {value:.3f}: bf16 mean {np.mean(apart):.2f}, worst {max(apart):.2f} of 255; flicker {unsteady:.2f}"
        )


if __name__ == "__main__":
    main()
