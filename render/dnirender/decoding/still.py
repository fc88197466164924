"""A still image as a source: one image repeated for a number of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from dnirender.decoding.metadata import VideoMetadata
from dnirender.decoding.source import Source
from dnirender.frames import Frame
from dnirender.media.color_profile import read_profile
from dnirender.media.colorspace import ColorSpec
from dnirender.media.images import read_image


class StillImage(Source):
    """An image that is repeated for `num_frames` frames at `rate` frames per second."""

    def __init__(self, path: Path, num_frames: int, rate: Fraction) -> None:
        self._image, self._opacity = read_image(path)
        depth = 8 if self._image.dtype == np.uint8 else 16
        height, width = self._image.shape[:2]
        metadata = VideoMetadata(
            width=width,
            height=height,
            pix_fmt="rgb24" if depth == 8 else "rgb48le",
            depth=depth,
            sampling=None,
            color=ColorSpec(matrix=1, full_range=False, primaries=1, transfer=1),
            sample_aspect_ratio=Fraction(1),
            rotation=0,
            time_base=1 / rate,
            pts=tuple(range(num_frames)),
            last_duration=1,
            format="image",
            codec=path.suffix.lower().lstrip("."),
            still=True,
            opacity=self._opacity is not None,
            profile=read_profile(path),
        )
        super().__init__(path, metadata)

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        for index in indices:
            yield Frame(index, self.metadata.pts[index], self._image, self._opacity)
