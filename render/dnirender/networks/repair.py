"""REPAIR (Jordan et al. 2022) along a weight path: mixed networks keep the statistics of their endpoints' activations.

Between endpoints i and j, at a share a of j, every channel of every convolution gets the mean and the deviation

    mu(a) = (1 - a) mu_i + a mu_j,    sigma(a) = (1 - a) sigma_i + a sigma_j

by a gain sigma(a) / s and a shift mu(a) - gain m, where m and s are what the mixed network has once all layers before
are corrected. Both are measured on a few images at NODES + 1 shares, are linear in between, and are folded into weights
and biases, so that a forward pass costs what it did. Endpoints stay as they are.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dnirender.errors import UsageError
from dnirender.frames import Alpha, Image
from dnirender.networks.network import LUMA, Network, call_module, to_unit_range
from dnirender.networks.weights import MixedModule, TensorView, WeightPath

NODES = 4  # an even number: one is half-way
VISIBLE = 2 / 255  # error of brightness and contrast together that is corrected
WORTHWHILE = 0.5  # share of the error that may be left, or else nothing is corrected
MAX_GAIN = 10.0  # of a channel that hardly moves
MIN_DEVIATION = 1e-8  # below it a channel is constant, and keeps its gain
CONVOLUTIONS = {"conv2d": 0, "conv_transpose2d": 1}
"""By function: the axis of output channels in the weights."""
NORMS = ("batch_norm", "instance_norm", "group_norm", "layer_norm")
PASSES_ON = ("split", "to", "contiguous")
"""Functions whose results are the values of their input."""


@dataclass(frozen=True)
class Layer:
    """A convolution that is corrected: its weights, of which `axis` are the output channels, and its bias."""

    weight: TensorView
    axis: int
    bias: TensorView

    @property
    def channels(self) -> int:
        return self.bias.shape[0]


Pair = tuple[int, int]


@dataclass(frozen=True)
class PairRepair:
    """Gains and shifts of a pair of endpoints, [NODES + 1, channels of all layers] at shares of the second from 0 to 1;
    None where nothing is corrected. `before` and `after` are how far the brightness and the contrast of pictures
    half-way, added, are from the mean of those of the ends, in 0..1."""

    corrections: tuple[Tensor, Tensor] | None
    before: float
    after: float


@dataclass(frozen=True)
class Repair:
    """Corrections by pair of endpoints i < j."""

    layers: tuple[Layer, ...]
    pairs: Mapping[Pair, PairRepair]

    def apply(self, alpha: Alpha, flat: Tensor) -> None:
        """Corrects the weights [P], float32, that were mixed for `alpha`; in a mixture of three or more endpoints the
        corrections of its pairs count by the product of their coefficients. Endpoints alone stay as they are."""
        used = [index for index, coefficient in enumerate(alpha) if coefficient > 0]
        shares = {(i, j): alpha[i] * alpha[j] for i, j in itertools.combinations(used, 2)}
        gain, shift = torch.ones(()), torch.zeros(())
        for (i, j), share in shares.items():
            pair = self.pairs.get((i, j))
            if pair is not None and pair.corrections is not None:
                weight = share / sum(shares.values())
                gains, shifts = (_between(nodes, alpha[j] / (alpha[i] + alpha[j])) for nodes in pair.corrections)
                gain, shift = gain + weight * (gains - 1), shift + weight * shifts
        if gain.ndim:
            self._fold(gain, shift, flat)

    def _fold(self, gain: Tensor, shift: Tensor, flat: Tensor) -> None:
        sizes = [layer.channels for layer in self.layers]
        gain, shift = gain.to(flat.device), shift.to(flat.device)
        for layer, own_gain, own_shift in zip(self.layers, gain.split(sizes), shift.split(sizes), strict=True):
            weight = layer.weight.of(flat)
            weight.mul_(own_gain.reshape([-1 if axis == layer.axis else 1 for axis in range(weight.ndim)]))
            layer.bias.of(flat).mul_(own_gain).add_(own_shift)

    def notes(self, names: Sequence[str]) -> list[str]:
        """What was done for every pair, for users."""
        if not self.layers:
            return ["repair: nothing to do, as all layers are normalized or have no bias"]
        return [f"repair: {names[i]} to {names[j]}: {_note(pair)}" for (i, j), pair in self.pairs.items()]


def _note(pair: PairRepair) -> str:
    before, after = 255 * pair.before, 255 * pair.after
    if pair.corrections is not None:
        return f"brightness and contrast half-way were off by {before:.1f} of 255, and are by {after:.1f}"
    if pair.before <= VISIBLE:
        return f"not needed, as brightness and contrast half-way are off by {before:.1f} of 255"
    return f"not applied: brightness and contrast half-way are off by {before:.1f} of 255, and would be by {after:.1f}"


def _between(nodes: Tensor, share: float) -> Tensor:
    left = min(int(share * NODES), NODES - 1)
    return torch.lerp(nodes[left], nodes[left + 1], share * NODES - left)


def measure_repair(network: Network, path: WeightPath, images: Sequence[Image], pairs: Iterable[Pair]) -> Repair:
    """The repair of pairs of endpoints i < j of `path`, measured on `images`, h w 3, of one size and dtype.

    A pair is corrected in all layers or in the last one alone, whichever leaves less error half-way, and only where the
    error can be seen and is halved by it: a pair that mixes well stays as it is.

    UsageError: layers of the path have tracks of their own.
    """
    if path.groups:
        raise UsageError("repair=True: layers that have tracks of their own cannot be repaired; leave out one of both")
    run = _Runner(network, path, images)
    found = run({0: 1.0}).layers()
    pairs = sorted(set(pairs)) if found else []
    ends = {index: run({index: 1.0}) for index in sorted({index for pair in pairs for index in pair})}
    views = {view.name: view for view in path.layout}
    layers = tuple(Layer(views[weight], axis, views[bias]) for weight, (bias, axis) in found.items())
    return Repair(layers, {(i, j): _repair_pair(run, (i, j), ends[i], ends[j], list(found)) for i, j in pairs})


def _repair_pair(run: _Runner, pair: Pair, one: _Calibration, two: _Calibration, names: list[str]) -> PairRepair:
    wanted = (one.appearance + two.appearance) / 2
    middle = {pair[0]: 0.5, pair[1]: 0.5}

    def error(calibration: _Calibration) -> float:
        return float((calibration.appearance - wanted).abs().sum(1).mean())

    before = error(run(middle))
    if before <= VISIBLE:
        return PairRepair(None, before, before)
    tried: list[PairRepair] = []
    for chosen in dict.fromkeys((tuple(names), (names[-1],))):
        nodes = [one.neutral(names)]
        after = before
        for node in range(1, NODES):
            share = node / NODES
            goals = {name: one.statistics[name].towards(two.statistics[name], share) for name in chosen}
            corrected = run({pair[0]: 1 - share, pair[1]: share}, goals)
            after = error(corrected) if node == NODES // 2 else after
            nodes.append(nodes[0] | corrected.corrections)
        nodes.append(nodes[0])
        gains, shifts = (torch.stack([torch.cat([node[name][k] for name in names]) for node in nodes]) for k in (0, 1))
        tried.append(PairRepair((gains, shifts), before, after))
    return _choose(tried)


def _choose(tried: Sequence[PairRepair]) -> PairRepair:
    """The one that leaves least error, if that is worthwhile."""
    best = min(tried, key=lambda candidate: candidate.after)
    return best if best.after <= WORTHWHILE * best.before else replace(best, corrections=None)


class _Runner:
    """Runs the network on images under mixed weights and watches its convolutions."""

    def __init__(self, network: Network, path: WeightPath, images: Sequence[Image]) -> None:
        if network.shuffle_factors:  # the module's own forward has every layer as a function of its own
            network = replace(network, call=call_module, shuffle_factors=None)
        pixels = torch.stack([torch.as_tensor(image) for image in images])
        plain = copy.copy(path)
        plain.repair = None
        self._network, self._mixed = network, MixedModule(plain, copy.deepcopy(network.module))
        self._x = to_unit_range(pixels.to(path.stack.device)).permute(0, 3, 1, 2)

    def __call__(self, shares: Mapping[int, float], goals: Mapping[str, _Statistics] | None = None) -> _Calibration:
        self._mixed.write(tuple(shares.get(index, 0.0) for index in range(len(self._mixed.path.names))))
        calibration = _Calibration(self._mixed.module, goals or {})
        with torch.inference_mode():
            with calibration:
                output = self._network.forward(self._mixed.module, self._x).clamp(0, 1)
            luma = (output * torch.tensor(LUMA, device=output.device)[:, None, None]).sum(1).flatten(1)
        calibration.appearance = torch.stack([luma.mean(1), luma.std(1)], 1)
        return calibration


@dataclass(frozen=True)
class _Statistics:
    """Mean and standard deviation of every channel [c]."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, y: Tensor) -> _Statistics:
        deviation, mean = torch.std_mean(y.double(), dim=(0, 2, 3), correction=0)
        return cls(mean.float(), deviation.float())

    def towards(self, other: _Statistics, share: float) -> _Statistics:
        return _Statistics(torch.lerp(self.mean, other.mean, share), torch.lerp(self.deviation, other.deviation, share))

    def correction_to(self, goal: _Statistics) -> tuple[Tensor, Tensor]:
        """Gain and shift that give the channels the goal's mean and deviation."""
        gain = (goal.deviation / self.deviation.clamp_min(MIN_DEVIATION)).clamp(1 / MAX_GAIN, MAX_GAIN)
        gain = torch.where(self.deviation > MIN_DEVIATION, gain, 1.0)
        return gain, goal.mean - gain * self.mean


class _Calibration(TorchFunctionMode):
    """Measures what convolutions with a bias put out, and corrects those that have `goals`, layer after layer.

    `statistics` and `corrections` are by the name of the weights; `appearance` is the brightness and the contrast of
    each image of the output [n, 2].
    """

    appearance: Tensor

    def __init__(self, module: nn.Module, goals: Mapping[str, _Statistics]) -> None:
        super().__init__()
        self.statistics: dict[str, _Statistics] = {}
        self.corrections: dict[str, tuple[Tensor, Tensor]] = {}
        self._goals = goals
        self._names = {id(tensor): name for name, tensor in module.named_parameters()}
        self._layers: dict[str, tuple[str, int]] = {}
        self._excluded: set[str] = set()
        self._outputs: dict[int, str] = {}
        self._alive: list[Tensor] = []  # or else ids are used again

    def layers(self) -> dict[str, tuple[str, int]]:
        """Bias and axis by weight, of the convolutions that run once and whose output is not normalized."""
        return {weight: layer for weight, layer in self._layers.items() if weight not in self._excluded}

    def neutral(self, names: Iterable[str]) -> dict[str, tuple[Tensor, Tensor]]:
        """Corrections that change nothing."""
        means = {name: self.statistics[name].mean for name in names}
        return {name: (torch.ones_like(mean), torch.zeros_like(mean)) for name, mean in means.items()}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result, options = func(*args, **(kwargs or {})), kwargs or {}
        name = getattr(func, "__name__", "")
        if name in CONVOLUTIONS:
            weight = args[1] if len(args) > 1 else options["weight"]
            bias = args[2] if len(args) > 2 else options.get("bias")
            if id(weight) in self._names and id(bias) in self._names:
                result = self._convolved(self._names[id(weight)], self._names[id(bias)], CONVOLUTIONS[name], result)
        elif args and id(args[0]) in self._outputs:
            source = self._outputs[id(args[0])]
            if name in NORMS and _renormalizes(name, args, options):
                self._excluded.add(source)
            elif name in PASSES_ON:
                for part in result if isinstance(result, tuple | list) else [result]:
                    self._note(part, source)
        return result

    def _convolved(self, weight: str, bias: str, axis: int, y: Tensor) -> Tensor:
        if weight in self._layers:
            self._excluded.add(weight)
        self._layers[weight] = (bias, axis)
        self.statistics[weight] = _Statistics.of(y)
        if weight in self._goals:
            gain, shift = self.corrections[weight] = self.statistics[weight].correction_to(self._goals[weight])
            y = y * gain[:, None, None] + shift[:, None, None]
        self._note(y, weight)
        return y

    def _note(self, tensor: Tensor, weight: str) -> None:
        self._outputs[id(tensor)] = weight
        self._alive.append(tensor)


def _renormalizes(name: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> bool:
    """Whether a normalization is by the statistics of its input; batch normalization at test time is not."""
    return name != "batch_norm" or bool(args[5] if len(args) > 5 else options.get("training", False))
