"""Adds a painting to a family of painters: one more endpoint, fine-tuned from the nearest; the others do not change.

The endpoint and its path from the identity are trained. Its paths to the other painters are not; they work because all
endpoints are fine-tuned from one base.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call

from dnirender.errors import ModelError, UsageError
from dnirender.files import disk_errors
from dnirender.layout import contact_sheet
from dnirender.media.images import write_png
from dnirender.networks.architectures.paint import without_deviations
from dnirender.networks.checkpoint import load_state_dict
from dnirender.preset import Preset
from dnirender.train.data.photos import fitted
from dnirender.train.features import Moments
from dnirender.train.loop import Run
from dnirender.train.recipe import Recipe
from dnirender.train.report import write_preset, write_weights
from dnirender.train.subspace import Weights
from dnirender.train.tasks.style import Style

CROP = 256
PREVIEWS = 3
PREVIEW_SIDE = 384
STEPS_OF_PREVIEW = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class NewEndpoint:
    """A painting to add to `family`: its training, and the endpoint `start` that it is fine-tuned from."""

    family: Preset
    name: str
    task: Style
    start: str
    base: Weights
    identity: Weights

    @property
    def names(self) -> tuple[str, ...]:
        """The endpoints of the new preset."""
        return (*self.family.endpoints, self.name)

    def load(self, run: Run) -> None:
        """Puts the family's weights into a training that has not begun."""
        run.begin_at([self.identity, self.base])


def prepare(
    family: Preset,
    image: Path,
    name: str,
    photos: Sequence[Path],
    features: Path,
    steps: int,
    size: int,
    strength: float,
    start: str | None,
) -> NewEndpoint:
    """The training of `image` as endpoint `name` of `family`.

    UsageError: the family has that name, or `start` is not one of its painters. ModelError: the family is not trained
    by kind: style. TrainingError, MediaError: images that are missing, unreadable or too small.
    """
    if name in family.endpoints:
        raise UsageError(f"name={name!r}: {family.name} has an endpoint of that name; choose another")
    painters = {endpoint.name: _painter(endpoint.weights) for endpoint in family.network.endpoints}
    bare = next((key for key, weights in painters.items() if not weights["last.weight"].any()), None)
    if bare is None:
        raise ModelError(
            f"{family.name}: expected an endpoint that returns its input, which the path to a new painting starts from"
        )
    identity = painters.pop(bare)
    if start is not None and start not in painters:
        raise UsageError(f"start={start!r}: expected one of {', '.join(painters)}")
    recipe = Recipe.checked(
        {
            "name": name,
            "kind": "style",
            "photos": [str(folder.resolve()) for folder in photos],
            "endpoints": [
                {"name": bare, "identity": True, "share": 0},
                {"name": name, "image": str(image.resolve()), "size": size, "weight": strength},
            ],
            "stages": [{"train": "path", "endpoint": name, "steps": steps}],
            "training": {"batch": 2, "crop": CROP},
        },
        "options",
    )
    task = Style(recipe, Path(), features)
    begin = start or min(painters, key=lambda key: _distance(task, painters[key]))
    return NewEndpoint(family, name, task, begin, painters[begin], identity)


def preview(run: Run, target: Path) -> None:
    """Writes a PNG: a few photographs, down, along the path from the identity to the painting, across."""
    task = run.task
    assert isinstance(task, Style)
    ends = run.endpoints()
    rows = []
    for picture in _examples(task, PREVIEW_SIDE):
        outputs = (_render(run.net, [(1 - t, ends[0]), (t, ends[1])], picture.to(run.device)) for t in STEPS_OF_PREVIEW)
        rows.append([(out[0].cpu().permute(1, 2, 0) * 255).round().byte().numpy() for out in outputs])
    columns = [f"{t:g}" for t in STEPS_OF_PREVIEW]
    write_png(target, contact_sheet.sheet(rows, [""] * len(rows), columns, f"{run.recipe.name}, step {run.done}"))


def write(new: NewEndpoint, endpoints: Sequence[Weights], target: Path) -> None:
    """Writes the new preset to `target` and copies all its weights beside it, so that both can be moved together."""
    folder = target.parent / "weights" / new.name
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for endpoint in new.family.network.endpoints:
            shutil.copyfile(endpoint.weights, folder / f"{endpoint.name}.safetensors")
    about = {"architecture": "paint", "name": new.name, "effect": new.family.name}
    write_weights(folder / f"{new.name}.safetensors", new.task.finished([endpoints[1]])[0], about)
    files = {name: f"weights/{new.name}/{name}.safetensors" for name in new.names}
    sections = new.family.model_dump(mode="json", include={"layout", "encoding", "animation"}, exclude_defaults=True)
    bare = new.task.recipe.names[0]
    untouched = [endpoint.name for endpoint in new.family.network.endpoints if endpoint.identity]
    sections = {"timeline": {"keyframes": f"0:{bare}, end:{new.name}"}, **sections}
    write_preset(target, new.name, f"{new.family.name} with {new.name}.", files, sections, untouched)


def _painter(path: Path) -> Weights:
    checkpoint = load_state_dict(path)
    if checkpoint.metadata.get("architecture") != "paint":
        raise ModelError(f"{path}: is not a painter; expected a family trained by kind: style, such as painters")
    return {name: value.float() for name, value in without_deviations(checkpoint.state).items()}


def _distance(task: Style, weights: Weights) -> float:
    """The style distance between what `weights` paint and the new painting."""
    net = task.network()
    with torch.no_grad():
        found = [task.phi(_render(net, [(1.0, weights)], picture)) for picture in _examples(task, 256)]
        wanted = task.goals[1]
        assert wanted is not None
        return sum(
            float(Moments.mixed((1 / len(level), Moments.of(f)) for f in level).distance(goal))
            for level, goal in zip(zip(*found, strict=True), wanted, strict=True)
        )


def _examples(task: Style, side: int) -> list[Tensor]:
    """A few of the training photographs, 1 3 h w, of a size that the network supports."""
    step = max(1, len(task.photos) // PREVIEWS)
    return [fitted(photo, side) for photo in task.photos[::step][:PREVIEWS]]


def _render(net: torch.nn.Module, mix: Sequence[tuple[float, Weights]], picture: Tensor) -> Tensor:
    weights = {name: sum((share * w[name] for share, w in mix), torch.zeros(())) for name in mix[0][1]}
    with torch.no_grad():
        return functional_call(net, weights, (picture,)).clamp(0, 1)
