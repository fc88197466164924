"""Laws of the flags: each comes from one field, and what the library says of a field is said of its flag."""

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

import dnirender
from dnirender.cli import main
from dnirender.cli.app import app
from dnirender.cli.options import FIELDS, GROUPS, new_flags, to_flags

PACKAGE = Path(dnirender.__file__).parent


def test_every_option_is_a_flag_of_render_under_a_heading():
    assert main.COMMANDS
    render = get_command(app).commands["render"]
    flags = {parameter.name: parameter for parameter in render.params}
    assert set(FIELDS) <= set(flags)
    for name, (_, _, flag) in FIELDS.items():
        assert flags[name].rich_help_panel == flag.group and flag.group in GROUPS
        assert flags[name].help


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("batch: expected 1 or more, got 0", "--batch: expected 1 or more, got 0"),
        ("options: encoding.crf: expected 63 or less", "--crf: expected 63 or less"),
        ("start='2s', end='1s': no frame", "--start 2s, --end 1s: no frame"),
        ("a.mp4: truncated; ignore_errors=True renders it", "a.mp4: truncated; --ignore-errors renders it"),
        ("leave it out with audio=False", "leave it out with --no-audio"),
        ("overwrite=True replaces it", "--overwrite replaces it"),
        ("fps=12: applies to GIF", "--fps 12: applies to GIF"),
        ("a.gif: set fps=100 or lower", "a.gif: set --fps 100 or lower"),
        ("pix_fmt='rgb24': libx264 supports", "--pix-fmt rgb24: libx264 supports"),
        ("strict=True: subtitle #2 (srt)", "--strict: subtitle #2 (srt)"),
        ("run it again (without restart=True)", "run it again (without --restart)"),
        ("leave some out with subtitles=False or audio=False", "leave some out with --no-subtitles or --no-audio"),
        ("ffv1 has no option crf; see ffmpeg -h encoder=ffv1", "ffv1 has no option crf; see ffmpeg -h encoder=ffv1"),
        ("frames='soon': unknown position", "--frames soon: unknown position"),
        ("my-crf=3.mp4: no such file", "my-crf=3.mp4: no such file"),
    ],
)
def test_messages_about_fields_become_messages_about_flags(message, shown):
    assert to_flags(message) == shown


@pytest.mark.parametrize("room", ["encoding", "jobs"])
def test_the_library_speaks_of_fields_not_of_flags(room):
    texts = [
        (path.name, node.value)
        for path in (PACKAGE / room).rglob("*.py")
        if path.name != "options.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert len(texts) > 100
    assert [text for text in texts if re.search(r"(?<![\w-])--[a-z]", text[1])] == []


def test_flags_of_the_version_before_are_read_with_a_hint():
    words, notes = new_flags(["clip.mp4", "--segment", "5", "--yes", "--segment=3", "--segments"])
    assert words == ["clip.mp4", "--segment-frames", "5", "--overwrite", "--segment-frames=3", "--segments"]
    assert notes[0] == "--segment is called --segment-frames now; the old name will go" and len(notes) == 3
