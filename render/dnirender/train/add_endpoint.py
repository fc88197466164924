"""A painting joins a family of painters: one more endpoint, fine-tuned from the nearest, the others left as they are.

It is trained at itself and on its way from the untouched picture. The way to the other painters is taken as it comes:
all are fine-tuned from one base.
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
    """A painting about to join `family`: its training, and the endpoint `start` that it is fine-tuned from."""

    family: Preset
    name: str
    task: Style
    start: str
    base: Weights
    untouched: Weights

    @property
    def names(self) -> tuple[str, ...]:
        """The endpoints of the new preset."""
        return (*self.family.endpoints, self.name)

    def load(self, run: Run) -> None:
        """Puts the family's weights into a training that has not begun."""
        run.begin_at([self.untouched, self.base])


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

    UsageError: a name that is taken, a start that is no painter. ModelError: a family that is not one of painters.
    TrainingError, MediaError: pictures that are missing, unreadable or too small.
    """
    if name in family.endpoints:
        raise UsageError(f"name={name!r}: {family.name} has an endpoint of that name; choose another")
    painters = {endpoint.name: _painter(endpoint.weights) for endpoint in family.network.endpoints}
    bare = next((key for key, weights in painters.items() if not weights["last.weight"].any()), None)
    if bare is None:
        raise ModelError(
            f"{family.name}: has no endpoint that leaves the picture untouched; a painting joins from there"
        )
    untouched = painters.pop(bare)
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
    return NewEndpoint(family, name, task, begin, painters[begin], untouched)


def preview(run: Run, target: Path) -> None:
    """A PNG of a few photographs, down, from the untouched picture to the painting, across."""
    task = run.task
    assert isinstance(task, Style)
    ends = run.endpoints()
    rows = []
    for picture in _examples(task, PREVIEW_SIDE):
        outputs = (_render(run.net, [(1 - t, ends[0]), (t, ends[1])], picture.to(run.device)) for t in STEPS_OF_PREVIEW)
        rows.append([(out[0].cpu().permute(1, 2, 0) * 255).round().byte().numpy() for out in outputs])
    columns = [f"{t:g}" for t in STEPS_OF_PREVIEW]
    write_png(target, contact_sheet.sheet(rows, [""] * len(rows), columns, f"{run.recipe.name}, step {run.done}"))


def write(newcomer: NewEndpoint, endpoints: Sequence[Weights], target: Path) -> None:
    """The new preset at `target` and all its weights in a folder beside it, so that they can be moved together."""
    folder = target.parent / "weights" / newcomer.name
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for endpoint in newcomer.family.network.endpoints:
            shutil.copyfile(endpoint.weights, folder / f"{endpoint.name}.safetensors")
    about = {"architecture": "paint", "name": newcomer.name, "effect": newcomer.family.name}
    write_weights(folder / f"{newcomer.name}.safetensors", endpoints[1], about)
    files = {name: f"weights/{newcomer.name}/{name}.safetensors" for name in newcomer.names}
    sections = newcomer.family.model_dump(
        mode="json", include={"layout", "encoding", "animation"}, exclude_defaults=True
    )
    bare = newcomer.task.recipe.names[0]
    untouched = [endpoint.name for endpoint in newcomer.family.network.endpoints if endpoint.identity]
    sections = {"timeline": {"keyframes": f"0:{bare}, end:{newcomer.name}"}, **sections}
    write_preset(target, newcomer.name, f"{newcomer.family.name} with {newcomer.name}.", files, sections, untouched)


def _painter(path: Path) -> Weights:
    checkpoint = load_state_dict(path)
    if checkpoint.metadata.get("architecture") != "paint":
        raise ModelError(f"{path}: is no painter; a painting joins a family trained by kind: style, such as painters")
    return {name: value.float() for name, value in checkpoint.state.items()}


def _distance(task: Style, weights: Weights) -> float:
    """How far the pictures that `weights` paint are in style from the newcomer's painting."""
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
    """Photographs spread over those of the training, 1 3 h w, of a size the network takes."""
    step = max(1, len(task.photos) // PREVIEWS)
    return [fitted(photo, side) for photo in task.photos[::step][:PREVIEWS]]


def _render(net: torch.nn.Module, parts: Sequence[tuple[float, Weights]], picture: Tensor) -> Tensor:
    weights = {name: sum((share * w[name] for share, w in parts), torch.zeros(())) for name in parts[0][1]}
    with torch.no_grad():
        return functional_call(net, weights, (picture,)).clamp(0, 1)
