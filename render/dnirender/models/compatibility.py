"""Whether networks interpolate: their weights compared, pictures along the path between them, a verdict and advice."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnirender.decoding.open import open_source
from dnirender.errors import ModelError, UsageError
from dnirender.frames import Image
from dnirender.media.resize import middle
from dnirender.models.inspection import norm_kinds, value_ranges
from dnirender.models.similarity import (
    FAR,
    SAME_FAMILY,
    UNRELATED,
    VERDICTS,
    LayerDifference,
    compare_endpoints,
    mean_correlation,
    relative_distance,
    verdict,
)
from dnirender.models.sweep import AlphaPoint, Sweep, picture_side, sweep, test_pictures, with_noise
from dnirender.networks.checkpoint import load_state_dict
from dnirender.networks.loading import load
from dnirender.networks.network import Network
from dnirender.networks.reestimation import reestimate
from dnirender.networks.weights import MisfitError, WeightPath

PLACES = (0.1, 0.5, 0.9)  # in a clip, of the frames that are looked at
USEFUL = 0.9  # times the path ratio: a smaller gain is not worth depending on the clip
EQUAL_OUTPUT = 1e-3  # mean |f(A) - f(B)| below which two networks give the same pictures


@dataclass(frozen=True)
class PairCheck:
    """Two networks that a path joins, see `similarity.verdict`. `ratio` is None and `points` empty where no pictures
    were rendered; `sweep` has the pictures. `reestimated` is the ratio with BatchNorm measured on the pictures, None
    where there is no BatchNorm."""

    first: str
    second: str
    verdict: str
    correlation: float
    distance: float
    ratio: float | None
    reestimated: float | None
    points: list[AlphaPoint]
    layers: list[LayerDifference]
    advice: list[str]
    sweep: Sweep | None = field(repr=False, compare=False)


@dataclass(frozen=True)
class Check:
    """Networks along a path. `architecture` is None if no known one fits them: then `reason` says why, and there are no
    pictures. `verdict` is the worst of the pairs; `notes` concern all networks."""

    files: list[str]
    verdict: str
    architecture: str | None
    reason: str
    scale: int | None
    channels: int | None
    values: str
    norm: str
    tensors: int
    parameters: int
    pictures: list[str]
    notes: list[str]
    pairs: list[PairCheck]


def check(
    paths: Sequence[Path],
    on: Path | None = None,
    *,
    pictures: bool = True,
    weights_key: str | None = None,
    enter: Callable[[str], None] = lambda _: None,
) -> Check:
    """Compares networks, each with the next, by their weights and by pictures along the path between them.

    The pictures are from the middle of `on`, a clip or a photograph, else one made here. `enter` is told what begins.

    Raises:
        UsageError: fewer than two files.
        ModelError: a file cannot be loaded, or the networks do not fit one another.
        MediaError: `on` cannot be read.
    """
    if len(paths) < 2:
        raise UsageError(f"check: expected two weights files or more, got {len(paths)}")
    enter("loading")
    files = dict(zip(endpoint_names(paths), paths, strict=True))
    network, path, reason = load_or_compare(files, weights_key)
    names = [view.name for view in path.layout]
    norm = norm_kinds(names, network)
    shown = _pictures(network, on, enter) if network and pictures else {}
    notes = [*_norm_notes(norm), *(network.notes if network else ())]
    sweeps: list[Sweep | None] = [None] * (len(paths) - 1)
    if network and shown:
        sweeps = _sweeps(network, path, shown, enter)
        if on and all(found is not None and found.is_faint for found in sweeps):
            notes.append(f"on {on.name} the networks hardly differ: noise was added, in case they remove it")
            shown = {f"{name}, with noise": with_noise(picture) for name, picture in shown.items()}
            sweeps = _sweeps(network, path, shown, enter)
    pairs = [
        _check_pair(path, number, pair, norm, found, _reestimated(pair, weights_key, norm, shown))
        for number, (pair, found) in enumerate(zip(itertools.pairwise(paths), sweeps, strict=True))
    ]
    return Check(
        files=[str(file) for file in paths],
        verdict=max((pair.verdict for pair in pairs), key=VERDICTS.index),
        architecture=network.architecture if network else None,
        reason=reason,
        scale=network.scale if network else None,
        channels=network.channels if network else None,
        values=value_ranges(network) if network else "",
        norm=norm,
        tensors=len(names),
        parameters=sum(math.prod(view.shape) for view in path.layout),
        pictures=list(shown),
        notes=notes,
        pairs=pairs,
    )


def endpoint_names(paths: Sequence[Path]) -> list[str]:
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [f"{k}: {path}" for k, path in enumerate(paths, 1)]


def load_or_compare(files: dict[str, Path], weights_key: str | None) -> tuple[Network | None, WeightPath, str]:
    """The networks; where none is known, but tensors have the same names and shapes, their weights and why."""
    try:
        return *load(files, weights_key=weights_key), ""
    except MisfitError:
        raise
    except ModelError as error:
        states = {name: load_state_dict(file, weights_key).state for name, file in files.items()}
        try:
            return None, WeightPath(states, channels_last=False), str(error)
        except MisfitError:
            raise error from None


def _pictures(network: Network, on: Path | None, enter: Callable[[str], None]) -> dict[str, Image]:
    if on is None:
        return test_pictures(picture_side(network, 1))
    enter(f"reading {on.name}")
    source = open_source(on)
    count = len(source.metadata.pts)
    indices = [0] if source.metadata.still else sorted({round(place * (count - 1)) for place in PLACES})
    side = picture_side(network, len(indices))
    frames = {frame.index: middle(frame.image, side) for frame in source.frames(indices)}
    return {on.name if source.metadata.still else f"frame {index}": image for index, image in frames.items()}


def _sweeps(
    network: Network, path: WeightPath, pictures: dict[str, Image], enter: Callable[[str], None]
) -> list[Sweep | None]:
    """That of every endpoint to the next."""
    sweeps: list[Sweep | None] = []
    for number, (first, second) in enumerate(itertools.pairwise(path.names)):
        enter(f"{first} to {second}")
        sweeps.append(sweep(network, path, (number, number + 1), list(pictures.values())))
    return sweeps


def _reestimated(
    pair: tuple[Path, Path], weights_key: str | None, norm: str, pictures: dict[str, Image]
) -> float | None:
    """The path ratio with the statistics of BatchNorm measured on the pictures; None without either."""
    if not pictures or "BatchNorm" not in norm:
        return None
    shown = list(pictures.values())
    network, path = load(dict(zip("ab", pair, strict=True)), weights_key=weights_key, deploy=False)
    return sweep(*reestimate(network, path, shown), (0, 1), shown).ratio


def _check_pair(
    path: WeightPath,
    number: int,
    files: tuple[Path, Path],
    norm: str,
    rendered: Sweep | None,
    reestimated: float | None,
) -> PairCheck:
    layers = compare_endpoints(path, number, number + 1)
    correlation, ratio = mean_correlation(layers), rendered.ratio if rendered else None
    found = verdict(correlation, ratio)
    return PairCheck(
        str(files[0]),
        str(files[1]),
        found,
        correlation,
        relative_distance(path, number, number + 1),
        ratio,
        reestimated,
        rendered.points if rendered else [],
        layers,
        _advice(found, files, norm, rendered, reestimated),
        rendered,
    )


def _advice(
    found: str, files: tuple[Path, Path], norm: str, rendered: Sweep | None, reestimated: float | None
) -> list[str]:
    if rendered and rendered.points[-1].to_first < EQUAL_OUTPUT:
        return ["both give the same pictures, so that there is nothing to see between them"]
    advice: list[str] = []
    if found == SAME_FAMILY:
        advice.append("mix them: every network between them is an effect of its own")
    elif found == FAR:
        advice.append("fine-tune: train the second from the weights of the first; fine-tuned pairs have good paths")
    else:
        advice.append(
            "fine-tune: train the second from the weights of the first; networks trained apart have no path between "
            "them, and a crossfade of the pictures looks better than their middle"
        )
        names = " ".join(shlex.quote(str(file)) for file in files)
        command = f"dnirender model align {names}"
        advice.append(
            f"align: `{command}` finds filters in another order, and finetune=300 trains the path; check again"
        )
    if found != SAME_FAMILY and norm == "none":
        advice.append("repair: repair=True gives mixed layers the spread that they lost; look at the result")
    if rendered and reestimated is not None:
        change = (
            f"path ratio {rendered.ratio:.2f} with the stored statistics, mixed, {reestimated:.2f} with measured ones"
        )
        better = reestimated < USEFUL * rendered.ratio
        advice.append(f"statistics: bn='{'reestimate' if better else 'deployed'}': {change}")
    below, above = rendered.good_reach if rendered else (0.0, 1.0)
    near = [f"0 to {below:g}"] * (below > 0) + [f"{above:g} to 1"] * (above < 1)
    if near and found != SAME_FAMILY:
        advice.append(f"shorter path: alpha {' and '.join(near)} is good; cut or crossfade between")
    return advice


def _norm_notes(norm: str) -> list[str]:
    if "BatchNorm" in norm:
        return [
            "BatchNorm is mixed in deployed form, gain / sqrt(variance + eps) and the shift that goes with it: "
            "averages of raw variances are wrong; between networks that are not near, no stored statistics fit the "
            "mixture, and bn='reestimate' measures them on the clip"
        ]
    if "InstanceNorm" in norm:
        return ["InstanceNorm measures each picture anew, so that mixtures keep their contrast inside the network"]
    return []


def describe_middle(pair: PairCheck) -> str:
    """What the picture half-way is, beside the mean of the ends, in words; empty without pictures."""
    middle = next((point for point in pair.points if point.alpha == 0.5), None)
    if middle is None:
        return ""
    ends = (pair.points[0], pair.points[-1])
    words: list[str] = []
    for name, less, more in (("brightness", "darker", "brighter"), ("contrast", "flatter", "harder"),
                             ("sharpness", "softer", "sharper")):  # fmt: skip
        expected = sum(getattr(end, name) for end in ends) / 2
        change = getattr(middle, name) / expected - 1 if expected else 0.0
        if abs(change) >= 0.1:
            words.append(f"{less if change < 0 else more} by {abs(change):.0%}")
    verdict_words = {SAME_FAMILY: "", FAR: "muddy; ", UNRELATED: "a collapse; "}[pair.verdict]
    return verdict_words + (", ".join(words) or "about as bright, contrasted and sharp as the ends")
