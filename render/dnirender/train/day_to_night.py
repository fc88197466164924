"""Train the endpoints of day-to-night: four sets of weights of one small network, and the straight lines between them.

    python -m dnirender.train.day_to_night --photos DIR [DIR ...] --out presets/weights --steps 20000 --seed 0

Deep network interpolation (Wang et al., CVPR 2019) mixes trained weights, theta(a) = (1 - t) theta_k + t theta_{k+1}, and
takes what the mixture does as it comes. Here the path itself is trained (Wortsman et al., ICML 2021, "Learning neural
network subspaces"): with P(a) the relighting model of `relighting.py` at time of day a,

    minimise over theta_0..3   E_a E_x  | f(x; theta(a)) - P(a)(x) |,    a = (k + t) / 3,  t in 0..1,

theta_k = base + delta_k, so that all ends grow from one network. The last layer of theta_0 (day) is held at zero, which makes
the day end the untouched picture exactly.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue
from threading import Thread

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Generator, Tensor
from torch.func import functional_call
from tqdm import tqdm

from dnirender.nets.relight import RelightNet
from dnirender.train import batches
from dnirender.train.photographs import photographs
from dnirender.train.relighting import NAMES

Weights = dict[str, Tensor]
Example = tuple[float, Tensor, Tensor, Tensor]  # alpha, input, target, state of the random generator after drawing them
SHEET_ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Settings:
    """What determines the result, together with the photographs."""

    steps: int = 20000
    seed: int = 0
    batch: int = 8
    learning_rate: float = 1.5e-3
    streets: int = 300
    street_share: float = 0.4
    average: float = 0.998


class Path3:
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


def train(photos: list[Path], work: Path, settings: Settings, log: Path, stop: int | None = None) -> list[Weights]:
    """Train, resuming from `work` where it holds a checkpoint, and return the averaged endpoints.

    With `stop` it ends, and can be resumed, after that many of the steps.
    """
    torch.manual_seed(settings.seed)
    net = RelightNet().to(memory_format=torch.channels_last)
    path = Path3(net)
    mean = [v.detach().clone() for v in path.tensors()]
    optimizer = torch.optim.Adam(path.tensors(), lr=settings.learning_rate, betas=(0.9, 0.99))
    rng = torch.Generator().manual_seed(settings.seed)
    real, drawn = batches.load(photos, settings.streets, work / "streets.pt", settings.seed)
    start = _resume(work / "checkpoint.pt", path, mean, optimizer, rng)
    end = settings.steps if stop is None else stop
    supply = ahead(_examples(real, drawn, settings, rng))
    sums: list[float] = []
    began = time.monotonic()
    with log.open("a") as lines:
        for step in tqdm(range(start, end), initial=start, total=settings.steps, smoothing=0.01):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _schedule(step, settings.steps)
            alpha, x, target, drawn_up_to = next(supply)
            with torch.autocast("cpu", torch.bfloat16):
                out = functional_call(net, path.at(alpha), (x,))
            value = loss(out.float(), target)
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(path.tensors(), 1.0)
            optimizer.step()
            keep = min(settings.average, (1 + step) / (10 + step))
            torch._foreach_lerp_(mean, [v.detach() for v in path.tensors()], 1 - keep)
            sums.append(float(value))
            if (step + 1) % max(settings.steps // 150, 1) == 0:
                record = {
                    "step": step + 1,
                    "loss": round(sum(sums) / len(sums), 5),
                    "seconds": round(time.monotonic() - began),
                }
                print(json.dumps(record), file=lines, flush=True)
                sums.clear()
            if (step + 1) % 250 == 0 or step + 1 == end:
                _checkpoint(work / "checkpoint.pt", step + 1, path, mean, optimizer, drawn_up_to)
    with torch.no_grad():
        for v, averaged in zip(path.tensors(), mean, strict=True):
            v.copy_(averaged)
        return [path.endpoint(k) for k in range(len(NAMES))]


def ahead(source: Iterator[Example], count: int = 3) -> Iterator[Example]:
    """The same examples, up to `count` of them made ahead of need in a thread."""
    queue: Queue[Example] = Queue(count)

    def work() -> None:
        for example in source:
            queue.put(example)

    Thread(target=work, daemon=True).start()
    while True:
        yield queue.get()


def loss(out: Tensor, target: Tensor) -> Tensor:
    """Distance of two n 3 h w sRGB pictures: in values, in values stretched where dark, in gradients and in coarse means."""
    stretched = _charbonnier(_stretch(out) - _stretch(target))
    steps = sum(_charbonnier((out - target).diff(dim=d)) for d in (2, 3))
    coarse = _charbonnier(F.avg_pool2d(out - target, 16))
    return _charbonnier(out - target) + stretched + steps + 2 * coarse


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
    """h w 3: for each picture (1 3 h w) a row of renders over alpha and under it the crossfade of the endpoints' renders."""
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
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = vars(parser.parse_args())
    photos, out, work = given.pop("photos"), given.pop("out"), given.pop("work")
    settings = Settings(**given)
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    log = work / "log.jsonl"
    endpoints = train(photos, work, settings, log)
    write(endpoints, out, settings)
    (out / "day-to-night.log.jsonl").write_text(log.read_text())
    unseen = [scene.picture for _, scene in photographs(photos, held_out=True)]
    sheet = contact_sheet(endpoints, unseen[:: max(len(unseen) // 6, 1)][:6])
    pixels = cv2.cvtColor((sheet.numpy() * 255).round().astype(np.uint8), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(out / "day-to-night.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 82])


def _examples(real: list[Tensor], drawn: list[Tensor], settings: Settings, rng: Generator) -> Iterator[Example]:
    while True:
        alpha = _draw_alpha(rng)
        x, target = batches.batch(real, drawn, settings.street_share, alpha, settings.batch, rng)
        yield alpha, x, target, rng.get_state()


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
    """Rises over 200 steps, stays, and falls to nothing over the last third: a run can be made longer by resuming it."""
    return min((step + 1) / 200, 1.0, 3 * (1 - step / steps) + 0.003)


def _charbonnier(x: Tensor) -> Tensor:
    return torch.sqrt(x * x + 1e-6).mean()


def _stretch(x: Tensor) -> Tensor:
    return torch.sqrt(x.clamp(min=0) + 0.01)


def _checkpoint(
    file: Path, step: int, path: Path3, mean: list[Tensor], optimizer: torch.optim.Adam, rng: Tensor
) -> None:
    state = {
        "step": step,
        "tensors": [v.detach() for v in path.tensors()],
        "mean": mean,
        "optimizer": optimizer.state_dict(),
        "rng": rng,
    }
    partial = file.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(file)


def _resume(file: Path, path: Path3, mean: list[Tensor], optimizer: torch.optim.Adam, rng: Generator) -> int:
    if not file.exists():
        return 0
    state = torch.load(file, weights_only=True)
    with torch.no_grad():
        for ours, kept in zip([*path.tensors(), *mean], [*state["tensors"], *state["mean"]], strict=True):
            ours.copy_(kept)
    optimizer.load_state_dict(state["optimizer"])
    rng.set_state(state["rng"])
    return int(state["step"])


if __name__ == "__main__":
    main()
