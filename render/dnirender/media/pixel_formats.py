"""Decoded frames of any pixel format as RGB pictures, and RGB pictures as frames for an encoder.

Planes of luma and chroma go through the matrix of `color`; swscale only rearranges (packed, semi-planar and big-endian
formats have a planar twin of the same numbers) and unpacks RGB and palettes.
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

SAMPLING_NAMES = {(2, 2): "420", (2, 1): "422", (1, 1): "444", (4, 1): "411", (1, 2): "440", (4, 4): "410"}


def depth_of(form: VideoFormat) -> int:
    """Bits of the deepest component."""
    return max(component.bits for component in form.components)


def depth_of_name(pix_fmt: str | None, default: int) -> int:
    """Bits of the deepest component of the format of this name, `default` where there is none."""
    try:
        return depth_of(VideoFormat(pix_fmt)) if pix_fmt else default
    except ValueError:
        return default


def is_yuv(form: VideoFormat) -> bool:
    """Whether there is chroma beside luma: neither RGB, palette nor gray."""
    return not form.is_rgb and not form.has_palette and len(form.components) >= 3


def sampling_of(form: VideoFormat) -> tuple[int, int] | None:
    """(luma samples per chroma sample across, down); None where there is no chroma."""
    if not is_yuv(form):
        return None
    return round(1024 / form.chroma_width(1024)), round(1024 / form.chroma_height(1024))


def to_rgb(frame: VideoFrame, color: ColorSpec, path: Path) -> Image:
    """A decoded frame as an RGB picture: 8 bits where the source has 8 or fewer, else 16; opacity is left out.

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
    return planes_to_rgb(_planes(frame, depth)[:count], depth, color)


def has_opacity(form: VideoFormat) -> bool:
    """Whether pixels may say how opaque they are: by a component of their own or by their palette."""
    return form.has_palette or any(component.is_alpha for component in form.components)


def opacity_of(frame: VideoFrame) -> Opacity:
    """How opaque each pixel of a frame is, full range, with as many bits as `to_rgb` gives; the format must tell."""
    form, depth = frame.format, depth_of(frame.format)
    if form.is_planar and len(frame.planes) == 4 and not form.is_big_endian:
        codes = _rows(cast(Any, frame.planes[3]), np.dtype(np.uint8 if depth == 8 else "<u2"))
        codes = codes[: frame.height, : frame.width]
        return codes.copy() if depth == 8 else _widened(codes, depth)
    # Big-endian formats that are planar have a twin; swscale leaves the opacity of all others as it is.
    if form.is_planar and form.is_big_endian:
        return opacity_of(frame.reformat(format=form.name.replace("be", "le")))
    kind = "rgba" if depth <= 8 else "rgba64le"
    return np.ascontiguousarray(frame.to_ndarray(format=kind)[..., 3])


def carries_opacity(pix_fmt: str) -> bool:
    """Whether `to_frame` puts the fourth channel of a picture into frames of this format."""
    form = av.VideoFormat(pix_fmt)
    return has_opacity(form) and len(form.components) == 4


def to_frame(image: Image, pix_fmt: str, color: ColorSpec) -> VideoFrame:
    """An RGB picture as a frame of format `pix_fmt`, tagged with its color.

    A fourth channel becomes its opacity where the format has a place for it and is dropped where not; without one all
    is opaque.
    """
    form = av.VideoFormat(pix_fmt)
    carried = image.shape[2] == 4 and carries_opacity(pix_fmt)
    image = image if carried else np.ascontiguousarray(image[..., :3])
    if form.is_rgb:
        return _to_rgb_frame(image, form)
    twin = av.VideoFormat(_planar_twin(form, carried), image.shape[1], image.shape[0])
    frame = VideoFrame(image.shape[1], image.shape[0], twin.name)
    depth = depth_of(twin)
    planes = rgb_to_planes(np.ascontiguousarray(image[..., :3]), sampling_of(twin) or (1, 1), depth, color)
    _fill(frame, [*planes[: len(frame.planes)], *([_narrowed(image[..., 3], depth)] if carried else [])])
    if twin.name != pix_fmt:
        frame = frame.reformat(format=pix_fmt)
    frame.colorspace, frame.color_range = color.matrix, 2 if color.full_range else 1
    return frame


def _from_rgb(frame: VideoFrame, depth: int) -> Image:
    if not _deep_planar_rgb(frame.format):
        return frame.to_ndarray(format="rgb24" if depth <= 8 else "rgb48le")
    # swscale shifts 10 bits up to 16, so that white would be 65472.
    green, blue, red = _planes(frame, depth)[:3]
    return _widened(np.stack([red, green, blue], axis=2), depth)


def _to_rgb_frame(image: Image, form: VideoFormat) -> VideoFrame:
    if image.dtype != np.uint16 or not _deep_planar_rgb(form):
        packed = {3: ("rgb24", "rgb48le"), 4: ("rgba", "rgba64le")}[image.shape[2]]
        frame = VideoFrame.from_ndarray(image, format=packed[0] if image.dtype == np.uint8 else packed[1])
        return frame if frame.format.name == form.name else frame.reformat(format=form.name)
    depth = depth_of(form)
    red, green, blue, *opacity = np.moveaxis(_narrowed(image, depth), 2, 0)
    frame = VideoFrame(image.shape[1], image.shape[0], form.name)
    opacity = opacity or [np.full(red.shape, (1 << depth) - 1, np.uint16)]
    _fill(frame, [green, blue, red, *opacity][: len(frame.planes)])
    return frame


def _widened(codes: Plane, depth: int) -> Plane:
    """Full-range codes of 9 to 16 bits as 16 bits, rounded to nearest: the top stays the top."""
    top = (1 << depth) - 1
    return ((codes.astype(np.uint32) * 65535 + top // 2) // top).astype(np.uint16)


def _narrowed(codes: Plane, depth: int) -> Plane:
    """Full-range codes of 8 or 16 bits as `depth` bits, rounded to nearest: what `_widened` made comes back."""
    if depth == 8:
        return to_uint8(codes)
    top = (1 << depth) - 1
    return ((to_uint16(codes).astype(np.uint32) * top + 32767) // 65535).astype(np.uint16)


def _deep_planar_rgb(form: VideoFormat) -> bool:
    return form.is_rgb and form.is_planar and not form.is_big_endian and 8 < depth_of(form) <= 16


def _one_plane_each(form: VideoFormat, planes: int) -> bool:
    return planes == len(form.components) and not form.is_big_endian


def _planar_twin(form: VideoFormat, opacity: bool = False) -> str:
    """The planar little-endian format with the same sampling and depth: a rearrangement, not a conversion."""
    depth, sampling = depth_of(form), sampling_of(form)
    suffix = "" if depth == 8 else f"{depth}le"
    if sampling is None:
        return f"gray{suffix}"
    return f"yuv{'a' if opacity else ''}{SAMPLING_NAMES[sampling]}p{suffix}"


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
