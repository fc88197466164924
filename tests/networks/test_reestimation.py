"""Laws of measured BatchNorm statistics: ends stay, the middle is normalized, the path has no jumps."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from dnirender.errors import UsageError
from dnirender.networks.network import Network, to_unit_range
from dnirender.networks.reestimation import INTERVALS, reestimate
from dnirender.networks.weights import MixedModule, WeightPath


class Normed(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Conv2d(6, 3, 1)
        self.norm.weight.data.uniform_(0.5, 1.5)
        self.norm.bias.data.uniform_(-0.5, 0.5)

    def hidden(self, x):
        return self.norm(self.first(x))

    def forward(self, x):
        return self.last(self.hidden(x))


PICTURES = list(np.random.default_rng(0).integers(0, 256, (3, 24, 20, 3), np.uint8))
BATCH = to_unit_range(torch.from_numpy(np.stack(PICTURES))).permute(0, 3, 1, 2)


def trained(*seeds, own=True):
    """Networks with stored statistics: their own on the pictures, else others."""
    modules = {f"n{seed}": Normed(seed) for seed in seeds}
    with torch.no_grad():
        for seed, module in enumerate(modules.values()):
            hidden = module.first(BATCH)
            module.norm.running_mean.copy_(hidden.mean((0, 2, 3)) if own else torch.full((6,), 0.1 * seed))
            module.norm.running_var.copy_(hidden.var((0, 2, 3)) if own else torch.full((6,), 0.2 + seed))
    states = {name: module.state_dict() for name, module in modules.items()}
    first = next(iter(modules.values()))
    return modules, Network("normed", first.eval()), WeightPath(states)


def output(network, path, alpha):
    mixed = MixedModule(path, copy.deepcopy(network.module))
    mixed.write(alpha)
    return mixed.module


@pytest.mark.parametrize("own", [True, False])
def test_ends_are_exactly_what_they_were(own):
    modules, network, raw = trained(1, 2, own=own)
    network, path = reestimate(network, raw, PICTURES)
    for name, alpha in (("n1", (1.0, 0.0)), ("n2", (0.0, 1.0))):
        expected = modules[name].eval()(BATCH)
        torch.testing.assert_close(output(network, path, alpha)(BATCH), expected, atol=1e-5, rtol=1e-5)


def test_the_middle_has_the_spread_that_gain_and_shift_ask_for():
    _, network, raw = trained(1, 2)
    network, path = reestimate(network, raw, PICTURES)
    with torch.no_grad():
        hidden = output(network, path, (0.5, 0.5)).hidden(BATCH)
    gain, shift = (0.5 * (Normed(1).norm.state_dict()[k] + Normed(2).norm.state_dict()[k]) for k in ("weight", "bias"))
    torch.testing.assert_close(hidden.mean((0, 2, 3)), shift, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(hidden.std((0, 2, 3)), gain, atol=0.02, rtol=0.02)


def test_what_stored_statistics_differ_by_is_carried_along():
    _, network, raw = trained(1, 2)
    for view in raw.layout:
        if view.name == "norm.running_var":
            for row in raw.stack:
                view.of(row).mul_(4)
    network, path = reestimate(network, raw, PICTURES)
    with torch.no_grad():
        spread = output(network, path, (0.5, 0.5)).hidden(BATCH).std((0, 2, 3))
    gain = 0.5 * (Normed(1).norm.weight + Normed(2).norm.weight).detach()
    torch.testing.assert_close(spread, gain / 2, atol=0.02, rtol=0.02)


def test_the_path_has_no_jumps_and_convolutions_are_mixed_as_ever():
    _, network, raw = trained(1, 2, own=False)
    network, path = reestimate(network, raw, PICTURES)
    with torch.no_grad():
        outputs = [output(network, path, (1 - t, t))(BATCH) for t in np.linspace(0, 1, 8 * INTERVALS + 1).tolist()]
        steps = [float((b - a).abs().mean()) for a, b in itertools.pairwise(outputs)]
        assert max(steps) < 6 * np.mean(steps)
        weight = output(network, path, (0.3, 0.7)).first.weight
    torch.testing.assert_close(weight, 0.3 * Normed(1).first.weight + 0.7 * Normed(2).first.weight)


def test_mixtures_of_three_are_those_of_the_endpoints():
    _, network, raw = trained(1, 2, 3)
    network, path = reestimate(network, raw, PICTURES)
    flat = torch.empty(path.stack.shape[1])
    path.mix((0.2, 0.3, 0.5), flat)
    torch.testing.assert_close(flat, torch.tensor([0.2, 0.3, 0.5]) @ path.stack[:3])
    path.mix((0.5, 0.0, 0.5), flat)
    assert not torch.allclose(flat, torch.tensor([0.5, 0.0, 0.5]) @ path.stack[:3])


def test_networks_without_statistics_are_refused():
    module = nn.Conv2d(3, 3, 1)
    path = WeightPath({name: module.state_dict() for name in "ab"})
    with pytest.raises(UsageError, match="bn='reestimate': expected networks with BatchNorm"):
        reestimate(Network("conv", module), path, PICTURES)
