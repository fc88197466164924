"""From finished segments to the published file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from dnirender.encoding.segment_file import DamagedPart, Parts
from dnirender.errors import RenderError
from dnirender.files import publish
from dnirender.jobs.disk_space import size_text
from dnirender.jobs.pipeline import Progress, render_segments
from dnirender.jobs.prepare import Ready, free_name, settings
from dnirender.jobs.workspace import Manifest, Segment, Work

LARGE = 500_000_000  # bytes: joining them takes seconds


def finish(
    ready: Ready, work: Work, progress: Progress | None, notice: Callable[[str], None] | None
) -> Sequence[Segment]:
    """Renders what is missing, delivers and tidies up; returns the segments that were missing."""
    plan, missing = ready.plan, list[Segment]()
    if plan.job.restart:
        work.forget()
    begun = work.begin(settings(ready.engine), ready.segments)
    try:
        if not all(begun.has_delivered(target) for target in plan.targets):
            finished = _sound(ready, work, begun)
            missing = [segment for segment in begun.segments if segment not in finished]
            render_segments(ready, missing, progress)
            if notice and (size := sum(part.stat().st_size for part in work.folder.glob("*.part"))) > LARGE:
                notice(f"{plan.job.output}: joining {size_text(size)}")
            _deliver(ready, work, begun.segments)
        work.published = True
    except BaseException:
        if plan.job.keep_partial:
            _deliver_partial(ready, begun.segments, notice or (lambda _: None))
        raise
    work.tidy()
    return missing


def _sound(ready: Ready, work: Work, begun: Manifest) -> tuple[Segment, ...]:
    """The finished segments that are as this job wants them: one that ignores no errors takes none that hide some."""
    plan = ready.plan
    if plan.job.ignore_errors:
        plan.source.repaired.update(begun.repaired)
    elif begun.repaired:
        indices, mended = plan.selection.indices, set(begun.repaired)
        work.drop(s for s in begun.segments if not mended.isdisjoint(indices[s.start : s.stop]))
        work.note(repaired=())
    return work.finished()


def _deliver_partial(ready: Ready, segments: Sequence[Segment], notice: Callable[[str], None]) -> None:
    """Publishes the frames up to the first that is missing as STEM.partial.EXT; the parts stay for the next run."""
    plan, work = ready.plan, ready.work
    finished = work.finished()
    whole = list(itertools.takewhile(lambda segment: segment in finished, segments))
    count = whole[-1].stop if whole else 0
    if not 0 < count < len(plan.selection.indices) or plan.job.boomerang:
        return
    try:
        target = free_name(ready)
        short = replace(plan, job=replace(plan.job, output=target), selection=plan.first(count))
        with Parts([work.folder / segment.name for segment in whole]) as parts:
            for file, place in replace(ready, plan=short, partial=True).sink().deliver(parts, work.folder):
                publish(file, place)
        notice(f"{target}: the first {count} frames")
    except RenderError as error:  # the reason why the render stopped is the one to tell
        notice(f"warning: nothing was published of what is done ({error})")
    finally:
        _drop_joined(work)


def _drop_joined(work: Work) -> None:
    """Gives back the room of what was not published."""
    for file in work.folder.glob("joined.*"):
        file.unlink(missing_ok=True)


def _deliver(ready: Ready, work: Work, segments: Sequence[Segment]) -> None:
    """Makes the output of the finished parts and gives it its name."""
    try:
        with Parts([work.folder / segment.name for segment in segments]) as parts:
            files = ready.sink().deliver(parts, work.folder)
    except BaseException as error:
        _drop_joined(work)
        if isinstance(error, DamagedPart):
            error.path.unlink(missing_ok=True)
        raise
    work.delivering(files)
    for file, target in files:
        publish(file, target)
