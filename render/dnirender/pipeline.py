"""The path of one frame, and the plan that is made, checked and shown before the first one takes it.

decode (thread 1) -> scale -> group by alpha -> engine (thread 2) -> compose -> encode (thread 3) -> rename into place.
"""

from __future__ import annotations

import itertools
import os
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from dnirender import compose
from dnirender.animation import FORMATS, AnimationSink, Spool
from dnirender.decode import Facts, Source, is_still, open_source
from dnirender.encode import (
    CONTAINERS,
    PictureSink,
    Sink,
    Times,
    VideoSink,
    VideoSpec,
    check_encoder,
    choose_pix_fmt,
    encoder_options,
    even_size,
    numbered,
)
from dnirender.errors import OutputError, UsageError
from dnirender.frames import Alpha, Batch, Frame, Image, prefetch
from dnirender.preset import DEFAULT_PRESET, Preset
from dnirender.streams import AS_ASKED, Cut, StreamPlan, plan_streams
from dnirender.timeline import Timeline, Track, parse_position

if TYPE_CHECKING:
    from dnirender.engine import Engine

DECODED_AHEAD, RENDERED_AHEAD = 4, 2
CUDA_BATCH = 4  # on the CPU one by one is faster: activations stay in the caches
STILL_RATE = Fraction(24)
MAX_STILL_FRAMES = 1_000_000

Progress = Callable[[int, int, Alpha], None]
"""Called after every written frame with (frames written, frames in all, its alpha)."""


@dataclass(frozen=True)
class Job:
    """What is to be rendered. `start` and `end` are positions in the source, `end` exclusive."""

    input: Path
    output: Path
    preset: Preset
    start: str | None = None
    end: str | None = None
    video_stream: int | None = None
    fps: Fraction | None = None
    boomerang: bool = False
    device: str = "auto"
    dtype: str = "auto"
    batch: int | None = None
    threads: int | None = None
    overwrite: bool = False

    @property
    def timeline(self) -> Timeline:
        """The preset's timeline."""
        return self.preset.timeline.parsed()

    @property
    def animated(self) -> bool:
        """Whether the output is a GIF, WebP or APNG."""
        return self.output.suffix.lower() in FORMATS


@dataclass(frozen=True)
class Selection:
    """Which frames are rendered: their indices in the source, their alphas, the moments they are shown at."""

    indices: tuple[int, ...]
    alphas: tuple[Alpha, ...]
    times: Times
    track: Track
    cut: Cut = field(default_factory=Cut)


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
        rendered = len(self.selection.indices)
        return len(boomerang_order(rendered)) if self.job.boomerang else rendered

    @property
    def distinct_alphas(self) -> int:
        """Different alphas along the timeline."""
        return len(set(self.selection.alphas))

    @property
    def weight_writes(self) -> int:
        """How often the engine will mix weights."""
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

    def blocks(self) -> Iterator[Block]:
        """The rendered frames in blocks of at most the batch size, each with the alphas that it needs."""
        alphas, size = self.selection.alphas, self.job.batch or 1
        for start in range(0, len(alphas), size):
            yield Block([self.needs(alpha) for alpha in alphas[start : start + size]])


@dataclass(frozen=True)
class Block:
    """Consecutive frames; `needs` lists each one's alphas."""

    needs: list[tuple[Alpha, ...]]

    @property
    def alphas(self) -> tuple[Alpha, ...]:
        """The block's different alphas, in order of first need."""
        return tuple(dict.fromkeys(itertools.chain.from_iterable(self.needs)))


@dataclass(frozen=True)
class Report:
    """What a render did. `seconds` is wall time, `fps` output frames per second of it."""

    input: str
    output: str
    frames: int
    seconds: float
    fps: float
    device: str
    dtype: str
    weight_writes: int
    streams: tuple[str, ...]
    warnings: tuple[str, ...]


def one_hot(index: int, count: int) -> Alpha:
    """The alpha of an endpoint."""
    return tuple(1.0 if i == index else 0.0 for i in range(count))


def boomerang_order(count: int) -> list[int]:
    """Forth and back, the ends not doubled: 0 1 2 3 2 1."""
    return [*range(count), *range(count - 2, 0, -1)]


def default_output(source: Path, name: str) -> Path:
    """`<stem>.<name>.mp4` in the current folder."""
    return Path(f"{source.stem}.{name}.mp4")


def make_plan(job: Job) -> Plan:
    """Checks a job as far as that is possible without its networks, and lays the timeline over its input.

    Raises UsageError, MediaError (input) or OutputError (target) with what to do about it.
    """
    check_output(job.output, job.overwrite, job.input)
    compose.check_panels(job.preset.layout.panels, job.preset.endpoints)
    if job.fps is not None and not (job.animated or is_still(job.input)):
        raise UsageError("--fps applies to GIF, WebP, APNG and stills; a video keeps the time stamps of its source")
    source = _open(job)
    facts = source.facts
    selection = select(job, facts)
    warnings = list(facts.warnings)
    streams = _streams(job, facts)
    warnings += [str(plan) for plan in streams if plan.action != "copy" and plan.why != AS_ASKED]
    return Plan(job, source, selection, scaled_size(job, facts), streams, tuple(warnings))


def check_output(output: Path, overwrite: bool, source: Path) -> None:
    """Raises unless the target's format is known, its folder is there, and nothing would be lost."""
    suffix = output.suffix.lower()
    pictures = suffix == ".png" and "%" in output.name
    if suffix == ".png" and not pictures:
        raise UsageError(f"{output}: one PNG cannot hold a transition; name a pattern such as frame_%04d.png")
    if not pictures and suffix not in CONTAINERS and suffix not in FORMATS:
        known = " ".join(sorted(ext.lstrip(".") for ext in (*CONTAINERS, *FORMATS)))
        raise UsageError(f"{output}: unknown output format {suffix or 'without extension'!r}; expected {known} or %04d.png")
    target = _first_picture(output) if pictures else output
    if not output.parent.is_dir():
        raise OutputError(f"{output.parent}: no such folder; make it first")
    if target.resolve() == source.resolve():
        raise OutputError(f"{output}: is the input itself; choose another name")
    if target.is_dir():
        raise OutputError(f"{output}: is a folder; name a file")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists already; -y overwrites it")
    if not os.access(output.parent, os.W_OK):
        raise OutputError(f"{output.parent}: this folder cannot be written to")


def _first_picture(output: Path) -> Path:
    try:
        return numbered(output, 0)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{output.name}: expected one number in the pattern, as in frame_%04d.png") from error


def _open(job: Job) -> Source:
    if not is_still(job.input):
        return open_source(job.input, stream=job.video_stream)
    rate = job.fps or (Fraction(job.preset.gif.fps).limit_denominator(1000) if job.animated else STILL_RATE)
    timeline = job.timeline
    count = timeline.num_frames(rate)
    if count > MAX_STILL_FRAMES:
        raise UsageError(f"keyframes: the last key is at frame {count - 1}; a still is held for {MAX_STILL_FRAMES} frames at most")
    # A loop shows its first frame after its last: a closed cycle would stand still for one frame.
    closed = job.animated and timeline.is_closed(job.preset.endpoints) and count > 1
    return open_source(job.input, still_frames=count - closed, still_rate=rate)


def select(job: Job, facts: Facts) -> Selection:
    """Lays the timeline over the range that is rendered; an animation takes the frames that its rate can show."""
    seconds = facts.seconds
    start = parse_position(job.start).frame(seconds) if job.start else 0
    # "up to the end" means all of it, although `end` as a position is the last frame.
    stop = parse_position(job.end).frame(seconds) if job.end not in (None, "end", "100%") else len(seconds)
    if start >= stop:
        raise UsageError(f"--start {job.start or 0} --end {job.end or 'end'}: no frame of {len(seconds)} lies in this range")
    if facts.still and job.animated:
        track = _still_track(job, facts)
    else:
        track = job.timeline.resolve(job.preset.endpoints, seconds[start:stop])
    times = _times(facts, start, stop)
    cut = Cut(seconds[start], seconds[stop] if stop < len(seconds) else None, seconds[start])
    if job.animated and not facts.still:
        shown, times = thin(seconds[start:stop], times, _rate(job, facts))
        indices, alphas = [start + index for index in shown], [track.alphas[index] for index in shown]
        return Selection(tuple(indices), tuple(alphas), times, track, cut)
    whole = start == 0 and stop == len(seconds)
    if not whole:
        times = replace(times, pts=tuple(pts - times.pts[0] for pts in times.pts))
    return Selection(tuple(range(start, stop)), track.alphas, times, track, _whole_cut(job, times) if whole else cut)


def _still_track(job: Job, facts: Facts) -> Track:
    """The timeline over a still, whose closed cycle has lost the last frame that would double the first."""
    count = job.timeline.num_frames(1 / facts.time_base)
    track = job.timeline.resolve(job.preset.endpoints, [i * facts.time_base for i in range(count)])
    return replace(track, alphas=track.alphas[: len(facts.pts)])


def _times(facts: Facts, start: int, stop: int) -> Times:
    """The times of frames start to stop, in a time base of 1/n as containers count it."""
    unit, base = facts.time_base.numerator, Fraction(1, facts.time_base.denominator)
    last = facts.pts[stop] - facts.pts[stop - 1] if stop < len(facts.pts) else facts.last_duration
    return Times(tuple(pts * unit for pts in facts.pts[start:stop]), base, last * unit)


def _whole_cut(job: Job, times: Times) -> Cut:
    # Matroska has no times below zero and would shift everything; what lies there is encoder priming, not sound.
    matroska = CONTAINERS.get(job.output.suffix.lower()) in ("matroska", "webm")
    return Cut(start=Fraction(0)) if matroska and times.pts[0] >= 0 else Cut()


def _rate(job: Job, facts: Facts) -> Fraction:
    asked = job.fps or Fraction(job.preset.gif.fps).limit_denominator(1000)
    return min(asked, facts.frame_rate)


def thin(seconds: Sequence[Fraction], times: Times, rate: Fraction) -> tuple[list[int], Times]:
    """The frames that are on screen at the ticks of `rate`, each once, and how long they stand in ticks."""
    length = (times.pts[-1] - times.pts[0] + times.last_duration) * times.time_base
    num_ticks = max(1, round(length * rate))
    shown = [bisect_right(seconds, seconds[0] + tick / rate) - 1 for tick in range(num_ticks)]
    kept = [tick for tick in range(num_ticks) if tick == 0 or shown[tick] != shown[tick - 1]]
    return [shown[tick] for tick in kept], Times(tuple(kept), 1 / rate, num_ticks - kept[-1])


def scaled_size(job: Job, facts: Facts) -> tuple[int, int]:
    """The size given to the network: the source's, or scaled by the layout with its aspect kept."""
    width, height = job.preset.layout.width, job.preset.layout.height
    if width is None and height is None and job.animated:
        width = min(job.preset.gif.width, facts.width)
    if width is None and height is None:
        return facts.width, facts.height
    if width is None and height is not None:
        width = max(1, round(facts.width * height / facts.height))
    if height is None and width is not None:
        height = max(1, round(facts.height * width / facts.width))
    assert width is not None and height is not None
    return width, height


def _streams(job: Job, facts: Facts) -> tuple[StreamPlan, ...]:
    suffix = job.output.suffix.lower()
    if facts.still or job.boomerang or suffix not in CONTAINERS:
        return ()
    encoding = job.preset.encoding
    return plan_streams(
        job.input, CONTAINERS[suffix], facts.video_index, audio=encoding.audio, subtitles=encoding.subtitles
    )


def load_engine(job: Job) -> Engine:
    """The networks of the job's preset on its device; raises ModelError, UsageError."""
    from dnirender.engine import Engine
    from dnirender.network import load

    network, path = load({endpoint.name: endpoint.weights for endpoint in job.preset.network.endpoints})
    return Engine(network, path, device=job.device, dtype=job.dtype, threads=job.threads)


@dataclass(frozen=True)
class Ready:
    """A plan with its networks loaded and its encoder tried: nothing but rendering is left."""

    plan: Plan
    engine: Engine
    output_size: tuple[int, int]
    spec: VideoSpec | None
    warnings: tuple[str, ...]

    def sink(self) -> Sink:
        """The writer of the output."""
        plan, job = self.plan, self.plan.job
        times = _output_times(plan)
        if job.animated:
            return AnimationSink(job.output, times, dither=job.preset.gif.dither)
        if self.spec is None:
            return PictureSink(job.output)
        kept = any(stream.action != "drop" for stream in plan.streams)
        has_source = not (plan.source.facts.still or job.boomerang)
        companions = (job.input, plan.streams, plan.selection.cut) if kept or has_source else None
        return VideoSink(job.output, self.spec, times, companions)


def prepare(plan: Plan) -> Ready:
    """Loads the networks and tries the encoder with the size and format that it will get."""
    engine = load_engine(plan.job)
    if plan.job.batch is None:
        plan = replace(plan, job=replace(plan.job, batch=CUDA_BATCH if engine.device.type == "cuda" else 1))
    width, height = plan.size[0] * engine.network.scale, plan.size[1] * engine.network.scale
    panels = plan.job.preset.layout.panels
    if len(panels) > 1:
        width, height = compose.compare_size(width, height, len(panels))
    spec, warnings = None, list(plan.warnings)
    if plan.job.output.suffix.lower() in CONTAINERS:
        spec = _spec(plan, width, height)
        check_encoder(spec)
        if (spec.width, spec.height) != (width, height):
            warnings.append(
                f"{width}x{height} is odd, and {spec.codec} with {spec.pix_fmt} is not: "
                f"padded to {spec.width}x{spec.height} by repeating the edge"
            )
    return Ready(plan, engine, (width, height), spec, tuple(warnings))


def _spec(plan: Plan, width: int, height: int) -> VideoSpec:
    facts, encoding = plan.source.facts, plan.job.preset.encoding
    webm = plan.job.output.suffix.lower() == ".webm"
    codec = encoding.codec if encoding.codec != "auto" else "libvpx-vp9" if webm else "libx264"
    pix_fmt = choose_pix_fmt(codec, facts.sampling, facts.depth, encoding.pix_fmt)
    width, height = even_size(codec, pix_fmt, width, height)
    return VideoSpec(
        codec=codec,
        pix_fmt=pix_fmt,
        width=width,
        height=height,
        colour=facts.colour,
        sample_aspect_ratio=facts.sample_aspect_ratio,
        options=encoder_options(codec, encoding.crf, encoding.options),
        rate=_output_times(plan).frame_rate.limit_denominator(100_000),
    )


def _output_times(plan: Plan) -> Times:
    times = plan.selection.times
    if not plan.job.boomerang:
        return times
    order = boomerang_order(len(times.pts))
    durations = [times.duration(index) for index in order]
    return Times(tuple(itertools.accumulate(durations[:-1], initial=0)), times.time_base, durations[-1])


def run(ready: Ready, progress: Progress | None = None) -> Report:
    """Renders. The target's name holds the whole result when this returns, and is untouched when it raises."""
    plan, began = ready.plan, time.perf_counter()
    done = 0
    with closing(_composed(ready)) as pictures, ready.sink() as sink:
        shown = _back_and_forth(pictures, plan) if plan.job.boomerang else pictures
        for alpha, picture in shown:
            sink.write(picture)
            done += 1
            if progress:
                progress(done, plan.num_frames, alpha)
    seconds = time.perf_counter() - began
    engine = ready.engine
    return Report(
        input=str(plan.job.input),
        output=str(plan.job.output),
        frames=done,
        seconds=round(seconds, 3),
        fps=round(done / seconds, 3),
        device=str(engine.device),
        dtype=engine.dtype,
        weight_writes=engine.writes,
        streams=tuple(str(stream) for stream in plan.streams),
        warnings=ready.warnings,
    )


def _composed(ready: Ready) -> Iterator[tuple[Alpha, Image]]:
    """The path of every frame from the file to the picture that is encoded."""
    plan = ready.plan
    decoded = prefetch(plan.source.frames(plan.selection.indices), DECODED_AHEAD, "decode")
    scaled = (replace(frame, image=compose.fit(frame.image, *plan.size)) for frame in decoded)
    rendered = prefetch(_rendered(ready.engine, plan, scaled), RENDERED_AHEAD, "render")
    with closing(rendered):
        draw = _drawer(ready)
        for number, (frame, renders) in enumerate(rendered):
            yield plan.selection.alphas[number], draw(number, frame, renders)


Renders = dict[Alpha, Image]


def _rendered(engine: Engine, plan: Plan, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Renders]]:
    """Each frame with what it becomes under every alpha that it needs, in order."""
    waiting: deque[tuple[Frame, tuple[Alpha, ...], Renders]] = deque()

    def batches() -> Iterator[Batch]:
        stream = iter(frames)
        for block in plan.blocks():
            members = list(itertools.islice(stream, len(block.needs)))
            waiting.extend((frame, needs, {}) for frame, needs in zip(members, block.needs, strict=True))
            for alpha in block.alphas:
                takers = (frame for frame, needs in zip(members, block.needs, strict=True) if alpha in needs)
                yield Batch(tuple(takers), alpha)

    if not any(plan.needs(alpha) for alpha in plan.selection.alphas[:1]):
        yield from ((frame, {}) for frame in frames)
        return
    for batch, images in engine(batches()):
        places = {frame.index: renders for frame, _, renders in waiting}
        for frame, image in zip(batch.frames, images, strict=True):
            places[frame.index][batch.alpha] = image
        while waiting and len(waiting[0][2]) == len(waiting[0][1]):
            frame, _, renders = waiting.popleft()
            yield frame, renders


def _drawer(ready: Ready) -> Callable[[int, Frame, Renders], Image]:
    """How a frame's renders become the picture that is written."""
    plan = ready.plan
    layout, selection = plan.job.preset.layout, plan.selection
    if layout.panels == ("render",):
        return lambda number, _frame, renders: renders[selection.alphas[number]]
    scale = ready.engine.network.scale
    size = plan.size[0] * scale, plan.size[1] * scale
    keys = [(float(at), alpha) for at, alpha in selection.track.keys]
    track = compose.AlphaTrack(selection.track.alphas, keys) if len(layout.panels) > 1 else None
    first, span = selection.indices[0], max(1, len(selection.track.alphas) - 1)

    def draw(number: int, frame: Frame, renders: Renders) -> Image:
        alpha = selection.alphas[number]
        panels = [(name, _panel(plan, name, frame, alpha, renders)) for name in layout.panels]
        if track is None:
            return compose.fit(panels[0][1], *size)
        return compose.compare(panels, track, (frame.index - first) / span, labels=layout.labels, size=size)

    return draw


def _panel(plan: Plan, name: str, frame: Frame, alpha: Alpha, renders: Renders) -> Image:
    endpoints = plan.job.preset.endpoints
    if name == "source":
        return frame.image
    if name == "render":
        return renders[alpha]
    if name == "crossfade":
        parts = [(weight, renders[one_hot(i, len(endpoints))]) for i, weight in enumerate(alpha) if weight]
        return compose.crossfade([image for _, image in parts], tuple(weight for weight, _ in parts))
    return renders[one_hot(endpoints.index(name), len(endpoints))]


def _back_and_forth(pictures: Iterable[tuple[Alpha, Image]], plan: Plan) -> Iterator[tuple[Alpha, Image]]:
    """The pictures as they come, then from the last but one back to the second, off the disk."""
    spool = Spool(plan.job.output.parent)
    alphas: list[Alpha] = []
    try:
        for alpha, picture in pictures:
            spool.append(picture)
            alphas.append(alpha)
            yield alpha, picture
        for index in boomerang_order(len(spool))[len(spool) :]:
            yield alphas[index], spool[index]
    finally:
        spool.close()


def estimate_seconds(ready: Ready) -> float:
    """How long rendering will take, from the second of two runs of the first frame through the network."""
    plan = ready.plan
    frame = next(iter(plan.source.frames(plan.selection.indices[:1])))
    image = compose.fit(frame.image, *plan.size)
    ready.engine.render(image, plan.selection.alphas[0])
    began = time.perf_counter()
    ready.engine.render(image, plan.selection.alphas[0])
    return (time.perf_counter() - began) * plan.forwards


def render(
    input: str | Path,
    output: str | Path | None = None,
    *,
    preset: str | Path | Preset = DEFAULT_PRESET,
    keyframes: str | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    **options: object,
) -> Report:
    """Renders `input` to `output` (default `<stem>.<preset>.mp4` in the current folder) and reports.

    `options` are the other fields of Job: start, end, video_stream, fps, boomerang, device, dtype, batch, threads.
    Raises RenderError; the type says who can mend it.
    """
    chosen = preset if isinstance(preset, Preset) else Preset.load(preset)
    if keyframes is not None:
        chosen = chosen.override({"timeline": {"keyframes": keyframes}})
    name = Path(preset).stem if isinstance(preset, str | Path) else chosen.name
    target = Path(output) if output is not None else default_output(Path(input), name)
    job = Job(Path(input), target, chosen, overwrite=overwrite, **options)  # pyright: ignore[reportArgumentType]
    return run(prepare(make_plan(job)), progress)
