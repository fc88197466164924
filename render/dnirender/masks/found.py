"""Masks that are found in the clip itself: its main subject, its sky."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from dnirender.decoding.source import Source
from dnirender.files import sample_hash
from dnirender.frames import Image, to_uint8
from dnirender.masks.alpha_map import Plane
from dnirender.masks.edges import guided
from dnirender.masks.tracking import REACH, Tracker
from dnirender.preset_files import preset_folder

CLASSES = ("subject", "sky")
WEIGHTS = "weights/masks/segment.safetensors"
SIDE = 352  # pixels, of the long side of what the network sees
CONTRAST = 2.0  # what the network is sure of is white or black


class FoundMask:
    """Where any of `classes` is, found in every frame, tracked over frames, with edges that follow the picture's."""

    warning = ""

    def __init__(self, source: Source, classes: Sequence[str], reach: int = REACH) -> None:
        self._reach = 0 if source.metadata.still else reach
        self._source, self._classes = source.again(), [CLASSES.index(name) for name in classes]
        self._path = preset_folder() / WEIGHTS
        self.identity = f"{'+'.join(classes)} by {sample_hash(self._path)}"

    def masks(self, indices: Sequence[int]) -> Iterator[Plane]:
        from dnirender.networks.segmentation import Segmenter

        metadata, reach = self._source.metadata, self._reach
        segment, tracker, images = Segmenter(self._path), Tracker(reach), dict[int, Image]()
        last = 0 if metadata.still else len(metadata.pts) - 1
        numbers = [0] * len(indices) if metadata.still else indices
        windows = (range(max(number - reach, 0), min(number + reach, last) + 1) for number in dict.fromkeys(numbers))
        frames = self._source.frames(sorted(set(itertools.chain.from_iterable(windows))))
        for number, same in itertools.groupby(numbers):
            while tracker.last < min(number + reach, last):
                frame = next(frames)
                small = _small(frame.image)
                tracker.add(frame.index, small, segment(small))
                images[frame.index] = frame.image
            found = tracker.steady(number)[..., self._classes].max(2)
            mask = _sure(guided(found, images[number]))
            tracker.forget(number - reach)
            images = {at: image for at, image in images.items() if at > number}
            yield from (mask for _ in same)


def _small(image: Image) -> Image:
    """The image in 8 bits, its long side SIDE."""
    image = to_uint8(image)
    scale = SIDE / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


def _sure(mask: Plane) -> Plane:
    return np.asarray(np.clip(0.5 + CONTRAST * (mask - 0.5), 0, 1), np.float32)
