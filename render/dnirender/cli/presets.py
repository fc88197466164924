"""`dnirender presets`"""

from __future__ import annotations

from typing import Annotated

import typer

from dnirender.cli.app import app
from dnirender.preset import Preset, find_preset, preset_names, schema
from dnirender.preset_files import preset_folder


@app.command(name="presets")
def presets_command(
    name: Annotated[str | None, typer.Argument(help="Print the file of this preset.", metavar="NAME")] = None,
    show_schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of presets.")] = False,
) -> None:
    """List the shipped presets, or print one."""
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
        typer.echo(f"\nThey are in {preset_folder()}; copy one to make your own and render it with -p FILE.yaml.")
