"""`dnirender train`: trains a family of endpoints from a recipe, or adds a painting to a family of painters.

Torch is imported inside the commands, so that help and usage errors are immediate.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnirender.cli.app import app as commands
from dnirender.cli.default_command import DefaultCommand
from dnirender.errors import OutputError, PresetError, TrainingError, UsageError
from dnirender.preset import Preset
from dnirender.preset_files import preset_folder
from dnirender.train.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from dnirender.train.loop import Run
    from dnirender.train.task import Task


class RecipeByDefault(DefaultCommand):
    """`dnirender train RECIPE.yaml` trains a family."""

    default = "recipe"
    usage = "RECIPE.yaml [OPTIONS]"


app = typer.Typer(
    cls=RecipeByDefault,
    help="Train the endpoints of an effect from RECIPE.yaml, or add a painting of your own with `style`.",
    short_help="Train the endpoints of an effect.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help"], "max_content_width": 100},
)

commands.add_typer(app, name="train")

Data = Annotated[Path, typer.Option(help="Folder that the paths of the recipe are relative to.")]
FeaturesOption = Annotated[
    Path | None, typer.Option(help="Folder of the feature networks.  [default: DATA/perceptual]")
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Folder for the preset and its weights.  [default: NAME here]")
]
Work = Annotated[Path | None, typer.Option(help="Folder of the checkpoint and log.  [default: NAME.training here]")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="CPU threads.")]
Overwrite = Annotated[bool, typer.Option("-y", "--overwrite", help="Overwrite the preset and weights.")]


@app.command(name="recipe", hidden=True)
def recipe_command(
    recipe: Annotated[Path, typer.Argument(help="A file, or the name of a shipped recipe.", metavar="RECIPE.yaml")],
    data: Data = Path(),
    output: Output = None,
    work: Work = None,
    features: FeaturesOption = None,
    device: Device = "auto",
    threads: Threads = None,
    batch: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Pictures per step.  [default: the recipe's]")
    ] = None,
    length: Annotated[float, typer.Option(min=0.001, max=1000, help="Steps of every stage, as a factor.")] = 1.0,
    overwrite: Overwrite = False,
) -> None:
    """Train the family of endpoints of RECIPE.yaml. The same command resumes after an interruption."""
    path = find_recipe(recipe)
    plan = Recipe.load(path).scaled(batch, length)
    family = path.stem
    output = output or Path(family)
    _check_target(output / f"{family}.yaml", overwrite, path)
    folder = work or Path(f"{family}.training")
    task = make_task(plan, data, features or data / "perceptual", folder)
    endpoints = task.finished(_trained(task, folder, device, threads, start=starting_weights(plan)))

    from dnirender.train import report

    preset = report.write_family(plan, family, endpoints, task.architecture, output)
    cards = output / "weights"
    (cards / f"{family}.log.jsonl").write_text((folder / "log.jsonl").read_text("utf-8"), "utf-8")
    report.loss_plot(folder / "log.jsonl", cards / f"{family}.loss.png", f"{plan.name}: loss over {plan.steps} steps")
    if plan.show:
        sheet = cards / f"{family}.jpg"
        photos = [data / picture for picture in plan.show]
        report.contact_sheet(Preset.load(preset), photos, sheet, plan.name, shown=task.shown)
    typer.echo(f"{preset}: {len(endpoints)} endpoints", err=True)


@app.command(name="style")
def style_command(
    family: Annotated[str, typer.Option("--from", help="The preset that the painting is added to.", metavar="PRESET")],
    image: Annotated[Path, typer.Option(help="The painting.")],
    name: Annotated[str, typer.Option(help="Its name in keyframes; the new preset is NAME.yaml.")],
    photos: Annotated[list[Path], typer.Option(help="A folder of photographs to train on; repeat.")],
    features: Annotated[Path, typer.Option(help="Folder of the feature networks.")],
    output: Output = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 600,
    size: Annotated[
        int, typer.Option(min=64, max=4096, help="Short side of the painting in pixels; larger gives larger strokes.")
    ] = 448,
    strength: Annotated[float, typer.Option(min=0.01, max=100, help="Weight of the style loss.")] = 1.0,
    start: Annotated[str | None, typer.Option(help="Endpoint to start from.  [default: the nearest in style]")] = None,
    preview_every: Annotated[int, typer.Option(min=1, help="Steps between the previews in the work folder.")] = 200,
    work: Work = None,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Add a painting of your own to a family of painters, in minutes."""
    from dnirender.train import add_endpoint

    preset = Preset.load(family)
    target = (output or Path(name)) / f"{name}.yaml"
    _check_target(target, overwrite)
    folder = work or Path(f"{name}.training")
    new = add_endpoint.prepare(preset, image, name, photos, features, steps, size, strength, start)
    typer.echo(f"{name} starts from {new.start}", err=True)

    def preview(run: Run) -> None:
        add_endpoint.preview(run, folder / f"preview_{run.done:05d}.png")

    endpoints = _trained(
        new.task,
        folder,
        device,
        threads,
        start=new.load,
        preview=preview,
        preview_every=preview_every,
    )
    add_endpoint.write(new, endpoints, target)
    typer.echo(f"{target}: {', '.join(new.names)}; render it with -p {target}", err=True)


def find_recipe(recipe: Path) -> Path:
    """The recipe's file, or the shipped recipe of that name."""
    if recipe.is_file():
        return recipe
    shipped = preset_folder() / "recipes" / f"{recipe}.yaml"
    if recipe.suffix == "" and shipped.is_file():
        return shipped
    known = ", ".join(sorted(path.stem for path in shipped.parent.glob("*.yaml")))
    raise UsageError(f"{recipe}: no such recipe; expected a file, or one of {known}")


def make_task(recipe: Recipe, data: Path, features: Path, work: Path) -> Task:
    """The task of the recipe's kind. TrainingError: data are missing."""
    missing = [data / folder for folder in (*recipe.photos, *recipe.styles) if not (data / folder).is_dir()]
    if missing:
        raise TrainingError(f"{missing[0]}: no such folder of photographs; --data DIR names the folder that it is in")
    unseen = [data / picture for picture in recipe.show if not (data / picture).is_file()]
    if unseen:
        raise TrainingError(f"{unseen[0]}: no such image for the contact sheet (`show` in the recipe)")
    if recipe.kind == "style":
        from dnirender.train.tasks.style import Style

        return Style(recipe, data, features)
    if recipe.kind == "adain":
        from dnirender.train.tasks.adain import AdaIN

        return AdaIN(recipe, data, features)
    if recipe.kind == "relight":
        from dnirender.train.tasks.relight import Relight

        return Relight(recipe, data, work)
    if recipe.kind == "sketch":
        from dnirender.train.tasks.sketch import Sketch

        return Sketch(recipe, data)
    if recipe.kind == "focus":
        from dnirender.train.tasks.focus import Focus

        return Focus(recipe, data, work)
    if recipe.kind == "denoise":
        from dnirender.train.tasks.denoise import Denoise

        return Denoise(recipe, data)
    from dnirender.train.tasks.detail import Detail

    return Detail(recipe, data, features)


def starting_weights(recipe: Recipe) -> Callable[[Run], None] | None:
    """A function that loads the recipe's `start` into a training, if it has one. PresetError: it lacks an endpoint."""
    if recipe.start is None:
        return None
    from dnirender.networks.checkpoint import load_state_dict

    files = {endpoint.name: endpoint.weights for endpoint in Preset.load(recipe.start).network.endpoints}
    names = [goal.start or goal.name for goal in recipe.endpoints]
    if missing := [name for name in names if name not in files]:
        raise PresetError(f"start: {recipe.start} has no endpoint {missing[0]}; it has {', '.join(files)}")
    return lambda run: run.begin_at([load_state_dict(files[name]).state for name in names])


def _trained(task: Task, work: Path, device: str, threads: int | None, **how: Any) -> list[dict[str, torch.Tensor]]:
    """Trains and returns the endpoints. An interrupt writes the checkpoint after the step and ends the training."""
    import torch

    from dnirender.engine.device import choose_device
    from dnirender.train import loop

    work.mkdir(parents=True, exist_ok=True)
    if threads is not None:
        torch.set_num_threads(threads)
    place = choose_device(device)
    torch.backends.cudnn.benchmark = place.type == "cuda"  # the sizes stay
    with _Interrupts() as interrupts:
        try:
            return loop.train(task, work, place, stop=lambda _: interrupts.wanted, **how)
        except KeyboardInterrupt:
            typer.echo(f"stopped; the checkpoint is in {work}, and the same command resumes", err=True)
            raise


class _Interrupts:
    """Records the first interrupt; the second one raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: object) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True


def _check_target(target: Path, overwrite: bool, recipe: Path | None = None) -> None:
    if recipe is not None and target.resolve() == recipe.resolve():
        raise OutputError(f"{target}: the preset would overwrite its recipe; choose another folder with -o")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists; add -y to overwrite it, or choose another folder with -o")
