"""What alpha over the picture costs and how exact it is: frames under a mask or a wipe, beside frames of one mixture.

    python benchmarks/masks.py [--clip ../shared/data/clips/flower.mp4] [--width 960] [--rounds 5]
                               [--presets detail,sketchbook,day-to-night,painters] [--out benchmarks/results/masks]

cost    the ratio of the time of a frame to that of the same frame under one mixture: both are rendered in every round,
        in alternation, by PyTorch on one thread, and the processor's time is counted, which other programs do not use
        up. Shown is the ratio of the shortest times of all rounds
levels  how many levels the render chooses for a way between two endpoints on this frame, for masks and for wipes, and
        the mean error of those for masks in codes of 8 bits, against four times as many steps, all of the picture an
        edge
ramp    an edge of 64 pixels on flat gray: the largest jump of the mean of a column to that of the next, in codes of 8
        bits, beside the largest in the same columns of the two mixtures alone, which have a texture of their own, and
        the change over all of the edge divided by 64
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import dnirender
from dnirender import Engine, Preset
from dnirender.engine.frame_work import Cutter, FrameWork, render_works
from dnirender.engine.levels import choose_levels, level_error
from dnirender.frames import Frame
from dnirender.masks.alpha_map import constant, over, spread
from dnirender.masks.fronts import Front
from dnirender.media.resize import limit_width, middle
from dnirender.networks import load
from dnirender.timeline.wipe import parse_wipe

RAMP = 64  # pixels
LEVELS_SIDE = 256  # of the part of the frame on which levels are chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=Path("../shared/data/clips/flower.mp4"))
    parser.add_argument("--width", type=int, default=960)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--presets", default="detail,sketchbook,day-to-night,painters")
    parser.add_argument("--out", type=Path, help="Writes STEM.json and STEM.md.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    image = limit_width(dnirender.open(arguments.clip)[0].image, arguments.width)
    rows = [measure(name, image, arguments.rounds) for name in arguments.presets.split(",")]
    text = "\n".join(table(rows))
    print(text)
    if arguments.out:
        arguments.out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
        arguments.out.with_suffix(".md").write_text(text + "\n", "utf-8")


def measure(name, image, rounds):
    preset = Preset.load(name)
    network, path = load({endpoint.name: endpoint.weights for endpoint in preset.network.endpoints})
    engine = Engine(network, path, device="cpu", dtype="fp32", backend="torch", threads=1)
    count = len(path.names)
    first, last = (
        tuple(float(k == index) for k in range(count)) for index in (0, 1 if name == "painters" else count - 1)
    )
    height, width = (side * network.scale for side in image.shape[:2])
    levels = choose_levels(engine, [middle(image, LEVELS_SIDE)], [(first, last)])
    soft = parse_wipe("right").softness
    wipe_levels = choose_levels(engine, [middle(image, LEVELS_SIDE)], [(first, last)], soft)
    maps = dict(cases(image, height, width, first, last, levels, wipe_levels))
    one = constant(last, height, width)
    base, taken = list[float](), {case: list[float]() for case in maps}
    for number in range(rounds):
        base.append(seconds(engine, image, one))
        for case, alpha_map in maps.items():
            taken[case].append(seconds(engine, image, alpha_map))
        base.append(seconds(engine, image, one))
        print(f"{name} round {number}: one mixture {base[-2]:.2f} s and {base[-1]:.2f} s", flush=True)
    return {
        "preset": name,
        "radius": engine.planner.receptive_radius,
        "levels": levels,
        "wipe_levels": wipe_levels,
        "error": 255 * level_error(engine, middle(image, LEVELS_SIDE), (first, last), levels - 1),
        "ramp": ramp(engine, first, last, levels),
        "ratios": {case: round(min(values) / min(base), 2) for case, values in taken.items()},
    }


def cases(image, height, width, first, last, levels, wipe_levels):
    """(name, map) of what is measured; the mask of a subject covers a fifth of the picture."""
    y, x = np.mgrid[0:height, 0:width]
    half = (x >= width // 2).astype(np.float32)
    distance = np.hypot(x - width / 2, y - height / 2)
    radius = np.sqrt(0.2 * height * width / np.pi)
    below, above = constant(first, height, width), constant(last, height, width)
    soft = np.clip((x - width / 2) / RAMP + 0.5, 0, 1).astype(np.float32)
    yield "halves", over(below, above, half, levels)
    yield "subject", over(below, above, (distance < radius).astype(np.float32), levels)
    yield "halves, 64 px soft", over(below, above, soft, levels)
    nodes = [step / (wipe_levels - 1) for step in range(wipe_levels)]
    alphas = [layer_alpha(first, last, node) for node in nodes]
    for text in ("right:softness=0", "right", "radial"):
        share = Front(parse_wipe(text)).share(0.5, image, width, height)
        yield f"wipe {text}", spread(share, nodes, alphas)


def layer_alpha(first, last, node):
    return tuple(a + (b - a) * node for a, b in zip(first, last, strict=True))


def seconds(engine, image, alpha_map):
    began = time.process_time()
    render(engine, image, alpha_map)
    return time.process_time() - began


def render(engine, image, alpha_map):
    work = FrameWork(Frame(0, 0, image))
    work.add_map("render", alpha_map, Cutter(engine))
    [done] = render_works(engine, [work], 1)
    return done.renders["render"]


def ramp(engine, first, last, levels):
    """The largest jump between columns on an edge of RAMP pixels, that of the mixtures alone, and the mean change."""
    gray = np.full((64, 256, 3), 32768, np.uint16)
    height, width = (side * engine.network.scale for side in gray.shape[:2])
    edge = np.clip((np.arange(width) - width / 2) / RAMP + 0.5, 0, 1)
    mask = np.tile(edge.astype(np.float32), (height, 1))
    found = render(engine, gray, over(constant(first, height, width), constant(last, height, width), mask, levels))
    own = [render(engine, gray, constant(alpha, height, width)) for alpha in (first, last)]
    edge, *ends = (columns(image)[(width - RAMP) // 2 : (width + RAMP) // 2 + 1] for image in (found, *own))
    jumps = [float(np.abs(np.diff(values)).max()) for values in (edge, *ends)]
    return [round(value, 2) for value in (jumps[0], max(jumps[1:]), float(abs(edge[-1] - edge[0])) / RAMP)]


def columns(image):
    """The mean of each column of 16 bits, in codes of 8 bits."""
    return image.astype(float).mean(axis=(0, 2)) / 257


def table(rows):
    names = list(rows[0]["ratios"])
    yield "| preset | receptive radius | levels | error | ramp: largest, alone, mean | " + " | ".join(names) + " |"
    yield "|" + "---|" * (5 + len(names))
    for row in rows:
        radius = "all of the picture" if row["radius"] is None else f"{row['radius']} px"
        figures = [
            row["preset"],
            radius,
            f"{row['levels']}, {row['wipe_levels']}",
            f"{row['error']:.2f}",
            "{}, {}, {}".format(*row["ramp"]),
        ]
        yield "| " + " | ".join(map(str, [*figures, *row["ratios"].values()])) + " |"


if __name__ == "__main__":
    main()
