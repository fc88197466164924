"""Loads the files of any family as endpoints: a network, and the path through its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from dnirender.errors import ModelError
from dnirender.families import adafm, cfsnet, dynamic_net, ftn
from dnirender.networks.checkpoint import State, load_state_dict
from dnirender.networks.loading import STATE_DICT_ERRORS, load, load_checkpoints
from dnirender.networks.network import Network
from dnirender.networks.weights import WeightPath

ENDPOINTS: dict[str, Callable[[State, float], dict[str, Tensor]]] = {
    "adafm": adafm.endpoint,
    "ftn": ftn.endpoint,
    "dynamic": dynamic_net.endpoint,
    "cfs": cfsnet.endpoint,
}
"""By family: the weights of a tunable network at a level, for a network that has no level. All are linear in it."""

ADDITIONS = {"adafm": ".transformer.", "ftn": ".transition.", "dynamic": "tuning_block", "cfs": "adaptive_alpha"}
"""What the names of tensors contain that a family adds."""


def load_family(
    family: str,
    files: Mapping[str, Path],
    levels: Mapping[str, float],
    *,
    weights_key: str | None = None,
    groups: Sequence[str] = (),
    deploy: bool = True,
) -> tuple[Network, WeightPath]:
    """The network of endpoints of `family`, each a file at a level, and the path through their weights. Of `dni` there
    are no levels. See `networks.loading.load`.

    ModelError: see `load`, or no file has the tensors of the family.
    """
    if family == "dni":
        return load(files, weights_key=weights_key, groups=groups, deploy=deploy)
    checkpoints = {name: load_state_dict(path, weights_key) for name, path in files.items()}
    if not any(ADDITIONS[family] in tensor for found in checkpoints.values() for tensor in found.state):
        first = next(iter(files.values()))
        raise ModelError(
            f"{first}: family: {family}, but no tensor is called *{ADDITIONS[family]}*; "
            "expected weights of that family, or family: dni for networks that were fine-tuned"
        )
    for name, found in checkpoints.items():
        try:
            checkpoints[name] = replace(found, state=ENDPOINTS[family](found.state, levels[name]))
        except STATE_DICT_ERRORS as error:
            raise ModelError(f"{files[name]}: its tensors are not those of the family {family}: {error}") from error
    return load_checkpoints(dict(files), checkpoints, groups=groups, deploy=deploy)
