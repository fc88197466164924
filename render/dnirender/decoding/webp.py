"""Animated WebP as a source: FFmpeg has no decoder for it, OpenCV decodes one frame at a time.

A RIFF file of chunks: VP8X (size of the canvas), ANIM (loops), then an ANMF for each frame: its place on the canvas,
its duration, how it is drawn over the frames before it, and an image (RFC 9649, 2.7).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Self, cast

import cv2
import numpy as np

from dnirender.decoding.metadata import VideoMetadata
from dnirender.decoding.source import Source
from dnirender.errors import MediaError
from dnirender.frames import Frame, Image
from dnirender.media.colorspace import ColorSpec
from dnirender.media.containers import check_pixel_count
from dnirender.media.truncation import is_truncated

UNSET_DURATION = 100  # milliseconds of a frame without a duration, as browsers show it
DISPOSE, OVERWRITE = 1, 2  # flags: clear the frame's area afterwards; replace the pixels instead of blending
WITH_ALPHA = 0x10  # flag of a VP8X header


@dataclass(frozen=True)
class _SubFrame:
    """An ANMF chunk: where its image lies in the file, and where on the canvas."""

    offset: int
    length: int
    x: int
    y: int
    width: int
    height: int
    duration: int
    flags: int


class AnimatedWebP(Source):
    """An animated WebP; `AnimatedWebP.open` reads its frames' times, and decodes up to the first transparent pixel."""

    def __init__(self, path: Path, metadata: VideoMetadata, frames: Sequence[_SubFrame], ignore_errors: bool) -> None:
        super().__init__(path, metadata)
        self._frames, self._ignore_errors = frames, ignore_errors

    @classmethod
    def open(cls, path: Path, *, ignore_errors: bool = False) -> Self:
        """Reads the times of all frames.

        Raises MediaError if there is none, or if the file is truncated; with `ignore_errors` a truncated file gets a
        warning and has its complete frames.
        """
        with path.open("rb") as file:
            width, height = _canvas_size(file)
            check_pixel_count(path, width, height)
            frames = list(_sub_frames(file, path.stat().st_size))
        truncated = is_truncated(path)
        if not frames or any(f.x + f.width > width or f.y + f.height > height for f in frames):
            raise MediaError(
                f"{path}: {'is cut off' if truncated else 'damaged'}: no frame of its animation is complete"
            )
        if truncated and not ignore_errors:
            raise MediaError(
                f"{path}: is cut off: {len(frames)} complete frame(s) are there; ignore_errors=True renders them"
            )
        times = np.cumsum([0, *(frame.duration for frame in frames)]).tolist()
        metadata = VideoMetadata(
            width=width,
            height=height,
            pix_fmt="rgb24",
            depth=8,
            sampling=None,
            color=ColorSpec(matrix=1, full_range=False, primaries=1, transfer=1),
            sample_aspect_ratio=Fraction(1),
            rotation=0,
            time_base=Fraction(1, 1000),
            pts=tuple(times[:-1]),
            last_duration=frames[-1].duration,
            format="webp",
            codec="webp",
            warnings=(f"{path.name}: is cut off; {len(frames)} frame(s) are rendered",) if truncated else (),
        )
        source = cls(path, metadata, frames, ignore_errors)
        is_opaque = all(int(canvas[..., 3].min()) == 255 for _, canvas, _ in source._canvases(conceal=True))
        source.metadata = replace(metadata, opacity=not is_opaque, pix_fmt="rgb24" if is_opaque else "rgba")
        return source

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        wanted = iter(indices)
        target = next(wanted, None)
        for index, canvas, is_lost in self._canvases(conceal=self._ignore_errors):
            if target is None:
                return
            if index != target:
                continue
            if is_lost:
                self.concealed_frames.add(index)
            opacity = canvas[..., 3].copy() if self.metadata.opacity else None
            yield Frame(index, self.metadata.pts[index], np.ascontiguousarray(canvas[..., :3]), opacity)
            target = next(wanted, None)

    def _canvases(self, *, conceal: bool) -> Iterator[tuple[int, Image, bool]]:
        """Every frame as RGBA [h, w, 4] with straight alpha, valid until the next one, and whether it was lost."""
        canvas = np.zeros((self.metadata.height, self.metadata.width, 4), np.uint8)
        with self.path.open("rb") as file:
            for index, frame in enumerate(self._frames):
                area = canvas[frame.y : frame.y + frame.height, frame.x : frame.x + frame.width]
                image = _decode(file, frame)
                if image is not None:
                    area[:] = image if frame.flags & OVERWRITE else _blend(image, area)
                elif not conceal:
                    raise MediaError(
                        f"{self.path}: damaged: frame {index} of {len(self._frames)} cannot be decoded; "
                        "ignore_errors=True shows the frame before in place of each that is lost"
                    )
                yield index, canvas, image is None
                if frame.flags & DISPOSE:
                    area[:] = 0


def _canvas_size(file: BinaryIO) -> tuple[int, int]:
    head = file.read(30)
    return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")


def _sub_frames(file: BinaryIO, size: int) -> Iterator[_SubFrame]:
    """The frames whose chunk is complete."""
    offset = 12
    while offset + 8 <= size:
        file.seek(offset)
        head = file.read(24)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] == b"ANMF" and len(head) == 24 and length >= 16 and offset + 8 + length <= size:
            x, y, width, height, duration = (int.from_bytes(head[at : at + 3], "little") for at in range(8, 23, 3))
            place = 2 * x, 2 * y, width + 1, height + 1
            yield _SubFrame(offset + 24, length - 16, *place, duration or UNSET_DURATION, head[23])
        offset += 8 + length + length % 2


def _decode(file: BinaryIO, frame: _SubFrame) -> Image | None:
    """The image of a frame as RGBA, None if it cannot be decoded: its chunks become a file of their own."""
    file.seek(frame.offset)
    chunks = file.read(frame.length)
    if chunks[:4] == b"ALPH":
        size = (frame.width - 1).to_bytes(3, "little") + (frame.height - 1).to_bytes(3, "little")
        chunks = b"VP8X" + (10).to_bytes(4, "little") + bytes([WITH_ALPHA, 0, 0, 0]) + size + chunks
    data = b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WEBP" + chunks
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if image is None or image.shape[:2] != (frame.height, frame.width):
        return None
    order = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGBA
    return cast(Image, cv2.cvtColor(image, order))


def _blend(image: Image, below: Image) -> Image:
    """`image` over `below`, both RGBA with straight alpha."""
    alpha = image[..., 3:].astype(np.float32) / 255
    if alpha.min() == 1:
        return image
    rest = below[..., 3:].astype(np.float32) / 255 * (1 - alpha)
    total = alpha + rest
    color = (image[..., :3] * alpha + below[..., :3] * rest) / np.maximum(total, 1e-6)
    return np.concatenate([np.rint(color), np.rint(total * 255)], axis=2).astype(np.uint8)
