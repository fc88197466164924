"""Figures of the sketchbook, on pictures that it was not trained on.

    python benchmarks/quality/sketchbook.py [--preset FILE.yaml] [--data ../shared/data] [--json FILE]

Error: mean |render - drawing| in 1/255, at the ends and half-way between neighbours; beside it that of the photo
itself and, half-way, of the crossfade of the two ends' renders. Lines: Pearson correlation of the gradient magnitudes
of render and drawing (`judges.structure`). Path ratio: mean |middle - crossfade| / mean |one - other|. Flicker: the raw
flow-warped error of the render over the source's, beside that of the drawing model itself (`judges.py`); paper and
hatching, which do not move along, count as flicker. Twinkle, where nothing moves: mean |difference| of two renders of a
picture with two noises, over that of the two pictures.

Skin: mean linear luminance of patches of skin (`SKIN`, marked by hand on the portraits that are held out), render over
photo: the largest over the smallest, less 1, is by how much the ratio of two tones changes at most; beside it the share
of all pairs whose ratio changes by 15 % or less; order: in how many pairs of patches that differ by a tenth or more the
darker one stays the darker. Edge width of ink: pixels between
a quarter and three quarters of the way from ink to paper per pixel of the boundary half-way. Rims: on a disk and its
ground at several lightnesses, by how much the render on the lighter side of the edge, within 20 pixels of it, exceeds
what it is further away; vignette: the mean of the outer tenth of a plain picture less that of its middle. Both in
codes of 255.
"""

import argparse
import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from judges import flicker, motion, structure

from dnirender.decoding.open import open_source
from dnirender.engine.engine import Engine
from dnirender.layout.panels import crossfade
from dnirender.media.images import read_image
from dnirender.media.resize import limit_width
from dnirender.networks.loading import load
from dnirender.preset import Preset
from dnirender.train.data.drawing import draw, mixed, study
from dnirender.train.data.relighting import to_linear
from dnirender.train.losses import LUMA

WIDTH = 640
CLIPS = ("road.mp4", "flower.mp4")
PORTRAIT_WIDTH = 720
NOISE = 4.0  # codes of 255
PLAIN = (60, 120, 180)
RADIUS = 80  # pixels, of the disk
SKIN = {  # left, top, right, bottom, of the width and the height
    "0369d229ba4c": [(0.40, 0.55, 0.48, 0.61)],
    "097cb426910b": [(0.42, 0.225, 0.50, 0.25)],
    "100a02c269c5": [(0.83, 0.515, 0.91, 0.55), (0.575, 0.515, 0.62, 0.54), (0.23, 0.43, 0.28, 0.46)],
    "100f17892cf7": [(0.45, 0.23, 0.62, 0.30), (0.55, 0.49, 0.65, 0.53)],
    "11f2b039b293": [(0.75, 0.585, 0.83, 0.69), (0.41, 0.57, 0.50, 0.62), (0.435, 0.376, 0.487, 0.418)],
    "14ab4af28901": [(0.43, 0.29, 0.60, 0.34), (0.39, 0.46, 0.46, 0.515)],
    "1cba10ad9bb4": [(0.44, 0.39, 0.59, 0.445), (0.61, 0.57, 0.675, 0.64)],
}
"""The eighth portrait that is held out, 2397c73f8fee, is a street: its people are too small."""


def places(count):
    """The endpoints and the middles between neighbours, as mixtures."""
    return [tuple(max(0.0, 1 - abs(k / 2 - end)) for end in range(count)) for k in range(2 * count - 1)]


def drawing(image, mix):
    return (draw(study(image.astype(np.float32) / 255), mixed(mix)) * 255).round().astype(np.uint8)


def apart(a, b):
    return float(abs(a.astype(float) - b).mean())


def along(engine, pictures, names):
    """Per place on the path: the mean over pictures of each figure."""
    mixes = places(len(names))
    rows = []
    for picture in pictures:
        renders = [engine.render(picture, mix) for mix in mixes]
        row = []
        for k, (mix, render) in enumerate(zip(mixes, renders, strict=True)):
            goal = drawing(picture, mix)
            figures = {"error": apart(render, goal), "photo": apart(picture, goal), "lines": structure(render, goal)}
            if k % 2:
                faded = crossfade((renders[k - 1], renders[k + 1]), (0.5, 0.5))
                ratio = apart(render, faded) / apart(renders[k - 1], renders[k + 1])
                figures |= {"crossfade": apart(faded, goal), "ratio": ratio}
            row.append(figures)
        rows.append(row)
    means = [{key: float(np.mean([row[k][key] for row in rows])) for key in rows[0][k]} for k in range(len(mixes))]
    labels = [names[k // 2] if k % 2 == 0 else f"{names[k // 2]} - {names[k // 2 + 1]}" for k in range(len(mixes))]
    return dict(zip(labels, means, strict=True))


def unsteadiness(engine, clip, names):
    moved = motion(clip)
    rows = {}
    for mix, name in zip(places(len(names))[::2], names, strict=True):
        render = flicker([engine.render(frame, mix) for frame in clip], clip, moved).raw
        rows[name] = {"render": render, "drawing": flicker([drawing(frame, mix) for frame in clip], clip, moved).raw}
    return rows


def luminance(image):
    """Mean linear luminance of h w 3 in bytes."""
    return float((to_linear(torch.from_numpy(image.astype(np.float32) / 255)) @ torch.tensor(LUMA)).mean())


def skin(engine, data, names):
    """Per medium: largest change of the ratio of two tones, shares of pairs that keep it and the order."""
    photo, tones = [], {name: [] for name in names[1:]}
    for name, boxes in SKIN.items():
        picture = limit_width(read_image(data / f"{name}.jpg")[0], PORTRAIT_WIDTH)
        height, width = picture.shape[:2]
        parts = [
            (slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width)))
            for left, top, right, bottom in boxes
        ]
        photo += [luminance(picture[part]) for part in parts]
        for medium, mix in zip(names[1:], places(len(names))[2::2], strict=True):
            render = engine.render(picture, mix)
            tones[medium] += [luminance(render[part]) for part in parts]
    photo = np.array(photo)
    ordered = [(a, b) for a, b in itertools.permutations(range(len(photo)), 2) if photo[b] > 1.1 * photo[a]]
    rows = {}
    for medium, values in tones.items():
        gain = np.array(values) / photo
        order = float(np.mean([values[a] < values[b] for a, b in ordered]))
        changes = [max(a, b) / min(a, b) - 1 for a, b in itertools.combinations(gain, 2)]
        rows[medium] = {"ratio": max(changes), "kept": float(np.mean(np.array(changes) <= 0.15)), "order": order}
    return {"patches": len(photo), "pairs": len(ordered), "media": rows}


def edge_width(image):
    """In pixels, of a picture in two tones, h w 3 in bytes."""
    y = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    low, high = np.percentile(y, (2, 98))
    y = (y - low) / (high - low)
    light = y > 0.5
    boundary = (light[1:] != light[:-1]).sum() + (light[:, 1:] != light[:, :-1]).sum()
    return float(((y > 0.25) & (y < 0.75)).sum() / (boundary * np.pi / 4))


def rims(engine, mix):
    """The worst rim and the worst vignette, in codes."""
    y, x = np.mgrid[: 5 * RADIUS, : 5 * RADIUS]
    distance = np.hypot(y - 2.5 * RADIUS, x - 2.5 * RADIUS) - RADIUS
    worst = 0.0
    for inner, outer in itertools.permutations(PLAIN, 2):
        picture = np.repeat(np.where(distance < 0, inner, outer).astype(np.uint8)[..., None], 3, 2)
        render = cv2.cvtColor(engine.render(picture, mix), cv2.COLOR_RGB2GRAY).astype(float)
        away = distance if outer > inner else -distance
        rings = [render[(away >= k) & (away < k + 4)].mean() for k in range(0, 20, 4)]
        worst = max(worst, max(rings) - render[(away > 40) & (away < 72)].mean())
    fall = 0.0
    for code in PLAIN:
        render = engine.render(np.full((320, 480, 3), code, np.uint8), mix).astype(float)
        inside = np.zeros(render.shape[:2], bool)
        inside[32:-32, 48:-48] = True
        fall = max(fall, abs(render[~inside].mean() - render[inside].mean()))
    return {"rim": float(worst), "vignette": float(fall)}


def twinkle(engine, pictures, mix):
    """The renders' difference under two noises over the pictures' own."""
    rng = np.random.default_rng(0)
    found = []
    for picture in pictures:
        two = [(picture + rng.normal(0, NOISE, picture.shape)).clip(0, 255).round().astype(np.uint8) for _ in range(2)]
        found.append(apart(*(engine.render(one, mix) for one in two)) / apart(*two))
    return float(np.mean(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="sketchbook")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--frames", type=int, default=16, help="of each clip")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    preset = Preset.load(given.preset)
    engine = Engine(*load({e.name: e.weights for e in preset.network.endpoints}))
    names = preset.endpoints
    files = sorted((given.data / "photos" / "bsds").iterdir())[::50]
    pictures = [limit_width(read_image(path)[0], WIDTH) for path in files]
    ends = dict(zip(names[1:], places(len(names))[2::2], strict=True))
    figures = {
        "pictures": len(pictures),
        "path": along(engine, pictures, names),
        "skin": skin(engine, given.data / "photos" / "clic", names),
        "edge width": {
            name: float(np.mean([edge_width(engine.render(p, ends[name])) for p in pictures])) for name in ends
        },
        "rims": {name: rims(engine, mix) for name, mix in ends.items()},
        "twinkle": {name: twinkle(engine, pictures, mix) for name, mix in ends.items()},
        "flicker": {},
    }
    for name in CLIPS:
        frames = open_source(given.data / "clips" / name).frames(range(given.frames))
        figures["flicker"][name] = unsteadiness(engine, [limit_width(frame.image, WIDTH) for frame in frames], names)
    print(f"{len(pictures)} pictures, {engine.network.parameters} parameters, {engine.decision}")
    print("place                  error   photo   crossfade   lines   ratio")
    for place, row in figures["path"].items():
        more = f"{row['crossfade']:11.1f} {row['lines']:7.2f} {row['ratio']:7.2f}" if "ratio" in row else ""
        print(f"{place:20} {row['error']:7.1f} {row['photo']:7.1f} " + (more or f"{'':11} {row['lines']:7.2f}"))
    found = figures["skin"]
    print(f"{found['patches']} patches of skin, {found['pairs']} pairs")
    print("medium         ratio changes   kept   in order   edge width   rim   vignette   twinkle")
    for name, row in found["media"].items():
        rim = figures["rims"][name]
        width = figures["edge width"][name]
        print(
            f"{name:14} {row['ratio']:13.0%} {row['kept']:6.0%} {row['order']:10.0%} {width:12.2f}"
            f" {rim['rim']:5.1f} {rim['vignette']:10.1f} {figures['twinkle'][name]:9.2f}"
        )
    for clip, rows in figures["flicker"].items():
        told = "  ".join(f"{name} {row['render']:.2f} ({row['drawing']:.2f})" for name, row in rows.items())
        print(f"flicker on {clip}, of the drawing model in brackets: {told}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
