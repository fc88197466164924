"""Renders the missing segments, joins all of them and publishes the result."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from dnirender.encoding.output import open_output, remove_unpublished
from dnirender.errors import RenderError
from dnirender.files import publish
from dnirender.jobs.disk_space import size_text
from dnirender.jobs.pipeline import render_segments
from dnirender.jobs.prepare import PreparedJob, output_request, partial_path, resume_settings
from dnirender.jobs.workspace import Manifest, Segment, Workspace
from dnirender.progress import ProgressTracker

LARGE = 500_000_000  # bytes that take seconds to join


def finish_render(
    prepared: PreparedJob, workspace: Workspace, progress: ProgressTracker, notice: Callable[[str], None] | None
) -> Sequence[Segment]:
    """Renders the missing segments, publishes the result and cleans up; returns the segments that were missing."""
    plan, missing = prepared.plan, list[Segment]()
    shown = workspace.partial_files()
    if plan.job.resume.restart:
        workspace.discard()
    manifest = workspace.begin(resume_settings(prepared), prepared.segments, plan.paced_keyframes)
    if shown:
        workspace.update(partial=shown)
    try:
        if not all(manifest.has_delivered(target) for target in plan.targets):
            finished = _reusable_segments(prepared, workspace, manifest)
            missing = [segment for segment in manifest.segments if segment not in finished]
            render_segments(prepared, missing, progress)
            if notice and (size := sum(file.stat().st_size for file in workspace.folder.glob("*.part"))) > LARGE:
                notice(f"{plan.job.output}: joining {size_text(size)}")
            progress.enter("joining", len(plan.selection.indices), len(plan.selection.indices))
            _publish(prepared, workspace, manifest.segments)
        workspace.published = True
    except BaseException:
        if plan.job.resume.keep_partial:
            _publish_partial(prepared, manifest.segments, notice or (lambda _: None))
        raise
    for file in workspace.remove_partial():
        if notice:
            notice(f"{file}: removed, {plan.job.output.name} is complete")
    workspace.cleanup()
    return missing


def _reusable_segments(prepared: PreparedJob, workspace: Workspace, manifest: Manifest) -> tuple[Segment, ...]:
    """The finished segments that this job may use: without `ignore_errors`, those without concealed frames."""
    plan = prepared.plan
    if plan.job.decode.ignore_errors:
        plan.source.concealed_frames.update(manifest.concealed_frames)
    elif manifest.concealed_frames:
        indices, concealed = plan.selection.indices, set(manifest.concealed_frames)
        workspace.drop(s for s in manifest.segments if not concealed.isdisjoint(indices[s.start : s.stop]))
        workspace.update(concealed_frames=())
    return workspace.finished()


def _publish(prepared: PreparedJob, workspace: Workspace, segments: Sequence[Segment]) -> None:
    """Joins the segments and renames the result to its target."""
    files = prepared.output.finalize([workspace.folder / segment.name for segment in segments], workspace.folder)
    workspace.record_outputs(files)
    for file, target in files:
        publish(file, target)


def _publish_partial(prepared: PreparedJob, segments: Sequence[Segment], notice: Callable[[str], None]) -> None:
    """Publishes the frames before the first missing one as STEM.partial.EXT; the segments stay for the next run."""
    plan, folder, finished = prepared.plan, prepared.workspace.folder, prepared.workspace.finished()
    leading = list(itertools.takewhile(lambda segment: segment in finished, segments))
    count = leading[-1].stop if leading else 0
    if not 0 < count < len(plan.selection.indices) or plan.job.encode.boomerang:
        return
    try:
        target = partial_path(prepared)
        short = replace(plan, job=replace(plan.job, output=target), selection=plan.first(count))
        output = open_output(output_request(short, prepared.engine.network.scale, job_hash=""))
        files = output.finalize([folder / segment.name for segment in leading], folder)
        prepared.workspace.record_partial(files)
        for file, place in files:
            publish(file, place)
        notice(f"{target}: the first {count} frames")
    except RenderError as error:  # the caller raises the error that stopped the render
        notice(f"warning: the finished frames were not published ({error})")
    finally:
        remove_unpublished(folder)
