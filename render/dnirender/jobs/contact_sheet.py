"""Renders a contact sheet: frames down, alpha across; a preview of an effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from dnirender.decoding.metadata import VideoMetadata
from dnirender.decoding.open import open_source
from dnirender.errors import UsageError
from dnirender.frames import Alpha, Batch
from dnirender.jobs.frame_selection import find_frame
from dnirender.jobs.job import Job
from dnirender.jobs.plan import check_target, scaled_size
from dnirender.jobs.prepare import load_engine
from dnirender.layout import contact_sheet
from dnirender.media import resize
from dnirender.media.images import is_still, write_png
from dnirender.preset import Preset
from dnirender.timeline.timeline import Timeline


def make_sheet(job: Job, positions: Sequence[str], values: Sequence[str], title: str) -> str:
    """Renders the frames at `positions` of the source under each of the timeline `values` and writes a PNG file.

    Returns the configuration that the engine chose, as text. Raises RenderError.
    """
    check_target(job.output, job)
    options = job.decode
    source = open_source(job.input, stream=options.video_stream, deinterlace=options.deinterlace, hdr=options.hdr)
    metadata = source.metadata
    alphas = [_alpha(value, job.preset) for value in values]
    texts = ["0"] if is_still(job.input) else positions
    numbers = [find_frame("frames", text.strip(), metadata.seconds) for text in texts]
    indices = sorted({min(number, len(metadata.pts) - 1) for number in numbers})
    size = scaled_size(job, metadata)
    engine = load_engine(job)
    engine.autotune(size[1], size[0], len(indices) * len(alphas), metadata.depth)
    frames = [replace(frame, image=resize.resize_to(frame.image, *size)) for frame in source.frames(indices)]
    renders = (images[0] for _, images in engine(Batch((frame,), alpha) for frame in frames for alpha in alphas))
    rows = [[next(renders) for _ in alphas] for _ in frames]
    labels = [_label(index, metadata) for index in indices]
    write_png(job.output, contact_sheet.sheet(rows, labels, _columns(values, alphas, job.preset.endpoints), title))
    return engine.decision


def _alpha(value: str, preset: Preset) -> Alpha:
    try:
        timeline = Timeline.parse(f"0:{value.strip()}", extrapolate=preset.timeline.extrapolate)
        return timeline.resolve(preset.endpoints, [Fraction(0)]).alphas[0]
    except UsageError as error:
        raise UsageError(f"alphas={value.strip()!r}: {str(error).split('(key 1): ')[-1]}") from error


def _label(index: int, metadata: VideoMetadata) -> str:
    if metadata.still:
        return "still"
    return f"{index}  {float(metadata.seconds[index] - metadata.seconds[0]):.2f} s"


def _columns(values: Sequence[str], alphas: Sequence[Alpha], endpoints: Sequence[str]) -> list[str]:
    """Column titles: each value as the user wrote it, with the name of the endpoint if it is one."""
    names = [next((name for name, a in zip(endpoints, alpha, strict=True) if a == 1), "") for alpha in alphas]
    return [
        f"{value.strip()} {name}".strip() if name != value.strip() else name
        for value, name in zip(values, names, strict=True)
    ]
