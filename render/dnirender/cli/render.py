"""`dnirender INPUT...`"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnirender.cli.app import app
from dnirender.cli.options import (
    AsJson,
    ChosenPreset,
    GroupedCommand,
    Inputs,
    NoProgress,
    Quiet,
    Verbose,
    build_job,
    to_flags,
    with_options,
)
from dnirender.cli.output import Console, ProgressBar, format_table, print_error
from dnirender.cli.signals import InterruptedRender, Invocation, command_line
from dnirender.cli.start import load_ahead
from dnirender.errors import MediaError, ModelError, OutputError, PresetError, RenderError, UsageError
from dnirender.jobs.options import JOB_OPTIONS, check_options, default_output
from dnirender.preset import PRESET_OPTIONS
from dnirender.progress import ProgressTracker
from dnirender.version import __version__

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine
    from dnirender.jobs.job import Job
    from dnirender.jobs.plan import Plan
    from dnirender.jobs.prepare import PreparedJob
    from dnirender.jobs.render import Report


INTERRUPTED = "interrupted; the output was not written"
CHECK_STOPPED = "stopped; a dry run writes nothing"
NOT_MEASURED = "not measured yet; `dnirender bench` measures"
UNFINISHED = "stopped before the next segment was finished; the same command resumes after the last finished one"


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dnirender {__version__}")
        raise typer.Exit


@app.command(name="render", hidden=True, cls=GroupedCommand)
@with_options([*PRESET_OPTIONS, *JOB_OPTIONS])
def render_command(
    context: typer.Context,
    inputs: Inputs,
    preset: ChosenPreset,
    options: dict[str, Any],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="A file: mp4, mov, mkv, webm, gif, webp, apng; png, jpg or webp for one frame, or a pattern such as "
            "%04d.png; or a folder.  [default: STEM.PRESET.mp4 here, or a picture of a photograph under one value]",
            rich_help_panel="output",
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Show panels side by side above a plot of alpha.  [default panels: source,render]",
            rich_help_panel="comparison",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, print the plan, render nothing.", rich_help_panel="safety"),
    ] = False,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Draw the timeline's keys and half-ways small, as STEM.preview.png, and render nothing.",
            rich_help_panel="comparison",
        ),
    ] = False,
    as_json: AsJson = False,
    no_progress: NoProgress = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    version: Annotated[  # noqa: ARG001 - the callback answers
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version.", rich_help_panel="messages"
        ),
    ] = False,
) -> None:
    """Render INPUT through networks whose weights are mixed along a timeline of keyframes.

    \b
    dnirender clip.mp4                                   day to night over the whole clip
    dnirender clip.mp4 -p painters -k "0:photo,end:starry_night" -o painted.mp4
    dnirender clip.mp4 -m sharp=a.pth -m soft=b.pth -k 0:0,120:1
    """
    name, chosen = preset
    if compare and "panels" not in options and len(chosen.layout.panels) < 2:
        options["panels"] = ("source", "render")
    if compare and len(options.get("panels", chosen.layout.panels)) < 2:
        raise UsageError(f"--panels {','.join(options['panels'])}: a comparison needs two panels or more")
    is_constant = check_options(chosen, options).timeline.is_constant  # before any input is opened
    say = Console(quiet or as_json, verbose)
    pairs = list(zip(inputs, _outputs(inputs, output, name, is_constant), strict=True))
    if all(source.is_file() for source in inputs):
        load_ahead()

    loaded: list[Engine] = []
    invocation = context.obj or Invocation([], time.perf_counter())
    starts = itertools.chain([invocation.began], itertools.repeat(None))

    def one(source: Path, target: Path) -> None:
        try:
            render_one(source, target)
        except KeyboardInterrupt as stop:
            message = CHECK_STOPPED if dry_run else UNFINISHED
            raise InterruptedRender(message, getattr(stop, "exit_code", 130)) from stop

    def render_one(source: Path, target: Path) -> None:
        with ProgressBar(target.name, not (no_progress or quiet), chosen.endpoints) as listener:
            progress = ProgressTracker(listener, next(starts))
            job = build_job(source, target, chosen, options)
            if preview:
                _preview(job, progress, say)
                return
            plan = _make_plan(job, skip_rendered=len(pairs) > 1 and target.exists() and not options.get("restart"))
            if plan is None:
                say.line(f"{target}: already rendered by this command")
                return
            prepared = _prepared(plan, loaded, progress, measure=not dry_run)
            _tell_plan(prepared, say)
            report = None if dry_run else _render(prepared, progress, say, invocation.words)
        if report is None:
            _show_plan(prepared, sum(progress.seconds.values()), as_json)
            return
        for warning in report.warnings[len(prepared.warnings) :]:
            say.warn(warning)
        if as_json:
            typer.echo(json.dumps(asdict(report) | {"warnings": [to_flags(warning) for warning in report.warnings]}))
        say.done(report)

    _each(pairs, one, say)


def _preview(job: Job, progress: ProgressTracker, say: Console) -> None:
    from dnirender.jobs.preview import make_preview

    made = make_preview(job, progress)
    say.detail(made.decision)
    say.line(f"{made.path}: preview")


def _make_plan(job: Job, skip_rendered: bool) -> Plan | None:
    """The plan of a job; with `skip_rendered`, None if its output is already what this job would render."""
    from dnirender.jobs.plan import make_plan
    from dnirender.jobs.prepare import plan_unless_rendered

    return plan_unless_rendered(job) if skip_rendered else make_plan(job)


def _prepared(plan: Plan, loaded: list[Engine], progress: ProgressTracker, *, measure: bool) -> PreparedJob:
    """A job that is ready to run; the engine of the first one, kept in `loaded`, is used for all of them,
    unless its weights depend on the clip."""
    from dnirender.jobs.prepare import prepare

    reused = loaded[0] if loaded and plan.job.preset.network.bn == "deployed" else None
    prepared = prepare(plan, reused, progress, measure=measure)
    loaded[:] = [prepared.engine]
    return prepared


def _tell_plan(prepared: PreparedJob, say: Console) -> None:
    for warning in prepared.warnings:
        say.warn(warning)
    for note in prepared.engine.network.notes:
        say.line(to_flags(note))
    for origin in prepared.plan.keyframes_from:
        say.line(f"keyframes from {origin}; --dry-run prints them")
    if paced := prepared.plan.paced_keyframes:
        say.line("keyframes at an even pace were measured; --dry-run prints them")
        say.detail(paced)
    say.detail(prepared.engine.decision)
    for stream in prepared.plan.streams:
        say.detail(str(stream))


def _show_plan(prepared: PreparedJob, elapsed: float, as_json: bool) -> None:
    metadata = _plan_summary(prepared, elapsed)
    shown = {key: value for key, value in metadata.items() if key != "warnings" and value not in ("", [])}
    if shown["estimated_seconds"] is None:
        shown["estimated_seconds"] = NOT_MEASURED
    typer.echo(json.dumps(metadata) if as_json else format_table(shown))


def _render(prepared: PreparedJob, progress: ProgressTracker, say: Console, words: Sequence[str]) -> Report:
    from dnirender.jobs.render import run

    if done := prepared.resumed:
        say.line(
            f"{prepared.plan.job.output}: {done} of {len(prepared.plan.selection.indices)} frames are already finished"
        )
    try:
        return run(prepared, progress, lambda text: say.line(to_flags(text)))
    except RenderError:
        if (kept := prepared.workspace.num_finished_frames) and not prepared.workspace.published:
            total = len(prepared.plan.selection.indices)
            say.line(f"{kept} of {total} frames are finished; the same command without --restart resumes")
        raise
    except KeyboardInterrupt as stop:
        raise InterruptedRender(_how_to_go_on(prepared, words), getattr(stop, "exit_code", 130)) from stop


def _how_to_go_on(prepared: PreparedJob, words: Sequence[str]) -> str:
    count, total = prepared.workspace.num_finished_frames, len(prepared.plan.selection.indices)
    if prepared.workspace.published:
        return f"stopped while cleaning up; {prepared.plan.job.output} is complete"
    if not count:
        return UNFINISHED
    again = command_line([word for word in words if word != "--restart"])
    return f"stopped; {count} of {total} frames are finished; to resume: {again}"


def _each(pairs: list[tuple[Path, Path]], one: Callable[[Path, Path], None], say: Console) -> None:
    """Calls `one` for each pair; of several pairs, an error in one does not stop the others."""
    failed: RenderError | None = None
    for source, target in pairs:
        try:
            one(source, target)
        except RenderError as error:
            if len(pairs) == 1 or isinstance(error, ModelError | PresetError | InterruptedRender):
                raise
            named = str(source) in str(error) or str(target) in str(error)
            message = to_flags(str(error) if named else f"{source}: {error}")
            print_error(message, error.exit_code, getattr(error, "__notes__", ()))
            failed = failed or error
    if failed is not None:
        say.line("some inputs failed")
        raise typer.Exit(failed.exit_code)


def _check_inputs(inputs: list[Path]) -> None:
    """Raises MediaError if one of several inputs is missing: a long render before it would be in vain."""
    for number, source in enumerate(inputs if len(inputs) > 1 else ()):
        if not os.path.exists(source):  # noqa: PTH110 - False for a name that is too long
            hint = f"; an output is named with -o {source}" if number == len(inputs) - 1 else ""
            raise MediaError(f"{source}: no such file{hint}")


def _outputs(inputs: list[Path], output: Path | None, name: str, is_constant: bool) -> list[Path]:
    try:
        folder = output is not None and output.is_dir()
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})") from error
    if output is not None and not folder:
        is_file = output.exists() or output.suffix or "%" in output.name
        if is_file and len(inputs) == 1:
            return [output]
        if is_file:
            raise UsageError(f"-o {output}: expected a folder for {len(inputs)} inputs")
    _check_inputs(inputs)
    if output is not None and not folder:
        try:
            output.mkdir()
        except OSError as error:
            raise OutputError(f"{output}: this folder cannot be created ({error.strerror})") from error
    targets = [(output or Path()) / default_output(source, name, is_constant) for source in inputs]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice is not None:
        raise UsageError(f"two inputs have the same output {twice}; render them separately with -o")
    return targets


def _plan_summary(prepared: PreparedJob, elapsed: float) -> dict[str, Any]:
    from dnirender.jobs.estimate import estimate_seconds

    plan, estimate = prepared.plan, estimate_seconds(prepared, elapsed)
    output = prepared.output
    return {
        "input": str(plan.job.input),
        "output": str(plan.job.output),
        "keyframes": plan.paced_keyframes or (plan.job.preset.timeline.keyframes if plan.keyframes_from else ""),
        "frames": plan.num_frames,
        "distinct_alphas": plan.distinct_alphas,
        "weight_writes": plan.weight_writes,
        "size": f"{output.size[0]}x{output.size[1]}",
        "codec": output.codec,
        "pix_fmt": output.spec.pix_fmt if output.spec else "",
        "device": prepared.devices,
        "dtype": prepared.engine.dtype,
        "backend": prepared.engine.backend,
        "streams": [str(stream) for stream in plan.streams],
        "warnings": [to_flags(warning) for warning in prepared.warnings],
        "estimated_seconds": None if estimate is None else round(estimate, 1),
    }
