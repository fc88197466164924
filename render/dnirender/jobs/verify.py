"""A rendered video held against its source: every frame, every time stamp, every packet that was copied."""

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
from dnirender.media.timecode import advance_timecode, read_timecode
from dnirender.media.truncation import is_truncated

MILLISECOND = Fraction(1, 1000)
TRANSCODED = Fraction(1, 10)  # seconds that sound may gain or lose by the frames of another codec


def verify(path: Path, source: Path | None = None) -> list[Check]:
    """Holds `path` against the clip that it was rendered from: `source`, else the one whose name it carries, beside it
    or in the current folder.

    Raises MediaError where one of them cannot be read, UsageError where the source is not known.
    """
    is_pattern = "%" in path.name and path.suffix.lower() == ".png"
    first = numbered_path(path, 0) if is_pattern else path
    if not (is_pattern or path.suffix.lower() in (*CONTAINERS, *FORMATS)):
        raise UsageError(f"{path}: verify reads {' '.join(sorted((*CONTAINERS, *FORMATS)))} and patterns as a_%04d.png")
    if not first.is_file():
        raise MediaError(f"{first}: no such file")
    if is_truncated(first):
        raise MediaError(f"{first}: is cut off")
    is_video = path.suffix.lower() in CONTAINERS
    provenance = read_provenance(path) if is_video else read_record(first)[0]
    if provenance is None:
        raise UsageError(
            f"{path}: does not say what it was rendered from; verify takes files as dnirender has written them"
        )
    clip = _source(path, provenance, source)
    checks = [
        Check(
            "source",
            sample_hash(clip) == provenance.sample,
            f"{clip}, made of {provenance.source} by {provenance.program}",
        )
    ]
    if not is_video:
        return [*checks, *_image_checks(path, first, provenance, clip)]
    if provenance.crc32 is not None:
        same = frame_times_and_crc32(path)[1] == provenance.crc32
        checks.append(Check("video", same, "the same bytes" if same else "other bytes than were written"))
    opened = open_source(
        clip,
        stream=provenance.video_stream,
        ignore_errors=provenance.ignore_errors,
    )
    if provenance.boomerang or opened.metadata.still:
        return [*checks, *_frames(path, None, provenance.frames)]
    times, cut = timing_and_range(opened.metadata, provenance.start, provenance.stop)
    if provenance.cfr:
        constant = resample_range(opened.metadata, provenance.start, provenance.stop, Fraction(provenance.cfr))
        timecode = advance_timecode(cut.timecode, 0, opened.metadata.frame_rate, constant.rate)
        times = constant_timing(times.pts[0] * times.time_base, len(constant.shown), constant.rate)
        cut = replace(cut, timecode=timecode)
    shown = VideoSink.shown(times)
    checks += _frames(path, shown, len(shown.pts))
    cut = replace(cut, shift=cut.shift + (times.pts[0] - shown.pts[0]) * times.time_base)
    return [*checks, *(_streams(path, opened, provenance, cut) if opened.metadata.has_streams else ())]


def _image_checks(path: Path, first: Path, provenance: Provenance, clip: Path) -> Iterator[Check]:
    yield check_bytes(first, provenance)
    if first != path:
        yield from check_sequence(path, provenance)
        return
    source = open_source(clip, stream=provenance.video_stream, ignore_errors=provenance.ignore_errors)
    yield from check_animation(path, provenance, source.metadata)


def _source(path: Path, provenance: Provenance, named: Path | None) -> Path:
    """The clip: `named`, or the file of its name in that folder, beside `path` or in the current folder."""
    if named is not None and not named.is_dir():
        if not named.exists():
            raise MediaError(f"{named}: no such file; {path} was rendered from {provenance.source}")
        return named
    name = Path(provenance.source).name
    places = [folder / name for folder in ((path.parent, Path()) if named is None else (named,))]
    found = [place for place in places if place.is_file()]
    if not found:
        looked = " and ".join(dict.fromkeys(str(place.absolute()) for place in places))
        raise UsageError(
            f"{path}: was rendered from {name}, which is neither beside it nor here (no {looked}); verify {path} SOURCE"
        )
    return next((place for place in found if sample_hash(place) == provenance.sample), found[0])


def _frames(path: Path, times: FrameTiming | None, due: int) -> list[Check]:
    """Decodes the whole file."""
    found: list[Fraction] = []
    end, broken, damaged = Fraction(0), "", 0
    with open_container(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        base = fraction(stream.time_base, Fraction(1))
        try:
            for frame in container.decode(stream):
                found.append((frame.pts or 0) * base)
                damaged += frame.is_corrupt
                end = max(end, found[-1] + (frame.duration or 0) * base)
        except av.error.FFmpegError as error:
            broken = f", then: {error.strerror}"
        if stream.duration is not None:  # in MP4 the durations of frames are steps of decoding, not of showing
            end = ((stream.start_time or 0) + stream.duration) * base
    broken = f", {damaged} of them damaged{broken}" if damaged else broken
    checks = [Check("frames", len(found) == due and not broken, f"{len(found)} of {due} decoded{broken}")]
    if times is None:
        return checks
    wanted = [pts * times.time_base for pts in times.pts]
    apart = [abs(a - b) for a, b in zip(found, wanted, strict=False)]
    worst = max(apart, default=Fraction(0))
    slack = timestamp_tolerance(path)
    last = wanted[-1] + times.last_duration * times.time_base
    return [
        *checks,
        Check("time stamps", len(found) == due and worst <= slack, f"at most {_ms(worst)} off"),
        Check("duration", abs(end - last) <= max(2 * slack, times.time_base), f"{_s(end)} of {_s(last)}"),
    ]


def _streams(path: Path, source: Source, provenance: Provenance, cut: TimeRange) -> Iterator[Check]:
    plans = plan_streams(
        source.path,
        container_of(path),
        source.metadata.video_index,
        audio=provenance.audio,
        subtitles=provenance.subtitles,
    )
    kept = [plan for plan in plans if plan.action != "drop"]
    with open_container(source.path) as before, open_container(path) as after:
        if cut.timecode:
            found = read_timecode(after, after.streams.video[0])
            yield Check("time code", found == cut.timecode, f"{found or 'none'}, expected {cut.timecode}")
        others = [stream for stream in after.streams if stream.type != "video" and not _is_chapters(stream, kept)]
        yield Check("streams", len(others) == len(kept), f"{len(others)} of {len(kept)} beside the video")
        pairs = [(plan, before.streams[plan.index].index, o.index) for plan, o in zip(kept, others, strict=False)]
    for plan, was, now in pairs:
        if plan.kind == "attachment":
            continue
        there = _packets(source.path, was, cut, path, provenance.ignore_errors)
        yield _alike(plan, there, _packets(path, now, TimeRange(), path))
    dropped = [str(plan) for plan in plans if plan.action == "drop"]
    if dropped:
        yield Check("left out", True, "; ".join(dropped))


def _is_chapters(stream: Any, kept: Sequence[StreamPlan]) -> bool:
    """MP4 keeps chapters in a text track, which FFmpeg shows as a data stream."""
    return stream.type == "data" and not any(plan.kind == "data" for plan in kept)


@dataclass(frozen=True)
class _Track:
    """The packets of a stream: how many, their bytes, and the seconds between which they lie."""

    count: int
    check: int
    start: Fraction
    stop: Fraction


def _packets(path: Path, index: int, cut: TimeRange, out: Path, forgiving: bool = False) -> _Track:
    """The packets of a stream that belong in `out`, as its muxer stores them."""
    count, check, first, stop = 0, 0, None, Fraction(0)
    with open_container(path) as container:
        stream = container.streams[index]
        for packet in stored_packets(demux(container, stream), stream, container_of(out)):
            # mov_text fills the pauses between lines with empty ones, which other formats do not need.
            pause = stream.name == "mov_text" and bytes(packet)[:2] == b"\0\0"
            torn = forgiving and packet.is_corrupt
            if not packet.size or pause or torn or not is_in_output(packet, cut, container_of(out)):
                continue
            time = start_of(packet) - cut.shift
            first = time if first is None else min(first, time)
            stop = max(stop, time + (packet.duration or 0) * fraction(packet.time_base, Fraction(1)))
            count, check = count + 1, zlib.crc32(bytes(packet), check)
    return _Track(count, check, first or Fraction(0), stop)


def _alike(plan: StreamPlan, was: _Track, now: _Track) -> Check:
    starts, ends = abs(was.start - now.start), abs(was.stop - now.stop)
    if plan.action == "copy" and plan.kind == "audio":
        # Containers divide PCM into packets as they like.
        same_count = was.count == now.count or plan.source_codec.startswith("pcm_")
        good = was.check == now.check and same_count and starts <= MILLISECOND
        same = "the same bytes" if was.check == now.check else "other bytes"
        return Check(str(plan), good, f"{now.count} of {was.count} packets, {same}, start {_ms(starts)} off")
    if plan.kind == "subtitle":
        return Check(str(plan), now.count >= was.count, f"{now.count} of {was.count} lines")
    good = starts <= TRANSCODED and ends <= TRANSCODED
    return Check(str(plan), good, f"start {_ms(starts)} off, end {_ms(ends)}")


def _ms(seconds: Fraction) -> str:
    return f"{float(seconds) * 1e3:.3f} ms"


def _s(seconds: Fraction) -> str:
    return f"{float(seconds):.3f} s"


def worst(checks: Sequence[Check]) -> MediaError | None:
    """The error for a file that is not what it should be."""
    wrong = [check for check in checks if not check.good]
    return MediaError("; ".join(f"{check.name}: {check.found}" for check in wrong)) if wrong else None
