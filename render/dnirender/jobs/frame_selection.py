"""Which frames are rendered, and when each is shown."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from dnirender.decoding.metadata import VideoMetadata
from dnirender.encoding.sink import FrameTiming
from dnirender.encoding.stream_copy import TimeRange
from dnirender.errors import UsageError
from dnirender.frames import Alpha
from dnirender.jobs.job import Job
from dnirender.timeline.parser import parse_position
from dnirender.timeline.timeline import Track


@dataclass(frozen=True)
class Selection:
    """Which frames are rendered: their indices in the source, their alphas, the moments they are shown at."""

    indices: tuple[int, ...]
    alphas: tuple[Alpha, ...]
    times: FrameTiming
    track: Track
    cut: TimeRange = field(default_factory=TimeRange)


def boomerang_order(count: int) -> list[int]:
    """Forth and back, the ends not doubled: 0 1 2 3 2 1."""
    return [*range(count), *range(count - 2, 0, -1)]


def select_frames(job: Job, metadata: VideoMetadata) -> Selection:
    """Lays the timeline over the range that is rendered; an animation takes the frames that its rate can show."""
    seconds = metadata.seconds
    start, stop = _range(job, seconds)
    timeline = job.timeline
    track = timeline.resolve(job.preset.endpoints, seconds[start:stop]).weakened(job.preset.effect.strength)
    if job.animated and not metadata.still:
        shown, times = thin(seconds[start:stop], _frame_timing(metadata, start, stop), _rate(job, metadata))
        indices, alphas = [start + index for index in shown], [track.alphas[index] for index in shown]
        return Selection(tuple(indices), tuple(alphas), times, track)
    if job.animated and not job.encode.boomerang and timeline.is_closed(job.preset.endpoints) and stop - start > 1:
        # A loop shows its first frame after its last: a closed cycle would stand still for one frame.
        stop -= track.alphas[0] == track.alphas[-1]
    times, cut = timing_and_range(metadata, start, stop)
    return Selection(tuple(range(start, stop)), track.alphas[: stop - start], times, track, cut)


def timing_and_range(metadata: VideoMetadata, start: int, stop: int) -> tuple[FrameTiming, TimeRange]:
    """When frames start to stop are shown, and which part of the other streams goes with them: a part of a source
    begins at time zero, the whole where it does."""
    times, seconds = _frame_timing(metadata, start, stop), metadata.seconds
    if start == 0 and stop == len(seconds):
        return times, TimeRange()
    cut = TimeRange(seconds[start], seconds[stop] if stop < len(seconds) else None, seconds[start])
    return replace(times, pts=tuple(pts - times.pts[0] for pts in times.pts)), cut


def _range(job: Job, seconds: Sequence[Fraction]) -> tuple[int, int]:
    """The first frame that is rendered, and the first behind that is not."""
    first, end = job.decode.start, job.decode.end
    start = find_frame("start", first, seconds) if first is not None else 0
    # "up to the end" means all of it, although `end` as a position is the last frame.
    stop = find_frame("end", end, seconds) if end not in (None, "end", "100%") else len(seconds)
    if start >= stop:
        raise UsageError(f"start='{first or 0}', end='{end or 'end'}': no frame of {len(seconds)} lies in this range")
    return start, stop


def find_frame(option: str, text: str | None, seconds: Sequence[Fraction]) -> int:
    """The first frame at or after a position that an option names; UsageError with the option."""
    try:
        return parse_position(text or "").frame(seconds)
    except UsageError as error:
        raise UsageError(f"{option}={text!r}: {error}") from error


def _frame_timing(metadata: VideoMetadata, start: int, stop: int) -> FrameTiming:
    """The times of frames start to stop, in a time base of 1/n as containers count it."""
    unit, base = metadata.time_base.numerator, Fraction(1, metadata.time_base.denominator)
    last = metadata.pts[stop] - metadata.pts[stop - 1] if stop < len(metadata.pts) else metadata.last_duration
    return FrameTiming(tuple(pts * unit for pts in metadata.pts[start:stop]), base, last * unit)


def _rate(job: Job, metadata: VideoMetadata) -> Fraction:
    asked = job.encode.fps or Fraction(job.preset.animation.fps).limit_denominator(1000)
    return min(asked, metadata.frame_rate)


def thin(seconds: Sequence[Fraction], times: FrameTiming, rate: Fraction) -> tuple[list[int], FrameTiming]:
    """The frames that are on screen at the ticks of `rate`, each once, and how long they stand in ticks."""
    length = (times.pts[-1] - times.pts[0] + times.last_duration) * times.time_base
    num_ticks = max(1, round(length * rate))
    shown = [bisect_right(seconds, seconds[0] + tick / rate) - 1 for tick in range(num_ticks)]
    kept = [tick for tick in range(num_ticks) if tick == 0 or shown[tick] != shown[tick - 1]]
    return [shown[tick] for tick in kept], FrameTiming(tuple(kept), 1 / rate, num_ticks - kept[-1])
