"""Dynamic-Net (Shoshan et al., ICCV 2019, arXiv 1811.08760): tuning blocks beside a network, z + level psi(z).

The last layer of psi is a convolution, so its weight and bias times the level are psi times the level. With one level
for each of the three places, the endpoints stay two, and layers have tracks of their own: `tuning_blocks.*block0.*`.
The dual network has a set of blocks for levels below zero and one for those above.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from dnirender.networks.architectures.denoise import DenoiseNet
from dnirender.networks.architectures.paint import PaintNet

_LAST = re.compile(r"(tuning_blocks(?:_lower|_higher)?)\.tuning_block(\d)\.conv2\.(weight|bias)")


def tunable(net: DenoiseNet | PaintNet) -> nn.Module:
    """`net` with tuning blocks, which change nothing at first."""
    net.add_tuning_blocks()
    return net


def endpoint(state: Mapping[str, Tensor], level: float | tuple[float, float, float]) -> dict[str, Tensor]:
    """The weights at `level`, of all three places or one for each; those of a network without tuning blocks are the
    same at every level."""
    levels = (level,) * 3 if isinstance(level, int | float) else level
    weights = dict(state)
    for name, tensor in state.items():
        if found := _LAST.fullmatch(name):
            weights[name] = tensor * _share(found[1], levels[int(found[2])])
    return weights


def _share(blocks: str, level: float) -> float:
    """What a set of blocks contributes at a level."""
    if blocks.endswith("_lower"):
        return max(-level, 0.0)
    return max(level, 0.0) if blocks.endswith("_higher") else level
