"""Renders from file to file: the functions for the command line and for Python."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnirender.errors import Cancelled, OutputError, UsageError
from dnirender.jobs.disk_space import disk_full_error, is_disk_full
from dnirender.jobs.estimate import remember_run
from dnirender.jobs.finish import finish_render
from dnirender.jobs.job import Job, Keyframes, make_job
from dnirender.jobs.notebook import result_html, table_html
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import PreparedJob, autotune, prepare
from dnirender.preset import DEFAULT_PRESET, Preset
from dnirender.progress import Listener, Progress, ProgressTracker

Cancel = threading.Event | Callable[[], bool]
"""An event that is set, or a function that returns True, to stop a render."""


@dataclass(frozen=True)
class Report:
    """What a render did.

    frames: frames in the output
    repeated, dropped: frames shown again or left out for a constant frame rate
    resumed: frames that earlier runs had rendered
    seconds: wall time from the first frame to the published file, without loading the networks
    fps: frames rendered by this run per second
    workers: frames rendered in parallel on the CPU
    tile: (height, width) of the tiles in source pixels, None without tiles
    weight_writes: how often weights were mixed
    streams: what was done with each other stream of the input
    phases: seconds in each phase, see `progress.PHASES`
    """

    input: str
    output: str
    frames: int
    resumed: int
    seconds: float
    fps: float
    device: str
    dtype: str
    backend: str
    workers: int
    tile: tuple[int, int] | None
    weight_writes: int
    streams: tuple[str, ...]
    warnings: tuple[str, ...]
    phases: dict[str, float]
    repeated: int = 0
    dropped: int = 0

    def _repr_html_(self) -> str:
        frames = f"{self.frames}" + (f", {self.resumed} of them from earlier runs" if self.resumed else "")
        rows = {
            "output": self.output,
            "frames": frames,
            "time": f"{self.seconds:.1f} s, {self.fps:.1f} frames/s",
            "rendered by": f"{self.device}, {self.dtype}, {self.backend}",
            "streams": self.streams,
            "warnings": self.warnings,
        }
        return table_html(rows) + result_html(Path(self.output), self.frames)


def run(
    prepared: PreparedJob, progress: ProgressTracker | None = None, notice: Callable[[str], None] | None = None
) -> Report:
    """Renders a prepared job. The target is replaced atomically at the end; if this raises, it is unchanged.

    Finished segments stay on the disk, and the same job resumes after them. `progress` is the tracker that `prepare`
    was given. `notice` receives messages about joining
    large results and about partial results. Raises RenderError.
    """
    plan, engine, progress = prepared.plan, prepared.engine, progress or ProgressTracker()
    began, written_before = time.perf_counter(), _weight_writes(prepared)
    retried_before = [len(each.fp32_frames) for each in prepared.engines]
    autotune(engine, plan)  # another job may have used the engine since
    try:
        with prepared.workspace as workspace:
            missing = finish_render(prepared, workspace, progress, notice)
    except OutputError as error:
        if not plan.job.output.parent.is_dir():
            raise OutputError(
                f"{plan.job.output.parent}: this folder was deleted, with all finished segments"
            ) from error
        if not is_disk_full(error):
            raise
        finished, total = prepared.workspace.num_finished_frames, len(plan.selection.indices)
        estimate = prepared.output.estimated_bytes
        raise disk_full_error(plan.job.output, prepared.workspace.folder, finished, total, estimate) from error
    seconds, rendered = time.perf_counter() - began, sum(len(segment.numbers) for segment in missing)
    remember_run(prepared, progress, rendered)
    warnings = list(prepared.warnings)
    before = zip(prepared.engines, retried_before, strict=True)
    if retried := sorted(index for each, count in before for index in each.fp32_frames[count:]):
        warnings.append(f"{len(retried)} frames overflowed in {engine.dtype} and were rendered in fp32: {retried[:5]}")
    constant = plan.selection.constant_rate
    return Report(
        input=str(plan.job.input),
        output=str(plan.job.output),
        frames=plan.num_frames,
        resumed=len(plan.selection.indices) - rendered,
        seconds=round(seconds, 3),
        fps=round(rendered / seconds, 3),
        device=prepared.devices,
        dtype=engine.dtype,
        backend=engine.backend,
        workers=engine.workers,
        tile=engine.tile,
        weight_writes=_weight_writes(prepared) - written_before,
        streams=tuple(str(stream) for stream in plan.streams),
        warnings=(*warnings, *plan.source.concealment_warnings()),
        phases={phase: round(taken, 3) for phase, taken in progress.seconds.items()},
        repeated=constant.repeated if constant else 0,
        dropped=constant.dropped if constant else 0,
    )


def _weight_writes(prepared: PreparedJob) -> int:
    return sum(engine.weight_writes for engine in prepared.engines)


def render(
    input: str | Path,
    output: str | Path | None = None,
    *,
    preset: str | Path | Preset = DEFAULT_PRESET,
    keyframes: Keyframes | None = None,
    easing: str | Callable[[float], float] | None = None,
    progress: Listener | None = None,
    cancel: Cancel | None = None,
    **options: Any,
) -> Report:
    """Renders `input` to `output` (default `<stem>.<preset>.mp4` in the current folder) and returns a report.

    `preset` is a name, a YAML file or a Preset. `keyframes` is a text, a Timeline, a dict of values by position, or
    tuples (position, value[, easing]); `easing`, of keys that have none, is a name or a function from 0..1 to 0..1.
    `options` are those of the command line, by the same names with underscores: `crf=16`, `width=640`,
    `segment_frames=48`, `audio=False`; `jobs/options.py` and `preset.py` list them.

    `progress` is called with a `Progress` when a phase begins and after every written frame; an exception of it stops
    the render. `cancel` is a threading.Event that is set, or a function that returns True, to stop it: both are looked
    at between phases and after every frame, until segments are joined. A render that stops, for whatever reason, leaves
    the target as it was and finished segments beside it; the same call resumes.

    Cancelled: by `cancel`. UsageError, MediaError, ModelError, OutputError, all of them RenderError: the type says who
    can fix the problem.
    """
    return run_job(make_job(input, output, preset, keyframes=keyframes, easing=easing, **options), progress, cancel)


def run_job(job: Job, progress: Listener | None = None, cancel: Cancel | None = None) -> Report:
    """Renders a job, as `render` does."""
    if progress is not None and not callable(progress):
        raise UsageError(f"progress: expected a function, got {progress!r}")
    is_cancelled = as_function(cancel)

    def listen(now: Progress) -> None:
        if progress is not None:
            progress(now)
        if is_cancelled():
            raise Cancelled(f"{job.output}: cancelled")

    tracker = ProgressTracker(listen)
    prepared = prepare(make_plan(job), progress=tracker)
    try:
        return run(prepared, tracker)
    except Cancelled as error:
        total = len(prepared.plan.selection.indices)
        kept = prepared.workspace.num_finished_frames
        more = f"; {kept} of {total} frames are finished, and the same call resumes" if kept else ""
        raise Cancelled(f"{error}{more}") from error


def as_function(cancel: Cancel | None) -> Callable[[], bool]:
    """Whether a render was cancelled. UsageError: neither an event nor a function."""
    if cancel is None:
        return lambda: False
    if isinstance(cancel, threading.Event):
        return cancel.is_set
    if not callable(cancel):
        raise UsageError(f"cancel: expected a threading.Event or a function that returns a bool, got {cancel!r}")
    return lambda: bool(cancel())
