"""Laws of the tools on weights files: exact ratios, names, round trips, atomic output."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from dnirender.cli.main import main
from dnirender.engine.engine import Engine
from dnirender.errors import ModelError, OutputError, UsageError
from dnirender.families.loading import load_family
from dnirender.models import files
from dnirender.models.combining import average, mix, splice
from dnirender.models.family import Family
from dnirender.models.files import write_checkpoint
from dnirender.models.groups import GROUPINGS, trunk
from dnirender.models.inspection import diff, info
from dnirender.networks.architectures.denoise import DenoiseNet
from dnirender.networks.loading import load
from dnirender.preset import Preset
from dnirender.train.family_space import TUNABLE
from support.clips import MODELS, needs_models, paint, tiny_endpoints
from support.states import batchnorm_dncnn, compact, rrdb


def saved(path, state):
    torch.save(dict(state), path)
    return path


def run(capsys, *arguments):
    code = main(["model", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


# --- mix and average


def test_ratios_are_exact_and_zero_is_zero(tmp_path):
    a, b = compact(0), compact(1)
    b["body.0.bias"][0] = 3e38  # times anything, it would show
    paths = [saved(tmp_path / "a.pth", a), saved(tmp_path / "b.pth", b)]
    for ratios, end in (((1, 0), a), ((0, 1), b)):
        mixed = mix(Family(paths), ratios)
        assert list(mixed) == list(end) and all(torch.equal(mixed[name], end[name]) for name in end)
    mixed = mix(Family(paths), (0.3, 0.7))
    for name in a:
        exact = (0.3 * a[name].double() + 0.7 * b[name].double()).float()
        torch.testing.assert_close(mixed[name], exact, rtol=1.2e-7, atol=0)  # a unit in the last place
    twice = mix(Family([paths[0], paths[0], paths[0]]), (1.5, -1, 0.5), extrapolate=True)
    assert all(torch.equal(twice[name], a[name]) for name in a)


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ((0.5, 0.6), r"ratios: expected numbers that add up to 1, got 0.5 \+ 0.6"),
        ((1.5, -0.5), "ratios: expected 0 to 1, got -0.5; extrapolate=True allows it"),
        ((math.nan, 1), "ratios: expected numbers that add up to 1"),
        ((1,), "ratios: expected 2, one for each file, got 1"),
    ],
)
def test_ratios_that_are_no_mixture_are_refused(tmp_path, ratios, message):
    paths = [saved(tmp_path / f"{n}.pth", compact(n)) for n in (0, 1)]
    with pytest.raises(UsageError, match=message):
        mix(Family(paths), ratios)


def test_an_average_of_equal_files_is_that_file(tmp_path):
    state = compact(3)
    paths = [saved(tmp_path / f"{n}.pth", state) for n in range(3)]
    averaged = average(Family(paths))
    assert all(torch.equal(averaged[name], state[name]) for name in state)
    other = saved(tmp_path / "other.pth", compact(4))
    averaged = average(Family([*paths[:2], other]))
    for name, tensor in compact(4).items():
        torch.testing.assert_close(averaged[name], (2 * state[name] + tensor) / 3)


def test_networks_of_no_known_architecture_mix_by_name(tmp_path):
    one, two = ({"x.gain": torch.full((3,), value), "x.count": torch.tensor(int(value))} for value in (1.0, 2.0))
    paths = [saved(tmp_path / "a.pth", one), saved(tmp_path / "b.pth", two)]
    mixed = mix(Family(paths), (0.25, 0.75))
    assert torch.equal(mixed["x.gain"], torch.full((3,), 1.75)) and mixed["x.count"] == 1


def test_batchnorm_is_mixed_in_its_deployed_form(tmp_path):
    (a, a_deployed), (b, b_deployed) = batchnorm_dncnn(0), batchnorm_dncnn(1)
    paths = {"a": saved(tmp_path / "a.pth", a), "b": saved(tmp_path / "b.pth", b)}
    mixed = mix(Family(list(paths.values())), (0.4, 0.6))
    assert list(mixed) == list(a)
    for name in a_deployed:
        torch.testing.assert_close(mixed[name], 0.4 * a_deployed[name] + 0.6 * b_deployed[name])
    torch.testing.assert_close(mixed["model.3.running_var"], torch.full((6,), 1 - 1e-4))
    assert not mixed["model.3.running_mean"].any()
    image = paint(2, (24, 20))
    expected = Engine(*load(paths), device="cpu", dtype="fp32").render(image, (0.4, 0.6))
    exported = saved(tmp_path / "c.pth", mixed)
    found = Engine(*load({"c": exported}), device="cpu", dtype="fp32").render(image, (1.0,))
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_batchnorm_of_an_unknown_network_is_not_averaged(tmp_path):
    state = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).state_dict()
    path = saved(tmp_path / "a.pth", state)
    with pytest.raises(ModelError, match="no known network") as error:
        mix(Family([path, path]), (0.5, 0.5))
    assert "BatchNorm, which only networks of a known architecture" in error.value.__notes__[0]


# --- names


@pytest.mark.parametrize(("first", "second"), [("old", "modern"), ("modern", "realesrgan"), ("realesrgan", "old")])
def test_dialects_mix_by_role_and_keep_the_names_of_the_first(tmp_path, first, second):
    paths = [saved(tmp_path / "a.pth", rrdb(first, 0)), saved(tmp_path / "b.pth", rrdb(second, 1))]
    mixed = mix(Family(paths), (0.5, 0.5))
    one, two = rrdb(first, 0), rrdb(first, 1)  # made in the same order in every dialect
    assert list(mixed) == list(one)
    assert all(torch.equal(mixed[name], ((one[name].double() + two[name].double()) / 2).float()) for name in one)


def test_a_tensor_that_the_network_has_no_place_for_is_not_lost_in_silence(tmp_path):
    more = {**rrdb("modern", 1), "extra.weight": torch.ones(3)}
    paths = [saved(tmp_path / "a.pth", rrdb("modern", 0)), saved(tmp_path / "b.pth", more)]
    with pytest.raises(ModelError, match=r"b.pth: extra.weight: a ESRGAN has no place for it, so it would be lost"):
        mix(Family(paths), (0.5, 0.5))


def test_prefixes_do_not_matter(tmp_path):
    state = rrdb("modern", 1)
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    paths = [saved(tmp_path / "a.pth", rrdb("modern", 0)), saved(tmp_path / "b.pth", {"params": prefixed})]
    mixed = mix(Family(paths), (0, 1))
    assert list(mixed) == list(state) and all(torch.equal(mixed[name], state[name]) for name in state)


def test_convert_like_another_file_changes_names_alone(tmp_path, capsys):
    old, new = saved(tmp_path / "old.pth", rrdb("old")), saved(tmp_path / "new.pth", rrdb("realesrgan"))
    assert run(capsys, "convert", old, "--like", new, "-o", tmp_path / "c.safetensors")[0] == 0
    found, expected = load_file(tmp_path / "c.safetensors"), rrdb("realesrgan")
    assert set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_misfit_is_refused_with_what_both_are(tmp_path, capsys):
    a, b = saved(tmp_path / "a.pth", compact(0)), saved(tmp_path / "b.pth", compact(0, features=6))
    code, _, err = run(capsys, "mix", f"{a}:0.5", f"{b}:0.5", "-o", tmp_path / "c.pth")
    first, *notes = err.splitlines()
    assert code == 4 and len(notes) == 2
    assert first.startswith("error: b.pth does not fit a.pth: body.0.weight is [6, 3, 3, 3], expected [8, 3, 3, 3]")
    assert notes[0].startswith("  a.pth: RealESRGAN Compact") and "  b.pth: RealESRGAN Compact" in notes[1]
    assert not (tmp_path / "c.pth").exists()
    gray = {**compact(0), "body.0.weight": torch.zeros(8, 1, 3, 3), "body.6.weight": torch.zeros(1, 8, 3, 3)}
    gray["body.6.bias"] = torch.zeros(1)
    err = run(capsys, "mix", f"{a}:0.5", f"{saved(b, gray)}:0.5", "-o", tmp_path / "c.pth")[2]
    assert "error: b.pth does not fit a.pth: body.0.weight is [8, 1, 3, 3], expected [8, 3, 3, 3]" in err


# --- splice


def test_a_splice_takes_each_group_whole_and_the_seed_decides(tmp_path):
    a, b = compact(0, convs=6), compact(1, convs=6)
    family = Family([saved(tmp_path / "a.pth", a), saved(tmp_path / "b.pth", b)])
    for by, grouping in GROUPINGS.items():
        state, taken = splice(family, p=0.5, seed=1, by=by)
        assert 0 < len(taken) < len(a)
        assert all(torch.equal(state[name], (b if name in taken else a)[name]) for name in a)
        groups = grouping(list(a))
        assert {groups[name] for name in taken}.isdisjoint({groups[name] for name in a if name not in taken})
        assert splice(family, p=0.5, seed=1, by=by)[1] == taken
    assert len({tuple(splice(family, p=0.5, seed=seed)[1]) for seed in range(5)}) > 1
    assert splice(family, p=0)[1] == [] and splice(family, p=1)[1] == list(a)
    assert set(splice(family, blocks=(2, 4))[1]) == {n for n in a if n.split(".")[1] in "234"}
    with pytest.raises(UsageError, match=r"blocks: 90-99: expected some of 0-14"):
        splice(family, blocks=(90, 99))


def test_the_longest_row_is_that_of_the_residual_blocks():
    assert trunk(list(rrdb("realesrgan"))) == "body.0.rdb1.conv" or trunk(list(rrdb("realesrgan"))).startswith("body.")
    many = [f"body.{i}.rdb{j}.conv{k}.weight" for i in range(23) for j in (1, 2, 3) for k in range(1, 6)]
    assert trunk(["conv_first.weight", *many, "conv_up1.weight"]) == "body."
    assert trunk([f"res{i}.conv1.conv2d.weight" for i in range(1, 6)]) == "res"
    assert trunk(["a.weight"]) == ""


# --- files


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_round_trips_are_exact_in_every_type(tmp_path, name):
    state = {"x": torch.randn(3, 4), "half": torch.randn(5).half(), "n": torch.tensor(3)}
    source = saved(tmp_path / "source.pth", {**state, "tied": state["x"]})
    assert main(["model", "convert", str(source), "-o", str(tmp_path / name)]) == 0
    assert main(["model", "convert", str(tmp_path / name), "-o", str(tmp_path / "back.pth")]) == 0
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert set(back) == {*state, "tied"}
    for key, tensor in state.items():
        assert back[key].dtype == tensor.dtype and torch.equal(back[key], tensor)


def test_fp16_is_rounded_and_refused_where_it_overflows(tmp_path, capsys):
    source = saved(tmp_path / "a.pth", {"x": torch.tensor([1.0005, -3.0])})
    assert run(capsys, "convert", source, "-o", tmp_path / "h.safetensors", "--dtype", "fp16")[0] == 0
    assert load_file(tmp_path / "h.safetensors")["x"].dtype == torch.float16
    source = saved(tmp_path / "b.pth", {"x": torch.tensor([1.0, -1e6])})
    code, _, err = run(capsys, "convert", source, "-o", tmp_path / "i.safetensors", "--dtype", "fp16")
    assert code == 4 and "x has values up to 1e+06, beyond what torch.float16 can hold; use --dtype fp32" in err
    assert not (tmp_path / "i.safetensors").exists()


def test_nothing_is_overwritten_unless_asked_and_a_failure_leaves_no_file(tmp_path, capsys, monkeypatch):
    source = saved(tmp_path / "a.pth", {"x": torch.ones(2)})
    target = tmp_path / "b.safetensors"
    target.write_bytes(b"precious")
    code, _, err = run(capsys, "convert", source, "-o", target)
    assert (code, target.read_bytes()) == (5, b"precious") and "exists already; --overwrite replaces it" in err

    for name in ("missing/b.pth", "missing/b.safetensors"):
        code, _, err = run(capsys, "convert", source, "-o", tmp_path / name)
        assert code == 5 and f"{tmp_path / 'missing'}: no such folder; create it first" in err
    (tmp_path / "folder.pth").mkdir()
    code, _, err = run(capsys, "convert", source, "-o", tmp_path / "folder.pth", "-y")
    assert code == 5 and "folder.pth: is a folder; name a file" in err
    (tmp_path / "folder.pth").rmdir()

    def broken(_, path, *__):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "save_file", broken)
    with pytest.raises(OutputError, match="No space left"):
        write_checkpoint(target, {"x": torch.ones(2)}, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth", "b.safetensors"]
    assert target.read_bytes() == b"precious"
    monkeypatch.undo()
    assert run(capsys, "convert", source, "-o", target, "-y")[0] == 0
    assert torch.equal(load_file(target)["x"], torch.ones(2))


def test_metadata_is_kept_and_needed_by_our_architectures(tmp_path, capsys):
    state = {"x": torch.ones(2)}
    save_file(state, tmp_path / "a.safetensors", {"architecture": "relight", "license": "MIT"})
    code, _, err = run(capsys, "mix", f"{tmp_path / 'a.safetensors'}:1", "-o", tmp_path / "b.safetensors")
    assert code == 0, err
    with safe_open(tmp_path / "b.safetensors", "pt") as file:
        assert file.metadata() == {"architecture": "relight", "license": "MIT", "format": "pt"}
    code, _, err = run(capsys, "convert", tmp_path / "a.safetensors", "-o", tmp_path / "b.pth")
    assert code == 2 and "weights of the architecture relight are found by metadata; expected .safetensors" in err


# --- the command line


def test_mix_average_and_export_agree_with_the_engine(tmp_path, capsys):
    endpoints = tiny_endpoints(tmp_path, day=0.0, night=-0.4)
    day, night = endpoints.values()
    models = ["-m", f"day={day}", "-m", f"night={night}"]
    assert run(capsys, "mix", f"{day}:0.65", f"{night}:0.35", "-o", tmp_path / "mixed.pth")[0] == 0
    assert run(capsys, "export", *models, "--alpha", "0.35", "-o", tmp_path / "position.pth")[0] == 0
    assert run(capsys, "export", *models, "--alpha", "0.65*day+0.35*night", "-o", tmp_path / "named.pth")[0] == 0
    image = paint(4, (24, 20))
    expected = Engine(*load(endpoints), device="cpu", dtype="fp32").render(image, 0.35)
    for name in ("mixed", "position", "named"):
        found = Engine(*load({"x": tmp_path / f"{name}.pth"}), device="cpu", dtype="fp32").render(image, (1.0,))
        assert np.abs(found.astype(int) - expected).max() <= 1
    (tmp_path / "folder").mkdir()
    for path in endpoints.values():
        (tmp_path / "folder" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "folder" / "notes.txt").write_text("no weights")
    assert run(capsys, "average", tmp_path / "folder", "-o", tmp_path / "folder" / "mean.pth")[0] == 0
    mean = torch.load(tmp_path / "folder" / "mean.pth", weights_only=True)
    torch.testing.assert_close(mean["body.4.bias"], torch.full((3,), -0.2))
    again = run(capsys, "average", tmp_path / "folder", "-y", "-o", tmp_path / "folder" / "mean.pth")
    assert again[0] == 0  # the output is not averaged into itself
    torch.testing.assert_close(
        torch.load(tmp_path / "folder" / "mean.pth", weights_only=True)["body.4.bias"], torch.full((3,), -0.2)
    )


def test_export_of_a_shipped_preset_loads_alone(tmp_path, capsys):
    target = tmp_path / "dusk.safetensors"
    code, _, err = run(capsys, "export", "-p", "day-to-night", "--alpha", "dusk", "-o", target)
    assert code == 0, err
    assert load({"dusk": target})[0].architecture == "relight"


def tuned(folder, family, kernel=1):
    """A preset of random weights of a family, and its settings."""
    torch.manual_seed(0)
    module = TUNABLE[family](DenoiseNet(8, 3), kernel)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.1)
    save_file(module.state_dict(), folder / "tuned.safetensors", {"architecture": "denoise"})
    ends = [{"name": name, "weights": "tuned.safetensors"} for name in ("low", "high")]
    path = folder / "tuned.yaml"
    path.write_text(json.dumps({"name": "T", "network": {"family": family, "endpoints": ends}}))
    return path


@pytest.mark.parametrize(
    ("family", "kernel", "layers"),
    [
        ("adafm", 1, ""),
        ("ftn", 1, ""),
        ("adafm", 3, ".transformer."),
        ("dynamic", 1, "tuning_block"),
        ("cfs", 1, ".skip."),
    ],
)
def test_export_writes_a_tunable_network_at_one_level(tmp_path, capsys, family, kernel, layers):
    preset, target = tuned(tmp_path, family, kernel), tmp_path / "one.safetensors"
    code, _, err = run(capsys, "export", "-p", preset, "--alpha", "0.3", "-o", target)
    assert code == 0, err
    assert (f"has the layers *{layers}* of its family" in err) == bool(layers)
    plain = DenoiseNet(8, 3).state_dict()
    assert (load_file(target).keys() == plain.keys()) == (not layers)
    settings, image = Preset.load(preset).network, paint(4, (24, 20))
    engine = Engine(*load_family(family, settings.files, settings.levels), device="cpu", dtype="fp32")
    renders = [engine.render(image, alpha).astype(int) for alpha in ((0.7, 0.3), (1.0, 0.0))]
    found = Engine(*load({"x": target}), device="cpu", dtype="fp32").render(image, (1.0,))
    assert np.abs(found - renders[0]).max() <= 1 < np.abs(found - renders[1]).max()


@pytest.mark.parametrize(("preset", "alpha"), [("style", "0.4*photo+0.6*great_wave"), ("painters", "great_wave")])
def test_export_of_weights_that_are_stored_as_integers_is_the_engines_network(tmp_path, capsys, preset, alpha):
    target = tmp_path / "one.safetensors"
    assert run(capsys, "export", "-p", preset, "--alpha", alpha, "-o", target)[0] == 0
    settings, image = Preset.load(preset).network, paint(4, (32, 24))
    ends = tuple(0.4 * (name == "photo") + 0.6 * (name == "great_wave") for name in settings.files)
    ends = ends if preset == "style" else tuple(float(end > 0.5) for end in ends)
    engine = Engine(
        *load_family(settings.family, settings.files, settings.levels, settings.styles), dtype="fp32", device="cpu"
    )
    found = Engine(*load({"x": target}), device="cpu", dtype="fp32").render(image, (1.0,))
    assert np.abs(found.astype(int) - engine.render(image, ends)).max() <= 1
    assert np.abs(found.astype(int) - image).mean() > 5


def test_mix_says_which_file_holds_a_tunable_network(tmp_path, capsys):
    tuned(tmp_path, "ftn")
    save_file(DenoiseNet(8, 3).state_dict(), tmp_path / "base.safetensors", {"architecture": "denoise"})
    parts = [f"{tmp_path / 'base.safetensors'}:0.5", f"{tmp_path / 'tuned.safetensors'}:0.5"]
    code, _, err = run(capsys, "mix", *parts, "-o", tmp_path / "x.safetensors")
    assert code == 4 and "tuned.safetensors: holds what the family ftn adds; `dnirender model export` writes" in err
    assert "base.safetensors: holds" not in err and not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mix", "a.pth", "-o", "c.pth"], "a.pth: expected FILE:RATIO, such as sharp.pth:0.3"),
        (["mix", ":0.3", "-o", "c.pth"], ":0.3: expected FILE:RATIO"),
        (["mix", "a.pth:1", "-o", "c.onnx"], "c.onnx: expected a name that ends in .safetensors"),
        (["average", "a.pth", "-o", "c.pth"], "a.pth: expected two weights files or more, got 1"),
        (["splice", "a.pth", "b.pth", "-o", "c.pth", "--blocks", "7-3"], "--blocks 7-3: expected FIRST-LAST"),
        (["splice", "a.pth", "b.pth", "-o", "c.pth", "--blocks", "x"], "--blocks x: expected FIRST-LAST"),
        (["export", "--alpha", "0.1,1:0.2", "-o", "c.pth"], "--alpha 0.1,1:0.2: expected one value, got 2"),
        (["export", "--alpha", "1.5", "-o", "c.pth"], "error: --alpha 1.5: 1.5 is outside 0..1; use --extrapolate"),
    ],
    ids=" ".join,
)
def test_arguments_that_mean_nothing_are_refused(capsys, arguments, message):
    code, _, err = run(capsys, *arguments)
    assert code == 2 and message in err


def test_info_tells_what_a_file_is_known_or_not(tmp_path, capsys):
    path = saved(tmp_path / "a.pth", {"params": rrdb("old"), "params_ema": rrdb("modern")})
    found = info(path)
    assert (found.architecture, found.scale, found.channels, found.norm) == ("ESRGAN", 4, 3, "none")
    assert (found.weights_key, found.other_keys) == ("params_ema", ("params",))
    assert found.tensors == len(rrdb("modern")) and found.dtypes == {"float32": found.tensors}
    code, out, _ = run(capsys, "info", path)
    assert code == 0 and "architecture:      ESRGAN" in out and "weights key:       params_ema" in out
    unknown = saved(tmp_path / "b.pth", {"x.weight": torch.ones(2, 2)})
    code, out, _ = run(capsys, "info", unknown)
    assert code == 0 and "architecture:      unknown: no known network has these weights" in out
    code, out, _ = run(capsys, "info", path, "--json")
    assert json.loads(out)["architecture"] == "ESRGAN"
    assert run(capsys, "info", tmp_path / "missing.pth")[0] == 4


def test_diff_measures_layers_and_lists_what_cannot_be_compared(tmp_path, capsys):
    a, b = compact(0), compact(0)
    b["body.0.weight"] = 2 * b["body.0.weight"]
    paths = [saved(tmp_path / "a.pth", a), saved(tmp_path / "b.pth", b)]
    found = diff(*paths)
    first = found.layers[0]
    assert (
        first.name == "body.0.weight" and first.correlation == pytest.approx(1) and first.distance == pytest.approx(1)
    )
    assert found.equal == len(a) - 1 and not found.missing and not found.extra
    code, out, _ = run(capsys, "diff", *paths)
    assert code == 0 and f"{len(a)} tensors compared, {len(a) - 1} of them equal; mean correlation 1.0000" in out
    wide = saved(tmp_path / "c.pth", {**compact(0, features=6), "more": torch.zeros(1)})
    found = diff(paths[0], wide)
    assert found.extra == ["more"] and found.shapes[0] == "body.0.weight: [8, 3, 3, 3] and [6, 3, 3, 3]"
    found = diff(saved(tmp_path / "old.pth", rrdb("old")), saved(tmp_path / "new.pth", rrdb("modern")))
    assert found.equal == len(found.layers) == len(rrdb("old"))
    assert json.loads(run(capsys, "diff", *paths, "--json")[1])["equal"] == len(a) - 1


@needs_models
@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ("realesr_general_x4v3", "realesr_general_wdn_x4v3", 0.96, 0.98),
        ("dncnn_color_sigma15", "dncnn_color_sigma50", 0.55, 0.60),
        ("dncnn_gray_sigma15", "dncnn_gray_sigma25", -0.1, 0.1),
        ("fast_style_la_muse", "fast_style_matta", 0.38, 0.46),
        ("fast_style16_candy", "fast_style16_mosaic", -0.05, 0.05),
    ],
)
def test_real_pairs_correlate_as_is_known(first, second, low, high):
    assert low < diff(MODELS / f"{first}.pth", MODELS / f"{second}.pth").correlation < high


@needs_models
@pytest.mark.parametrize(
    "names", [("realesr_general_x4v3", "realesr_general_wdn_x4v3"), ("fast_style16_candy", "fast_style16_mosaic")]
)
def test_real_pairs_mix_to_what_the_path_has_there(tmp_path, names):
    a, b = (MODELS / f"{name}.pth" for name in names)
    target = tmp_path / "c.safetensors"
    assert main(["model", "mix", f"{a}:0.25", f"{b}:0.75", "-o", str(target)]) == 0
    network, path = load({"a": a, "b": b})
    same, alone = load({"c": target})
    torch.testing.assert_close(alone.stack[0], 0.25 * path.stack[0] + 0.75 * path.stack[1], rtol=1e-5, atol=1e-6)
    assert same == network
