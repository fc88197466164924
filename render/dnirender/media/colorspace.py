"""Y'CbCr planes to RGB pictures and back, exact for every matrix, range, depth and chroma sampling.

swscale is within 0.04 of a code value for limited range but off by up to 0.9 for full range, so the matrix is done here
(ITU-T H.273, equations 24 to 40):

    Y' = kr R + kg G + kb B,  Cb = (B - Y') / (2 (1 - kb)),  Cr = (R - Y') / (2 (1 - kr))

Chroma of 4:2:0 and 4:2:2 sits at the left luma sample and halfway between two rows, as MPEG-2, H.264 and HEVC assume
when nothing is said.
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
STRIP = 1 << 16  # pixels


@dataclass(frozen=True)
class ColorSpec:
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
    """A luma-sized plane at chroma size: the shortest filters that undo `upsample`, so that chroma which nothing has
    changed comes back as it was: [-1 2 6 2 -1] / 8 around the left sample, [-1 3 3 -1] / 4 over rows; 4:1:1 twice."""
    while plane.shape[0] > rows:
        if plane.shape[0] % 2 and plane.shape[0] > 1:  # the row that is missing, as `upsample` would have made it
            plane = np.concatenate([plane, _weighted(plane[-1:], 1.5, plane[-2:-1], -0.5)])
        half = -(-plane.shape[0] // 2)
        padded = cast(Floats, cv2.copyMakeBorder(plane, 1, 2, 0, 0, cv2.BORDER_REPLICATE))
        above, upper, lower, below = (padded[first : first + 2 * half : 2] for first in range(4))
        plane = _weighted(cv2.add(upper, lower), 0.75, cv2.add(above, below), -0.25)
    while plane.shape[1] > columns:
        half = -(-plane.shape[1] // 2)
        padded = cast(Floats, cv2.copyMakeBorder(plane, 0, 0, 2, 4, cv2.BORDER_REPLICATE))
        even, odd = np.ascontiguousarray(padded[:, ::2]), np.ascontiguousarray(padded[:, 1::2])
        left, here, right = (even[:, first : first + half] for first in range(3))
        far = _weighted(here, 0.75, cv2.add(left, right), -0.125)
        plane = cast(Floats, cv2.scaleAdd(cv2.add(odd[:, :half], odd[:, 1 : half + 1]), 0.25, far))
    return plane


def _weighted(a: Any, weight_a: float, b: Any, weight_b: float) -> Floats:
    return cast(Floats, cv2.addWeighted(a, weight_a, b, weight_b, 0))


def planes_to_rgb(planes: list[Plane], depth: int, color: ColorSpec) -> Image:
    """[h, w] luma and its chroma planes (none for gray) to RGB: uint8 for 8 bits, else uint16 over 0..65535."""
    luma, *chroma = planes
    height, width = luma.shape
    luma_offset, luma_span, chroma_offset, chroma_span = code_range(depth, color.full_range)
    bits, top = (8, 255.0) if depth == 8 else (16, 65535.0)
    scale = np.diag([top / luma_span, top / chroma_span, top / chroma_span])
    matrix = to_rgb_matrix(color.matrix) @ scale
    affine = np.column_stack([matrix, -matrix @ np.array([luma_offset, chroma_offset, chroma_offset])])
    image = np.empty((height, width, 3), np.uint8 if bits == 8 else np.uint16)
    halved = bool(chroma) and width > 1 and chroma[0].shape[1] == -(-width // 2)
    for rows in strips(height, width):
        if halved:
            cb, cr = (_upsampled(plane, rows, height, plane.shape[1]) for plane in chroma)
            image[rows] = _pairs_to_rgb(luma[rows], cb, cr, affine, bits)
            continue
        parts = [luma[rows].astype(np.float32), *(_upsampled(plane, rows, height, width) for plane in chroma)]
        if chroma:
            rgb = cv2.transform(cv2.merge(parts), affine)
        else:
            rgb = cv2.merge([(parts[0] - np.float32(luma_offset)) * np.float32(top / luma_span)] * 3)
        image[rows] = _rounded(cast(Floats, rgb), bits)
    return image


def rgb_to_planes(image: Image, sampling: tuple[int, int], depth: int, color: ColorSpec) -> list[Plane]:
    """An RGB picture as Y', Cb, Cr planes; `sampling` is (luma samples per chroma sample across, down)."""
    height, width = image.shape[:2]
    luma_offset, luma_span, chroma_offset, chroma_span = code_range(depth, color.full_range)
    top = 255.0 if image.dtype == np.uint8 else 65535.0
    scale = np.diag([luma_span / top, chroma_span / top, chroma_span / top])
    matrix = scale @ np.linalg.inv(to_rgb_matrix(color.matrix))
    affine = np.column_stack([matrix, [luma_offset, chroma_offset, chroma_offset]])
    steps = ((1, 1), sampling, sampling)
    kind = np.uint8 if depth == 8 else np.uint16
    planes = [np.empty((-(-height // down), -(-width // across)), kind) for across, down in steps]
    reach = sampling[1] if sampling[1] > 1 else 0  # rows above and below from which the chroma of a strip is made
    for rows in strips(height, width):
        top_row = max(0, rows.start - reach)
        ycc = cv2.transform(image[top_row : rows.stop + reach].astype(np.float32), affine)
        for plane, part, (_, down) in zip(planes, _split(cast(Floats, ycc)), steps, strict=True):
            lines, first = slice(rows.start // down, -(-rows.stop // down)), (rows.start - top_row) // down
            small = downsample(cast(Floats, part), plane.shape[1], -(-part.shape[0] // down))
            plane[lines] = _rounded(small[first : first + lines.stop - lines.start], depth)
    return planes


def strips(height: int, width: int) -> Iterator[slice]:
    """Rows of a picture in steps that are whole rows of chroma: some passes over a strip are faster than one over a
    picture, as its floats stay in the cache and in memory that is not asked for anew."""
    step = max(4, STRIP // width // 4 * 4)
    return (slice(start, min(start + step, height)) for start in range(0, height, step))


def _upsampled(plane: Plane, rows: slice, height: int, width: int) -> Floats:
    """What `upsample` makes of a whole chroma plane, in these rows of luma."""
    ratio = 1
    while plane.shape[0] * ratio < height:
        ratio *= 2
    top = max(0, rows.start // ratio - 2)
    part = plane[top : -(-rows.stop // ratio) + 2].astype(np.float32)
    first = rows.start - top * ratio
    return np.ascontiguousarray(upsample(part, width, part.shape[0] * ratio)[first : first + rows.stop - rows.start])


def _pairs_to_rgb(luma: Plane, cb: Floats, cr: Floats, m: npt.NDArray[np.float64], bits: int) -> Image:
    """Luma [h, w] and chroma of half as many columns to RGB: what `upsample` and the matrix give, for the even and the
    odd columns by themselves, so that no plane is widened and colors lie side by side as integers only. `m` [3, 4]
    takes codes to RGB of `bits`."""
    height, width = luma.shape
    if width % 2:
        luma = cv2.copyMakeBorder(luma, 0, 0, 0, 1, cv2.BORDER_REPLICATE)
    kind = _opencv(bits)
    columns: list[Any] = []
    for codes, b, r in zip(_split(luma.reshape(height, -1, 2)), (cb, _beside(cb)), (cr, _beside(cr)), strict=True):
        y = codes.astype(np.float32)
        hue = cv2.addWeighted(b, m[1, 1], r, m[1, 2], m[1, 3])
        columns += [
            cv2.addWeighted(y, m[0, 0], r, m[0, 2], m[0, 3], dtype=kind),
            cv2.addWeighted(y, m[1, 0], hue, 1, 0, dtype=kind),
            cv2.addWeighted(y, m[2, 0], b, m[2, 1], m[2, 3], dtype=kind),
        ]
    return cv2.merge(columns).reshape(height, -1, 3)[:, :width]


def _beside(plane: Floats) -> Floats:
    """Chroma halfway between each sample and the one to its right."""
    return _weighted(plane, 0.5, cv2.copyMakeBorder(plane, 0, 0, 0, 1, cv2.BORDER_REPLICATE)[:, 1:], 0.5)


def _split(pixels: Plane) -> list[Plane]:
    """The channels of h w c, in arrays of numpy's: those that OpenCV makes here by itself cost ten times as much."""
    planes = [np.empty(pixels.shape[:2], pixels.dtype) for _ in range(pixels.shape[2])]
    return cast(list[Plane], cv2.split(pixels, cast(Any, planes)))


def _opencv(depth: int) -> int:
    return cv2.CV_8U if depth == 8 else cv2.CV_16U


def _rounded(values: Floats, depth: int) -> Plane:
    """Rounded half to even and clipped to what `depth` bits hold, in one pass over memory."""
    codes = cv2.add(values, cast(Any, 0), dtype=_opencv(depth))
    return np.minimum(codes, (1 << depth) - 1) if 8 < depth < 16 else codes
