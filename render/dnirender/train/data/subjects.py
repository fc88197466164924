"""Pictures with a subject and its mask: photographs, and subjects cut out of them before other photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dnirender.errors import TrainingError
from dnirender.media.images import read_image
from dnirender.train.data.photos import exposure, noise, pick, pictures, read, to_tensor, uniform
from dnirender.train.data.relighting import to_linear, to_srgb

LONG_SIDE = 768  # pixels; photographs are kept in memory at this size
WINDOWS = ((256, 256), (192, 320), (384, 512))  # height and width in pixels
WINDOW_SHARES = (0.4, 0.4, 0.2)
LARGE = 3  # by how much the batch of the last window is smaller
SEEN = 0.01  # part of a view that a subject covers at least, for its radius to be known
NEAR = 0.35  # part of the view's height over which the blur grows from a subject's feet upwards
AT_FEET = 0.3  # radius there
BEHIND = ("subject", "scene")


@dataclass(frozen=True)
class Pool:
    """Photographs with a subject, 4 h w (RGB and mask), the same with the colors of the subject continued beyond its
    edge, and photographs without, 3 h w; all bytes."""

    subjects: list[Tensor]
    cutouts: list[Tensor]
    scenes: list[Tensor]


def load(folders: Sequence[Path], masks: Path, held_out: Sequence[str]) -> Pool:
    """The photographs in `folders` that have a mask `NAME.png` in `masks`, but those held out.

    TrainingError: there are none with a subject, or none without.
    """
    pool = Pool([], [], [])
    for path in pictures(folders, held_out):
        file = masks / f"{path.stem}.png"
        if not file.exists():
            continue
        image = read(path, LONG_SIDE)
        mask = np.asarray(read_image(file)[0][..., :1], np.float32) / 255
        if not mask.any():
            pool.scenes.append(_bytes(image))
            continue
        mask = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
        sure = mask**4
        spread = cv2.GaussianBlur(image * sure, (0, 0), 3) / (cv2.GaussianBlur(sure, (0, 0), 3)[..., None] + 1e-3)
        inside = np.clip((mask - 0.9) * 10, 0, 1)
        pool.subjects.append(_bytes(np.concatenate((image, mask), 2)))
        pool.cutouts.append(_bytes(np.concatenate((inside * image + (1 - inside) * spread, mask), 2)))
    if not pool.subjects or not pool.scenes:
        missing = "with a subject" if pool.scenes else "without a subject"
        raise TrainingError(
            f"{masks}: expected masks of photographs with and without a subject, got none {missing}; "
            "`python benchmarks/focus_masks.py` makes them"
        )
    return pool


def batch(pool: Pool, size: int, composites: float, scenes: float, rng: Generator) -> tuple[Tensor, ...]:
    """`size` pictures or fewer larger ones: a share of `composites`, one of `scenes`, and photographs with a subject.

    Returns noisy pictures n 3 h w, masks of subjects n 1 h w, the radius of the background's blur n 1 h w in 0..1,
    where a photograph of a scene has 0, and how much the radius of each counts, n 1 1 1.
    """
    kind = int(np.searchsorted(np.cumsum(WINDOW_SHARES), uniform(rng), side="right"))
    window = WINDOWS[min(kind, len(WINDOWS) - 1)]
    count = size if kind < len(WINDOWS) - 1 else max(size // LARGE, 1)
    made = [_example(pool, window, composites, scenes, rng) for _ in range(count)]
    picture, mask, radius, known = (torch.stack(parts) for parts in zip(*made, strict=True))
    picture = to_srgb(to_linear(picture) * exposure(count, rng)).clamp(0, 1)
    picture = torch.stack([(one + noise(one, rng)).clamp(0, 1) for one in picture])
    return picture, mask, radius, known


def _example(
    pool: Pool, window: tuple[int, int], composites: float, scenes: float, rng: Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    chance = uniform(rng)
    if chance < scenes:
        picture = part_of(pool.scenes[pick(rng, len(pool.scenes))], window, 0.5, rng)
        none = torch.zeros(1, *window)
        return picture, none, none, torch.ones(1, 1, 1)
    if chance < scenes + composites:
        back = toned(part_of(pool.scenes[pick(rng, len(pool.scenes))], window, 0.35, rng), rng)
        if uniform(rng) < 0.4:
            back = soft(back, 0.5 + 3.5 * uniform(rng))
        picture, mask = back, torch.zeros(1, *window)
        for _ in range(2 if uniform(rng) < 0.2 else 1):
            layer = placed(pool.cutouts[pick(rng, len(pool.cutouts))], window, rng)
            picture = torch.lerp(picture, toned(layer[:3], rng), layer[3:])
            mask = mask + (1 - mask) * layer[3:]
    else:
        layers = part_of(pool.subjects[pick(rng, len(pool.subjects))], window, 0.45, rng)
        picture, mask = toned(layers[:3], rng), layers[3:]
    return picture, mask, ground(mask), (mask.mean() > SEEN).float().view(1, 1, 1)


def toned(picture: Tensor, rng: Generator) -> Tensor:
    """3 h w with other tones and colors for three of four: neither tells a subject from what is behind it."""
    if uniform(rng) < 0.25:
        return picture
    if uniform(rng) < 0.2:
        picture = picture[torch.randperm(3, generator=rng)]
    gray = picture.mean(0, keepdim=True)
    picture = (gray + (0.1 + 1.4 * uniform(rng)) * (picture - gray)).clamp(0, 1) ** (2 ** (1.6 * uniform(rng) - 0.8))
    return to_srgb((to_linear(picture) * exposure(1, rng)[0]).clamp(0, 1))


def ground(mask: Tensor) -> Tensor:
    """The radius of the blur, 0..1, behind a subject 1 h w: 1, but where the subject stands in the picture it grows
    from its feet upwards."""
    rows = mask.shape[1]
    covered = (mask[0] > 0.5).sum(1) >= 2
    if not covered.any() or covered[-2:].any():
        return torch.ones_like(mask)
    feet = int(covered.nonzero().max())
    t = ((feet - torch.arange(rows)) / (NEAR * rows)).clamp(0, 1)
    return (AT_FEET + (1 - AT_FEET) * t * t * (3 - 2 * t)).view(1, rows, 1).expand_as(mask)


def part_of(photo: Tensor, window: tuple[int, int], least: float, rng: Generator) -> Tensor:
    """A random part of c h w bytes, flipped or not, c *window float 0..1: `least` to all of the largest that fits."""
    rows, cols = photo.shape[-2:]
    factor = min(rows / window[0], cols / window[1]) * (least + (1 - least) * uniform(rng) ** 0.7)
    h, w = (min(int(side * factor), room) for side, room in zip(window, (rows, cols), strict=True))
    y, x = (pick(rng, room + 1) for room in (rows - h, cols - w))
    part = photo[None, :, y : y + h, x : x + w].float() / 255
    part = F.interpolate(part, size=window, mode="bilinear", align_corners=False, antialias=factor > 1)[0]
    return part.flip(2) if uniform(rng) < 0.5 else part


def placed(cutout: Tensor, window: tuple[int, int], rng: Generator) -> Tensor:
    """A cut-out, 4 h w bytes, somewhere in a window, 4 *window float 0..1; where it is cut by the edge of its
    photograph it is cut by that of the window."""
    mask = cutout[3] > 127
    left, right, top, bottom = (bool(side.sum() > 3) for side in (mask[:, 0], mask[:, -1], mask[0], mask[-1]))
    rows, cols = mask.any(1).nonzero(), mask.any(0).nonzero()
    y0, y1, x0, x1 = int(rows.min()), int(rows.max()) + 1, int(cols.min()), int(cols.max()) + 1
    part = cutout[None, :, y0:y1, x0:x1].float() / 255
    scale = window[0] / (y1 - y0) * (0.3 + 0.8 * uniform(rng))
    if left and right:
        scale = max(scale, window[1] / (x1 - x0))
    if top and bottom:
        scale = max(scale, window[0] / (y1 - y0))
    scale = min(scale, 1.5 * LONG_SIDE / max(part.shape[-2:]))
    size = [max(int((y1 - y0) * scale), 4), max(int((x1 - x0) * scale), 4)]
    part = F.interpolate(part, size=size, mode="bilinear", align_corners=False, antialias=scale < 1)[0]
    if uniform(rng) < 0.5:
        part, left, right = part.flip(2), right, left
    y = _offset(size[0], window[0], top, bottom, rng)
    x = _offset(size[1], window[1], left, right, rng)
    out = torch.zeros(4, *window)
    rows_in, cols_in = (
        slice(max(start, 0), min(start + length, room))
        for start, length, room in zip((y, x), size, window, strict=True)
    )
    out[:, rows_in, cols_in] = part[:, rows_in.start - y : rows_in.stop - y, cols_in.start - x : cols_in.stop - x]
    return out


def _offset(length: int, room: int, first: bool, last: bool, rng: Generator) -> int:
    """Where a part of `length` begins in `room`: at an edge where it is cut, elsewhere anywhere, mostly inside."""
    if first and last:
        return -pick(rng, max(length - room, 0) + 1)
    if first or last:
        return 0 if first else room - length
    slack = room - length
    low, high = sorted((-length // 8, slack + length // 8))
    return low + pick(rng, high - low + 1)


def soft(picture: Tensor, sigma: float) -> Tensor:
    pixels = to_linear(picture).permute(1, 2, 0).numpy()
    return to_srgb(to_tensor(cv2.GaussianBlur(pixels, (0, 0), sigma))[0])


def _bytes(image: np.ndarray) -> Tensor:
    return (to_tensor(image)[0] * 255).round().clamp(0, 255).byte()
