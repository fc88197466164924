"""Time stamps: what the packets of a stream say, and the times that its frames are given where they say it badly.

Gaps are kept, and so are negative stamps: the output begins at zero, and its companions move with it. Else:

missing     Where packets have no pts (elementary streams, B-frames in AVI), frames are told apart by order alone. They
            follow at their dts where every packet has one, at the constant rate that the file states where not.
equal       The later frame is shown one tick later, before the next one; where no tick is left the time base is made
            finer. More than MAX_EQUAL frames at one time are refused.
backward    A clock that runs back in decoding order, as in files joined end to end, is refused: frames of both parts
            claim the same times. A clock of 33 bits that overflows is unwrapped by FFmpeg before it comes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby, pairwise
from typing import NamedTuple

from dnirender.errors import MediaError

MAX_EQUAL = 8
MAX_SPAN = 100 * 3600  # seconds from the first frame to the last; a header can claim 2^62
MOVE = "cut the file there and render the parts"


class PacketTimestamps(NamedTuple):
    """What one packet says of its frame, in the stream's time base; `key` for a keyframe."""

    pts: int | None
    dts: int | None
    duration: int
    key: bool


@dataclass(frozen=True)
class FrameTimestamps:
    """The frames' times in order of showing: `pts` strictly increasing in units of `time_base`.

    `stamps` are the times that the decoder gives them, in the stream's own time base; none where it gives none, and the
    order alone tells which frame is which. `notes` are for the user.
    """

    pts: tuple[int, ...]
    time_base: Fraction
    last_duration: int
    stamps: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def resolve_timestamps(
    packets: Sequence[PacketTimestamps], base: Fraction, rate: Fraction, *, ordered: bool = False
) -> FrameTimestamps:
    """The times of the frames in `packets`, which come in decoding order; `ordered` where their pts mean nothing else.

    Raises MediaError without the file's name.
    """
    if ordered or any(packet.pts is None for packet in packets):
        found = _by_order(packets, base, rate)
    else:
        _check_forward(packets, base)
        found = _apart(sorted((packet.pts or 0, packet.duration) for packet in packets), base, rate)
    span = (found.pts[-1] - found.pts[0]) * found.time_base
    if span > MAX_SPAN:
        raise MediaError(
            f"its frames claim to span {float(span) / 3600:.0f} hours, expected at most 100; remux the file"
        )
    return found


def _by_order(packets: Sequence[PacketTimestamps], base: Fraction, rate: Fraction) -> FrameTimestamps:
    dts = [packet.dts for packet in packets if packet.dts is not None]
    if len(dts) == len(packets) and all(before < after for before, after in pairwise(dts)):
        note = "has no time stamps of showing; its frames follow at those of decoding, in their order"
        return FrameTimestamps(tuple(dts), base, _step(dts, base, rate), notes=(note,))
    note = f"has no time stamps; its frames follow at the rate that it states, {float(rate):.3f} a second"
    return FrameTimestamps(tuple(range(len(packets))), 1 / rate, 1, notes=(note,))


def _check_forward(packets: Sequence[PacketTimestamps], base: Fraction) -> None:
    """A keyframe is shown after all that were decoded before it, and dts never fall."""
    latest = packets[0].pts or 0
    for number, (before, packet) in enumerate(pairwise(packets), 1):
        pts = packet.pts or 0
        falls = before.dts is not None and packet.dts is not None and packet.dts < before.dts
        if pts < latest and (packet.key or falls):
            fall = f"from {float(latest * base):.2f} s to {float(pts * base):.2f} s"
            raise MediaError(f"its clock runs back at frame {number}, {fall}; {MOVE}")
        latest = max(latest, pts)


def _apart(shown: list[tuple[int, int]], base: Fraction, rate: Fraction) -> FrameTimestamps:
    """Frames in order of showing, those of one time each a tick after the other."""
    stamps = [pts for pts, _ in shown]
    groups = [(pts, len(list(group))) for pts, group in groupby(stamps)]
    last = shown[-1][1] if 0 < shown[-1][1] * base <= MAX_SPAN else _step([pts for pts, _ in groups], base, rate)
    whole = FrameTimestamps(tuple(stamps), base, last, tuple(stamps))
    if len(groups) == len(stamps):
        return whole
    first, most = max(groups, key=lambda group: group[1])
    if most > MAX_EQUAL:
        place = f"from frame {stamps.index(first)} on, at {float(first * base):.2f} s"
        raise MediaError(f"{most} frames have the same time stamp {place}; remux the file first")
    finer = max(-(-count // (after - pts)) for (pts, count), (after, _) in pairwise([*groups, (stamps[-1] + 9, 1)]))
    pts = tuple(pts * finer + number for pts, count in groups for number in range(count))
    twice = next(pts for pts, count in groups if count > 1)
    note = f"{len(stamps) - len(groups)} frame(s) have the time stamp of the one before them, the first is frame "
    note += f"{stamps.index(twice) + 1}, {float(twice * base):.2f} s; each is shown a moment later"
    return replace(whole, pts=pts, time_base=base / finer, last_duration=last * finer, notes=(note,))


def _step(times: Sequence[int], base: Fraction, rate: Fraction) -> int:
    return times[-1] - times[-2] if len(times) > 1 else max(1, round(1 / (rate * base)))
