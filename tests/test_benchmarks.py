"""Every benchmark runs: its tables on tiny clips, of two frames, in one round, so that a rename breaks it here.

Rivals and measurements of the machine itself are left out.
"""

import contextlib
import importlib.util
import io
import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from dnirender import Engine, Preset, networks
from dnirender.cli.main import main
from dnirender.engine import memory_usage
from dnirender.media.images import read_image, write_png
from dnirender.models import finetuning, sweep
from dnirender.networks import load
from dnirender.networks.architectures.denoise import DenoiseNet
from dnirender.networks.checkpoint import load_state_dict
from support.clips import REPO, feature_network, make_clip, paint, preset_of, tiny_endpoints
from support.states import dncnn

BENCHMARKS = REPO / "benchmarks"
SIZE = (96, 64)
NONE_INSTALLED = SimpleNamespace(util=SimpleNamespace(find_spec=lambda _: None))


@pytest.fixture
def script(monkeypatch):
    """Loads a script by its name, as Python does that runs it."""

    def loaded(name):
        path = BENCHMARKS / f"{name}.py"
        monkeypatch.syspath_prepend(str(path.parent))
        spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return loaded


@pytest.fixture
def data(tmp_path):
    """A data folder with clips, and a pair of networks under the names of Real-ESRGAN's."""
    folder = tmp_path / "data"
    (folder / "clips").mkdir(parents=True), (folder / "models").mkdir()
    for name in ("road.mp4", "flower.mp4"):
        make_clip(folder / "clips" / name, frames=4, size=SIZE, audio="aac")
    from safetensors.torch import load_file

    for name, file in tiny_endpoints(tmp_path, realesr_general_x4v3=0.0, realesr_general_wdn_x4v3=-0.2).items():
        torch.save(load_file(file), folder / "models" / f"{name}.pth")
    return folder


def test_pace(script, data, tmp_path, capsys):
    clip, preset = data / "clips" / "road.mp4", preset_of(tiny_endpoints(tmp_path))
    script("quality/pace").main([clip], [("test", "0:day, end:night")], preset)
    figures = capsys.readouterr().out.split()
    assert [float(figures[figures.index(name) + 1]) >= 1 for name in ("linear", "perceptual")] == [True, True]


def untuned(network, path, *_):
    return Engine(network, path, device="cpu", dtype="fp32", backend="torch")


def engine_of(preset):
    return untuned(*load({end.name: end.weights for end in Preset.load(preset).network.endpoints}))


def run_here(words, **_):
    """Runs a command of dnirender in this process; others not at all."""
    if words[1:3] == ["-m", "dnirender"]:
        assert main([str(word) for word in words[3:]]) == 0, words
    return SimpleNamespace(returncode=0, stdout="", stderr="")


def once(rows, _):
    """What every row gives, or 1.0."""
    found = {name: call() for name, call in rows.items()}
    return {name: [one if isinstance(one, float) else 1.0] for name, one in found.items()}


@pytest.fixture
def speed(script, data, monkeypatch):
    speed = script("speed")
    monkeypatch.setattr(speed, "importlib", NONE_INSTALLED)
    tiny = preset_of(tiny_endpoints(data.parent))
    monkeypatch.setattr(speed, "Preset", SimpleNamespace(load=lambda _: tiny, checked=Preset.checked))
    monkeypatch.setattr(speed, "PRESETS", ("detail",))
    monkeypatch.setattr(speed, "PICTURES", 2)
    monkeypatch.setattr(speed, "alternate", once)
    monkeypatch.setattr(speed, "SIZE", (64, 64))
    monkeypatch.setattr(speed, "tuned", untuned)
    monkeypatch.setattr(speed, "best", lambda *_: 1.0)
    monkeypatch.setattr(speed, "per_frame", lambda render, *_: lambda: (render(2), 1.0)[1])
    monkeypatch.setattr(speed, "further", lambda film, *_: (film(2), (1.0, 1.0))[1])
    monkeypatch.setattr(speed.cut, "cut", lambda *args: make_clip(args[1], frames=4, audio="aac"))
    monkeypatch.setattr(speed.fixed, "all_rows", lambda *_: {})
    monkeypatch.setattr(speed.subprocess, "run", run_here)
    return speed


RATES = {"bf16": 1e12, "fp32": 1e12, "copy": 1e10}


@pytest.mark.parametrize(
    ("tables", "rows"),
    [
        (lambda speed, data, _: speed.model_tables(data, RATES, 1), 3),
        (lambda speed, data, _: speed.rate_tables(data, 1), 2),
        (lambda speed, data, folder: speed.film_tables(data, folder, 1), 2),
        (lambda speed, data, folder: [speed.hiding_table(data, folder, 1)], 4),
        (lambda speed, data, folder: [speed.codec_table(data, folder, 1)], 3),
        (lambda speed, data, folder: [speed.start_table(data, folder, 1)], 3),
    ],
    ids=["model", "rate", "film", "hiding", "codec", "start"],
)
def test_speed(speed, data, tmp_path, tables, rows):
    found = tables(speed, data, tmp_path)
    assert found and all(len(table["rows"]) >= rows for table in found)
    page = speed.markdown({"command": "", "machine": speed.machine(), "rates": RATES, "tables": found})
    assert all(table["title"] in page for table in found)


@pytest.mark.parametrize("section", ["tests", "exact", "model", "frames", "film", "compile"])
def test_gpu(script, tmp_path, monkeypatch, section):
    gpu = script("gpu")
    done = SimpleNamespace(stdout="FAILED one\n1 failed, 2 passed in 3 s\n", stderr="")
    for name, value in {"NAMES": ("detail",), "SMALL_X4": (16, 24), "MIN_COMPILING": 0}.items():
        monkeypatch.setattr(gpu, name, value)
    monkeypatch.setattr(gpu.Timer, "seconds", lambda _, call: (call(), 1.0)[1])
    monkeypatch.setattr(gpu.subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(gpu.torch, "compile", lambda module, **_: module)
    monkeypatch.setattr(gpu.Bench, "tiles", lambda *_: (0.0, 0, "", "yes"))
    words = ["gpu.py", "--device", "cpu", "--tiny", "--sections", section, "--out", str(tmp_path / "gpu")]
    monkeypatch.setattr(sys, "argv", words)
    gpu.main()
    page = (tmp_path / "gpu.md").read_text("utf-8")
    rows = {"tests": "| FAILED one; 1 failed, 2 passed", "compile": "| detail | 64x48 | bf16, compiled | 1e+03 |"}
    rows |= {"exact": "200 frames three times |  |  | equal | equal |", "model": "alpha changing | 1e+03 |"}
    rows |= {
        "frames": "| detail | 64x48 | alpha changing, single frames |",
        "film": "| plain loop, fp32, alpha changing |",
    }
    assert rows[section] in page
    assert section == "film" or not any(word in page for word in ("Error", "| NO |", "no time", "stopped"))


def test_gpu_stops_in_time_and_keeps_what_it_has(script, tmp_path, monkeypatch):
    gpu = script("gpu")
    words = ["gpu.py", "--device", "cpu", "--tiny", "--seconds", "0", "--sections", "model,film"]
    monkeypatch.setattr(sys, "argv", [*words, "--out", str(tmp_path / "gpu")])
    gpu.main()
    page = (tmp_path / "gpu.md").read_text("utf-8")
    assert "Measured here: bf16" in page and "no time left" in page and "film: 0 s" in page


def test_encoding(script, data, tmp_path, monkeypatch):
    encoding = script("encoding")
    monkeypatch.setattr(encoding, "WIDTHS", {"detail": 32})
    for name, value in {"FRAMES": 2, "EVERY": 1, "ROUNDS": 1}.items():
        monkeypatch.setattr(encoding, name, value)
    monkeypatch.setattr(sys, "argv", ["encoding.py", "--data", str(data), "--out", str(tmp_path / "out.md")])
    encoding.main()
    assert "| veryfast, crf 17 |" in (tmp_path / "out.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["detail", "realesr_general_x4v3"])
def test_memory(script, data, tmp_path, monkeypatch, capsys, name):
    memory = script("memory")
    assert {case[0] for case in memory.CASES} > {name}
    monkeypatch.setattr(memory_usage, "free_memory", memory_usage.free_memory)  # which the script replaces
    memory.child(name, data / "clips" / "road.mp4", data, 8e9, tmp_path)
    assert set(json.loads(capsys.readouterr().out)) == {"before", "peak", "activations", "frame", "choice"}


def test_start(script, data, tmp_path, monkeypatch):
    start = script("start")
    for name, value in {"SHORT": 2, "LONG": 4, "FIRST": (2,), "alternate": once}.items():
        monkeypatch.setattr(start, name, value)

    def output(words, _):
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            run_here(words)
        return shown.getvalue()

    monkeypatch.setattr(start, "output", output)
    monkeypatch.setattr(start, "seconds", lambda words, _: float(bool(run_here(words))))
    monkeypatch.setattr(start, "first_character", lambda words, _: float(bool(run_here(words))))
    chosen = SimpleNamespace(presets="detail", data=data, width=32, rounds=1)
    for kind in ("start", "estimate", "first"):
        for table in start.tables_of(kind, chosen, tmp_path):
            start.save(table, tmp_path / "start", 1)
    page = (tmp_path / "start.md").read_text("utf-8")
    assert all(
        title in page for title in ("start: detail, road.mp4", "estimate: ", "first: detail, nothing remembered")
    )


# --- quality


def noisy(count, size=(128, 96)):
    rng = np.random.default_rng(0)
    return [
        np.clip(paint(n, size) + rng.integers(-20, 20, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
        for n in range(count)
    ]


def features(x):
    return [x, x[:, :2] * 2]


def test_quality_of_detail(script):
    detail = script("quality/detail")
    given = engine_of("detail"), ("faithful", "crisp"), features, noisy(1, (48, 32))
    bicubic, path, blends = detail.measure(*given, 0.0)
    assert bicubic.shape == (2,) and path.shape == blends.shape == (11, 2)
    blurred, *_ = detail.measure(*given, 1.5)
    assert blurred[0] < bicubic[0] and blurred[1] > bicubic[1]


def test_quality_of_denoise(script):
    denoise, preset = script("quality/denoise"), random_denoiser()
    rows = denoise.measure(preset, ("low", "high"), noisy(2, (48, 32)), sigmas=(15, 50))
    assert rows.shape == (2, len(denoise.COLUMNS))
    assert rows[0, 0] > rows[1, 0]


def random_denoiser():
    torch.manual_seed(0)
    modules = {name: DenoiseNet() for name in ("low", "high")}
    for module in modules.values():
        torch.nn.init.normal_(module.last.weight, std=0.01)
    return untuned(*networks.from_modules(modules, multiple=2))


def test_families(script, tmp_path, capsys):
    from safetensors.torch import save_file

    families = script("families")
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(noisy(2)):
        write_png(tmp_path / "photos" / f"{number}.png", image)
    base = tmp_path / "base.safetensors"
    net = DenoiseNet()
    torch.nn.init.normal_(net.last.weight, std=0.01)
    save_file(net.state_dict(), base, {"architecture": "denoise"})
    chosen = SimpleNamespace(data=tmp_path, work=tmp_path / "work", base=base, steps=1, seeds=(0, 1), batch=1, crop=32)
    chosen.rate, chosen.photos, chosen.held_out = 1e-3, ["photos"], []
    kinds = {"DNI": ("dni", 1), "CFSNet": ("cfs", 1)}
    families.table(chosen, noisy(1, (48, 32)), kinds, sigmas=(15, 50))
    page = capsys.readouterr().out
    assert [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| ")] == [
        "|", "| DNI", "| blend", "| CFSNet", "| for each sigma", "|", "| DNI", "| CFSNet",
    ]  # fmt: skip
    weights = [
        load_state_dict(path).state for path in sorted(chosen.work.glob("*/dni1-50/weights/x/sigma50.safetensors"))
    ]
    assert len(weights) == 2 and not torch.equal(weights[0]["last.weight"], weights[1]["last.weight"])


def test_figures_of_several_seeds_are_means_and_ranges(script):
    families = script("families")
    assert families.spread([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0]]) == ["2.00", "2.00", "2.00"]
    assert families.spread([[1.0, 2.0]]) == ["1.00", "2.00"]
    assert families.smoothness([np.full((2, 2, 3), value) for value in (0, 1, 4)]) == 1.5


def test_families_of_styles(script, tmp_path, monkeypatch, capsys):
    families, pictures = script("families_style"), noisy(2)
    for folder in ("photos", "styles"):
        (tmp_path / folder).mkdir()
    for name, image in zip(families.ENDS, pictures, strict=True):
        write_png(tmp_path / "photos" / f"{name}.png", image)
        cv2.imwrite(str(tmp_path / "styles" / f"{name}.jpg"), image)
    feature_network(tmp_path / "perceptual")
    monkeypatch.setattr(families, "FAMILIES", {"DNI": ("dni", 1), "FTN": ("ftn", 1), "CFSNet": ("cfs", 1)})
    monkeypatch.setattr(families, "SIZE", 64)
    chosen = SimpleNamespace(data=tmp_path, work=tmp_path / "work", steps=1, seed=0, batch=1, crop=64, rate=1e-3)
    chosen.photos, chosen.held_out, chosen.settings, chosen.shown = ["photos"], [], {}, 0
    view = families.View(lambda x: [x, x[:, :2], x[:, :1]], lambda x: [x], pictures)
    for base, names in (("painters", ["DNI", "blend", "FTN", "CFSNet"]), ("style", ["AdaIN", "DNI", "blend", "FTN"])):
        chosen.base, chosen.sheet = base, tmp_path / f"{base}.jpg"
        families.report(families.measure(chosen, view, pictures[:1]))
        page = capsys.readouterr().out
        assert [row.split(" | ")[0][2:] for row in page.split("\n\n")[0].splitlines()[2:]] == names
        assert read_image(chosen.sheet)[0].shape[1] == 170 * len(families.SHOWN)


def test_quality_of_the_sketchbook(script):
    sketchbook, engine, names = (
        script("quality/sketchbook"),
        engine_of("sketchbook"),
        Preset.load("sketchbook").endpoints,
    )
    assert len(sketchbook.along(engine, noisy(1), names)) == 7
    assert set(sketchbook.unsteadiness(engine, noisy(2), names)) == set(names)
    ink = sketchbook.places(len(names))[4]
    assert sketchbook.edge_width(engine.render(noisy(1)[0], ink)) > 0
    assert sketchbook.twinkle(engine, noisy(1), ink) > 0


def test_quality_of_painters(script):
    painters, engine = script("quality/painters"), engine_of("painters")
    names, sources = Preset.load("painters").endpoints[:3], noisy(1)

    def render(picture, k):
        return engine.render(picture, painters.one_hot(k, 10))

    assert set(painters.flicker_table(render, names, {"clip": noisy(2)})["clip"]) >= set(names)
    with np.errstate(all="ignore"):
        painters.texture_table(render, names, [np.full((96, 128, 3), 90, np.uint8) + sources[0] % 3])


def test_quality_of_any_style(script, tmp_path, capsys):
    """With an eye that sees the mean color alone, for which a style is met where the color is."""
    style, names = script("quality/style"), ["starry_night", "great_wave"]
    goals = [np.zeros(3), np.full(3, 255.0)]
    eye = SimpleNamespace(
        style=lambda image, k: float(np.square(image.mean((0, 1)) - goals[k]).sum()) + 1e-6,
        content=lambda image, picture: float(np.abs(image.astype(float) - picture).mean()),
    )

    def render(picture, k):
        return np.full_like(picture, goals[k][0])

    def between(picture, a, b):
        return np.full_like(picture, 128)

    rows = style.distances(render, eye, noisy(2), names)
    assert [round(row["reach"], 3) for row in rows.values()] == [1, 1]
    style.PAIRS = (tuple(names),)
    halves = style.half_ways(render, between, eye, noisy(1), names)
    assert halves["starry_night - great_wave"][0] == pytest.approx(halves["starry_night - great_wave"][1], rel=0.02)
    flat = {"blotches": [0, 0], "peak": [0, 0], "grid": [0, 0], "bold": 0}
    ours = {"distances": rows, "texture": dict.fromkeys(names, flat), "flicker": {"clip": dict.fromkeys(names, 1.0)}}
    style.HELD_OUT = ("great_wave",)
    style.report({"ours": ours, "encoding": 0.1, "half_ways": halves})
    assert "mean of those held out, ours: reach 100.0 %" in capsys.readouterr().out
    style.sheet(noisy(1), names, [render, render], tmp_path / "sheet.jpg")
    assert (tmp_path / "sheet.jpg").stat().st_size > 1000
    preset = Preset.load("style")
    state = load_state_dict(preset.network.endpoints[0].weights).state
    write_png(tmp_path / "my.png", noisy(1)[0])
    assert style.encoding_seconds(state, [tmp_path / "my.png"]) > 0


def test_quality_of_the_night(script, tmp_path, monkeypatch):
    from dnirender.media.images import write_png

    night = script("quality/night")
    (tmp_path / "a.png").parent.mkdir(exist_ok=True)
    write_png(tmp_path / "a.png", noisy(1)[0])
    write_png(tmp_path / "a.jpg.png", noisy(1)[0])
    (tmp_path / "a.jpg.png").rename(tmp_path / "a.jpg")
    monkeypatch.setattr(night, "LIGHTS", {"a": ((0.0, 0.0, 0.5, 0.5),)})
    render, paths = night.Renderer(Preset.load("day-to-night"), "fp32"), [tmp_path / "a.png"]
    lines = [*night.ordinary(render, paths), *night.lamps(render, tmp_path), *night.evenness(render, paths)]
    assert any("mean code" in line for line in lines) and any("1 pictures with labels" in line for line in lines)


# --- tools on weights files


@pytest.fixture
def pairs(data, script, monkeypatch):
    """The benchmark of pairs, with two pairs of small networks."""
    models = script("models")
    torch.manual_seed(0)
    for name in ("dncnn_color_sigma15", "dncnn_color_sigma50"):
        state = {key: tensor * 0.1 for key, tensor in dncnn().items()}
        torch.save(state, data / "models" / f"{name}.pth")
    make_clip(data / "clips" / "stream_of_water.mp4", frames=4, size=SIZE)
    photos = [f"photos/free/{number}.jpg" for number in range(4)]
    for name in (*photos, "photos/bsds/1.jpg", "eval/cbsd68/1.png", "eval/set5/1.png"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(data / name), noisy(1, (64, 64))[0])
    chosen = {name: models.PAIRS[name] for name in ("realesr", "dncnn-15-50")}
    small = {"PAIRS": chosen, "TUNED": ("dncnn-15-50",), "STATISTICS": ("dncnn-15-50",), "REPAIRED": "dncnn-15-50"}
    small |= {"PHOTOS": 1, "MEASURED": 1, "CHECKED": 1, "SIDE": 16, "SIDE_4X": 16, "FRAMES": 2, "FILM": 3, "ROUNDS": 1}
    for name, value in small.items():
        monkeypatch.setattr(models, name, value)
    monkeypatch.setattr(sweep, "SIDES", (16, 32))
    monkeypatch.setattr(finetuning, "CROP", 16)
    return models


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("pairs", "| dncnn-15-50 | DnCNN |"),
        ("statistics", "| dncnn-15-50 |"),
        ("noise", "3 frames of 32x32 of `stream_of_water.mp4`"),
        ("rivals", "| BatchNorm | mixes; unrelated | mixes"),
        ("speed", "| 4 tracks of layers, day-to-night"),
    ],
)
def test_models(pairs, data, tmp_path, monkeypatch, row, expected):
    if row == "pairs":
        pytest.importorskip("scipy", reason="the package scipy is not installed")
    words = ["models.py", "--data", str(data), "--rows", row, "--pairs", "realesr,dncnn-15-50", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", [*words, "--out", str(tmp_path / "out.md"), "--pictures", str(tmp_path)])
    pairs.main()
    pairs.main()  # in place of the first
    page = (tmp_path / "out.md").read_text("utf-8")
    assert expected in page and page.count(f"## {row}") == 1
    assert row != "noise" or (tmp_path / "models_denoise.png").exists()


def test_rescale(pairs, script, data, tmp_path, monkeypatch):
    rescale = script("rescale")
    for name, value in {"FEATURES": 8, "BATCH": 1, "CROP": {1: 16, 2: 16, 4: 16, 8: 32, 16: 64}}.items():
        monkeypatch.setattr(rescale, name, value)
    words = ["rescale.py", "--data", str(data), "--steps", "1", "--base-steps", "1", "--out", str(tmp_path / "out.md")]
    monkeypatch.setattr(sys, "argv", words)
    rescale.main()
    page = (tmp_path / "out.md").read_text("utf-8")
    assert all(f"\n| {scale}x" in page for scale in (1, 2, 4, 8, 16))


def test_masks(script, data, tmp_path, monkeypatch):
    masks = script("masks")
    clip = data / "clips" / "flower.mp4"
    arguments = ["masks.py", "--clip", str(clip), "--width", "96", "--rounds", "1", "--presets", "detail"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--out", str(tmp_path / "out")])
    masks.main()
    [row] = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert row["levels"] >= 2 and row["ratios"]["halves"] > 0
    assert (tmp_path / "out.md").read_text("utf-8").count("\n") == 3


def test_resnet_denoise(script, tmp_path, capsys):
    resnet = script("resnet_denoise")
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(noisy(2)):
        write_png(tmp_path / "photos" / f"{number}.png", image)
    chosen = SimpleNamespace(data=tmp_path, work=tmp_path / "work", blocks=[1], steps=1, seed=0, batch=1, crop=32)
    chosen.rate, chosen.photos, chosen.held_out = 1e-3, ["photos"], []
    resnet.draw_losses(resnet.table(chosen, noisy(1, (48, 32))), tmp_path / "losses.png")
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[4].strip() for row in rows] == ["FTN begins as", "none", *resnet.STARTS]


def test_quality_of_steady(script, capsys):
    steady, engine = script("quality/steady"), engine_of("painters")
    steady.table(engine, Preset.load("painters").endpoints, ["starry_night"], {"clip": noisy(6)})
    assert "| clip | starry_night | " in capsys.readouterr().out
