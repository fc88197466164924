"""What `dnirender model rescale` saves: RRDB networks of other scales after a short training.

    python benchmarks/rescale.py [--data ../shared/data] [--steps 1000] [--base-steps 2000]
                                 [--out benchmarks/results/rescale.md]

A narrow RRDB network (one block, 16 features) learns 4x from bicubic downsampling of BSDS500; its weights, rescaled to
1x, 2x, 8x and 16x, are trained for a thousand steps each, and so are networks of the same shape from random weights.
Shown is the PSNR of luma (BT.601) on Set5, without a border of `scale` pixels: bicubic, as rescaled, and trained. At 1x
the task is to give the picture back.

L1 loss, Adam at 5e-4 that falls to 0, batches of 4 crops of 32 (1x) to 128 pixels (16x).
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from dnirender.models.files import write_checkpoint
from dnirender.models.rescaling import rescale
from dnirender.networks import load

SCALES = (1, 2, 8, 16)
BASE = 4
FEATURES, GROWTH, BLOCKS = 16, 32, 1
BATCH, RATE = 4, 5e-4
CROP = {1: 32, 2: 48, 4: 64, 8: 96, 16: 128}  # of the picture, in pixels
LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)


def rrdb(ups, seed):
    """Weights of a narrow RRDB network in Real-ESRGAN's names: He initialisation, a tenth of it in dense blocks."""
    shapes = {"conv_first": (FEATURES, 3)}
    for block in range(BLOCKS):
        for dense in (1, 2, 3):
            for k in range(1, 6):
                outputs = FEATURES if k == 5 else GROWTH
                shapes[f"body.{block}.rdb{dense}.conv{k}"] = (outputs, FEATURES + GROWTH * (k - 1))
    shapes |= {"conv_body": (FEATURES, FEATURES)} | {f"conv_up{n}": (FEATURES, FEATURES) for n in range(1, ups + 1)}
    shapes |= {"conv_hr": (FEATURES, FEATURES), "conv_last": (3, FEATURES)}
    torch.manual_seed(seed)
    state = {}
    for name, (outputs, inputs) in shapes.items():
        gain = (2 / (9 * inputs)) ** 0.5 * (0.1 if ".rdb" in name else 1)
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.randn(outputs, inputs, 3, 3) * gain, torch.zeros(outputs)
    return state


def module_of(state):
    """As the renderer loads it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.pth"
        write_checkpoint(file, state)
        network, _ = load({"a": file})
    return network.module.train().requires_grad_(True), network.scale


def shrunk(picture, scale):
    """1 3 h w, bicubic with antialiasing, rounded to bytes."""
    sides = [length // scale for length in picture.shape[2:]]
    small = F.interpolate(picture, size=sides, mode="bicubic", antialias=True, align_corners=False)
    return (small * 255).round().clamp(0, 255) / 255


def train(state, steps, pictures, seed=0):
    """The weights after training, and seconds for each step."""
    module, scale = module_of(state)
    names = list(state)
    adam = torch.optim.Adam(module.parameters(), lr=RATE, betas=(0.9, 0.99))
    draw = np.random.default_rng(seed)
    began = time.perf_counter()
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 50) * (1 - step / steps)
        y = torch.cat([crop(pictures[draw.integers(len(pictures))], CROP[scale], draw) for _ in range(BATCH)])
        loss = (module(shrunk(y, scale)) - y).abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return in_their_names(module, names), (time.perf_counter() - began) / max(1, steps)


def in_their_names(module, names):
    """The tensors of a module of spandrel, which has its own names in the same order, in those of the file."""
    return dict(zip(names, (tensor.detach().clone() for tensor in module.state_dict().values()), strict=True))


def crop(picture, side, draw):
    top, left = (int(draw.integers(length - side + 1)) for length in picture.shape[2:])
    part = picture[:, :, top : top + side, left : left + side]
    return part.flip(3) if draw.integers(2) else part


@torch.inference_mode()
def psnr(upscale, pictures, scale):
    """Mean PSNR of luma in dB."""
    values = []
    for picture in pictures:
        height, width = (length // 16 * 16 for length in picture.shape[2:])
        y = picture[:, :, :height, :width]
        x = (upscale(shrunk(y, scale)).clamp(0, 1) * 255).round() / 255
        difference = ((x - y) * torch.tensor(LUMA)[:, None, None]).sum(1)[:, scale:-scale, scale:-scale]
        values.append(10 * torch.log10(1 / difference.double().square().mean().clamp_min(1e-10)))
    return float(torch.stack(values).mean())


def read(path):
    return torch.from_numpy(cv2.imread(str(path))[:, :, ::-1].copy()).permute(2, 0, 1)[None].float() / 255


def bicubic(scale):
    return lambda x: F.interpolate(x, scale_factor=float(scale), mode="bicubic", align_corners=False)


def lines(data, steps, base_steps):
    pictures = [read(path) for path in sorted((data / "photos/bsds").rglob("*.jpg"))[::2]]
    judged = [read(path) for path in sorted((data / "eval/set5").glob("*.png"))]

    def quality(state, scale):
        return psnr(module_of(state)[0].eval(), judged, scale)

    base, each = train(rrdb(2, 0), base_steps, pictures)
    yield f"| scale | bicubic | as rescaled | rescaled, {steps:,} steps | random weights, {steps:,} steps | s a step |"
    yield "|---|---|---|---|---|---|"
    found = {BASE: f"| {BASE}x, the base: {base_steps:,} steps | {psnr(bicubic(BASE), judged, BASE):.2f} | |"
                   f" {quality(base, BASE):.2f} | | {each:.2f} |"}  # fmt: skip
    for scale in SCALES:
        start = rescale(base, scale)
        trained, each = train(start, steps, pictures)
        random, _ = train(rrdb(scale.bit_length() - 1, 1), steps, pictures)
        values = [quality(state, scale) for state in (start, trained, random)]
        row = " | ".join(f"{value:.2f}" for value in (psnr(bicubic(scale), judged, scale), *values))
        found[scale] = f"| {scale}x | {row} | {each:.2f} |"
        print(found[scale], flush=True)
    yield from (found[scale] for scale in sorted(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--base-steps", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    page = ["# RRDB networks of other scales", "", "`python benchmarks/rescale.py`: PSNR of luma on Set5, dB.", ""]
    for line in lines(arguments.data, arguments.steps, arguments.base_steps):
        print(line, flush=True)
        page.append(line)
    if arguments.out:
        arguments.out.write_text("\n".join(page) + "\n", "utf-8")


if __name__ == "__main__":
    main()
