"""Every command of docs/masks.md works, and its table of wipes is complete."""

import re
import shlex

import cv2
import numpy as np
import pytest

from dnirender.cli.main import main
from dnirender.timeline.wipe import COMMON, NAMES
from support.clips import REPO, make_clip, paint

PAGE = (REPO / "docs" / "masks.md").read_text("utf-8")
COMMANDS = [
    shlex.split(line)[1:] for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands(tmp_path, monkeypatch, arguments, capsys):
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mp4", frames=3, size=(48, 32))
    make_clip(tmp_path / "matte.mkv", frames=3, size=(48, 32))
    for name in ("person", "depth", "sky_0001", "sky_0002"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.ascontiguousarray(paint(len(name), (48, 32))))
    assert main(arguments) == 0, capsys.readouterr().err
    assert (tmp_path / arguments[arguments.index("-o") + 1]).exists()


def test_every_wipe_and_every_option_of_it_is_in_the_table():
    for name, options in NAMES.items():
        (row,) = re.findall(rf"^\| [^|]*`{name}[:`][^|]*\|[^|]*\|([^|]*)\|", PAGE, re.M)
        assert set(re.findall("`([a-z]+)`", row)) - set(COMMON) == set(options)
    assert all(f"`{option}" in PAGE for option in COMMON)


def test_every_picture_is_there():
    assert all((REPO / "docs" / link).exists() for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", PAGE))
