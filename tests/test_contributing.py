"""The recipes of CONTRIBUTING are short, apply to the package as it is, and do what they say."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import dnirender
from support.clips import REPO, make_clip

SECTIONS = re.split(r"^## Adding an? (.*)\n", (REPO / "CONTRIBUTING.md").read_text("utf-8"), flags=re.M)
RECIPES = {
    name: found[1]
    for name, text in zip(SECTIONS[1::2], SECTIONS[2::2], strict=True)
    if (found := re.search(r"^```diff\n(.*?)^```", text, re.M | re.S))
}


@pytest.mark.parametrize("name", ["architecture", "output format", "option"])
def test_a_recipe_is_short(name):
    changed = [line for line in RECIPES[name].splitlines() if re.match(r"[+-](?!\+\+ |-- )", line)]
    assert 0 < len(changed) < 30


def test_the_recipes_work_together(tmp_path):
    shutil.copytree(REPO / "render", tmp_path / "render", ignore=shutil.ignore_patterns("__pycache__"))
    for recipe in RECIPES.values():
        done = subprocess.run(["git", "apply", "-"], input=recipe, cwd=tmp_path, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
    clip = make_clip(tmp_path / "clip.mkv", frames=3)
    for name, gain in {"same": 1.0, "dark": 0.5}.items():
        weights = {"matrix.weight": gain * torch.eye(3).view(3, 3, 1, 1), "matrix.bias": torch.zeros(3)}
        save_file(weights, tmp_path / f"{name}.safetensors", {"architecture": "tint"})
    program = f"""
from dnirender.cli.main import main
job = "{clip.name} -m same=same.safetensors -m dark=dark.safetensors -k 0:same --dtype fp32 --device cpu".split()
assert main([*job, "-o", "out.rgb"]) == 0
assert main([*job, "-o", "negative.rgb", "--negative"]) == 0
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "render")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    written, negative = (np.fromfile(tmp_path / name, np.uint8) for name in ("out.rgb", "negative.rgb"))
    source = np.stack([frame.image for frame in dnirender.open(clip)])
    assert np.array_equal(written, source.ravel())
    assert np.array_equal(negative, 255 - written)
