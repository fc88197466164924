"""Training batches: crops and whole pictures of scenes, relit at one alpha, with the noise of video in the input."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from tqdm import tqdm

from dnirender.train.data.photos import exposure, noise, pick, uniform
from dnirender.train.data.relighting import Scene, blur, lamplight, relight, to_linear, to_srgb
from dnirender.train.data.scenes import street
from dnirender.train.data.scenes.canvas import textures
from dnirender.train.data.scenes.photographs import photographs

CHANNELS = (3, 1, 1, 3, 1, 3, 3)  # of the fields of Scene, in order
CROP = (256, 256)
WHOLE = (192, 320)
LARGE = (384, 640)
SHIFT = 8  # pixels at most
OFTEN = 2
GLEAM = 6e-4  # mean light of lamps, linear: a photograph above it has some worth learning from


def stacked(scene: Scene) -> Tensor:
    """All fields of one scene in a 15 h w float16 tensor."""
    return torch.cat([getattr(scene, f.name) for f in fields(Scene)], 1)[0].half()


def unstacked(layers: Tensor) -> Scene:
    """The inverse of `stacked` for n 15 h w, float32."""
    return Scene(*layers.float().split(CHANNELS, 1))


def load(
    photos: list[Path], held_out: Sequence[str], streets: int, cache: Path, seed: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Stacked scenes: the training photographs, those with lights `OFTEN` times as the others are many, and `streets`
    procedural ones, kept in `cache` as they take seconds."""
    real: list[Tensor] = []
    for scene in photographs(photos, held_out):
        real += [stacked(scene)] * (OFTEN if scene.lamps.mean() > GLEAM else 1)
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
    wide = _exposed(_hung(_weather(unstacked(torch.stack(views)), rng), rng), rng)
    scene = _cut(wide, 0, 0, window)
    target = relight(scene, alpha)
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


def _weather(scene: Scene, rng: Generator) -> Scene:
    """A third of the skies more or less covered by an even white or gray, and for some of these fog before the scene.

    Web-cams see both so often that neither must be taken for a lamp. Fog is light of the sky in front of things, so it
    counts as sky: at height y, 0 at the bottom to 1 at the top, it covers `thickness` smoothstep((y - start) / 0.6).
    """
    n = len(scene.picture)
    strength, level, chance, thickness, start = (torch.rand(n, 1, 1, 1, generator=rng) for _ in range(5))
    share = (0.5 + 0.5 * strength) * (chance < 0.35)
    cover = (0.45 + 0.6 * level).expand_as(scene.behind)
    linear = to_linear(scene.picture)
    own = torch.lerp(scene.behind, linear, scene.sky)  # the sky's light in this pixel
    picture = (linear + scene.sky * share * (cover - own)).clamp(min=0)
    behind = torch.lerp(scene.behind, cover, share)
    rows = scene.picture.shape[-2]
    height = 1 - torch.arange(rows).view(1, 1, rows, 1) / rows
    t = ((height - 0.7 * start) / 0.6).clamp(0, 1)
    foggy = (chance < 0.16) & (scene.sky.mean((1, 2, 3), keepdim=True) > 0.02)
    fog = foggy * thickness * t * t * (3 - 2 * t)
    return replace(
        scene,
        picture=to_srgb(torch.lerp(picture, behind, fog)),
        sky=scene.sky + (1 - scene.sky) * fog,
        height=torch.maximum(scene.height, 0.5 * fog),
        behind=behind,
        detail=scene.detail ** (1 - share),
        lamps=scene.lamps * (1 - fog),
    )


def _hung(scene: Scene, rng: Generator) -> Scene:
    """A few of the pictures with small lamps that burn by day, and every second with small white or pale things.

    A burning lamp is brighter than what is around it, warm, and has a halo; the things, cards and discs, have none, are
    white or cool, and must not shine: no more than paper, spots of sun and the sky between leaves.
    """
    n, _, rows, cols = scene.picture.shape
    linear, emission = to_linear(scene.picture), torch.zeros_like(scene.picture)
    for k in range(n):
        chance = uniform(rng)
        burning = chance < 0.07
        halo = torch.zeros_like(linear[k])
        for _ in range(1 + pick(rng, 9) if chance < 0.5 else 0):
            top, left = pick(rng, rows), pick(rng, cols)
            tall, wide = (0.6 + 6 * uniform(rng) ** 2 for _ in range(2))
            here = (..., slice(max(top - 18, 0), top + 18), slice(max(left - 18, 0), left + 18))
            part = linear[k][here]
            y = torch.arange(max(top - 18, 0) - top, part.shape[1] + max(top - 18, 0) - top).view(-1, 1)
            x = torch.arange(max(left - 18, 0) - left, part.shape[2] + max(left - 18, 0) - left).view(1, -1)
            disc = (1.5 - (y / tall) ** 2 - (x / wide) ** 2).clamp(0, 1)
            if not burning:
                card = ((y.abs() < 2.5 * tall) & (x.abs() < 2.5 * wide)).float()
                cool = 1 - 0.5 * torch.rand(3, generator=rng).sort().values.flip(0).view(3, 1, 1) * uniform(rng)
                linear[k][here] = torch.lerp(part, cool, disc if uniform(rng) < 0.6 else card)
            elif linear[k, :, top, left].mean() < 0.4:  # else it would not be seen
                warmth = 0.6 + 1.2 * uniform(rng)
                color = torch.tensor((1.0, 0.62**warmth, 0.32**warmth)).view(3, 1, 1)
                linear[k][here] = torch.lerp(part, color**0.4, disc)
                halo[here] += color * disc
        if halo.any():
            spread = blur(halo[None], rows / 60)[0] + 0.6 * blur(halo[None], rows / 20)[0]
            linear[k] = linear[k] + (0.2 + 0.8 * uniform(rng)) * spread
            emission[k] = 3 * halo.clamp(max=1)
    if not emission.any():
        return replace(scene, picture=to_srgb(linear))
    lamps, glow = lamplight(emission)
    return replace(scene, picture=to_srgb(linear), lamps=scene.lamps + lamps, glow=(scene.glow + glow).clamp(max=1))


def _exposed(scene: Scene, rng: Generator) -> Scene:
    """Every picture with an exposure and a white balance of its own."""
    gain = exposure(len(scene.picture), rng)
    picture = to_srgb(to_linear(scene.picture) * gain)
    return Scene(picture, scene.sky, scene.height, scene.behind * gain, scene.detail, scene.lamps, scene.glow)


def _gray(x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True)
