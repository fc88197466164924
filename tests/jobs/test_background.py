"""Laws of renders that are cancelled, and of those that run on a thread of their own."""

import signal
import subprocess
import sys
import threading

import pytest

from dnirender import Cancelled, MediaError, Render, UsageError, render
from support.clips import decoded, make_clip, preset_of


@pytest.fixture
def job(tmp_path, endpoints):
    """Arguments of a render of 24 frames in segments of 4."""
    clip = make_clip(tmp_path / "clip.mp4", frames=24)
    options = {"preset": preset_of(endpoints), "device": "cpu", "dtype": "fp32", "segment_frames": 4}
    return {"input": clip, "output": tmp_path / "out.mp4", "keyframes": "0:0, end:1", **options}


def frames(path):
    return [image.tobytes() for _, image in decoded(path)]


def begun(folder):
    """What lies beside the target of a render that was stopped."""
    return sorted(path.name for path in folder.rglob("*.part"))


@pytest.mark.parametrize("kind", ["event", "function"])
def test_a_cancelled_render_leaves_no_target_and_is_resumed(tmp_path, job, kind):
    stop, seen = threading.Event(), []

    def progress(now):
        seen.append(now)
        if now.done == 10:
            stop.set()

    cancel = stop if kind == "event" else (lambda: stop.is_set())
    with pytest.raises(Cancelled, match=r"out.mp4: cancelled; 8 of 24 frames are finished, and the same call resumes"):
        render(**job, progress=progress, cancel=cancel)
    assert not job["output"].exists()
    assert len(begun(tmp_path)) == 2 and seen[-1].done == 10
    report = render(**job)
    assert (report.resumed, report.frames) == (8, 24)
    assert frames(job["output"]) == frames(render(**job | {"output": tmp_path / "other.mp4"}).output)


def test_a_target_that_was_there_stays_when_a_render_over_it_is_cancelled(job):
    job["output"].write_bytes(b"old")
    with pytest.raises(Cancelled, match="cancelled$"):
        render(**job, cancel=lambda: True, overwrite=True)
    assert job["output"].read_bytes() == b"old"


def test_progress_and_cancel_that_are_no_functions_are_refused(job):
    with pytest.raises(UsageError, match="cancel: expected a threading.Event or a function that returns a bool, got 3"):
        render(**job, cancel=3)
    with pytest.raises(UsageError, match="progress: expected a function, got 'bar'"):
        render(**job, progress="bar")
    with pytest.raises(UsageError, match="cancel: expected a threading.Event"):
        Render(**job, cancel=3)


def test_a_render_on_a_thread_equals_one_on_this(tmp_path, job):
    expected = render(**job | {"output": tmp_path / "expected.mp4"})
    seen = []
    with Render(**job, progress=seen.append) as running:
        assert running.result().frames == expected.frames
    assert running.done and frames(job["output"]) == frames(expected.output)
    now = running.progress
    assert (now.phase, now.done, now.total, now.seconds_left) == ("done", 24, 24, 0)
    assert [step.done for step in seen if step.alpha] == list(range(1, 25))


class Gate:
    """A `progress` that holds the render at a frame until it is opened."""

    def __init__(self, frame):
        self.frame, self.reached, self.open = frame, threading.Event(), threading.Event()

    def __call__(self, now):
        if now.done == self.frame and now.alpha:
            self.reached.set()
            assert self.open.wait(60)


def test_a_render_tells_how_far_it_is_and_is_cancelled_from_another_thread(tmp_path, job):
    gate = Gate(9)
    running = Render(**job, progress=gate)
    assert (running.progress.phase, running.done) == ("waiting", False)
    with pytest.raises(UsageError, match=r"result: this render has not begun; call start\(\)"):
        running.result()
    assert running.start() is running and gate.reached.wait(60)
    with pytest.raises(UsageError, match="start: this render has begun already"):
        running.start()
    now = running.progress
    assert (now.phase, now.done, now.total) == ("rendering", 9, 24) and now.seconds_left > 0
    assert '<progress value="9" max="24">' in running._repr_html_()
    with pytest.raises(TimeoutError, match=r"out.mp4: still rendering after 0.01 s"):
        running.result(timeout=0.01)
    running.cancel()
    assert not running.done
    gate.open.set()
    with pytest.raises(Cancelled, match="8 of 24 frames are finished"):
        running.result(timeout=60)
    assert (running.done, running.progress.phase) == (True, "cancelled")
    assert "cancelled" in running._repr_html_() and len(begun(tmp_path)) == 2


def test_an_exception_in_the_block_cancels_and_is_the_one_that_is_raised(job):
    gate = Gate(9)
    with pytest.raises(ZeroDivisionError), Render(**job, progress=gate) as running:
        assert gate.reached.wait(60)
        gate.open.set()
        raise ZeroDivisionError
    assert running.progress.phase == "cancelled" and not job["output"].exists()


def test_what_a_render_raises_comes_out_of_result_and_of_the_block(tmp_path, job):
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with pytest.raises(MediaError), Render(**job):
        pass
    running = Render(**job).start()
    for _ in range(2):
        with pytest.raises(MediaError):
            running.result()
    assert running.progress.phase == "failed" and "clip.mp4" in running._repr_html_()


def test_arguments_are_checked_when_it_is_made(job):
    with pytest.raises(UsageError, match="crff: unknown option; did you mean crf"):
        Render(**job, crff=3)


PROGRAM = """
import sys, threading, time
from dnirender import Preset, Render
from pathlib import Path
endpoints = [{"name": Path(file).stem, "weights": file} for file in sys.argv[3:]]
preset = Preset.checked({"name": "test", "network": {"endpoints": endpoints}}, "test")
reached = threading.Event()
def progress(now):
    if now.done == 9 and now.alpha:
        reached.set()
        while not threading._SHUTTING_DOWN:  # the main thread ends while this frame is in progress
            time.sleep(0.01)
running = Render(sys.argv[1], sys.argv[2], preset=preset, segment_frames=4, progress=progress).start()
assert reached.wait(60)
if FAILS:
    raise KeyboardInterrupt
"""


@pytest.mark.parametrize("fails", [False, True])
def test_a_process_that_ends_waits_for_it_and_one_that_fails_cancels_it(tmp_path, job, endpoints, fails):
    command = [
        sys.executable,
        "-c",
        PROGRAM.replace("FAILS", str(fails)),
        job["input"],
        job["output"],
        *endpoints.values(),
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == (-signal.SIGINT if fails else 0), done.stderr
    assert job["output"].exists() is not fails
    assert len(begun(tmp_path)) == (2 if fails else 0)


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out%02d.png", "out.webp"])
def test_a_notebook_shows_a_report_with_a_frame_of_the_output(tmp_path, job, name):
    report = render(**job | {"output": tmp_path / name, "input": make_clip(tmp_path / "a&b.mp4", frames=4)})
    shown = report._repr_html_()
    assert "<table>" in shown and f"<td>{tmp_path / name}</td>" in shown and f"<td>{report.frames}</td>" in shown
    kind = {"out.gif": "gif", "out.webp": "webp"}.get(name, "png")
    assert f'<img src="data:image/{kind};base64,' in shown
    for path in tmp_path.glob("out*"):
        path.unlink()
    assert "<table>" in report._repr_html_() and "<img" not in report._repr_html_()


def test_names_of_files_are_escaped_in_notebooks(tmp_path, job):
    report = render(**job | {"output": tmp_path / "<b>&.mp4"})
    assert "&lt;b&gt;&amp;.mp4" in report._repr_html_()
    assert "&lt;b&gt;&amp;.mp4" in Render(**job | {"output": tmp_path / "<b>&.mp4"}, overwrite=True)._repr_html_()
