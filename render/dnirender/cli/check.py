"""`dnirender model check` and `dnirender model analyze`: whether networks interpolate, and why."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnirender.cli.model import Key, Overwrite, app
from dnirender.cli.options import AsJson, Quiet, to_flags
from dnirender.cli.output import Console, format_table

if TYPE_CHECKING:
    from dnirender.models.analysis import Analysis
    from dnirender.models.compatibility import Check, PairCheck

Files = Annotated[list[Path], typer.Argument(help="Weights files, in order from 0 to 1.", metavar="A B...")]
Report = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Write pictures and numbers there.")
]


@app.command(name="check")
def check_command(
    files: Files,
    on: Annotated[
        Path | None, typer.Option("--on", metavar="FILE", help="Your clip or photograph.  [default: a test picture]")
    ] = None,
    output: Report = None,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Compare the weights alone.")] = False,
    weights_key: Key = None,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Tell whether networks interpolate: weights compared, pictures along the path, a verdict, advice."""
    from dnirender.models import check_report, report_files
    from dnirender.models.compatibility import check

    if output:
        report_files.check_folder(output, check_report.NAMES, overwrite=overwrite)
    say = Console(quiet or as_json, False)
    found = check(files, on, pictures=not no_pictures, weights_key=weights_key, enter=say.line)
    written = check_report.write_check(output, found) if output else []
    if as_json:
        typer.echo(json.dumps(check_report.to_json(found)))
        return
    typer.echo("\n".join(_lines(found)))
    if output:
        say.line(f"{output}: {', '.join(written)}")


def _lines(found: Check) -> list[str]:
    known = f"{found.architecture}, scale {found.scale}, {'gray' if found.channels == 1 else 'RGB'}"
    facts = {
        "architecture": known if found.architecture else f"unknown, so there are no pictures: {found.reason}",
        **({"values": found.values} if found.values else {}),
        "normalization": found.norm,
        "tensors": f"{found.tensors} with equal names and shapes, {found.parameters:,} numbers",
        **({"note": [to_flags(note) for note in found.notes]} if found.notes else {}),
    }
    lines = [format_table(facts)]
    for pair in found.pairs:
        lines += ["", *_pair_lines(pair)]
    return lines if len(found.pairs) == 1 else [*lines, "", f"verdict of all: {found.verdict}"]


def _pair_lines(pair: PairCheck) -> list[str]:
    from dnirender.models.compatibility import describe_middle

    lines = [f"{pair.first} to {pair.second}"]
    if pair.points:
        lines.append(f"{'alpha':>7}  brightness  contrast  sharpness  to first  to second  off the crossfade")
        lines += [
            f"{p.alpha:7g}  {p.brightness:10.3f}  {p.contrast:8.3f}  {p.sharpness:9.4f}  {p.to_first:8.4f}  "
            f"{p.to_second:9.4f}  {p.deviation:17.2f}"
            for p in pair.points
        ]
    ranked = sorted((layer for layer in pair.layers if layer.is_matrix), key=lambda layer: layer.correlation)
    lowest = f"; lowest {ranked[0].correlation:.3f} in {ranked[0].name}" if ranked else ""
    middle = {"middle": describe_middle(pair)} if pair.points else {}
    ratio = {"path ratio": f"{pair.ratio:.2f} (good below 0.5, a collapse above 1)"} if pair.ratio is not None else {}
    table = {
        "correlation": f"{pair.correlation:.3f} over layers{lowest}",
        "distance": f"{pair.distance:.3f}",
        **ratio,
        **middle,
        "verdict": pair.verdict,
        "advice": [to_flags(line) for line in pair.advice],
    }
    return [*lines, format_table(table)]


@app.command(name="analyze")
def analyze_command(
    files: Annotated[
        list[Path], typer.Argument(help="Weights files, in the order of the task's level.", metavar="A B...")
    ],
    output: Report = None,
    weights_key: Key = None,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Compare the filters of networks: correlation, level of the task, distance from the line, matching."""
    from dnirender.models import analysis_report, report_files
    from dnirender.models.analysis import analyze

    if output:
        report_files.check_folder(output, analysis_report.NAMES, overwrite=overwrite)
    found = analyze(files, weights_key=weights_key)
    written = analysis_report.write_analysis(output, found) if output else []
    if as_json:
        typer.echo(json.dumps(analysis_report.to_json(found)))
        return
    typer.echo("\n".join(_analysis_lines(found)))
    if output:
        Console(quiet, False).line(f"{output}: {', '.join(written)}")


def _analysis_lines(found: Analysis) -> list[str]:
    width = max(len(name) for name in found.names)
    lines = [f"{found.architecture or 'unknown architecture'}, {len(found.layers)} convolutions"]
    lines += ["", "mean correlation of corresponding filters"]
    lines += [
        f"{name:{width}}  {'  '.join(f'{value:6.3f}' for value in row)}"
        for name, row in zip(found.names, found.table.tolist(), strict=True)
    ]
    lines += ["", f"mean cosine with {found.names[0]}: first layer, last layer, all layers"]
    lines += [
        f"{name:{width}}  {values[0]:6.3f}  {values[-1]:6.3f}  {_mean(values):6.3f}"
        for name, values in found.cosines.items()
    ]
    if found.fits:
        lines += ["", "on the line between the outer two: nearest alpha, distance left (1: that to the nearer end)"]
        lines += [f"{fit.middle:{width}}  {fit.alpha:6.3f}  {fit.residual:6.3f}" for fit in found.fits]
    lines += ["", found.unmatched or f"filters matched in any order with {found.names[0]}: mean cosine"]
    lines += [
        f"{m.second:{width}}  {m.layer}: in place {m.in_place:.3f}, matched {m.matched:.3f}, by chance {m.chance:.3f}; "
        f"{m.moved:.0%} moved"
        for m in found.matchings
    ]
    return lines


def _mean(values: list[float]) -> float:
    found = [value for value in values if math.isfinite(value)]
    return sum(found) / len(found) if found else math.nan
