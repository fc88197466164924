"""Which channels of which tensors belong together: those that can be put in another order without changing the output.

The module runs once on a small image, and every function that it calls tells how channels flow from its inputs to its
output. What is not known here leaves the channels in their order, which is always right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# Functions of one tensor whose output channels are its input channels.
_CHANNELWISE = {
    *("relu", "leaky_relu", "tanh", "sigmoid", "silu", "gelu", "elu", "hardtanh", "softplus", "celu", "selu", "clamp"),
    *("clamp_min", "clamp_max", "interpolate", "upsample", "contiguous", "to", "float", "clone", "detach", "dropout"),
    *("dropout2d", "avg_pool2d", "max_pool2d", "adaptive_avg_pool2d", "neg", "abs", "exp", "square", "sqrt", "type_as"),
}
_ARITHMETIC = {"add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "div", "truediv", "itruediv"}
_IMAGE_AXES = 4  # n c h w


@dataclass(frozen=True)
class ChannelUse:
    """Where the channels of a group lie: on an axis of a tensor from `start`, each of them `repeat` times in a row."""

    name: str
    axis: int
    start: int
    repeat: int


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are put in one order together."""

    size: int
    uses: tuple[ChannelUse, ...]


@dataclass(eq=False)
class _Space:
    """Channels of one order. `parent` is the space that it was found to be, each channel of it `repeat` times."""

    size: int
    fixed: bool = False
    parent: _Space | None = None
    repeat: int = 1

    def root(self) -> tuple[_Space, int]:
        space, repeat = self, 1
        while space.parent is not None:
            space, repeat = space.parent, repeat * space.repeat
        return space, repeat


_Flow = list[_Space]
"""The spaces that follow one another along the channel axis of a tensor."""


def channel_groups(module: nn.Module, image: Tensor) -> list[ChannelGroup]:
    """The groups of channels of `module` that are free, by the names of its state dict; `image` is n c h w, its input.

    Permuting a group alike in all its uses leaves the output as it is, but for rounding. Colors are never free.
    """
    names = {id(tensor): name for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    trace = _Trace(names)
    with torch.no_grad(), trace:
        trace.follow(image, [_Space(image.shape[1], fixed=True)])
        output: object = module(image)
    if isinstance(output, Tensor):
        trace.fix(output)
    return trace.groups()


@dataclass(eq=False)
class _Trace(TorchFunctionMode):
    names: Mapping[int, str]
    flows: dict[int, _Flow] = field(default_factory=dict[int, _Flow])
    alive: list[Tensor] = field(default_factory=list[Tensor])  # or else ids are used again
    uses: dict[tuple[str, int, int], _Space] = field(default_factory=dict[tuple[str, int, int], _Space])

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        outputs = [result] if isinstance(result, Tensor) else result if isinstance(result, tuple | list) else []
        outputs = [output for output in outputs if isinstance(output, Tensor)]
        if not outputs:
            return result
        flow = self._flow(func, args, kwargs or {}, outputs[0])
        if flow is None:
            self._fix_all(args, kwargs or {})
        for output in outputs:
            if id(output) not in self.names:
                channels = output.shape[1] if output.ndim == _IMAGE_AXES else 0
                self.follow(output, flow if flow is not None else [_Space(channels, fixed=True)])
        return result

    def follow(self, tensor: Tensor, flow: _Flow) -> None:
        self.alive.append(tensor)
        self.flows[id(tensor)] = flow

    def fix(self, tensor: Tensor) -> None:
        """Leaves the channels of a tensor in their order."""
        for space in self.flows.get(id(tensor), []):
            space.root()[0].fixed = True

    def groups(self) -> list[ChannelGroup]:
        found: dict[int, tuple[_Space, list[ChannelUse]]] = {}
        for (name, axis, start), space in self.uses.items():
            root, repeat = space.root()
            found.setdefault(id(root), (root, []))[1].append(ChannelUse(name, axis, start, repeat))
        return [ChannelGroup(root.size, tuple(uses)) for root, uses in found.values() if not root.fixed]

    def _fix_all(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        for value in [*args, *kwargs.values()]:
            for tensor in value if isinstance(value, tuple | list) else [value]:
                if isinstance(tensor, Tensor):
                    self.fix(tensor)

    def _flow(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> _Flow | None:
        """The channels of the output; None where they are not known."""
        name = getattr(func, "__name__", "").strip("_")
        if not args:
            return None
        if name in ("conv2d", "conv_transpose2d"):
            return self._convolution(name, args, kwargs, output)
        if name == "cat":
            return self._concatenation(args, kwargs)
        if name in _ARITHMETIC and len(args) > 1:
            return self._arithmetic(args[0], args[1])
        flow = self.flows.get(id(args[0]))
        if flow is None:
            return None
        if name in ("batch_norm", "instance_norm"):
            of_norm = [*args[1:5], *(kwargs.get(key) for key in ("running_mean", "running_var", "weight", "bias"))]
            return flow if all(self._use(tensor, 0, flow) for tensor in of_norm if tensor is not None) else None
        if name == "prelu":
            slope = args[1] if len(args) > 1 else kwargs["weight"]
            return flow if slope.numel() == 1 or self._use(slope, 0, flow) else None
        if name in ("pixel_shuffle", "pixel_unshuffle"):
            return self._shuffle(flow, args[1] if len(args) > 1 else next(iter(kwargs.values())), name)
        if name == "pad":
            return flow if len(args[1]) <= _IMAGE_AXES else None
        if name == "getitem":
            return flow if _keeps_channels(args[1]) else None
        if name == "split":
            return flow if output.shape[1] == args[0].shape[1] else None
        return flow if name.rstrip("_") in _CHANNELWISE else None

    def _convolution(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> _Flow | None:
        values = dict(zip(("input", "weight", "bias", "stride", "padding"), args, strict=False)) | dict(kwargs)
        groups = args[6] if len(args) > 6 else kwargs.get("groups", 1)
        flow, weight, bias = self.flows.get(id(values["input"])), values["weight"], values.get("bias")
        if flow is None or groups != 1:
            return None
        axis = 0 if name == "conv2d" else 1
        result = [_Space(output.shape[1])]
        known = self._use(weight, 1 - axis, flow) and self._use(weight, axis, result)
        known = known and (bias is None or self._use(bias, 0, result))
        return result if known else None

    def _use(self, tensor: Any, axis: int, flow: _Flow) -> bool:
        """Notes that the axis of a parameter has these channels; False if it is no parameter of that size."""
        name = self.names.get(id(tensor))
        if name is None or tensor.shape[axis] != sum(space.size for space in flow):
            return False
        start = 0
        for space in flow:
            before = self.uses.setdefault((name, axis, start), space)
            if before is not space:
                _join([before], [space])
            start += space.size
        return True

    def _concatenation(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Flow | None:
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        flows = [self.flows.get(id(tensor)) for tensor in args[0]]
        known = [flow for flow in flows if flow is not None]
        if len(known) < len(flows):
            return None
        if dim in (1, -3):
            return [space for flow in known for space in flow]
        for flow in known[1:]:
            _join(known[0], flow)
        return known[0]

    def _arithmetic(self, one: Any, two: Any) -> _Flow | None:
        flows = [self.flows.get(id(value)) if isinstance(value, Tensor) else None for value in (one, two)]
        if flows[0] is not None and flows[1] is not None:
            if one.shape[1] != two.shape[1]:
                return None
            _join(flows[0], flows[1])
            return flows[0]
        flow, other = (flows[0], two) if flows[0] is not None else (flows[1], one)
        if flow is None:
            return None
        if not isinstance(other, Tensor) or other.numel() == 1:
            return flow
        axis = other.ndim - 3
        per_channel = axis >= 0 and other.numel() == other.shape[axis]
        return flow if per_channel and self._use(other, axis, flow) else None

    @staticmethod
    def _shuffle(flow: _Flow, factor: int, name: str) -> _Flow | None:
        """Each channel after a pixel-shuffle is a block of factor^2 channels before it."""
        if len(flow) != 1:
            return None
        root, repeat = flow[0].root()
        block = factor * factor
        if name == "pixel_unshuffle":
            return [_Space(flow[0].size * block, parent=flow[0], repeat=block)]
        if repeat % block == 0 and repeat > 1:
            return [_Space(flow[0].size // block, parent=root, repeat=repeat // block)]
        if repeat > 1:
            return None
        shuffled = _Space(root.size // block, fixed=root.fixed)
        root.parent, root.repeat = shuffled, block
        return [shuffled]


def _join(one: _Flow, two: _Flow) -> None:
    """Gives two flows one order; where they are divided in other ways, the one that they have."""
    if [space.size for space in one] != [space.size for space in two]:
        for space in (*one, *two):
            space.root()[0].fixed = True
        return
    for first, second in zip(one, two, strict=True):
        (a, times_a), (b, times_b) = first.root(), second.root()
        if a is b:
            continue
        if times_a != times_b:
            a.fixed = b.fixed = True
            continue
        b.parent, a.fixed = a, a.fixed or b.fixed


def _keeps_channels(index: Any) -> bool:
    """Whether x[index] has all channels of x, n c h w."""
    if not isinstance(index, tuple):
        return index is Ellipsis
    if index and index[0] is Ellipsis:
        return len(index) <= _IMAGE_AXES - 1
    return len(index) > 1 and all(axis == slice(None) for axis in index[:2])
