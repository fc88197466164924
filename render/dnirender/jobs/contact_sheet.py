"""The contact sheet: chosen frames down, alpha across, a look at an effect before a long render."""

from __future__ import annotations

import itertools
import re
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
from dnirender.media.luma import with_chroma
from dnirender.preset import Preset
from dnirender.timeline.keyframes import weaken
from dnirender.timeline.timeline import Timeline

MIN_COLUMN = 240  # pixels: a sheet of many endpoints is wider than SHEET_WIDTH
HALVES, HALFWAY = re.compile(r"0\.5\*[^*+]+\+0\.5\*[^*+]+"), "half-way"


def make_sheet(job: Job, positions: Sequence[str], values: Sequence[str] | None, title: str) -> str:
    """Renders the frames at `positions` of the source under each of the timeline values and writes a PNG.

    Without values there is a column for every endpoint and one half-way between any two neighbors.

    Returns what the engine chose. Raises RenderError.
    """
    check_target(job.output, job)
    options = job.decode
    source = open_source(job.input, stream=options.video_stream, deinterlace=options.deinterlace, hdr=options.hdr)
    metadata = source.metadata
    values = values if values is not None else _endpoints_and_halfways(job.preset.endpoints)
    alphas = [_alpha(value, job.preset) for value in values]
    chosen = ["0"] if is_still(job.input) else positions
    places = [find_frame("frames", text.strip(), metadata.seconds) for text in chosen]
    indices = sorted({min(place, len(metadata.pts) - 1) for place in places})
    size = scaled_size(job, metadata)
    engine = load_engine(job)
    engine.autotune(size[1], size[0], len(indices) * len(alphas), metadata.depth)
    frames = [replace(frame, image=resize.resize_to(frame.image, *size)) for frame in source.frames(indices)]
    renders = (images[0] for _, images in engine(Batch((frame,), alpha) for frame in frames for alpha in alphas))
    rows = [[next(renders) for _ in alphas] for _ in frames]
    if job.preset.effect.keep_colors:
        matrix = metadata.color.matrix
        pairs = zip(frames, rows, strict=True)
        rows = [[with_chroma(image, frame.image, matrix) for image in row] for frame, row in pairs]
    labels = [_label(index, metadata) for index in indices]
    width = max(contact_sheet.SHEET_WIDTH, MIN_COLUMN * len(alphas))
    columns = _columns(values, alphas, job.preset.endpoints)
    write_png(job.output, contact_sheet.sheet(rows, labels, columns, title, width))
    return engine.decision


def _endpoints_and_halfways(endpoints: Sequence[str]) -> list[str]:
    middles = [f"0.5*{one}+0.5*{other}" for one, other in itertools.pairwise(endpoints)]
    return [value for pair in zip(endpoints, [*middles, ""], strict=True) for value in pair if value]


def _alpha(value: str, preset: Preset) -> Alpha:
    try:
        timeline = Timeline.parse(f"0:{value.strip()}", extrapolate=preset.timeline.extrapolate)
        return weaken(timeline.resolve(preset.endpoints, [Fraction(0)]).alphas[0], preset.effect.strength)
    except UsageError as error:
        raise UsageError(f"alphas={value.strip()!r}: {str(error).split('(key 1): ')[-1]}") from error


def _label(index: int, metadata: VideoMetadata) -> str:
    if metadata.still:
        return "still"
    return f"{index}  {float(metadata.seconds[index] - metadata.seconds[0]):.2f} s"


def _columns(values: Sequence[str], alphas: Sequence[Alpha], endpoints: Sequence[str]) -> list[str]:
    """The values as written, with the endpoint's name where one is met exactly, or what they are half-way between."""
    names = [next((name for name, a in zip(endpoints, alpha, strict=True) if a == 1), "") for alpha in alphas]
    return [
        HALFWAY if HALVES.fullmatch(value) else f"{value.strip()} {name}".strip() if name != value.strip() else name
        for value, name in zip(values, names, strict=True)
    ]
