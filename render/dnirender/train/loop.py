"""The training loop of all kinds: stages, a random mixture in every step, exact checkpoints, a log."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.func import functional_call
from tqdm import tqdm

from dnirender.concurrency import prefetch
from dnirender.errors import TrainingError
from dnirender.train.family_space import FamilySpace
from dnirender.train.recipe import Stage
from dnirender.train.subspace import Mix, Weights
from dnirender.train.task import Task

SAVE_EVERY = 250
LINES = 200
WARM_UP = 100


class Example(NamedTuple):
    """The mixture and batch of one step, and the state of the random generator after drawing them."""

    mix: Mix
    batch: tuple[Tensor, ...]
    rng: Tensor


class Run:
    """A running training: the subspace, its running mean over steps, and Adam (Kingma & Ba, ICLR 2015)."""

    def __init__(self, task: Task, device: torch.device) -> None:
        self.recipe, self.task, self.device = task.recipe, task, device
        torch.manual_seed(self.recipe.training.seed)
        net = task.network().to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.space = task.space(net)
        self.net = self.space.network() if isinstance(self.space, FamilySpace) else net
        self.mean = [v.detach().clone() for v in self.space.tensors()]
        task.to(device)
        groups = [{"params": self.space.tensors()}]
        if extra := list[Tensor](task.extra.parameters()):
            groups.append({"params": extra})
        self.adam = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
        self.done = 0

    def begin_at(self, endpoints: Sequence[Weights]) -> None:
        """Puts weights into a training that has not begun, see `Subspace.begin_at`."""
        with torch.no_grad():
            self.space.begin_at(endpoints)
            for averaged, value in zip(self.mean, self.space.tensors(), strict=True):
                averaged.copy_(value)

    def step(self, stage: Stage, place: float, example: Example) -> dict[str, float]:
        """One update, at `place` 0..1 within the last stage; returns the terms of the loss before it."""
        settings = self.recipe.training
        rate = stage.learning_rate or settings.learning_rate
        rate *= min((self.done + 1) / WARM_UP, 1.0, max((1 - place) / settings.fall, 0.002))
        for group, factor in zip(self.adam.param_groups, (1.0, self.task.extra_rate), strict=False):
            group["lr"] = rate * factor
        weights = self.weights(stage, example.mix)

        def apply(*inputs: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16):
                return functional_call(self.net, weights, inputs).float()

        batch = tuple(t.to(self.device, non_blocking=True) if t.dim() > 1 else t for t in example.batch)
        terms = self.task.loss(apply, example.mix, batch)
        self.adam.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        self._freeze(stage)
        torch.nn.utils.clip_grad_norm_(self.space.tensors(), 1.0)
        self.adam.step()
        self.done += 1
        values = {name: term.item() for name, term in terms.items()}
        if not math.isfinite(sum(values.values())):
            raise TrainingError(f"step {self.done}: the loss is {values}; lower training.learning_rate and resume")
        keep = min(settings.average, self.done / (10 + self.done))
        with torch.no_grad():
            for averaged, v in zip(self.mean, self.space.tensors(), strict=True):
                averaged.lerp_(v, 1 - keep)
        return values

    def weights(self, stage: Stage, mix: Mix) -> Weights:
        """The weights of a mixture; in a base stage those of the base alone."""
        return self.space.base_weights() if stage.train == "base" else self.space.at(mix)

    def _freeze(self, stage: Stage) -> None:
        """Drops the gradients of what a stage does not change."""
        frozen = [self.space.base] if stage.train == "endpoints" or (stage.train == "path" and stage.endpoint) else []
        if stage.train == "path" and stage.endpoint:
            frozen += [
                d for d, name in zip(self.space.deltas, self.recipe.names, strict=True) if name != stage.endpoint
            ]
        for value in (value for tensors in frozen for value in tensors.values()):
            value.grad = None

    def save(self, file: Path, rng: Tensor) -> None:
        """Writes everything that resuming needs, atomically."""
        state = {
            "recipe": self._fixed(),
            "done": self.done,
            "tensors": [v.detach() for v in self.space.tensors()],
            "mean": self.mean,
            "extra": self.task.extra.state_dict(),
            "task": self.task.state(),
            "adam": self.adam.state_dict(),
            "rng": rng,
        }
        partial = file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(file)

    def resume(self, file: Path, rng: Generator) -> None:
        """Loads what `save` wrote, if the file exists. TrainingError: it belongs to another recipe."""
        if not file.exists():
            return
        state = torch.load(file, map_location=self.device, weights_only=True)
        if state["recipe"] != self._fixed():
            raise TrainingError(f"{file}: belongs to another recipe; use another work folder, or delete this file")
        with torch.no_grad():
            for v, saved in zip([*self.space.tensors(), *self.mean], [*state["tensors"], *state["mean"]], strict=True):
                v.copy_(saved)
        self.task.extra.load_state_dict(state["extra"])
        self.task.restore(state["task"])
        self.adam.load_state_dict(state["adam"])
        rng.set_state(state["rng"].cpu())
        self.done = int(state["done"])

    def _fixed(self) -> str:
        """The fields of the recipe that must not change when a training resumes: all but lengths and texts."""
        fields = {"kind", "photos", "held_out", "endpoints", "settings"}
        fields |= {"family"} if self.recipe.family != "dni" else set[str]()
        return self.recipe.model_dump_json(include=fields)

    def endpoints(self) -> list[Weights]:
        """The running mean of every endpoint."""
        live = self.space.tensors()
        saved = [v.detach().clone() for v in live]
        with torch.no_grad():
            for v, averaged in zip(live, self.mean, strict=True):
                v.copy_(averaged)
            found = [
                {n: w.clone() for n, w in self.space.endpoint(k).items()} for k in range(len(self.recipe.endpoints))
            ]
            for v, value in zip(live, saved, strict=True):
                v.copy_(value)
        return found


def train(
    task: Task,
    work: Path,
    device: torch.device,
    *,
    start: Callable[[Run], None] | None = None,
    stop: Callable[[int], bool] = lambda done: False,  # noqa: ARG005
    preview: Callable[[Run], None] | None = None,
    preview_every: int = 500,
) -> list[Weights]:
    """Trains and returns the averaged endpoints. Resumes from `work/checkpoint.pt` if it exists.

    `start` sets the weights before the first step. When `stop(steps done)` is true, the checkpoint is written and
    KeyboardInterrupt raised; the same call resumes there and has the same result. The log is `work/log.jsonl`.
    """
    recipe = task.recipe
    run, rng = Run(task, device), Generator().manual_seed(recipe.training.seed)
    if start is not None:
        start(run)
    run.resume(work / "checkpoint.pt", rng)
    log = _Log(work / "log.jsonl", run.done, max(recipe.steps // LINES, 1))
    first, drawn = 0, rng.get_state()
    with tqdm(initial=run.done, total=recipe.steps, smoothing=0.02, unit="step", dynamic_ncols=True) as bar:
        for stage in recipe.stages:
            last = first + stage.steps
            with contextlib.closing(prefetch(_examples(task, stage, rng, device), 3)) as examples:
                while first <= run.done < last:
                    example = next(examples)
                    place = (run.done - first) / stage.steps if stage is recipe.stages[-1] else 0.0
                    log.add(run.done + 1, run.step(stage, place, example))
                    bar.update(1)
                    if run.done == last and stage.train == "base":
                        _settle(run)
                    stopping = stop(run.done)
                    if run.done % SAVE_EVERY == 0 or run.done == last or stopping:
                        run.save(work / "checkpoint.pt", example.rng)
                    if stopping:
                        raise KeyboardInterrupt
                    if preview is not None and run.done % preview_every == 0:
                        preview(run)
                    drawn = example.rng
            if run.done == last:
                rng.set_state(drawn)  # batches that were prefetched for this stage are dropped
            first = last
    return run.endpoints()


def draw_mix(task: Task, stage: Stage, rng: Generator) -> Mix:
    """The mixture of one step.

    In a base stage it is the stage's endpoint. In an endpoints stage it is one endpoint, chosen by share. In a path
    stage it is one endpoint half of the time, and otherwise a random point between the two of a pair.
    """
    goals = task.recipe.endpoints
    u, v, w = torch.rand(3, generator=rng).tolist()
    if stage.train == "base":
        return tuple(float(goal.name == stage.endpoint) for goal in goals)
    if stage.train == "endpoints" or u < 0.5:
        shares = torch.tensor([goal.share for goal in goals]).cumsum(0)
        chosen = int(torch.searchsorted(shares, v * shares[-1].item(), right=True))
        return tuple(float(k == min(chosen, len(goals) - 1)) for k in range(len(goals)))
    pairs = task.pairs()
    a, b = pairs[min(int(v * len(pairs)), len(pairs) - 1)]
    mix = [0.0] * len(goals)
    mix[a], mix[b] = 1 - w, w
    return tuple(mix)


def _examples(task: Task, stage: Stage, rng: Generator, device: torch.device) -> Iterator[Example]:
    while True:
        mix = draw_mix(task, stage, rng)
        batch = task.batch(mix, rng)
        if device.type == "cuda":
            batch = tuple(t.pin_memory() for t in batch)
        yield Example(mix, batch, rng.get_state())


def _settle(run: Run) -> None:
    """After a base stage, every endpoint starts from its running mean."""
    with torch.no_grad():
        for value, averaged in zip(run.space.base.values(), run.mean, strict=False):
            value.copy_(averaged)


class _Log:
    """JSON lines: step, means of the loss and of its terms since the previous line, seconds since the start."""

    def __init__(self, file: Path, done: int, every: int) -> None:
        lines = file.read_text().splitlines() if file.exists() else []
        self._lines = [line for line in lines if json.loads(line)["step"] <= done]
        before = json.loads(self._lines[-1])["seconds"] if self._lines else 0
        self._file, self._every, self._began = file, every, time.monotonic() - before
        self._pending: list[dict[str, float]] = []

    def add(self, step: int, terms: dict[str, float]) -> None:
        self._pending.append(terms)
        if step % self._every:
            return
        names = dict.fromkeys(name for terms in self._pending for name in terms)
        means = {name: sum(t.get(name, 0.0) for t in self._pending) / len(self._pending) for name in names}
        line: dict[str, float] = {"step": step, "loss": round(sum(means.values()), 5)}
        line |= {name: round(value, 5) for name, value in means.items()}
        self._lines.append(json.dumps(line | {"seconds": round(time.monotonic() - self._began)}))
        self._file.write_text("\n".join(self._lines) + "\n")
        self._pending.clear()
