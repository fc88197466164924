"""Gives frames the timestamps of their place where packets carry each other's.

Decoders return frames in the order in which they are shown. Some files store timestamps that do not follow it: packed
B-frames of DivX and Xvid, timestamps in decoding order. Such frames are complete, so the n-th one shown gets the n-th
timestamp.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from av.video.frame import VideoFrame

MAX_REORDER = 16  # frames; the most that H.264 and HEVC reorder


def restamp_in_order(
    frames: Iterable[VideoFrame | None], stamps: Sequence[int], *, from_start: bool = True
) -> Iterator[VideoFrame | None]:
    """Yields all frames in their order, with increasing pts where their pts are `stamps` in another order.

    `stamps` are the sorted pts of the whole video. Where pts differ from them, frames are held back until the pts held
    are the next of `stamps`, in any order. Where they are not after MAX_REORDER frames, or a frame is None (lost), the
    frames are yielded unchanged: something is missing. Without `from_start`, frames begin at any place in `stamps`.
    Without `stamps` they are identified by their order anyway.
    """
    if not stamps:
        yield from frames
        return
    place = 0 if from_start else None  # in `stamps`, of the first frame held
    held: list[VideoFrame] = []
    for frame in frames:
        if frame is None or frame.pts is None:
            yield from held
            yield frame
            held, place = [], None
            continue
        if place is None:
            place = bisect_left(stamps, frame.pts)
        held.append(frame)
        due = stamps[place : place + len(held)]
        if sorted(held_frame.pts or 0 for held_frame in held) == list(due):
            for held_frame, pts in zip(held, due, strict=True):
                held_frame.pts = pts
            yield from held
            held, place = [], place + len(held)
        elif len(held) > MAX_REORDER:
            yield from held
            held, place = [], None
    yield from held
