"""How many mixtures stand for all of those between two, where alpha changes over the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dnirender.frames import Alpha, Batch, Frame, Image, to_uint16
from dnirender.masks.alpha_map import mix

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine

MAX_ERROR = 1 / 255
"""Mean difference over a picture to the same with FINER times as many steps."""
FINER = 4
STEPS = (1, 2, 4, 8, 16)  # from one mixture to the other; levels are one more


def choose_levels(
    engine: Engine, images: Sequence[Image], ways: Sequence[tuple[Alpha, Alpha]], share: float = 1.0
) -> int:
    """The fewest levels whose error is at most MAX_ERROR on each image [h, w, 3] for each way between two mixtures;
    the most there are where none suffices. `share` is that of the picture in which the edge is soft."""
    return max((_levels(engine, image, way, share) for image in images for way in ways), default=2)


def level_error(engine: Engine, image: Image, way: tuple[Alpha, Alpha], steps: int) -> float:
    """The mean error, 0..1, of interpolating between `steps` + 1 renders, against FINER times as many steps."""
    return _error(_Renders(engine, image, way), steps)


def _levels(engine: Engine, image: Image, way: tuple[Alpha, Alpha], share: float) -> int:
    renders = _Renders(engine, image, way)
    return next((steps for steps in STEPS if _error(renders, steps) * share <= MAX_ERROR), STEPS[-1]) + 1


class _Renders:
    """Renders of an image along a way, each made once."""

    def __init__(self, engine: Engine, image: Image, way: tuple[Alpha, Alpha]) -> None:
        self._engine, self._image, self._way = engine, to_uint16(image), way
        self._found = dict[float, npt.NDArray[np.float32]]()

    def at(self, progress: float) -> npt.NDArray[np.float32]:
        """Float, 0..1, of 16 bits."""
        if progress not in self._found:
            batch = Batch((Frame(0, 0, self._image),), mix(*self._way, progress))
            [(_, (image,))] = self._engine([batch])
            self._found[progress] = image.astype(np.float32) / np.float32(65535)
        return self._found[progress]


def _error(renders: _Renders, steps: int) -> float:
    fine = steps * FINER
    errors = list[float]()
    for number in range(fine):
        start, part = divmod(number, FINER)
        if not part:
            continue
        share = np.float32(part / FINER)
        between = renders.at(start / steps) * (1 - share) + renders.at((start + 1) / steps) * share
        errors.append(float(np.abs(between - renders.at(number / fine)).mean()))
    return float(np.mean(errors))
