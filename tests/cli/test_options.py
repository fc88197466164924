"""Laws of the flags: each comes from one field, and what the library says of a field is said of its flag."""

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

from dnirender.cli import main
from dnirender.cli.app import app
from dnirender.cli.options import FIELDS, GROUPS, OTHER_FIELDS, new_flags, to_flags

PACKAGE = Path(main.__file__).parents[1]
OF_OTHER_LANGUAGES = r"pip install .*|ffmpeg -h \S+|<[a-z]+ [^>]*>"


def messages():
    """(file, line, text) of every string with a space in it outside the command line, but for docstrings; what an
    f-string fills in is `{}`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name == "cli" or path.name == "notebook.py":  # HTML names attributes
            continue
        tree = ast.parse(path.read_text("utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        filled = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if id(node) in docstrings | filled:
                continue
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            else:
                text = str(node.value) if isinstance(node, ast.Constant) else ""
            if " " in text:
                yield path.relative_to(PACKAGE), node.lineno, re.sub(OF_OTHER_LANGUAGES, "", text)


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
        ("use a smaller width, such as width=320", "use a smaller width, such as --width 320"),
        ("tile=(0, 8): expected 1 or more", "--tile (0, 8): expected 1 or more"),
        ("""device="a'b": expected auto""", "--device a'b: expected auto"),
        ("encoder_options: expected text", "-e: expected text"),
        ("subtitles: expected a switch", "--no-subtitles: expected a switch"),
        ("audio=True copies it", "audio=True copies it"),
        ("my-crf=3.mp4: no such file", "my-crf=3.mp4: no such file"),
        ("crf/crf=3.mp4: no such file", "crf/crf=3.mp4: no such file"),
    ],
)
def test_messages_about_fields_become_messages_about_flags(message, shown):
    assert to_flags(message) == shown


def test_no_message_of_the_library_names_a_flag():
    assert [found for found in messages() if re.search(r"(?<![\w-])--?[A-Za-z]", found[2])] == []


def test_every_field_that_a_message_of_the_library_names_is_an_option():
    named = {
        (path, line, name)
        for path, line, text in messages()
        for name in re.findall(r"""(?<![\w./-])([a-z_]+)=[{'"(\dA-Z]""", text)
    }
    assert len(named) > 20
    assert {found for found in named if found[2] not in (*FIELDS, *OTHER_FIELDS)} == set()


def test_flags_of_the_version_before_are_read_with_a_hint():
    words, notes = new_flags(["clip.mp4", "--segment", "5", "--yes", "--segment=3", "--segments"])
    assert words == ["clip.mp4", "--segment-frames", "5", "--overwrite", "--segment-frames=3", "--segments"]
    assert notes[0] == "--segment is now called --segment-frames; the old name will be removed" and len(notes) == 3
