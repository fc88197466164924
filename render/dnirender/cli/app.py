"""The command line: reads options, calls the functions that a Python user calls, and says what happened.

Torch and OpenCV are imported inside the commands, so that help and argument errors answer at once.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dnirender.cli.default_command import DefaultCommand
from dnirender.cli.signals import Stopped, command_line, listening
from dnirender.cli.train import app as training
from dnirender.errors import ModelError, OutputError, PresetError, RenderError, UsageError
from dnirender.preset import DEFAULT_PRESET, Preset, find_preset, preset_folder, preset_names, schema
from dnirender.timeline.timeline import path_position
from dnirender.version import __version__

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine
    from dnirender.jobs.pipeline import Progress, Report
    from dnirender.jobs.plan import Job, Plan
    from dnirender.jobs.prepare import Ready
    from dnirender.timeline.timeline import Alpha

HELP_WIDTH = 100
INTERRUPTED = "interrupted; the output was not written"
UNFINISHED = "stopped before a segment was finished; the same command goes on with what earlier runs have finished"


class RenderByDefault(DefaultCommand):
    """`dnirender INPUT...` renders."""

    default = "render"
    usage = "INPUT... [OPTIONS]"


app = typer.Typer(
    cls=RenderByDefault,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["--help"], "max_content_width": HELP_WIDTH},
)

app.add_typer(training, name="train")

Inputs = Annotated[list[Path], typer.Argument(help="Videos, or still pictures to hold.", metavar="INPUT")]
Input = Annotated[Path, typer.Argument(help="A video or a picture.", metavar="INPUT")]
PresetOption = Annotated[
    str | None, typer.Option("-p", "--preset", help=f"A shipped preset or FILE.yaml.  [default: {DEFAULT_PRESET}]")
]
Models = Annotated[
    list[str] | None,
    typer.Option("-m", "--model", metavar="NAME=FILE", help="An endpoint of your own, instead of a preset's; repeat."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="Precision of the networks.")]
Backend = Annotated[Literal["auto", "torch", "openvino"], typer.Option(help="What runs the networks on a CPU.")]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="CPU threads of the networks.")]
Tile = Annotated[
    int | None,
    typer.Option(min=1, max=16384, help="Side of tiles, in source pixels.  [default: whole, tiles where memory asks]"),
]
Width = Annotated[int | None, typer.Option(help="Scale to this width before the network.")]
Height = Annotated[int | None, typer.Option(help="Scale to this height before the network.")]
Extrapolate = Annotated[bool, typer.Option("--extrapolate", help="Allow values outside 0..1.")]
VideoStream = Annotated[int | None, typer.Option(min=0, help="Which video stream, counted from 0.")]
Overwrite = Annotated[bool, typer.Option("-y", "--yes", help="Overwrite the output.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each output.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say what was chosen and why.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dnirender {__version__}")
        raise typer.Exit


@app.callback()
def top() -> None:
    """Render video transitions by deep network interpolation."""


@app.command(name="render", hidden=True)
def render_command(
    context: typer.Context,
    inputs: Inputs,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="mp4 mov mkv webm gif webp apng or a %04d.png pattern; a folder for several inputs.  "
            "[default: STEM.PRESET.mp4 here]",
        ),
    ] = None,
    overwrite: Overwrite = False,
    keyframes: Annotated[
        str | None,
        typer.Option(
            "-k", "--keyframes", help="POSITION:VALUE[@EASING],... e.g. 0:0,120:1 or 0:day,2.5s:dusk@smooth,end:night."
        ),
    ] = None,
    preset: PresetOption = None,
    model: Models = None,
    easing: Annotated[
        str | None, typer.Option(help="For keyframes that name none, e.g. smooth, easeInOutCubic.")
    ] = None,
    loop: Annotated[
        Literal["none", "repeat", "ping-pong"] | None, typer.Option(help="What alpha does after the last keyframe.")
    ] = None,
    extrapolate: Extrapolate = False,
    boomerang: Annotated[bool, typer.Option("--boomerang", help="Frames run forth and back; no sound.")] = False,
    start: Annotated[str | None, typer.Option(help="First frame rendered: 48, 2s, 0:02, 50%.")] = None,
    end: Annotated[str | None, typer.Option(help="First frame not rendered any more.")] = None,
    video_stream: VideoStream = None,
    ignore_errors: Annotated[
        bool, typer.Option("--ignore-errors", help="Render what is there of a damaged input.")
    ] = False,
    deinterlace: Annotated[
        Literal["auto", "off", "bwdif"], typer.Option(help="Whole pictures from interlaced frames.")
    ] = "auto",
    hdr: Annotated[
        Literal["auto", "keep", "tonemap"], typer.Option(help="HDR as it is (auto says so), or made SDR first.")
    ] = "auto",
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
    batch: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Frames per pass.  [default: 1 on CPU, 4 on CUDA]")
    ] = None,
    threads: Threads = None,
    tile: Tile = None,
    segment: Annotated[
        int | None, typer.Option(min=1, help="Frames that are kept at once.  [default: about 10 s of work]")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what earlier runs have finished.")] = False,
    keep_partial: Annotated[
        bool, typer.Option("--keep-partial", help="If stopped, publish what is done as STEM.partial.EXT.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse to leave out what the output cannot hold of the input.")
    ] = False,
    codec: Annotated[str | None, typer.Option(help="Encoder.  [default: libx264, webm: libvpx-vp9]")] = None,
    crf: Annotated[int | None, typer.Option(help="Quality, lower is better.  [default: 17, webm: 30]")] = None,
    pix_fmt: Annotated[str | None, typer.Option(help="Pixel format.  [default: as the source]")] = None,
    encoder_option: Annotated[
        list[str] | None, typer.Option("-e", metavar="KEY=VALUE", help="An option of the encoder; repeat.")
    ] = None,
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the sound out.")] = False,
    no_subtitles: Annotated[bool, typer.Option("--no-subtitles", help="Leave the subtitles out.")] = False,
    width: Width = None,
    height: Height = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second of GIFs and stills.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Panels side by side over a track of alpha.")] = False,
    panels: Annotated[
        str | None, typer.Option(help="source, render, crossfade, or endpoints.  [default: source,render]")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, render nothing.")
    ] = False,
    as_json: AsJson = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    version: Annotated[  # noqa: ARG001 - the callback answers
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Render INPUT through networks whose weights are mixed along a timeline of keyframes."""
    name, chosen = _preset(preset, model)
    chosen = chosen.override(
        {
            "timeline": _given(
                keyframes=keyframes and keyframes.removeprefix("="),  # -k=0:0 arrives as "=0:0"
                easing=easing,
                loop=loop,
                extrapolate=extrapolate or None,
            ),
            "layout": _given(width=width, height=height, panels=_panels(compare, panels, chosen)),
            "encoding": _given(
                codec=codec,
                crf=crf,
                pix_fmt=pix_fmt,
                options=chosen.encoding.options | _pairs(encoder_option, "-e", "KEY=VALUE") if encoder_option else None,
                audio=False if no_audio else None,
                subtitles=False if no_subtitles else None,
            ),
        }
    )
    settings: dict[str, Any] = {
        "preset": chosen,
        "start": start,
        "end": end,
        "video_stream": video_stream,
        "ignore_errors": ignore_errors,
        "deinterlace": deinterlace,
        "hdr": hdr,
        "fps": _fps(fps),
        "boomerang": boomerang,
        "device": device,
        "dtype": dtype,
        "backend": backend,
        "batch": batch,
        "threads": threads,
        "tile": tile,
        "segment": segment,
        "restart": restart,
        "keep_partial": keep_partial,
        "strict": strict,
        "overwrite": overwrite,
    }
    say = _Voice(quiet or as_json, verbose)
    pairs = list(zip(inputs, _outputs(inputs, output, name), strict=True))

    loaded: list[Engine] = []

    def one(source: Path, target: Path) -> None:
        try:
            render_one(source, target)
        except KeyboardInterrupt as stop:
            raise Stopped(UNFINISHED, getattr(stop, "exit_code", 130)) from stop

    def render_one(source: Path, target: Path) -> None:
        job = _job(source, target, settings)
        if len(pairs) > 1 and target.exists() and not restart and _is_rendered(job):
            say.line(f"{target}: is there already, as this very command makes it")
            return
        ready = _prepared(job, loaded)
        _render_one(ready, say, dry_run, as_json, not (no_progress or quiet), context.obj or [])

    _each(pairs, one, say)


def _is_rendered(job: Job) -> bool:
    from dnirender.jobs.prepare import is_rendered

    return is_rendered(job)


def _prepared(job: Job, loaded: list[Engine]) -> Ready:
    """A job that is ready to run; the networks of the first one, kept in `loaded`, serve them all."""
    from dnirender.jobs.plan import make_plan
    from dnirender.jobs.prepare import prepare

    ready = prepare(make_plan(job), loaded[0] if loaded else None)
    loaded[:] = [ready.engine]
    return ready


def _render_one(ready: Ready, say: _Voice, dry_run: bool, as_json: bool, bar: bool, words: Sequence[str]) -> None:
    from dnirender.jobs.pipeline import run

    for warning in ready.warnings:
        say.warn(warning)
    say.detail(ready.engine.choice)
    for stream in ready.plan.streams:
        say.detail(str(stream))
    if dry_run:
        facts = _plan_facts(ready)
        shown = {key: value for key, value in facts.items() if key != "warnings" and value not in ("", [])}
        typer.echo(json.dumps(facts) if as_json else _table(shown))
        return
    if done := ready.resumed:
        say.line(f"{ready.plan.job.output}: {done} of {len(ready.plan.selection.indices)} frames are there already")
    try:
        with _Bar(ready.plan, bar) as progress:
            report = run(ready, progress, say.line)
    except RenderError:
        if (kept := ready.work.kept) and not ready.work.published:
            total = len(ready.plan.selection.indices)
            say.line(f"{kept} of {total} frames are kept for the next run, without --restart")
        raise
    except KeyboardInterrupt as stop:
        raise Stopped(_how_to_go_on(ready, words), getattr(stop, "exit_code", 130)) from stop
    for warning in report.warnings[len(ready.warnings) :]:
        say.warn(warning)
    if as_json:
        typer.echo(json.dumps(asdict(report)))
    say.done(report)


def _how_to_go_on(ready: Ready, words: Sequence[str]) -> str:
    count, total = ready.work.kept, len(ready.plan.selection.indices)
    if ready.work.published:
        return f"stopped while tidying up; {ready.plan.job.output} is complete"
    if not count:
        return UNFINISHED
    again = command_line([word for word in words if word != "--restart"])
    return f"stopped; {count} of {total} frames are kept; to go on: {again}"


@app.command(name="presets")
def presets_command(
    name: Annotated[str | None, typer.Argument(help="Show this preset's file.", metavar="[NAME]")] = None,
    show_schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of presets.")] = False,
) -> None:
    """List the shipped presets, or show one."""
    if show_schema:
        typer.echo(schema(), nl=False)
    elif name is not None:
        path = find_preset(name)
        Preset.load(name)
        typer.echo(f"# {path}\n{path.read_text('utf-8')}", nl=False)
    else:
        for known in preset_names():
            shipped = Preset.load(known)
            typer.echo(f"{known:16} {shipped.about}\n{'':16} {' -> '.join(shipped.endpoints)}")
        typer.echo(f"\nThey lie in {preset_folder()}; copy one to make your own and render it with -p FILE.yaml.")


@app.command(name="info")
def info_command(source: Input, video_stream: VideoStream = None, as_json: AsJson = False) -> None:
    """Tell what INPUT is: streams, frames, time stamps, colour."""
    from dnirender.decoding.video import open_source

    facts = open_source(source, stream=video_stream, ignore_errors=True).facts  # warnings tell of damage
    data: dict[str, Any] = {
        "input": str(source),
        "format": facts.format,
        "video": f"stream #{facts.video_index}, {facts.codec}" if not facts.still else "still picture",
        "size": f"{facts.width}x{facts.height}"
        + (f", rotated by {facts.rotation} degrees" if facts.rotation else "")
        + (f", pixels {facts.sample_aspect_ratio}" if facts.sample_aspect_ratio != 1 else ""),
        "pixels": f"{facts.pix_fmt}, {facts.depth} bits" + (", with transparency" if facts.opacity else ""),
        "colour": str(facts.colour),
        "frames": len(facts.pts),
        "duration": f"{float(facts.duration):.3f} s",
        "rate": f"{'variable' if facts.variable_frame_rate else 'constant'}, {float(facts.frame_rate):.3f} frames/s",
        "time stamps": f"{facts.pts[0]} to {facts.pts[-1]} in units of {facts.time_base} s",
        "streams": [
            f"#{s.index} {s.kind} {s.codec} {s.detail}".rstrip() + (f" [{s.language}]" if s.language else "")
            for s in facts.streams
        ],
        "warnings": list(facts.warnings),
    }
    typer.echo(json.dumps(data) if as_json else _table(data))


@app.command(name="sheet")
def sheet_command(
    source: Input,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="PNG.  [default: STEM.sheet.png here]")] = None,
    overwrite: Overwrite = False,
    frames: Annotated[str, typer.Option(help="Positions in the source, separated by commas.")] = "0,25%,50%,75%,end",
    alphas: Annotated[str, typer.Option(help="Values along the path, separated by commas.")] = "0,0.25,0.5,0.75,1",
    extrapolate: Extrapolate = False,
    preset: PresetOption = None,
    model: Models = None,
    video_stream: VideoStream = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
    threads: Threads = None,
    tile: Tile = None,
    width: Width = None,
    height: Height = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw a contact sheet: frames down, alpha across."""
    from dnirender.jobs.contact_sheet import make_sheet

    name, chosen = _preset(preset, model)
    chosen = chosen.override(
        {"layout": _given(width=width, height=height), "timeline": _given(extrapolate=extrapolate or None)}
    )
    target = output or Path(f"{source.stem}.sheet.png")
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: a contact sheet is a PNG; name it .png")
    settings: dict[str, Any] = {
        "preset": chosen, "video_stream": video_stream, "device": device, "dtype": dtype, "backend": backend,
        "threads": threads, "tile": tile, "overwrite": overwrite,
    }  # fmt: skip
    say = _Voice(quiet, verbose)
    job = _job(source, target, settings)
    say.detail(make_sheet(job, frames.split(","), alphas.split(","), title=f"{source.name}   {name}"))
    say.line(f"{target}: contact sheet")


@app.command(name="bench")
def bench_command(
    source: Annotated[
        Path | None, typer.Argument(help="A video; without one a clip is made.", metavar="[INPUT]")
    ] = None,
    preset: PresetOption = None,
    model: Models = None,
    video_stream: VideoStream = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
    threads: Threads = None,
    tile: Tile = None,
    width: Width = None,
    height: Height = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast this machine renders, and what bounds it."""
    from dnirender.jobs.benchmark import bench
    from dnirender.jobs.plan import Job

    name, chosen = _preset(preset, model)
    job = Job(
        source or Path("bench.mp4"),
        Path(f"bench.{name}.mp4"),
        chosen.override({"layout": _given(width=width, height=height)}),
        video_stream=video_stream,
        device=device,
        dtype=dtype,
        backend=backend,
        threads=threads,
        tile=tile,
    )
    figures = bench(job, sample=source is None)
    if as_json:
        typer.echo(json.dumps(asdict(figures)))
        return
    typer.echo(
        _table(
            {
                "preset": f"{name}, {figures.size}",
                "speed": f"{figures.fps:.1f} frames/s, bound by {figures.bound}",
                "a frame": f"{figures.whole:.1f} ms from file to file; "
                f"networks alone {figures.networks:.1f} ms, all the rest alone {figures.rest:.1f} ms",
                "start-up": f"{figures.startup:.1f} s",
                "chosen": f"{figures.device}, {figures.dtype}, {figures.backend}, {figures.lanes} side by side, "
                f"batch {figures.batch}, tile {figures.tile}",
                "why": figures.why,
            }
        )
    )


@app.command(name="verify")
def verify_command(
    output: Annotated[Path, typer.Argument(help="A video that dnirender has rendered.", metavar="OUTPUT")],
    source: Annotated[
        Path | None, typer.Argument(help="The clip it was rendered from.  [default: by name]", metavar="[SOURCE]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a rendered video against its source: frames, time stamps, streams, duration."""
    from dnirender.jobs.verify import verify, worst

    checks = verify(output, source)
    if as_json:
        typer.echo(json.dumps({"output": str(output), "checks": [asdict(check) for check in checks]}))
    else:
        typer.echo("\n".join(f"{'ok   ' if check.good else 'WRONG'}  {check.name}: {check.found}" for check in checks))
    if error := worst(checks):
        raise type(error)(f"{output}: is not what its source and its making ask for: {error}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code: 0, or that of the error, or 130 or 143 when stopped."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    heard: list[int] = []
    try:
        with listening() as heard:
            result = app(args=words, prog_name="dnirender", standalone_mode=False, obj=words)
    except RenderError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _interrupted(heard)
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own: an unknown option, a missing argument
            message = str(error.format_message()).replace("Value error, ", "")  # pyright: ignore
            return _fail(f"{message} (dnirender --help)", 2)
        if type(error).__name__ == "Abort":
            return _interrupted(heard)
        raise
    if result == 130:  # typer turns an interrupt into this exit code
        return _interrupted(heard)
    return result if isinstance(result, int) else 0


def _interrupted(heard: list[int]) -> int:
    return _fail(INTERRUPTED, 128 + heard[0] if heard else 130)


def _fail(message: str, code: int) -> int:
    with contextlib.suppress(OSError):  # a pipe that nobody reads any more
        typer.echo(f"error: {_on_one_line(message)}", err=True)
    return code


def _on_one_line(text: str) -> str:
    """A file may have a newline in its name; what is told of it stays one line."""
    return text.replace("\r", "\\r").replace("\n", "\\n")


class _Voice:
    """What is said on standard error."""

    def __init__(self, quiet: bool, verbose: bool) -> None:
        self._quiet, self._verbose = quiet, verbose

    def line(self, text: str) -> None:
        if not self._quiet:
            typer.echo(text, err=True)

    def warn(self, text: str) -> None:
        self.line(f"warning: {_on_one_line(text)}")

    def detail(self, text: str) -> None:
        if self._verbose:
            self.line(text)

    def done(self, report: Report) -> None:
        if report.resumed and not report.fps:
            self.line(f"{report.output}: {report.frames} frames, all of them from before")
            return
        kept = f" ({report.resumed} of them from before)" if report.resumed else ""
        self.line(
            f"{report.output}: {report.frames} frames{kept} in {report.seconds:.1f} s ({report.fps:.1f} frames/s, "
            f"{report.device}, {report.dtype}, {report.backend}, {report.weight_writes} weight writes)"
        )


class _Bar:
    """A progress bar with frames per second, time left and the current alpha; nothing when not wanted."""

    def __init__(self, plan: Plan, wanted: bool) -> None:
        from tqdm import tqdm

        self._bar: Any = tqdm(
            total=len(plan.selection.indices),
            unit="frame",
            desc=plan.job.output.name,
            disable=None if wanted else True,
            dynamic_ncols=True,
        )

    def __enter__(self) -> Progress:
        return self._show

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _show(self, done: int, total: int, alpha: Alpha) -> None:  # noqa: ARG002
        if not self._bar.n:
            self._bar.initial = self._bar.n = done - 1  # what an earlier run has done says nothing of this one's speed
        self._bar.set_postfix_str(f"alpha {path_position(alpha):.3f}", refresh=False)
        self._bar.update(1)


def _each(pairs: list[tuple[Path, Path]], one: Callable[[Path, Path], None], say: _Voice) -> None:
    """Runs `one` for each pair; of several, one that does not suit does not keep the others from their turn."""
    failed: RenderError | None = None
    for source, target in pairs:
        try:
            one(source, target)
        except RenderError as error:
            if len(pairs) == 1 or isinstance(error, ModelError | PresetError | Stopped):
                raise
            named = str(source) in str(error) or str(target) in str(error)
            _fail(str(error) if named else f"{source}: {error}", error.exit_code)
            failed = failed or error
    if failed is not None:
        say.line("some inputs failed")
        raise typer.Exit(failed.exit_code)


def _preset(preset: str | None, models: list[str] | None) -> tuple[str, Preset]:
    """The preset and the name that default outputs carry."""
    if not models:
        chosen = preset or DEFAULT_PRESET
        return Path(chosen).stem if "." in chosen else chosen, Preset.load(chosen)
    if preset is not None:
        raise UsageError("--preset and --model exclude each other: a preset brings its own models")
    files = _pairs(models, "--model", "NAME=FILE")
    if len(files) < 2:
        raise UsageError("--model: one network cannot be mixed; give at least two, in order from 0 to 1")
    name = f"{next(iter(files))}-{list(files)[-1]}"
    endpoints = [{"name": endpoint, "weights": Path(file).resolve()} for endpoint, file in files.items()]
    return name, Preset.checked({"name": name, "network": {"endpoints": endpoints}}, "--model")


def _pairs(texts: list[str] | None, option: str, form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts or []:
        key, mark, value = text.partition("=")
        if not mark or not key or not value:
            raise UsageError(f"{option} {text}: expected {form}")
        if key in pairs:
            raise UsageError(f"{option} {text}: {key} is given twice")
        pairs[key] = value
    return pairs


def _panels(compare: bool, panels: str | None, preset: Preset) -> tuple[str, ...] | None:
    if panels is not None:
        named = tuple(panel.strip() for panel in panels.split(","))
        if compare and len(named) < 2:
            raise UsageError(f"--panels {panels}: a comparison needs two panels or more")
        return named
    return ("source", "render") if compare and len(preset.layout.panels) < 2 else None


def _fps(fps: float | None) -> Fraction | None:
    if fps is None:
        return None
    if not math.isfinite(fps):
        raise UsageError(f"--fps {fps}: expected a number")
    return Fraction(fps).limit_denominator(1001)


def _outputs(inputs: list[Path], output: Path | None, name: str) -> list[Path]:
    from dnirender.jobs.plan import default_output

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


def _job(source: Path, target: Path, settings: dict[str, Any]) -> Job:
    from dnirender.jobs.plan import Job

    return Job(source, target, **settings)


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {key: value for key, value in options.items() if value is not None}


def _plan_facts(ready: Ready) -> dict[str, Any]:
    from dnirender.jobs.prepare import estimate_seconds

    plan = ready.plan
    width, height = (ready.spec.width, ready.spec.height) if ready.spec else ready.output_size
    return {
        "input": str(plan.job.input),
        "output": str(plan.job.output),
        "frames": plan.num_frames,
        "distinct_alphas": plan.distinct_alphas,
        "weight_writes": plan.weight_writes,
        "size": f"{width}x{height}",
        "codec": ready.spec.codec if ready.spec else plan.job.output.suffix.lstrip(".").lower(),
        "pix_fmt": ready.spec.pix_fmt if ready.spec else "",
        "device": str(ready.engine.device),
        "dtype": ready.engine.dtype,
        "backend": ready.engine.backend,
        "streams": [str(stream) for stream in plan.streams],
        "warnings": list(ready.warnings),
        "estimated_seconds": round(estimate_seconds(ready), 1),
    }


def _table(data: dict[str, Any]) -> str:
    lines: list[str] = []
    for key, value in data.items():
        values: list[object] = value if isinstance(value, list) else [value]
        for count, item in enumerate(values):
            lines.append(f"{key.replace('_', ' ') + ':' if count == 0 else '':19}{item}")
    return "\n".join(lines)
