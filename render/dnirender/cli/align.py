"""`dnirender model align` and `dnirender model rescale`: the weights of a file in another form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnirender.cli.model import DType, Key, Output, Overwrite, Weights, app, write
from dnirender.cli.options import Quiet
from dnirender.cli.output import Console
from dnirender.errors import UsageError

if TYPE_CHECKING:
    from dnirender.models.finetuning import Finetuned


@app.command(name="align")
def align_command(
    one: Annotated[Path, typer.Argument(help="A weights file.", metavar="A")],
    two: Annotated[Path, typer.Argument(help="Another of the same architecture, trained apart.", metavar="B")],
    output: Output,
    seed: Annotated[int, typer.Option(help="Another seed tries other orders of the layers.")] = 0,
    finetune: Annotated[
        int, typer.Option(metavar="STEPS", help="Then train B so that weights half-way give the mean of both pictures.")
    ] = 0,
    on: Annotated[
        Path | None,
        typer.Option("--on", metavar="FILE", help="Clip or photograph to train on.  [default: a test picture]"),
    ] = None,
    dtype: DType = None,
    weights_key: Key = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write B with its channels in the order of A's: the same network, nearer to A in its weights."""
    if on is not None and not finetune:
        raise UsageError("--on: expected --finetune STEPS too, as alignment needs no pictures")
    from tqdm import tqdm

    from dnirender.models.aligning import align
    from dnirender.models.files import check_target

    check_target(output, overwrite=overwrite)
    say = Console(quiet, False)
    with tqdm(
        total=finetune, desc=two.name, unit="step", disable=None if finetune and not quiet else True, leave=False
    ) as bar:

        def advance(_: int) -> None:
            bar.update()

        found = align(one, two, weights_key, seed, steps=finetune, on=on, progress=advance)
    write(output, found.state, found.first.dtypes, found.first.metadata, dtype, overwrite)
    before, after = found.correlation
    typer.echo(
        f"{found.moved} of {found.channels:,} channels in {found.groups} groups moved; correlation with {one.name} "
        f"{before:.3f} before, {after:.3f} after; the output differs from that of {two.name} by {found.change:.1e}"
    )
    if found.finetuned:
        for note in found.finetuned.notes:
            say.line(note)
        _say_finetuned(found.finetuned, one, two, finetune)


def _say_finetuned(found: Finetuned, one: Path, two: Path, steps: int) -> None:
    begin = f" from the weights of {one.name}, where they came nearer to a good path" if found.from_first else ""
    before, after = found.before, found.after
    typer.echo(
        f"fine-tuned in {steps:,} steps{begin}: path ratio {before.ratio:.2f} before, {after.ratio:.2f} after; the "
        f"pictures are off those of {two.name} by {after.drift:.2f} of the distance to those of {one.name}"
    )


@app.command(name="rescale")
def rescale_command(
    file: Weights,
    output: Output,
    scale: Annotated[int, typer.Option(help="1, 2, 4, 8 or 16.")],
    unshuffle: Annotated[
        int | None, typer.Option(help="Pixel-unshuffle of the input: 1, 2 or 4.  [default: as it is]")
    ] = None,
    dtype: DType = None,
    weights_key: Key = None,
    overwrite: Overwrite = False,
) -> None:
    """Give an RRDB network (ESRGAN, Real-ESRGAN, BSRGAN) another scale, so that it mixes with others of it."""
    from dnirender.models.files import check_target
    from dnirender.models.rescaling import rescale
    from dnirender.networks.checkpoint import load_state_dict

    check_target(output, overwrite=overwrite)
    found = load_state_dict(file, weights_key)
    state = rescale(found.state, scale, unshuffle)
    floats = list(found.dtypes.values())
    dtypes = dict.fromkeys(state, max(set(floats), key=floats.count))
    write(output, state, dtypes, found.metadata, dtype, overwrite)
