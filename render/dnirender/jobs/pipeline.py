"""The path of one frame.

decode (thread 1) -> resize, batch by alpha, engine (thread 2, with workers or CUDA streams) -> steady, if the job asks
for it (thread 3) -> compose the panels, convert to the encoder's pixel format (thread 4) -> encode to a segment file
(calling thread, or one for each device).
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dnirender.concurrency import merge, prefetch
from dnirender.engine.frame_work import Renders, render_works
from dnirender.errors import RenderError
from dnirender.frames import Frame
from dnirender.jobs.alpha_maps import make_works
from dnirender.jobs.compose import make_composer
from dnirender.jobs.plan import Plan
from dnirender.jobs.prepare import PreparedJob
from dnirender.jobs.workspace import Segment
from dnirender.masks.alpha_map import Plane
from dnirender.media import resize
from dnirender.media.opencv import opencv_threads
from dnirender.media.planar import PlanarFormat, as_planar
from dnirender.media.steadying import WINDOW, Steadier
from dnirender.progress import ProgressTracker

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine

DECODED_AHEAD, RENDERED_AHEAD, CONVERTED_AHEAD = 4, 2, 2


def render_segments(prepared: PreparedJob, missing: Sequence[Segment], progress: ProgressTracker) -> None:
    """Renders the segments that are missing. Each engine of the job takes every so-many-th of them, on threads of its
    own if there are several."""
    plan, engines = prepared.plan, prepared.engines
    total = len(plan.selection.indices)
    finished = total - sum(len(segment.numbers) for segment in missing)
    progress.enter("rendering", finished, total)
    shares = [missing[first :: len(engines)] for first in range(len(engines))]
    rendering = [
        _write_segments(replace(prepared, engine=engine), share)
        for engine, share in zip(engines, shares, strict=True)
        if share
    ]
    written = rendering[0] if len(rendering) == 1 else merge(rendering, 1, "segments")
    with opencv_threads(None if is_on_gpu(prepared.engine) else 1), closing(written):
        for number in written:
            finished += 1
            progress.wrote(finished, total, plan.main(plan.selection.alphas[number]))


def _write_segments(prepared: PreparedJob, segments: Sequence[Segment]) -> Generator[int]:
    """Renders segments, and yields the number of every frame that is written. The threads work ahead across the ends of
    segments."""
    plan, output = prepared.plan, prepared.output
    numbers = [number for segment in segments for number in segment.numbers]
    distinct = plan.without_repeats(numbers)
    steadies = is_steadied(plan)
    needed = with_frames_before(plan, distinct) if steadies else distinct
    with (
        closing(prefetch(_decode(plan, needed, _planar_format(prepared)), DECODED_AHEAD, "decode")) as decoded,
        closing(prefetch(_render(prepared, decoded), RENDERED_AHEAD, "render")) as rendered,
        closing(prefetch(_steady(plan, needed, distinct, rendered) if steadies else rendered, 1, "steady")) as steadied,
        closing(prefetch(_compose(prepared, numbers, steadied), CONVERTED_AHEAD, "convert")) as images,
    ):
        for segment in segments:
            with output.open_segment(prepared.workspace.folder / segment.name) as encode:
                for number in segment.numbers:
                    encode(number, _next_image(images, number))
                    yield number
                if plan.source.concealed_frames:
                    prepared.workspace.update(concealed_frames=sorted(plan.source.concealed_frames))


def is_steadied(plan: Plan) -> bool:
    """Whether renders are blended along the motion of the source. A still picture has none."""
    effect, panels = plan.job.preset.effect, plan.job.preset.layout.panels
    return effect.steady > 0 and "render" in panels and not plan.source.metadata.still


def with_frames_before(plan: Plan, numbers: Sequence[int]) -> list[int]:
    """`numbers` of frames in the render, none of which repeats one, and those of the frames that steadying needs."""
    indices = plan.selection.indices
    order = plan.without_repeats(range(len(indices)))
    places = {indices[number]: place for place, number in enumerate(order)}
    ends = [places[indices[number]] for number in numbers]
    return [order[place] for place in sorted({p for end in ends for p in range(max(0, end - WINDOW), end + 1)})]


def _planar_format(prepared: PreparedJob) -> PlanarFormat | None:
    """The encoder's planes, where a GPU makes them of the source's: nothing between needs colors, which are converted
    there faster and are twice the bytes."""
    plan, preset = prepared.plan, prepared.plan.job.preset
    is_plain = preset.layout.panels == ("render",) and not preset.effect.keep_colors and not plan.is_mapped
    is_plain = is_plain and not is_steadied(plan)
    has_size = plan.size == (plan.source.metadata.width, plan.source.metadata.height)
    return prepared.output.planar_format if is_on_gpu(prepared.engine) and is_plain and has_size else None


def is_on_gpu(engine: Engine) -> bool:
    """Whether the networks run on a GPU, which also converts colors."""
    return engine.device.type == "cuda"


def _decode(
    plan: Plan, numbers: Sequence[int], planar: PlanarFormat | None
) -> Iterator[tuple[Frame, tuple[Plane, ...]]]:
    """The frames of the source, by their numbers in the render, with their masks; as planes, where the renders of those
    may be `planar`."""
    indices = [plan.selection.indices[number] for number in numbers]
    masks = plan.masking.read(indices) if plan.masking else itertools.repeat(())
    if planar is None:
        return zip(plan.source.frames(indices), masks, strict=False)
    return zip(as_planar(plan.source.planar_frames(indices), planar), masks, strict=False)


def _render(
    prepared: PreparedJob, decoded: Iterable[tuple[Frame, tuple[Plane, ...]]]
) -> Iterator[tuple[Frame, Renders]]:
    """Resizes each frame and renders all that its panels need; yields them in order."""
    plan = prepared.plan
    frames = ((replace(frame, image=resize.resize_to(frame.image, *plan.size)), masks) for frame, masks in decoded)
    works = itertools.starmap(make_works(plan, prepared.engine, plan.job.preset.layout.panels), frames)
    if not plan.forwards:
        yield from ((work.frame, work.renders) for work in works)
        return
    for work in render_works(prepared.engine, works, plan.job.engine.batch or 1):
        yield work.frame, work.renders


def _steady(
    plan: Plan, needed: Sequence[int], wanted: Sequence[int], rendered: Iterable[tuple[Frame, Renders]]
) -> Iterator[tuple[Frame, Renders]]:
    """Steadies the render of each frame `needed`; yields those that are `wanted`."""
    steadier, is_wanted = Steadier(plan.job.preset.effect.steady), set(wanted)
    for number, (frame, renders) in zip(needed, rendered, strict=True):
        alpha = plan.selection.alphas[number]
        image = steadier(frame.image, renders["render"] if "render" in renders else renders[alpha], alpha)
        if number in is_wanted:
            yield frame, {**renders, "render": image}


def _compose(prepared: PreparedJob, numbers: Sequence[int], rendered: Iterable[tuple[Frame, Renders]]) -> Iterator[Any]:
    """Lays out the panels of each frame and converts the result for the encoder."""
    compose, indices, current = make_composer(prepared), prepared.plan.selection.indices, iter(rendered)
    frame, renders = None, Renders()
    for number in numbers:
        if frame is None or frame.index != indices[number]:
            frame, renders = next(current)
        opacity = frame.opacity if prepared.plan.has_opacity else None
        yield prepared.output.convert(resize.with_opacity(compose(number, frame, renders), opacity))


def _next_image(images: Iterator[Any], number: int) -> Any:
    if (image := next(images, None)) is None:
        raise RenderError(f"frame {number} of the render is missing; nothing was published")
    return image
