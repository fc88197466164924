"""Laws of what happens before the first frame: the input is examined once, and the output is opened once."""

import sys
from collections import Counter
from pathlib import Path

import av
import pytest

from dnirender.cli.main import main
from dnirender.jobs import finish, prepare
from support.clips import make_clip

EXAMINED = {
    "image_files.is_animated_webp": 1,  # the first bytes
    "truncation.declared_sample_count": 1,  # before FFmpeg reads the index
    "scan._open": 1,  # all packets
    "truncation.is_truncated": 1,
    "scan.scan": 1,  # the first frames
    "stream_plan.plan_streams": 1,
    "files.sample_hash": 1,
}
RENDERED = {
    "stream_copy.__init__": 2,  # for the header that is tried before the first frame, and for copying the streams
    "video._decode_from": 1,
}


@pytest.fixture
def opens(monkeypatch):
    """How often each function opens a file called clip.mp4."""
    counts = Counter()

    def watched(original):
        def opened(file, *args, **options):
            if Path(str(file)).name == "clip.mp4":
                caller = sys._getframe(1)
                while caller.f_code.co_name == "open_container":
                    caller = caller.f_back
                counts[f"{Path(caller.f_code.co_filename).stem}.{caller.f_code.co_name}"] += 1
            return original(file, *args, **options)

        return opened

    monkeypatch.setattr(av, "open", watched(av.open))
    monkeypatch.setattr(Path, "open", watched(Path.open))
    return counts


@pytest.fixture
def command(tmp_path, endpoints, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mp4", audio="aac")
    return ["clip.mp4", "-m", f"a={endpoints['day']}", "-m", f"b={endpoints['night']}", "--segment-frames", "5"]


def test_an_input_is_examined_once_and_decoded_once(command, opens):
    assert main([*command, "-o", "out.mp4"]) == 0
    assert opens == EXAMINED | RENDERED


def test_an_input_whose_streams_are_not_copied_is_not_opened_for_them(command, opens):
    assert main([*command, "-o", "out.gif"]) == 0
    assert opens == {key: 1 for key in EXAMINED if "plan_streams" not in key} | {"video._decode_from": 1}


def test_an_output_that_is_already_rendered_costs_one_examination(command, opens):
    make_clip(Path("other.mp4"))
    several = ["other.mp4", *command, "-o", "."]
    assert main(several) == 0
    opens.clear()
    assert main(several) == 0
    assert opens == EXAMINED
    opens.clear()
    assert main([*several, "-y", "--restart", "--crf", "30"]) == 0
    assert opens == EXAMINED | RENDERED


def test_an_output_of_another_job_is_planned_once(command, opens):
    make_clip(Path("other.mp4"))
    several = ["other.mp4", *command, "-o", "."]
    assert main(several) == 0
    opens.clear()
    assert main([*several, "--crf", "30"]) == 5  # exists already
    assert opens == EXAMINED
    opens.clear()
    assert main([*several, "--crf", "30", "-y"]) == 0
    assert opens == EXAMINED | RENDERED


def test_an_output_is_opened_once(command, monkeypatch):
    opened, open_output = [], prepare.open_output
    monkeypatch.setattr(prepare, "open_output", lambda request: opened.append(request) or open_output(request))
    monkeypatch.setattr(finish, "open_output", lambda request: opened.append(request) or open_output(request))
    assert main([*command, "-o", "out.mp4"]) == 0
    assert [request.target.name for request in opened] == ["out.mp4"]
