"""The path of one frame.

decode (thread 1) -> scale -> group by alpha -> engine (thread 2, its lanes or streams) -> compose -> colours of the
encoder (thread 3) -> encode (the caller's) -> rename into place.
"""

from __future__ import annotations

import itertools
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dnirender import compose
from dnirender.animation import AnimationSink, Spool
from dnirender.encode import CONTAINERS, Sink, VideoSink, container_of
from dnirender.encoders import (
    VideoSpec,
    check_container,
    check_encoder,
    choose_pix_fmt,
    encoder_options,
    even_size,
    keeps_shape,
)
from dnirender.frames import Alpha, Batch, Frame, Image, prefetch
from dnirender.pictures import PictureSink
from dnirender.plan import Job, Plan, boomerang_order, default_output, make_plan, one_hot
from dnirender.preset import DEFAULT_PRESET, Preset
from dnirender.publish import disk_errors

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from dnirender.engine import Engine

DECODED_AHEAD, RENDERED_AHEAD, CONVERTED_AHEAD = 4, 2, 2
CUDA_BATCH = 4  # on the CPU one by one is faster: activations stay in the caches

Progress = Callable[[int, int, Alpha], None]
"""Called after every written frame with (frames written, frames in all, its alpha)."""


@dataclass(frozen=True)
class Report:
    """What a render did. `lanes` pictures were rendered side by side on the CPU, in tiles of this height and width
    where there is one. `seconds` is wall time from the first frame to the published file, without the loading of the
    networks; `fps` is output frames per second of it."""

    input: str
    output: str
    frames: int
    seconds: float
    fps: float
    device: str
    dtype: str
    backend: str
    lanes: int
    tile: tuple[int, int] | None
    weight_writes: int
    streams: tuple[str, ...]
    warnings: tuple[str, ...]


def load_engine(job: Job) -> Engine:
    """The networks of the job's preset on its device; raises ModelError, UsageError."""
    from dnirender.engine import Engine
    from dnirender.network import load

    network, path = load({endpoint.name: endpoint.weights for endpoint in job.preset.network.endpoints})
    return Engine(
        network,
        path,
        device=job.device,
        dtype=job.dtype,
        backend=job.backend,
        threads=job.threads,
        tile=job.tile,
    )


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
        times = plan.times
        if job.animated:
            return AnimationSink(job.output, times, dither=job.preset.gif.dither)
        if self.spec is None:
            return PictureSink(job.output)
        alone = plan.source.facts.still or job.boomerang
        companions = None if alone else (job.input, plan.streams, plan.selection.cut)
        return VideoSink(job.output, self.spec, times, companions)


def prepare(plan: Plan, engine: Engine | None = None) -> Ready:
    """Loads the networks, or takes those of a job with the same ones, and tries the encoder with its real settings."""
    engine = engine or load_engine(plan.job)
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
        check_container(spec, container_of(plan.job.output))
        if not keeps_shape(spec, container_of(plan.job.output)):
            warnings.append(
                f"pixels are {spec.sample_aspect_ratio} wide, which {spec.codec} cannot say in this container"
            )
        if (spec.width, spec.height) != (width, height):
            warnings.append(
                f"{width}x{height} is odd, and {spec.codec} with {spec.pix_fmt} is not: "
                f"padded to {spec.width}x{spec.height} by repeating the edge"
            )
    _tune(engine, plan)
    return Ready(plan, engine, (width, height), spec, tuple(warnings))


def _tune(engine: Engine, plan: Plan) -> None:
    engine.tune(plan.size[1], plan.size[0], plan.forwards, plan.source.facts.depth)


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
        rate=plan.times.frame_rate.limit_denominator(100_000),
    )


def run(ready: Ready, progress: Progress | None = None) -> Report:
    """Renders. The target's name holds the whole result when this returns, and is untouched when it raises."""
    plan, engine = ready.plan, ready.engine
    _tune(engine, plan)  # another job may have used the engine since
    began = time.perf_counter()
    done, total, written_before = 0, plan.num_frames, engine.writes
    with (
        _opencv_threads(1 if engine.device.type == "cpu" else None),
        ready.sink() as sink,
        closing(prefetch(_converted(ready, sink), CONVERTED_AHEAD, "convert")) as pictures,
    ):
        for alpha, picture in pictures:
            sink.write(picture)
            done += 1
            if progress:
                progress(done, total, alpha)
    seconds = time.perf_counter() - began
    return Report(
        input=str(plan.job.input),
        output=str(plan.job.output),
        frames=done,
        seconds=round(seconds, 3),
        fps=round(done / seconds, 3),
        device=str(engine.device),
        dtype=engine.dtype,
        backend=engine.backend,
        lanes=engine.lanes,
        tile=engine.tile,
        weight_writes=engine.writes - written_before,
        streams=tuple(str(stream) for stream in plan.streams),
        warnings=ready.warnings,
    )


@contextmanager
def _opencv_threads(count: int | None) -> Generator[None]:
    """Where all cores are busy anyway, OpenCV's threads only wait for one another: a tenth of all CPU time."""
    before = cv2.getNumThreads()
    if count:
        cv2.setNumThreads(count)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _converted(ready: Ready, sink: Sink) -> Iterator[tuple[Alpha, Image | VideoFrame]]:
    """The pictures in the order they are shown in, as the encoder takes them."""
    with closing(_composed(ready)) as pictures:
        shown = _back_and_forth(pictures, ready.plan) if ready.plan.job.boomerang else pictures
        for alpha, picture in shown:
            yield alpha, sink.converted(picture)


def _composed(ready: Ready) -> Generator[tuple[Alpha, Image]]:
    """The path of every frame from the file to the picture that is encoded."""
    plan = ready.plan
    decoded = prefetch(plan.source.frames(plan.selection.indices), DECODED_AHEAD, "decode")
    scaled = (replace(frame, image=compose.fit(frame.image, *plan.size)) for frame in decoded)
    rendered = prefetch(_rendered(ready.engine, plan, scaled), RENDERED_AHEAD, "render")
    with closing(decoded), closing(rendered):
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

    if not plan.forwards:
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
    track = compose.AlphaTrack(selection.track.alphas, _keys(plan)) if len(layout.panels) > 1 else None
    first, span = selection.indices[0], max(1, len(selection.track.alphas) - 1)

    def draw(number: int, frame: Frame, renders: Renders) -> Image:
        alpha = selection.alphas[number]
        panels = [(name, _panel(plan, name, frame, alpha, renders)) for name in layout.panels]
        if track is None:
            return compose.fit(panels[0][1], *size)
        return compose.compare(panels, track, (frame.index - first) / span, labels=layout.labels, size=size)

    return draw


def _keys(plan: Plan) -> list[tuple[float, Alpha]]:
    """The keyframes' places along the frames' numbers, 0..1, which is how the track is drawn."""
    selection = plan.selection
    keys = [(float(at), alpha) for at, alpha in selection.track.keys]
    first, last = selection.indices[0], selection.indices[0] + len(selection.track.alphas) - 1
    if not plan.job.timeline.timed or first == last:
        return keys
    seconds = np.array([float(time) for time in plan.source.facts.seconds[first : last + 1]])
    places = (seconds - seconds[0]) / (seconds[-1] - seconds[0])
    numbers = np.linspace(0, 1, len(places))
    return [(float(np.interp(at, places, numbers)) if at <= 1 else at, alpha) for at, alpha in keys]


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
    with disk_errors(plan.job.output):
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
    """How long the networks will take: what a few runs of the first frame take, times the frames that they see."""
    plan = ready.plan
    frame = next(iter(plan.source.frames(plan.selection.indices[:1])))
    return ready.engine.pace(compose.fit(frame.image, *plan.size)) * plan.forwards


def render(
    input: str | Path,
    output: str | Path | None = None,
    *,
    preset: str | Path | Preset = DEFAULT_PRESET,
    keyframes: str | None = None,
    start: str | int | None = None,
    end: str | int | None = None,
    video_stream: int | None = None,
    fps: float | Fraction | None = None,
    boomerang: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    backend: str = "auto",
    batch: int | None = None,
    threads: int | None = None,
    tile: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Renders `input` to `output` (default `<stem>.<preset>.mp4` in the current folder) and reports.

    The options are those of the command line. Raises RenderError; the type says who can mend it.
    """
    chosen = preset if isinstance(preset, Preset) else Preset.load(preset)
    if keyframes is not None:
        chosen = chosen.override({"timeline": {"keyframes": keyframes}})
    name = Path(preset).stem if isinstance(preset, str | Path) else re.sub(r"[^\w.-]+", "-", chosen.name).lower()
    job = Job(
        input=Path(input),
        output=Path(output) if output is not None else default_output(Path(input), name),
        preset=chosen,
        start=None if start is None else str(start),
        end=None if end is None else str(end),
        video_stream=video_stream,
        fps=None if fps is None else Fraction(fps).limit_denominator(1001),
        boomerang=boomerang,
        device=device,
        dtype=dtype,
        backend=backend,
        batch=batch,
        threads=threads,
        tile=tile,
        overwrite=overwrite,
    )
    return run(prepare(make_plan(job)), progress)
