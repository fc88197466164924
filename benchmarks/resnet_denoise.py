"""Residual networks of three depths on strong noise, and FTN on top of them, begun well and badly.

    python benchmarks/resnet_denoise.py --data DIR --work DIR [--steps 3000] [--blocks 5 10 16] [--seed 0]

Networks of 5, 10 and 16 residual blocks are trained for noise of 0.2 and 0.4 of white. From the one for 0.4, with its
weights as they are, FTN learns noise of 0.5 to 0.6, three times: its transitions begin as the identity, with the
random weights that PyTorch gives convolutions, and with ones in all weights, as in a public implementation. PSNR in dB
on squares from the middle of DATA/eval/cbsd68; FTN at the best of 11 levels. WORK/resnet_denoise.png shows its losses.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "quality"))
from denoise import load_pictures, noisy, psnr

from dnirender.errors import TrainingError
from dnirender.families.loading import ENDPOINTS
from dnirender.networks.architectures.denoise import DenoiseNet, from_state_dict
from dnirender.preset import preset_folder
from dnirender.train import loop, report
from dnirender.train.recipe import Recipe
from dnirender.train.tasks.denoise import Denoise

TRAINED = (0.2, 0.4)
ADAPTED = (0.5, 0.55, 0.6)
STARTS = ("identity", "random", "ones")
LEVELS = [n / 10 for n in range(11)]


class DeepDenoise(Denoise):
    """`Denoise` of networks of any depth; noise of the last endpoint is drawn from a range."""

    def __init__(self, recipe, data, blocks, begins="identity"):
        super().__init__(recipe, data)
        self.blocks, self.begins = blocks, begins

    def network(self):
        return DenoiseNet(blocks=self.blocks)

    def space(self, net):
        space = super().space(net)
        with torch.no_grad():
            for name, value in space.deltas[1].items():
                if self.begins == "random" and name.endswith("outer.weight"):
                    value.uniform_(-1, 1).mul_(value[0].numel() ** -0.5)
                if self.begins == "ones" and name.endswith(("inner.weight", "outer.weight")):
                    value.fill_(1)
        return space

    def batch(self, mix, rng):
        if self.recipe.family == "ftn":
            self._sigmas[1] = 255 * (ADAPTED[0] + (ADAPTED[-1] - ADAPTED[0]) * torch.rand((), generator=rng).item())
        return super().batch(mix, rng)


def recipe(family, sigmas, stages, chosen):
    """For two endpoints; only the stages' are trained."""
    ends = [{"name": f"sigma{n}", "sigma": round(255 * sigma, 2), "share": n} for n, sigma in enumerate(sigmas)]
    data = {"name": "resnet", "kind": "denoise", "family": family, "endpoints": ends, "stages": stages}
    data |= {"photos": chosen.photos, "held_out": chosen.held_out}
    settings = {"batch": chosen.batch, "crop": chosen.crop, "learning_rate": chosen.rate, "seed": chosen.seed}
    return Recipe.checked(data | {"training": settings}, "resnet_denoise")


def trained(name, plan, chosen, blocks, begins="identity", start=None):
    """The weights of the last endpoint, or None if the loss did not stay finite; and the log's lines."""
    folder = chosen.work / name
    folder.mkdir(parents=True, exist_ok=True)
    task = DeepDenoise(plan, chosen.data, blocks, begins)
    begin = None if start is None else lambda run: run.begin_at([start, start])
    try:
        state = loop.train(task, folder, torch.device("cpu"), start=begin)[-1]
    except TrainingError as error:
        print(f"{name}: {error}", file=sys.stderr)
        state = None
    log = folder / "log.jsonl"
    return state, [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@torch.inference_mode()
def decibels(state, pictures, noise):
    """Mean PSNR of a network over pictures with noise."""
    net = from_state_dict(state).eval()
    values = []
    for seed, picture in enumerate(pictures):
        x = torch.from_numpy(noisy(picture, 255 * noise, seed)).permute(2, 0, 1)[None] / 255
        values.append(psnr(net(x)[0].permute(1, 2, 0).numpy() * 255, picture))
    return np.mean(values)


def at_best_level(state, pictures, noise):
    if state is None:
        return "not finite"
    values = [decibels(ENDPOINTS["ftn"](state, level), pictures, noise) for level in LEVELS]
    return f"{max(values):.2f} at {LEVELS[int(np.argmax(values))]:.1f}"


def table(chosen, pictures):
    """Prints the figures, one row for each depth and each way to begin; returns the logs of FTN by both."""
    print("| blocks | noise 0.2 | noise 0.4 | FTN begins as | " + " | ".join(f"noise {s}" for s in ADAPTED) + " |")
    print("|" + "---|" * (4 + len(ADAPTED)))
    logs = {}
    for blocks in chosen.blocks:
        states = []
        for place, sigma in enumerate(TRAINED):
            stage = {"train": "base", "endpoint": f"sigma{place}", "steps": chosen.steps}
            name = f"{blocks} blocks, {sigma}"
            state, _ = trained(name, recipe("dni", TRAINED, [stage], chosen), chosen, blocks)
            states.append(state)
        own = [f"{decibels(state, pictures, sigma):.2f}" for state, sigma in zip(states, TRAINED, strict=True)]
        plain = [f"{decibels(states[1], pictures, sigma):.2f}" for sigma in ADAPTED]
        print(f"| {blocks} | {' | '.join(own)} | none | {' | '.join(plain)} |", flush=True)
        for start in STARTS:
            plan = recipe("ftn", (TRAINED[1], 0.55), [{"train": "endpoints", "steps": chosen.steps}], chosen)
            name = f"{blocks} blocks, FTN from {start}"
            state, logs[f"{blocks}, {start}"] = trained(name, plan, chosen, blocks, start, states[1])
            cells = [at_best_level(state, pictures, noise) for noise in ADAPTED]
            print(f"| {blocks} | | | {start} | {' | '.join(cells)} |", flush=True)
    return logs


def draw_losses(logs, target):
    """One curve for each training whose loss stayed finite, on a logarithmic axis."""
    logs = {name: log for name, log in logs.items() if log}
    joined = target.with_suffix(".jsonl")
    lines = zip(*logs.values(), strict=False)
    rows = [{"step": row[0]["step"]} | {n: line["loss"] for n, line in zip(logs, row, strict=True)} for row in lines]
    joined.write_text("\n".join(map(json.dumps, rows)))
    report.loss_plot(joined, target, "Loss")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints; trainings resume there")
    parser.add_argument("--photos", type=Path, default="photos/cid22", help="a folder in the data folder")
    parser.add_argument("--blocks", type=int, nargs="+", default=[5, 10, 16])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--every", type=int, default=4, help="one picture in so many, by name")
    parser.add_argument("--side", type=int, default=192, help="side of the squares")
    chosen = parser.parse_args()
    chosen.photos, chosen.held_out = [chosen.photos], Recipe.load(preset_folder() / "recipes" / "denoise.yaml").held_out
    pictures = load_pictures(chosen.data / "eval" / "cbsd68", chosen.every, chosen.side)
    print(
        f"{len(pictures)} squares of {chosen.side}, {chosen.steps} steps of {chosen.batch} crops, seed {chosen.seed}\n"
    )
    logs = table(chosen, pictures)
    draw_losses(logs, chosen.work / "resnet_denoise.png")


if __name__ == "__main__":
    main()
