"""Options that several commands share."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dnirender.errors import UsageError
from dnirender.preset import DEFAULT_PRESET, Preset

if TYPE_CHECKING:
    from dnirender.jobs.job import Job


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


def choose_preset(preset: str | None, models: list[str] | None) -> tuple[str, Preset]:
    """The preset and the name that default outputs carry."""
    if not models:
        chosen = preset or DEFAULT_PRESET
        return Path(chosen).stem if "." in chosen else chosen, Preset.load(chosen)
    if preset is not None:
        raise UsageError("--preset and --model exclude each other: a preset brings its own models")
    files = parse_pairs(models, "--model", "NAME=FILE")
    if len(files) < 2:
        raise UsageError("--model: one network cannot be mixed; give at least two, in order from 0 to 1")
    name = f"{next(iter(files))}-{list(files)[-1]}"
    endpoints = [{"name": endpoint, "weights": Path(file).resolve()} for endpoint, file in files.items()]
    return name, Preset.checked({"name": name, "network": {"endpoints": endpoints}}, "--model")


def parse_pairs(texts: list[str] | None, option: str, form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts or []:
        key, mark, value = text.partition("=")
        if not mark or not key or not value:
            raise UsageError(f"{option} {text}: expected {form}")
        if key in pairs:
            raise UsageError(f"{option} {text}: {key} is given twice")
        pairs[key] = value
    return pairs


def parse_panels(compare: bool, panels: str | None, preset: Preset) -> tuple[str, ...] | None:
    if panels is not None:
        named = tuple(panel.strip() for panel in panels.split(","))
        if compare and len(named) < 2:
            raise UsageError(f"--panels {panels}: a comparison needs two panels or more")
        return named
    return ("source", "render") if compare and len(preset.layout.panels) < 2 else None


def parse_fps(fps: float | None) -> Fraction | None:
    if fps is None:
        return None
    if not math.isfinite(fps):
        raise UsageError(f"--fps {fps}: expected a number")
    return Fraction(fps).limit_denominator(1001)


def make_job(source: Path, target: Path, settings: dict[str, Any]) -> Job:
    from dnirender.jobs.job import Job

    return Job(source, target, **settings)


def drop_none(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {key: value for key, value in options.items() if value is not None}
