"""Laws of the training of networks that remove noise, fine-tuned or tunable."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from dnirender.cli.main import main
from dnirender.cli.train import make_task
from dnirender.errors import PresetError
from dnirender.families.loading import load_family
from dnirender.media.images import write_png
from dnirender.preset import Preset
from dnirender.train import loop, report
from dnirender.train.data.photos import reduced_view
from dnirender.train.recipe import Recipe
from dnirender.train.tasks.denoise import noisy
from support.gpu_stand_in import step_on_gpu

FAMILIES = ["dni", "adafm", "ftn", "dynamic", "cfs"]
STAGES = [{"train": "base", "endpoint": "low", "steps": 2}, {"train": "endpoints", "steps": 3}]
CPU = torch.device("cpu")


def recipe(family="dni", stages=STAGES, **changes):
    ends = [{"name": "low", "sigma": 10, "share": 0}, {"name": "high", "sigma": 30}]
    data = {"name": "D", "kind": "denoise", "family": family, "photos": ["photos"], "endpoints": ends, "stages": stages}
    return data | {"training": {"batch": 2, "crop": 32, "average": 0}} | changes


@pytest.fixture
def data(tmp_path):
    (tmp_path / "photos").mkdir()
    write_png(tmp_path / "photos" / "a.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    return tmp_path


def task_of(data, family, stages=STAGES, **changes):
    return make_task(Recipe.checked(recipe(family, stages, **changes), "test"), data, Path(), data)


def test_noise_has_its_deviation_and_is_rounded_to_bytes():
    seen = noisy(torch.full((1, 3, 200, 200), 100 / 255), 20, torch.Generator().manual_seed(0))
    torch.testing.assert_close(seen * 255, (seen * 255).round(), atol=1e-4, rtol=0)
    assert (seen * 255).std() == pytest.approx(20, rel=0.02)
    assert noisy(torch.zeros(1, 3, 9, 9), 50, torch.Generator().manual_seed(0)).min() == 0


def test_sigma_is_linear_along_the_path(data, monkeypatch):
    task, found = task_of(data, "dni"), []
    monkeypatch.setattr("dnirender.train.tasks.denoise.noisy", lambda clean, sigma, _: found.append(sigma) or clean)
    for mix in ((1.0, 0.0), (0.25, 0.75), (0.0, 1.0)):
        seen, clean = task.batch(mix, torch.Generator().manual_seed(0))
        assert task.loss(lambda x: x, mix, (seen, clean))["error"].abs() < 1e-6
    assert found == [10, 25, 30]


@pytest.mark.parametrize("family", FAMILIES)
def test_additions_are_trained_for_the_last_endpoint_and_the_base_stays(data, family):
    task = task_of(data, family)
    run = loop.Run(task, CPU)
    rng = torch.Generator().manual_seed(0)
    before = [v.detach().clone() for v in run.space.base.values()]
    base, last = task.recipe.stages
    run.step(base, 0, loop.Example((1.0, 0.0), task.batch((1.0, 0.0), rng), rng.get_state()))
    trained = [v.detach().clone() for v in run.space.base.values()]
    assert any(not torch.equal(a, b) for a, b in zip(before, trained, strict=True))
    added = [v.detach().clone() for v in run.space.deltas[1].values()]
    mix = loop.draw_mix(task, last, rng)
    assert mix == (0.0, 1.0)
    for _ in range(2):  # a last layer of zeros hides the layers before it in the first step
        run.step(last, 0, loop.Example(mix, task.batch(mix, rng), rng.get_state()))
    assert all(torch.equal(a, b) for a, b in zip(trained, run.space.base.values(), strict=True))
    changed = [not torch.equal(a, b) for a, b in zip(added, run.space.deltas[1].values(), strict=True)]
    assert sum(changed) > 0.6 * len(changed)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_written_is_what_was_trained(data, family, tmp_path):
    task = task_of(data, family, [{"train": "path", "steps": 3}])
    endpoints = loop.train(task, tmp_path, CPU)
    preset = Preset.load(report.write_family(task.recipe, "mine", endpoints, task.architecture, tmp_path / "out"))
    network = preset.network
    assert network.family == family
    assert len({endpoint.weights for endpoint in network.endpoints}) == (2 if family == "dni" else 1)
    built, path = load_family(network.family, network.files, network.levels)
    run = loop.Run(task, CPU)
    run.resume(tmp_path / "checkpoint.pt", torch.Generator())
    for alpha, row in zip(((1.0, 0.0), (0.0, 1.0)), path.stack, strict=True):
        weights = run.space.at(alpha)
        for view in path.layout:
            torch.testing.assert_close(view.of(row), weights[view.name].detach(), atol=2e-3, rtol=2e-3)
    assert built.architecture == "denoise"


@pytest.mark.parametrize("family", ["adafm", "cfs"])
def test_a_resumed_training_has_the_result_of_one_that_was_not_stopped(data, family, tmp_path):
    whole = loop.train(task_of(data, family), tmp_path, CPU)
    (tmp_path / "b").mkdir()
    with pytest.raises(KeyboardInterrupt):
        loop.train(task_of(data, family), tmp_path / "b", CPU, stop=lambda done: done == 3)
    again = loop.train(task_of(data, family), tmp_path / "b", CPU)
    assert all(torch.equal(one[name], two[name]) for one, two in zip(whole, again, strict=True) for name in one)


def test_kernels_of_adafm_are_a_setting(data):
    run = loop.Run(task_of(data, "adafm", settings={"kernel": 3}), CPU)
    assert run.space.deltas[1]["body.0.conv1.transformer.weight"].shape == (32, 1, 3, 3)
    with pytest.raises(PresetError, match=r"settings.kernel: expected 1, 3, 5 or 7, that of AdaFM, got 2"):
        task_of(data, "adafm", settings={"kernel": 2})


BAD = {
    "family: ftn has the kind denoise or style, and two endpoints": recipe("ftn") | {"kind": "detail"},
    "low: expected a sigma, the noise that it is for": recipe() | {"endpoints": [{"name": "low"}, {"name": "high"}]},
    "sigma must increase from endpoint to endpoint, got 9.0, 9.0": recipe()
    | {"endpoints": [{"name": "low", "sigma": 9}, {"name": "high", "sigma": 9}]},
}


@pytest.mark.parametrize("message", BAD)
def test_recipes_that_make_no_sense_are_refused(message):
    with pytest.raises(PresetError, match=message):
        Recipe.checked(BAD[message], "test")


def test_the_command_writes_preset_log_and_sheet(data, monkeypatch):
    from ruamel.yaml import YAML

    ends = [{"name": f"s{sigma}", "sigma": sigma} for sigma in (10, 20, 50)]
    text = recipe(endpoints=ends, stages=[{"train": "path", "steps": 1}], show=["photos/a.png"])
    YAML().dump(text, data / "clean.yaml")
    monkeypatch.chdir(data)
    assert main(["train", "clean.yaml", "--data", str(data), "-o", "out", "--device", "cpu"]) == 0
    preset = Preset.load(data / "out" / "clean.yaml")
    assert preset.endpoints.positions == (0, 0.25, 1)
    assert (data / "out" / "weights" / "clean.jpg").is_file()


def test_reduced_views_are_squares_of_the_photograph():
    photo = (torch.rand(3, 90, 120) * 255).byte()
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        part = reduced_view(photo, 32, rng)
        assert part.shape == (3, 32, 32)
        assert part.min() >= 0 and part.max() <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_on_a_gpu_leaves_nothing_on_the_cpu(data, family):
    assert step_on_gpu(task_of(data, family))
