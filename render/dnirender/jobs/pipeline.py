"""The path of one frame.

decode (thread 1) -> scale -> group by alpha -> engine (thread 2, its lanes or streams) -> compose -> colours of the
encoder (thread 3) -> encode (the caller's) -> part of a segment -> join -> rename into place.
"""

from __future__ import annotations

import itertools
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from dnirender.encoding.segment_file import DamagedPart, Parts, PartWriter
from dnirender.encoding.video import Sink
from dnirender.errors import OutputError, RenderError
from dnirender.files import disk_errors, publish
from dnirender.frames import Alpha, Batch, Frame, Image, prefetch
from dnirender.jobs.disk_space import full, is_no_space, size_text
from dnirender.jobs.plan import Job, Plan, default_output, make_plan, one_hot
from dnirender.jobs.prepare import Ready, free_name, prepare, settings, shows_opacity, tune
from dnirender.jobs.workspace import Manifest, Segment, Work
from dnirender.layout import panels as compose
from dnirender.preset import DEFAULT_PRESET, Preset

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from dnirender.engine.engine import Engine

LARGE = 500_000_000  # bytes: joining them takes seconds
DECODED_AHEAD, RENDERED_AHEAD, CONVERTED_AHEAD = 4, 2, 2

Progress = Callable[[int, int, Alpha], None]
"""Called after every written frame with (frames written, frames in all, its alpha)."""


@dataclass(frozen=True)
class Report:
    """What a render did. `lanes` pictures were rendered side by side on the CPU, in tiles of this height and width
    where there is one. `resumed` pictures had been rendered by earlier runs. `seconds` is wall time from the first
    frame to the published file, without the loading of the networks; `fps` is pictures rendered per second of it."""

    input: str
    output: str
    frames: int
    resumed: int
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


def run(ready: Ready, progress: Progress | None = None, notice: Callable[[str], None] | None = None) -> Report:
    """Renders. The target's name holds the whole result when this returns, and is untouched when it raises; segments
    that were finished by then are kept, and the same job goes on behind them.

    `notice` is told when much is joined, and what was published of a render that did not come to its end.
    """
    plan, engine = ready.plan, ready.engine
    began, written_before, retried_before = time.perf_counter(), engine.writes, len(engine.retried)
    tune(engine, plan)  # another job may have used the engine since
    try:
        with ready.work as work:
            missing = _finish(ready, work, progress, notice)
    except OutputError as error:
        if not plan.job.output.parent.is_dir():
            raise OutputError(f"{plan.job.output.parent}: this folder is gone, and all that was rendered") from error
        if not is_no_space(error):
            raise
        done, total = ready.work.kept, len(plan.selection.indices)
        raise full(plan.job.output, ready.work.folder, done, total, ready.space) from error
    seconds, rendered = time.perf_counter() - began, sum(len(segment.numbers) for segment in missing)
    warnings = list(ready.warnings)
    if retried := engine.retried[retried_before:]:
        warnings.append(f"{len(retried)} frames overflowed in {engine.dtype} and were rendered in fp32: {retried[:5]}")
    return Report(
        input=str(plan.job.input),
        output=str(plan.job.output),
        frames=plan.num_frames,
        resumed=len(plan.selection.indices) - rendered,
        seconds=round(seconds, 3),
        fps=round(rendered / seconds, 3),
        device=str(engine.device),
        dtype=engine.dtype,
        backend=engine.backend,
        lanes=engine.lanes,
        tile=engine.tile,
        weight_writes=engine.writes - written_before,
        streams=tuple(str(stream) for stream in plan.streams),
        warnings=(*warnings, *plan.source.repairs()),
    )


def _finish(
    ready: Ready, work: Work, progress: Progress | None, notice: Callable[[str], None] | None
) -> Sequence[Segment]:
    """Renders what is missing, delivers and tidies up; returns the segments that were missing."""
    plan, missing = ready.plan, list[Segment]()
    if plan.job.restart:
        work.forget()
    begun = work.begin(settings(ready.engine), ready.segments)
    try:
        if not all(begun.has_delivered(target) for target in plan.targets):
            finished = _sound(ready, work, begun)
            missing = [segment for segment in begun.segments if segment not in finished]
            _record(ready, missing, progress)
            if notice and (size := sum(part.stat().st_size for part in work.folder.glob("*.part"))) > LARGE:
                notice(f"{plan.job.output}: joining {size_text(size)}")
            _deliver(ready, work, begun.segments)
        work.published = True
    except BaseException:
        if plan.job.keep_partial:
            _deliver_partial(ready, begun.segments, notice or (lambda _: None))
        raise
    work.tidy()
    return missing


def _sound(ready: Ready, work: Work, begun: Manifest) -> tuple[Segment, ...]:
    """The finished segments that are as this job wants them: one that ignores no errors takes none that hide some."""
    plan = ready.plan
    if plan.job.ignore_errors:
        plan.source.repaired.update(begun.repaired)
    elif begun.repaired:
        indices, mended = plan.selection.indices, set(begun.repaired)
        work.drop(s for s in begun.segments if not mended.isdisjoint(indices[s.start : s.stop]))
        work.note(repaired=())
    return work.finished()


def _record(ready: Ready, missing: Sequence[Segment], progress: Progress | None) -> None:
    """Renders the segments that are missing. Frames are made ahead across their borders."""
    plan, sink = ready.plan, ready.sink()
    numbers = [number for segment in missing for number in segment.numbers]
    total = len(plan.selection.indices)
    done = total - len(numbers)
    with (
        _opencv_threads(1 if ready.engine.device.type == "cpu" else None),
        closing(prefetch(_converted(ready, sink, numbers), CONVERTED_AHEAD, "convert")) as pictures,
    ):
        for segment in missing:
            with disk_errors(plan.job.output):
                recorder = sink.recorder()
            with PartWriter(ready.work.folder / segment.name, recorder.header) as part:
                for number in segment.numbers:
                    alpha, picture = _due(pictures, number)
                    part.extend(recorder.record(number, picture))
                    done += 1
                    if progress:
                        progress(done, total, alpha)
                part.extend(recorder.flush())
                if plan.source.repaired:
                    ready.work.note(repaired=sorted(plan.source.repaired))


def _due(pictures: Iterator[tuple[Alpha, Any]], number: int) -> tuple[Alpha, Any]:
    if (found := next(pictures, None)) is None:
        raise RenderError(f"frame {number} of the render did not come; nothing was published")
    return found


def _deliver_partial(ready: Ready, segments: Sequence[Segment], notice: Callable[[str], None]) -> None:
    """Publishes the frames up to the first that is missing as STEM.partial.EXT; the parts stay for the next run."""
    plan, work = ready.plan, ready.work
    finished = work.finished()
    whole = list(itertools.takewhile(lambda segment: segment in finished, segments))
    count = whole[-1].stop if whole else 0
    if not 0 < count < len(plan.selection.indices) or plan.job.boomerang:
        return
    try:
        target = free_name(ready)
        short = replace(plan, job=replace(plan.job, output=target), selection=plan.first(count))
        with Parts([work.folder / segment.name for segment in whole]) as parts:
            for file, place in replace(ready, plan=short, partial=True).sink().deliver(parts, work.folder):
                publish(file, place)
        notice(f"{target}: the first {count} frames")
    except RenderError as error:  # the reason why the render stopped is the one to tell
        notice(f"warning: nothing was published of what is done ({error})")
    finally:
        _drop_joined(work)


def _drop_joined(work: Work) -> None:
    """Gives back the room of what was not published."""
    for file in work.folder.glob("joined.*"):
        file.unlink(missing_ok=True)


def _deliver(ready: Ready, work: Work, segments: Sequence[Segment]) -> None:
    """Makes the output of the finished parts and gives it its name."""
    try:
        with Parts([work.folder / segment.name for segment in segments]) as parts:
            files = ready.sink().deliver(parts, work.folder)
    except BaseException as error:
        _drop_joined(work)
        if isinstance(error, DamagedPart):
            error.path.unlink(missing_ok=True)
        raise
    work.delivering(files)
    for file, target in files:
        publish(file, target)


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


def _converted(ready: Ready, sink: Sink, numbers: Sequence[int]) -> Iterator[tuple[Alpha, Image | VideoFrame]]:
    """The pictures of these numbers, in order, as the recorder takes them."""
    with closing(_composed(ready, numbers)) as pictures:
        for alpha, picture in pictures:
            yield alpha, sink.converted(picture)


def _composed(ready: Ready, numbers: Sequence[int]) -> Generator[tuple[Alpha, Image]]:
    """The path of every frame from the file to the picture that is encoded."""
    plan = ready.plan
    decoded = prefetch(plan.source.frames([plan.selection.indices[n] for n in numbers]), DECODED_AHEAD, "decode")
    scaled = (replace(frame, image=compose.fit(frame.image, *plan.size)) for frame in decoded)
    rendered = prefetch(_rendered(ready.engine, plan, numbers, scaled), RENDERED_AHEAD, "render")
    with closing(decoded), closing(rendered):
        draw = _drawer(ready)
        for number, (frame, renders) in zip(numbers, rendered, strict=True):
            opacity = frame.opacity if shows_opacity(plan) else None
            yield plan.selection.alphas[number], compose.with_opacity(draw(number, frame, renders), opacity)


Renders = dict[Alpha, Image]


def _rendered(
    engine: Engine, plan: Plan, numbers: Sequence[int], frames: Iterable[Frame]
) -> Iterator[tuple[Frame, Renders]]:
    """Each frame with what it becomes under every alpha that it needs, in order."""
    waiting: deque[tuple[Frame, tuple[Alpha, ...], Renders]] = deque()

    def batches() -> Iterator[Batch]:
        stream = iter(frames)
        for block in plan.blocks(numbers):
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


def render(
    input: str | Path,
    output: str | Path | None = None,
    *,
    preset: str | Path | Preset = DEFAULT_PRESET,
    keyframes: str | None = None,
    start: str | int | None = None,
    end: str | int | None = None,
    video_stream: int | None = None,
    deinterlace: str = "auto",
    hdr: str = "auto",
    fps: float | Fraction | None = None,
    boomerang: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    backend: str = "auto",
    batch: int | None = None,
    threads: int | None = None,
    tile: int | None = None,
    segment: int | None = None,
    restart: bool = False,
    keep_partial: bool = False,
    strict: bool = False,
    overwrite: bool = False,
    ignore_errors: bool = False,
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
        deinterlace=deinterlace,
        hdr=hdr,
        fps=None if fps is None else Fraction(fps).limit_denominator(1001),
        boomerang=boomerang,
        device=device,
        dtype=dtype,
        backend=backend,
        batch=batch,
        threads=threads,
        tile=tile,
        segment=segment,
        restart=restart,
        keep_partial=keep_partial,
        strict=strict,
        overwrite=overwrite,
        ignore_errors=ignore_errors,
    )
    return run(prepare(make_plan(job)), progress)
