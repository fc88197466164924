"""Networks from PyTorch modules in memory, without files."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import nn

from dnirender.errors import ModelError
from dnirender.networks.loading import deploy_batchnorm
from dnirender.networks.network import Network, with_measured_scale
from dnirender.networks.weights import WeightPath, check_same_shapes


def from_modules(modules: Mapping[str, nn.Module], *, multiple: int = 1) -> tuple[Network, WeightPath]:
    """The network and the weight path of modules of one structure, by endpoint, in order from 0 to 1; for `Engine`.

    A module maps RGB n 3 h w, float32 in 0..1, to n 3 scale*h scale*w of the same range; h and w are multiples of
    `multiple`. The modules are copied and stay as they are. BatchNorm is mixed in its deployed form, as `load` does.
    ModelError: fewer than two modules, weights of other names or shapes, or an output of another form.
    """
    if len(modules) < 2:
        raise ModelError(f"from_modules: expected two modules or more, got {len(modules)}")
    copies = {name: copy.deepcopy(module).float().eval().cpu() for name, module in modules.items()}
    check_same_shapes({name: module.state_dict() for name, module in copies.items()})
    for module in copies.values():
        deploy_batchnorm(module)
    first = next(iter(copies.values()))
    network = with_measured_scale(Network(type(first).__name__, first, multiple=multiple), "from_modules")
    states = {name: module.state_dict() for name, module in copies.items()}
    return network, WeightPath(states, channels_last=network.channels_last)
