"""Selects the frames to render and their output timestamps."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from dnirender.decoding.metadata import VideoMetadata
from dnirender.encoding.sink import FrameTiming
from dnirender.encoding.stream_copy import TimeRange
from dnirender.errors import UsageError
from dnirender.frames import Alpha
from dnirender.jobs.constant_rate import ConstantRate, constant_timing, nominal_rate, resample
from dnirender.jobs.job import Job
from dnirender.media.timecode import advance_timecode
from dnirender.timeline.parser import parse_position
from dnirender.timeline.timeline import Track
from dnirender.timeline.tracks import are_closed, join_alphas, resolve_all


@dataclass(frozen=True)
class Selection:
    """The frames to render.

    indices: of the frames in the source
    alphas: one per frame
    times: timestamps of the output
    tracks: the resolved timelines over the rendered range, which may have more frames than an animation shows: the main
        one, then those of groups of layers
    time_range: the part of the other streams that is copied
    stop: the end of the rendered range in the source, exclusive
    constant_rate: which frame each tick shows, if the frame rate is made constant; `indices` then repeats frames
    """

    indices: tuple[int, ...]
    alphas: tuple[Alpha, ...]
    times: FrameTiming
    tracks: tuple[Track, ...]
    time_range: TimeRange = field(default_factory=TimeRange)
    stop: int = 0
    constant_rate: ConstantRate | None = None

    @property
    def track(self) -> Track:
        """The main timeline over the rendered range."""
        return self.tracks[0]


def boomerang_order(count: int) -> list[int]:
    """Forward, then backward, each end once: 0 1 2 3 2 1."""
    return [*range(count), *range(count - 2, 0, -1)]


def select_frames(job: Job, metadata: VideoMetadata) -> Selection:
    """Resolves the timelines over the rendered range. Animations use only as many frames as their rate can show."""
    seconds = metadata.seconds
    start, stop = rendered_range(job, seconds)
    timelines, endpoints = job.timelines, job.preset.endpoints
    tracks = resolve_all(timelines, endpoints, seconds[start:stop], job.preset.effect.strength)
    alphas_of_range = join_alphas(tracks)
    if job.animated and not metadata.still:
        shown, times = animation_frames(metadata, start, stop, animation_rate(job, metadata))
        indices, alphas = [start + index for index in shown], [alphas_of_range[index] for index in shown]
        return Selection(tuple(indices), tuple(alphas), times, tracks, stop=stop)
    closed = job.animated and not job.encode.boomerang and are_closed(timelines.values(), tracks, endpoints)
    if closed and stop - start > 1:
        # A looping animation shows its first frame after its last: of two equal ones, the last is left out.
        stop -= alphas_of_range[0] == alphas_of_range[-1]
    times, time_range = timing_and_range(metadata, start, stop)
    if job.encode.cfr is None:
        return Selection(tuple(range(start, stop)), alphas_of_range[: stop - start], times, tracks, time_range, stop)
    constant = resample_range(metadata, start, stop, job.encode.cfr)
    times = constant_timing(times.pts[0] * times.time_base, len(constant.shown), constant.rate)
    timecode = advance_timecode(time_range.timecode, 0, metadata.frame_rate, constant.rate)
    indices, alphas = (start + number for number in constant.shown), (alphas_of_range[i] for i in constant.shown)
    time_range = replace(time_range, timecode=timecode)
    return Selection(tuple(indices), tuple(alphas), times, tracks, time_range, stop, constant)


def resample_range(metadata: VideoMetadata, start: int, stop: int, rate: Fraction | str) -> ConstantRate:
    """Frames start to stop (exclusive) at a constant rate; `rate` "auto" is the nominal one of the whole source."""
    seconds, end = metadata.seconds, metadata.seconds[0] + metadata.duration
    if isinstance(rate, str):
        rate = nominal_rate(seconds, end)
    return resample(seconds[start:stop], seconds[stop] if stop < len(seconds) else end, rate)


def timing_and_range(metadata: VideoMetadata, start: int, stop: int) -> tuple[FrameTiming, TimeRange]:
    """The timestamps of frames start to stop (exclusive), and the time range of the other streams.

    A part of the source begins at time zero; the complete source keeps its own start time, on a clock from zero.
    """
    times, seconds = _frame_timing(metadata, start, stop), metadata.seconds
    if start == 0 and stop == len(seconds):
        clock_start = math.floor(metadata.clock_start / times.time_base)  # to the tick, so that frames stay exact
        time_range = TimeRange(shift=clock_start * times.time_base, timecode=metadata.timecode)
        return replace(times, pts=tuple(pts - clock_start for pts in times.pts)), time_range
    rate = metadata.frame_rate
    frames = round((seconds[start] - seconds[0]) * rate) if metadata.variable_frame_rate else start
    timecode = advance_timecode(metadata.timecode, frames, rate)
    time_range = TimeRange(seconds[start], seconds[stop] if stop < len(seconds) else None, seconds[start], timecode)
    return replace(times, pts=tuple(pts - times.pts[0] for pts in times.pts)), time_range


def rendered_range(job: Job, seconds: Sequence[Fraction]) -> tuple[int, int]:
    """The range of frames that is rendered, `stop` exclusive."""
    first, end = job.decode.start, job.decode.end
    start = find_frame("start", first, seconds) if first is not None else 0
    # As a position, "end" is the last frame; as the end of the range it includes that frame.
    stop = find_frame("end", end, seconds) if end not in (None, "end", "100%") else len(seconds)
    if start >= stop:
        given = f"start='{first or 0}', end='{end or 'end'}'"
        raise UsageError(f"{given}: no frame of {len(seconds)} lies in this range, whose end is exclusive")
    return start, stop


def find_frame(option: str, text: str | None, seconds: Sequence[Fraction]) -> int:
    """The first frame at or after a position. Raises UsageError that names `option`."""
    try:
        return parse_position(text or "").frame(seconds)
    except UsageError as error:
        raise UsageError(f"{option}={text!r}: {error}") from error


def _frame_timing(metadata: VideoMetadata, start: int, stop: int) -> FrameTiming:
    """The timestamps of frames start to stop in a time base of 1/n, as containers require."""
    unit, base = metadata.time_base.numerator, Fraction(1, metadata.time_base.denominator)
    last = metadata.pts[stop] - metadata.pts[stop - 1] if stop < len(metadata.pts) else metadata.last_duration
    return FrameTiming(tuple(pts * unit for pts in metadata.pts[start:stop]), base, last * unit)


def animation_frames(metadata: VideoMetadata, start: int, stop: int, rate: Fraction) -> tuple[list[int], FrameTiming]:
    """The frames of an animation of frames start to stop, counted from start, and their timing in ticks of `rate`."""
    return thin_out(metadata.seconds[start:stop], _frame_timing(metadata, start, stop), rate)


def animation_rate(job: Job, metadata: VideoMetadata) -> Fraction:
    """The frames per second of an animation: as requested, at most those of the source."""
    requested = job.encode.fps or Fraction(job.preset.animation.fps).limit_denominator(1000)
    return min(requested, metadata.frame_rate)


def thin_out(seconds: Sequence[Fraction], times: FrameTiming, rate: Fraction) -> tuple[list[int], FrameTiming]:
    """The indices of the frames that are visible at the ticks of `rate`, each once, and their timing in ticks."""
    length = (times.pts[-1] - times.pts[0] + times.last_duration) * times.time_base
    num_ticks = max(1, round(length * rate))
    shown = [bisect_right(seconds, seconds[0] + tick / rate) - 1 for tick in range(num_ticks)]
    ticks_used = [tick for tick in range(num_ticks) if tick == 0 or shown[tick] != shown[tick - 1]]
    return [shown[tick] for tick in ticks_used], FrameTiming(tuple(ticks_used), 1 / rate, num_ticks - ticks_used[-1])
