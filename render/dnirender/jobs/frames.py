"""Rendering frames from memory to memory, without files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dnirender.errors import TimelineError, UsageError
from dnirender.frames import Alpha, Batch, Frame, Image
from dnirender.jobs.job import Job, Keyframes, make_job
from dnirender.jobs.prepare import load_engine
from dnirender.media.luma import with_chroma
from dnirender.preset import DEFAULT_PRESET, Preset
from dnirender.timeline.tracks import join_alphas, resolve_all

FIRST_FRAMES = 64  # resolved at once where the number of frames is not known; doubled when they are used up


def render_frames(
    frames: Iterable[Image],
    keyframes: Keyframes | None = None,
    *,
    preset: str | Path | Preset = DEFAULT_PRESET,
    fps: float | Fraction = 25,
    **options: Any,
) -> Iterator[Image]:
    """Yields every frame rendered, in order, as it becomes ready.

    `frames` are images [h, w, 3], RGB, uint8 or uint16, of one size; each comes back in its own dtype, `scale` times as
    large. `keyframes` is a text, a list of tuples or a Timeline; times in it count at `fps`. Positions that depend on
    the last frame (`end`, `50%`, `-1`) need frames that have a `len`. `options` are those of the engine: device, dtype,
    backend, threads, tile. UsageError: an option, a key, or a frame of another form, with its number.
    """
    job = make_job("frames", "frames.mkv", preset, keyframes=keyframes, **options)
    count = len(frames) if isinstance(frames, Sized) else None
    keys = (key for timeline in job.timelines.values() for key in timeline.keyframes)
    relative = next((key for key in keys if key.is_relative), None)
    if count is None and relative is not None:
        what = relative.position if relative.position.is_relative else relative.text
        raise UsageError(f"keyframes: {what} depends on the last frame; give frames that have a len")
    if job.preset.effect.repair:
        raise UsageError("repair=True: is measured on a file, and frames have none; render files, or leave it out")
    if job.preset.timeline.pace != "linear":
        raise UsageError(
            "pace='perceptual': is measured on a file, and frames have none; render files, or leave it out"
        )
    engine = load_engine(job)
    effect = job.preset.effect
    alphas = _alphas(job, Fraction(fps), count)
    pairs = enumerate(zip(frames, alphas, strict=False))  # alphas never end where the number of frames is not known
    batches = (Batch((Frame(n, n, _checked(n, image)),), alpha) for n, (image, alpha) in pairs)
    rendered = (pair for batch, images in engine(batches) for pair in zip(batch.frames, images, strict=True))
    return (with_chroma(image, frame.image) if effect.keep_colors else image for frame, image in rendered)


def _alphas(job: Job, fps: Fraction, count: int | None) -> Iterator[Alpha]:
    timelines, endpoints, strength = job.timelines, job.preset.endpoints, job.preset.effect.strength
    done, size = 0, count or FIRST_FRAMES
    while True:
        try:
            tracks = resolve_all(timelines, endpoints, [number / fps for number in range(size)], strength)
        except TimelineError:  # it may be that of a frame that never comes: frames before it are resolved alone
            if count is not None or size == done + 1:
                raise
            size = done + (size - done) // 2
            continue
        yield from join_alphas(tracks)[done:]
        if count is not None:
            return
        done, size = size, 2 * size


def _checked(number: int, image: Any) -> Image:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        got = f"shape {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UsageError(f"frame {number}: expected an array [h, w, 3], got {got}")
    if image.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"frame {number}: expected uint8 or uint16, got {image.dtype}")
    return image
