"""`dnirender INPUT...`"""

from __future__ import annotations

import json
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
    Quiet,
    Verbose,
    build_job,
    to_flags,
    with_options,
)
from dnirender.cli.output import Console, ProgressBar, format_table, print_error
from dnirender.cli.signals import InterruptedRender, command_line
from dnirender.errors import ModelError, OutputError, PresetError, RenderError, UsageError
from dnirender.jobs.options import JOB_OPTIONS, check_options
from dnirender.preset import PRESET_OPTIONS
from dnirender.version import __version__

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine
    from dnirender.jobs.job import Job
    from dnirender.jobs.plan import Plan
    from dnirender.jobs.prepare import PreparedJob


INTERRUPTED = "interrupted; the output was not written"
UNFINISHED = "stopped before a segment was finished; the same command goes on with what earlier runs have finished"


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
            help="mp4 mov mkv webm gif webp apng or a %04d.png pattern; a folder for several inputs.  "
            "[default: STEM.PRESET.mp4 here]",
            rich_help_panel="output",
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Panels side by side above a plot of alpha.  [default panels: source,render]",
            rich_help_panel="comparison",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, print the plan, render nothing.", rich_help_panel="safety"),
    ] = False,
    as_json: AsJson = False,
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="No progress bar.", rich_help_panel="messages")
    ] = False,
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
    check_options(chosen, options)  # before the inputs are opened
    say = Console(quiet or as_json, verbose)
    pairs = list(zip(inputs, _outputs(inputs, output, name), strict=True))

    loaded: list[Engine] = []

    def one(source: Path, target: Path) -> None:
        try:
            render_one(source, target)
        except KeyboardInterrupt as stop:
            raise InterruptedRender(UNFINISHED, getattr(stop, "exit_code", 130)) from stop

    def render_one(source: Path, target: Path) -> None:
        job = build_job(source, target, chosen, options)
        plan = _make_plan(job, skip_rendered=len(pairs) > 1 and target.exists() and not options.get("restart"))
        if plan is None:
            say.line(f"{target}: is there already, as this very command makes it")
            return
        prepared = _prepared(plan, loaded)
        _render_one(prepared, say, dry_run, as_json, not (no_progress or quiet), context.obj or [])

    _each(pairs, one, say)


def _make_plan(job: Job, skip_rendered: bool) -> Plan | None:
    """The plan of a job; with `skip_rendered`, None if its output is already what this job would render."""
    from dnirender.jobs.plan import make_plan
    from dnirender.jobs.prepare import plan_unless_rendered

    return plan_unless_rendered(job) if skip_rendered else make_plan(job)


def _prepared(plan: Plan, loaded: list[Engine]) -> PreparedJob:
    """A job that is ready to run; the engine of the first one, kept in `loaded`, is used for all of them."""
    from dnirender.jobs.prepare import prepare

    prepared = prepare(plan, loaded[0] if loaded else None)
    loaded[:] = [prepared.engine]
    return prepared


def _render_one(
    prepared: PreparedJob, say: Console, dry_run: bool, as_json: bool, bar: bool, words: Sequence[str]
) -> None:
    from dnirender.jobs.render import run

    for warning in prepared.warnings:
        say.warn(warning)
    say.detail(prepared.engine.decision)
    for stream in prepared.plan.streams:
        say.detail(str(stream))
    if dry_run:
        metadata = _plan_summary(prepared)
        shown = {key: value for key, value in metadata.items() if key != "warnings" and value not in ("", [])}
        typer.echo(json.dumps(metadata) if as_json else format_table(shown))
        return
    if done := prepared.resumed:
        say.line(
            f"{prepared.plan.job.output}: {done} of {len(prepared.plan.selection.indices)} frames are there already"
        )
    try:
        with ProgressBar(prepared.plan, bar) as progress:
            report = run(prepared, progress, lambda text: say.line(to_flags(text)))
    except RenderError:
        if (kept := prepared.workspace.num_finished_frames) and not prepared.workspace.published:
            total = len(prepared.plan.selection.indices)
            say.line(f"{kept} of {total} frames are kept for the next run, without --restart")
        raise
    except KeyboardInterrupt as stop:
        raise InterruptedRender(_how_to_go_on(prepared, words), getattr(stop, "exit_code", 130)) from stop
    for warning in report.warnings[len(prepared.warnings) :]:
        say.warn(warning)
    if as_json:
        typer.echo(json.dumps(asdict(report) | {"warnings": [to_flags(warning) for warning in report.warnings]}))
    say.done(report)


def _how_to_go_on(prepared: PreparedJob, words: Sequence[str]) -> str:
    count, total = prepared.workspace.num_finished_frames, len(prepared.plan.selection.indices)
    if prepared.workspace.published:
        return f"stopped while tidying up; {prepared.plan.job.output} is complete"
    if not count:
        return UNFINISHED
    again = command_line([word for word in words if word != "--restart"])
    return f"stopped; {count} of {total} frames are kept; to go on: {again}"


def _each(pairs: list[tuple[Path, Path]], one: Callable[[Path, Path], None], say: Console) -> None:
    """Runs `one` for each pair; of several, one that does not suit does not keep the others from their turn."""
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


def _outputs(inputs: list[Path], output: Path | None, name: str) -> list[Path]:
    from dnirender.jobs.job import default_output

    try:
        folder = output is not None and output.is_dir()
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})") from error
    if len(inputs) == 1 and output is not None and not folder:
        return [output]
    if output is not None and not folder:
        if output.exists() or output.suffix:
            raise UsageError(f"-o {output}: there are {len(inputs)} inputs; name a folder")
        try:
            output.mkdir()
        except OSError as error:
            raise OutputError(f"{output}: this folder cannot be made ({error.strerror})") from error
    targets = [(output or Path()) / default_output(source, name) for source in inputs]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice is not None:
        raise UsageError(f"two inputs would both be written to {twice}; render them one by one with -o")
    return targets


def _plan_summary(prepared: PreparedJob) -> dict[str, Any]:
    from dnirender.jobs.prepare import estimate_seconds

    plan = prepared.plan
    output = prepared.output
    return {
        "input": str(plan.job.input),
        "output": str(plan.job.output),
        "frames": plan.num_frames,
        "distinct_alphas": plan.distinct_alphas,
        "weight_writes": plan.weight_writes,
        "size": f"{output.size[0]}x{output.size[1]}",
        "codec": output.codec,
        "pix_fmt": output.spec.pix_fmt if output.spec else "",
        "device": str(prepared.engine.device),
        "dtype": prepared.engine.dtype,
        "backend": prepared.engine.backend,
        "streams": [str(stream) for stream in plan.streams],
        "warnings": [to_flags(warning) for warning in prepared.warnings],
        "estimated_seconds": round(estimate_seconds(prepared), 1),
    }
