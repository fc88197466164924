"""Finds the cuts between the scenes of a clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from dnirender.frames import Image, to_uint8

SIZE = (64, 36)  # width and height at which frames are compared
LEAST = 0.06  # mean difference of two frames, of 0..1, below which nothing is a cut
RATIO = 3.5  # how many times the differences around it that of a cut is
AROUND = 4  # frames on each side
SHORTEST = 4  # frames of a scene: a flash is no cut


def find_cuts(images: Iterable[Image]) -> list[int]:
    """The numbers of the first frames of all scenes but the first, of images [h, w, 3 or 4] in their order.

    A cut is where most of a frame differs from the one before it, and more than `RATIO` times as much as frames differ
    from their neighbors around it, so that things that move, fast pans, fades and flashes are none.
    """
    small = list(_small(images))
    if len(small) < 2:
        return []
    steps = np.array([np.abs(a - b).mean() for a, b in zip(small[1:], small[:-1], strict=True)])
    cuts = [number for number in range(1, len(small)) if _stands_out(steps, number - 1) and _changed(small, number)]
    return _without_flashes(cuts, small)


def _small(images: Iterable[Image]) -> Iterator[npt.NDArray[np.float32]]:
    for image in images:
        small = cv2.resize(to_uint8(image[..., :3]), SIZE, interpolation=cv2.INTER_AREA)
        yield np.divide(small, 255, dtype=np.float32)


def _stands_out(steps: npt.NDArray[np.floating], place: int) -> bool:
    around = np.concatenate([steps[max(0, place - AROUND) : place], steps[place + 1 : place + 1 + AROUND]])
    usual = float(np.median(around)) if len(around) > 1 else np.inf
    is_peak = steps[place] == steps[max(0, place - 1) : place + 2].max()
    return bool(is_peak and steps[place] >= LEAST and steps[place] > RATIO * usual)


def _changed(small: Sequence[npt.NDArray[np.float32]], number: int) -> bool:
    """Whether at least half of the pixels of a frame differ from those of the frame before."""
    return float(np.median(np.abs(small[number] - small[number - 1]).mean(2))) > LEAST / 2


def _without_flashes(cuts: Sequence[int], small: Sequence[npt.NDArray[np.float32]]) -> list[int]:
    """The cuts without pairs between which a few frames are shown before the same picture goes on."""
    kept: list[int] = []
    for cut in cuts:
        if kept and cut - kept[-1] < SHORTEST:
            before = small[kept[-1] - 1]
            if np.abs(small[cut] - before).mean() < np.abs(small[kept[-1]] - before).mean() / 2:
                kept.pop()
            continue
        kept.append(cut)
    return kept
