"""Masks from files: pictures, clips and image sequences, in step with the frames of a clip."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np

from dnirender.decoding.image_header import check_image
from dnirender.decoding.metadata import VideoMetadata
from dnirender.decoding.open import open_source
from dnirender.decoding.source import Source
from dnirender.errors import MediaError, UsageError
from dnirender.files import sample_hash, short_sha256
from dnirender.frames import Frame, Image, Opacity
from dnirender.masks.alpha_map import Plane
from dnirender.masks.edges import gray, unit
from dnirender.media.images import read_image

MAX_SKEW = 0.01  # by which the aspect ratios of a mask and its clip may differ
NUMBER = re.compile(r"[^%]*%(0\d+)?d[^%]*")


class MaskSource(Protocol):
    """Masks of the frames of a clip. `identity` tells its content from that of any other; `warning` is empty or says
    what a user should know."""

    identity: str
    warning: str

    def masks(self, indices: Sequence[int]) -> Iterator[Plane]:
        """The masks, in 0..1, of the clip's frames at `indices`, which do not decrease. MediaError: damaged."""
        ...


class FileMask:
    """A picture, which masks every frame, or a clip.

    A clip with as many frames as the masked one masks frame by frame; any other is shown beside it from its start, each
    frame until the next one's time. What is longer is cut off, the last frame of what is shorter stays, with a warning.
    """

    def __init__(self, option: str, path: Path, channel: str, clip: VideoMetadata) -> None:
        self._source: Source = open_source(path)
        metadata = self._source.metadata
        _check_shape(option, path.name, metadata.width, metadata.height, clip)
        self._use_alpha = _use_alpha(option, path, channel, metadata.opacity)
        self.identity = f"{sample_hash(path)} {self._use_alpha}"
        self.warning = ""
        count, times = len(metadata.pts), _times(metadata)
        if metadata.still:
            self._numbers = [0] * len(clip.pts)
        elif count == len(clip.pts):
            self._numbers = list(range(count))
        else:
            self._numbers = [bisect_right(times, time) - 1 for time in _times(clip)]
            missing = clip.duration - metadata.duration
            if missing > 2 * max(1 / clip.frame_rate, 1 / metadata.frame_rate):
                self.warning = (
                    f"{path.name}: this mask lasts {float(metadata.duration):.2f} s and the clip "
                    f"{float(clip.duration):.2f} s; its last frame stays"
                )

    def masks(self, indices: Sequence[int]) -> Iterator[Plane]:
        numbers = [self._numbers[index] for index in indices]
        frames = self._source.frames(sorted(set(numbers)))
        number, mask = -1, np.zeros((0, 0), np.float32)
        for wanted in numbers:
            if wanted != number:
                number, mask = wanted, self._to_mask(next(frames))
            yield mask

    def _to_mask(self, frame: Frame) -> Plane:
        if not self._use_alpha:
            return gray(frame.image)
        return unit(frame.opacity) if frame.opacity is not None else np.ones(frame.image.shape[:2], np.float32)


class SequenceMask:
    """Numbered pictures, one for each frame of the clip, from number 0 or 1; the last one stays, with a warning."""

    def __init__(self, option: str, pattern: Path, channel: str, clip: VideoMetadata) -> None:
        if not NUMBER.fullmatch(pattern.name):
            raise UsageError(f"{option}={str(pattern)!r}: expected one number in the pattern, as in mask_%04d.png")
        self._option, self._channel, self._clip = option, channel, clip
        first = 0 if (pattern.parent / (pattern.name % 0)).is_file() else 1
        self._files = list[Path]()
        while len(self._files) < len(clip.pts):
            path = pattern.parent / (pattern.name % (first + len(self._files)))
            if not path.is_file():
                break
            self._files.append(path)
        if not self._files:
            raise MediaError(f"{pattern}: no such file, neither with number 0 nor with 1")
        states = [(path.stat().st_size, path.stat().st_mtime_ns) for path in self._files]
        self.identity = f"{short_sha256(repr(states).encode())} {channel}"
        self.warning = ""
        if len(self._files) < len(clip.pts):
            self.warning = (
                f"{pattern.name}: this mask has {len(self._files)} pictures and the clip {len(clip.pts)} frames; "
                "the last one stays"
            )
        self._read(self._files[0])

    def masks(self, indices: Sequence[int]) -> Iterator[Plane]:
        path, mask = None, np.zeros((0, 0), np.float32)
        for index in indices:
            wanted = self._files[min(index, len(self._files) - 1)]
            if wanted != path:
                path, mask = wanted, self._read(wanted)
            yield mask

    def _read(self, path: Path) -> Plane:
        image, opacity = read_picture(path)
        _check_shape(self._option, path.name, image.shape[1], image.shape[0], self._clip)
        uses_alpha = _use_alpha(self._option, path, self._channel, opacity is not None)
        return unit(opacity) if uses_alpha and opacity is not None else gray(image)


class ArrayMask:
    """An array in memory: [h, w] for every frame, or [n, h, w] with as many as the clip has; float 0..1, bool, uint8.

    UsageError: another form. `clip` is None where the number of frames and their size are not known.
    """

    warning = ""

    def __init__(self, option: str, array: object, clip: VideoMetadata | None) -> None:
        if not isinstance(array, np.ndarray) or array.ndim not in (2, 3) or 0 in array.shape:
            got = f"shape {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
            raise UsageError(f"{option}: expected an array [h, w] or [n, h, w], got {got}")
        if array.dtype == np.uint8:
            array = unit(array)
        elif array.dtype.kind not in "bf":
            raise UsageError(f"{option}: expected float in 0..1, bool or uint8, got {array.dtype}")
        self._option, self._array = option, np.asarray(array, np.float32)
        low, high = float(self._array.min()), float(self._array.max())
        if not (low >= 0 and high <= 1):  # NaN too
            raise UsageError(f"{option}: expected values in 0..1, got {low:g} to {high:g}")
        if clip is not None:
            _check_shape(option, "the array", self._array.shape[-1], self._array.shape[-2], clip)
            if array.ndim == 3 and len(array) != len(clip.pts):
                raise UsageError(f"{option}: expected {len(clip.pts)} masks, one for each frame, got {len(array)}")
        self.identity = short_sha256(self._array.tobytes()) + str(self._array.shape)

    def masks(self, indices: Sequence[int]) -> Iterator[Plane]:
        return (self.mask(index) for index in indices)

    def mask(self, index: int) -> Plane:
        """The mask of one frame. UsageError: there are fewer."""
        if self._array.ndim == 2:
            return self._array
        if index >= len(self._array):
            raise UsageError(f"{self._option}: expected a mask for frame {index}, got {len(self._array)} masks")
        return self._array[index]


def read_picture(path: Path) -> tuple[Image, Opacity | None]:
    """RGB and opacity of a picture. MediaError: it is missing, cut off, or none."""
    try:
        truncation = check_image(path)
    except OSError as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    if truncation:
        raise MediaError(f"{path}: is cut off: {truncation}")
    return read_image(path)


def open_mask(option: str, file: str, channel: str, clip: VideoMetadata) -> MaskSource:
    """The mask in a file, or in files named by a pattern. MediaError: none there. UsageError: another shape."""
    path = Path(file)
    if "%" in path.name and not path.exists():
        return SequenceMask(option, path, channel, clip)
    return FileMask(option, path, channel, clip)


def _times(metadata: VideoMetadata) -> list[Fraction]:
    """Seconds from the first frame, for each frame."""
    seconds = metadata.seconds
    return [time - seconds[0] for time in seconds]


def _use_alpha(option: str, path: Path, channel: str, has_alpha: bool) -> bool:
    if channel == "alpha" and not has_alpha:
        raise UsageError(
            f"{option}={str(path)!r}: expected an alpha channel, got none; mask_channel='gray' takes its luma"
        )
    return has_alpha and channel != "gray"


def _check_shape(option: str, name: str, width: int, height: int, clip: VideoMetadata) -> None:
    if abs(width * clip.height / (height * clip.width) - 1) > MAX_SKEW:
        raise UsageError(
            f"{option}: {name} is {width}x{height} and the clip {clip.width}x{clip.height}; expected one size, or one "
            "aspect ratio"
        )
