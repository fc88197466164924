"""RGB images that are stored as luma and chroma planes, for devices that convert them: half the bytes of 4:2:0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from dnirender.frames import Frame, Image
from dnirender.media.colorspace import ColorSpec, Plane, planes_to_rgb

SAMPLINGS = ((1, 1), (2, 1), (2, 2))
"""Luma samples per chroma sample, (horizontally, vertically), that are stored so."""


@dataclass(frozen=True)
class PlanarFormat:
    """Y', Cb and Cr planes of `depth` bits, 8 to 16, one after the other; `sampling` is one of SAMPLINGS."""

    height: int
    width: int
    sampling: tuple[int, int]
    depth: int
    color: ColorSpec

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8, or uint16 for more than 8 bits: of the planes, and of the RGB image they stand for."""
        return np.dtype(np.uint8 if self.depth == 8 else np.uint16)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of each plane."""
        across, down = self.sampling
        chroma = -(-self.height // down), -(-self.width // across)
        return (self.height, self.width), chroma, chroma

    @property
    def size(self) -> int:
        """Samples of all planes."""
        return sum(rows * columns for rows, columns in self.shapes)


@dataclass(frozen=True, eq=False)
class PlanarImage:
    """An `Image` whose pixels are computed where numpy asks for them. `samples` [form.size] has the planes of `form`.

    `rendered` is the format in which its render is wanted, of the render's own size; None for RGB.
    """

    samples: Plane
    form: PlanarFormat
    rendered: PlanarFormat | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.form.height, self.form.width, 3

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.form.dtype

    @property
    def planes(self) -> list[Plane]:
        """Views [rows, columns]."""
        ends = np.cumsum([rows * columns for rows, columns in self.form.shapes])
        parts = np.split(self.samples, ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.form.shapes, strict=True)]

    def render_as(self, form: PlanarFormat) -> PlanarImage:
        """The same image, whose render is wanted in `form`."""
        return replace(self, rendered=form)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Image:
        return self._rgb if dtype is None else self._rgb.astype(dtype)

    @cached_property
    def _rgb(self) -> Image:
        return planes_to_rgb(self.planes, self.form.depth, self.form.color)


def as_planar(frames: Iterable[Frame], rendered: PlanarFormat) -> Iterator[Frame]:
    """The frames; renders of those that are planar are wanted in the format `rendered`."""
    for frame in frames:
        image: object = frame.image
        yield replace(frame, image=image.render_as(rendered)) if isinstance(image, PlanarImage) else frame
