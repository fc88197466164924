"""Laws of the training of networks that enlarge."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("cv2")

import cv2
import torch

from dnirender.networks.loading import load
from dnirender.train.recipe import Recipe
from dnirender.train.report import write_weights
from dnirender.train.tasks.detail import Detail, critic, halved, relativistic, sharpened, softened
from support.gpu_stand_in import step_on_gpu


def test_halving_keeps_a_constant_and_rounds_to_bytes():
    flat = torch.full((1, 3, 16, 24), 100 / 255)
    assert torch.equal(halved(flat), torch.full((1, 3, 8, 12), 100 / 255))
    half = halved(torch.rand(1, 3, 16, 16))
    torch.testing.assert_close(half * 255, (half * 255).round())


def test_at_alpha_0_inputs_are_halved_and_no_more(task):
    small, wide = task.batch((1.0, 0.0), torch.Generator().manual_seed(0))
    assert torch.equal(small, halved(wide))


def test_inputs_get_softer_with_alpha():
    """What is left of the detail of noise falls with t, and every image is bytes of half the size."""
    image = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))
    detail: list[float] = []
    for t in (0.0, 0.25, 0.5, 1.0):
        rng = torch.Generator().manual_seed(1)
        found = torch.stack([softened(image, t, rng) for _ in range(30)])
        assert found.shape[1:] == (3, 48, 48)
        torch.testing.assert_close(found * 255, (found * 255).round())
        detail.append(found.std((2, 3)).mean().item())
    assert detail[0] > detail[1] > detail[2] > detail[3]


def test_compression_gets_stronger_with_alpha(monkeypatch):
    """Six in ten are JPEG; what the quality lacks of 100 is in proportion to t."""
    found: list[int] = []
    encode = cv2.imencode
    monkeypatch.setattr(
        cv2, "imencode", lambda kind, image, options: (found.append(options[1]), encode(kind, image))[1]
    )
    for t, low, high in ((0.5, 77, 95), (1.0, 55, 90)):
        found.clear()
        rng = torch.Generator().manual_seed(0)
        for _ in range(200):
            softened(torch.full((3, 16, 16), 0.5), t, rng)
        assert 100 < len(found) < 140
        assert low <= min(found) < low + 3 and high - 3 < max(found) <= high


def test_sharpened_edges_are_steeper_and_do_not_ring():
    ramp = torch.tensor([0.2, 0.2, 0.2, 0.3, 0.5, 0.7, 0.8, 0.8, 0.8]).expand(1, 3, 9, 9)
    sharp = sharpened(ramp, 0.6)
    assert torch.equal(sharpened(ramp, 0), ramp)
    assert sharp.min() >= 0.2 - 1e-6 and sharp.max() <= 0.8 + 1e-6
    assert sharp[0, 0, 4, 3] < 0.29 and sharp[0, 0, 4, 5] > 0.71
    flat = torch.full((1, 3, 9, 9), 0.4)
    torch.testing.assert_close(sharpened(flat, 0.6), flat)


def test_the_relativistic_loss_falls_as_the_first_rise_over_the_second():
    low, high = torch.zeros(5), torch.ones(5)
    assert relativistic(high, low) < relativistic(low, low) < relativistic(low, high)


def test_the_critic_judges_patches():
    assert critic()(torch.rand(2, 3, 64, 48)).shape == (2, 1, 8, 6)


@pytest.fixture
def task(monkeypatch):
    """The training with other features, on one photograph of noise."""
    photo = (torch.rand(3, 80, 80, generator=torch.Generator().manual_seed(0)) * 255).byte()
    monkeypatch.setattr("dnirender.train.tasks.detail.vgg19", lambda *_: lambda x: [x, x[..., ::2, ::2]])
    monkeypatch.setattr("dnirender.train.tasks.detail.load_photos", lambda *_: [photo])
    goals = [{"name": "faithful"}, {"name": "crisp"}]
    data = {"name": "D", "kind": "detail", "photos": ["x"], "endpoints": goals}
    data |= {"stages": [{"train": "path", "steps": 1}], "training": {"batch": 4, "crop": 32}}
    return Detail(Recipe.checked(data, "test"), Path(), Path())


def test_the_loss_goes_from_fidelity_to_looks(task):
    batch = task.batch((1.0, 0.0), torch.Generator().manual_seed(0))
    assert batch[0].shape == (4, 3, 16, 16) and batch[1].shape == (4, 3, 32, 32)
    network = task.network()
    first, middle, last = (task.loss(network, mix, batch) for mix in ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0)))
    assert set(first) == {"fidelity"}
    assert set(middle) == {"fidelity", "pixel", "features", "adversarial"}
    assert set(last) == {"pixel", "features", "adversarial"}
    torch.testing.assert_close(middle["fidelity"], first["fidelity"] / 2)
    perfect = task.loss(lambda _: sharpened(batch[1], task.settings["sharpness"]), (0.0, 1.0), batch)
    assert perfect["pixel"] == perfect["features"] == 0
    assert last["pixel"] > 0 and last["features"] > 0


def test_half_way_there_is_a_quarter_of_the_adversarial_term(task):
    batch = task.batch((1.0, 0.0), torch.Generator().manual_seed(0))
    network = task.network()
    task._adam = torch.optim.SGD(task._critic.parameters(), 0.0)
    middle, last = (task.loss(network, mix, batch)["adversarial"] for mix in ((0.5, 0.5), (0.0, 1.0)))
    torch.testing.assert_close(middle, last / 4, atol=1e-4, rtol=1e-2)


def test_the_critic_is_part_of_the_checkpoint(task):
    before = {name: value.clone() for name, value in task.state()["critic"].items()}
    task.loss(task.network(), (0.0, 1.0), task.batch((0.0, 1.0), torch.Generator().manual_seed(0)))
    after = task.state()
    assert any(not torch.equal(before[name], value) for name, value in after["critic"].items())
    task.restore({"critic": before, "adam": after["adam"]})
    assert all(torch.equal(before[name], value) for name, value in task.state()["critic"].items())


def test_its_weights_are_ours_and_what_everyone_else_reads(task, tmp_path):
    spandrel = pytest.importorskip("spandrel")
    torch.manual_seed(0)
    network, file = task.network(), tmp_path / "crisp.safetensors"
    write_weights(file, network.state_dict(), {"name": "crisp", "architecture": task.architecture})
    loaded, _ = load({"a": file, "b": file})
    assert (loaded.architecture, loaded.scale, loaded.channels) == ("compact", 2, 3)
    flops = 2 * sum(p.numel() for p in network.parameters() if p.ndim == 4) * 640 * 360
    assert flops < 30e9
    x = torch.rand(1, 3, 8, 8)
    theirs = spandrel.ModelLoader().load_from_file(file)
    assert theirs.architecture.name == "RealESRGAN Compact" and theirs.scale == 2
    np.testing.assert_array_equal(loaded.module(x).detach(), theirs.model(x).detach())


def test_a_step_on_a_gpu_leaves_nothing_on_the_cpu(task):
    assert step_on_gpu(task)
