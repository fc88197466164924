"""Tunable networks compared on denoising: the same base, data, steps and seed.

    python benchmarks/families.py --data DIR --work DIR [--base FILE] [--steps 1000] [--seeds 0 1 2]

From the base, a network for sigma 15, every family is trained for sigma 50 in `--steps` steps; the base stays as it is.
Networks that are fine-tuned for each sigma in as many steps are the upper bound. PSNR as in quality/denoise.py, on
squares from the middle of pictures of DATA/eval/cbsd68: of each family at the best of 11 levels, which is the median
over seeds. Of several seeds the figures are means; range is the largest of what they differ by. `blend` mixes the
pixels of the ends of the fine-tuned pair. Smoothness: the largest step of the output over 10 equal steps of the level
by the mean step (mean absolute differences, sigma 30); 1 is the smoothest. Cost: CPU seconds of the network as the
paper runs it and as the engine does, by those of the base, the least of `ROUNDS` in alternation.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "quality"))
from denoise import SIGMAS, load_pictures, noisy, path_renders, psnr

from dnirender import Engine, Preset
from dnirender.cli.train import make_task
from dnirender.families.loading import ENDPOINTS, load_family
from dnirender.networks.architectures import denoise, paint
from dnirender.networks.architectures.adapters import set_level
from dnirender.networks.checkpoint import load_state_dict
from dnirender.preset_files import preset_folder
from dnirender.train import loop, report
from dnirender.train.family_space import TUNABLE
from dnirender.train.recipe import Recipe

FAMILIES = {
    "DNI": ("dni", 1),
    "AdaFM 1x1": ("adafm", 1),
    "AdaFM 5x5": ("adafm", 5),
    "FTN": ("ftn", 1),
    "Dynamic-Net": ("dynamic", 1),
    "CFSNet": ("cfs", 1),
}
ENDS = ("sigma15", "sigma50")
NETS = {denoise: denoise.DenoiseNet, paint: paint.PaintNet}
ROUNDS = 21
LEVELS = [n / 10 for n in range(11)]


def recipe(family, kernel, sigma, chosen):
    """From the base to `sigma`; both ends begin at the base."""
    names = (ENDS[0], f"sigma{sigma}")
    ends = [{"name": names[0], "sigma": 15, "share": 0}, {"name": names[1], "sigma": sigma}]
    data = {"name": f"{family} {kernel} {sigma}", "kind": "denoise", "family": family, "endpoints": ends}
    data |= {"photos": chosen.photos, "held_out": chosen.held_out, "settings": {"kernel": kernel}}
    data |= {"stages": [{"train": "endpoints", "steps": chosen.steps}]}
    settings = {"batch": chosen.batch, "crop": chosen.crop, "learning_rate": chosen.rate, "seed": chosen.seed}
    return Recipe.checked(data | {"training": settings}, "families")


def trained(plan, folder, chosen, base):
    """The engine's network and path of a trained family whose training begins at `base`, the seconds of the training,
    and the files of its endpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    task = make_task(plan, chosen.data, chosen.data / "perceptual", folder)
    ends = loop.train(task, folder, torch.device("cpu"), start=lambda run: run.begin_at([base, base]))
    preset = Preset.load(report.write_family(plan, "x", ends, task.architecture, folder))
    seconds = float((folder / "log.jsonl").read_text().splitlines()[-1].rpartition(": ")[2].rstrip("}"))
    return load_family(plan.family, preset.network.files, preset.network.levels), seconds, preset.network.files


def trained_denoiser(family, kernel, sigma, chosen):
    """`trained` for `sigma`, in a folder of that seed."""
    folder = chosen.work / f"seed{chosen.seed}" / f"{family}{kernel}-{sigma}"
    return trained(recipe(family, kernel, sigma, chosen), folder, chosen, load_state_dict(chosen.base).state)


def engine_of(found):
    return Engine(*found, device="cpu", dtype="fp32", backend="torch")


def best_of_levels(engine, pictures, sigmas=SIGMAS):
    """PSNR at the best level, and that level, for each sigma; and of the blend of the ends' pixels."""
    best, blends = [], []
    for sigma in sigmas:
        levels, mixed = [], []
        for seed, picture in enumerate(pictures):
            renders = path_renders(engine, ENDS, noisy(picture, sigma, seed), LEVELS)
            levels.append([psnr(render, picture) for render in renders])
            mixed.append([psnr((1 - n) * renders[0] + n * renders[-1], picture) for n in LEVELS])
        mean = np.mean(levels, axis=0)
        best.append((mean.max(), LEVELS[int(mean.argmax())]))
        blends.append(np.mean(mixed, axis=0).max())
    return np.array(best), np.array(blends)


def last_end(engine, pictures, sigma):
    """PSNR of the network that was fine-tuned for `sigma`."""
    renders = [path_renders(engine, ENDS, noisy(p, sigma, seed), [1.0])[0] for seed, p in enumerate(pictures)]
    return np.mean([psnr(render, picture) for render, picture in zip(renders, pictures, strict=True)])


def smoothness_of(engine, pictures):
    seen = (noisy(picture, 30, seed) for seed, picture in enumerate(pictures))
    return np.mean([smoothness(path_renders(engine, ENDS, picture, LEVELS)) for picture in seen])


def smoothness(renders):
    """The largest step between neighbors of n h w 3 by the mean step."""
    moves = np.abs(np.diff(np.asarray(renders, float), axis=0)).mean(axis=(1, 2, 3))
    return moves.max() / moves.mean()


@torch.inference_mode()
def costs(family, kernel, file, architecture=denoise, side=192):
    """Seconds of the paper's module and of the engine's, by those of the base; and the share of parameters added."""
    make = NETS[architecture]
    plain = make().eval()
    state = load_state_dict(file).state
    modules = [plain]
    if family != "dni":
        tunable = TUNABLE[family](make(), kernel).eval()
        tunable.load_state_dict(state)
        set_level(tunable, 0.5)
        modules += [tunable, architecture.from_state_dict(ENDPOINTS[family](state, 0.5)).eval()]
    x = torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    modules = [module.to(memory_format=torch.channels_last) for module in modules]
    times = [[] for _ in modules]
    for _ in range(ROUNDS):
        for module, found in zip(modules, times, strict=True):
            began = time.process_time()
            module(x)
            found.append(time.process_time() - began)
    least = [min(found) / min(times[0]) for found in times]
    count = sum(parameter.numel() for parameter in plain.parameters())
    added = sum(tensor.numel() for tensor in state.values()) / count - 1 if family != "dni" else 1.0
    return (*(least[1:] or [1.0, 1.0]), added)


def spread(rows):
    """Texts, of [seed][column]: the means over seeds and, where there are several, the range: the largest of what the
    columns' largest and smallest differ by."""
    rows = np.array(rows, float)
    ranges = [np.ptp(rows, axis=0).max()] if len(rows) > 1 else []
    return [f"{value:.2f}" for value in (*rows.mean(0), *ranges)]


def line(name, cells):
    print(" | ".join([f"| {name}".rstrip(), *cells]) + " |", flush=True)


def table(chosen, pictures, families=FAMILIES, sigmas=SIGMAS):
    """Prints the figures."""
    seeds = [argparse.Namespace(**{**vars(chosen), "seed": seed}) for seed in chosen.seeds]
    columns = [*(f"sigma {sigma}" for sigma in sigmas), *(["range"] if len(seeds) > 1 else [])]
    line("", columns)
    print("|" + "---|" * (len(columns) + 1))
    facts = []
    for name, (family, kernel) in families.items():
        runs = [trained_denoiser(family, kernel, 50, seed) for seed in seeds]
        engines = [engine_of(found) for found, _, _ in runs]
        best, blends = zip(*(best_of_levels(engine, pictures, sigmas) for engine in engines), strict=True)
        levels = np.median([row[:, 1] for row in best], axis=0)
        cells = spread([row[:, 0] for row in best])
        count = len(levels)
        line(name, [*(f"{dB}, {at:.2f}" for dB, at in zip(cells[:count], levels, strict=True)), *cells[count:]])
        if family == "dni":
            line("blend", spread(blends))
        smooth = [[smoothness_of(engine, pictures)] for engine in engines]
        seconds = np.mean([seconds for _, seconds, _ in runs])
        facts.append((name, *costs(family, kernel, runs[0][2][ENDS[-1]]), seconds, ", ".join(spread(smooth))))
    start = engine_of(load_family("dni", dict.fromkeys(ENDS, chosen.base), {}))
    first = [last_end(start, pictures, 15)] if 15 in sigmas else []
    higher = [sigma for sigma in sigmas if sigma > 15]
    own = [
        [*first, *(last_end(engine_of(trained_denoiser("dni", 1, sigma, s)[0]), pictures, sigma) for sigma in higher)]
        for s in seeds
    ]
    line("for each sigma", spread(own))
    print()
    smooth = "smoothness" + (", range" if len(seeds) > 1 else "")
    line("", ["parameters added", "cost as in the paper", "cost here", "seconds of training", smooth])
    print("|" + "---|" * 6)
    for name, paper, ours, added, seconds, smooth in facts:
        line(name, [f"{100 * added:.1f} %", f"{paper:.2f}", f"{ours:.2f}", f"{seconds:.0f}", smooth])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints; trainings resume there")
    base = preset_folder() / "weights" / "denoise" / "sigma15.safetensors"
    parser.add_argument("--base", type=Path, default=base, help="weights for sigma 15")
    parser.add_argument("--photos", type=Path, default="photos/cid22", help="a folder in the data folder")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="means and ranges over these")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=48)
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate")
    parser.add_argument("--every", type=int, default=4, help="one picture in so many, by name")
    parser.add_argument("--side", type=int, default=160, help="side of the squares")
    chosen = parser.parse_args()
    shipped = Recipe.load(preset_folder() / "recipes" / "denoise.yaml")
    chosen.photos, chosen.held_out = [chosen.photos], shipped.held_out
    pictures = load_pictures(chosen.data / "eval" / "cbsd68", chosen.every, chosen.side)
    seeds = ", ".join(map(str, chosen.seeds))
    print(f"{len(pictures)} squares of {chosen.side}, {chosen.steps} steps of {chosen.batch} crops, seeds {seeds}\n")
    table(chosen, pictures)


if __name__ == "__main__":
    main()
