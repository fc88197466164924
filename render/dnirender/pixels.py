"""Decoded frames of any pixel format as RGB pictures, and RGB pictures as frames for an encoder.

Planes of luma and chroma go through the matrix of `colour`; swscale only rearranges (packed, semi-planar and big-endian
formats have a planar twin of the same numbers) and unpacks RGB and palettes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from dnirender.colour import Colour, Plane, planes_to_rgb, rgb_to_planes
from dnirender.errors import MediaError
from dnirender.frames import Image

SAMPLING_NAMES = {(2, 2): "420", (2, 1): "422", (1, 1): "444", (4, 1): "411", (1, 2): "440", (4, 4): "410"}


def depth_of(form: VideoFormat) -> int:
    """Bits of the deepest component."""
    return max(component.bits for component in form.components)


def is_yuv(form: VideoFormat) -> bool:
    """Whether there is chroma beside luma: neither RGB, palette nor gray."""
    return not form.is_rgb and not form.has_palette and len(form.components) >= 3


def sampling_of(form: VideoFormat) -> tuple[int, int] | None:
    """(luma samples per chroma sample across, down); None where there is no chroma."""
    if not is_yuv(form):
        return None
    return round(1024 / form.chroma_width(1024)), round(1024 / form.chroma_height(1024))


def to_rgb(frame: VideoFrame, colour: Colour, path: Path) -> Image:
    """A decoded frame as an RGB picture: 8 bits where the source has 8 or fewer, else 16; alpha is left out.

    Raises MediaError, which names `path`, for pixels that are neither RGB, palette, gray nor Y'CbCr.
    """
    form = frame.format
    depth = depth_of(form)
    if form.is_rgb or form.has_palette:
        return _from_rgb(frame, depth)
    if depth < 8 or depth > 16 or form.name.startswith("xyz"):
        raise MediaError(f"{path}: pixels of format {form.name} are not supported; convert the file to yuv420p first")
    if not _one_plane_each(form, len(frame.planes)):
        frame = frame.reformat(format=_planar_twin(form))
    count = 3 if is_yuv(form) else 1
    return planes_to_rgb(_planes(frame, depth)[:count], depth, colour)


def to_frame(image: Image, pix_fmt: str, colour: Colour) -> VideoFrame:
    """An RGB picture as a frame of format `pix_fmt`, tagged with its colour; an alpha plane becomes opaque."""
    form = av.VideoFormat(pix_fmt)
    if form.is_rgb:
        return _to_rgb_frame(image, form)
    twin = av.VideoFormat(_planar_twin(form), image.shape[1], image.shape[0])
    frame = VideoFrame(image.shape[1], image.shape[0], twin.name)
    planes = rgb_to_planes(image, sampling_of(twin) or (1, 1), depth_of(twin), colour)
    _fill(frame, planes[: len(frame.planes)])
    if twin.name != pix_fmt:
        frame = frame.reformat(format=pix_fmt)
    frame.colorspace, frame.color_range = colour.matrix, 2 if colour.full_range else 1
    return frame


def _from_rgb(frame: VideoFrame, depth: int) -> Image:
    if not _deep_planar_rgb(frame.format):
        return frame.to_ndarray(format="rgb24" if depth <= 8 else "rgb48le")
    # swscale shifts 10 bits up to 16, so that white would be 65472.
    green, blue, red = _planes(frame, depth)[:3]
    top = (1 << depth) - 1
    image = np.stack([red, green, blue], axis=2).astype(np.uint32)
    return ((image * 65535 + top // 2) // top).astype(np.uint16)


def _to_rgb_frame(image: Image, form: VideoFormat) -> VideoFrame:
    if image.dtype != np.uint16 or not _deep_planar_rgb(form):
        frame = VideoFrame.from_ndarray(image, format="rgb24" if image.dtype == np.uint8 else "rgb48le")
        return frame if frame.format.name == form.name else frame.reformat(format=form.name)
    top = (1 << depth_of(form)) - 1
    red, green, blue = np.moveaxis(((image.astype(np.uint32) * top + 32767) // 65535).astype(np.uint16), 2, 0)
    frame = VideoFrame(image.shape[1], image.shape[0], form.name)
    opaque = np.full(red.shape, top, np.uint16)
    _fill(frame, [green, blue, red, opaque][: len(frame.planes)])
    return frame


def _deep_planar_rgb(form: VideoFormat) -> bool:
    return form.is_rgb and form.is_planar and not form.is_big_endian and 8 < depth_of(form) <= 16


def _one_plane_each(form: VideoFormat, planes: int) -> bool:
    return planes == len(form.components) and not form.is_big_endian


def _planar_twin(form: VideoFormat) -> str:
    """The planar little-endian format with the same sampling and depth: a rearrangement, not a conversion."""
    depth, sampling = depth_of(form), sampling_of(form)
    suffix = "" if depth == 8 else f"{depth}le"
    return f"gray{suffix}" if sampling is None else f"yuv{SAMPLING_NAMES[sampling]}p{suffix}"


def _rows(plane: Any, kind: np.dtype[Any]) -> Plane:
    """The memory of a plane as rows, line padding included."""
    return np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)


def _planes(frame: VideoFrame, depth: int) -> list[Plane]:
    """All planes without line padding; copies, since the decoder may reuse its memory."""
    kind = np.dtype(np.uint8 if depth == 8 else "<u2")
    return [_rows(plane, kind)[: plane.height, : plane.width].copy() for plane in frame.planes]


def _fill(frame: VideoFrame, planes: list[Plane]) -> None:
    for plane, values in zip(frame.planes, planes, strict=True):
        _rows(cast(Any, plane), values.dtype)[: values.shape[0], : values.shape[1]] = values
