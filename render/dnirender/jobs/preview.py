"""The preview of a render: its keyframes and what lies half-way between them, small, in seconds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from dnirender.engine.frame_work import render_works
from dnirender.frames import Alpha, Image
from dnirender.jobs.alpha_maps import make_works
from dnirender.jobs.compose import make_alpha_track
from dnirender.jobs.contact_sheet import Sheet
from dnirender.jobs.job import Job
from dnirender.jobs.pace import at_even_pace
from dnirender.jobs.plan import Plan, make_plan
from dnirender.jobs.prepare import autotune, load_engine, with_levels
from dnirender.jobs.targets import check_target
from dnirender.layout.contact_sheet import stills
from dnirender.media import resize
from dnirender.media.images import write_png
from dnirender.media.luma import with_chroma
from dnirender.progress import ProgressTracker
from dnirender.timeline.tracks import join_alphas, split_alpha

WIDTH = 320  # of the frames that are rendered, at most
MAX_FRAMES = 24
TRACK_HEIGHT = 96


def preview_path(output: Path) -> Path:
    """Where the preview of a render to `output` is written: STEM.preview.png beside it."""
    return output.with_name(f"{output.stem.split('%')[0].rstrip('_-.') or 'frames'}.preview.png")


def make_preview(job: Job, progress: ProgressTracker | None = None) -> Sheet:
    """Renders the frames of the timeline's keys, and those half-way between them, under their own alphas, and writes
    them beside the output of `job` (see `preview_path`); the output itself stays as it is.

    They are at most WIDTH wide, which changes how large strokes are in them. Raises what `render` raises.
    """
    progress = progress or ProgressTracker()
    target = preview_path(job.output)
    check_target(target, job)
    plan = _small(make_plan(job.override(overwrite=True)))
    numbers = preview_numbers(plan)
    # So few frames are not worth measuring or compiling anything.
    engine = load_engine(plan.job.override(backend="torch") if plan.job.engine.backend == "auto" else plan.job)
    plan = at_even_pace(plan, engine, progress=progress)
    first, alphas = plan.selection.indices[0], join_alphas(plan.selection.tracks)
    indices = [first + number for number in numbers]
    autotune(engine, plan, progress)
    plan = with_levels(plan, engine)
    progress.enter("rendering", 0, len(numbers))
    frames, make_work = plan.source.frames(indices), make_works(plan, engine, ("render",))
    scaled = (replace(frame, image=resize.resize_to(frame.image, *plan.size)) for frame in frames)
    masks = plan.masking.read(indices) if plan.masking else itertools.repeat(())
    images = list[Image]()
    for work in render_works(engine, map(make_work, scaled, masks), 1):
        (image,) = work.renders.values()
        if job.preset.effect.keep_colors:
            image = with_chroma(image, work.frame.image, plan.source.metadata.color.matrix)
        images.append(image)
        progress.wrote(len(images), len(numbers), plan.main(alphas[work.frame.index - first]))
    seconds = plan.source.metadata.seconds
    labels = [
        (f"{number}   {float(seconds[first + number] - seconds[first]):.2f} s", _mix(plan, alphas[number]))
        for number in numbers
    ]
    sheet = stills(images, labels, f"{job.input.name}   {job.preset.name}")
    sheet = np.vstack([sheet, make_alpha_track(plan).draw_all(sheet.shape[1], TRACK_HEIGHT)])
    write_png(target, sheet)
    return Sheet(sheet, target, engine.decision)


def preview_numbers(plan: Plan) -> list[int]:
    """The frames of the preview, counted from the first one rendered: the first and the last, those of the keys, and
    those half-way between two of them; evenly fewer where they are more than MAX_FRAMES."""
    tracks, first = plan.selection.tracks, plan.selection.indices[0]
    last = len(tracks[0].alphas) - 1
    seconds = plan.source.metadata.seconds[first : first + last + 1]
    timed = [timeline.timed for timeline in plan.job.timelines.values()]
    positions = [(key, by) for track, by in zip(tracks, timed, strict=True) for key, _ in track.keys if 0 <= key <= 1]
    keys = sorted({0, last, *(_number(position, seconds, by) for position, by in positions)})
    halves = ((before + after) // 2 for before, after in itertools.pairwise(keys))
    numbers = sorted({*keys, *halves})
    if len(numbers) <= MAX_FRAMES:
        return numbers
    return [numbers[place * (len(numbers) - 1) // (MAX_FRAMES - 1)] for place in range(MAX_FRAMES)]


def _number(position: Fraction, seconds: Sequence[Fraction], timed: bool) -> int:
    """The frame at a position from 0, the first frame, to 1, the last one, by time or by number."""
    if not timed:
        return round(position * (len(seconds) - 1))
    time = seconds[0] + position * (seconds[-1] - seconds[0])
    return next(number for number, second in enumerate(seconds) if second >= time)


def _small(plan: Plan) -> Plan:
    width, height = plan.size
    if width <= WIDTH:
        return plan
    return replace(plan, size=(WIDTH, max(16, round(height * WIDTH / width))))


def _mix(plan: Plan, alpha: Alpha) -> str:
    """The endpoints in use, with their coefficients; those of each track."""
    endpoints = plan.job.preset.endpoints
    mixes = [
        [(name, share) for name, share in zip(endpoints, coefficients, strict=True) if share]
        for coefficients in split_alpha(alpha, len(endpoints))
    ]
    return " | ".join(
        " + ".join(name if share == 1 else f"{share:.2f} {name}" for name, share in used) for used in mixes
    )
