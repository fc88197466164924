"""The path of one frame.

decode (thread 1) -> scale -> group by alpha -> engine (thread 2, with workers or CUDA streams) -> compose -> convert to
the encoder's pixel format (thread 3) -> encode (calling thread) -> segment file -> join -> rename into place.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2

from dnirender.concurrency import prefetch
from dnirender.encoding.segment_file import SegmentWriter
from dnirender.encoding.sink import Sink
from dnirender.errors import RenderError
from dnirender.files import disk_errors
from dnirender.frames import Alpha, Batch, Frame, Image
from dnirender.jobs.compose import Renders, make_composer
from dnirender.jobs.plan import Plan
from dnirender.jobs.prepare import PreparedJob, shows_opacity
from dnirender.jobs.workspace import Segment
from dnirender.media import resize
from dnirender.progress import ProgressTracker

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from dnirender.engine.engine import Engine


DECODED_AHEAD, RENDERED_AHEAD, CONVERTED_AHEAD = 4, 2, 2


def render_segments(prepared: PreparedJob, missing: Sequence[Segment], progress: ProgressTracker) -> None:
    """Renders the segments that are missing. Frames are made ahead across their borders."""
    plan, sink = prepared.plan, prepared.sink()
    numbers = [number for segment in missing for number in segment.numbers]
    total = len(plan.selection.indices)
    done = total - len(numbers)
    progress.enter("rendering", done, total)
    with (
        _opencv_threads(1 if prepared.engine.device.type == "cpu" else None),
        closing(prefetch(_converted(prepared, sink, numbers), CONVERTED_AHEAD, "convert")) as pictures,
    ):
        for segment in missing:
            with disk_errors(plan.job.output):
                encoder = sink.new_encoder()
            with SegmentWriter(prepared.workspace.folder / segment.name, encoder.header) as part:
                for number in segment.numbers:
                    alpha, picture = _next_frame(pictures, number)
                    part.extend(encoder.encode(number, picture))
                    done += 1
                    progress.wrote(done, total, alpha)
                part.extend(encoder.flush())
                if plan.source.concealed_frames:
                    prepared.workspace.note(concealed_frames=sorted(plan.source.concealed_frames))


def _next_frame(pictures: Iterator[tuple[Alpha, Any]], number: int) -> tuple[Alpha, Any]:
    if (found := next(pictures, None)) is None:
        raise RenderError(f"frame {number} of the render did not come; nothing was published")
    return found


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


def _converted(prepared: PreparedJob, sink: Sink, numbers: Sequence[int]) -> Iterator[tuple[Alpha, Image | VideoFrame]]:
    """The pictures of these numbers, in order, as the recorder takes them."""
    with closing(_composed(prepared, numbers)) as pictures:
        for alpha, picture in pictures:
            yield alpha, sink.convert(picture)


def _composed(prepared: PreparedJob, numbers: Sequence[int]) -> Generator[tuple[Alpha, Image]]:
    """The path of every frame from the file to the picture that is encoded."""
    plan = prepared.plan
    decoded = prefetch(plan.source.frames([plan.selection.indices[n] for n in numbers]), DECODED_AHEAD, "decode")
    scaled = (replace(frame, image=resize.resize_to(frame.image, *plan.size)) for frame in decoded)
    rendered = prefetch(_rendered(prepared.engine, plan, numbers, scaled), RENDERED_AHEAD, "render")
    with closing(decoded), closing(rendered):
        draw = make_composer(prepared)
        for number, (frame, renders) in zip(numbers, rendered, strict=True):
            opacity = frame.opacity if shows_opacity(plan) else None
            yield plan.selection.alphas[number], resize.with_opacity(draw(number, frame, renders), opacity)


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
