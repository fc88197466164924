"""The report of a check as files: a contact sheet, a plot of the layers, and all numbers as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from dnirender.frames import Image
from dnirender.layout.charts import curves, stacked
from dnirender.layout.contact_sheet import sheet
from dnirender.media.images import encode_png
from dnirender.models.compatibility import Check, PairCheck
from dnirender.models.report_files import finite, write_files
from dnirender.models.sweep import ALPHAS, Sweep

SHEET, LAYERS, NUMBERS = NAMES = ("sheet.png", "layers.png", "check.json")
SHEET_WIDTH = 1600


def write_check(folder: Path, found: Check) -> list[str]:
    """Writes the report of a check into a folder; the names of the files."""
    files = {LAYERS: encode_png(stacked([_layer_plot(pair) for pair in found.pairs]))}
    if any(pair.sweep for pair in found.pairs):
        sheets = [_contact_sheet(pair, pair.sweep, found.pictures) for pair in found.pairs if pair.sweep]
        files = {SHEET: encode_png(stacked(sheets))} | files
    files[NUMBERS] = json.dumps(to_json(found), indent=1).encode()
    write_files(folder, files)
    return list(files)


def to_json(found: Check) -> dict[str, Any]:
    """The numbers of a check as plain data; JSON has no NaN and no infinity: null."""
    pairs = [{k: v for k, v in vars(pair).items() if k not in ("sweep", "points", "layers")} for pair in found.pairs]
    for pair, data in zip(found.pairs, pairs, strict=True):
        data |= {"sweep": [asdict(point) for point in pair.points], "layers": [asdict(layer) for layer in pair.layers]}
    return cast("dict[str, Any]", finite({k: v for k, v in vars(found).items() if k != "pairs"} | {"pairs": pairs}))


def _contact_sheet(pair: PairCheck, sweep: Sweep, pictures: list[str]) -> Image:
    """Alpha across; for every picture a row of renders, and one of crossfades of the ends."""
    rows: list[list[Image]] = []
    labels: list[str] = []
    for name, rendered, faded in zip(pictures, sweep.rendered, sweep.crossfades, strict=True):
        rows += [rendered, faded]
        labels += [name, "crossfade"]
    columns = [f"{alpha:g}" for alpha in ALPHAS]
    columns[0], columns[-1] = f"0 {Path(pair.first).stem}", f"1 {Path(pair.second).stem}"
    title = f"{Path(pair.first).stem} to {Path(pair.second).stem}: {pair.verdict}, path ratio {sweep.ratio:.2f}"
    return sheet(rows, labels, columns, title, SHEET_WIDTH)


def _layer_plot(pair: PairCheck) -> Image:
    layers = [layer for layer in pair.layers if layer.is_matrix]
    series = {
        "correlation": [layer.correlation for layer in layers],
        "relative distance": [layer.distance for layer in layers],
    }
    title = f"{Path(pair.first).stem} and {Path(pair.second).stem}: layers in order"
    return curves(series, title, (layers[0].name, layers[-1].name) if layers else ("", ""))
