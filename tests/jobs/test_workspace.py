"""Laws of the folder in which a render grows: one process at a time, no part of another job, nothing left behind."""

import os
import subprocess
import sys

import pytest

from dnirender.encoding.segment_file import SegmentWriter
from dnirender.errors import OutputError
from dnirender.jobs.workspace import Manifest, Segment, Workspace, split, was_delivered
from support.clips import leftovers

ENGINE = {"device": "cpu", "tile": (64, 32), "threads": 2}


def finish(work, segment):
    with SegmentWriter(work.folder / segment.name):
        pass


@pytest.mark.parametrize(("count", "length"), [(1, 1), (10, 3), (12, 4), (5, 100)])
def test_segments_cover_every_frame_once(count, length):
    segments = split(count, length)
    assert [number for segment in segments for number in segment.numbers] == list(range(count))
    assert all(len(segment.numbers) == length for segment in segments[:-1])
    assert sorted(segments, key=lambda s: s.name) == list(segments)


def test_what_was_begun_is_gone_on_with(tmp_path):
    target = tmp_path / "out.mp4"
    with Workspace(target, {"input": "a"}) as work:
        assert work.manifest is None and not work.finished()
        work.begin(ENGINE, split(10, 4))
        finish(work, Segment(0, 4))
    with Workspace(target, {"input": "a"}) as work:
        assert work.finished() == (Segment(0, 4),)
        again = work.begin({"device": "cuda"}, split(10, 5))  # those of the first run hold
        assert again == Manifest({"input": "a"}, ENGINE, split(10, 4))
        assert not work.others()


def test_nothing_of_another_job_is_used_and_its_difference_is_named(tmp_path):
    target = tmp_path / "out.mp4"
    with Workspace(target, {"input": "a", "crf": "18", "end": "5"}) as work:
        work.begin(ENGINE, split(4, 4))
        finish(work, Segment(0, 4))
    with Workspace(target, {"input": "a", "crf": "20"}) as other:
        assert other.manifest is None and not other.finished()
        assert other.others() == [("crf", "end")]
        other.begin(ENGINE, split(4, 2))
        finish(other, Segment(0, 2))
        assert work.finished() == (Segment(0, 4),)
        other.discard()
    assert not list(tmp_path.iterdir())


def test_targets_do_not_see_each_other(tmp_path):
    with Workspace(tmp_path / "a.mp4", {"x": "1"}) as a, Workspace(tmp_path / "b.mp4", {"x": "1"}) as b:
        for work in (a, b):
            work.begin(ENGINE, split(2, 2))
            finish(work, Segment(0, 2))
        a.discard()
        assert b.finished() == (Segment(0, 2),) and not a.finished()


def test_without_a_finished_part_nothing_is_left(tmp_path):
    with Workspace(tmp_path / "out.mp4", {}) as work:
        work.begin(ENGINE, split(4, 2))
        (work.folder / "00000000.growing").write_bytes(b"half")
        assert leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"job": {}}', '{"job": 1, "engine": {}, "segments": [[0]]}', "\x00"]
)
def test_a_manifest_that_cannot_be_read_is_none(tmp_path, content):
    work = Workspace(tmp_path / "out.mp4", {})
    work.folder.mkdir()
    (work.folder / "manifest.json").write_text(content)
    finish(work, Segment(0, 2))
    assert work.manifest is None and not work.finished()
    work.begin(ENGINE, split(2, 2))
    assert not work.finished()  # what stood beside it was not ours to trust


@pytest.mark.parametrize("content", ["[" * 500_000, '{"job": ' * 100_000, '{"job": ' + "9" * 500_000 + "}"])
def test_a_manifest_that_expands_is_none(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    assert Manifest.read(tmp_path) is None


def test_a_manifest_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(1 << 40)  # no bytes on the disk: it has a hole
    assert Manifest.read(tmp_path) is None


def test_a_manifest_of_another_job_under_the_same_name_is_none(tmp_path):
    work = Workspace(tmp_path / "out.mp4", {"a": "1"})
    work.folder.mkdir()
    Manifest({"a": "2"}, ENGINE, split(2, 2)).write(work.folder)
    assert work.manifest is None


def test_a_damaged_part_is_missing(tmp_path):
    with Workspace(tmp_path / "out.mp4", {}) as work:
        work.begin(ENGINE, split(4, 2))
        finish(work, Segment(0, 2))
        finish(work, Segment(2, 4))
        path = work.folder / Segment(2, 4).name
        path.write_bytes(path.read_bytes()[:-1])
        assert work.finished() == (Segment(0, 2),)


def test_two_runs_on_one_target_are_kept_apart_and_a_dead_one_does_not_stand_in_the_way(tmp_path):
    target = tmp_path / "out.mp4"
    program = (
        "import sys; from pathlib import Path; from dnirender.jobs.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1]), {}): print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(OutputError, match=rf"another dnirender \(process {other.pid}\) is rendering to it; wait"),
            Workspace(target, {"another": "job"}),
        ):
            pass
        other.kill()
        other.wait()
        assert leftovers(tmp_path)
        with Workspace(target, {}):
            assert (tmp_path / leftovers(tmp_path)[0]).read_text() == str(os.getpid())
        assert not list(tmp_path.iterdir())
    finally:
        other.kill()
        other.communicate()


def test_a_delivered_file_is_known_to_its_own_job_until_it_changes(tmp_path):
    target = tmp_path / "out.mp4"
    with Workspace(target, {"a": "1"}) as work:
        work.begin(ENGINE, split(1, 1))
        finish(work, Segment(0, 1))
        joined = work.folder / "joined.mp4"
        joined.write_bytes(b"whole")
        work.record_outputs([(joined, target)])
        assert not was_delivered(target, target) and not work.has_delivered(target)
        joined.replace(target)
    assert was_delivered(target, target) and work.has_delivered(target)
    assert not Workspace(target, {"a": "2"}).has_delivered(target)
    target.write_bytes(b"wholf")
    os.utime(target, ns=(1, 1))
    assert not was_delivered(target, target) and not work.has_delivered(target)


def test_tidying_up_may_be_stopped_anywhere_and_the_mark_stays_to_the_last(tmp_path, monkeypatch):
    target = tmp_path / "out.mp4"
    with Workspace(target, {}) as work:
        work.begin(ENGINE, split(3, 1))
        for number in range(3):
            finish(work, Segment(number, number + 1))
        (work.folder / "joined.mp4").write_bytes(b"whole")
        work.record_outputs([(work.folder / "joined.mp4", target)])
        (work.folder / "joined.mp4").replace(target)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("shutil.rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            work.cleanup()
        assert not work.finished() and work.has_delivered(target)
        work.cleanup()
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    with pytest.raises(OutputError, match="out.mp4: cannot be written"), Workspace(tmp_path / "none" / "out.mp4", {}):
        pass


def test_long_names_fit(tmp_path):
    for name in ("🎬" * 60 + ".mp4", "x" * 251 + ".mp4"):
        with Workspace(tmp_path / name, {}) as work:
            work.begin(ENGINE, split(1, 1))
            finish(work, Segment(0, 1))


def test_a_folder_whose_manifest_is_lost_is_discarded_too(tmp_path):
    with Workspace(tmp_path / "out.mp4", {"input": "a"}) as work:
        work.begin(ENGINE, split(10, 4))
        finish(work, Segment(0, 4))
        (work.folder / "manifest.json").unlink()
        work.discard()
        assert not work.folder.exists()
