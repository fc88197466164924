"""Rendering frames from memory to memory, without files."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dnirender.engine.frame_work import Cutter, FrameWork, render_works
from dnirender.engine.levels import choose_levels
from dnirender.errors import TimelineError, UsageError
from dnirender.frames import Alpha, Frame, Image
from dnirender.jobs.alpha_maps import AlphaMaps, layered_renderer
from dnirender.jobs.job import Job, Keyframes, make_job
from dnirender.jobs.mixtures import masking_of, open_front, outside_alpha, ways_of
from dnirender.jobs.plan import one_hot
from dnirender.jobs.prepare import LEVELS_SIDE, load_engine
from dnirender.masks.fronts import Front
from dnirender.masks.masking import Masking
from dnirender.media.luma import with_chroma
from dnirender.media.resize import middle
from dnirender.media.steadying import Steadier
from dnirender.preset import DEFAULT_PRESET, Preset
from dnirender.timeline.interpolation import Way
from dnirender.timeline.tracks import join_alphas, resolve_all

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine

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
    backend, threads, tile; and those of masks, which are arrays (see `make_job`). UsageError: an option, a key, or a
    frame of another form, with its number.
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
    masking = masking_of(job, None)
    front, alphas = open_front(job), _alphas(job, Fraction(fps), count)
    pairs = zip(frames, alphas, strict=False)  # alphas never end where the number of frames is not known
    seen = deque[Alpha]()
    works = render_works(engine, _works(job, engine, masking, front, pairs, seen), 1)
    rendered = ((work.frame, image) for work in works for image in work.renders.values())
    if effect.steady:
        steadier = Steadier(effect.steady)
        rendered = ((frame, steadier(frame.image, image, seen.popleft())) for frame, image in rendered)
    return (with_chroma(image, frame.image) if effect.keep_colors else image for frame, image in rendered)


def _works(
    job: Job,
    engine: Engine,
    masking: Masking | None,
    front: Front | None,
    pairs: Iterable[tuple[Image, tuple[Alpha, Way | None]]],
    seen: deque[Alpha],
) -> Iterator[FrameWork]:
    """What is to be rendered of each frame, whose alpha is put into `seen`; levels at soft edges are measured on the
    first one."""
    settings, is_mapped = job.preset.mask, bool(masking or front)
    cutter, levels = Cutter(engine) if is_mapped else None, 2 if settings.layers else settings.levels
    layered = layered_renderer(settings, engine) if is_mapped else None
    for number, (image, (alpha, way)) in enumerate(pairs):
        work = FrameWork(Frame(number, number, _checked(number, image)))
        seen.append(alpha)
        if cutter is None:
            work.add_whole(alpha)
        else:
            levels = levels or choose_levels(
                engine,
                [middle(image, LEVELS_SIDE)],
                _longest_ways(job),
                front.softness if front and not masking else 1.0,
            )
            planes = next(masking.read([number])) if masking else ()
            maps = AlphaMaps(masking, front, alpha, way, work.frame, planes, cutter.scale)
            maps.add_render(work, levels, cutter, layered)
        yield work


def _longest_ways(job: Job) -> list[tuple[Alpha, Alpha]]:
    """From the mixture outside to every endpoint, and from each endpoint to the next."""
    count = len(job.preset.endpoints)
    alone = [one_hot(index, count) for index in range(count)]
    outside = outside_alpha(job)[:count]
    return [*((outside, alpha) for alpha in alone if alpha != outside), *itertools.pairwise(alone)]


def _alphas(job: Job, fps: Fraction, count: int | None) -> Iterator[tuple[Alpha, Way | None]]:
    """The alpha of every frame, and with a wipe the way that it is on."""
    timelines, endpoints, strength = job.timelines, job.preset.endpoints, job.preset.effect.strength
    done, size = 0, count or FIRST_FRAMES
    while True:
        seconds = [number / fps for number in range(size)]
        try:
            tracks = resolve_all(timelines, endpoints, seconds, strength)
        except TimelineError:  # it may be that of a frame that never comes: frames before it are resolved alone
            if count is not None or size == done + 1:
                raise
            size = done + (size - done) // 2
            continue
        ways = ways_of(job, seconds) if job.preset.wipe.front is not None else (None,) * size
        yield from list(zip(join_alphas(tracks), ways, strict=True))[done:]
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
