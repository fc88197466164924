"""Every command and snippet of the README does what it says."""

import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from dnirender.cli.main import main
from dnirender.jobs.preview import preview_path
from dnirender.preset import Preset
from support.clips import REPO, feature_network, make_clip, paint, tiny_endpoints

README = (REPO / "README.md").read_text("utf-8")
SNIPPETS = re.findall(r"(?:<!-- (\w+) -->\n)?```(\w+)\n(.*?)```", README, re.S)


def commands():
    """(words, line) for every dnirender command in a shell block."""
    for _, language, text in SNIPPETS:
        if language == "sh":
            for line in text.splitlines():
                for part in line.split("&&"):
                    words = shlex.split(part, comments=True)
                    if words[:1] == ["dnirender"]:
                        yield pytest.param(words[1:], id=" ".join(words))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the README's commands find: clips, a picture, networks, a preset, the sample."""
    import torch
    from safetensors.torch import load_file

    from dnirender.media.images import read_image, write_png
    from dnirender.train import add_endpoint

    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mp4", frames=60, audio="aac")
    make_clip(tmp_path / "other.mkv", frames=4, start_number=3)
    write_png(tmp_path / "photo.png", paint(1))
    (tmp_path / "photo.png").rename(tmp_path / "photo.jpg")  # read by content
    assert read_image(tmp_path / "photo.jpg")
    write_png(tmp_path / "person.png", paint(5))
    files = tiny_endpoints(tmp_path, sharp=0.0, soft=-0.2)
    torch.save(load_file(files["soft"]), tmp_path / "soft.pth")
    monkeypatch.setattr(add_endpoint, "CROP", 64)
    for name in ("painting", "photos/0", "photos/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_png(tmp_path / f"{name}.png", np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8))
    (tmp_path / "painting.png").rename(tmp_path / "my.jpg")
    write_png(tmp_path / "painting.png", paint(7))
    (tmp_path / "painting.png").rename(tmp_path / "other.jpg")
    feature_network(tmp_path / "features")
    preset = next(text for _, language, text in SNIPPETS if language == "yaml")
    (tmp_path / "mine.yaml").write_text(preset, "utf-8")
    (tmp_path / "samples").mkdir()
    make_clip(tmp_path / "samples" / "boulevard.mp4", frames=5)
    return tmp_path


@pytest.mark.parametrize("arguments", list(commands()))
def test_commands(folder, arguments, capsys):
    if "--steps" in arguments:  # of a training: two show that it runs
        arguments = [*arguments, "--steps", "2"]
    if arguments[0] == "verify":
        models = [f"--model={name}={name}.{end}" for name, end in (("sharp", "safetensors"), ("soft", "pth"))]
        assert main(["clip.mp4", *models, "-o", arguments[1]]) == 0
    before = set(folder.rglob("*"))
    assert main(arguments) == 0, capsys.readouterr().err
    made = set(folder.rglob("*")) - before
    if "-o" in arguments:
        target = folder / arguments[arguments.index("-o") + 1]
        target = preview_path(target) if "--preview" in arguments else target
        assert "--dry-run" in arguments or target in made or (target.is_dir() and any(p.parent == target for p in made))


@pytest.mark.parametrize("text", [text for _, language, text in SNIPPETS if language == "python"])
def test_python(folder, text):
    done = subprocess.run([sys.executable, "-c", text], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_preset_is_valid(folder):
    assert Preset.load(folder / "mine.yaml").endpoints == ("soft", "sharp")


def test_ci_runs_the_two_set_up_commands_as_they_stand_here():
    marked = {mark: text.strip() for mark, _, text in SNIPPETS if mark}
    assert marked == {
        "install": "pip install '.[openvino]' && dnirender samples/boulevard.mp4 -y -o boulevard.night.mp4",
        "test": "pip install -e '.[dev]' && python -m pytest",
    }
    script = (REPO / ".ci" / "run").read_text("utf-8")
    assert '"$(command_of install)"' in script and '"$(command_of test)"' in script


def test_every_file_that_the_readme_links_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (REPO / link).exists()] == []
