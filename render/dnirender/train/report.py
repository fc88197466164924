"""The results of a training: fp16 weights, a preset, a plot of the loss, a contact sheet."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from ruamel.yaml import YAML
from safetensors.torch import save
from torch import Tensor

from dnirender.engine.engine import Engine
from dnirender.families.loading import ADDITIONS, load_family
from dnirender.files import disk_errors, publish, temporary_path
from dnirender.frames import Alpha, Image
from dnirender.layout import panels as compose
from dnirender.layout.contact_sheet import sheet as draw_sheet
from dnirender.media import resize
from dnirender.media.images import read_image, write_png
from dnirender.networks.checkpoint import SCALE
from dnirender.preset import SCHEMA_LINE, Preset
from dnirender.train.recipe import Recipe
from dnirender.train.subspace import Weights

SHEET_SIDE = 240
MANTISSA = 7  # bits
INT8 = ("paint", "relight")  # whose renders it changes by less than the eye sees, and which is half as large
TUNED = tuple(ADDITIONS[family] for family in ("adafm", "ftn", "dynamic", "cfs"))  # factors and small filters
EXACT = ("encoder.code.", "styles.", "paint.last.")  # where sums of numbers have to be exact
PLOT = (960, 540)
NOT_PLOTTED = ("step", "seconds", "part")
INKS = ((40, 40, 40), (196, 78, 62), (62, 122, 196), (90, 160, 80), (190, 140, 40), (140, 90, 180))


def write_family(
    recipe: Recipe, family: str, endpoints: Sequence[Weights], architecture: str | None, out: Path
) -> Path:
    """Writes `out/weights/FAMILY/ENDPOINT.safetensors` and the preset `out/FAMILY.yaml`; returns the preset's path."""
    folder = out / "weights" / family
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    about = {
        "effect": family,
        "license": recipe.license,
        "steps": str(recipe.steps),
        "seed": str(recipe.training.seed),
    } | ({"architecture": architecture} if architecture else {})
    files = {name: recipe.family if recipe.family != "dni" else name for name in recipe.names}
    for name, weights in dict(zip(files.values(), endpoints, strict=True)).items():
        write_weights(folder / f"{name}.safetensors", weights, about | {"name": name})
    positions = dict(zip(recipe.names, recipe.positions or (), strict=False))
    endpoints_of = [
        {"name": goal.name, "weights": f"weights/{family}/{files[goal.name]}.safetensors"}
        | ({"identity": True} if goal.identity else {})
        | ({"position": positions[goal.name]} if len(positions) > 2 else {})
        for goal in recipe.endpoints
    ]
    network = {"family": recipe.family, "endpoints": endpoints_of}
    return _write_preset(out / f"{family}.yaml", recipe.name, recipe.about, network, recipe.preset)


def write_weights(target: Path, weights: Weights, about: Mapping[str, str]) -> None:
    """One safetensors file: convolutions and linear maps as int8 if their architecture is in `INT8`, all else as
    float16, `rounded`, but for `EXACT` and `TUNED`."""
    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        value = value.detach().cpu()
        if name.startswith(EXACT) or any(part in name for part in TUNED):
            stored[name] = (value.half() if value.ndim > 1 else value.float()).contiguous()
        elif value.ndim >= 2 and about.get("architecture") in INT8:
            stored[name], stored[f"{name}{SCALE}"] = quantized(value)
        else:
            stored[name] = rounded(value)
    _write(target, save(stored, metadata=dict(about)))


def quantized(value: Tensor) -> tuple[Tensor, Tensor]:
    """int8, and a scale for each output channel."""
    scale = value.float().flatten(1).abs().amax(1) / 127
    by_channel = scale.clamp(min=1e-30).view(-1, *[1] * (value.ndim - 1))
    return (value / by_channel).round().to(torch.int8).contiguous(), scale


def rounded(x: Tensor) -> Tensor:
    """float16 with `MANTISSA` of its 10 bits of mantissa, as precise as bfloat16, rounded to nearest: zlib packs it to
    four fifths."""
    bits = x.half().contiguous().view(torch.int16)
    dropped = 10 - MANTISSA
    half = (1 << dropped - 1) - 1 + (bits >> dropped & 1)  # ties to even
    return (bits + half >> dropped << dropped).view(torch.float16)


def write_preset(
    target: Path,
    name: str,
    about: str,
    files: Mapping[str, str],
    sections: Mapping[str, Any],
    identity: Collection[str] = (),
) -> Path:
    """Checks and writes the preset of endpoints whose weights are `files`, relative to it. Those of `identity` render
    the picture itself."""
    endpoints = [
        {"name": key, "weights": file} | ({"identity": True} if key in identity else {}) for key, file in files.items()
    ]
    return _write_preset(target, name, about, {"family": "dni", "endpoints": endpoints}, sections)


def _write_preset(target: Path, name: str, about: str, network: Mapping[str, Any], sections: Mapping[str, Any]) -> Path:
    data: dict[str, Any] = {"name": name, "about": about, "network": network, **sections}
    Preset.checked(data, str(target))
    yaml, text = YAML(), io.StringIO(SCHEMA_LINE)
    yaml.default_flow_style = None
    yaml.width = 120
    text.seek(0, io.SEEK_END)
    yaml.dump(data, text)
    _write(target, text.getvalue().encode())
    return target


def contact_sheet(
    preset: Preset,
    photos: Sequence[Path],
    target: Path,
    title: str,
    side: int = SHEET_SIDE,
    shown: Callable[[Image], Image] = lambda image: image,
) -> None:
    """Writes a JPEG: one column per endpoint and per middle of two; per photo a row, and below it its crossfades."""
    network = preset.network
    engine = Engine(*load_family(network.family, network.files, network.levels, network.styles))
    alphas = _along(len(preset.endpoints))
    rows: list[list[Image]] = []
    labels: list[str] = []
    for path in photos:
        image = shown(resize.limit_width(read_image(path)[0], side))
        renders = [engine.render(image, alpha) for alpha in alphas]
        rows += [renders, [compose.crossfade(renders[::2], alpha) for alpha in alphas]]
        labels += [path.stem[:16], "crossfade"]
    columns = [preset.endpoints[k // 2] if k % 2 == 0 else "1/2" for k in range(len(alphas))]
    sheet = draw_sheet(rows, labels, columns, title, width=side * len(columns))
    _, code = cv2.imencode(".jpg", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
    _write(target, code.tobytes())


def loss_plot(log: Path, target: Path, title: str) -> None:
    """Writes a PNG: the loss and its terms over steps, on a logarithmic axis."""
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    if len(lines) < 2:
        return
    names = [name for name in dict.fromkeys(key for line in lines for key in line) if name not in NOT_PLOTTED]
    values = np.array([[max(line.get(name, np.nan), 1e-6) for line in lines] for name in names])
    steps = np.array([line["step"] for line in lines], float)
    write_png(target, _draw_plot(names, steps, values, title))


def _draw_plot(names: Sequence[str], steps: np.ndarray, values: np.ndarray, title: str) -> Image:
    """values: len(names) rows over `steps`, all above 0."""
    (width, height), left, top, right, bottom = PLOT, 70, 50, 150, 40
    canvas = np.full((height, width, 3), 250, np.uint8)
    logs = np.log10(values)
    low, high = float(np.nanmin(logs)), float(np.nanmax(logs)) + 1e-9
    low = max(low, high - 4)

    def place(step: float, value: float) -> tuple[int, int]:
        x = left + (width - left - right) * (step - steps[0]) / (steps[-1] - steps[0])
        y = height - bottom - (height - top - bottom) * (max(value, low) - low) / (high - low)
        return round(x), round(y)

    for power in range(int(np.ceil(low)), int(np.floor(high)) + 1):
        _, y = place(steps[0], power)
        cv2.line(canvas, (left, y), (width - right, y), (215, 215, 215), 1)
        _write_text(canvas, f"1e{power}", (12, y + 5), INKS[0])
    for step in (steps[0], steps[-1]):
        x, _ = place(step, low)
        _write_text(canvas, f"{step:.0f}", (x - 20, height - 14), INKS[0])
    for number, (name, row) in enumerate(zip(names, logs, strict=True)):
        ink = INKS[number % len(INKS)]
        points = [place(step, value) for step, value in zip(steps, row, strict=True) if np.isfinite(value)]
        cv2.polylines(canvas, [np.array(points, np.int32)], False, ink, 2, cv2.LINE_AA)
        _write_text(canvas, name, (width - right + 12, top + 22 * number + 10), ink)
    _write_text(canvas, title, (left, 30), INKS[0])
    return canvas


def _write_text(canvas: Image, text: str, place: tuple[int, int], ink: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, ink, 1, cv2.LINE_AA)


def _along(ends: int) -> list[Alpha]:
    """The endpoints and the middles between neighbours, in order."""
    places = [k / 2 for k in range(2 * ends - 1)]
    return [tuple(max(0.0, 1 - abs(place - k)) for k in range(ends)) for place in places]


def _write(target: Path, data: bytes) -> None:
    temporary = temporary_path(target)
    try:
        with disk_errors(target):
            temporary.write_bytes(data)
            publish(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
