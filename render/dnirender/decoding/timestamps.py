"""Computes the presentation times of frames from the timestamps of packets, including missing and invalid ones.

Gaps and negative timestamps are preserved; the output is shifted to start at zero, with all its streams. Other cases:

missing     If packets have no pts (elementary streams, B-frames in AVI), frames are identified by their order. Their
            times are the dts if every packet has one, else those of the constant frame rate in the header.
duplicate   The later frame is shown one tick later, before the next one; if there is no tick between them, the time
            base is subdivided. More than MAX_EQUAL frames with the same timestamp are refused.
backward    Timestamps that go backwards in decoding order, as in concatenated files, are refused: frames of both files
            have the same times. FFmpeg has already unwrapped the 33-bit timestamps of MPEG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby, pairwise
from typing import NamedTuple

from dnirender.errors import MediaError

MAX_EQUAL = 8
MAX_SPAN = 100 * 3600  # seconds from the first frame to the last; a header can declare 2^62
SPLIT_HINT = "split the file there and render each piece"


class PacketTimestamps(NamedTuple):
    """The timestamps of one packet, in the stream's time base."""

    pts: int | None
    dts: int | None
    duration: int
    is_keyframe: bool


@dataclass(frozen=True)
class FrameTimestamps:
    """Presentation times of frames in display order: `pts` is strictly increasing, in units of `time_base`.

    `stream_pts` are the pts that the decoder returns, in the stream's own time base; empty if frames are identified by
    their order. `warnings` are for the user, without the file's name.
    """

    pts: tuple[int, ...]
    time_base: Fraction
    last_duration: int
    stream_pts: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


def resolve_timestamps(
    packets: Sequence[PacketTimestamps], base: Fraction, rate: Fraction, *, ordered: bool = False
) -> FrameTimestamps:
    """The presentation times of the frames of `packets`, which are in decoding order.

    `base` is the stream's time base, `rate` its frames per second. `ordered`: ignore pts, which the container stores in
    decoding order. Raises MediaError without the file's name.
    """
    if ordered or any(packet.pts is None for packet in packets):
        result = _times_by_order(packets, base, rate)
    else:
        _check_forward(packets, base)
        result = _separate_duplicates(sorted((packet.pts or 0, packet.duration) for packet in packets), base, rate)
    span = (result.pts[-1] - result.pts[0]) * result.time_base
    if span > MAX_SPAN:
        raise MediaError(f"its timestamps span {float(span) / 3600:.0f} hours, expected at most 100; remux the file")
    return result


def _times_by_order(packets: Sequence[PacketTimestamps], base: Fraction, rate: Fraction) -> FrameTimestamps:
    dts = [packet.dts for packet in packets if packet.dts is not None]
    if len(dts) == len(packets) and all(before < after for before, after in pairwise(dts)):
        warning = "has no presentation timestamps; using the decoding timestamps, in decoding order"
        return FrameTimestamps(tuple(dts), base, _last_duration(dts, base, rate), warnings=(warning,))
    warning = f"has no timestamps; using the frame rate of its header, {float(rate):.3f} frames/s"
    return FrameTimestamps(tuple(range(len(packets))), 1 / rate, 1, warnings=(warning,))


def _check_forward(packets: Sequence[PacketTimestamps], base: Fraction) -> None:
    """Raises MediaError where pts go backwards at a keyframe, or where pts and dts both go backwards."""
    latest = packets[0].pts or 0
    for number, (before, packet) in enumerate(pairwise(packets), 1):
        pts = packet.pts or 0
        dts_falls = before.dts is not None and packet.dts is not None and packet.dts < before.dts
        if pts < latest and (packet.is_keyframe or dts_falls):
            change = f"from {float(latest * base):.2f} s to {float(pts * base):.2f} s"
            raise MediaError(f"its timestamps go backwards at frame {number}, {change}; {SPLIT_HINT}")
        latest = max(latest, pts)


def _separate_duplicates(shown: list[tuple[int, int]], base: Fraction, rate: Fraction) -> FrameTimestamps:
    """Times of `shown`, (pts, duration) in display order, with duplicates moved one tick apart."""
    stream_pts = [pts for pts, _ in shown]
    groups = [(pts, len(list(group))) for pts, group in groupby(stream_pts)]
    last = shown[-1][1]
    if not 0 < last * base <= MAX_SPAN:
        last = _last_duration([pts for pts, _ in groups], base, rate)
    unchanged = FrameTimestamps(tuple(stream_pts), base, last, tuple(stream_pts))
    if len(groups) == len(stream_pts):
        return unchanged
    first, most = max(groups, key=lambda group: group[1])
    if most > MAX_EQUAL:
        place = f"from frame {stream_pts.index(first)} on, at {float(first * base):.2f} s"
        raise MediaError(f"{most} frames have the same timestamp {place}; remux the file first")
    subdivision = max((-(-count // (after - pts)) for (pts, count), (after, _) in pairwise(groups)), default=1)
    pts = tuple(pts * subdivision + number for pts, count in groups for number in range(count))
    duplicate = next(pts for pts, count in groups if count > 1)
    warning = (
        f"{len(stream_pts) - len(groups)} frame(s) have the same timestamp as the frame before, the first is frame "
        f"{stream_pts.index(duplicate) + 1}, {float(duplicate * base):.2f} s; each is shown one tick later"
    )
    return replace(
        unchanged, pts=pts, time_base=base / subdivision, last_duration=last * subdivision, warnings=(warning,)
    )


def _last_duration(times: Sequence[int], base: Fraction, rate: Fraction) -> int:
    """The duration of the last frame: that of the frame before it, or of one frame at `rate`."""
    return times[-1] - times[-2] if len(times) > 1 else max(1, round(1 / (rate * base)))
