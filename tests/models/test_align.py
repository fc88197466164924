"""Laws of alignment: the same network in another order of its channels, and nearer to the other one."""

import copy
import importlib.util
import sys

import numpy as np
import pytest
import torch
from torch import nn

from dnirender.cli.main import main
from dnirender.errors import ModelError
from dnirender.models.aligning import align
from dnirender.models.alignment import match, permute
from dnirender.models.channels import channel_groups
from dnirender.networks.architectures import fast_neural_style, resnet_generator, transformer_net
from dnirender.networks.loading import load
from support.clips import MODELS, needs_models
from support.states import batchnorm_dncnn, compact, rrdb

needs_scipy = pytest.mark.skipif(importlib.util.find_spec("scipy") is None, reason="the package scipy is not installed")


def tensorflow_variables(seed, widths=(4, 6, 8)):
    """The names and the layout h w in out of fast-style-transfer."""
    a, b, c = widths
    shapes = [(9, 3, a), (3, a, b), (3, b, c), *[(3, c, c)] * 10, (3, b, c), (3, a, b), (9, a, 3)]
    torch.manual_seed(seed)
    tensors = []
    for index, (side, inputs, outputs) in enumerate(shapes):
        count = inputs if index in (13, 14) else outputs
        tensors += [torch.randn(side, side, inputs, outputs) * 0.2, torch.randn(count), torch.rand(count) + 0.5]
    return {f"Variable_{number}" if number else "Variable": tensor for number, tensor in enumerate(tensors)}


class Blocks(nn.Module):
    """A pixel-shuffle in the middle, concatenation, a skip and a gain per channel."""

    def __init__(self):
        super().__init__()
        self.head, self.up = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 20, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(5, 1, 1) + 0.5)
        self.side, self.tail = nn.Conv2d(5, 7, 1), nn.Conv2d(12, 3, 3, padding=1, bias=False)
        self.act = nn.PReLU(5)

    def forward(self, x):
        h = nn.functional.pixel_shuffle(self.up(self.head(x).relu()), 2)
        h = self.act(h * self.gain)
        h = h + h.tanh()
        return self.tail(torch.cat([h, self.side(h)], 1))[:, :, 1:, 1:]


def spandrel_module(state):
    import spandrel

    return spandrel.ModelLoader().load_from_state_dict(dict(state)).model


MODULES = {
    "compact": lambda: spandrel_module(compact(0)),
    "rrdb": lambda: spandrel_module(rrdb("realesrgan")),
    "dncnn": lambda: spandrel_module(batchnorm_dncnn(0)[0]),
    "transformer": lambda: transformer_net.TransformerNet((4, 6, 8), 2),
    "resnet": lambda: resnet_generator.ResnetGenerator(4, 2, affine=True),
    "jcjohnson": lambda: fast_neural_style.FastNeuralStyle((4, 6, 8)),
    "blocks": Blocks,
}


def shuffled(module, groups, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return permute(module.state_dict(), groups, [torch.randperm(group.size, generator=draw) for group in groups])


@pytest.mark.parametrize("name", MODULES)
def test_any_order_of_free_channels_is_the_same_network(name):
    torch.manual_seed(0)
    module = MODULES[name]().double().eval()
    x = torch.rand(1, 3, 48, 48, dtype=torch.float64)
    groups = channel_groups(module, x)
    other = copy.deepcopy(module)
    other.load_state_dict(shuffled(module, groups))
    moved = [key for key, tensor in module.state_dict().items() if not torch.equal(tensor, other.state_dict()[key])]
    assert groups and moved
    with torch.inference_mode():
        torch.testing.assert_close(other(x), module(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("compact", [8] * 3),
        ("dncnn", [6] * 7),
        ("resnet", [4, 8, 16, 16, 16, 8, 4]),
        ("blocks", [6, 5, 7]),
    ],
)
def test_the_groups_are_as_many_as_can_be(name, sizes):
    groups = channel_groups(MODULES[name]().eval(), torch.rand(1, 3, 48, 48))
    assert sorted(group.size for group in groups) == sorted(sizes)


def test_a_residual_trunk_is_one_group_and_dense_layers_are_their_own():
    groups = channel_groups(MODULES["rrdb"]().eval(), torch.rand(1, 3, 16, 16))
    # the trunk, four growing layers in each of the six dense blocks, two upsamplings, the convolution after them
    assert sorted(group.size for group in groups) == [8] * 4 + [32] * 24
    (trunk,) = (group for group in groups if any(use.name == "model.0.bias" for use in group.uses))
    assert {use.start for use in trunk.uses} == {0}


def test_what_is_not_known_keeps_its_order():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 3, 1)

        def forward(self, x):
            h = self.a(x).cumsum(1)  # depends on the order
            return self.c(self.b(h).relu())

    module = Odd()
    (group,) = channel_groups(module, torch.rand(1, 3, 8, 8))
    assert {use.name for use in group.uses} == {"b.weight", "b.bias", "c.weight"}


@needs_scipy
@pytest.mark.parametrize("name", ["compact", "transformer", "rrdb"])
def test_a_shuffled_network_is_found_again(name):
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    groups = channel_groups(module, torch.rand(1, 3, 48, 48))
    state = {key: tensor + 0.01 * torch.randn_like(tensor) for key, tensor in module.state_dict().items()}
    noisy = copy.deepcopy(module)
    noisy.load_state_dict(state)
    other = shuffled(noisy, groups)
    back = permute(other, groups, match(module.state_dict(), other, groups))
    assert all(torch.equal(back[key], state[key]) for key in state)


@needs_scipy
def test_a_file_keeps_its_names_and_its_pictures(tmp_path, capsys):
    torch.save(rrdb("old", 0), tmp_path / "a.pth")
    torch.save(rrdb("realesrgan", 1), tmp_path / "b.pth")
    assert (
        main(["model", "align", *(str(tmp_path / name) for name in ("a.pth", "b.pth")), "-o", str(tmp_path / "c.pth")])
        == 0
    )
    assert "of 800 channels in 28 groups moved" in capsys.readouterr().out
    aligned = torch.load(tmp_path / "c.pth")
    assert list(aligned) == list(rrdb("old"))
    x = torch.rand(1, 3, 16, 16)
    networks = [load({"x": tmp_path / name})[0] for name in ("b.pth", "c.pth")]
    with torch.inference_mode():
        one, two = (network.forward(network.module, x) for network in networks)
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
    assert not torch.equal(aligned["model.0.weight"], rrdb("realesrgan", 1)["conv_first.weight"])


@needs_scipy
def test_tensors_in_another_layout_are_written_in_theirs(tmp_path):
    for seed in (0, 1):
        torch.save(tensorflow_variables(seed), tmp_path / f"{seed}.pth")
    found = align(tmp_path / "0.pth", tmp_path / "1.pth")
    assert found.moved and found.change < 1e-5
    assert {name: t.shape for name, t in found.state.items()} == {
        n: t.shape for n, t in tensorflow_variables(1).items()
    }


def test_without_scipy_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    for seed in (0, 1):
        torch.save(compact(seed), tmp_path / f"{seed}.pth")
    with pytest.raises(ModelError, match=r"needs the package scipy: pip install 'dnirender\[align\]'"):
        align(tmp_path / "0.pth", tmp_path / "1.pth")


@needs_models
@needs_scipy
@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("dncnn_gray_sigma15", "dncnn_gray_sigma25"),
        ("fast_style16_candy", "fast_style16_mosaic"),
        ("fast_style_la_muse", "fast_style_matta"),
    ],
)
def test_real_networks_stay_what_they_are(one, two):
    found = align(MODELS / f"{one}.pth", MODELS / f"{two}.pth")
    assert found.change < 1e-5
    assert found.correlation[1] >= found.correlation[0]
    assert np.isfinite(found.correlation).all()
