"""Laws of the compatibility check: path ratio, verdicts, advice, reports, and the warning before a render."""

import json
import math
import shlex

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dnirender.cli.main import main
from dnirender.errors import UsageError
from dnirender.models import sweep
from dnirender.models.compatibility import check
from dnirender.models.similarity import compare_tensors, doubtful_pair, verdict
from dnirender.networks.loading import load
from dnirender.networks.network import Network
from dnirender.networks.weights import WeightPath
from support.clips import MODELS, decoded, make_clip, needs_models, paint, tiny_endpoints
from support.states import batchnorm_dncnn, compact, near


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(sweep, "SIDES", (32, 48))


def saved(path, state):
    torch.save(dict(state), path)
    return path


def run(capsys, *arguments):
    code = main([str(word) for word in arguments])
    out, err = capsys.readouterr()
    return code, out, err


# --- the path ratio


class Power(torch.nn.Module):
    """x * w^2: the middle of 0 and 1 is a quarter, where the mean of the ends is a half."""

    def __init__(self, w):
        super().__init__()
        self.w = torch.nn.Parameter(torch.full((1,), float(w)))

    def forward(self, x):
        return x * self.w.square()


def test_the_ratio_is_the_distance_from_the_mean_of_the_ends_by_that_of_the_ends():
    path = WeightPath({name: Power(w).state_dict() for name, w in (("a", 0), ("b", 0.5), ("c", 1))})
    network = Network("power", Power(0))
    images = [np.full((8, 8, 3), value, np.uint8) for value in (100, 200)]
    found = sweep.sweep(network, path, (0, 2), images)
    mean = 150 / 255
    for point in found.points:
        assert point.deviation == pytest.approx(abs(point.alpha**2 - point.alpha), abs=1e-5)
        assert point.brightness == pytest.approx(mean * point.alpha**2, abs=1e-5)
        assert point.to_first == pytest.approx(mean * point.alpha**2, abs=1e-5)
        assert point.to_second == pytest.approx(mean * (1 - point.alpha**2), abs=1e-5)
        assert max(point.contrast, point.sharpness) < 1e-6
    assert found.ratio == pytest.approx(0.25, abs=1e-5) and found.good_reach == (1, 0)
    assert [row[2][0, 0, 0] for row in found.rendered] == [25, 50]
    assert [row[2][0, 0, 0] for row in found.crossfades] == [50, 100]


def test_sharpness_and_contrast_are_those_of_luma():
    path = WeightPath({name: Power(1).state_dict() for name in "ab"})
    checker = np.indices((8, 8)).sum(0) % 2 * 255
    image = np.dstack([checker] * 3).astype(np.uint8)
    point = sweep.sweep(Network("power", Power(0)), path, (0, 1), [image]).points[0]
    assert (point.brightness, point.sharpness) == (pytest.approx(0.5), pytest.approx(1))
    assert point.contrast == pytest.approx(0.5, rel=0.01) and point.deviation == 0


@pytest.mark.parametrize(
    ("correlation", "ratio", "expected"),
    [
        (0.97, 0.37, "same family"),
        (0.58, 0.41, "same family"),
        (0.42, 0.66, "far"),
        (0.9, 0.5, "far"),
        (0.9, 1.01, "unrelated"),
        (0.9, math.inf, "unrelated"),
        (0.9, math.nan, "unrelated"),
        (0.14, 0.1, "unrelated"),
        (0.0, None, "unrelated"),
        (0.4, None, "far"),
        (0.6, None, "same family"),
        (math.nan, None, "same family"),
    ],
)
def test_the_verdict_follows_the_ratio_and_a_correlation_near_zero(correlation, ratio, expected):
    assert verdict(correlation, ratio) == expected


def test_a_slower_network_gets_smaller_pictures(monkeypatch):
    monkeypatch.setattr(sweep, "SIDES", (16, 4096))
    sides = []
    for features in (8, 32):
        network = Network("conv", torch.nn.Conv2d(3, 3, 1 if features == 8 else 3, padding=features // 32))
        sides.append(sweep.picture_side(network, 2))
        assert sides[-1] % 8 == 0
    # nine times the multiplications for each pixel, as in 3 x 3 instead of 1 x 1
    monkeypatch.setattr(sweep, "MULTIPLICATIONS", sweep.MULTIPLICATIONS / 1e5)
    one, nine = (sweep.picture_side(Network("conv", torch.nn.Conv2d(3, 3, k, padding=k // 2)), 2) for k in (1, 3))
    assert one == pytest.approx(3 * nine, abs=24) and sides == [4096, 4096]


# --- files


def test_kin_are_a_family_and_strangers_are_not(tmp_path):
    a = compact(0)
    kin = [saved(tmp_path / "a.pth", a), saved(tmp_path / "b.pth", near(a, 1))]
    found = check(kin)
    assert found.verdict == "same family" and found.pairs[0].correlation > 0.9 and found.pairs[0].ratio < 0.5
    assert found.architecture == "RealESRGAN Compact" and found.norm == "none" and len(found.pairs[0].points) == 5
    assert len(found.pairs[0].layers) == len(a)
    stranger = saved(tmp_path / "c.pth", compact(2))
    found = check([*kin, stranger])
    assert [pair.verdict for pair in found.pairs] == ["same family", "unrelated"] and found.verdict == "unrelated"
    assert any("model align" in line for line in found.pairs[1].advice)
    with pytest.raises(UsageError, match="check: expected two weights files or more, got 1"):
        check(kin[:1])


def test_equal_networks_have_nothing_between_them(tmp_path):
    files = [saved(tmp_path / f"{name}.pth", compact(0)) for name in "ab"]
    (pair,) = check(files).pairs
    assert (pair.verdict, pair.ratio, pair.distance) == ("same family", 0, 0)
    assert pair.advice == ["both give the same pictures, so that there is nothing to see between them"]


def test_a_darker_middle_is_told_but_darkening_is_legal(tmp_path, capsys):
    day, night = tiny_endpoints(tmp_path).values()
    (pair,) = check([day, night]).pairs
    assert pair.verdict == "same family" and pair.points[0].brightness > pair.points[-1].brightness + 0.2
    a, b = (saved(tmp_path / f"{n}.pth", compact(n, features=16, convs=6)) for n in (0, 1))
    _, out, _ = run(capsys, "model", "check", a, b)
    assert "middle:            a collapse; " in out and "verdict:           unrelated" in out


def test_the_pictures_are_the_users(tmp_path):
    files = list(tiny_endpoints(tmp_path).values())
    clip = make_clip(tmp_path / "clip.mp4", frames=11, size=(96, 64))
    found = check(files, clip)
    assert found.pictures == ["frame 1", "frame 5", "frame 9"]
    assert found.pairs[0].sweep.rendered[0][0].shape == (48, 48, 3)
    image = paint(2, (96, 64))
    cv2.imwrite(str(tmp_path / "photo.png"), image[..., ::-1])
    found = check(files, tmp_path / "photo.png")
    assert found.pictures == ["photo.png"]
    assert np.array_equal(found.pairs[0].sweep.rendered[0][0], image[8:56, 24:72])  # day changes nothing


def test_unknown_networks_are_compared_by_their_weights(tmp_path, capsys):
    torch.manual_seed(0)
    states = [{"x.weight": torch.randn(8, 8, 3, 3)} for _ in range(2)]
    files = [saved(tmp_path / f"{name}.pth", state) for name, state in zip("ab", states, strict=True)]
    found = check(files)
    assert found.architecture is None and found.pairs[0].ratio is None and found.verdict == "unrelated"
    code, out, _ = run(capsys, "model", "check", *files)
    assert code == 0 and "unknown, so there are no pictures: " in out
    code, out, _ = run(capsys, "model", "check", files[0], files[0].rename(tmp_path / "c.pth"), "--json")
    assert code == 4


def test_batchnorm_is_explained(tmp_path, capsys):
    files = [saved(tmp_path / f"{n}.pth", batchnorm_dncnn(n)[0]) for n in (0, 1)]
    found = check(files)
    assert found.norm == "BatchNorm" and "BatchNorm is mixed in deployed form" in found.notes[0]
    (told,) = [line for line in found.pairs[0].advice if line.startswith("statistics: ")]
    pair = found.pairs[0]
    better = pair.reestimated < 0.9 * pair.ratio
    assert told.startswith(f"statistics: bn='{'reestimate' if better else 'deployed'}': path ratio")
    shown = run(capsys, "model", "check", *files)[1]
    assert f"statistics: --bn {'reestimate' if better else 'deployed'}: path ratio" in shown


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (compact(0, features=6), "body.0.weight is [6, 3, 3, 3], expected [8, 3, 3, 3]"),
        (compact(0, convs=3), "body.6.weight is [8, 8, 3, 3], expected [3, 8, 3, 3]"),
        (batchnorm_dncnn(0)[0], "body.0.weight"),
    ],
    ids=["narrower", "deeper", "another architecture"],
)
def test_a_misfit_says_in_five_lines_what_differs_and_what_to_do(tmp_path, capsys, other, what):
    files = [saved(tmp_path / "a.pth", compact(0)), saved(tmp_path / "b.pth", other)]
    for command in (["model", "check", *files], ["x.png", "-m", f"a={files[0]}", "-m", f"b={files[1]}", "-o", "y.gif"]):
        if command[0] == "x.png":
            command[0] = tmp_path / "x.png"
            cv2.imwrite(str(command[0]), paint(2))
            command[-1] = tmp_path / "y.gif"
        code, _, err = run(capsys, *command)
        lines = [line for line in err.splitlines() if line != "loading"]
        assert code == 4 and len(lines) <= 5, err
        assert what in err and "fine-tuned from one another" in err
        assert any(line.startswith("  a.pth: RealESRGAN Compact") for line in lines)
        assert any(line.startswith("  b.pth: ") for line in lines)


# --- reports


def test_the_report_has_pictures_and_numbers(tmp_path, capsys):
    a = compact(0)
    files = [saved(tmp_path / "sharp.pth", a), saved(tmp_path / "soft.pth", near(a, 1))]
    folder = tmp_path / "report"
    code, out, err = run(capsys, "model", "check", *files, "-o", folder, "--json")
    assert code == 0 and err == ""
    assert sorted(path.name for path in folder.iterdir()) == ["check.json", "layers.png", "sheet.png"]
    data = json.loads(out)
    assert data == json.loads((folder / "check.json").read_text()) and data["verdict"] == "same family"
    assert [point["alpha"] for point in data["pairs"][0]["sweep"]] == [0, 0.25, 0.5, 0.75, 1]
    sheet = cv2.imread(str(folder / "sheet.png"))
    assert sheet.shape[1] > 5 * 48 and cv2.imread(str(folder / "layers.png")).shape == (360, 960, 3)
    code, _, err = run(capsys, "model", "check", *files, "-o", folder)
    assert code == 5 and "sheet.png: exists already; --overwrite replaces it" in err
    assert run(capsys, "model", "check", *files, "-o", folder, "-y", "--no-pictures")[0] == 0


def test_numbers_that_json_lacks_are_null(tmp_path, capsys):
    files = list(tiny_endpoints(tmp_path).values())  # weights of zeros correlate with nothing
    data = json.loads(run(capsys, "model", "check", *files, "--json")[1])
    assert data["pairs"][0]["correlation"] is None and data["verdict"] == "same family"


# --- before a render


def test_a_render_of_strangers_warns_in_one_line_that_names_a_command_that_works(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = make_clip(tmp_path / "clip.mp4", frames=4, size=(32, 32))
    a = compact(0)
    models = {"a": a, "kin": near(a, 1), "b": compact(2)}
    words = []
    for name, state in models.items():
        saved(tmp_path / f"my {name}.pth", state)
        words += ["-m", f"{name}=my {name}.pth"]
    for keys, pair in (("0:b,3:a", 1), ("0:kin,3:a", 0), ("0:b", 0), ("0:kin,3:b", 1)):
        code, _, err = run(capsys, clip, *words, "-k", keys, "-o", "out.mkv", "-y", "--dry-run")
        warnings = [line for line in err.splitlines() if "correlate" in line]
        assert code == 0 and len(warnings) == pair, err
    assert "kin and b are unrelated" in warnings[0]
    command = shlex.split(warnings[0].split("`")[1])
    assert command == ["dnirender", "model", "check", "my kin.pth", "my b.pth"]
    assert run(capsys, *command[1:])[0] == 0


def test_shipped_presets_are_not_doubted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dnirender.models.similarity.LOW_CORRELATION", 2)
    clip = make_clip(tmp_path / "clip.mp4", frames=3, size=(32, 32))
    code, _, err = run(capsys, clip, "-o", tmp_path / "out.mkv", "--dry-run")
    assert code == 0 and "correlate" not in err
    endpoints = dict(tiny_endpoints(tmp_path).items())
    for file in endpoints.values():
        state = load_file(file)
        state["body.0.weight"] = torch.randn(8, 3, 3, 3)
        saved(file.with_suffix(".pth"), state)
    words = [word for name, file in endpoints.items() for word in ("-m", f"{name}={file.with_suffix('.pth')}")]
    code, _, err = run(capsys, clip, *words, "-k", "0:0,2:1", "-o", tmp_path / "out.mkv", "--dry-run")
    assert code == 0 and "correlate" in err


def test_the_most_doubtful_pair_is_told():
    torch.manual_seed(0)
    w = torch.randn(8, 8, 3, 3)
    states = {"a": w, "b": w + 2 * torch.randn_like(w), "c": torch.randn_like(w), "d": w * 2}
    path = WeightPath({name: {"w": tensor} for name, tensor in states.items()})
    assert doubtful_pair(path, [(0, 3)]) is None
    pair, correlation = doubtful_pair(path, [(0, 1), (0, 2), (0, 3)])
    assert pair == (0, 2) and correlation == pytest.approx(compare_tensors("w", w, states["c"]).correlation)


# --- real files


@needs_models
@pytest.mark.parametrize(
    ("first", "second", "expected", "low", "high"),
    [
        ("realesr_general_x4v3", "realesr_general_wdn_x4v3", "same family", 0.2, 0.5),
        ("dncnn_color_sigma10", "dncnn_color_sigma15", "same family", 0.1, 0.5),
        ("dncnn_color_sigma15", "dncnn_color_sigma50", "same family", 0.1, 0.5),
        ("fast_style_la_muse", "fast_style_matta", "far", 0.5, 1),
        ("dncnn_gray_sigma15", "dncnn_gray_sigma25", "unrelated", 1, 10),
        ("fast_style16_candy", "fast_style16_mosaic", "unrelated", 0.5, 10),
    ],
)
def test_verdicts_on_real_pairs(monkeypatch, first, second, expected, low, high):
    monkeypatch.setattr(sweep, "SIDES", (96, 96))
    found = check([MODELS / f"{first}.pth", MODELS / f"{second}.pth"])
    assert found.verdict == expected and low < found.pairs[0].ratio < high


def test_load_is_what_check_loads(tmp_path):
    files = tiny_endpoints(tmp_path)
    assert check(list(files.values())).architecture == load(files)[0].architecture


def test_statistics_are_measured_on_the_clip_of_a_render(tmp_path, capsys):
    clip = make_clip(tmp_path / "clip.mkv", frames=5, size=(32, 32))
    words = []
    for n in (0, 1):
        words += ["-m", f"n{n}={saved(tmp_path / f'{n}.pth', batchnorm_dncnn(n)[0])}"]
    frames = {}
    for bn in ("deployed", "reestimate"):
        out = tmp_path / f"{bn}.mkv"
        code, _, err = run(capsys, clip, *words, "-k", "0:0,4:1", "--bn", bn, "--codec", "ffv1", "-o", out)
        assert code == 0, err
        frames[bn] = [image for _, image in decoded(out)]
    same = [np.array_equal(a, b) for a, b in zip(*frames.values(), strict=True)]
    differs = [np.abs(a.astype(int) - b).max() for a, b in zip(*frames.values(), strict=True)]
    assert max(differs[0], differs[-1]) <= 1 and not any(same[1:-1])
    tiny = [word for name, file in tiny_endpoints(tmp_path).items() for word in ("-m", f"{name}={file}")]
    code, _, err = run(capsys, clip, *tiny, "--bn", "reestimate", "-o", tmp_path / "x.mkv")
    assert code == 2 and "--bn reestimate: expected networks with BatchNorm" in err
