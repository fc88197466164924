"""Training batches: crops and whole pictures of scenes, relit at one alpha, with the noise of video in the input."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from tqdm import tqdm

from dnirender.train.data.augment import dappled, exposed, hung, shaded, weather
from dnirender.train.data.photos import noise, pick, uniform
from dnirender.train.data.relighting import Scene, relight
from dnirender.train.data.scenes import street
from dnirender.train.data.scenes.canvas import textures
from dnirender.train.data.scenes.photographs import photographs

CHANNELS = (3, 1, 1, 3, 1, 3, 3)  # of the fields of Scene, in order
CROP = (256, 256)
WHOLE = (192, 320)
LARGE = (384, 640)
SHIFT = 8  # pixels at most
OFTEN = {"lamps": 3, "lamplit": 2}  # how often photographs with some count, as they are few
GLEAM = 6e-4  # mean light of lamps, linear: a photograph above it has some worth learning from
LAMPLIT = 0.08  # mean of `glow`: a photograph above it is lit by lamps


def stacked(scene: Scene) -> Tensor:
    """All fields of one scene in a 15 h w float16 tensor."""
    return torch.cat([getattr(scene, f.name) for f in fields(Scene)], 1)[0].half()


def unstacked(layers: Tensor) -> Scene:
    """The inverse of `stacked` for n 15 h w, float32."""
    return Scene(*layers.float().split(CHANNELS, 1))


def load(
    photos: list[Path], held_out: Sequence[str], streets: int, cache: Path, seed: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Stacked scenes: the training photographs, those with lights as `OFTEN` says, and `streets` procedural ones, kept
    in `cache` as they take seconds."""
    real: list[Tensor] = []
    for scene in photographs(photos, held_out):
        kind = "lamplit" if scene.glow.mean() > LAMPLIT else "lamps" if scene.lamps.mean() > GLEAM else None
        real += [stacked(scene)] * (OFTEN[kind] if kind else 1)
    drawn: list[Tensor] = torch.load(cache, weights_only=True) if cache.exists() else []
    if len(drawn) < streets:
        patches = textures(photos)
        seeds = [(seed, k) for k in range(len(drawn), streets)]
        drawn += [stacked(street.scene(np.random.default_rng(s), patches)) for s in tqdm(seeds, desc="streets")]
        cache.parent.mkdir(parents=True, exist_ok=True)
        torch.save(drawn, cache)
    return real, drawn[:streets]


def batch(
    real: list[Tensor], drawn: list[Tensor], share: float, alpha: float, size: int, rng: Generator
) -> tuple[Tensor, ...]:
    """`size` scenes, a `share` of them from `drawn`, relit at `alpha`; pictures are n 3 h w sRGB 0..1.

    Returns input, target, `known` (below), the input without noise; then part of the scenes moved by up to `SHIFT`
    pixels and with other noise, the same without noise, and how far they are moved (y, x). For half the batches the
    moved scenes are none.
    """
    window, count, fraction = _window(size, rng)
    pools = (drawn if uniform(rng) < share else real for _ in range(count))
    room = (window[0] + SHIFT, window[1] + SHIFT)
    views = [_view(pool[pick(rng, len(pool))], room, fraction, rng) for pool in pools]
    plain = exposed(hung(weather(unstacked(torch.stack(views)), rng), rng), rng)
    wide, shade = dappled(plain, rng)
    scene = _cut(wide, 0, 0, window)
    target = relight(shaded(scene, shade[..., : window[0], : window[1]], alpha), alpha)
    added = torch.stack([noise(picture, rng) for picture in scene.picture])
    gain = ((_gray(target) + 0.02) / (_gray(scene.picture) + 0.02)).clamp(max=1)
    y, x = (pick(rng, SHIFT + 1) for _ in range(2))
    moved = _cut(wide, y, x, window).picture[: (count + 1) // 2 if uniform(rng) < 0.5 else 0]
    other = torch.stack([noise(picture, rng) for picture in moved]) if len(moved) else moved
    return (
        (scene.picture + added).clamp(0, 1), (target + gain * added).clamp(0, 1), known(scene), scene.picture,
        (moved + other).clamp(0, 1), moved, torch.tensor((y, x)),
    )  # fmt: skip


def known(scene: Scene) -> Tensor:
    """What a network must find out about the scene, 0..1, n 5 h/2 w/2: sky, height in the sky, light of lamps."""
    return F.avg_pool2d(torch.cat([scene.sky, scene.sky * scene.height, 1 - torch.exp(-scene.lamps)], 1), 2)


def _window(size: int, rng: Generator) -> tuple[tuple[int, int], int, float]:
    """Size of the views, how many, and what part of the picture they show at least (0: a crop)."""
    kind = uniform(rng)
    if kind < 0.4:
        return WHOLE, size, 0.85
    if kind < 0.6:
        return LARGE, max(size // 4, 1), 0.85
    return CROP, size, 0.0


def _cut(scene: Scene, y: int, x: int, size: tuple[int, int]) -> Scene:
    return Scene(*(getattr(scene, f.name)[..., y : y + size[0], x : x + size[1]] for f in fields(Scene)))


def _view(layers: Tensor, size: tuple[int, int], least: float, rng: Generator) -> Tensor:
    """A random part of 15 h w, flipped or not, at `size`: `least` or more of the largest that fits, or a crop at scale
    0.6..1.5 where `least` is 0."""
    rows, cols = layers.shape[-2:]
    fit = min(rows / size[0], cols / size[1])
    factor = fit * (least + (1 - least) * uniform(rng)) if least else min(fit, 0.67 * 2.4 ** uniform(rng))
    h, w = int(size[0] * factor), int(size[1] * factor)
    y, x = (pick(rng, room + 1) for room in (rows - h, cols - w))
    part = layers[None, :, y : y + h, x : x + w].float()
    part = F.interpolate(part, size=size, mode="bilinear", align_corners=False, antialias=factor > 1)[0]
    return part.flip(2) if uniform(rng) < 0.5 else part


def _gray(x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True)
