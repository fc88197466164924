"""BatchNorm statistics of mixed networks, measured on pictures.

The statistics that two files have stored are those of their own activations. A mixture has others, mostly with smaller
variances, so that its picture is dark or flat; measuring them on pictures brings it back.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] - its only common class

from dnirender.errors import UsageError
from dnirender.frames import Alpha, Image
from dnirender.networks.checkpoint import State
from dnirender.networks.loading import deploy_batchnorm
from dnirender.networks.network import Network, to_unit_range
from dnirender.networks.weights import WeightPath

INTERVALS = 8  # of a path between two endpoints; between their ends, deployed weights are interpolated
MAX_PAIRS = 10  # of endpoints that are not neighbors, too: up to five endpoints
MIN_VARIANCE = 1e-12

Statistics = dict[str, tuple[Tensor, Tensor]]
"""Mean and variance [c] of what every BatchNorm layer takes, by its name."""


class ReestimatedPath(WeightPath):
    """A path that leads through networks between its endpoints, for mixtures of two of them; mixtures of more, and what
    lies beyond the ends, are those of the endpoints. `stack` [N + M, P] has the rows of the endpoints, then those of
    the networks between them; `between` says which are whose."""

    def __init__(self, path: WeightPath, rows: Tensor, between: dict[tuple[int, int], int]) -> None:
        self.names, self.layout, self.groups, self.segments = path.names, path.layout, path.groups, path.segments
        self.stack = torch.cat([path.stack, rows])
        self._between = between

    def mix(self, alpha: Alpha, out: Tensor) -> None:
        """Writes out [P], exactly the endpoint's row at an endpoint."""
        self._mix_rows(self._coefficients(alpha), self.stack, out)

    def _coefficients(self, alpha: Alpha) -> Alpha:
        """One for each row of the stack."""
        found = [*alpha, *[0.0] * (len(self.stack) - len(alpha))]
        used = tuple(number for number, share in enumerate(alpha) if share)
        if len(used) != 2 or used not in self._between or min(alpha) < 0:
            return tuple(found)
        first, second = used
        start = self._between[used]
        rows = [first, *range(start, start + INTERVALS - 1), second]
        place = alpha[second] / (alpha[first] + alpha[second]) * INTERVALS
        whole = min(math.floor(place), INTERVALS - 1)
        found[first] = found[second] = 0.0
        found[rows[whole]], found[rows[whole + 1]] = 1 - (place - whole), place - whole
        return tuple(found)


def reestimate(network: Network, path: WeightPath, pictures: Sequence[Image]) -> tuple[Network, WeightPath]:
    """The network and a path in deployed form, with statistics measured on `pictures`, uint8 or uint16 [h, w, 3].

    `network` and `path` are as `load(..., deploy=False)` gives them. At an endpoint the statistics are the stored ones,
    so that its picture stays; between two, those of the mixture on the pictures, times what the stored ones of the ends
    differ from theirs on the pictures.

    Raises:
        UsageError: the networks have no BatchNorm with stored statistics, or groups of layers have their own alpha.
    """
    if path.groups:
        raise UsageError("bn='reestimate': expected one timeline for all layers, as statistics are measured along it")
    norms = _norms(network.module)
    if not norms:
        raise UsageError("bn='reestimate': expected networks with BatchNorm and stored statistics, got none in these")
    inputs = [to_unit_range(torch.from_numpy(picture))[None].permute(0, 3, 1, 2) for picture in pictures]
    states = [{view.name: view.of(row) for view in path.layout} for row in path.stack]
    stored = [
        {name: (state[f"{name}.running_mean"], state[f"{name}.running_var"]) for name in norms} for state in states
    ]
    measured = [_measure(network, state, inputs) for state in states]
    count = len(states)
    pairs = list(itertools.combinations(range(count), 2))
    pairs = pairs if len(pairs) <= MAX_PAIRS else list(itertools.pairwise(range(count)))
    ends = WeightPath(
        {
            name: _deploy(network, state, statistics)
            for name, state, statistics in zip(path.names, states, stored, strict=True)
        },
        channels_last=network.channels_last,
    )
    rows: list[Tensor] = []
    between: dict[tuple[int, int], int] = {}
    for first, second in pairs:
        between[first, second] = count + len(rows)
        for step in range(1, INTERVALS):
            t = step / INTERVALS
            state = {name: torch.lerp(tensor, states[second][name], t) for name, tensor in states[first].items()}
            found = _measure(network, state, inputs)
            used = {name: _correct(name, t, found, (stored[first], measured[first]), (stored[second], measured[second]))
                    for name in norms}  # fmt: skip
            rows.append(WeightPath({"x": _deploy(network, state, used)}, channels_last=network.channels_last).stack[0])
    module = copy.deepcopy(network.module)
    deploy_batchnorm(module)
    return replace(network, module=module), ReestimatedPath(ends, torch.stack(rows), between)


def _norms(module: nn.Module) -> dict[str, _BatchNorm]:
    return {
        name: norm
        for name, norm in module.named_modules()
        if isinstance(norm, _BatchNorm) and norm.affine and norm.running_var is not None
    }


def _with_state(network: Network, state: State) -> nn.Module:
    module = copy.deepcopy(network.module).eval()
    module.load_state_dict(dict(state), strict=False)
    return module


@torch.no_grad()
def _measure(network: Network, state: State, inputs: Sequence[Tensor]) -> Statistics:
    """The statistics of a network on pictures, every layer normalizing by those of the picture at hand."""
    module = _with_state(network, state)
    norms = _norms(module)
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the pictures
        norm.train()
    for x in inputs:
        network.forward(module, x)
    return {name: (norm.running_mean.clone(), norm.running_var.clone()) for name, norm in norms.items()}  # pyright: ignore[reportOptionalMemberAccess]


def _correct(
    name: str, t: float, found: Statistics, first: tuple[Statistics, Statistics], second: tuple[Statistics, Statistics]
) -> tuple[Tensor, Tensor]:
    """The statistics of a mixture, corrected by what those that are stored differ from those on the pictures."""
    mean, variance = found[name]
    for share, (stored, measured) in ((1 - t, first), (t, second)):
        mean = mean + share * (stored[name][0] - measured[name][0])
        ratio = stored[name][1].clamp(min=MIN_VARIANCE) / measured[name][1].clamp(min=MIN_VARIANCE)
        variance = variance * ratio**share
    return mean, variance


def _deploy(network: Network, state: State, statistics: Statistics) -> State:
    """The tensors of a network with these statistics, folded into gain and shift."""
    module = _with_state(network, state)
    for name, norm in _norms(module).items():
        norm.running_mean, norm.running_var = (tensor.clone() for tensor in statistics[name])
    deploy_batchnorm(module)
    return module.state_dict()
