"""Laws of fine-tuning: the path gets better, the second network goes on doing what it did, the first is not touched."""

import importlib.util
import re

import numpy as np
import pytest
import torch
from torch import nn

from dnirender.cli.main import main
from dnirender.errors import UsageError
from dnirender.media.images import write_png
from dnirender.models import finetuning, sweep
from dnirender.models.finetuning import MAX_STEPS, NOISY, finetune, training_pictures
from dnirender.networks.network import Network
from support.clips import make_clip, paint
from support.states import compact

needs_scipy = pytest.mark.skipif(importlib.util.find_spec("scipy") is None, reason="the package scipy is not installed")


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(sweep, "SIDES", (32, 48))
    monkeypatch.setattr(finetuning, "CROP", 16)


class Channels(nn.Module):
    """Darkens each color by a share, in channels from `start` on: what lies half-way between two has a quarter of it."""

    def __init__(self, start, share):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 3, 1)
        self.register_buffer("steps", torch.tensor(float(start)))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            for color in range(3):
                self.one.weight[start + color, color] = 1.0
                self.two.weight[color, start + color] = -share

    def forward(self, x):
        return x + self.two(self.one(x).relu())


def states(share=0.6, other=0.5):
    return Channels(0, share).state_dict(), Channels(3, other).state_dict()


NETWORK = Network("channels", Channels(0, 0.5))


def made():
    return training_pictures(NETWORK, None)


def test_the_terms_are_those_of_the_equation():
    first, second = states(0.4, 0.8)
    run = finetuning._Runner(NETWORK, first, second)
    x = torch.full((1, 3, 4, 4), 0.5)
    # A gives 0.3, B 0.1, and half-way half of each share in half of each channel: 0.5 - 0.5 * (0.4 + 0.8) / 4 = 0.35
    ratio, drift = (float(term) for term in run.terms(run.second, x))
    assert (ratio, drift) == (pytest.approx(abs(0.35 - 0.2) / 0.2), 0)
    ratio, drift = (float(term) for term in run.terms(run.first, x))
    assert (ratio, drift) == (pytest.approx(0.5), pytest.approx(1))


@pytest.mark.parametrize("share", [0.2, 0.58])
def test_the_path_gets_better_wherever_it_begins(share, monkeypatch):
    monkeypatch.setattr(finetuning, "LEARNING_RATE", 0.03)
    first, second = states(0.6, share)
    copies = [{name: tensor.clone() for name, tensor in state.items()} for state in (first, second)]
    seen = []
    found = finetune(NETWORK, first, second, made(), 60, progress=seen.append)
    assert found.after.total < 0.6 * min(found.before.total, 1.5) and seen == list(range(1, 61))
    assert found.from_first == (share > 0.5)
    assert found.before.drift == 0
    assert all(
        torch.equal(state[name], kept[name])
        for state, kept in zip((first, second), copies, strict=True)
        for name in state
    )
    assert float(found.state["steps"]) == 3.0  # buffers are the second's
    again = finetune(NETWORK, first, second, made(), 60)
    assert all(torch.equal(found.state[name], again.state[name]) for name in second)
    other = finetune(NETWORK, first, second, made(), 60, seed=1)
    assert not torch.equal(found.state["two.weight"], other.state["two.weight"])


def test_where_networks_hardly_differ_noise_is_added():
    assert finetune(NETWORK, *states(0.6, 0.599), made(), 1).notes == (NOISY,)
    assert not finetune(NETWORK, *states(0.6, 0.3), made(), 1).notes


def test_of_a_clip_other_frames_are_measured_than_are_trained_on(tmp_path, monkeypatch):
    clip = make_clip(tmp_path / "clip.mp4", size=(48, 32))
    trained, measured = [], []
    crop, quality = finetuning._crop, finetuning._Runner.quality
    monkeypatch.setattr(
        finetuning, "_crop", lambda pictures, *rest: (trained.append(pictures), crop(pictures, *rest))[1]
    )
    monkeypatch.setattr(
        finetuning._Runner,
        "quality",
        lambda self, weights, shown: (measured.append(shown), quality(self, weights, shown))[1],
    )
    finetune(NETWORK, *states(), training_pictures(NETWORK, clip), 2)
    assert [len(pictures) for pictures in trained] == [9] * 4 and {len(shown) for shown in measured} == {3}
    write_png(tmp_path / "photo.png", paint(1, (40, 40)))
    (photo,) = training_pictures(NETWORK, tmp_path / "photo.png")
    assert photo.shape == (40, 40, 3) and np.isfinite(finetune(NETWORK, *states(), [photo], 2).after.total)


@pytest.mark.parametrize("steps", [0, -1, MAX_STEPS + 1])
def test_steps_have_limits(steps):
    with pytest.raises(UsageError, match=rf"finetune={steps}: expected 1 to 100,000 steps"):
        finetune(NETWORK, *states(), made(), steps)


@needs_scipy
def test_the_command_writes_the_second_network(tmp_path, capsys):
    files = [tmp_path / name for name in ("a.pth", "b.pth", "c.pth", "d.pth")]
    for seed, file in enumerate(files[:2]):
        torch.save(compact(seed), file)
    words = ["model", "align", str(files[0]), str(files[1])]
    assert main([*words, "-o", str(files[2])]) == 0
    assert "fine-tuned" not in capsys.readouterr().out
    assert main([*words, "--finetune", "3", "-o", str(files[3])]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"fine-tuned in 3 steps.*: path ratio \d+\.\d\d before, \d+\.\d\d after; the pictures are off those", out
    )
    aligned, tuned = (torch.load(file) for file in files[2:])
    assert list(aligned) == list(tuned) == list(compact(0))
    assert any(not torch.equal(aligned[name], tuned[name]) for name in aligned)
    assert all(bool(tensor.isfinite().all()) for tensor in tuned.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--on", "clip.mp4"], "--on: expected --finetune STEPS too"),
        (["--finetune", "-3"], "--finetune -3: expected 1 to 100,000 steps"),
        (["--finetune", "3", "--on", "missing.mp4"], "missing.mp4: no such file"),
    ],
)
def test_the_command_refuses_before_it_works(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        torch.save(compact(seed), f"{name}.pth")
    assert main(["model", "align", "a.pth", "b.pth", "-o", "c.pth", *options]) != 0
    assert message in capsys.readouterr().err and not (tmp_path / "c.pth").exists()


def test_a_picture_smaller_than_a_crop_is_used_as_it_is():
    draw = torch.Generator().manual_seed(0)
    picture = np.zeros((9, 12, 3), np.uint8)
    assert finetuning._crop([picture], NETWORK, draw).shape == (1, 3, 9, 12)
