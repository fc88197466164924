"""RRDB networks (ESRGAN, BSRGAN, Real-ESRGAN) of another scale: layers by role, upsamplings added or left out."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

from dnirender.errors import ModelError, UsageError
from dnirender.networks.checkpoint import State

SCALES = (1, 2, 4, 8, 16)
UNSHUFFLES = (1, 2, 4)

Prefix = Callable[[str, int, int], str]
"""The name of a layer by its role (up, hr, last), the number of an upsampling, and how many of those there are."""


def _new_prefix(up: str, hr: str) -> Prefix:
    return lambda role, number, _: {"up": up.format(number), "hr": hr, "last": "conv_last"}[role]


def _old_prefix(role: str, number: int, ups: int) -> str:
    return f"model.{ {'up': 3 * number, 'hr': 3 * ups + 2, 'last': 3 * ups + 4}[role] }"


# A layer that only this dialect has, and the names of those after the trunk.
_DIALECTS: tuple[tuple[str, str, Prefix], ...] = (
    ("body.0.rdb1.conv1.weight", "conv_first", _new_prefix("conv_up{}", "conv_hr")),
    ("RRDB_trunk.0.RDB1.conv1.weight", "conv_first", _new_prefix("upconv{}", "HRconv")),
    ("model.1.sub.0.RDB1.conv1.0.weight", "model.0", _old_prefix),
)


def rescale(state: State, scale: int, unshuffle: int | None = None) -> dict[str, Tensor]:
    """The weights of an RRDB network of `scale` (1, 2, 4, 8 or 16), in the names of `state`.

    Upsamplings that are missing are copies of the last one, or of the convolution after them where there is none;
    superfluous ones are left out, the last ones first. So enlarging and going back gives the same weights, and networks
    of one scale can be mixed. The pictures are right only after a short training, or back at the old scale.

    `unshuffle` is the factor by which the input is pixel-unshuffled before the first convolution (1, 2 or 4), which
    stays by default. With a higher one the first convolution sees the mean of a block of pixels; with a lower one it
    gets the sum of its weights over the block.

    Raises:
        UsageError: another scale or factor.
        ModelError: the names are not those of an RRDB network.
    """
    if scale not in SCALES:
        raise UsageError(f"scale={scale}: expected one of {', '.join(map(str, SCALES))}")
    if unshuffle is not None and unshuffle not in UNSHUFFLES:
        raise UsageError(f"unshuffle={unshuffle}: expected one of {', '.join(map(str, UNSHUFFLES))}")
    first, prefix = _dialect(state)
    ups = _count_ups(state, prefix)
    ends = [prefix(role, 0, ups) for role in ("hr", "last")]
    sources = [prefix("up", number, ups) for number in range(1, ups + 1)]
    channels = state[f"{ends[1]}.weight"].shape[0]
    factor = _unshuffle_factor(state[f"{first}.weight"].shape[1], channels)
    target = unshuffle or factor
    wanted = (scale * target).bit_length() - 1
    copied = sources[-1] if sources else ends[0]
    layers = {
        prefix("up", number, wanted): sources[number - 1] if number <= ups else copied
        for number in range(1, wanted + 1)
    }
    layers |= {prefix(role, 0, wanted): end for role, end in zip(("hr", "last"), ends, strict=True)}
    replaced = {name for name in state if name.rpartition(".")[0] in (*sources, *ends)}
    result = {name: tensor for name, tensor in state.items() if name not in replaced}
    if target != factor:
        result[f"{first}.weight"] = _reshuffled(result[f"{first}.weight"], factor, target)
    for new, old in layers.items():
        result |= {f"{new}.{kind}": state[f"{old}.{kind}"] for kind in ("weight", "bias")}
    return result


def _dialect(state: State) -> tuple[str, Prefix]:
    found = next(((first, prefix) for mark, first, prefix in _DIALECTS if mark in state), None)
    if found is None:
        names = ", ".join([*state][:3])
        raise ModelError(f"rescale: expected an RRDB network (ESRGAN, BSRGAN, Real-ESRGAN), got the names {names}")
    return found


def _count_ups(state: State, prefix: Prefix) -> int:
    """How many upsamplings there are. ModelError: a layer after them is missing."""
    numbered = [int(found[1]) for name in state if (found := re.fullmatch(r"model\.(\d+)\.weight", name))]
    if prefix is _old_prefix:
        ups = (max(numbered, default=0) - 4) // 3
    else:
        ups = sum(f"{prefix('up', number, 0)}.weight" in state for number in range(1, len(SCALES) + 2))
    needed = [prefix("up", number, ups) for number in range(1, ups + 1)]
    needed += [prefix(role, 0, ups) for role in ("hr", "last")]
    missing = [f"{layer}.{kind}" for layer in needed for kind in ("weight", "bias") if f"{layer}.{kind}" not in state]
    if missing:
        raise ModelError(f"rescale: the network has no {missing[0]}, which an RRDB network with {ups} upsamplings has")
    return ups


def _unshuffle_factor(inputs: int, outputs: int) -> int:
    return {outputs * factor**2: factor for factor in UNSHUFFLES}.get(inputs, 1)


def _reshuffled(weight: Tensor, factor: int, target: int) -> Tensor:
    """The first convolution for an input that is unshuffled by another factor; channels are color, row, column."""
    outputs, inputs, height, width = weight.shape
    colors = weight.double().reshape(outputs, inputs // factor**2, factor**2, height, width).sum(2, keepdim=True)
    spread = (colors / target**2).expand(-1, -1, target**2, -1, -1)
    return spread.reshape(outputs, -1, height, width).float().contiguous()
