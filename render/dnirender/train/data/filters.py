"""Filters of h w and h w 3 pictures that the drawing model is made of."""

import math

import cv2
import numpy as np

from dnirender.train.data.photos import Image

LUMA = np.array(((0.299, 0.587, 0.114),), np.float32)  # BT.601: weights of sRGB values, not of light


def luma(picture: Image) -> Image:
    """h w 3 to h w."""
    return cv2.transform(picture, LUMA)


def quiet(y: Image) -> Image:
    """Luminance without noise: the guided filter of He et al. 2013 with itself as guide, radius 2, eps 0.02^2."""
    mean = cv2.blur(y, (5, 5))
    variance = cv2.blur(y * y, (5, 5)) - mean * mean
    slope = variance / (variance + 4e-4)
    return cv2.blur(slope, (5, 5)) * y + cv2.blur(mean - slope * mean, (5, 5))


def kuwahara(picture: Image, sigma: float, radius: int) -> Image:
    """The Kuwahara filter with smooth weights: means over `sigma` at eight places `radius` pixels away."""
    y = luma(picture)
    mean, square = blur(picture, sigma), blur(y * y, sigma)
    weight = 1 / (1 + (400 * np.maximum(square - luma(mean) ** 2, 0)) ** 3) + 1e-8
    ring = _ring(radius)
    total, weights = (cv2.filter2D(part, -1, ring) for part in (mean * weight[..., None], weight))
    return np.divide(total, weights[..., None])


def _ring(radius: int) -> Image:
    """A kernel that sums eight places around the pixel."""
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    for k in range(8):
        angle = k * math.pi / 4
        kernel[radius + round(radius * math.sin(angle)), radius + round(radius * math.cos(angle))] = 1
    return kernel


def contours(y: Image, sigma: float) -> Image:
    """D: negative on the dark side of edges."""
    around = blur(y, 1.6 * sigma)
    return (blur(y, sigma) - around) / (around + 0.12)


def tangents(y: Image, sigma: float = 2.5) -> tuple[Image, Image]:
    """The direction x, y along the edges at every pixel, as long as it is sure: 0..1."""
    dx, dy = (cv2.Sobel(y, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    tensor = blur(cv2.merge((dx * dx, dx * dy, dy * dy)), sigma)
    xx, xy, yy = cv2.split(tensor)
    sure = np.sqrt((xx - yy) ** 2 + 4 * xy * xy) / (xx + yy + 1e-4)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    return -np.sin(angle) * sure, np.cos(angle) * sure


def along(x: Image, tx: Image, ty: Image, step: float = 2.0, taps: int = 4, sigma: float = 4.5) -> Image:
    """h w c smoothed along the curves that follow the tangents, by a Gaussian over `taps` steps to both sides."""
    rows, cols = np.indices(x.shape[:2], np.float32)
    total, weights = x, 1.0
    for side in (1, -1):
        there, way = (cols, rows), (side * tx, side * ty)
        for k in range(1, taps + 1):
            there = there[0] + step * way[0], there[1] + step * way[1]
            weight = math.exp(-0.5 * (k * step / sigma) ** 2)
            total = cv2.scaleAdd(_at(x, there), weight, total)
            weights += weight
            dx, dy = cv2.split(_at(cv2.merge((tx, ty)), there))
            sign = np.where(dx * way[0] + dy * way[1] < 0, np.float32(-1), np.float32(1))  # a tangent has no sense
            way = sign * dx, sign * dy
    return np.divide(total, weights)


def _at(x: Image, place: tuple[Image, Image]) -> Image:
    return cv2.remap(x, *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def blur(x: Image, sigma: float) -> Image:
    return cv2.GaussianBlur(x, (0, 0), sigma)


def ramp(x: Image, low: float, high: float) -> Image:
    """Smoothstep: 0 below `low`, 1 above `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
