"""Soft edges of masks mixed inside of every layer, beside those made of renders.

    python benchmarks/mask_layers.py [--clip ../shared/data/clips/flower.mp4] [--width 480]
                                     [--presets denoise,sketchbook,day-to-night,detail] [--sheet FILE.png]

Edges of 64 and 256 pixels between the first and the last endpoint. error: mean difference on the edge to the
reference, which is 33 renders, in codes of 8 bits, and the largest of a value; `levels 2`, `3`, `5`: as many renders.
cost: processor seconds by PyTorch in fp32 on one thread, over those of one mixture. With --sheet the edges of 64 pixels
are shown: reference, layers, 2 renders, 3 renders.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

import dnirender
from dnirender import Engine, Preset
from dnirender.engine.layered import LayeredRenderer
from dnirender.families.loading import load_family
from dnirender.frames import Frame
from dnirender.masks.alpha_map import spread
from dnirender.media.images import write_png
from dnirender.media.resize import limit_width

FINEST = 32  # steps of the reference
STEPS = (1, 2, 4)
EDGES = (64, 256)


def measure(engine, image, edge, rounds=3):
    """[(name, mean error, largest error, cost, picture)] of an edge of so many pixels."""
    count, scale = len(engine.path.names), engine.network.scale
    one, other = (tuple(float(k == place) for k in range(count)) for place in (0, count - 1))
    height, width = image.shape[:2]
    x = np.arange(width * scale) / scale
    progress = np.tile(((x - (width - edge) / 2) / edge).clip(0, 1).astype(np.float32), (height * scale, 1))
    began = time.process_time()
    renders = [engine.render(image, mixed(one, other, step / FINEST)).astype(np.float32) for step in range(FINEST + 1)]
    single = (time.process_time() - began) / len(renders)
    reference, on_edge = interpolated(renders, progress, FINEST), (progress > 0) & (progress < 1)
    layered, times = LayeredRenderer(engine), []
    for _ in range(rounds):
        began = time.process_time()
        made = layered(Frame(0, 0, image), spread(progress, (0, 1), (one, other)))
        times.append(time.process_time() - began)
    rows = [("layers", made.astype(np.float32), min(times) / single)]
    rows += [(f"levels {steps + 1}", interpolated(renders, progress, steps), steps + 1.0) for steps in STEPS]
    errors = [np.abs(picture - reference)[on_edge] / 257 for _, picture, _ in rows]
    found = [(name, e.mean(), e.max(), cost, made) for (name, made, cost), e in zip(rows, errors, strict=True)]
    return [("reference", 0.0, 0.0, FINEST + 1.0, reference), *found]


def mixed(one, other, share):
    return tuple((1 - share) * a + share * b for a, b in zip(one, other, strict=True))


def interpolated(renders, progress, steps):
    """Pixels between the two of `steps` + 1 renders that are next to their own mixture."""
    chosen = renders[:: FINEST // steps]
    place = progress * steps
    below = np.minimum(place.astype(int), steps - 1)
    part = (place - below)[..., None]
    return sum((below == k)[..., None] * ((1 - part) * chosen[k] + part * chosen[k + 1]) for k in range(steps))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=Path("../shared/data/clips/flower.mp4"))
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--presets", default="denoise,sketchbook,day-to-night,detail")
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    image = limit_width(dnirender.open(given.clip)[0].image, given.width).astype(np.uint16) * 257
    print("| preset | edge | " + " | ".join(("layers", *(f"levels {n + 1}" for n in STEPS))) + " | cost of layers |")
    print("|" + "---|" * (4 + len(STEPS)))
    for name in given.presets.split(","):
        network = Preset.load(name).network
        found = load_family(network.family, network.files, network.levels)
        engine = Engine(*found, device="cpu", dtype="fp32", backend="torch", threads=1)
        shown = image
        if name == "denoise":
            noise = np.random.default_rng(0).normal(0, 30 * 257, image.shape)
            shown = (image + noise).clip(0, 65535).astype(np.uint16)
        for edge in EDGES:
            _, *rows = results = measure(engine, shown, edge)
            cells = [f"{mean:.2f}, {largest:.0f}" for _, mean, largest, _, _ in rows]
            print(f"| {name} | {edge} px | {' | '.join(cells)} | {rows[0][3]:.2f} |", flush=True)
            if given.sheet and edge == EDGES[0]:
                pictures = [(picture / 257).clip(0, 255).astype(np.uint8) for *_, picture in results[:4]]
                write_png(given.sheet.with_stem(f"{given.sheet.stem}-{name}"), np.vstack(pictures))


if __name__ == "__main__":
    main()
