"""From finished segments to the published file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from dnirender.encoding.segment_file import CorruptSegmentError, SegmentReader
from dnirender.errors import RenderError
from dnirender.files import publish
from dnirender.jobs.disk_space import size_text
from dnirender.jobs.pipeline import Progress, render_segments
from dnirender.jobs.prepare import PreparedJob, engine_settings, free_name
from dnirender.jobs.workspace import Manifest, Segment, Workspace

LARGE = 500_000_000  # bytes: joining them takes seconds


def finish_render(
    prepared: PreparedJob, workspace: Workspace, progress: Progress | None, notice: Callable[[str], None] | None
) -> Sequence[Segment]:
    """Renders what is missing, delivers and tidies up; returns the segments that were missing."""
    plan, missing = prepared.plan, list[Segment]()
    shown = workspace.partial_files()
    if plan.job.resume.restart:
        workspace.discard()
    begun = workspace.begin(engine_settings(prepared.engine), prepared.segments)
    if shown:
        workspace.note(partial=shown)
    try:
        if not all(begun.has_delivered(target) for target in plan.targets):
            finished = _reusable_segments(prepared, workspace, begun)
            missing = [segment for segment in begun.segments if segment not in finished]
            render_segments(prepared, missing, progress)
            if notice and (size := sum(part.stat().st_size for part in workspace.folder.glob("*.part"))) > LARGE:
                notice(f"{plan.job.output}: joining {size_text(size)}")
            _deliver(prepared, workspace, begun.segments)
        workspace.published = True
    except BaseException:
        if plan.job.resume.keep_partial:
            _deliver_partial(prepared, begun.segments, notice or (lambda _: None))
        raise
    for file in workspace.remove_partial():
        (notice or (lambda _: None))(f"{file}: removed, {plan.job.output.name} is complete")
    workspace.cleanup()
    return missing


def _reusable_segments(prepared: PreparedJob, workspace: Workspace, begun: Manifest) -> tuple[Segment, ...]:
    """The finished segments that are as this job wants them: one that ignores no errors takes none that hide some."""
    plan = prepared.plan
    if plan.job.decode.ignore_errors:
        plan.source.concealed_frames.update(begun.concealed_frames)
    elif begun.concealed_frames:
        indices, mended = plan.selection.indices, set(begun.concealed_frames)
        workspace.drop(s for s in begun.segments if not mended.isdisjoint(indices[s.start : s.stop]))
        workspace.note(concealed_frames=())
    return workspace.finished()


def _deliver_partial(prepared: PreparedJob, segments: Sequence[Segment], notice: Callable[[str], None]) -> None:
    """Publishes the frames up to the first that is missing as STEM.partial.EXT; the parts stay for the next run."""
    plan, workspace = prepared.plan, prepared.workspace
    finished = workspace.finished()
    whole = list(itertools.takewhile(lambda segment: segment in finished, segments))
    count = whole[-1].stop if whole else 0
    if not 0 < count < len(plan.selection.indices) or plan.job.encode.boomerang:
        return
    try:
        target = free_name(prepared)
        short = replace(plan, job=replace(plan.job, output=target), selection=plan.first(count))
        with SegmentReader([workspace.folder / segment.name for segment in whole]) as parts:
            files = replace(prepared, plan=short, partial=True).sink().finalize(parts, workspace.folder)
        workspace.record_partial(files)
        for file, place in files:
            publish(file, place)
        notice(f"{target}: the first {count} frames")
    except RenderError as error:  # the reason why the render stopped is the one to tell
        notice(f"warning: nothing was published of what is done ({error})")
    finally:
        _drop_joined(workspace)


def _drop_joined(workspace: Workspace) -> None:
    """Gives back the room of what was not published."""
    for file in workspace.folder.glob("joined.*"):
        file.unlink(missing_ok=True)


def _deliver(prepared: PreparedJob, workspace: Workspace, segments: Sequence[Segment]) -> None:
    """Makes the output of the finished parts and gives it its name."""
    try:
        with SegmentReader([workspace.folder / segment.name for segment in segments]) as parts:
            files = prepared.sink().finalize(parts, workspace.folder)
    except BaseException as error:
        _drop_joined(workspace)
        if isinstance(error, CorruptSegmentError):
            error.path.unlink(missing_ok=True)
        raise
    workspace.record_outputs(files)
    for file, target in files:
        publish(file, target)
