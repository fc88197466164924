"""What a batch of scenes is changed by: weather, lamps and pale things, sun and shade, exposure.

Each function takes a `Scene` of n pictures and returns another; the light in it stays consistent with what it shows.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dnirender.train.data.photos import exposure, pick, uniform
from dnirender.train.data.relighting import Scene, blur, lamplight, to_linear, to_srgb

EVENING = 0.15  # share of the pictures that are made an evening's, lit by lamps
BURNING = 0.05  # share of the pictures in which small lamps burn by day
PALE = 0.5  # up to here: pictures with pale things, which are no lamps


def weather(scene: Scene, rng: Generator) -> Scene:
    """A third of the skies more or less covered by an even white or gray, and for some of these fog before the scene;
    others of dark clouds with bright gaps, or with the sun in them.

    Web-cams see white skies so often that they must not be taken for a lamp, nor may gaps or the sun. Fog is light of
    the sky in front of things, so it counts as sky: at height y, 0 at the bottom to 1 at the top, it covers
    `thickness` smoothstep((y - start) / 0.6).
    """
    n, _, rows, cols = scene.picture.shape
    strength, level, chance, thickness, start = (torch.rand(n, 1, 1, 1, generator=rng) for _ in range(5))
    share = (0.5 + 0.5 * strength) * (chance < 0.35)
    cover = (0.45 + 0.6 * level).expand_as(scene.behind)
    linear = to_linear(scene.picture)
    own = torch.lerp(scene.behind, linear, scene.sky)  # the sky's light in this pixel
    picture = (linear + scene.sky * share * (cover - own)).clamp(min=0)
    behind = torch.lerp(scene.behind, cover, share)
    detail = scene.detail ** (1 - share)
    for k in range(n):
        if 0.35 <= chance[k] < 0.50 and scene.sky[k].mean() > 0.05:
            dark, gaps = 0.15 + 0.4 * uniform(rng), _patches(rows, cols, rows / (1.5 + 4 * uniform(rng)), rng)
            extra = gaps * (0.5 + 0.6 * uniform(rng)) * _warm(0.5 * uniform(rng))
            picture[k] = torch.lerp(picture[k], picture[k] * dark + extra, scene.sky[k])
            behind[k] = behind[k] * dark + extra
            detail[k] = detail[k] * (0.85 + 0.4 * gaps)
        elif 0.50 <= chance[k] < 0.56 and scene.sky[k].mean() > 0.05:
            y, x = rows * 0.6 * uniform(rng), cols * uniform(rng)
            distance = (torch.arange(rows).view(-1, 1) - y) ** 2 + (torch.arange(cols).view(1, -1) - x) ** 2
            radius = rows * (0.01 + 0.03 * uniform(rng))
            halo = torch.exp(-distance / (2 * radius**2)) + 0.5 * torch.exp(-distance / (2 * (6 * radius) ** 2))
            extra = 1.5 * halo * _warm(0.6 * uniform(rng))
            picture[k] = picture[k] + scene.sky[k] * extra
            behind[k] = behind[k] + extra
    height = 1 - torch.arange(rows).view(1, 1, rows, 1) / rows
    t = ((height - 0.7 * start) / 0.6).clamp(0, 1)
    foggy = (chance < 0.16) & (scene.sky.mean((1, 2, 3), keepdim=True) > 0.02)
    fog = foggy * thickness * t * t * (3 - 2 * t)
    return replace(
        scene,
        picture=to_srgb(torch.lerp(picture, behind, fog)),
        sky=scene.sky + (1 - scene.sky) * fog,
        height=torch.maximum(scene.height, 0.5 * fog),
        behind=behind.clamp(max=1),
        detail=detail,
        lamps=scene.lamps * (1 - fog),
    )


def hung(scene: Scene, rng: Generator) -> Scene:
    """Some of the pictures with lamps, by day or in an evening that they light, and others with pale things.

    A burning lamp is brighter than what is around it, most often warm, and has a halo; in the evening all else is
    darker, and what is near the lamp is lit by it. The things, cards and discs, have no halo, are white or cool, and
    must not shine: no more than paper, spots of sun and the sky between leaves.
    """
    n, _, rows, _ = scene.picture.shape
    linear, behind, glow = to_linear(scene.picture), scene.behind.clone(), scene.glow.clone()
    lamps = scene.lamps.clone()
    for k in range(n):
        chance = uniform(rng)
        if chance >= EVENING + BURNING:
            if chance < PALE:
                for _ in range(1 + pick(rng, 9)):
                    _pale(linear[k], rng)
            continue
        surface = linear[k] * (1 - scene.sky[k])
        evening = chance < EVENING
        if evening:
            dark = 2 ** -(0.5 + 4 * uniform(rng)) * torch.tensor((0.85, 0.97, 1.12)).view(3, 1, 1) ** uniform(rng)
            linear[k], behind[k] = linear[k] * dark, behind[k] * dark
        halo = torch.zeros_like(linear[k])
        largest = 8.0 if evening and uniform(rng) < 0.5 else 3.0
        for _ in range(1 + pick(rng, 9)):
            _lamp(linear[k], halo, 0.6 + largest * uniform(rng) ** 2, evening, rng)
        if not halo.any():
            continue
        spread = blur(halo[None], rows / 60)[0] + 0.6 * blur(halo[None], rows / 20)[0]
        linear[k] = linear[k] + (0.1 + 0.6 * uniform(rng)) * spread
        shine, thrown = (part[0] for part in lamplight(3 * halo.clamp(max=1)[None]))
        if evening:
            wide = (1 + 3 * uniform(rng)) * thrown
            thrown = wide / (1 + wide)
            linear[k] = linear[k] + (0.5 + 2 * uniform(rng)) * surface * thrown
            thrown = (1.3 * thrown).clamp(max=1)
        lamps[k] = lamps[k] + shine
        glow[k] = (glow[k] + thrown).clamp(max=1)
    return replace(scene, picture=to_srgb(linear), behind=behind, lamps=lamps, glow=glow)


def _box(shape: torch.Size, reach: int, rng: Generator) -> tuple[tuple[slice, slice], Tensor, Tensor]:
    """A box somewhere in a picture 3 h w, and the distances y (h 1) and x (1 w) of its pixels from its middle."""
    middle = [pick(rng, length) for length in shape[1:]]
    rows, cols = (slice(max(m - reach, 0), min(m + reach, length)) for m, length in zip(middle, shape[1:], strict=True))
    y, x = (torch.arange(s.start, s.stop) - m for s, m in zip((rows, cols), middle, strict=True))
    return (rows, cols), y.view(-1, 1), x.view(1, -1)


def _pale(linear: Tensor, rng: Generator) -> None:
    (rows, cols), y, x = _box(linear.shape, 18, rng)
    tall, wide = (0.6 + 6 * uniform(rng) ** 2 for _ in range(2))
    disc = (1.5 - (y / tall) ** 2 - (x / wide) ** 2).clamp(0, 1)
    card = ((y.abs() < 2.5 * tall) & (x.abs() < 2.5 * wide)).float()
    cool = 1 - 0.5 * torch.rand(3, generator=rng).sort().values.flip(0).view(3, 1, 1) * uniform(rng)
    shape = disc if uniform(rng) < 0.6 else card
    linear[:, rows, cols] = torch.lerp(linear[:, rows, cols], cool, shape)


def _lamp(linear: Tensor, halo: Tensor, size: float, evening: bool, rng: Generator) -> None:
    """Draws one lamp into a picture and what it emits into `halo`; none by day where it would not be seen."""
    (rows, cols), y, x = _box(linear.shape, 40, rng)
    part = linear[:, rows, cols]
    if not evening and part.mean() > 0.4:
        return
    tall, wide = size, size * (0.6 + 0.8 * uniform(rng))
    if uniform(rng) < 0.3:  # a sign, a lantern or a tube
        wide *= 1 + 2 * uniform(rng)
        disc = ((y.abs() < tall) & (x.abs() < wide)).float()
    else:
        disc = (1.5 - (y / tall) ** 2 - (x / wide) ** 2).clamp(0, 1)
    color = torch.rand(3, generator=rng).view(3, 1, 1) if uniform(rng) < 0.15 else _warm(0.3 + 0.9 * uniform(rng))
    color = color / color.max()
    linear[:, rows, cols] = torch.lerp(part, color ** (0.3 + 0.5 * uniform(rng)) * (0.5 + 0.8 * uniform(rng)), disc)
    halo[:, rows, cols] += color * disc


def dappled(scene: Scene, rng: Generator) -> tuple[Scene, Tensor]:
    """A fifth of the pictures in shade with patches of sun, the other pictures as they are.

    Returns them and the linear light (n 3 h w) of the same pictures without the sun, see `shaded`. In half of them the
    patches are on what stands before the sky: the crowns of trees, heads and roofs.
    """
    n, _, rows, cols = scene.picture.shape
    linear = to_linear(scene.picture)
    shade = linear.clone()
    for k in range(n):
        if uniform(rng) > 0.2:
            continue
        mask = _patches(rows, cols, rows / 2 ** (1 + 4 * uniform(rng)), rng) * (1 - scene.sky[k])
        if uniform(rng) < 0.5 and scene.sky[k].mean() > 0.03:
            mask = mask * (4 * blur(scene.sky[k][None], rows / 14)[0]).clamp(max=1)
        shade[k] = torch.lerp(shade[k] * (0.4 + 0.4 * uniform(rng)), shade[k], scene.sky[k])
        linear[k] = shade[k] * (1 + (1.5 + 3 * uniform(rng)) * mask * _warm(0.4 * uniform(rng)))
    return replace(scene, picture=to_srgb(linear)), shade


def shaded(scene: Scene, shade: Tensor, alpha: float) -> Scene:
    """The scene at `alpha` as its lamps and sky find it: from golden hour to dusk the patches of sun fade."""
    fade = min(max(3 * alpha - 1, 0.0), 1.0)
    return replace(scene, picture=to_srgb(torch.lerp(to_linear(scene.picture), shade, fade))) if fade else scene


def exposed(scene: Scene, rng: Generator) -> Scene:
    """Every picture with an exposure and a white balance of its own."""
    gain = exposure(len(scene.picture), rng)
    return replace(scene, picture=to_srgb(to_linear(scene.picture) * gain), behind=scene.behind * gain)


def _patches(rows: int, cols: int, largest: float, rng: Generator) -> Tensor:
    """Patches of 1 in 0, 1 h w, up to about `largest` pixels, with edges hard or soft."""
    field, size, weight = torch.zeros(1, 1, rows, cols), max(largest, 4.0), 1.0
    for _ in range(3):
        grid = torch.randn(1, 1, int(rows / size) + 2, int(cols / size) + 2, generator=rng)
        field = field + weight * F.interpolate(grid, size=(rows, cols), mode="bicubic", align_corners=False)
        size, weight = max(size / 2.5, 2.0), 0.6 * weight
    return ((field[0] - 0.9 * uniform(rng)) * (1.5 + 8 * uniform(rng))).clamp(0, 1)


def _warm(warmth: float) -> Tensor:
    """The linear color of light, 3 1 1, its red 1: white at 0, candles at 1."""
    return torch.tensor((1.0, 0.60**warmth, 0.27**warmth)).view(3, 1, 1)
