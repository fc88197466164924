"""Train the endpoints of day-to-night: four sets of weights of one small network, and the straight lines between them.

    python -m dnirender.train.day_to_night --photos DIR [DIR ...] --out presets/weights --work DIR

Deep network interpolation (Wang et al., CVPR 2019) mixes trained weights, theta(a) = (1 - t) theta_k + t theta_{k+1},
and takes what the mixture does as it comes. Here the path itself is trained (Wortsman et al., ICML 2021, "Learning
neural network subspaces"): with P(a) the relighting model of `relighting.py` at time of day a,

    minimise over theta_0..3   E_a E_x  | f(x; theta(a)) - P(a)(x) |,    a = (k + t) / 3,  t in 0..1,

theta_k = base + delta_k, so that all ends grow from one network. The last layer of theta_0 (day) is held at zero, which
makes the day end the untouched picture exactly.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Generator, Tensor, nn
from torch.func import functional_call
from tqdm import tqdm

from dnirender.frames import prefetch
from dnirender.nets.relight import RelightNet
from dnirender.train import batches
from dnirender.train.photographs import held_out, read, to_tensor
from dnirender.train.relighting import NAMES

Weights = dict[str, Tensor]
Example = tuple[float, Tensor, Tensor, Tensor, Tensor]  # alpha, input, target, known, the random generator's state
SHEET_ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Settings:
    """What determines the result, together with the photographs."""

    steps: int = 6300
    seed: int = 0
    batch: int = 8
    learning_rate: float = 8e-4
    streets: int = 240
    street_share: float = 0.4
    average: float = 0.998


class TrainedPath:
    """The trained path: `base` and one `delta` per endpoint; `at(alpha)` gives the weights there."""

    def __init__(self, net: RelightNet) -> None:
        self.base = {k: v.detach().clone().requires_grad_() for k, v in net.named_parameters()}
        self.deltas = [{k: torch.zeros_like(v, requires_grad=True) for k, v in self.base.items()} for _ in NAMES]

    def tensors(self) -> list[Tensor]:
        """All that is trained, in a fixed order."""
        return [v for part in (self.base, *self.deltas) for v in part.values()]

    def endpoint(self, k: int) -> Weights:
        """theta_k; of day (k = 0) the last layer is zero."""
        fixed = k == 0
        return {
            n: torch.zeros_like(v) if fixed and n.startswith("last.") else v + self.deltas[k][n]
            for n, v in self.base.items()
        }

    def at(self, alpha: float) -> Weights:
        """theta(alpha), linear between neighbouring endpoints."""
        first, t = _segment(alpha)
        a, b = self.endpoint(first), self.endpoint(first + 1)
        return {n: torch.lerp(v, b[n], t) for n, v in a.items()}


class Run:
    """A training under way: the path, its running mean over steps, and Adam.

    A linear `reader` of the features before the last two layers must find the sky, height and lamps in them, at every
    alpha. It is thrown away in the end, but without it the network is slow to learn what the sky is.
    """

    def __init__(self, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.net = RelightNet().to(memory_format=torch.channels_last)
        self.path = TrainedPath(self.net)
        self.mean = [v.detach().clone() for v in self.path.tensors()]
        self.reader = nn.Conv2d(self.net.widths[0], 5, 1)
        self.adam = torch.optim.Adam([{"params": p} for p in self._trained()], betas=(0.9, 0.99))
        self.seen = torch.empty(0)
        self.net.fine.register_forward_pre_hook(self._look)

    def step(self, step: int, example: Example) -> float:
        """One update, the `step`-th from 0; returns the loss before it."""
        for group, times in zip(self.adam.param_groups, (1, 8), strict=True):
            group["lr"] = times * self.settings.learning_rate * _schedule(step, self.settings.steps)
        alpha, x, target, known, _ = example
        with torch.autocast("cpu", torch.bfloat16):
            out = functional_call(self.net, self.path.at(alpha), (x,))
            read = self.reader(self.seen)
        value = loss(out.float(), target, known[:, 2:]) + reading_loss(read.float(), known)
        self.adam.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.path.tensors(), 1.0)
        self.adam.step()
        keep = min(self.settings.average, (1 + step) / (10 + step))
        for averaged, v in zip(self.mean, self.path.tensors(), strict=True):
            averaged.lerp_(v.detach(), 1 - keep)
        return value.item()

    def _trained(self) -> tuple[list[Tensor], list[Tensor]]:
        return self.path.tensors(), list(self.reader.parameters())

    def _look(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.seen = inputs[0]

    def save(self, file: Path, step: int, rng_state: Tensor) -> None:
        """All that is needed to go on after `step` steps, written whole or not at all."""
        tensors = [v.detach() for part in self._trained() for v in part]
        state = {"step": step, "tensors": tensors, "mean": self.mean, "rng": rng_state}
        state = {**state, "adam": self.adam.state_dict()}
        partial = file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(file)

    def resume(self, file: Path, rng: Generator) -> int:
        """Take up what `save` wrote, if there is such a file; returns how many steps are done."""
        if not file.exists():
            return 0
        state = torch.load(file, weights_only=True)
        with torch.no_grad():
            ours = [*(v for part in self._trained() for v in part), *self.mean]
            for v, kept in zip(ours, [*state["tensors"], *state["mean"]], strict=True):
                v.copy_(kept)
        self.adam.load_state_dict(state["adam"])
        rng.set_state(state["rng"])
        return int(state["step"])

    def endpoints(self) -> list[Weights]:
        """The running mean of every endpoint. The training cannot go on after this."""
        with torch.no_grad():
            for v, averaged in zip(self.path.tensors(), self.mean, strict=True):
                v.copy_(averaged)
            return [self.path.endpoint(k) for k in range(len(NAMES))]


def train(photos: list[Path], work: Path, settings: Settings, stop: int | None = None) -> list[Weights]:
    """Train, resuming from `work` where it holds a checkpoint, and return the averaged endpoints.

    With `stop` it ends, and can be resumed, after that many of the steps. The loss is logged in `work/log.jsonl`.
    """
    run, rng = Run(settings), torch.Generator().manual_seed(settings.seed)
    real, drawn = batches.load(photos, settings.streets, work / "streets.pt", settings.seed)
    start = run.resume(work / "checkpoint.pt", rng)
    log, losses, began = _kept(work / "log.jsonl", start), list[float](), time.monotonic()
    end = stop or settings.steps
    steps = tqdm(range(start, end), initial=start, total=settings.steps, smoothing=0.01)
    for step, example in zip(steps, prefetch(_examples(real, drawn, settings, rng), 3), strict=False):
        losses.append(run.step(step, example))
        if (step + 1) % max(settings.steps // 150, 1) == 0:
            mean = round(sum(losses) / len(losses), 5)
            log.append(json.dumps({"step": step + 1, "loss": mean, "seconds": round(time.monotonic() - began)}))
            (work / "log.jsonl").write_text("\n".join(log) + "\n")
            losses.clear()
        if (step + 1) % 250 == 0 or step + 1 == end:
            run.save(work / "checkpoint.pt", step + 1, example[-1])
    return run.endpoints()


def loss(out: Tensor, target: Tensor, lamps: Tensor) -> Tensor:
    """Distance of two n 3 h w sRGB pictures: values, values stretched where dark, gradients, and means of 16x16.

    Where `lamps` (n 3 h/2 w/2, 0..1) shine, which is in few pixels, values count up to four times as much.
    """
    weight = 1 + 3 * F.interpolate(lamps.mean(1, keepdim=True), scale_factor=2.0)
    stretched = _distance(weight * (_stretch(out) - _stretch(target)))
    steps = sum(_charbonnier((out - target).diff(dim=d)) for d in (2, 3))
    coarse = _distance(F.avg_pool2d(out - target, 16))
    return _distance(weight * (out - target)) + stretched + steps + 2 * coarse


def reading_loss(read: Tensor, known: Tensor) -> Tensor:
    """Cross entropy of logits and values 0..1, n 5 h w; lamps, which are few and small, count more."""
    weight, often = torch.tensor((1.0, 1.0, 3.0, 3.0, 3.0)), torch.tensor((1.0, 1.0, 4.0, 4.0, 4.0))
    shape = (1, 5, 1, 1)
    return F.binary_cross_entropy_with_logits(read, known, weight.view(shape), pos_weight=often.view(shape))


def write(endpoints: list[Weights], folder: Path, settings: Settings) -> None:
    """One float16 safetensors file per endpoint."""
    for name, weights in zip(NAMES, endpoints, strict=True):
        about = {
            "architecture": "relight",
            "name": name,
            "effect": "day-to-night",
            "license": "MIT",
            "steps": str(settings.steps),
            "seed": str(settings.seed),
        }
        half = {k: v.detach().half().contiguous() for k, v in weights.items()}
        partial = folder / f".{name}.partial"
        save_file(half, partial, metadata=about)
        partial.chmod(0o644)
        partial.replace(folder / f"{name}.safetensors")


def render(endpoints: list[Weights], picture: Tensor, alpha: float) -> Tensor:
    """f(picture; theta(alpha)) for n 3 h w sRGB of any size, clamped to 0..1."""
    first, t = _segment(alpha)
    weights = {k: torch.lerp(v.float(), endpoints[first + 1][k].float(), t) for k, v in endpoints[first].items()}
    rows, cols = picture.shape[-2:]
    fill = (0, -cols % RelightNet.multiple, 0, -rows % RelightNet.multiple)
    with torch.no_grad():
        out = functional_call(RelightNet(), weights, (F.pad(picture, fill, mode="reflect"),))
    return out[..., :rows, :cols].clamp(0, 1)


def contact_sheet(endpoints: list[Weights], pictures: list[Tensor], width: int = 300) -> Tensor:
    """h w 3: for each picture (1 3 h w) a row of renders over alpha, under it the crossfade of the ends' renders."""
    rows: list[Tensor] = []
    for picture in pictures:
        size = (int(width * picture.shape[2] / picture.shape[3]), width)
        ends = [render(endpoints, picture, k / (len(NAMES) - 1)) for k in range(len(NAMES))]
        cells = [render(endpoints, picture, a) for a in SHEET_ALPHAS]
        faded = [torch.lerp(ends[k], ends[k + 1], t) for k, t in map(_segment, SHEET_ALPHAS)]
        for cells_of_row in (cells, faded):
            small = [F.interpolate(c, size=size, mode="bilinear", antialias=True)[0] for c in cells_of_row]
            rows.append(torch.cat(small, 2))
    return torch.cat(rows, 1).permute(1, 2, 0).clamp(0, 1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the endpoints of day-to-night.")
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights, log and contact sheet")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints; training resumes from it")
    parser.add_argument(
        "--show", type=Path, nargs="+", help="pictures on the contact sheet instead of the held-out ones"
    )
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = vars(parser.parse_args())
    photos, out, work, show = (given.pop(name) for name in ("photos", "out", "work", "show"))
    settings = Settings(**given)
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    endpoints = train(photos, work, settings)
    write(endpoints, out, settings)
    (out / "day-to-night.log.jsonl").write_text((work / "log.jsonl").read_text())
    sheet = contact_sheet(endpoints, [to_tensor(read(path)) for path in show or held_out(photos)])
    pixels = cv2.cvtColor((sheet.numpy() * 255).round().astype(np.uint8), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(out / "day-to-night.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 82])


def _examples(real: list[Tensor], drawn: list[Tensor], settings: Settings, rng: Generator) -> Iterator[Example]:
    while True:
        alpha = _draw_alpha(rng)
        made = batches.batch(real, drawn, settings.street_share, alpha, settings.batch, rng)
        yield alpha, *made, rng.get_state()


def _segment(alpha: float) -> tuple[int, float]:
    """The endpoint before `alpha` and how far beyond it `alpha` lies, 0..1."""
    position = min(max(alpha, 0.0), 1.0) * (len(NAMES) - 1)
    first = min(int(position), len(NAMES) - 2)
    return first, position - first


def _draw_alpha(rng: Generator) -> float:
    """Half the time an endpoint (night twice as often as the others), else anywhere; day itself needs no training."""
    u, v = torch.rand(2, generator=rng).tolist()
    return (1 / 3, 2 / 3, 1.0, 1.0)[int(4 * v)] if u < 0.5 else 0.02 + 0.98 * v


def _schedule(step: int, steps: int) -> float:
    """Rises over 100 steps, stays, and falls to nothing over the second half, so a run can be made longer."""
    return min((step + 1) / 100, 1.0, 2 * (1 - step / steps) + 0.002)


def _distance(x: Tensor) -> Tensor:
    """Mean of |x| + 2 x^2: the square, as the median of a window that is seldom lit is a dark one."""
    return _charbonnier(x) + 2 * (x * x).mean()


def _charbonnier(x: Tensor) -> Tensor:
    return torch.sqrt(x * x + 1e-6).mean()


def _stretch(x: Tensor) -> Tensor:
    return torch.sqrt(x.clamp(min=0) + 0.01)


def _kept(log: Path, steps: int) -> list[str]:
    """The lines of a log up to `steps` steps."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if json.loads(line)["step"] <= steps]


if __name__ == "__main__":
    main()
