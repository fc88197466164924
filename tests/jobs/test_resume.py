"""Laws of stopping and going on: whatever happens, the target is absent, old or complete, and little is done twice."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import av
import pytest

from dnirender import MediaError, OutputError, render
from dnirender.cli.main import main
from dnirender.jobs import finish, pipeline
from dnirender.jobs import workspace as work
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import prepare
from dnirender.jobs.render import run
from dnirender.jobs.workspace import Manifest, Workspace
from dnirender.progress import ProgressTracker
from support.clips import decoded, frame_number, leftovers, make_clip, packets, preset_of, tiny_endpoints

LOSSLESS = {"codec": "ffv1", "pix_fmt": "yuv444p"}
FORMATS = ["out.mkv", "out.gif", "out.webp", "out.apng", "f_%02d.png"]


class Stop(Exception):
    pass


@pytest.fixture
def job(clip, endpoints):
    """Twelve frames in segments of four, without a loss."""
    preset = preset_of(endpoints, encoding=LOSSLESS, animation={"fps": 25})
    return {"input": clip, "preset": preset, "keyframes": "0:0,11:1", "dtype": "fp32", "segment_frames": 4}


def stop_after(count, error=Stop):
    """Progress that stops the render once so many frames of the whole are done."""

    def progress(now):
        if now.done == count and now.alpha is not None:
            raise error

    return progress


def hashes(path):
    return [(time, hashlib.sha256(image.tobytes()).hexdigest()) for time, image in decoded(path)]


def files(folder, pattern="*"):
    return {path.name: path.read_bytes() for path in sorted(folder.glob(pattern)) if path.is_file()}


@pytest.mark.parametrize("after", [1, 4, 5, 8, 12])
@pytest.mark.parametrize("name", FORMATS)
def test_the_same_job_goes_on_and_equals_one_that_was_not_stopped(tmp_path, job, name, after):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    render(output=whole / name, **job)
    with pytest.raises(Stop):
        render(output=parts / name, progress=stop_after(after), **job)
    assert not files(parts, "[!.]*")
    assert bool(leftovers(parts)) == (after > 4)
    seen = []
    report = render(output=parts / name, progress=seen.append, **job)
    kept = (after - 1) // 4 * 4
    assert report.resumed == kept and report.frames == 12
    assert [now.done for now in seen if now.alpha is not None] == list(range(kept + 1, 13))
    if name == "out.mkv":  # Matroska gives every file another number
        assert hashes(parts / name) == hashes(whole / name)
        assert packets(parts / name, "audio") == packets(whole / name, "audio")
    else:
        assert files(parts) == files(whole)
    assert leftovers(parts) == []


@pytest.mark.parametrize("after", [2, 6])
def test_a_boomerang_goes_on(tmp_path, job, after):
    for name in ("a.mkv", "b.mkv"):
        if name == "b.mkv":
            with pytest.raises(Stop):
                render(output=tmp_path / name, boomerang=True, progress=stop_after(after), **job)
        render(output=tmp_path / name, boomerang=True, **job)
    assert hashes(tmp_path / "a.mkv") == hashes(tmp_path / "b.mkv")
    assert len(hashes(tmp_path / "a.mkv")) == 22


def test_pictures_do_not_depend_on_segments_batches_or_a_stop(tmp_path, job):
    made = []
    for number, changes in enumerate(
        [
            {"segment_frames": 100},
            {"segment_frames": 1},
            {"segment_frames": 5, "batch": 4},
            {"segment_frames": 3},
            {"segment_frames": None},
        ]
    ):
        target = tmp_path / f"{number}.mkv"
        if number == 3:
            with pytest.raises(Stop):
                render(output=target, progress=stop_after(8), **job | changes)
        render(output=target, **job | changes)
        made.append(hashes(target))
    assert all(one == made[0] for one in made[1:])


def test_old_files_stay_until_the_new_one_is_whole(tmp_path, job):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"the old file")
    for error in (Stop, KeyboardInterrupt, SystemExit):
        with pytest.raises(error):
            render(output=target, overwrite=True, progress=stop_after(10, error), **job | {"preset": plain(job)})
        assert target.read_bytes() == b"the old file"
    render(output=target, overwrite=True, **job | {"preset": plain(job)})
    assert [frame_number(image) for _, image in decoded(target)] == list(range(12))


def plain(job):
    return job["preset"].override({"encoding": {"codec": "libx264", "pix_fmt": "yuv420p"}})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"keyframes": "0:1,11:0"}, "timeline"),
        ({"end": "11"}, "end"),
        ({"dtype": "bf16"}, "dtype"),
        ({"preset": {"encoding": {"options": {"g": "1"}}}}, "encoding"),
        ({"preset": {"layout": {"width": 48}}}, "layout"),
    ],
)
def test_a_changed_job_uses_nothing_of_the_old_one_and_says_so(tmp_path, job, changes, told):
    target, straight = tmp_path / "out.mkv", tmp_path / "straight.mkv"
    with pytest.raises(Stop):
        render(output=target, progress=stop_after(9), **job)
    if "preset" in changes:
        changes = {"preset": job["preset"].override(changes["preset"])}
    report = render(output=target, **job | changes)
    assert report.resumed == 0
    assert any(f"another job was started on it, with a different {told};" in warning for warning in report.warnings)
    render(output=straight, **job | changes)
    assert hashes(target) == hashes(straight)
    assert leftovers(tmp_path) == []


def test_sound_may_be_left_out_of_what_was_begun_with_it(tmp_path, job):
    target = tmp_path / "out.mkv"
    with pytest.raises(Stop):
        render(output=target, progress=stop_after(9), **job)
    silent = job | {"preset": job["preset"].override({"encoding": {"audio": False}})}
    assert render(output=target, **silent).resumed == 8
    with av.open(str(target)) as made:
        assert not made.streams.audio


@pytest.mark.parametrize("what", ["input", "input, by its date", "weights"])
def test_files_that_changed_make_another_job(tmp_path, job, what):
    target = tmp_path / "out.mkv"
    with pytest.raises(Stop):
        render(output=target, progress=stop_after(9), **job)
    if what == "input":
        make_clip(job["input"], audio="aac", b_frames=2, start_number=100)
    elif what != "weights":
        os.utime(job["input"], ns=(1, 1))
    else:
        tiny_endpoints(tmp_path, day=0.0, night=-0.3)
    report = render(output=target, **job)
    assert report.resumed == 0
    assert any(f"with a different {what.split(',')[0]};" in warning for warning in report.warnings)
    if what == "input":
        assert frame_number(decoded(target)[0][1]) == 100


def test_restart_forgets(tmp_path, job):
    target = tmp_path / "out.mkv"
    with pytest.raises(Stop):
        render(output=target, progress=stop_after(9), **job)
    report = render(output=target, restart=True, **job)
    assert report.resumed == 0 and not report.warnings[1:]
    assert leftovers(tmp_path) == []


def test_what_a_job_was_begun_with_is_what_it_goes_on_with(tmp_path, job):
    target = tmp_path / "out.mkv"
    auto = job | {"dtype": "auto"}
    with pytest.raises(Stop):
        render(output=target, progress=stop_after(9), **auto)
    (folder,) = tmp_path.glob(".*.parts")
    begun = Manifest.read(folder)
    assert set(begun.engine) == {"device", "dtype", "backend", "threads", "tile"}
    replace(begun, engine={**begun.engine, "dtype": "bf16", "threads": 1, "tile": (48, 64)}).write(folder)
    report = render(output=target, **auto)
    assert (report.dtype, report.workers, report.tile) == ("bf16", 1, (48, 64))
    assert report.resumed == 8


def test_what_is_no_longer_to_be_had_is_told(tmp_path, job):
    target = tmp_path / "out.mkv"
    with pytest.raises(Stop):
        render(output=target, progress=stop_after(9), **job)
    (folder,) = tmp_path.glob(".*.parts")
    begun = Manifest.read(folder)
    replace(begun, engine={**begun.engine, "device": "cuda:7"}).write(folder)
    with pytest.raises(
        ValueError, match="cuda:7.*; the job was started with this setting, and restart=True starts it anew"
    ):
        render(output=target, **job)
    assert render(output=target, restart=True, **job).frames == 12


def test_a_stop_while_tidying_up_leaves_a_whole_file_and_needs_no_leave_to_go_on(tmp_path, job, monkeypatch):
    target = tmp_path / "out.mkv"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(work.Workspace, "cleanup", lambda _: (_ for _ in ()).throw(Stop))
        render(output=target, **job)
    before = hashes(target)
    assert leftovers(tmp_path)
    report = render(output=target, **job)  # without overwrite
    assert report.resumed == 12 and hashes(target) == before
    assert leftovers(tmp_path) == []
    with pytest.raises(OutputError, match="exists already"):
        render(output=target, **job)


def test_a_damaged_part_is_rendered_again(tmp_path, job):
    target = tmp_path / "out.mkv"
    with pytest.raises(Stop):
        render(output=target, progress=stop_after(9), **job)
    part = sorted(tmp_path.glob(".*.parts/*.part"))[1]
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(OutputError, match="this finished segment is corrupt; run again"):
        render(output=target, **job)
    assert not target.exists()
    assert render(output=target, **job).resumed == 8
    assert [frame_number(image) for _, image in decoded(target)] == list(range(12))


@pytest.mark.parametrize(("suffix", "count"), [(".mkv", 8), (".gif", 8), (".mkv", 0)])
def test_what_is_done_can_be_published(tmp_path, job, suffix, count):
    target = tmp_path / f"out{suffix}"
    with pytest.raises(Stop):
        render(output=target, keep_partial=True, progress=stop_after(count + 2), **job)
    partial = tmp_path / f"out.partial{suffix}"
    assert not target.exists() and partial.exists() == bool(count)
    if count:
        assert [frame_number(image) for _, image in decoded(partial)] == list(range(count))
    if suffix == ".mkv" and count:
        assert [t for t, _ in decoded(partial)] == [Fraction(i, 25) for i in range(count)]
        assert 0 < max(t for t, _ in packets(partial, "audio")) < Fraction(count, 25)
    with pytest.raises(Stop):  # the segments are those that were begun with
        render(output=target, keep_partial=True, progress=stop_after(count + 2), **job | {"segment_frames": 100})
    assert not count or [frame_number(image) for _, image in decoded(partial)] == list(range(count))
    assert render(output=target, **job).resumed == count


def test_a_full_disk_names_the_bytes_and_the_job_goes_on(tmp_path, job, monkeypatch):
    target, fsync, calls = tmp_path / "out.mkv", os.fsync, []

    def full(number):
        calls.append(number)
        if len(calls) > 4:  # manifest and its folder, the first part and its folder
            raise OSError(errno.ENOSPC, "No space left on device")
        return fsync(number)

    with monkeypatch.context() as patch, pytest.raises(OutputError) as error:
        patch.setattr(os, "fsync", full)
        render(output=target, **job)
    assert "out.mkv: the disk is full: about " in str(error.value)
    assert " more are needed, " in str(error.value) and "resumes after 4 of 12 frames" in str(error.value)
    assert render(output=target, **job).resumed == 4


def test_a_disk_that_is_too_small_is_refused_before_the_first_frame(tmp_path, job, monkeypatch):
    from dnirender.jobs import disk_space as space

    usage = space.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: usage._replace(free=900))
    with pytest.raises(
        OutputError, match=r"the disk is too small: about \d+ kB are needed, 900 bytes are free in .*; free some"
    ):
        render(output=tmp_path / "out.mkv", **job)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: usage._replace(free=200_000))
    report = render(output=tmp_path / "out.mkv", **job)
    assert any("the disk may be too small" in warning for warning in report.warnings)


def test_what_goes_wrong_in_the_source_keeps_what_was_done(tmp_path, job, monkeypatch):
    target = tmp_path / "out.mkv"
    with monkeypatch.context() as patch, pytest.raises(MediaError, match="torn"):

        def torn(image, *size):
            torn.seen = getattr(torn, "seen", 0) + 1
            if torn.seen == 10:
                raise MediaError("torn")
            return image

        patch.setattr(pipeline.resize, "resize_to", torn)
        render(output=target, **job)
    assert not target.exists()
    assert render(output=target, **job).resumed == 8


def test_another_job_does_not_take_leave_from_the_mark_of_one_that_is_done(tmp_path, job, monkeypatch):
    target = tmp_path / "out.mkv"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(work.Workspace, "cleanup", lambda _: (_ for _ in ()).throw(Stop))
        render(output=target, **job)
    before = target.read_bytes()
    with pytest.raises(OutputError, match="out.mkv: exists already; overwrite=True replaces it"):
        render(output=target, **job | {"keyframes": "0:1,11:0"})
    assert target.read_bytes() == before


def test_pictures_that_were_stopped_while_they_were_named_go_on(tmp_path, job, monkeypatch):
    publish, named = finish.publish, []

    def half(file, target):
        named.append(target)
        if len(named) > 5:
            raise Stop
        publish(file, target)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(finish, "publish", half)
        render(output=tmp_path / "f_%02d.png", **job)
    assert len(files(tmp_path, "f_*.png")) == 5
    assert render(output=tmp_path / "f_%02d.png", **job).resumed == 12
    assert len(files(tmp_path, "f_*.png")) == 12 and leftovers(tmp_path) == []


@pytest.mark.parametrize("name", ["out.partial.mkv", "f_00.partial.png"])
def test_what_is_done_is_published_over_nothing_of_others(tmp_path, job, name):
    clip = job["input"]
    if name.endswith(".mkv"):
        clip = clip.rename(tmp_path / "in.mp4")
        clip = make_clip(tmp_path / name, audio="aac", b_frames=2)  # the input is called so
    else:
        (tmp_path / name).write_bytes(b"mine")
    before = (tmp_path / name).read_bytes()
    output = tmp_path / ("out.mkv" if name.endswith(".mkv") else "f_%02d.png")
    for _ in range(2):
        with pytest.raises(Stop):
            render(output=output, keep_partial=True, progress=stop_after(10), **job | {"input": clip})
    assert (tmp_path / name).read_bytes() == before
    made = sorted(path.name for path in tmp_path.glob("*.partial-*"))
    assert len(made) == (1 if name.endswith(".mkv") else 16), made


@pytest.mark.parametrize("name", ["out.mkv", "out.gif", "f_%02d.png"])
@pytest.mark.parametrize("restart", [False, True])
def test_what_was_published_of_a_part_goes_when_the_whole_is_there(tmp_path, job, name, restart):
    target = tmp_path / name
    with pytest.raises(Stop):
        render(output=target, keep_partial=True, progress=stop_after(10), **job)
    partial = list(tmp_path.glob("*.partial*"))
    assert partial
    with pytest.raises(Stop):  # another job on the same target
        render(output=target, progress=stop_after(10), **job | {"keyframes": "0:1"})
    assert sorted(tmp_path.glob("*.partial*")) == sorted(partial)
    told = []
    run(prepare(make_plan(job_of(job, target, restart=restart))), notice=told.append)
    assert not list(tmp_path.glob("*.partial*")) and leftovers(tmp_path) == []
    assert sorted(told) == sorted(f"{path}: removed, {name} is complete" for path in partial)


def test_a_part_that_is_not_as_it_was_published_stays(tmp_path, job):
    target, partial = tmp_path / "out.mkv", tmp_path / "out.partial.mkv"
    with pytest.raises(Stop):
        render(output=target, keep_partial=True, progress=stop_after(10), **job)
    partial.write_bytes(partial.read_bytes() + b"my own")
    other = tmp_path / "out.partial-2.mkv"
    other.write_bytes(b"mine")
    render(output=target, **job)
    assert partial.read_bytes().endswith(b"my own") and other.read_bytes() == b"mine"


def test_a_part_goes_even_if_the_process_ended_before_it_was_removed(tmp_path, job, monkeypatch):
    target = tmp_path / "out.mkv"
    with pytest.raises(Stop):
        render(output=target, keep_partial=True, progress=stop_after(10), **job)
    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "remove_partial", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            render(output=target, **job)
    assert target.exists() and (tmp_path / "out.partial.mkv").exists()
    render(output=target, **job)
    assert not (tmp_path / "out.partial.mkv").exists() and leftovers(tmp_path) == []


def test_that_much_is_joined_is_told(tmp_path, job, monkeypatch):
    told = []
    monkeypatch.setattr(finish, "LARGE", 1000)
    run(prepare(make_plan(job_of(job, tmp_path / "out.mkv"))), notice=told.append)
    assert len(told) == 1 and told[0].startswith(f"{tmp_path / 'out.mkv'}: joining ") and told[0].endswith(" kB")


def test_why_a_render_stopped_is_told_though_what_is_done_cannot_be_published(tmp_path, job, monkeypatch):
    told = []
    monkeypatch.setattr(finish, "partial_path", lambda _: (_ for _ in ()).throw(OutputError("no")))
    prepared = prepare(make_plan(job_of(job, tmp_path / "out.mkv", keep_partial=True)))
    with pytest.raises(Stop):
        run(prepared, ProgressTracker(stop_after(10)), told.append)
    assert told == ["warning: the finished frames were not published (no)"]


def job_of(job, output, **changes):
    preset = job["preset"].override({"timeline": {"keyframes": job["keyframes"]}})
    rest = {key: value for key, value in job.items() if key not in ("keyframes", "preset", "input")}
    return make_job(job["input"], output, preset, **rest | changes)


def test_lost_frames_are_counted_over_stops_and_not_smuggled_into_a_job_that_ignores_nothing(tmp_path, job):
    clip = make_clip(tmp_path / "torn.mkv", frames=12)
    data = clip.read_bytes()
    for number in (2, 9):
        packet = packets(clip, "video")[number][1]
        data = data.replace(packet, bytes(len(packet)))
    clip.write_bytes(data)
    torn = job | {"input": clip}
    target = tmp_path / "out.mkv"
    with pytest.raises(Stop):
        render(output=target, ignore_errors=True, progress=stop_after(7), **torn)
    with pytest.raises(MediaError, match="the first 2 of 12 frames could be decoded"):
        render(output=target, **torn)
    assert not target.exists()
    with pytest.raises(Stop):
        render(output=target, ignore_errors=True, progress=stop_after(7), **torn)
    report = render(output=target, ignore_errors=True, **torn)
    assert report.resumed == 4
    assert any("2 of 12 frames could not be decoded" in warning for warning in report.warnings), report.warnings


# In a process of its own, which stops itself at a frame: nobody waits for a while to pass.

FRAMES, SEGMENT = 60, 10
PROGRAM = """
import os, signal, sys
from dnirender import progress
signal.signal(signal.SIGINT, signal.{disposition})  # a shell's background job inherits that it is ignored
wrote = progress.ProgressTracker.wrote
def wrote_and_stopped(self, done, total, alpha):
    wrote(self, done, total, alpha)
    if done == {frame}:
        os.kill(os.getpid(), {number})
progress.ProgressTracker.wrote = wrote_and_stopped
from dnirender.cli.main import main
sys.exit(main())
"""


def start(folder, words, number, frame, disposition="default_int_handler", before=""):
    """A render that gets a signal from itself after it has written so many frames."""
    program = before + PROGRAM.format(disposition=disposition, frame=frame, number=int(number))
    command = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)


def stopped(*arguments, **options):
    """The exit code of such a render, and what it has said."""
    process = start(*arguments, **options)
    _, err = process.communicate(timeout=300)
    return process.returncode, err


@pytest.fixture
def long_job(tmp_path, endpoints, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "long.mp4", frames=FRAMES, audio="aac")
    models = [f"--model={name}={name}.safetensors" for name in endpoints]
    return ["long.mp4", *models, "-o", "out.mp4", "--segment-frames", str(SEGMENT), "--no-progress", "--dtype", "fp32"]


def parts(folder):
    return sorted(folder.glob(".*.parts/*.part"))


def resumed(folder, words, capsys):
    """How many frames the same command finds finished; it has to end with all of them."""
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    assert [frame_number(image) for _, image in decoded(folder / "out.mp4")] == list(range(FRAMES))
    assert leftovers(folder) == []
    return json.loads(capsys.readouterr().out)["resumed"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_first_frame_has_its_exit_code(tmp_path, long_job, number, code):
    early = "import os, dnirender.jobs.plan as p; make = p.make_plan\n"
    early += f"p.make_plan = lambda job: os.kill(os.getpid(), {int(number)}) or make(job)\n"
    found, err = stopped(tmp_path, long_job, number, -1, before=early)
    assert found == code, err
    assert "error: stopped before the next segment was finished; the same command resumes" in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_segments_and_says_how_to_go_on(tmp_path, long_job, number, code, capsys):
    found, err = stopped(tmp_path, long_job, number, 25)
    assert found == code, err
    assert len(parts(tmp_path)) == 2 and not (tmp_path / "out.mp4").exists()
    assert "stopped; 20 of 60 frames are finished; to resume: dnirender long.mp4 --model=day=day.safetensors" in err
    assert resumed(tmp_path, long_job, capsys) == 20


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
def test_a_signal_that_is_ignored_stays_ignored(tmp_path, long_job):
    found, err = stopped(tmp_path, long_job, signal.SIGINT, 25, disposition="SIG_IGN")
    assert found == 0, err
    assert len(decoded(tmp_path / "out.mp4")) == FRAMES


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
@pytest.mark.parametrize("after", [0, 1, 4])
def test_after_a_kill_the_same_command_goes_on(tmp_path, long_job, after, capsys):
    found, err = stopped(tmp_path, long_job, signal.SIGKILL, after * SEGMENT + 5)
    assert found == -signal.SIGKILL, err
    assert len(parts(tmp_path)) == after and leftovers(tmp_path) and not (tmp_path / "out.mp4").exists()
    assert resumed(tmp_path, long_job, capsys) == after * SEGMENT


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
def test_a_second_signal_does_not_wait_for_anything(tmp_path, long_job):
    # Pictures that take an hour: whoever waits for the ones in work is not done in time.
    slow = "import time, dnirender.engine.cpu as e; on = e.CPUWorker._render_frame\n"
    slow += "e.CPUWorker._render_frame = lambda self, frame, alpha: time.sleep(3600 * (frame.index > 27)) or on(self, frame, alpha)\n"
    process = start(tmp_path, [*long_job, "--threads", "1"], signal.SIGINT, 25, before=slow)
    seen = ""
    while "again to quit now" not in seen:
        line = process.stderr.readline()
        assert line, seen  # the end of the stream
        seen += line
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "to resume:" not in seen + err and len(parts(tmp_path)) == 2


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_a_resumed_render_keeps_its_backend_whatever_was_measured_since(tmp_path, job, monkeypatch, backend):
    """Which one is faster, and known to be, may change between a run and the next."""
    pytest.importorskip("openvino")
    from dnirender.engine import backend_trial

    known = backend_trial.Measured(1.0, 1.0, 1.0, 0.0)
    monkeypatch.setattr(backend_trial.MeasurementCache, "measured", lambda *_: known)
    faster = iter([backend == "openvino", backend != "openvino"])
    monkeypatch.setattr(backend_trial, "is_openvino_better", lambda *_: next(faster))
    target = tmp_path / "out.mkv"
    with pytest.raises(Stop):
        render(output=target, progress=stop_after(9), **job)
    report = render(output=target, **job)
    assert (report.backend, report.resumed) == (backend, 8)
    assert next(faster) == (backend != "openvino")  # nobody asked
    whole = render(output=tmp_path / "whole.mkv", backend=backend, **job)
    assert hashes(tmp_path / "whole.mkv") == hashes(target) and whole.backend == backend
