"""Laws of estimates: what the same job took, for as many frames as are left; nothing where nothing was measured."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dnirender.cli.main import main
from dnirender.cli.render import NOT_MEASURED
from dnirender.engine.calibration import GRAPH_SECONDS
from dnirender.jobs.estimate import estimate_seconds, remember_run
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import prepare
from support.clips import make_clip, preset_of

MODELS = ["-m", "day=day.safetensors", "-m", "night=night.safetensors"]


@pytest.fixture
def cached(tmp_path, monkeypatch):
    monkeypatch.setenv("DNIRENDER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def ready(tmp_path, clip, endpoints, cached):
    """Twelve frames, prepared without measuring, but for a pace of the networks of 0.25 s."""

    def make(**options):
        job = make_job(clip, tmp_path / options.pop("name", "out.mp4"), preset_of(endpoints), dtype="fp32", **options)
        prepared = prepare(make_plan(job), measure=False)
        engine = prepared.engine
        engine._configuration = replace(engine._configuration, seconds_per_frame=0.25)
        return prepared

    return make


def took(first, rendering, joining):
    return SimpleNamespace(first_frame=first, seconds={"rendering": rendering, "joining": joining})


def test_a_job_takes_what_it_took(ready):
    assert estimate_seconds(ready(), 3.0) is None
    remember_run(ready(), took(2.0, 57.0, 1.2), 12)
    assert estimate_seconds(ready(), 3.0) == pytest.approx(3 + 57 + 1.2)
    assert estimate_seconds(ready(end="6"), 3.0) == pytest.approx(3 + 2 + 5 * 5 + 0.6)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 48},
        {"codec": "mpeg4", "encoder_options": {}},
        {"panels": ("source", "render")},
        {"name": "out.gif"},
        {"encoder_options": {"preset": "slow"}},
        {"threads": 3},
    ],
)
def test_another_way_of_rendering_takes_another_time(ready, change):
    import torch

    threads = torch.get_num_threads()
    remember_run(ready(), took(2.0, 57.0, 1.2), 12)
    try:
        assert estimate_seconds(ready(**change), 3.0) is None
    finally:
        torch.set_num_threads(threads)
    assert estimate_seconds(ready(crf=30), 3.0) is not None


def test_panels_of_one_size_that_need_other_frames_take_another_time(ready):
    remember_run(ready(panels=("source", "render")), took(2.0, 57.0, 1.2), 12)
    assert estimate_seconds(ready(panels=("night", "render")), 3.0) is None


def test_the_other_backend_takes_what_its_networks_take_less(ready):
    remember_run(ready(), took(2.0, 57.0, 1.2), 12)
    prepared = ready()
    prepared.engine._configuration = replace(prepared.engine._configuration, backend="openvino", seconds_per_frame=0.15)
    assert estimate_seconds(prepared, 3.0) == pytest.approx(3 + GRAPH_SECONDS + 2 + 11 * 4.9 + 1.2)


def test_runs_of_few_frames_tell_nothing(ready):
    remember_run(ready(), took(2.0, 57.0, 1.2), 11)
    assert estimate_seconds(ready(), 3.0) is None


@pytest.mark.parametrize("value", [{"torch": 3}, {"torch": {"first": 1.0}}, {"torch": {"first": "1", "frame": 1.0}}])
def test_an_entry_of_another_form_tells_nothing(ready, value):
    from dnirender.jobs.estimate import _details

    prepared = ready()
    prepared.engine.measurements.write("render", value, **_details(prepared))
    assert estimate_seconds(prepared, 3.0) is None


def test_a_dry_run_says_so_where_nothing_was_measured_and_estimates_after_a_run(tmp_path, cached, monkeypatch, capsys):
    from support.clips import tiny_endpoints

    monkeypatch.chdir(tmp_path)
    tiny_endpoints(tmp_path)
    make_clip(tmp_path / "clip.mp4", frames=30)
    command = ["clip.mp4", *MODELS, "-o", "out.mp4", "-y", "--no-progress"]

    def dry(*more):
        assert main([*command, "--dry-run", *more]) == 0
        return capsys.readouterr().out

    assert json.loads(dry("--json"))["estimated_seconds"] is None
    assert f"estimated seconds: {NOT_MEASURED}" in dry()
    assert main(command) == 0
    capsys.readouterr()
    assert 0 < json.loads(dry("--json"))["estimated_seconds"] < 60
    assert json.loads(dry("--json", "--no-cache"))["estimated_seconds"] is None


def test_a_benchmark_measures_what_a_dry_run_asks_for(tmp_path, cached, monkeypatch, capsys):
    from support.clips import tiny_endpoints

    monkeypatch.chdir(tmp_path)
    tiny_endpoints(tmp_path)
    make_clip(tmp_path / "clip.mp4", frames=30)
    assert main(["bench", "clip.mp4", *MODELS]) == 0
    capsys.readouterr()
    assert main(["clip.mp4", *MODELS, "-o", "out.mp4", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["estimated_seconds"] > 0
