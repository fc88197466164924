"""Figures of `steady`: how much less renders flicker, and how strong their strokes stay.

    python benchmarks/quality/steady.py [--preset painters] [--endpoints NAME ...] [--data ../shared/data] [--frames 14]

Flicker: the flow-warped error of the steadied frames over that of the same renders as they are (`judges.py`); 0.5 is
half. Strokes: energy of the luma between two sigmas, steadied over as they are (`texture.py`). The first frames, which
have fewer before them, are left out. Cost: processor seconds of steadying a frame over those of rendering it.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from judges import motion, warp_error
from texture import stroke_energy

from dnirender import Engine, Preset
from dnirender.decoding.open import open_source
from dnirender.families.loading import load_family
from dnirender.media.resize import limit_width
from dnirender.media.steadying import WINDOW, Steadier

CLIPS = {"road.mp4": 0, "flower.mp4": 0, "bunny_480p.mp4": 100}
STRENGTHS = (0.5, 0.8, 1.0)
WIDTH = 480


def measure(sources, renders, strengths=STRENGTHS):
    """Flicker and strokes for each strength, and seconds of the processor for a frame."""
    later, rows = motion(sources)[WINDOW:], []
    flickers, energy = warp_error(renders[WINDOW:], later), np.mean([stroke_energy(r) for r in renders[WINDOW:]])
    began = time.process_time()
    for strength in strengths:
        steadier = Steadier(strength)
        made = [steadier(s, r, (1.0,)) for s, r in zip(sources, renders, strict=True)][WINDOW:]
        rows.append((warp_error(made, later) / flickers, np.mean([stroke_energy(image) for image in made]) / energy))
    return rows, (time.process_time() - began) / len(sources) / len(strengths)


def table(engine, names, chosen, clips):
    """Prints the figures of each clip and endpoint."""
    print("| clip | endpoint | " + " | ".join(f"steady {s:g}: flicker, strokes" for s in STRENGTHS) + " | cost |")
    print("|" + "---|" * (3 + len(STRENGTHS)))
    for clip, sources in clips.items():
        for name in chosen:
            alpha = tuple(float(other == name) for other in names)
            began = time.process_time()
            renders = [engine.render(frame, alpha) for frame in sources]
            seconds = (time.process_time() - began) / len(sources)
            rows, own = measure(sources, renders)
            cells = [f"{flickers:.2f}, {strokes:.2f}" for flickers, strokes in rows]
            print(f"| {clip} | {name} | {' | '.join(cells)} | {own / seconds:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="painters", help="a shipped preset's name or a file")
    parser.add_argument("--endpoints", nargs="+", default=["starry_night", "great_wave", "the_scream", "water_lilies"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the data folder")
    parser.add_argument("--frames", type=int, default=14)
    given = parser.parse_args()
    preset = Preset.load(given.preset)
    network = preset.network
    engine = Engine(*load_family(network.family, network.files, network.levels), device="cpu", dtype="fp32", threads=1)
    clips = {}
    for name, first in CLIPS.items():
        frames = open_source(given.data / "clips" / name).frames(range(first, first + given.frames))
        clips[name] = [limit_width(frame.image, WIDTH) for frame in frames]
    print(f"{given.frames} frames of each clip, {WIDTH} pixels wide; {engine.decision}\n")
    table(engine, preset.endpoints, given.endpoints, clips)


if __name__ == "__main__":
    main()
