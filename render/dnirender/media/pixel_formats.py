"""Converts decoded frames of any pixel format to RGB images, and RGB images to frames for an encoder.

Luma and chroma planes are converted by `colorspace`. swscale only rearranges samples (packed, semi-planar and
big-endian formats have a planar little-endian equivalent with the same values) and unpacks RGB and palettes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from dnirender.errors import MediaError
from dnirender.frames import Image, Opacity, to_uint8, to_uint16
from dnirender.media.colorspace import ColorSpec, Plane, planes_to_rgb, rgb_to_planes
from dnirender.media.planar import SAMPLINGS, PlanarFormat, PlanarImage

SAMPLING_NAMES = {(2, 2): "420", (2, 1): "422", (1, 1): "444", (4, 1): "411", (1, 2): "440", (4, 4): "410"}


def depth_of(form: VideoFormat) -> int:
    """The largest bit depth of the components."""
    return max(component.bits for component in form.components)


def depth_of_name(pix_fmt: str | None, default: int) -> int:
    """The largest bit depth of the named pixel format, `default` if the name is empty or unknown."""
    try:
        return depth_of(VideoFormat(pix_fmt)) if pix_fmt else default
    except ValueError:
        return default


def is_yuv(form: VideoFormat) -> bool:
    """Whether the format has luma and chroma: neither RGB, palette nor gray."""
    return not form.is_rgb and not form.has_palette and len(form.components) >= 3


def sampling_of(form: VideoFormat) -> tuple[int, int] | None:
    """Luma samples per chroma sample, (horizontally, vertically); None without chroma."""
    if not is_yuv(form):
        return None
    return round(1024 / form.chroma_width(1024)), round(1024 / form.chroma_height(1024))


def to_rgb(frame: VideoFrame, color: ColorSpec, path: Path) -> Image:
    """Converts a decoded frame to an RGB image without alpha: uint8 for up to 8 bits, else uint16.

    Raises MediaError, which names `path`, for pixel formats that are neither RGB, palette, gray nor Y'CbCr.
    """
    form = frame.format
    depth = depth_of(form)
    if form.is_rgb or form.has_palette:
        return _from_rgb(frame, depth)
    if depth < 8 or depth > 16 or form.name.startswith("xyz"):
        raise MediaError(f"{path}: pixels of format {form.name} are not supported; convert the file to yuv420p first")
    if not _is_plain_planar(form, len(frame.planes)):
        frame = frame.reformat(format=_planar_equivalent(form))
    count = 3 if is_yuv(form) else 1
    return planes_to_rgb(_planes(frame, depth)[:count], depth, color)


def to_planar(frame: VideoFrame, color: ColorSpec) -> PlanarImage | None:
    """The planes of a decoded frame as they are; None for frames without three of them, one for each component."""
    form = planar_format(frame.format.name, frame.width, frame.height, color)
    if form is None:
        return None
    image = PlanarImage(np.empty(form.size, form.dtype), form)
    for target, plane in zip(image.planes, frame.planes, strict=True):
        target[:] = _rows(cast(Any, plane), form.dtype)[: target.shape[0], : target.shape[1]]
    return image


def planar_format(pix_fmt: str, width: int, height: int, color: ColorSpec) -> PlanarFormat | None:
    """The planes of frames of format `pix_fmt`; None if it has others."""
    form = VideoFormat(pix_fmt)
    sampling, depth = sampling_of(form), depth_of(form)
    if sampling not in SAMPLINGS or not 8 <= depth <= 16:
        return None
    is_plain = _planar_equivalent(form) == pix_fmt and len(form.components) == 3
    return PlanarFormat(height, width, sampling, depth, color) if is_plain else None


def has_opacity(form: VideoFormat) -> bool:
    """Whether the format can store alpha, in a component or in its palette."""
    return form.has_palette or any(component.is_alpha for component in form.components)


def opacity_of(frame: VideoFrame) -> Opacity:
    """The alpha of a frame [h, w], full range, in the dtype of `to_rgb`. The format must store alpha."""
    form, depth = frame.format, depth_of(frame.format)
    if form.is_planar and len(frame.planes) == 4 and not form.is_big_endian:
        codes = _rows(cast(Any, frame.planes[3]), np.dtype(np.uint8 if depth == 8 else "<u2"))
        codes = codes[: frame.height, : frame.width]
        return codes.copy() if depth == 8 else _expand_depth(codes, depth)
    # Planar big-endian formats have a little-endian equivalent; for all others swscale leaves alpha unchanged.
    if form.is_planar and form.is_big_endian:
        return opacity_of(frame.reformat(format=form.name.replace("be", "le")))
    packed = "rgba" if depth <= 8 else "rgba64le"
    return np.ascontiguousarray(frame.to_ndarray(format=packed)[..., 3])


def carries_opacity(pix_fmt: str) -> bool:
    """Whether `to_frame` stores the fourth channel of an image in frames of this format."""
    form = av.VideoFormat(pix_fmt)
    return has_opacity(form) and len(form.components) == 4


def to_frame(image: Image | PlanarImage, pix_fmt: str, color: ColorSpec) -> VideoFrame:
    """Converts an RGB image to a frame of format `pix_fmt`, tagged with its matrix and range.

    A fourth channel is stored as alpha if the format has it, else dropped. Without a fourth channel, alpha is opaque.
    An image that has the planes of `planar_format(pix_fmt, ...)` is not converted.
    """
    if isinstance(image, PlanarImage):
        return _from_planar(image, pix_fmt)
    form = av.VideoFormat(pix_fmt)
    with_alpha = image.shape[2] == 4 and carries_opacity(pix_fmt)
    image = image if with_alpha else np.ascontiguousarray(image[..., :3])
    if form.is_rgb:
        return _to_rgb_frame(image, form)
    planar = av.VideoFormat(_planar_equivalent(form, with_alpha), image.shape[1], image.shape[0])
    frame = VideoFrame(image.shape[1], image.shape[0], planar.name)
    depth = depth_of(planar)
    planes = rgb_to_planes(np.ascontiguousarray(image[..., :3]), sampling_of(planar) or (1, 1), depth, color)
    _fill(frame, [*planes[: len(frame.planes)], *([_reduce_depth(image[..., 3], depth)] if with_alpha else [])])
    if planar.name != pix_fmt:
        frame = frame.reformat(format=pix_fmt)
    return _tagged(frame, color)


def _from_planar(image: PlanarImage, pix_fmt: str) -> VideoFrame:
    frame = VideoFrame(image.form.width, image.form.height, pix_fmt)
    _fill(frame, image.planes)
    return _tagged(frame, image.form.color)


def _tagged(frame: VideoFrame, color: ColorSpec) -> VideoFrame:
    frame.colorspace, frame.color_range = color.matrix, 2 if color.full_range else 1
    return frame


def _from_rgb(frame: VideoFrame, depth: int) -> Image:
    if not _deep_planar_rgb(frame.format):
        return frame.to_ndarray(format="rgb24" if depth <= 8 else "rgb48le")
    # swscale scales 10 bits to 16 by a shift, so white would become 65472.
    green, blue, red = _planes(frame, depth)[:3]
    return _expand_depth(np.stack([red, green, blue], axis=2), depth)


def _to_rgb_frame(image: Image, form: VideoFormat) -> VideoFrame:
    if image.dtype != np.uint16 or not _deep_planar_rgb(form):
        packed = {3: ("rgb24", "rgb48le"), 4: ("rgba", "rgba64le")}[image.shape[2]]
        frame = VideoFrame.from_ndarray(image, format=packed[0] if image.dtype == np.uint8 else packed[1])
        return frame if frame.format.name == form.name else frame.reformat(format=form.name)
    depth = depth_of(form)
    red, green, blue, *opacity = np.moveaxis(_reduce_depth(image, depth), 2, 0)
    frame = VideoFrame(image.shape[1], image.shape[0], form.name)
    opacity = opacity or [np.full(red.shape, (1 << depth) - 1, np.uint16)]
    _fill(frame, [green, blue, red, *opacity][: len(frame.planes)])
    return frame


def _expand_depth(codes: Plane, depth: int) -> Plane:
    """Scales full-range values of 9 to 16 bits to 16 bits, rounded to nearest; the maximum becomes 65535."""
    top = (1 << depth) - 1
    return ((codes.astype(np.uint32) * 65535 + top // 2) // top).astype(np.uint16)


def _reduce_depth(codes: Plane, depth: int) -> Plane:
    """Scales full-range values of 8 or 16 bits to `depth` bits, rounded to nearest; inverse of `_expand_depth`."""
    if depth == 8:
        return to_uint8(codes)
    top = (1 << depth) - 1
    return ((to_uint16(codes).astype(np.uint32) * top + 32767) // 65535).astype(np.uint16)


def _deep_planar_rgb(form: VideoFormat) -> bool:
    return form.is_rgb and form.is_planar and not form.is_big_endian and 8 < depth_of(form) <= 16


def _is_plain_planar(form: VideoFormat, planes: int) -> bool:
    """Whether every component has a plane of its own, little-endian."""
    return planes == len(form.components) and not form.is_big_endian


def _planar_equivalent(form: VideoFormat, opacity: bool = False) -> str:
    """The planar little-endian format with the same subsampling and depth, to which conversion is lossless."""
    depth, sampling = depth_of(form), sampling_of(form)
    suffix = "" if depth == 8 else f"{depth}le"
    if sampling is None:
        return f"gray{suffix}"
    return f"yuv{'a' if opacity else ''}{SAMPLING_NAMES[sampling]}p{suffix}"


def _rows(plane: Any, dtype: np.dtype[Any]) -> Plane:
    """A view of a plane's memory [rows, samples], including line padding."""
    return np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)


def _planes(frame: VideoFrame, depth: int) -> list[Plane]:
    """Copies all planes without line padding; the decoder may reuse its memory."""
    dtype = np.dtype(np.uint8 if depth == 8 else "<u2")
    return [_rows(plane, dtype)[: plane.height, : plane.width].copy() for plane in frame.planes]


def _fill(frame: VideoFrame, planes: list[Plane]) -> None:
    for plane, values in zip(frame.planes, planes, strict=True):
        _rows(cast(Any, plane), values.dtype)[: values.shape[0], : values.shape[1]] = values
