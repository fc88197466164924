"""The plan of a render: which frames, under which alphas, at which times - made and checked before the first one."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from dnirender.decoding.metadata import VideoMetadata
from dnirender.decoding.open import open_source
from dnirender.decoding.source import Source
from dnirender.encoding.animation import FORMATS, check_rate
from dnirender.encoding.image_sequence import numbered_path
from dnirender.encoding.sink import FrameTiming
from dnirender.encoding.stream_copy import AS_REQUESTED, StreamPlan, TimeRange, plan_streams
from dnirender.errors import OutputError, UsageError
from dnirender.frames import Alpha
from dnirender.jobs.frame_selection import Selection, boomerang_order, select_frames, timing_and_range
from dnirender.jobs.job import Job
from dnirender.jobs.workspace import was_delivered
from dnirender.layout import panels as compose
from dnirender.media.containers import CONTAINERS
from dnirender.media.images import is_still
from dnirender.media.pixel_formats import depth_of_name

STILL_RATE = Fraction(24)
MAX_STILL_FRAMES = 1_000_000
BACKWARDS, ONLY_PICTURES = "a boomerang has no sound", "this format holds pictures only"
EXPECTED = (AS_REQUESTED, BACKWARDS, ONLY_PICTURES)  # reasons that the user knows and need no warning


@dataclass(frozen=True)
class Plan:
    """A job that has been checked against its input: everything but the networks is open to view.

    `size` is (width, height) of what the network is given.
    """

    job: Job
    source: Source
    selection: Selection
    size: tuple[int, int]
    streams: tuple[StreamPlan, ...]
    warnings: tuple[str, ...]

    @property
    def num_frames(self) -> int:
        """Frames in the output."""
        return len(self.order)

    @property
    def order(self) -> Sequence[int]:
        """For every frame of the output, the number of its picture."""
        rendered = len(self.selection.indices)
        return boomerang_order(rendered) if self.job.encode.boomerang else range(rendered)

    @property
    def times(self) -> FrameTiming:
        """When each frame of the output is shown."""
        times = self.selection.times
        if not self.job.encode.boomerang:
            return times
        durations = [times.duration(index) for index in self.order]
        return FrameTiming(tuple(itertools.accumulate(durations[:-1], initial=0)), times.time_base, durations[-1])

    @property
    def targets(self) -> list[Path]:
        """The files that are written."""
        output = self.job.output
        return [numbered_path(output, number) for number in range(self.num_frames)] if self.job.numbered else [output]

    def first(self, count: int) -> Selection:
        """The selection's first frames, fewer than all, as if they alone had been asked for."""
        selection, times, cut = self.selection, self.selection.times, TimeRange()
        indices = selection.indices[:count]
        if self.job.animated or self.source.metadata.still:
            times = FrameTiming(times.pts[:count], times.time_base, times.duration(count - 1))
        else:
            times, cut = timing_and_range(self.source.metadata, indices[0], indices[-1] + 1)
        return replace(selection, indices=indices, alphas=selection.alphas[:count], times=times, cut=cut)

    @property
    def dropped(self) -> list[str]:
        """The streams that the output cannot hold, by name, but for those that were not asked for."""
        return [str(stream) for stream in self.streams if stream.action == "drop" and stream.reason not in EXPECTED]

    @property
    def distinct_alphas(self) -> int:
        """Different alphas along the timeline."""
        return len(set(self.selection.alphas))

    @property
    def weight_writes(self) -> int:
        """How often the engine will mix weights, for pictures one after the other; side by side it may be some more."""
        order = [alpha for block in self.blocks() for alpha in block.alphas]
        return sum(1 for _ in itertools.groupby(order))

    @property
    def forwards(self) -> int:
        """Frames that pass through the network, counting each panel that needs one."""
        return sum(len(self.needs(alpha)) for alpha in self.selection.alphas)

    def needs(self, alpha: Alpha) -> tuple[Alpha, ...]:
        """The alphas under which a frame must be rendered so that every panel can be shown."""
        endpoints = self.job.preset.endpoints
        wanted: list[Alpha] = []
        for panel in self.job.preset.layout.panels:
            if panel == "render":
                wanted.append(alpha)
            elif panel == "crossfade":
                wanted.extend(one_hot(i, len(endpoints)) for i, weight in enumerate(alpha) if weight)
            elif panel != "source":
                wanted.append(one_hot(endpoints.index(panel), len(endpoints)))
        return tuple(dict.fromkeys(wanted))

    def blocks(self, numbers: Sequence[int] | None = None) -> Iterator[Block]:
        """The rendered frames, or those of `numbers`, in blocks of at most the batch size, each with the alphas that
        it needs."""
        alphas, size = self.selection.alphas, self.job.engine.batch or 1
        numbers = range(len(alphas)) if numbers is None else numbers
        for start in range(0, len(numbers), size):
            yield Block([self.needs(alphas[number]) for number in numbers[start : start + size]])


@dataclass(frozen=True)
class Block:
    """Consecutive frames; `needs` lists each one's alphas."""

    needs: list[tuple[Alpha, ...]]

    @property
    def alphas(self) -> tuple[Alpha, ...]:
        """The block's different alphas, in order of first need."""
        return tuple(dict.fromkeys(itertools.chain.from_iterable(self.needs)))


def one_hot(index: int, count: int) -> Alpha:
    """The alpha of an endpoint."""
    return tuple(1.0 if i == index else 0.0 for i in range(count))


def make_plan(job: Job) -> Plan:
    """Checks a job as far as that is possible without its networks, and lays the timeline over its input.

    Raises UsageError, MediaError (input) or OutputError (target) with what to do about it.
    """
    check_output(job)
    compose.check_panels(job.preset.layout.panels, job.preset.endpoints)
    if job.encode.fps is not None and not (job.animated or is_still(job.input)):
        raise UsageError("--fps applies to GIF, WebP, APNG and stills; a video keeps the time stamps of its source")
    source = _open(job)
    metadata = source.metadata
    streams = _streams(job, metadata)
    warnings = list(metadata.warnings)
    warnings += [str(stream) for stream in streams if stream.action != "copy" and stream.reason not in EXPECTED]
    selection = select_frames(job, metadata)
    first, strength = job.preset.network.endpoints[0], job.preset.effect.strength
    if strength < 1 and not first.identity:
        warnings.append(
            f"strength={strength:g}: the rest is {first.name}, which this preset does not call the picture itself"
        )
    warnings += [selection.track.unreached] if selection.track.unreached else []
    plan = Plan(job, source, selection, scaled_size(job, metadata), streams, tuple(warnings))
    if job.animated:
        check_rate(job.output, plan.times)
    for number in range(1, plan.num_frames if job.numbered else 0):
        check_target(numbered_path(job.output, number), job)
    return plan


def check_output(job: Job) -> None:
    """Raises unless the target's format is known and nothing stands in the way of writing it."""
    suffix = job.output.suffix.lower()
    if suffix == ".png" and not job.numbered:
        raise UsageError(f"{job.output}: one PNG cannot hold a transition; name a pattern such as frame_%04d.png")
    if job.numbered and not re.fullmatch(r"[^%]*%(0\d+)?d[^%]*", job.output.name):
        raise UsageError(f"{job.output.name}: expected one number in the pattern, as in frame_%04d.png")
    if not job.numbered and suffix not in CONTAINERS and suffix not in FORMATS:
        known = " ".join(sorted(ext.lstrip(".") for ext in (*CONTAINERS, *FORMATS)))
        raise UsageError(
            f"{job.output}: unknown output format {suffix or 'without extension'!r}; expected {known} or %04d.png"
        )
    check_target(numbered_path(job.output, 0) if job.numbered else job.output, job)


def check_target(target: Path, job: Job) -> None:
    """OutputError unless `target` can be written without losing anything."""
    try:
        target.exists()
    except OSError as error:  # a name that is too long
        raise OutputError(f"{target}: cannot be written ({error.strerror})") from error
    if not target.parent.is_dir():
        raise OutputError(f"{target.parent}: no such folder; make it first")
    if target.resolve() == job.input.resolve():
        raise OutputError(f"{target}: is the input itself; choose another name")
    if target.is_dir():
        raise OutputError(f"{target}: is a folder; name a file")
    if (target.exists() or target.is_symlink()) and not (job.encode.overwrite or was_delivered(job.output, target)):
        raise OutputError(f"{target}: exists already; -y overwrites it")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"{target.parent}: this folder cannot be written to")


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
    count = job.timeline.num_frames(rate)
    if count > MAX_STILL_FRAMES:
        raise UsageError(
            f"keyframes: the last key is at frame {count - 1}; a still is held for {MAX_STILL_FRAMES} frames at most"
        )
    return open_source(job.input, still_frames=count, still_rate=rate, ignore_errors=options.ignore_errors)


def _hdr(job: Job) -> str:
    """Files of pictures do not say that their values are HDR: there, auto means tone mapping."""
    return "tonemap-auto" if job.decode.hdr == "auto" and (job.animated or job.numbered) else job.decode.hdr


def scaled_size(job: Job, metadata: VideoMetadata) -> tuple[int, int]:
    """The size given to the network: the source's, or scaled into the layout's box with its aspect kept."""
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
        why = BACKWARDS if job.encode.boomerang else ONLY_PICTURES
        others = [stream for stream in metadata.streams if stream.index != metadata.video_index]
        return tuple(StreamPlan(s.index, s.kind, s.codec, "drop", "", why) for s in others)
    if metadata.still:
        return ()
    encoding = job.preset.encoding
    return plan_streams(
        job.input, CONTAINERS[suffix], metadata.video_index, audio=encoding.audio, subtitles=encoding.subtitles
    )
