"""Figures of the sketchbook: how near its pictures come to the drawing model, on pictures that it was not trained on.

    python benchmarks/quality/sketchbook.py [--preset FILE.yaml] [--data ../shared/data] [--json FILE]

Error: mean |render - drawing| in 1/255, at the ends and half-way between neighbours; beside it that of the photo
itself and, half-way, of the crossfade of the two ends' renders. Lines: Pearson correlation of the gradient magnitudes
of render and drawing (`judges.structure`). Path ratio: mean |middle - crossfade| / mean |one - other|. Flicker: the raw
flow-warped error of the render over the source's, beside that of the drawing model itself (`judges.py`).
"""

import argparse
import json
from pathlib import Path

import numpy as np
from judges import flicker, motion, structure

from dnirender.decoding.open import open_source
from dnirender.engine.engine import Engine
from dnirender.layout.panels import crossfade
from dnirender.media.images import read_image
from dnirender.media.resize import limit_width
from dnirender.networks.loading import load
from dnirender.preset import Preset
from dnirender.train.data.drawing import draw, mixed, study

WIDTH = 640
CLIPS = ("road.mp4", "flower.mp4")


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
    figures = {"pictures": len(pictures), "path": along(engine, pictures, names), "flicker": {}}
    for name in CLIPS:
        frames = open_source(given.data / "clips" / name).frames(range(given.frames))
        figures["flicker"][name] = unsteadiness(engine, [limit_width(frame.image, WIDTH) for frame in frames], names)
    print(f"{len(pictures)} pictures, {engine.network.parameters} parameters, {engine.decision}")
    print("place                  error   photo   crossfade   lines   ratio")
    for place, row in figures["path"].items():
        more = f"{row['crossfade']:11.1f} {row['lines']:7.2f} {row['ratio']:7.2f}" if "ratio" in row else ""
        print(f"{place:20} {row['error']:7.1f} {row['photo']:7.1f} " + (more or f"{'':11} {row['lines']:7.2f}"))
    for clip, rows in figures["flicker"].items():
        told = "  ".join(f"{name} {row['render']:.2f} ({row['drawing']:.2f})" for name, row in rows.items())
        print(f"flicker on {clip}, of the drawing model in brackets: {told}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
