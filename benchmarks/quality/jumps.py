"""How far all of a picture changes from one frame to the next, where the clip itself changes little.

    python benchmarks/quality/jumps.py [--presets painters FILE.yaml ...] [--data ../shared/data]

For every endpoint but the first: the mean and the standard deviation over pixels and colors of each frame, in 8-bit
codes, and the largest change of either between two frames. The clips are a road, a flower, and a film that fades in
from black, at two widths. Stated are the median and the largest of the endpoints, beside the clip's own.
"""

import argparse
from pathlib import Path

import numpy as np

from dnirender.decoding.open import open_source
from dnirender.engine.engine import Engine
from dnirender.families.loading import load_family
from dnirender.media.resize import limit_width
from dnirender.preset import Preset

CLIPS = {"road_720p.mp4": 38, "flower.mp4": 60, "bunny_480p.mp4": 60}
WIDTHS = (256, 480)


def jump(frames):
    """The largest change of mean or standard deviation between consecutive frames, in codes."""
    moments = np.array([(frame.mean(), frame.std()) for frame in frames])
    return float(abs(np.diff(moments, axis=0)).max())


def jumps(engine, count, frames):
    """That of each endpoint but the first, of `count`."""
    shares = np.eye(count)[1:]
    return [jump([engine.render(frame, tuple(share)) for frame in frames]) for share in shares.tolist()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--presets", nargs="+", default=["painters"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    asked = parser.parse_args()
    engines = {}
    for name in asked.presets:
        network = Preset.load(name).network
        engines[name] = Engine(*load_family(network.family, network.files, network.levels, network.styles))
    print(f"{'clip':16} {'width':>5} {'clip itself':>11}" + "".join(f"   {name}: median, largest" for name in engines))
    for clip, count in CLIPS.items():
        decoded = [frame.image for frame in open_source(asked.data / "clips" / clip).frames(range(count))]
        for width in WIDTHS:
            frames = [limit_width(image, width) for image in decoded]
            found = (jumps(engine, len(engine.path.names), frames) for engine in engines.values())
            row = "".join(f"   {np.median(values):8.1f} {max(values):8.1f}" for values in found)
            print(f"{clip:16} {width:5} {jump(frames):11.1f}{row}", flush=True)


if __name__ == "__main__":
    main()
