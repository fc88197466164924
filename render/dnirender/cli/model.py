"""`dnirender model`: tools on weights files.

Torch is imported inside the commands, so that help and argument errors answer at once.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer.core import TyperGroup

from dnirender.cli.app import app as commands
from dnirender.cli.options import AsJson, ModelsOption, PackOption, PresetOption, choose_preset
from dnirender.cli.output import format_table
from dnirender.errors import ModelError, TimelineError, UsageError
from dnirender.timeline.timeline import Timeline

if TYPE_CHECKING:
    import torch

    from dnirender.frames import Alpha
    from dnirender.models.family import Family
    from dnirender.models.inspection import ModelDifference
    from dnirender.network_settings import NetworkSettings
    from dnirender.networks.checkpoint import State

app = typer.Typer(
    cls=TyperGroup,
    help="Look at weights files, and make new ones: mix, average, splice, convert, export.",
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help"], "max_content_width": 100},
)
commands.add_typer(app, name="model")

WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".onnx")

Weights = Annotated[Path, typer.Argument(help="A weights file.", metavar="FILE")]
Output = Annotated[Path, typer.Option("-o", "--output", help="The new file, .safetensors or .pth.")]
Overwrite = Annotated[bool, typer.Option("-y", "--overwrite", help="Overwrite the output.")]
Key = Annotated[
    str | None, typer.Option(metavar="KEY", help="Which weights of files with several.  [default: EMA, if there]")
]
DType = Annotated[
    Literal["fp32", "fp16", "bf16"] | None, typer.Option(help="Type of the numbers.  [default: that of the first file]")
]
Extrapolate = Annotated[bool, typer.Option("--extrapolate", help="Allow numbers outside 0..1.")]


@app.command(name="info")
def info_command(file: Weights, weights_key: Key = None, as_json: AsJson = False) -> None:
    """Tell what a weights file is: architecture, scale, values, sizes, numbers."""
    from dnirender.models.inspection import info

    found = info(file, weights_key)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    known = {
        "architecture": found.architecture,
        "scale": f"{found.scale}x, {'gray' if found.channels == 1 else 'RGB'}",
        "values": found.values,
        "sizes": f"multiples of {found.multiple}" + (f", at least {found.minimum}" if found.minimum else ""),
    }
    unknown = {"architecture": f"unknown: {found.reason}"}
    typer.echo(
        format_table(
            {
                "file": f"{file}, {found.bytes:,} bytes",
                **(known if found.architecture else unknown),
                "normalization": found.norm,
                "numbers": f"{found.parameters:,} in {found.tensors} tensors, "
                + ", ".join(f"{count} {dtype}" for dtype, count in found.dtypes.items()),
                **({"blocks": found.blocks} if found.blocks else {}),
                **({"weights key": f"{found.weights_key}"} if found.weights_key else {}),
                **({"other keys": ", ".join(found.other_keys)} if found.other_keys else {}),
                **({"metadata": [f"{k}={v}" for k, v in found.metadata.items()]} if found.metadata else {}),
            }
        )
    )


@app.command(name="diff")
def diff_command(
    one: Annotated[Path, typer.Argument(help="A weights file.", metavar="A")],
    two: Annotated[Path, typer.Argument(help="Another one.", metavar="B")],
    weights_key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Compare two weights files, tensor by tensor: correlation, relative distance, largest difference."""
    from dnirender.models.inspection import diff

    found = diff(one, two, weights_key)
    if as_json:
        from dnirender.models.report_files import finite

        typer.echo(json.dumps(finite(asdict(found))))
    else:
        typer.echo("\n".join(_difference_lines(found)))


def _difference_lines(found: ModelDifference) -> list[str]:
    width = max((len(layer.name) for layer in found.layers), default=4)
    lines = [f"{'tensor':{width}}  correlation  distance   largest  shape"] if found.layers else []
    for layer in found.layers:
        numbers = f"{layer.correlation:11.4f}  {layer.distance:8.4f}  {layer.largest:8.2e}"
        lines.append(f"{layer.name:{width}}  {numbers}  {' x '.join(map(str, layer.shape))}")
    lines += [f"only in the first: {name}" for name in found.missing]
    lines += [f"only in the second: {name}" for name in found.extra]
    lines += [f"other shapes: {text}" for text in found.shapes]
    compared = f"{len(found.layers)} tensors compared, {found.equal} of them equal"
    return [*lines, f"{compared}; mean correlation {found.correlation:.4f}, distance {found.distance:.4f}"]


@app.command(name="convert")
def convert_command(
    file: Weights,
    output: Output,
    like: Annotated[
        Path | None, typer.Option(help="Give the tensors the names that this file of the same network has.")
    ] = None,
    dtype: DType = None,
    weights_key: Key = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the weights of a file as bare safetensors or .pth, in another type or under other names."""
    from dnirender.models.family import Family
    from dnirender.models.files import check_target
    from dnirender.networks.checkpoint import load_state_dict

    check_target(output, overwrite=overwrite)
    found = load_state_dict(file, weights_key)
    if like is None:
        write(output, found.state, found.dtypes, found.metadata, dtype, overwrite)
        return
    _, state = Family([like, file], weights_key).states()
    floats = [found.dtypes[name] for name, tensor in found.state.items() if tensor.is_floating_point()]
    kept = dict.fromkeys(state, max(set(floats), key=floats.count))
    write(output, state, kept, found.metadata, dtype, overwrite)


@app.command(name="mix")
def mix_command(
    parts: Annotated[
        list[str], typer.Argument(help="Files and their ratios, which add up to 1.", metavar="FILE:RATIO...")
    ],
    output: Output,
    extrapolate: Extrapolate = False,
    dtype: DType = None,
    weights_key: Key = None,
    overwrite: Overwrite = False,
) -> None:
    """Mix weights files by ratio: A.pth:0.3 B.pth:0.7."""
    files, ratios = zip(*(_file_and_ratio(part) for part in parts), strict=True)
    from dnirender.models.combining import mix

    family = _family(files, weights_key, output, overwrite)
    try:
        state = mix(family, ratios, extrapolate=extrapolate)
    except ModelError as error:
        from dnirender.families.loading import note_additions

        note_additions(error, files, weights_key)
        raise
    _write_combined(output, state, family, dtype, overwrite)


def _file_and_ratio(text: str) -> tuple[Path, float]:
    name, _, ratio = text.rpartition(":")
    with contextlib.suppress(ValueError):
        if name:
            return Path(name), float(ratio)
    raise UsageError(f"{text}: expected FILE:RATIO, such as sharp.pth:0.3")


@app.command(name="average")
def average_command(
    sources: Annotated[list[Path], typer.Argument(help="Weights files, or folders of them.", metavar="FILE|DIR...")],
    output: Output,
    dtype: DType = None,
    weights_key: Key = None,
    overwrite: Overwrite = False,
) -> None:
    """Average weights files, such as the checkpoints of a training."""
    files = [file for source in sources for file in (_files_in(source) if source.is_dir() else [source])]
    from dnirender.models.combining import average

    files = [file for file in files if file.resolve() != output.resolve()]
    if len(files) < 2:
        raise UsageError(f"{', '.join(map(str, sources))}: expected two weights files or more, got {len(files)}")
    family = _family(files, weights_key, output, overwrite)
    _write_combined(output, average(family), family, dtype, overwrite)


def _files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in WEIGHTS and not file.name.startswith("."))


@app.command(name="splice")
def splice_command(
    one: Annotated[Path, typer.Argument(help="The file that most is taken from.", metavar="A")],
    two: Annotated[Path, typer.Argument(help="The file that parts are taken from.", metavar="B")],
    output: Output,
    p: Annotated[float, typer.Option("--p", help="Probability of a part to be B's.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Another seed draws other parts.")] = 0,
    by: Annotated[Literal["key", "layer", "block"], typer.Option(help="What a part is.")] = "layer",
    blocks: Annotated[
        str | None, typer.Option(metavar="FIRST-LAST", help="Take these blocks of B instead, as `info` numbers them.")
    ] = None,
    dtype: DType = None,
    weights_key: Key = None,
    overwrite: Overwrite = False,
) -> None:
    """Replace parts of the weights of A by those of B: at random, or a range of blocks."""
    span = _span(blocks) if blocks is not None else None
    from dnirender.models.combining import splice

    family = _family([one, two], weights_key, output, overwrite)
    state, taken = splice(family, p=p, seed=seed, by=by, blocks=span)
    _write_combined(output, state, family, dtype, overwrite)
    typer.echo(f"{len(taken)} of {len(state)} tensors are those of {two}", err=True)


def _span(text: str) -> tuple[int, int]:
    first, mark, last = text.partition("-")
    if not first.isdecimal() or not (last.isdecimal() if mark else True) or int(last or first) < int(first):
        raise UsageError(f"--blocks {text}: expected FIRST-LAST, such as 3-7")
    return int(first), int(last or first)


@app.command(name="export")
def export_command(
    output: Output,
    alpha: Annotated[str | None, typer.Option(help="As a keyframe's value: 0.35, a name, 0.3*day+0.7*night.")] = None,
    as_onnx: Annotated[
        bool, typer.Option("--onnx", help="Write an ONNX graph that mixes all networks itself: alpha is its input.")
    ] = False,
    preset: PresetOption = None,
    model: ModelsOption = None,
    model_pack: PackOption = None,
    extrapolate: Extrapolate = False,
    dtype: DType = None,
    weights_key: Key = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the weights at one alpha of a preset, or of networks of your own (-m), as a plain checkpoint; or all of
    them as an ONNX graph."""
    chosen = choose_preset(preset, model, model_pack).preset
    if (alpha is None) != as_onnx:
        raise UsageError("expected either --alpha, for a checkpoint, or --onnx, for a graph whose input it is")
    if alpha is None:
        _export_onnx(chosen.network, weights_key, output, overwrite)
        return
    ratios = _ratios(alpha, chosen.endpoints, extrapolate)
    from dnirender.models.combining import mix

    family = _endpoints(chosen.network, weights_key or chosen.network.weights_key, output, overwrite)
    state = mix(family, ratios, extrapolate=extrapolate)
    _write_combined(output, state, family, dtype, overwrite)
    if added := _layers_added(state, chosen.network.family):
        typer.echo(f"{output}: has the layers *{added}* of its family; dnirender loads it, few others do", err=True)


def _ratios(alpha: str, endpoints: Sequence[str], extrapolate: bool) -> Alpha:
    """The coefficients that a keyframe's value means."""
    try:
        timeline = Timeline.parse(f"0:{alpha}", extrapolate=extrapolate)
        if len(timeline.keyframes) != 1:
            raise UsageError(f"--alpha {alpha}: expected one value, got {len(timeline.keyframes)}")
        return timeline.resolve(endpoints, [Fraction(0)]).alphas[0]
    except TimelineError as error:
        raise UsageError(f"--alpha {alpha}: {str(error).rpartition('(key 1): ')[2]}") from error


def _export_onnx(settings: NetworkSettings, weights_key: str | None, output: Path, overwrite: bool) -> None:
    from dnirender.families.loading import load_family
    from dnirender.models.onnx_export import check_onnx_target, export_onnx

    check_onnx_target(output, overwrite=overwrite)
    key = weights_key or settings.weights_key
    network, path = load_family(settings.family, settings.files, settings.levels, settings.styles, weights_key=key)
    error = export_onnx(network, path, output, overwrite=overwrite)
    checked = (
        "not checked, as onnxruntime is not installed" if error is None else f"differs by {error:.1e} in onnxruntime"
    )
    typer.echo(f"{output}: inputs image and alpha ({', '.join(path.names)}), {checked}", err=True)


def _endpoints(settings: NetworkSettings, weights_key: str | None, output: Path, overwrite: bool) -> Family:
    """The endpoints of a preset to combine, once it is known that the result can be written."""
    files = list(settings.files.values())
    if settings.family == "dni":
        return _family(files, weights_key, output, overwrite)
    from dnirender.families.loading import load_endpoints
    from dnirender.models.family import Family
    from dnirender.models.files import check_target

    check_target(output, overwrite=overwrite)
    found = load_endpoints(settings.family, settings.files, settings.levels, settings.styles, weights_key=weights_key)
    return Family(files, weights_key, list(found.values()))


def _layers_added(state: State, family: str) -> str:
    """What the names of the layers contain that a family adds and that are not folded into others; empty: none are."""
    from dnirender.families.loading import LAYERS

    return next((part for part in LAYERS.get(family, ()) if any(part in name for name in state)), "")


def _family(files: Sequence[Path], weights_key: str | None, output: Path, overwrite: bool) -> Family:
    """The files to combine, once it is known that the result can be written."""
    from dnirender.models.family import Family
    from dnirender.models.files import check_target

    check_target(output, overwrite=overwrite)
    return Family(files, weights_key)


def _write_combined(output: Path, state: State, family: Family, dtype: str | None, overwrite: bool) -> None:
    write(output, state, family.first.dtypes, family.first.metadata, dtype, overwrite)


def write(
    output: Path,
    state: State,
    dtypes: Mapping[str, torch.dtype],
    metadata: Mapping[str, str],
    dtype: str | None,
    overwrite: bool,
) -> None:
    """Writes a checkpoint and says so."""
    from dnirender.models.files import write_checkpoint

    write_checkpoint(output, state, dtypes=dtypes, dtype=dtype, metadata=metadata, overwrite=overwrite)
    typer.echo(f"{output}: {len(state)} tensors, {output.stat().st_size:,} bytes", err=True)
