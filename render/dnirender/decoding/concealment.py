"""Replaces frames that cannot be decoded by the last decodable frame before them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from av.packet import Packet
from av.video.frame import VideoFrame

from dnirender.decoding.metadata import VideoMetadata


def drop_corrupt_frames(decoded: Iterable[tuple[Packet[Any], list[VideoFrame] | None]]) -> Iterator[VideoFrame | None]:
    """The frames of `decode_packets` in display order; None for a failed packet and for a corrupt frame."""
    for _, frames in decoded:
        if frames is None:
            yield None
        yield from (None if frame.is_corrupt else frame for frame in frames or ())


def conceal_lost_frames(
    decoded: Iterable[VideoFrame | None],
    metadata: VideoMetadata,
    check: Callable[[VideoFrame, int], None],
    concealed: set[int],
) -> Iterator[tuple[int, VideoFrame]]:
    """Yields every frame of the video with its index, or nothing if no frame can be decoded.

    A lost frame is replaced by the frame before it, at the start of the video by the first frame that can be decoded;
    its index is added to `concealed` before it is yielded. `check` is called with every decoded frame and its index.
    `decoded` must begin at the start of the video, not at a later keyframe: which frames a lost frame affects depends
    on where decoding began.
    """
    expected, last_decoded = 0, None
    for frame in decoded:
        index = _frame_index(frame, expected, metadata)
        if index is None or (frame is None and last_decoded is None):
            continue
        if frame is not None:
            check(frame, index)
        replacement = cast(VideoFrame, last_decoded or frame)
        for lost in range(expected, index + 1 if frame is None else index):
            concealed.add(lost)
            yield lost, replacement
        if frame is not None:
            last_decoded = frame
            yield index, frame
        expected = index + 1
    if last_decoded is not None:
        for lost in range(expected, len(metadata.pts)):
            concealed.add(lost)
            yield lost, last_decoded


def _frame_index(frame: VideoFrame | None, expected: int, metadata: VideoMetadata) -> int | None:
    """The index of a decoded or lost frame if `expected` comes next; None if unknown or not displayed."""
    stream_pts = metadata.stream_pts
    if not stream_pts:
        return expected if expected < len(metadata.pts) else None
    if frame is None or frame.pts is None:
        return None
    index = bisect_left(stream_pts, frame.pts, lo=expected)
    return index if index < len(stream_pts) and stream_pts[index] == frame.pts else None
