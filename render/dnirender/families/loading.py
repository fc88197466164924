"""Loads the files of any family as endpoints: a network, and the path through its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from dnirender.errors import ModelError
from dnirender.families import adafm, adain, cfsnet, dynamic_net, ftn
from dnirender.networks.checkpoint import Checkpoint, State, load_state_dict
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

ADDITIONS = {
    "adafm": ".transformer.",
    "ftn": ".transition.",
    "dynamic": "tuning_block",
    "cfs": "adaptive_alpha",
    "adain": "encoder.",
}
"""What the names of tensors contain that a family adds."""

LAYERS = {"adafm": (".transformer.",), "dynamic": ("tuning_block",), "cfs": (".skip.",)}
"""What the names of layers contain that stay beside those of the base; the others are folded into it."""


def load_family(
    family: str,
    files: Mapping[str, Path],
    levels: Mapping[str, float],
    styles: Mapping[str, Path | None] | None = None,
    *,
    weights_key: str | None = None,
    groups: Sequence[str] = (),
    deploy: bool = True,
) -> tuple[Network, WeightPath]:
    """The network of endpoints of `family`, each a file at a level, and the path through their weights. Of `dni` there
    are no levels; of `adain` there are `styles` in their place: a picture, None for the style that the file has by
    the endpoint's name, and no entry for the picture itself. See `networks.loading.load`.

    ModelError: see `load`, or no file has the tensors of the family. MediaError: a picture of a style cannot be read.
    """
    if family == "dni":
        return load(files, weights_key=weights_key, groups=groups, deploy=deploy)
    checkpoints = load_endpoints(family, files, levels, styles, weights_key=weights_key)
    return load_checkpoints(dict(files), checkpoints, groups=groups, deploy=deploy)


def load_endpoints(
    family: str,
    files: Mapping[str, Path],
    levels: Mapping[str, float],
    styles: Mapping[str, Path | None] | None = None,
    *,
    weights_key: str | None = None,
) -> dict[str, Checkpoint]:
    """The weights of the endpoints of a family other than dni, for a network that has no level; see `load_family`."""
    checkpoints = {name: load_state_dict(path, weights_key) for name, path in files.items()}
    if not any(ADDITIONS[family] in tensor for found in checkpoints.values() for tensor in found.state):
        first = next(iter(files.values()))
        raise ModelError(
            f"{first}: family: {family}, but no tensor is called *{ADDITIONS[family]}*; "
            "expected weights of that family, or family: dni for networks that were fine-tuned"
        )
    for name, found in checkpoints.items():
        try:
            if family == "adain":
                state = _styled(found.state, name, styles or {})
            else:
                state = ENDPOINTS[family](found.state, levels[name])
            checkpoints[name] = replace(found, state=state)
        except STATE_DICT_ERRORS as error:
            raise ModelError(f"{files[name]}: its tensors are not those of the family {family}: {error}") from error
    return checkpoints


def note_additions(error: ModelError, files: Iterable[Path], weights_key: str | None = None) -> None:
    """Adds to the error of files that do not fit which of them hold what a family adds, and what to do with those."""
    for file in files:
        with contextlib.suppress(ModelError):
            names = load_state_dict(file, weights_key).state
            family = next((one for one, part in ADDITIONS.items() if any(part in name for name in names)), None)
            if family:
                advice = "`dnirender model export` writes the network of its preset at one level"
                error.add_note(f"  {file.name}: holds what the family {family} adds; {advice}")


def _styled(state: State, name: str, styles: Mapping[str, Path | None]) -> dict[str, Tensor]:
    """The weights of an endpoint of the family adain."""
    if name not in styles:
        return adain.endpoint(state, None)
    picture = styles[name]
    code = adain.code_of(state, adain.read_style(picture)) if picture else adain.stored_code(state, name)
    return adain.endpoint(state, code)
