"""The luma of one image with the chroma of another."""

from __future__ import annotations

import cv2
import numpy as np

from dnirender.frames import Image
from dnirender.media.colorspace import KR_KB
from dnirender.media.resize import resize_to

BT709 = 1


def with_chroma(render: Image, source: Image, matrix: int = BT709) -> Image:
    """`render` [h, w, 3], uint8 or uint16, with the chroma of `source`, of the same dtype and resized to it.

    Luma is Y = kr R + (1 - kr - kb) G + kb B with the coefficients of `matrix`, a code of H.273; chroma is R - Y, G - Y
    and B - Y. Where that leaves the range of the dtype, chroma is scaled towards gray at equal luma and hue. Rounded
    once; equal images come back as they are.
    """
    height, width = render.shape[:2]
    kr, kb = KR_KB.get(matrix, KR_KB[BT709])
    weights = np.array([[kr, 1 - kr - kb, kb]], np.float32)
    top = float(np.iinfo(render.dtype).max)
    pixels = resize_to(source, width, height).astype(np.float32)
    luma = cv2.transform(render.astype(np.float32), weights)
    chroma = pixels - cv2.transform(pixels, weights)[..., None]
    red, green, blue = cv2.split(chroma)
    highest, lowest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    tiny = np.float32(1e-6)
    scale = np.minimum((top - luma) / np.maximum(highest, tiny), luma / np.maximum(-lowest, tiny))
    chroma *= np.clip(scale, 0, 1)[..., None]
    chroma += luma[..., None]
    return np.clip(np.rint(chroma), 0, top).astype(render.dtype)
