"""Laws of the analysis of filters: line fits, matching in any order, tables, pictures."""

import importlib.util
import itertools
import json
import sys

import cv2
import numpy as np
import pytest
import torch

from dnirender.cli.main import main
from dnirender.layout import charts
from dnirender.models.analysis import analyze
from support.clips import MODELS, needs_models

needs_scipy = pytest.mark.skipif(importlib.util.find_spec("scipy") is None, reason="scipy is not installed")
SHAPES = {"first.weight": (8, 3, 3, 3), "first.bias": (8,), "middle.weight": (8, 8, 3, 3), "last.weight": (3, 8, 3, 3)}


def random_state(seed):
    torch.manual_seed(seed)
    return {name: torch.randn(shape) for name, shape in SHAPES.items()}


def saved(folder, **states):
    for name, state in states.items():
        torch.save(state, folder / f"{name}.pth")
    return [folder / f"{name}.pth" for name in states]


def mixed(a, c, alpha):
    return {name: (1 - alpha) * a[name] + alpha * c[name] for name in a}


def test_a_network_on_the_line_is_found_there(tmp_path):
    a, c = random_state(0), random_state(1)
    off = {name: tensor + 0.2 * torch.randn_like(tensor) for name, tensor in mixed(a, c, 0.3).items()}
    found = analyze(saved(tmp_path, a=a, on=mixed(a, c, 0.3), off=off, c=c))
    on, off = found.fits
    assert (on.first, on.middle, on.second, off.middle) == ("a", "on", "c", "off")
    assert on.alpha == pytest.approx(0.3, abs=1e-5) and on.residual < 1e-5
    assert on.alphas == pytest.approx([0.3] * 3, abs=1e-4) and max(on.residuals) < 1e-4
    # noise of 0.2 beside 0.3 of the distance of two random filters, sqrt(2)
    assert off.alpha == pytest.approx(0.3, abs=0.05) and off.residual == pytest.approx(0.2 / np.hypot(0.2, 0.424), 0.1)


def test_cosines_fall_gradually_along_a_line_and_strangers_have_none(tmp_path):
    a, c = random_state(0), random_state(1)
    path = {f"p{k}": mixed(a, c, k / 4) for k in range(4)}
    found = analyze(saved(tmp_path, **path, stranger=random_state(2)))
    means = [np.mean(values) for values in found.cosines.values()]
    assert means[0] == pytest.approx(1) and all(one > other for one, other in itertools.pairwise(means))
    assert abs(means[-1]) < 0.2 and found.table[0, -1] == pytest.approx(0, abs=0.2)
    assert np.array_equal(found.table, found.table.T) and np.allclose(np.diag(found.table), 1)
    assert len(found.filters["p0 and p1"]) == 8 + 8 + 3 and found.filters["p0 and p1"].min() > 0.8


def test_corresponding_filters_are_correlated_one_by_one(tmp_path):
    a = random_state(0)
    b = {name: tensor.clone() for name, tensor in a.items()}
    b["first.weight"][2] *= -3
    b["first.weight"][5] += 7
    found = analyze(saved(tmp_path, a=a, b=b))
    expected = np.ones(19)
    expected[2] = -1
    assert np.allclose(found.filters["a and b"], expected, atol=1e-6)
    assert found.correlations["a and b"] == pytest.approx([6 / 8, 1, 1])
    assert found.layers == ["first.weight", "middle.weight", "last.weight"]


@needs_scipy
def test_filters_are_matched_in_any_order(tmp_path):
    a = random_state(0)
    order = torch.tensor([3, 0, 1, 2, 4, 5, 7, 6])
    b = dict(a) | {"first.weight": a["first.weight"][order], "last.weight": a["last.weight"][:, order]}
    found = analyze(saved(tmp_path, a=a, b=b, c=random_state(1)))
    first, last, *strangers = found.matchings
    assert (first.layer, last.layer) == ("first.weight", "last.weight")
    for match in (first, last):
        assert match.matched == pytest.approx(1) and match.moved == 6 / 8 and match.in_place < 0.7
    for match in strangers:
        assert match.in_place < match.matched < 0.7 and abs(match.matched - match.chance) < 0.25


def test_without_scipy_everything_else_works_and_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    files = saved(tmp_path, a=random_state(0), b=random_state(1))
    assert main(["model", "analyze", *map(str, files)]) == 0
    assert "filters are matched with scipy: pip install 'dnirender[align]'" in capsys.readouterr().out


def test_the_report_shows_the_same_filter_in_the_same_place(tmp_path, capsys):
    a, c = random_state(0), random_state(1)
    files = saved(tmp_path, a=a, b=mixed(a, c, 0.5), c=c)
    folder = tmp_path / "report"
    assert main(["model", "analyze", *map(str, files), "-o", str(folder), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data == json.loads((folder / "analysis.json").read_text())
    assert data["fits"][0]["alpha"] == pytest.approx(0.5, abs=1e-5)
    names = ["analysis.json", "first_filters.png", "last_filters.png", "layers.png", "tables.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all(cv2.imread(str(folder / name)) is not None for name in names if name.endswith("png"))
    assert main(["model", "analyze", *map(str, files), "-o", str(folder)]) == 5


def test_filter_grids_color_by_value_and_share_the_range_of_a_filter():
    one, two = np.zeros((2, 1, 1, 3)), np.zeros((2, 1, 1, 3))
    one[0], two[0], one[1] = 2.0, -1.0, [0.1, -0.1, 0.0]
    image = charts.filter_grids({"a": one, "b": two}, "t", columns=2, zoom=4)
    left, right = 16, 16 + 10 + 16
    assert image[68, left].tolist() == [255, 255, 255] and image[68, right].tolist() == [64, 64, 64]
    assert image[68, left + 5].tolist() == [255, 0, 128] and image[68, right + 5].tolist() == [128, 128, 128]


def test_curves_have_gaps_where_a_value_is_none():
    whole = charts.curves({"a": [0.5] * 9}, "t")
    gap = charts.curves({"a": [0.5, 0.5, 0.5, np.nan, np.nan, np.nan, 0.5, 0.5, 0.5]}, "t")
    x = [60 + round((960 - 84) * position) for position in (0.1, 0.5, 0.9)]
    y = 52 + (360 - 86) // 2
    drawn = [[image[y - 3 : y + 4, column].max() > 200 for column in x] for image in (whole, gap)]
    assert drawn == [[True, True, True], [True, False, True]]


@needs_models
def test_the_level_of_noise_is_a_direction_in_weights():
    found = analyze([MODELS / f"dncnn_color_sigma{sigma}.pth" for sigma in (10, 15, 50)])
    means = [np.mean(values) for values in found.cosines.values()]
    assert means[0] > means[1] > means[2] > 0.4
    assert 0 < found.fits[0].alpha < 0.5
    gray = analyze([MODELS / f"dncnn_gray_sigma{sigma}.pth" for sigma in (15, 25)])
    assert abs(gray.table[0, 1]) < 0.15
