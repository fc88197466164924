"""Converts Y'CbCr planes to RGB images and back, for every matrix, range, bit depth and chroma subsampling.

swscale is accurate to 0.04 of a code value for limited range but off by up to 0.9 for full range, so the matrix is
applied here (ITU-T H.273, equations 24 to 40):

    Y' = kr R + kg G + kb B,  Cb = (B - Y') / (2 (1 - kb)),  Cr = (R - Y') / (2 (1 - kr))

Chroma samples of 4:2:0 and 4:2:2 are located at the left luma sample and halfway between two rows (chroma location
"left"), the default of MPEG-2, H.264 and HEVC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from dnirender.frames import Image

Plane = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# kr and kb by matrix code (H.273, table 4).
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
STRIP = 1 << 16  # pixels that are converted at a time


@dataclass(frozen=True)
class ColorSpec:
    """Matrix, primaries and transfer as H.273 codes, and the range; `guessed` if the source carries no matrix tag."""

    matrix: int
    full_range: bool
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    guessed: bool = False

    @property
    def hdr(self) -> str | None:
        """The name of the HDR transfer function, None for SDR."""
        return TRANSFER_NAMES.get(self.transfer)

    def __str__(self) -> str:
        name = MATRIX_NAMES.get(self.matrix, f"matrix {self.matrix}")
        words = [name, "full range" if self.full_range else "limited range"]
        words += [self.hdr] if self.hdr else []
        return ", ".join(words) + (" (guessed from the size)" if self.guessed else "")


def guess_matrix(height: int) -> int:
    """The matrix assumed for untagged video: BT.709 from 720 lines on, else BT.601."""
    return 1 if height >= 720 else 6


def to_rgb_matrix(matrix: int) -> npt.NDArray[np.float64]:
    """The matrix [3, 3] from (Y' in 0..1, Cb and Cr in -0.5..0.5) to RGB in 0..1."""
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
    """Upsamples a chroma plane to luma size: linear, left-sited horizontally and centered vertically; 4:1:1 twice."""
    while plane.shape[0] < height:
        size = plane.shape[1], plane.shape[0] * 2
        plane = cast(Floats, cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR))
    plane = plane[:height]
    while plane.shape[1] < width:
        doubled = np.empty((plane.shape[0], plane.shape[1] * 2), np.float32)
        doubled[:, 0::2] = plane
        doubled[:, 1:-1:2] = (plane[:, :-1] + plane[:, 1:]) * np.float32(0.5)
        doubled[:, -1] = plane[:, -1]
        plane = doubled
    return plane[:, :width]


def downsample(plane: Floats, columns: int, rows: int) -> Floats:
    """Downsamples a plane of luma size to chroma size.

    The filters are the shortest ones that invert `upsample`, so unchanged chroma survives a round trip:
    [-1 2 6 2 -1] / 8 around the left sample, [-1 3 3 -1] / 4 over rows; 4:1:1 applies the first one twice.
    """
    while plane.shape[0] > rows:
        if plane.shape[0] % 2 and plane.shape[0] > 1:  # extrapolates the missing row as `upsample` would
            plane = np.concatenate([plane, _weighted_sum(plane[-1:], 1.5, plane[-2:-1], -0.5)])
        half = -(-plane.shape[0] // 2)
        padded = cast(Floats, cv2.copyMakeBorder(plane, 1, 2, 0, 0, cv2.BORDER_REPLICATE))
        above, upper, lower, below = (padded[first : first + 2 * half : 2] for first in range(4))
        plane = _weighted_sum(cv2.add(upper, lower), 0.75, cv2.add(above, below), -0.25)
    while plane.shape[1] > columns:
        half = -(-plane.shape[1] // 2)
        padded = cast(Floats, cv2.copyMakeBorder(plane, 0, 0, 2, 4, cv2.BORDER_REPLICATE))
        even, odd = np.ascontiguousarray(padded[:, ::2]), np.ascontiguousarray(padded[:, 1::2])
        left, center, right = (even[:, first : first + half] for first in range(3))
        even_taps = _weighted_sum(center, 0.75, cv2.add(left, right), -0.125)
        plane = cast(Floats, cv2.scaleAdd(cv2.add(odd[:, :half], odd[:, 1 : half + 1]), 0.25, even_taps))
    return plane


def _weighted_sum(a: Any, weight_a: float, b: Any, weight_b: float) -> Floats:
    return cast(Floats, cv2.addWeighted(a, weight_a, b, weight_b, 0))


def planes_to_rgb(planes: list[Plane], depth: int, color: ColorSpec) -> Image:
    """Converts luma [h, w] and two chroma planes (none for gray) to RGB: uint8 for 8 bits, else uint16 in 0..65535."""
    luma, *chroma = planes
    height, width = luma.shape
    luma_offset, luma_span, chroma_offset, chroma_span = code_range(depth, color.full_range)
    bits, top = (8, 255.0) if depth == 8 else (16, 65535.0)
    scale = np.diag([top / luma_span, top / chroma_span, top / chroma_span])
    matrix = to_rgb_matrix(color.matrix) @ scale
    affine = np.column_stack([matrix, -matrix @ np.array([luma_offset, chroma_offset, chroma_offset])])
    image = np.empty((height, width, 3), np.uint8 if bits == 8 else np.uint16)
    half_width = bool(chroma) and width > 1 and chroma[0].shape[1] == -(-width // 2)
    for rows in strips(height, width):
        if half_width:
            cb, cr = (_upsampled_rows(plane, rows, height, plane.shape[1]) for plane in chroma)
            image[rows] = _half_width_chroma_to_rgb(luma[rows], cb, cr, affine, bits)
            continue
        channels = [luma[rows].astype(np.float32), *(_upsampled_rows(plane, rows, height, width) for plane in chroma)]
        if chroma:
            rgb = cv2.transform(cv2.merge(channels), affine)
        else:
            rgb = cv2.merge([(channels[0] - np.float32(luma_offset)) * np.float32(top / luma_span)] * 3)
        image[rows] = _quantize(cast(Floats, rgb), bits)
    return image


def rgb_to_planes(image: Image, sampling: tuple[int, int], depth: int, color: ColorSpec) -> list[Plane]:
    """Converts an RGB image to Y', Cb and Cr planes of `depth` bits.

    `sampling` is the number of luma samples per chroma sample, (horizontally, vertically).
    """
    height, width = image.shape[:2]
    luma_offset, luma_span, chroma_offset, chroma_span = code_range(depth, color.full_range)
    top = 255.0 if image.dtype == np.uint8 else 65535.0
    scale = np.diag([luma_span / top, chroma_span / top, chroma_span / top])
    matrix = scale @ np.linalg.inv(to_rgb_matrix(color.matrix))
    affine = np.column_stack([matrix, [luma_offset, chroma_offset, chroma_offset]])
    steps = ((1, 1), sampling, sampling)
    dtype = np.uint8 if depth == 8 else np.uint16
    planes = [np.empty((-(-height // down), -(-width // across)), dtype) for across, down in steps]
    margin = sampling[1] if sampling[1] > 1 else 0  # rows above and below that the vertical chroma filter needs
    for rows in strips(height, width):
        top_row = max(0, rows.start - margin)
        ycc = cv2.transform(image[top_row : rows.stop + margin].astype(np.float32), affine)
        for plane, channel, (_, down) in zip(planes, _split(cast(Floats, ycc)), steps, strict=True):
            lines, first = slice(rows.start // down, -(-rows.stop // down)), (rows.start - top_row) // down
            small = downsample(cast(Floats, channel), plane.shape[1], -(-channel.shape[0] // down))
            plane[lines] = _quantize(small[first : first + lines.stop - lines.start], depth)
    return planes


def strips(height: int, width: int) -> Iterator[slice]:
    """Splits the rows of an image into slices that end on a row of chroma.

    Several passes over a strip are faster than over the image: its floats stay in the cache, in memory that is reused.
    """
    step = max(4, STRIP // width // 4 * 4)
    return (slice(start, min(start + step, height)) for start in range(0, height, step))


def _upsampled_rows(plane: Plane, rows: slice, height: int, width: int) -> Floats:
    """The given luma rows of `upsample(plane, width, height)`, without upsampling the others."""
    ratio = 1
    while plane.shape[0] * ratio < height:
        ratio *= 2
    top = max(0, rows.start // ratio - 2)
    strip = plane[top : -(-rows.stop // ratio) + 2].astype(np.float32)
    first = rows.start - top * ratio
    return np.ascontiguousarray(upsample(strip, width, strip.shape[0] * ratio)[first : first + rows.stop - rows.start])


def _half_width_chroma_to_rgb(luma: Plane, cb: Floats, cr: Floats, m: npt.NDArray[np.float64], bits: int) -> Image:
    """Converts luma [h, w] and chroma of half the width to RGB of `bits`; `m` [3, 4] maps code values to RGB.

    Equal to `upsample` and the matrix, but computed for even and odd columns separately: no plane is upsampled, and
    columns are interleaved as integers only.
    """
    height, width = luma.shape
    if width % 2:
        luma = cv2.copyMakeBorder(luma, 0, 0, 0, 1, cv2.BORDER_REPLICATE)
    dtype = _opencv_dtype(bits)
    columns: list[Any] = []
    pairs = _split(luma.reshape(height, -1, 2))
    for codes, b, r in zip(pairs, (cb, _halfway_right(cb)), (cr, _halfway_right(cr)), strict=True):
        y = codes.astype(np.float32)
        green_chroma = cv2.addWeighted(b, m[1, 1], r, m[1, 2], m[1, 3])
        columns += [
            cv2.addWeighted(y, m[0, 0], r, m[0, 2], m[0, 3], dtype=dtype),
            cv2.addWeighted(y, m[1, 0], green_chroma, 1, 0, dtype=dtype),
            cv2.addWeighted(y, m[2, 0], b, m[2, 1], m[2, 3], dtype=dtype),
        ]
    return cv2.merge(columns).reshape(height, -1, 3)[:, :width]


def _halfway_right(plane: Floats) -> Floats:
    """Chroma halfway between each sample and its right neighbor."""
    return _weighted_sum(plane, 0.5, cv2.copyMakeBorder(plane, 0, 0, 0, 1, cv2.BORDER_REPLICATE)[:, 1:], 0.5)


def _split(pixels: Plane) -> list[Plane]:
    """The channels of [h, w, c], in preallocated arrays: letting OpenCV allocate them costs ten times as much."""
    planes = [np.empty(pixels.shape[:2], pixels.dtype) for _ in range(pixels.shape[2])]
    return cast(list[Plane], cv2.split(pixels, cast(Any, planes)))


def _opencv_dtype(depth: int) -> int:
    return cv2.CV_8U if depth == 8 else cv2.CV_16U


def _quantize(values: Floats, depth: int) -> Plane:
    """Rounds half to even and clips to `depth` bits, in one pass over memory."""
    codes = cv2.add(values, cast(Any, 0), dtype=_opencv_dtype(depth))
    return np.minimum(codes, (1 << depth) - 1) if 8 < depth < 16 else codes
