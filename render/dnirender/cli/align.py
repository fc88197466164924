"""`dnirender model align` and `dnirender model rescale`: the weights of a file in another form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dnirender.cli.model import DType, Key, Output, Overwrite, Weights, app, write


@app.command(name="align")
def align_command(
    one: Annotated[Path, typer.Argument(help="A weights file.", metavar="A")],
    two: Annotated[Path, typer.Argument(help="Another of the same architecture, trained apart.", metavar="B")],
    output: Output,
    seed: Annotated[int, typer.Option(help="Another seed tries other orders of the layers.")] = 0,
    dtype: DType = None,
    weights_key: Key = None,
    overwrite: Overwrite = False,
) -> None:
    """Write B with its channels in the order of A's: the same network, nearer to A in its weights."""
    from dnirender.models.aligning import align
    from dnirender.models.files import check_target

    check_target(output, overwrite=overwrite)
    found = align(one, two, weights_key, seed)
    write(output, found.state, found.first.dtypes, found.first.metadata, dtype, overwrite)
    before, after = found.correlation
    typer.echo(
        f"{found.moved} of {found.channels:,} channels in {found.groups} groups moved; correlation with {one.name} "
        f"{before:.3f} before, {after:.3f} after; the output differs from that of {two.name} by {found.change:.1e}"
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
