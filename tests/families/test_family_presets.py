"""Presets of tunable networks: keyframes drive them as they do fine-tuned ones."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dnirender import Preset, render
from dnirender.families import ftn
from dnirender.jobs.fingerprint import job_fingerprint
from dnirender.jobs.job import Job
from dnirender.jobs.options import EngineOptions
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import load_engine
from dnirender.networks.architectures.adapters import set_level
from dnirender.networks.architectures.denoise import DenoiseNet
from dnirender.train.recipe import Recipe
from support.clips import REPO, make_clip

TEXT = """
name: Tuned
network:
  family: ftn
  endpoints:
  - {name: low, weights: ftn.safetensors}
  - {name: high, weights: ftn.safetensors}
"""


@pytest.fixture
def module(tmp_path):
    torch.manual_seed(0)
    module = ftn.tunable(DenoiseNet(8, 3))
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.08)
    state = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
    save_file(state, tmp_path / "ftn.safetensors", {"architecture": "denoise"})
    (tmp_path / "tuned.yaml").write_text(TEXT)
    return module.eval()


def test_keyframes_drive_the_level(tmp_path, module):
    preset = Preset.load(tmp_path / "tuned.yaml")
    clip = make_clip(tmp_path / "clip.mp4", frames=5)
    out = tmp_path / "out.mkv"
    keys = "0:0, 4:1"
    render(clip, out, preset=tmp_path / "tuned.yaml", keyframes=keys, codec="ffv1", device="cpu", dtype="fp32")
    job = Job(clip, out, preset, engine=EngineOptions(device="cpu", dtype="fp32"))
    engine = load_engine(job)
    image = np.random.default_rng(0).integers(0, 256, (12, 18, 3), np.uint8)
    x = torch.from_numpy(image)[None].permute(0, 3, 1, 2) / 255
    for level in (0.0, 0.25, 1.0):
        set_level(module, level)
        with torch.inference_mode():
            expected = (module(x)[0].permute(1, 2, 0).clamp(0, 1) * 255).numpy()
        found = engine.render(image, (1 - level, level))
        assert np.abs(found - expected).max() < 0.51
        assert np.abs(expected - image).mean() > 1


def test_levels_and_positions_are_part_of_what_frames_depend_on(tmp_path, module):
    clip = make_clip(tmp_path / "clip.mp4", frames=3)
    prints = []
    for change in ("", ", level: 0.5"):
        path = Path(tmp_path / "tuned.yaml")
        path.write_text(TEXT.replace("name: high, ", f"name: high{change}, "))
        job = Job(clip, tmp_path / "out.mp4", Preset.load(path))
        prints.append(job_fingerprint(make_plan(replace(job)))["weights"])
    assert prints[0] != prints[1]


def test_the_page_shows_a_preset_and_a_recipe_that_are_valid(tmp_path):
    page = (REPO / "docs" / "families.md").read_text("utf-8")
    preset, recipe, styles = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "preset.yaml").write_text(preset)
    (tmp_path / "recipe.yaml").write_text(recipe)
    assert Preset.load(tmp_path / "preset.yaml").network.levels == {"sigma15": 0, "sigma50": 1}
    assert Recipe.load(tmp_path / "recipe.yaml").family == "adafm"
    (tmp_path / "styles.yaml").write_text(styles)
    assert Preset.load(tmp_path / "styles.yaml").endpoints == ("photo", "my", "other")
