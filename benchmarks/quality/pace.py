"""How evenly a render changes from frame to frame, with a linear and with a perceptual pace.

    python benchmarks/quality/pace.py CLIP...

The figure is the largest over the mean CIELAB difference between the render of a frame at its alpha and at the next
frame's, over 33 frames of the clip: 1 is perfectly even. The motion in the clip has no part in it.
"""

import itertools
import sys
from pathlib import Path

import numpy as np

from dnirender.jobs.job import make_job
from dnirender.jobs.pace import at_even_pace, changes
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import load_engine
from dnirender.media.resize import resize_to

CASES = (
    ("day-to-night", "0:0, end:1"),
    ("painters", "0:photo, end:starry_night"),
    ("painters", "0:great_wave, end:water_lilies"),
    ("sketchbook", "0:0, end:1"),
    ("focus", "0:0, end:1"),
    ("detail", "0:0, end:1"),
)
FRAMES, WIDTH = 33, 480


def unevenness(frames, alphas, engine):
    pairs = zip(frames, itertools.pairwise(alphas), strict=False)
    steps = [changes([engine.render(frame, alpha) for alpha in pair])[0] for frame, pair in pairs]
    return max(steps) / np.mean(steps) if any(steps) else float("nan")


def main(clips, cases=CASES, preset=None):
    for clip, (name, keyframes) in itertools.product(clips, cases):
        job = make_job(clip, "none.mkv", preset or name, keyframes=keyframes, pace="perceptual")
        plan, engine = make_plan(job), load_engine(job)
        paced = at_even_pace(plan, engine)
        numbers = np.linspace(0, len(plan.selection.alphas) - 1, FRAMES).round().astype(int)
        images = {frame.index: frame.image for frame in plan.source.frames(sorted({*map(int, numbers)}))}
        width, height = plan.size
        size = min(width, WIDTH), max(16, round(height * min(1, WIDTH / width)))
        frames = [resize_to(images[number], *size) for number in numbers]
        linear, even = (
            unevenness(frames, [p.selection.alphas[number] for number in numbers], engine) for p in (plan, paced)
        )
        print(f"{Path(clip).name:24} {name:14} {keyframes:34} linear {linear:5.2f}  perceptual {even:5.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
