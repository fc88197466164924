"""The contact sheet: chosen frames down, alpha across, a look at an effect before a long render."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dnirender.decoding.metadata import VideoMetadata
from dnirender.errors import UsageError
from dnirender.frames import Alpha, Batch, Frame, Image
from dnirender.jobs.frame_selection import find_frame, select_frames
from dnirender.jobs.job import Job, make_job
from dnirender.jobs.mixtures import masking_of, parse_mixture
from dnirender.jobs.notebook import image_html
from dnirender.jobs.options import SHEET_FRAMES, SHEET_OPTIONS
from dnirender.jobs.plan import scaled_size
from dnirender.jobs.prepare import load_engine
from dnirender.jobs.sampling import open_input
from dnirender.jobs.targets import check_target
from dnirender.layout import contact_sheet
from dnirender.layout.panels import MASK
from dnirender.masks.alpha_map import Plane
from dnirender.masks.edges import as_picture
from dnirender.masks.masking import Masking
from dnirender.media import resize
from dnirender.media.image_files import is_still
from dnirender.media.images import write_png
from dnirender.media.luma import with_chroma
from dnirender.options import unknown_option
from dnirender.preset import DEFAULT_PRESET, Preset
from dnirender.progress import ProgressTracker
from dnirender.timeline.keyframes import weaken
from dnirender.timeline.mixture import Mixture, as_alpha
from dnirender.timeline.tracks import join_alphas

MIN_COLUMN = 240  # pixels: a sheet of many endpoints is wider than SHEET_WIDTH
TRACKS = "with its tracks"
HALVES, HALFWAY = re.compile(r"0\.5\*[^*+]+\+0\.5\*[^*+]+"), "half-way"


@dataclass(frozen=True, eq=False)
class Sheet:
    """A contact sheet, uint8 RGB [h, w, 3]. `path` is the PNG that was written, None for none; `decision` what the
    engine chose to render with. A notebook shows the image."""

    image: Image
    path: Path | None
    decision: str

    def _repr_html_(self) -> str:
        return image_html(self.image)


def sheet(
    input: str | Path,
    output: str | Path | None = None,
    *,
    preset: str | Path | Preset = DEFAULT_PRESET,
    frames: Sequence[str | int] = SHEET_FRAMES,
    alphas: Sequence[str | Mixture] | None = None,
    title: str | None = None,
    **options: Any,
) -> Sheet:
    """Renders the contact sheet of a video or a still: its frames at `frames` down, each under `alphas` across.

    `frames` are positions as keyframes have them: 12, "2.5s", "50%", "end". `alphas` are numbers 0..1 along the path of
    endpoints, names, mixes ("0.3*golden+0.7*night"), or coefficients as a tuple or a dict; None shows every
    endpoint and half-ways between neighbors. `output` is a PNG to write,
    which must not exist without `overwrite=True`. `options` are those of `render` that concern input and engine, and
    `width` and `height` of what is rendered. Raises RenderError.
    """
    if output is not None and Path(output).suffix.lower() != ".png":
        raise UsageError(f"{output}: a contact sheet is a PNG; name it .png")
    for name in options:
        if name not in SHEET_OPTIONS:
            raise unknown_option(name, SHEET_OPTIONS, "sheet")
    job = make_job(input, output or "sheet.png", preset, **options)
    heading = f"{job.input.name}   {job.preset.name}" if title is None else title
    return make_sheet(job, frames, alphas, heading, write=output is not None)


def make_sheet(
    job: Job,
    positions: Sequence[str | int],
    values: Sequence[str | Mixture] | None,
    title: str,
    *,
    write: bool = True,
    progress: ProgressTracker | None = None,
) -> Sheet:
    """The frames at `positions` of the source of `job` under each of `values`; written to its output where `write`.

    Masks are shown in columns before the others, which are rendered without them.

    Without values there is a column for every endpoint and one half-way between any two neighbors. Where layers have
    tracks of their own, a last column shows each frame as it will be rendered.
    """
    progress = progress or ProgressTracker()
    if write:
        check_target(job.output, job)
    source = open_input(job)
    metadata = source.metadata
    values = values if values is not None else _endpoints_and_halfways(job.preset.endpoints)
    alphas = [weaken(_alpha(value, job.preset), job.preset.effect.strength) for value in values]
    titles = _columns(values, alphas, job.preset.endpoints)
    texts = ["0"] if is_still(job.input) else positions
    numbers = [find_frame("frames", str(text).strip(), metadata.seconds) for text in texts]
    indices = sorted({min(number, len(metadata.pts) - 1) for number in numbers})
    size, masking = scaled_size(job, metadata), masking_of(job, source)
    columns = dict.fromkeys(indices, alphas)
    if job.preset.timeline.tracks:
        rendered = join_alphas(select_frames(job, metadata).tracks)
        columns, titles = {index: [*alphas, rendered[index]] for index in indices}, [*titles, TRACKS]
    engine = load_engine(job)
    total = len(indices) * len(titles)
    engine.autotune(size[1], size[0], total, metadata.depth, progress.enter)
    progress.enter("rendering", 0, total)
    frames = [replace(frame, image=resize.resize_to(frame.image, *size)) for frame in source.frames(indices)]
    renders = list[Image]()
    for batch, images in engine(Batch((frame,), alpha) for frame in frames for alpha in columns[frame.index]):
        renders += images
        progress.wrote(len(renders), total, batch.alpha)
    rows = [renders[start : start + len(titles)] for start in range(0, total, len(titles))]
    if job.preset.effect.keep_colors:
        matrix = metadata.color.matrix
        pairs = zip(frames, rows, strict=True)
        rows = [[with_chroma(image, frame.image, matrix) for image in row] for frame, row in pairs]
    if masking:
        shown = zip(frames, masking.read(indices), rows, strict=True)
        rows = [[*_masks(masking, frame, planes), *row] for frame, planes, row in shown]
        names = ["" if place is None else f" {job.preset.endpoints[place]}" for place in masking.places]
        titles = [*(f"{MASK}{name}" for name in names), *titles]
    labels = [_label(index, metadata) for index in indices]
    width = max(contact_sheet.SHEET_WIDTH, MIN_COLUMN * len(titles))
    image = contact_sheet.sheet(rows, labels, titles, title, width)
    if write:
        write_png(job.output, image)
    return Sheet(image, job.output if write else None, engine.decision)


def _masks(masking: Masking, frame: Frame, planes: Sequence[Plane]) -> list[Image]:
    """The masks of a frame as pictures of its size."""
    height, width = frame.image.shape[:2]
    covers = masking.covers(planes, frame.image, width, height)
    return [as_picture(cover, frame.image.dtype) for cover in covers]


def _endpoints_and_halfways(endpoints: Sequence[str]) -> list[str]:
    middles = [f"0.5*{one}+0.5*{other}" for one, other in itertools.pairwise(endpoints)]
    return [value for pair in zip(endpoints, [*middles, ""], strict=True) for value in pair if value]


def _alpha(value: str | Mixture, preset: Preset) -> Alpha:
    if not isinstance(value, str):
        return as_alpha(value, preset.endpoints, extrapolate=preset.timeline.extrapolate)
    return parse_mixture("alphas", value, preset)


def _label(index: int, metadata: VideoMetadata) -> str:
    if metadata.still:
        return "still"
    return f"{index}  {float(metadata.seconds[index] - metadata.seconds[0]):.2f} s"


def _columns(values: Sequence[str | Mixture], alphas: Sequence[Alpha], endpoints: Sequence[str]) -> list[str]:
    """Column titles: each value as the user wrote it, with the name of the endpoint if it is one, or `half-way`."""
    names = [next((name for name, a in zip(endpoints, alpha, strict=True) if a == 1), "") for alpha in alphas]
    texts = [HALFWAY if HALVES.fullmatch(text) else text for text in (_text(value, endpoints) for value in values)]
    return [f"{text} {name}".strip() if name != text else name for text, name in zip(texts, names, strict=True)]


def _text(value: str | Mixture, endpoints: Sequence[str]) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, tuple):
        value = dict(zip(endpoints, value, strict=True))
    if isinstance(value, Mapping):
        return "+".join(f"{weight:g}*{name}" for name, weight in value.items() if weight)
    return f"{value:g}"
