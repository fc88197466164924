"""Pictures of styles to train on: crops of paintings and textures in other colors, and drawings of photographs.

Twelve paintings teach an encoder twelve styles. Drawn by rule - strokes along the contours, tiles, dots, hatching -
photographs become as many styles as there are numbers to draw.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from cv2.typing import MatLike
from torch import Generator, Tensor

from dnirender.train.data.photos import pick, uniform, view

PERMUTED = 0.3  # of the crops in other colors: the share whose channels are permuted
INVERTED = 0.1


def recolored(picture: Tensor, rng: Generator) -> Tensor:
    """3 h w 0..1 in other colors: channels permuted or not, inverted or not, rotated in hue, with another contrast."""
    if uniform(rng) < PERMUTED:
        picture = picture[torch.randperm(3, generator=rng)]
    if uniform(rng) < INVERTED:
        picture = 1 - picture
    angle = math.pi * (2 * uniform(rng) - 1) * uniform(rng)
    along, across = math.cos(angle), math.sin(angle) / math.sqrt(3)
    gray = (1 - along) / 3
    turn = torch.full((3, 3), gray) + along * torch.eye(3)
    turn += across * torch.tensor(((0.0, -1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 1.0, 0.0)))
    mean = picture.mean((1, 2), keepdim=True)
    contrast, brightness = 0.7 + 0.8 * uniform(rng), 0.2 * (2 * uniform(rng) - 1)
    turned = torch.einsum("ij,jhw->ihw", turn, (picture - mean) * contrast + mean)
    saturation = 0.4 + 1.2 * uniform(rng)
    luma = turned.mean(0, keepdim=True)
    return (luma + saturation * (turned - luma) + brightness).clamp(0, 1)


def drawn(photo: Tensor, side: int, rng: Generator) -> Tensor:
    """A crop of a photograph, 3 h w bytes, drawn by rule, 3 side side 0..1."""
    crop = np.ascontiguousarray((view(photo, side, rng).permute(1, 2, 0) * 255).round().byte().numpy())
    draw = (strokes, tiles, dots, hatching)[pick(rng, 4)]
    picture = draw(crop, np.random.default_rng(pick(rng, 1 << 30)))
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).float() / 255


def strokes(picture: MatLike, rng: np.random.Generator) -> MatLike:
    """Brush strokes of one width, over strokes of twice it, along the contours, or all of one direction."""
    side = picture.shape[0]
    gray = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 4)
    direction = np.arctan2(cv2.Sobel(gray, cv2.CV_32F, 0, 1), cv2.Sobel(gray, cv2.CV_32F, 1, 0)) + np.pi / 2
    if rng.random() < 0.3:
        direction[:] = rng.uniform(0, np.pi)
    out = cv2.blur(picture, (15, 15))
    width, spread = int(rng.integers(2, 9)), rng.uniform(0, 40)
    length = width * rng.uniform(2, 6)
    for thickness in (2 * width, width):
        count = int(1.6 * side * side / (thickness * length))
        ys, xs = rng.integers(0, side, (2, min(count, 4000)))
        angles = direction[ys, xs] + rng.normal(0, 0.25, len(ys))
        ends = 0.5 * length * np.stack([np.cos(angles), np.sin(angles)], 1)
        shades = np.clip(
            picture[ys, xs] + rng.normal(0, spread / 2, (len(ys), 1)) + rng.normal(0, spread / 2, (len(ys), 3)), 0, 255
        )
        for x, y, (dx, dy), shade in zip(xs, ys, ends, shades, strict=True):
            start, end = (int(x - dx), int(y - dy)), (int(x + dx), int(y + dy))
            cv2.line(out, start, end, shade.tolist(), thickness, cv2.LINE_AA)
    return out


def tiles(picture: MatLike, rng: np.random.Generator) -> MatLike:
    """Cells of one color about random points, as of a mosaic, with joints or without."""
    side, cell = picture.shape[0], int(rng.integers(6, 28))
    count = max(4, side * side // cell**2)
    seeds = np.full((side, side), 255, np.uint8)
    seeds[tuple(rng.integers(0, side, (2, count)))] = 0
    away, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    labels = np.asarray(labels, np.int64)
    colors = np.zeros((labels.max() + 1, 3), np.float32)
    colors[labels[seeds == 0]] = picture[seeds == 0]
    colors += rng.normal(0, rng.uniform(0, 30), colors.shape)
    out = np.clip(colors, 0, 255).astype(np.uint8)[labels]
    if rng.random() < 0.6:
        edge = (labels != np.roll(labels, 1, 0)) | (labels != np.roll(labels, 1, 1))
        edge = cv2.dilate(edge.astype(np.uint8), np.ones((int(rng.integers(1, 4)),) * 2, np.uint8))
        out[edge > 0] = rng.integers(0, 2) * 215 + 20
    elif rng.random() < 0.5:
        out = np.clip(out * (1.15 - away / cell)[..., None], 0, 255).astype(np.uint8)
    return out


def dots(picture: MatLike, rng: np.random.Generator) -> MatLike:
    """Dots of color on a ground, as of the pointillists."""
    side, radius = picture.shape[0], int(rng.integers(1, 6))
    out = np.empty_like(picture)
    out[:] = rng.integers(0, 256, 3) if rng.random() < 0.5 else picture.mean((0, 1)).astype(np.uint8)
    count = min(6000, int(rng.uniform(0.6, 2.0) * side * side / (np.pi * radius * radius)))
    ys, xs = rng.integers(0, side, (2, count))
    shades = np.clip(picture[ys, xs] + rng.normal(0, rng.uniform(0, 60), (count, 3)), 0, 255)
    for x, y, shade in zip(xs.tolist(), ys.tolist(), shades.tolist(), strict=True):
        cv2.circle(out, (x, y), radius, shade, -1, cv2.LINE_AA)
    return out


def hatching(picture: MatLike, rng: np.random.Generator) -> MatLike:
    """Parallel and crossed lines, thicker where it is dark, of one ink on paper or over the picture's own colors."""
    side = picture.shape[0]
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    ink, paper = rng.integers(0, 90, 3), rng.integers(150, 256, 3)
    ground = np.full_like(picture, paper.astype(np.uint8)) if rng.random() < 0.6 else cv2.blur(picture, (5, 5))
    y, x = np.mgrid[:side, :side].astype(np.float32)
    wobble = cv2.GaussianBlur(rng.normal(0, 60, (side, side)).astype(np.float32), (0, 0), 6)
    covered = np.zeros_like(gray)
    period, angle = rng.uniform(4, 12), rng.uniform(0, np.pi)
    for turn, darkness in ((0.0, 1.0), (1.2, 0.55)):
        phase = (x * np.cos(angle + turn) + y * np.sin(angle + turn) + wobble) / period
        wave = 0.5 + 0.5 * np.cos(2 * np.pi * phase)
        covered = np.maximum(covered, np.clip((wave - gray / darkness) * 6, 0, 1))
    return (ground * (1 - covered[..., None]) + ink * covered[..., None]).astype(np.uint8)
