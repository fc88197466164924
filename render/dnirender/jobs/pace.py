"""An even pace: how much frames of a job change along its timeline, and keyframes that make the change even.

The change from one image to another is the mean over the pixels of their CIELAB color difference (CIE 1976), which is
spaced as eyes see colors. It needs no network, and is as sensitive to a new texture as to a new light.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from dnirender.cache import Cache, cache_folder
from dnirender.frames import Image, to_uint16
from dnirender.jobs.fingerprint import job_fingerprint
from dnirender.jobs.frame_selection import rendered_range, select_frames
from dnirender.jobs.plan import Plan
from dnirender.media.resize import resize_to
from dnirender.progress import ProgressTracker
from dnirender.timeline.keyframes import weaken
from dnirender.timeline.pace import Line, lines, paced_keyframes

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine

FRAMES, SIDE = 4, 384  # that change along a line is measured on


def at_even_pace(plan: Plan, engine: Engine, keyframes: str = "", progress: ProgressTracker | None = None) -> Plan:
    """The plan with alphas at an even pace, if its job asks for one: those of `keyframes`, which an earlier run of the
    job has found, or of such as are measured. Raises MediaError, ModelError, TimelineError."""
    if plan.job.preset.timeline.pace == "linear":
        return plan
    text = keyframes or _recalled(plan, engine, progress or ProgressTracker())
    job = replace(plan.job.override(keyframes=text, easing="linear", pace="linear"), own_timeline=None)
    selection = select_frames(job, plan.source.metadata)
    old, new = plan.selection.track, selection.track
    tracks = (replace(new, keys=old.keys, unreached=old.unreached), *selection.tracks[1:])
    return replace(plan, selection=replace(selection, tracks=tracks), paced_keyframes=text)


def changes(images: Sequence[Image]) -> list[float]:
    """The CIELAB difference of every image [h, w, 3], RGB, to the next, the mean over the pixels."""
    labs = (_lab(image) for image in images)
    return [float(np.sqrt(np.square(b - a).sum(-1)).mean()) for a, b in itertools.pairwise(labs)]


def _recalled(plan: Plan, engine: Engine, progress: ProgressTracker) -> str:
    cache = Cache(cache_folder() if plan.job.engine.cache else None)
    key = {"what": "even pace", **job_fingerprint(plan)}
    text = str(cache.read(key).get("keyframes", ""))
    if not text:
        text = _measured(plan, engine, progress)
        cache.write(key, {"keyframes": text})
    return text


def _measured(plan: Plan, engine: Engine, progress: ProgressTracker) -> str:
    timeline, endpoints, strength = plan.job.timeline, plan.job.preset.endpoints, plan.job.preset.effect.strength
    start, stop = rendered_range(plan.job, plan.source.metadata.seconds)
    seconds = plan.source.metadata.seconds[start:stop]
    first_keys = lines(timeline)
    alphas = {line: [weaken(a, strength) for a in line.samples(endpoints)] for line in first_keys}
    total, done = FRAMES * sum(map(len, alphas.values())), 0
    found: dict[Line, list[float]] = {}
    for line, key in first_keys.items():
        keys = [min(key.position.frame(seconds), len(seconds) - 1) for key in timeline.keyframes[key : key + 2]]
        rows: list[list[float]] = []
        for image in _images(plan, start, *keys):
            progress.enter("measuring the pace", done, total)
            rows.append(changes([engine.render(image, alpha) for alpha in alphas[line]]))
            done += len(alphas[line])
        found[line] = _at_their_time(rows)
    return paced_keyframes(timeline, endpoints, seconds, found)


def _images(plan: Plan, first: int, start: int, stop: int) -> list[Image]:
    """FRAMES frames from the middles of as many parts of the frames `start` to `stop`, counted from the source's frame
    `first`, small."""
    width, height = plan.size
    scale = min(1, SIDE / max(width, height))
    size = max(16, round(width * scale)), max(16, round(height * scale))
    wanted = [first + start + (stop - start) * (2 * k + 1) // (2 * FRAMES) for k in range(FRAMES)]
    images = {frame.index: resize_to(frame.image[..., :3], *size) for frame in plan.source.frames(sorted({*wanted}))}
    return [images[number] for number in wanted]


def _at_their_time(rows: Sequence[Sequence[float]]) -> list[float]:
    """The change of every step, of rows for frames from the middles of as many parts of a line: that of the two frames
    that are shown nearest to it, by their distance from it."""
    table = np.asarray(rows)
    count, steps = table.shape
    places = np.clip((np.arange(steps) + 0.5) / steps * count - 0.5, 0, count - 1)
    frames = np.arange(count)
    return [float(np.interp(place, frames, table[:, step])) for step, place in enumerate(places)]


def _lab(image: Image) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(to_uint16(image).astype(np.float32) / 65535, cv2.COLOR_RGB2LAB), np.float32)
