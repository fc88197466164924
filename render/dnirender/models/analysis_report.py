"""An analysis as pictures and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dnirender.frames import Image
from dnirender.layout.charts import curves, filter_grids, heat_map, histogram, stacked
from dnirender.media.images import encode_png
from dnirender.models.analysis import Analysis
from dnirender.models.report_files import finite, write_files

FIRST, LAST, TABLES, LAYERS, NUMBERS = NAMES = (
    "first_filters.png",
    "last_filters.png",
    "tables.png",
    "layers.png",
    "analysis.json",
)


def write_analysis(folder: Path, found: Analysis) -> list[str]:
    """Writes the report of an analysis into a folder; the names of the files."""
    pictures: dict[str, Image] = {
        FIRST: filter_grids(found.first_filters, f"filters of {found.layers[0]}"),
        LAST: filter_grids(found.last_filters, f"filters of {found.layers[-1]}, by input"),
        TABLES: stacked([_tables(found), histogram(found.filters, "correlation of corresponding filters")]),
        LAYERS: stacked(_layer_curves(found)),
    }
    files = {name: encode_png(image) for name, image in pictures.items()}
    files[NUMBERS] = json.dumps(to_json(found), indent=1).encode()
    write_files(folder, files)
    return list(files)


def to_json(found: Analysis) -> object:
    """The numbers of an analysis as plain data, with null for NaN."""
    left_out = ("first_filters", "last_filters", "filters")
    data = {name: value for name, value in vars(found).items() if name not in left_out}
    for name in ("table", "first_table", "last_table"):
        data[name] = data[name].tolist()
    data["fits"], data["matchings"] = ([asdict(entry) for entry in data[name]] for name in ("fits", "matchings"))
    data["filters"] = {pair: values.tolist() for pair, values in found.filters.items()}
    return finite(data)


def _tables(found: Analysis) -> Image:
    tables = {"all filters": found.table, "first layer": found.first_table, "last layer": found.last_table}
    maps = [heat_map(table, found.names, f"correlation, {title}") for title, table in tables.items()]
    return np.concatenate(maps, axis=1)


def _layer_curves(found: Analysis) -> list[Image]:
    ends = (found.layers[0], found.layers[-1])
    plots = [
        curves(found.correlations, "correlation of corresponding filters, mean of a layer", ends),
        curves(found.cosines, f"cosine with {found.names[0]}, mean of a layer", ends),
    ]
    if found.fits:
        plots += [
            curves({fit.middle: fit.alphas for fit in found.fits}, "nearest alpha on the line of the outer two", ends),
            curves({fit.middle: fit.residuals for fit in found.fits}, "distance left, of that to the nearer end", ends),
        ]
    return plots
