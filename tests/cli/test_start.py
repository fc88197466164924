"""Laws of the start: the screen says what is waited for before PyTorch is imported, and less is imported."""

import contextlib
import os
import struct
import subprocess
import sys

import pytest

from dnirender.cli.start import load_ahead
from support.clips import make_clip, tiny_endpoints

MODELS = ["-m", "day=day.safetensors", "-m", "night=night.safetensors"]
WATCH = """
import sys
from dnirender.cli import bench, output, render, sheet
from dnirender.cli.main import main
class Watching(output.ProgressBar):
    def _show(self, now):
        print(now.phase, now.alpha is not None, not {"torch", "av", "cv2", "numpy"}.isdisjoint(sys.modules))
bench.ProgressBar = render.ProgressBar = sheet.ProgressBar = Watching
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def here(tmp_path):
    tiny_endpoints(tmp_path)
    make_clip(tmp_path / "clip.mp4")
    return tmp_path


def ran(here, program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=here, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def screen_of(here, *arguments):
    """What a command writes to a terminal of 100 columns."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen([sys.executable, "-m", "dnirender", *arguments], cwd=here, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux: the other end was closed
        while data := os.read(ours, 4096):
            shown += data
    os.close(ours)
    assert process.wait(120) == 0, shown
    return shown.decode()


def test_the_first_phase_is_shown_before_any_library_of_pictures_is_imported(here):
    lines = [line.split() for line in ran(here, WATCH, "clip.mp4", *MODELS, "-o", "out.mp4").splitlines()]
    assert lines[0] == ["loading", "False", "False"]
    begun = [phase for phase, is_frame, _ in lines if is_frame == "False"]
    assert begun == ["loading", "choosing", "rendering", "joining"]
    assert [phase for phase, is_frame, _ in lines if is_frame == "True"] == ["rendering"] * 12


@pytest.mark.parametrize("command", [["bench", "clip.mp4"], ["sheet", "clip.mp4"]], ids=" ".join)
def test_benchmarks_and_sheets_show_it_before_pytorch_is_imported_too(here, command):
    lines = [line.split() for line in ran(here, WATCH, *command, *MODELS).splitlines()]
    assert lines[0] == ["loading", "False", "False"]
    assert ["rendering", "True", "True"] in lines


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudoterminals")
def test_a_terminal_shows_phases_and_frames_in_one_place(here):
    screen = screen_of(here, "clip.mp4", *MODELS, "-o", "out.mp4")
    assert screen.lstrip("\r").startswith("out.mp4: loading |")
    assert "out.mp4: joining" in screen and "12/12" in screen and "alpha 1.000" in screen
    assert screen.index("loading") < screen.index("12/12")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudoterminals")
def test_warnings_stand_on_lines_of_their_own_beside_the_bar(here):
    screen = screen_of(here, "clip.mp4", *MODELS, "-o", "out.mp4")
    line = next(line for line in screen.splitlines() if "warning: clip.mp4" in line)
    assert line.split("\r")[-1].startswith("warning: clip.mp4")


def test_openvino_is_imported_without_its_converter_and_renders_the_same(here):
    pytest.importorskip("openvino")
    command = ["-m", "dnirender", "clip.mp4", *MODELS, "--backend", "openvino", "--no-progress", "--dtype", "fp32"]
    for name in ("a.mkv", "b.mkv"):
        subprocess.run([sys.executable, *command, "-o", name, "-e", "preset=ultrafast"], cwd=here, check=True)
    listing = (
        "import sys; from dnirender.cli.start import leave_out_unused; leave_out_unused(); import openvino; "
        "print('openvino_telemetry' in sys.modules, openvino.Core().available_devices)"
    )
    assert ran(here, listing).startswith("False ['CPU'")


def test_a_library_that_cannot_be_loaded_ahead_is_no_error(monkeypatch, tmp_path):
    class Found:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr("importlib.util.find_spec", lambda _: Found)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    load_ahead()
