"""Laws of REPAIR: mixtures have the statistics that lie between those of the ends, the ends stay as they are."""

import copy
import itertools

import pytest
import torch
from torch import nn

from dnirender.errors import UsageError
from dnirender.networks import repair
from dnirender.networks.architectures.paint import InstanceNorm
from dnirender.networks.network import Network
from dnirender.networks.repair import NODES, measure_repair
from dnirender.networks.weights import MixedModule, WeightPath


class Chain(nn.Module):
    """Three layers, one of them transposed, that darken what they do not know."""

    def __init__(self, seed, norm=None):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Conv2d(3, 12, 3, padding=1), nn.ConvTranspose2d(12, 12, 3, padding=1)
        self.last = nn.Conv2d(12, 3, 3, padding=1)
        self.norm = norm(12, affine=True) if norm else nn.Identity()
        for layer in (self.first, self.second, self.last):
            nn.init.normal_(layer.weight, std=0.3)
        self.last.bias.data += 0.5

    def forward(self, x):
        return self.last(self.norm(self.second(self.first(x).relu())).relu()) * 0.3 + 0.3


def chains(count=2, norm=None, near=0.0):
    first = Chain(0, norm).state_dict()
    states = {"abc"[n]: Chain(n, norm).state_dict() for n in range(count)}
    if near:
        states = {name: {k: first[k] + near * (state[k] - first[k]) for k in state} for name, state in states.items()}
    return Network("chain", Chain(0, norm)), WeightPath(states)


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 24, 20, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def always(monkeypatch):
    """Corrects any pair in all layers, whatever it achieves for the picture."""
    monkeypatch.setattr(repair, "VISIBLE", -1.0)
    monkeypatch.setattr(repair, "_choose", lambda tried: tried[0])


def activations(path, network, alpha, images):
    """Means and deviations of the outputs of all convolutions."""
    mixed = MixedModule(path, copy.deepcopy(network.module))
    mixed.write(alpha)
    seen = []
    for layer in (mixed.module.first, mixed.module.second, mixed.module.last):
        layer.register_forward_hook(lambda _m, _i, y: seen.append(torch.std_mean(y, (0, 2, 3), correction=0)))
    with torch.inference_mode():
        mixed.module((images.float() / 255).permute(0, 3, 1, 2))
    return seen


def test_statistics_at_a_node_are_between_those_of_the_ends(images, always):
    network, path = chains()
    path.repair = measure_repair(network, path, images, [(0, 1)])
    ends = [activations(path, network, alpha, images) for alpha in ((1.0, 0.0), (0.0, 1.0))]
    for node in range(1, NODES):
        share = node / NODES
        found = activations(path, network, (1 - share, share), images)
        for (deviation, mean), one, two in zip(found, *ends, strict=True):
            torch.testing.assert_close(deviation, torch.lerp(one[0], two[0], share), rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(mean, torch.lerp(one[1], two[1], share), rtol=1e-3, atol=1e-3)
        path.repair, before = None, path.repair
        plain = activations(path, network, (1 - share, share), images)
        path.repair = before
        assert any((one[0] - two[0]).abs().max() > 0.1 for one, two in zip(plain, found, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_ends_stay_bit_for_bit_and_the_rest_is_rounded_once(images, dtype, always):
    network, path = chains()
    found = measure_repair(network, path, images, [(0, 1)])
    for alpha in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5)):
        plain, exact, low = (torch.empty_like(path.stack[0], dtype=kind) for kind in (dtype, torch.float32, dtype))
        path.mix(alpha, plain)
        path.repair = found
        path.mix(alpha, exact)
        path.mix(alpha, low)
        path.repair = None
        assert torch.equal(low, exact.to(dtype))
        assert torch.equal(plain, low) == (1.0 in alpha)


def test_corrections_change_gradually(images, always):
    network, path = chains()
    path.repair = measure_repair(network, path, images, [(0, 1)])
    mixed = [torch.empty_like(path.stack[0]) for _ in range(65)]
    for number, out in enumerate(mixed):
        path.mix((1 - number / 64, number / 64), out)
    steps = [float((one - two).norm()) for one, two in itertools.pairwise(mixed)]
    assert max(steps) < 6 * sum(steps) / len(steps)


def test_a_mixture_of_three_has_shares_of_the_corrections_of_its_pairs(images, always):
    network, path = chains(3)
    path.repair = measure_repair(network, path, images, [(0, 1), (0, 2), (1, 2)])
    near, pair = torch.empty_like(path.stack[0]), torch.empty_like(path.stack[0])
    path.mix((0.4, 0.6, 0.0), pair)
    path.mix((0.4 - 5e-6, 0.6 - 5e-6, 1e-5), near)
    torch.testing.assert_close(near, pair, atol=1e-3, rtol=1e-3)


def test_networks_that_mix_well_stay_as_they_are(images):
    network, path = chains(near=0.02)
    found = measure_repair(network, path, images, [(0, 1)])
    assert found.pairs[0, 1].corrections is None
    assert found.notes("ab")[0].startswith(
        "repair: a to b: not needed, as brightness and contrast half-way are off by 0."
    )
    path.repair = found
    one, two = torch.empty_like(path.stack[0]), torch.empty_like(path.stack[0])
    path.mix((0.5, 0.5), one)
    path.repair = None
    path.mix((0.5, 0.5), two)
    assert torch.equal(one, two)


def test_a_faint_mixture_gets_its_contrast_back(images):
    class Faint(nn.Module):
        """Ends with opposite signs inside, whose mixture is nothing but its bias."""

        def __init__(self, sign):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.one.weight.data = sign * torch.eye(3)[:, :, None, None]
            self.two.weight.data = torch.full((3, 3, 1, 1), 1 / 3)
            self.one.bias.data, self.two.bias.data = torch.tensor([0.0, 0.0, 0.1]), torch.zeros(3)

        def forward(self, x):
            return self.two((self.one(x - 0.5)).abs()) * 2

    network = Network("faint", Faint(1.0))
    path = WeightPath({"a": Faint(1.0).state_dict(), "b": Faint(-0.8).state_dict()})
    path.repair = measure_repair(network, path, images, [(0, 1)])
    pair = path.repair.pairs[0, 1]
    assert pair.before > 0.3 and pair.after < pair.before / 2 and pair.corrections is not None
    assert path.repair.notes("ab")[0].startswith("repair: a to b: brightness and contrast half-way were off by ")
    (one, _), (two, _), (middle, _) = (
        activations_of(path, network, alpha, images) for alpha in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5))
    )
    torch.testing.assert_close(middle, (one + two) / 2, rtol=1e-3, atol=1e-4)


def activations_of(path, network, alpha, images):
    """Deviation and mean of the output, by channel."""
    mixed = MixedModule(path, copy.deepcopy(network.module))
    mixed.write(alpha)
    with torch.inference_mode():
        return torch.std_mean(mixed.module((images.float() / 255).permute(0, 3, 1, 2)), (0, 2, 3))


def test_what_does_not_help_is_not_applied(images, monkeypatch):
    network, path = chains()
    monkeypatch.setattr(repair, "MAX_GAIN", 1.0)
    monkeypatch.setattr(
        repair._Statistics, "towards", lambda self, *_: repair._Statistics(self.mean + 9, self.deviation)
    )
    found = measure_repair(network, path, images, [(0, 1)])
    assert found.pairs[0, 1].corrections is None
    assert "not applied: brightness and contrast half-way are off by" in found.notes("ab")[0]


@pytest.mark.parametrize("norm", [InstanceNorm, nn.InstanceNorm2d])
def test_layers_that_are_normalized_are_left_out(images, norm):
    network, path = chains(norm=norm)
    found = measure_repair(network, path, images, [(0, 1)])
    assert [layer.weight.name for layer in found.layers] == ["first.weight", "last.weight"]


def test_batchnorm_at_test_time_normalizes_nothing(images):
    network, path = chains(norm=nn.BatchNorm2d)
    found = measure_repair(network, path, images, [(0, 1)])
    assert [layer.weight.name for layer in found.layers] == ["first.weight", "second.weight", "last.weight"]


def test_another_repair_is_written_though_alpha_is_the_same(images, always):
    network, path = chains()
    mixed = MixedModule(path, copy.deepcopy(network.module))
    mixed.write((0.5, 0.5))
    before = mixed.flat.clone()
    path.repair = measure_repair(network, path, images, [(0, 1)])
    assert mixed.write((0.5, 0.5)) and not torch.equal(before, mixed.flat)
    assert not mixed.write((0.5, 0.5))


def test_tracks_of_layers_are_refused(images):
    network, path = chains()
    states = {name: {v.name: v.of(row) for v in path.layout} for name, row in zip("ab", path.stack, strict=True)}
    with pytest.raises(UsageError, match="repair=True: layers that have tracks of their own cannot be repaired"):
        measure_repair(network, WeightPath(states, groups=["last.*"]), images, [(0, 1)])
