"""What `dnirender bench` tells: figures of the job as it would be rendered, and nothing left behind."""

import json

import pytest

from dnirender.cli.main import main
from dnirender.jobs import benchmark as bench_module
from dnirender.jobs.benchmark import _seconds_per_tick, bench
from dnirender.jobs.job import make_job
from dnirender.progress import ProgressTracker
from support.clips import make_clip, preset_of, tiny_endpoints

MODELS = ["-m", "day=day.safetensors", "-m", "night=night.safetensors"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench_module, "SIZE", (48, 64))
    tiny_endpoints(tmp_path)
    make_clip(tmp_path / "clip.mp4", frames=30)
    return tmp_path


@pytest.mark.parametrize("source", [["clip.mp4"], []])
def test_the_figures_are_those_of_the_job_and_nothing_is_left(here, capsys, source):
    before = set(here.iterdir())
    assert main(["bench", *source, *MODELS, "--json", "--width", "32", "--dtype", "fp32"]) == 0
    figures = json.loads(capsys.readouterr().out)
    size = (32, 21) if source else (32, 24)  # 96 x 64 and 64 x 48, narrowed
    assert figures["size"].startswith(f"{size[0]}x{size[1]} -> 32x")
    assert (figures["device"], figures["dtype"], figures["tile"]) == ("cpu", "fp32", "none")
    assert figures["whole"] > 0 and figures["networks"] > 0 and figures["rest"] > 0
    assert figures["fps"] == pytest.approx(1000 / figures["whole"], rel=0.02)
    assert figures["bound"] == ("the networks" if figures["networks"] > figures["rest"] else "decoding and encoding")
    assert set(here.iterdir()) == before


def test_people_read_a_table(here, capsys):
    assert main(["bench", "clip.mp4", *MODELS, "--tile", "32"]) == 0
    out = capsys.readouterr().out
    assert "frames/s, limited by" in out
    assert "tile 32x32" in out


def test_a_missing_input_is_told(here, capsys):
    assert main(["bench", "nothing.mp4", *MODELS]) == 3
    assert "nothing.mp4: no such file" in capsys.readouterr().err


def test_the_first_quarter_warms_up_and_what_follows_the_last_frame_counts(monkeypatch):
    times = iter([0.0, 10.0, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 30.0])
    monkeypatch.setattr(bench_module.time, "perf_counter", lambda: next(times))

    def work(tick):
        for _ in range(8):
            tick((1.0, 0.0))

    assert _seconds_per_tick(work, lambda *_: None) == pytest.approx((30 - 20) / 6)


def test_progress_counts_every_frame_with_and_without_the_networks(here):
    job = make_job(here / "clip.mp4", here / "out.mp4", preset_of(tiny_endpoints(here)), dtype="fp32")
    seen = []
    bench(job, progress=ProgressTracker(seen.append))
    phases = [now.phase for now in seen if now.alpha is None]
    assert phases[0] == "loading" and phases[-1] == "rendering" and "choosing" in phases
    frames = [now for now in seen if now.alpha is not None]
    assert [now.done for now in frames] == list(range(1, 61)) and {now.total for now in frames} == {60}
