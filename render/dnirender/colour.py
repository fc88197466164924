"""Y'CbCr planes to RGB pictures and back, exact for every matrix, range, depth and chroma sampling.

swscale is within 0.04 of a code value for limited range but off by up to 0.9 for full range, so the matrix is done here
(ITU-T H.273, equations 24 to 40):

    Y' = kr R + kg G + kb B,  Cb = (B - Y') / (2 (1 - kb)),  Cr = (R - Y') / (2 (1 - kr))

Chroma of 4:2:0 and 4:2:2 sits at the left luma sample and halfway between two rows, as MPEG-2, H.264 and HEVC assume
when nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from dnirender.frames import Image

Plane = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# H.273 table 4, by the code that FFmpeg and every container use.
KR_KB = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
MATRIX_NAMES = {0: "rgb", 1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
TRANSFER_NAMES = {16: "PQ", 18: "HLG"}
UNSPECIFIED = 2


@dataclass(frozen=True)
class Colour:
    """What the numbers of a picture mean: H.273 codes for matrix, primaries and transfer; `guessed` where untagged."""

    matrix: int
    full_range: bool
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    guessed: bool = False

    @property
    def hdr(self) -> str | None:
        """The name of the HDR transfer curve, if there is one."""
        return TRANSFER_NAMES.get(self.transfer)

    def __str__(self) -> str:
        name = MATRIX_NAMES.get(self.matrix, f"matrix {self.matrix}")
        parts = [name, "full range" if self.full_range else "limited range"]
        parts += [self.hdr] if self.hdr else []
        return ", ".join(parts) + (" (guessed from the size)" if self.guessed else "")


def guess_matrix(height: int) -> int:
    """The matrix that untagged video of this height most likely uses: BT.709 from 720 lines on, else BT.601."""
    return 1 if height >= 720 else 6


def to_rgb_matrix(matrix: int) -> npt.NDArray[np.float64]:
    """[3, 3]: (Y' in 0..1, Cb, Cr in -0.5..0.5) to RGB in 0..1."""
    kr, kb = KR_KB[matrix]
    kg = 1 - kr - kb
    green_cb, green_cr = -2 * (1 - kb) * kb / kg, -2 * (1 - kr) * kr / kg
    return np.array([[1, 0, 2 * (1 - kr)], [1, green_cb, green_cr], [1, 2 * (1 - kb), 0]], np.float64)


def code_range(depth: int, full_range: bool) -> tuple[float, float, float, float]:
    """(luma offset, luma span, chroma offset, chroma span) in code values of `depth` bits (H.273, 8.3)."""
    step = float(1 << (depth - 8))
    if full_range:
        top = float((1 << depth) - 1)
        return 0.0, top, 128 * step, top
    return 16 * step, 219 * step, 128 * step, 224 * step


def upsample(plane: Floats, width: int, height: int) -> Floats:
    """A chroma plane at luma size: linear, sited left horizontally and centred vertically; 4:1:1 doubles twice."""
    while plane.shape[0] < height:
        size = plane.shape[1], plane.shape[0] * 2
        plane = cast(Floats, cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR))
    plane = plane[:height]
    while plane.shape[1] < width:
        wide = np.empty((plane.shape[0], plane.shape[1] * 2), np.float32)
        wide[:, 0::2] = plane
        wide[:, 1:-1:2] = (plane[:, :-1] + plane[:, 1:]) * np.float32(0.5)
        wide[:, -1] = plane[:, -1]
        plane = wide
    return plane[:, :width]


def downsample(plane: Floats, columns: int, rows: int) -> Floats:
    """A luma-sized plane at chroma size: [1 2 1] / 4 around the left sample, the mean of two rows; 4:1:1 twice."""
    while plane.shape[1] > columns:
        padded = cast(Floats, cv2.copyMakeBorder(plane, 0, 0, 1, 1, cv2.BORDER_REPLICATE))
        half = -(-plane.shape[1] // 2)
        left, here, right = padded[:, 0:-2:2], padded[:, 1:-1:2], padded[:, 2::2]
        plane = (left[:, :half] + 2 * here[:, :half] + right[:, :half]) * np.float32(0.25)
    while plane.shape[0] > rows:
        if plane.shape[0] % 2:
            plane = np.concatenate([plane, plane[-1:]])
        plane = (plane[0::2] + plane[1::2]) * np.float32(0.5)
    return plane


def planes_to_rgb(planes: list[Plane], depth: int, colour: Colour) -> Image:
    """[h, w] luma and its chroma planes (none for gray) to RGB: uint8 for 8 bits, else uint16 over 0..65535."""
    height, width = planes[0].shape
    luma_offset, luma_span, chroma_offset, chroma_span = code_range(depth, colour.full_range)
    top = 255.0 if depth == 8 else 65535.0
    if len(planes) == 1:
        gray = (planes[0].astype(np.float32) - np.float32(luma_offset)) * np.float32(top / luma_span)
        return _rounded(cast(Floats, cv2.merge([gray, gray, gray])), depth)
    chroma = [upsample(plane.astype(np.float32), width, height) for plane in planes[1:]]
    ycc = cv2.merge([planes[0].astype(np.float32), np.ascontiguousarray(chroma[0]), np.ascontiguousarray(chroma[1])])
    scale = np.diag([top / luma_span, top / chroma_span, top / chroma_span])
    matrix = to_rgb_matrix(colour.matrix) @ scale
    offset = matrix @ np.array([luma_offset, chroma_offset, chroma_offset])
    return _rounded(cast(Floats, cv2.transform(ycc, np.column_stack([matrix, -offset]))), depth)


def rgb_to_planes(image: Image, sampling: tuple[int, int], depth: int, colour: Colour) -> list[Plane]:
    """An RGB picture as Y', Cb, Cr planes; `sampling` is (luma samples per chroma sample across, down)."""
    height, width = image.shape[:2]
    luma_offset, luma_span, chroma_offset, chroma_span = code_range(depth, colour.full_range)
    top = 255.0 if image.dtype == np.uint8 else 65535.0
    scale = np.diag([luma_span / top, chroma_span / top, chroma_span / top])
    matrix = scale @ np.linalg.inv(to_rgb_matrix(colour.matrix))
    offset = np.array([luma_offset, chroma_offset, chroma_offset])
    ycc = cv2.transform(image.astype(np.float32), np.column_stack([matrix, offset]))
    luma, *chroma = (cast(Floats, plane) for plane in cv2.split(ycc))
    columns, rows = -(-width // sampling[0]), -(-height // sampling[1])
    planes = [luma, *(downsample(plane, columns, rows) for plane in chroma)]
    kind = np.uint8 if depth == 8 else np.uint16
    limit = np.float32((1 << depth) - 1)
    return [np.clip(np.rint(plane), 0, limit).astype(kind) for plane in planes]


def _rounded(values: Floats, depth: int) -> Image:
    top, kind = (255, np.uint8) if depth == 8 else (65535, np.uint16)
    return cast(Image, np.clip(np.rint(values, out=values), 0, top, out=values).astype(kind))
