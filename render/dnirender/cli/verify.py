"""`dnirender verify`"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dnirender.cli.app import app
from dnirender.cli.options import AsJson


@app.command(name="verify")
def verify_command(
    output: Annotated[
        Path,
        typer.Argument(
            help="What dnirender rendered: a video, an animation, a picture or a pattern such as %04d.png.",
            metavar="OUTPUT",
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Argument(help="Its source, or the folder it is in.  [default: found by its name]", metavar="SOURCE"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a rendered file with its source.

    Checks frames, timestamps, copied streams and duration.
    """
    from dnirender.jobs.verify import failure, verify

    checks = verify(output, source)
    if as_json:
        typer.echo(json.dumps({"output": str(output), "checks": [asdict(check) for check in checks]}))
    else:
        typer.echo("\n".join(f"{'ok   ' if check.good else 'WRONG'}  {check.name}: {check.found}" for check in checks))
    if error := failure(checks):
        raise type(error)(f"{output}: does not match its source: {error}")
