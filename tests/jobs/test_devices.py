"""Laws of jobs on several devices: each takes segments of its own, and the result is that of one."""

import threading

import numpy as np
import pytest
import torch

from dnirender import render
from dnirender.engine.cpu import CPUWorker
from dnirender.errors import Cancelled, RenderError, UsageError
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import prepare
from dnirender.jobs.render import run
from support.clips import decoded, frame_number, leftovers, make_clip, packets, preset_of

FFV1 = {"codec": "ffv1", "pix_fmt": "yuv444p"}
OPTIONS = {"keyframes": "0:0, end:1", "dtype": "fp32", "backend": "torch", "segment_frames": 3}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def rendered(clip, target, endpoints, **options):
    return render(clip, target, preset=preset_of(endpoints, encoding=FFV1), **{**OPTIONS, **options})


@pytest.fixture
def threads_of(monkeypatch):
    """The threads that rendered each frame, by its index."""
    found, render_frame = {}, CPUWorker._render_frame

    def watched(worker, frame, alpha):
        found[frame.index] = threading.current_thread()
        return render_frame(worker, frame, alpha)

    monkeypatch.setattr(CPUWorker, "_render_frame", watched)
    return found


@pytest.mark.usefixtures("one_lane")
@pytest.mark.parametrize("devices", ["cpu,cpu", "cpu, cpu, cpu"])
def test_several_devices_render_what_one_does(tmp_path, clip, endpoints, threads_of, devices):
    alone = rendered(clip, tmp_path / "alone.mkv", endpoints, device="cpu")
    threads_of.clear()
    report = rendered(clip, tmp_path / "both.mkv", endpoints, device=devices)
    assert report.device == devices.replace(" ", "") and report.frames == 12
    assert packets(tmp_path / "both.mkv", "video") == packets(tmp_path / "alone.mkv", "video")
    assert report.weight_writes == alone.weight_writes
    count = len(devices.split(","))
    by_segment = [threads_of[3 * number] for number in range(4)]
    assert len(set(by_segment)) == count
    assert all(threads_of[index] == by_segment[index // 3] for index in range(12))
    assert all(by_segment[number] == by_segment[number % count] for number in range(4))


def test_progress_counts_the_frames_of_all_devices(tmp_path, clip, endpoints):
    seen = []
    rendered(clip, tmp_path / "out.mkv", endpoints, device="cpu,cpu", progress=seen.append)
    assert [now.done for now in seen if now.alpha is not None] == list(range(1, 13))


def test_one_segment_needs_one_device(tmp_path, clip, endpoints):
    report = rendered(clip, tmp_path / "out.mkv", endpoints, device="cpu,cpu", segment_frames=100)
    assert [frame_number(image) for _, image in decoded(report.output)] == list(range(12))


def test_an_error_on_one_device_stops_the_others(tmp_path, clip, endpoints, monkeypatch):
    render_frame = CPUWorker._render_frame

    def failing(worker, frame, alpha):
        if frame.index == 4:
            raise RenderError("frame 4 burns")
        return render_frame(worker, frame, alpha)

    monkeypatch.setattr(CPUWorker, "_render_frame", failing)
    with pytest.raises(RenderError, match="frame 4 burns"):
        rendered(clip, tmp_path / "out.mkv", endpoints, device="cpu,cpu")
    assert not (tmp_path / "out.mkv").exists()
    assert not [thread for thread in threading.enumerate() if thread.name in ("segments", "decode", "render")]


def test_a_stopped_job_resumes_on_the_same_devices(tmp_path, clip, endpoints):
    expected = rendered(clip, tmp_path / "alone.mkv", endpoints, device="cpu").output
    done = []
    with pytest.raises(Cancelled, match="frames are finished"):
        rendered(
            clip, tmp_path / "out.mkv", endpoints, device="cpu,cpu", progress=done.append, cancel=lambda: len(done) > 10
        )
    report = rendered(clip, tmp_path / "out.mkv", endpoints, device="cpu,cpu")
    assert report.resumed > 0 and report.device == "cpu,cpu"
    assert packets(tmp_path / "out.mkv", "video") == packets(expected, "video")
    assert leftovers(tmp_path) == []


def test_a_device_that_is_not_there_is_named(tmp_path, clip, endpoints):
    with pytest.raises(UsageError, match="device='gpu': expected auto, cpu, cuda or cuda:N"):
        rendered(clip, tmp_path / "out.mkv", endpoints, device="cpu,gpu")


def test_lost_frames_are_recorded_by_all_devices(tmp_path, endpoints):
    clip = make_clip(tmp_path / "clip.mkv", frames=12, codec="ffv1")
    plan = make_plan(make_job(clip, tmp_path / "out.mkv", preset_of(endpoints), device="cpu,cpu", **OPTIONS))
    prepared = prepare(plan)
    plan.source.concealed_frames.update({1, 7})
    report = run(prepared)
    assert any("2 of 12 frames could not be decoded" in warning for warning in report.warnings)


@needs_cuda
def test_two_workers_on_one_gpu_render_what_the_cpu_does(tmp_path, clip, endpoints):
    expected = rendered(clip, tmp_path / "cpu.mkv", endpoints, device="cpu").output
    report = rendered(clip, tmp_path / "gpu.mkv", endpoints, device="cuda:0,cuda:0")
    assert report.device == "cuda:0,cuda:0"
    for (time, image), (other, wanted) in zip(decoded(report.output), decoded(expected), strict=True):
        assert time == other
        assert np.abs(image.astype(int) - wanted).max() <= 4
