"""The plan of a render: which frames, under which alphas, at which times; checked before the networks are loaded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from dnirender.decoding.metadata import VideoMetadata
from dnirender.decoding.open import open_source
from dnirender.decoding.source import Source
from dnirender.encoding.animation import check_rate
from dnirender.encoding.image_sequence import numbered_path
from dnirender.encoding.sink import FrameTiming
from dnirender.encoding.stream_copy import TimeRange
from dnirender.encoding.stream_plan import AS_REQUESTED, StreamPlan, plan_streams
from dnirender.errors import UsageError
from dnirender.files import sample_hash
from dnirender.frames import Alpha
from dnirender.jobs.clip_keyframes import resolve_clip_keyframes
from dnirender.jobs.constant_rate import constant_timing
from dnirender.jobs.frame_selection import Selection, boomerang_order, rendered_range, select_frames, timing_and_range
from dnirender.jobs.job import Job
from dnirender.jobs.mixtures import check_mask_panel, masking_of, open_front, ways_of
from dnirender.jobs.targets import check_count, check_output, check_target
from dnirender.layout.panels import MASK, check_panels
from dnirender.masks.fronts import Front
from dnirender.masks.masking import Masking
from dnirender.media.containers import CONTAINERS
from dnirender.media.image_files import is_still
from dnirender.media.pixel_formats import depth_of_name
from dnirender.timeline.interpolation import Way
from dnirender.timeline.tracks import in_track
from dnirender.timeline_settings import STILL_RATE

MAX_STILL_FRAMES = 1_000_000
BOOMERANG, IMAGES_ONLY = "a boomerang has no sound", "this format holds images only"
EXPECTED = (AS_REQUESTED, BOOMERANG, IMAGES_ONLY)  # reasons that the user knows and need no warning


@dataclass(frozen=True)
class Plan:
    """A job that has been checked against its input.

    source_hash: the sampling hash of the input (`files.sample_hash`)
    size: (width, height) in pixels of the frames that the network receives
    streams: what is done with the other streams of the input
    keyframes_from: what of the input the keyframes were made from
    waveform: peaks 0..1 of the sound that they were made from, over the rendered frames
    paced_keyframes: those that give an even pace, if the job asks for one and it has been measured
    masking: where in the picture the timeline rules, None for everywhere
    front: how the way between two keys moves over the picture, None for the same everywhere
    ways: with a front, the way that each frame of the rendered range is on
    """

    job: Job
    source: Source
    source_hash: str
    selection: Selection
    size: tuple[int, int]
    streams: tuple[StreamPlan, ...]
    warnings: tuple[str, ...]
    keyframes_from: tuple[str, ...] = ()
    waveform: tuple[float, ...] = ()
    paced_keyframes: str = ""
    masking: Masking | None = None
    front: Front | None = None
    ways: tuple[Way | None, ...] = ()

    @property
    def is_mapped(self) -> bool:
        """Whether alpha differs over the picture."""
        return self.masking is not None or self.front is not None

    @property
    def num_frames(self) -> int:
        """Frames in the output."""
        return len(self.order)

    @property
    def order(self) -> Sequence[int]:
        """For each frame of the output, the number of the rendered frame in it."""
        rendered = len(self.selection.indices)
        return boomerang_order(rendered) if self.job.encode.boomerang else range(rendered)

    @property
    def times(self) -> FrameTiming:
        """The timestamps of the output frames."""
        times = self.selection.times
        if not self.job.encode.boomerang:
            return times
        durations = [times.duration(index) for index in self.order]
        return FrameTiming(tuple(itertools.accumulate(durations[:-1], initial=0)), times.time_base, durations[-1])

    @property
    def targets(self) -> list[Path]:
        """The files to write."""
        output = self.job.output
        return [numbered_path(output, number) for number in range(self.num_frames)] if self.job.numbered else [output]

    def first(self, count: int) -> Selection:
        """The selection of the first `count` frames only."""
        selection, times, time_range = self.selection, self.selection.times, TimeRange()
        indices = selection.indices[:count]
        if self.job.animated or self.source.metadata.still:
            times = FrameTiming(times.pts[:count], times.time_base, times.duration(count - 1))
        else:
            times, time_range = timing_and_range(self.source.metadata, indices[0], indices[-1] + 1)
        if constant := selection.constant_rate:
            times = constant_timing(times.pts[0] * times.time_base, count, constant.rate)
        return replace(
            selection,
            indices=indices,
            alphas=selection.alphas[:count],
            times=times,
            time_range=time_range,
            stop=indices[-1] + 1,
        )

    def without_repeats(self, numbers: Sequence[int]) -> list[int]:
        """Of numbers of frames in the render, those that do not show the frame of the number before them."""
        groups = itertools.groupby(numbers, key=lambda number: self.selection.indices[number])
        return [next(group) for _, group in groups]

    @property
    def dropped(self) -> list[str]:
        """The streams that the output cannot hold, without those that the user left out."""
        return [str(stream) for stream in self.streams if stream.action == "drop" and stream.reason not in EXPECTED]

    @property
    def has_opacity(self) -> bool:
        """Whether the composed images have an alpha channel: comparisons of several panels and masks have none."""
        panels = self.job.preset.layout.panels
        return self.source.metadata.opacity and len(panels) == 1 and panels != (MASK,)

    @property
    def distinct_alphas(self) -> int:
        """The number of different alphas."""
        return len(set(self.selection.alphas))

    @property
    def weight_writes(self) -> int:
        """How often the engine will mix weights with one worker; with several workers it may be more often."""
        order = [alpha for block in self.blocks() for alpha in block.alphas]
        return sum(1 for _ in itertools.groupby(order))

    @property
    def forwards(self) -> int:
        """The number of forward passes of the network, over all frames and panels; at least, where alpha differs over
        the picture."""
        alphas = self.selection.alphas
        count = sum(len(self.needs(alphas[number])) for number in self.without_repeats(range(len(alphas))))
        return count * (2 if self.is_mapped else 1)

    def needs(self, alpha: Alpha, panels: Sequence[str] | None = None) -> tuple[Alpha, ...]:
        """The alphas under which a frame must be rendered so that every panel, or these, can be shown, if alpha is the
        same everywhere."""
        endpoints = self.job.preset.endpoints
        wanted: list[Alpha] = []
        for panel in self.job.preset.layout.panels if panels is None else panels:
            if panel == "render":
                wanted.append(alpha)
            elif panel == "crossfade":
                wanted.extend(one_hot(i, len(endpoints)) for i, weight in enumerate(self.main(alpha)) if weight)
            elif panel not in ("source", MASK):
                wanted.append(one_hot(endpoints.index(panel), len(endpoints)))
        return tuple(dict.fromkeys(wanted))

    def main(self, alpha: Alpha) -> Alpha:
        """The coefficients of the layers that follow the main timeline."""
        return alpha[: len(self.job.preset.endpoints)]

    def blocks(self, numbers: Sequence[int] | None = None) -> Iterator[Block]:
        """Divides the rendered frames (default: all) into blocks of at most the batch size."""
        alphas, size = self.selection.alphas, self.job.engine.batch or 1
        numbers = self.without_repeats(range(len(alphas))) if numbers is None else numbers
        for start in range(0, len(numbers), size):
            yield Block([self.needs(alphas[number]) for number in numbers[start : start + size]])


@dataclass(frozen=True)
class Block:
    """Consecutive frames; `needs` lists for each one the alphas under which it is rendered."""

    needs: list[tuple[Alpha, ...]]

    @property
    def alphas(self) -> tuple[Alpha, ...]:
        """The different alphas of the block, in order of first use."""
        return tuple(dict.fromkeys(itertools.chain.from_iterable(self.needs)))


def one_hot(index: int, count: int) -> Alpha:
    """The alpha of endpoint `index` of `count`."""
    return tuple(1.0 if i == index else 0.0 for i in range(count))


def make_plan(job: Job) -> Plan:
    """Opens the input, resolves the timeline and checks everything that can be checked without the networks.

    Raises UsageError, MediaError (input) or OutputError (target).
    """
    check_output(job)
    check_panels(job.preset.layout.panels, job.preset.endpoints)
    if job.encode.fps is not None and not (job.animated or is_still(job.input)):
        raise UsageError(
            f"fps={float(job.encode.fps):g}: applies to GIF, WebP, APNG and stills; "
            "a video keeps the timestamps of its source"
        )
    if job.encode.cfr is not None and (job.animated or is_still(job.input) or (job.pictures and not job.numbered)):
        raise UsageError("cfr: applies to videos and numbered pictures; fps sets the rate of animations and stills")
    source = _open(job)
    metadata = source.metadata
    start, stop = rendered_range(job, metadata.seconds)
    check_count(job, start, stop)
    job = replace(job, one_frame=stop - start == 1)
    streams = _streams(job, metadata)
    warnings = list(metadata.warnings)
    warnings += [str(stream) for stream in streams if stream.action != "copy" and stream.reason not in EXPECTED]
    masking, front = masking_of(job, source), open_front(job)
    check_mask_panel(job, masking)
    found = resolve_clip_keyframes(job, source, start, stop, scaled_size(job, metadata))
    job = found.job
    selection = select_frames(job, metadata)
    first, strength = job.preset.network.endpoints[0], job.preset.effect.strength
    if strength < 1 and not first.identity:
        warnings.append(
            f"strength={strength:g}: the rest is {first.name}, which this preset does not call the picture itself"
        )
    if metadata.still and job.one_frame and not job.pictures and job.decode.start is job.decode.end is None:
        warnings.append(f"{job.output.name}: has one frame; the last key sets the length, 5s:VALUE makes it 5 s long")
    warnings += [f"{job.input.name}: made constant, {selection.constant_rate}"] if selection.constant_rate else []
    labeled = list(zip(job.timelines, selection.tracks, strict=True))
    if found.made_from:
        del labeled[0]  # a beat may fall back after the last frame
    warnings += [in_track(pattern, track.unreached) for pattern, track in labeled if track.unreached]
    warnings += masking.warnings if masking else []
    plan = Plan(
        job=job,
        source=source,
        source_hash=sample_hash(job.input),
        selection=selection,
        size=scaled_size(job, metadata),
        streams=streams,
        warnings=tuple(warnings),
        keyframes_from=found.made_from,
        waveform=found.waveform,
        masking=masking,
        front=front,
        ways=ways_of(job, metadata.seconds[selection.indices[0] :][: len(selection.track.alphas)]) if front else (),
    )
    if job.animated:
        check_rate(job.output, plan.times)
    for number in range(1, plan.num_frames if job.numbered else 0):
        check_target(numbered_path(job.output, number), job)
    return plan


def _open(job: Job) -> Source:
    options = job.decode
    if not is_still(job.input):
        return open_source(
            job.input,
            stream=options.video_stream,
            deinterlace=options.deinterlace,
            hdr=_hdr(job),
            sdr_depth=depth_of_name(job.preset.encoding.pix_fmt, 8),
            ignore_errors=options.ignore_errors,
        )
    default = Fraction(job.preset.animation.fps).limit_denominator(1000) if job.animated else STILL_RATE
    rate = job.encode.fps or default
    count = job.still_frames(rate)
    if count > MAX_STILL_FRAMES:
        raise UsageError(
            f"keyframes: the last key is at frame {count - 1}; a still is held for {MAX_STILL_FRAMES} frames at most"
        )
    return open_source(job.input, still_frames=count, still_rate=rate, ignore_errors=options.ignore_errors)


def _hdr(job: Job) -> str:
    """The mode of HDR: animations and pictures have no tag for HDR, so auto means tone mapping for them."""
    return "tonemap-auto" if job.decode.hdr == "auto" and (job.animated or job.pictures) else job.decode.hdr


def scaled_size(job: Job, metadata: VideoMetadata) -> tuple[int, int]:
    """(width, height) of the frames that the network receives: the source's size, or scaled to fit the layout's width
    and height with the same aspect ratio."""
    width, height = job.preset.layout.width, job.preset.layout.height
    if width is None and height is None and job.animated:
        width = min(job.preset.animation.width, metadata.width)
    if width is None and height is None:
        return metadata.width, metadata.height
    scale = min(
        Fraction(side, own) for side, own in ((width, metadata.width), (height, metadata.height)) if side is not None
    )
    return max(1, round(metadata.width * scale)), max(1, round(metadata.height * scale))


def _streams(job: Job, metadata: VideoMetadata) -> tuple[StreamPlan, ...]:
    suffix = job.output.suffix.lower()
    if job.encode.boomerang or suffix not in CONTAINERS:
        reason = BOOMERANG if job.encode.boomerang else IMAGES_ONLY
        others = [stream for stream in metadata.streams if stream.index != metadata.video_index]
        return tuple(StreamPlan(s.index, s.kind, s.codec, "drop", "", reason) for s in others)
    if not metadata.has_streams:
        return ()
    encoding = job.preset.encoding
    return plan_streams(
        job.input, CONTAINERS[suffix], metadata.video_index, audio=encoding.audio, subtitles=encoding.subtitles
    )
