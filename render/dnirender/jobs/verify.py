"""Compares a rendered video with its source: every frame, every timestamp, every copied packet."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.error

from dnirender.decoding.open import open_source
from dnirender.decoding.source import Source
from dnirender.encoding.image_record import read_record
from dnirender.encoding.image_sequence import numbered_path
from dnirender.encoding.provenance import Provenance, read_provenance
from dnirender.encoding.sink import FrameTiming, timestamp_tolerance
from dnirender.encoding.stream_copy import TimeRange, is_in_output, start_of, stored_packets
from dnirender.encoding.stream_plan import StreamPlan, plan_streams
from dnirender.encoding.video import VideoSink
from dnirender.errors import MediaError, UsageError
from dnirender.files import sample_hash
from dnirender.jobs.constant_rate import constant_timing
from dnirender.jobs.frame_selection import resample_range, timing_and_range
from dnirender.jobs.verify_images import FORMATS, Check, check_animation, check_bytes, check_sequence
from dnirender.media.containers import CONTAINERS, container_of, demux, fraction, frame_times_and_crc32, open_container
from dnirender.media.image_files import PICTURES
from dnirender.media.timecode import advance_timecode, read_timecode
from dnirender.media.truncation import is_truncated

MILLISECOND = Fraction(1, 1000)
TRANSCODED = Fraction(1, 10)  # seconds: the frames of another audio codec may begin and end elsewhere


def verify(path: Path, source: Path | None = None) -> list[Check]:
    """Compares `path` with the clip that it was rendered from.

    Without `source`, that is the file named in its provenance record, next to it or in the current folder. Raises
    MediaError if a file cannot be read, UsageError if the source is unknown.
    """
    first = numbered_path(path, 0)
    if path.suffix.lower() not in (known := sorted({*CONTAINERS, *FORMATS, *PICTURES})):
        raise UsageError(f"{path}: verify reads {' '.join(known)} and patterns as a_%04d.png")
    if not first.is_file():
        raise MediaError(f"{first}: no such file")
    if is_truncated(first):
        raise MediaError(f"{first}: is cut off")
    is_video = path.suffix.lower() in CONTAINERS
    provenance = read_provenance(path) if is_video else read_record(first)[0]
    if provenance is None:
        raise UsageError(
            f"{path}: has no provenance record, so its source is unknown; verify reads files written by dnirender"
        )
    clip = _find_source(path, provenance, source)
    checks = [
        Check(
            "source",
            sample_hash(clip) == provenance.sample,
            f"{clip}; rendered from {provenance.source} by {provenance.program}",
        )
    ]
    if not is_video:
        return [*checks, *_image_checks(path, first, provenance, clip)]
    if provenance.crc32 is not None:
        same = frame_times_and_crc32(path)[1] == provenance.crc32
        checks.append(Check("video", same, "the bytes that were written" if same else "other bytes than were written"))
    opened = open_source(
        clip,
        stream=provenance.video_stream,
        ignore_errors=provenance.ignore_errors,
    )
    if provenance.boomerang or opened.metadata.still:
        return [*checks, *_frames(path, None, provenance.frames)]
    times, time_range = timing_and_range(opened.metadata, provenance.start, provenance.stop)
    if provenance.cfr:
        constant = resample_range(opened.metadata, provenance.start, provenance.stop, Fraction(provenance.cfr))
        timecode = advance_timecode(time_range.timecode, 0, opened.metadata.frame_rate, constant.rate)
        times = constant_timing(times.pts[0] * times.time_base, len(constant.shown), constant.rate)
        time_range = replace(time_range, timecode=timecode)
    shown = VideoSink.shown(times)
    checks += _frames(path, shown, len(shown.pts))
    lead = (times.pts[0] - shown.pts[0]) * times.time_base
    time_range = replace(time_range, shift=time_range.shift + lead)
    return [*checks, *(_streams(path, opened, provenance, time_range) if opened.metadata.has_streams else ())]


def _image_checks(path: Path, first: Path, provenance: Provenance, clip: Path) -> Iterator[Check]:
    yield check_bytes(first, provenance)
    if not provenance.fps:  # that of an animation
        yield from check_sequence(path, provenance)
        return
    source = open_source(clip, stream=provenance.video_stream, ignore_errors=provenance.ignore_errors)
    yield from check_animation(path, provenance, source.metadata)


def _find_source(path: Path, provenance: Provenance, source: Path | None) -> Path:
    """The clip: `source`, or the file of the recorded name in that folder, next to `path` or in the current folder."""
    if source is not None and not source.is_dir():
        if not source.exists():
            raise MediaError(f"{source}: no such file; {path} was rendered from {provenance.source}")
        return source
    name = Path(provenance.source).name
    candidates = [folder / name for folder in ((path.parent, Path()) if source is None else (source,))]
    found = [file for file in candidates if file.is_file()]
    if not found:
        searched = " and ".join(dict.fromkeys(str(file.absolute()) for file in candidates))
        raise UsageError(f"{path}: was rendered from {name}, which was not found (no {searched}); verify {path} SOURCE")
    return next((file for file in found if sample_hash(file) == provenance.sample), found[0])


def _frames(path: Path, timing: FrameTiming | None, expected: int) -> list[Check]:
    """Decodes all frames and compares their number, and with `timing` their timestamps."""
    found: list[Fraction] = []
    end, problem, corrupt = Fraction(0), "", 0
    with open_container(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        base = fraction(stream.time_base, Fraction(1))
        try:
            for frame in container.decode(stream):
                found.append((frame.pts or 0) * base)
                corrupt += frame.is_corrupt
                end = max(end, found[-1] + (frame.duration or 0) * base)
        except av.error.FFmpegError as error:
            problem = f", then: {error.strerror}"
        if stream.duration is not None:  # in MP4, durations of frames are differences of dts
            end = ((stream.start_time or 0) + stream.duration) * base
    problem = f", {corrupt} of them corrupt{problem}" if corrupt else problem
    is_complete = len(found) == expected
    checks = [Check("frames", is_complete and not problem, f"{len(found)} of {expected} decoded{problem}")]
    if timing is None:
        return checks
    times = [pts * timing.time_base for pts in timing.pts]
    largest = max((abs(a - b) for a, b in zip(found, times, strict=False)), default=Fraction(0))
    tolerance = timestamp_tolerance(path)
    expected_end = times[-1] + timing.last_duration * timing.time_base
    return [
        *checks,
        Check("timestamps", is_complete and largest <= tolerance, f"at most {_ms(largest)} off"),
        Check(
            "duration",
            abs(end - expected_end) <= max(2 * tolerance, timing.time_base),
            f"{_s(end)} of {_s(expected_end)}",
        ),
    ]


def _streams(path: Path, source: Source, provenance: Provenance, time_range: TimeRange) -> Iterator[Check]:
    plans = plan_streams(
        source.path,
        container_of(path),
        source.metadata.video_index,
        audio=provenance.audio,
        subtitles=provenance.subtitles,
    )
    expected = [plan for plan in plans if plan.action != "drop"]
    with open_container(source.path) as before, open_container(path) as after:
        if time_range.timecode:
            timecode = read_timecode(after, after.streams.video[0])
            is_equal = timecode == time_range.timecode
            yield Check("time code", is_equal, f"{timecode or 'none'}, expected {time_range.timecode}")
        found = [stream for stream in after.streams if stream.type != "video" and not _is_chapters(stream, expected)]
        yield Check("streams", len(found) == len(expected), f"{len(found)} of {len(expected)} beside the video")
        pairs = [
            (plan, before.streams[plan.index].index, stream.index)
            for plan, stream in zip(expected, found, strict=False)
        ]
    for plan, source_index, index in pairs:
        if plan.kind == "attachment":
            continue
        before = _read_packets(source.path, source_index, time_range, path, provenance.ignore_errors)
        yield _compare(plan, before, _read_packets(path, index, TimeRange(), path))
    if dropped := [str(plan) for plan in plans if plan.action == "drop"]:
        yield Check("dropped", True, "; ".join(dropped))


def _is_chapters(stream: Any, expected: Sequence[StreamPlan]) -> bool:
    """MP4 stores chapters in a text track, which FFmpeg shows as a data stream."""
    return stream.type == "data" and not any(plan.kind == "data" for plan in expected)


@dataclass(frozen=True)
class _PacketSummary:
    """The packets of a stream: their number, the CRC-32 of their bytes, and start and end in seconds."""

    count: int
    crc32: int
    start: Fraction
    stop: Fraction


def _read_packets(
    path: Path, index: int, time_range: TimeRange, output: Path, ignore_errors: bool = False
) -> _PacketSummary:
    """Summarizes the packets of stream `index` of `path` that belong in `output`, as its muxer stores them."""
    count, crc32, first, stop = 0, 0, None, Fraction(0)
    with open_container(path) as container:
        stream = container.streams[index]
        for packet in stored_packets(demux(container, stream), stream, container_of(output)):
            # mov_text fills gaps between subtitles with empty packets, other formats do not.
            is_gap = stream.name == "mov_text" and bytes(packet)[:2] == b"\0\0"
            is_ignored = ignore_errors and packet.is_corrupt
            if not packet.size or is_gap or is_ignored or not is_in_output(packet, time_range, container_of(output)):
                continue
            time = start_of(packet) - time_range.shift
            first = time if first is None else min(first, time)
            stop = max(stop, time + (packet.duration or 0) * fraction(packet.time_base, Fraction(1)))
            count, crc32 = count + 1, zlib.crc32(bytes(packet), crc32)
    return _PacketSummary(count, crc32, first or Fraction(0), stop)


def _compare(plan: StreamPlan, source: _PacketSummary, output: _PacketSummary) -> Check:
    start, end = abs(source.start - output.start), abs(source.stop - output.stop)
    if plan.action == "copy" and plan.kind == "audio":
        # Containers divide PCM into packets as they like.
        same_count = source.count == output.count or plan.source_codec.startswith("pcm_")
        good = source.crc32 == output.crc32 and same_count and start <= MILLISECOND
        bytes_found = "the same bytes" if source.crc32 == output.crc32 else "other bytes"
        return Check(
            str(plan), good, f"{output.count} of {source.count} packets, {bytes_found}, start {_ms(start)} off"
        )
    if plan.kind == "subtitle":
        return Check(str(plan), output.count >= source.count, f"{output.count} of {source.count} subtitles")
    good = start <= TRANSCODED and end <= TRANSCODED
    return Check(str(plan), good, f"start {_ms(start)} off, end {_ms(end)}")


def _ms(seconds: Fraction) -> str:
    return f"{float(seconds) * 1e3:.3f} ms"


def _s(seconds: Fraction) -> str:
    return f"{float(seconds):.3f} s"


def failure(checks: Sequence[Check]) -> MediaError | None:
    """An error that lists the checks that failed; None if all hold."""
    wrong = [check for check in checks if not check.good]
    return MediaError("; ".join(f"{check.name}: {check.found}" for check in wrong)) if wrong else None
