"""Composes the image that is written from the renders of a frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dnirender.engine.frame_work import Renders
from dnirender.frames import Alpha, Frame, Image
from dnirender.jobs.plan import Plan, one_hot
from dnirender.jobs.prepare import PreparedJob
from dnirender.layout import panels
from dnirender.layout.alpha_track import AlphaTrack
from dnirender.media import resize
from dnirender.media.luma import with_chroma
from dnirender.timeline.timeline import Timeline, Track


def make_composer(prepared: PreparedJob) -> Callable[[int, Frame, Renders], Image]:
    """A function of (number of the frame in the render, frame, its renders) that returns the image to write."""
    draw = _make_layout(prepared)
    if not prepared.plan.job.preset.effect.keep_colors:
        return draw
    matrix = prepared.plan.source.metadata.color.matrix

    def recolor(frame: Frame, renders: Renders) -> Renders:
        return {
            key: image if key == panels.MASK else with_chroma(image, frame.image, matrix)
            for key, image in renders.items()
        }

    return lambda number, frame, renders: draw(number, frame, recolor(frame, renders))


def _make_layout(prepared: PreparedJob) -> Callable[[int, Frame, Renders], Image]:
    plan = prepared.plan
    layout, selection = plan.job.preset.layout, plan.selection
    if layout.panels == ("render",):
        return lambda number, frame, renders: _panel(plan, "render", frame, selection.alphas[number], renders)
    scale = prepared.engine.network.scale
    size = plan.size[0] * scale, plan.size[1] * scale
    track = make_alpha_track(plan) if len(layout.panels) > 1 and not plan.job.one_frame else None
    first, span = selection.indices[0], max(1, len(selection.track.alphas) - 1)

    def draw(number: int, frame: Frame, renders: Renders) -> Image:
        alpha = selection.alphas[number]
        images = [(name, _panel(plan, name, frame, alpha, renders)) for name in layout.panels]
        if len(images) == 1:
            return resize.resize_to(images[0][1], *size)
        return panels.compare(images, track, (frame.index - first) / span, labels=layout.labels, size=size)

    return draw


def make_alpha_track(plan: Plan) -> AlphaTrack:
    """The timelines of a render over its frames, before the sound that they were made from."""
    resolved = zip(plan.job.timelines.values(), plan.selection.tracks, strict=True)
    main, *others = [(track.alphas, _keys(plan, timeline, track)) for timeline, track in resolved]
    return AlphaTrack(*main, others, plan.waveform)


def _keys(plan: Plan, timeline: Timeline, track: Track) -> list[tuple[float, Alpha]]:
    """The keyframes as (position, alpha), where 0..1 is the first to the last frame, as the track is drawn."""
    selection = plan.selection
    keys = [(float(at), alpha) for at, alpha in track.keys]
    first, last = selection.indices[0], selection.indices[0] + len(track.alphas) - 1
    if not timeline.timed or first == last:
        return keys
    seconds = np.array([float(time) for time in plan.source.metadata.seconds[first : last + 1]])
    places = (seconds - seconds[0]) / (seconds[-1] - seconds[0])
    numbers = np.linspace(0, 1, len(places))
    return [(float(np.interp(at, places, numbers)) if at <= 1 else at, alpha) for at, alpha in keys]


def _panel(plan: Plan, name: str, frame: Frame, alpha: Alpha, renders: Renders) -> Image:
    endpoints = plan.job.preset.endpoints
    if name in renders:  # alpha differs over the picture
        return renders[name]
    if name == "source":
        return frame.image
    if name == "render":
        return renders[alpha]
    if name == "crossfade":
        shares = enumerate(plan.main(alpha))
        weighted = [(weight, renders[one_hot(i, len(endpoints))]) for i, weight in shares if weight]
        return panels.crossfade([image for _, image in weighted], tuple(weight for weight, _ in weighted))
    return renders[one_hot(endpoints.index(name), len(endpoints))]
