"""Renders from file to file: the functions that the command line and Python users call."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dnirender.errors import OutputError
from dnirender.jobs.disk_space import disk_full_error, is_disk_full
from dnirender.jobs.finish import finish_render
from dnirender.jobs.job import Job
from dnirender.jobs.pipeline import Progress
from dnirender.jobs.plan import default_output, make_plan
from dnirender.jobs.prepare import PreparedJob, autotune, prepare
from dnirender.preset import DEFAULT_PRESET, Preset


@dataclass(frozen=True)
class Report:
    """What a render did. `lanes` pictures were rendered side by side on the CPU, in tiles of this height and width
    where there is one. `resumed` pictures had been rendered by earlier runs. `seconds` is wall time from the first
    frame to the published file, without the loading of the networks; `fps` is pictures rendered per second of it."""

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


def run(prepared: PreparedJob, progress: Progress | None = None, notice: Callable[[str], None] | None = None) -> Report:
    """Renders. The target's name holds the whole result when this returns, and is untouched when it raises; segments
    that were finished by then are kept, and the same job goes on behind them.

    `notice` is told when much is joined, and what was published of a render that did not come to its end.
    """
    plan, engine = prepared.plan, prepared.engine
    began, written_before, retried_before = time.perf_counter(), engine.weight_writes, len(engine.fp32_frames)
    autotune(engine, plan)  # another job may have used the engine since
    try:
        with prepared.workspace as workspace:
            missing = finish_render(prepared, workspace, progress, notice)
    except OutputError as error:
        if not plan.job.output.parent.is_dir():
            raise OutputError(f"{plan.job.output.parent}: this folder is gone, and all that was rendered") from error
        if not is_disk_full(error):
            raise
        done, total = prepared.workspace.num_finished_frames, len(plan.selection.indices)
        raise disk_full_error(plan.job.output, prepared.workspace.folder, done, total, prepared.space) from error
    seconds, rendered = time.perf_counter() - began, sum(len(segment.numbers) for segment in missing)
    warnings = list(prepared.warnings)
    if retried := engine.fp32_frames[retried_before:]:
        warnings.append(f"{len(retried)} frames overflowed in {engine.dtype} and were rendered in fp32: {retried[:5]}")
    return Report(
        input=str(plan.job.input),
        output=str(plan.job.output),
        frames=plan.num_frames,
        resumed=len(plan.selection.indices) - rendered,
        seconds=round(seconds, 3),
        fps=round(rendered / seconds, 3),
        device=str(engine.device),
        dtype=engine.dtype,
        backend=engine.backend,
        workers=engine.workers,
        tile=engine.tile,
        weight_writes=engine.weight_writes - written_before,
        streams=tuple(str(stream) for stream in plan.streams),
        warnings=(*warnings, *plan.source.concealment_warnings()),
    )


def render(
    input: str | Path,
    output: str | Path | None = None,
    *,
    preset: str | Path | Preset = DEFAULT_PRESET,
    keyframes: str | None = None,
    start: str | int | None = None,
    end: str | int | None = None,
    video_stream: int | None = None,
    deinterlace: str = "auto",
    hdr: str = "auto",
    fps: float | Fraction | None = None,
    boomerang: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    backend: str = "auto",
    batch: int | None = None,
    threads: int | None = None,
    tile: int | None = None,
    segment: int | None = None,
    restart: bool = False,
    keep_partial: bool = False,
    strict: bool = False,
    overwrite: bool = False,
    ignore_errors: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Renders `input` to `output` (default `<stem>.<preset>.mp4` in the current folder) and reports.

    The options are those of the command line. Raises RenderError; the type says who can mend it.
    """
    chosen = preset if isinstance(preset, Preset) else Preset.load(preset)
    if keyframes is not None:
        chosen = chosen.override({"timeline": {"keyframes": keyframes}})
    name = Path(preset).stem if isinstance(preset, str | Path) else re.sub(r"[^\w.-]+", "-", chosen.name).lower()
    job = Job(
        input=Path(input),
        output=Path(output) if output is not None else default_output(Path(input), name),
        preset=chosen,
        start=None if start is None else str(start),
        end=None if end is None else str(end),
        video_stream=video_stream,
        deinterlace=deinterlace,
        hdr=hdr,
        fps=None if fps is None else Fraction(fps).limit_denominator(1001),
        boomerang=boomerang,
        device=device,
        dtype=dtype,
        backend=backend,
        batch=batch,
        threads=threads,
        tile=tile,
        segment=segment,
        restart=restart,
        keep_partial=keep_partial,
        strict=strict,
        overwrite=overwrite,
        ignore_errors=ignore_errors,
    )
    return run(prepare(make_plan(job)), progress)
