"""All that is done before the first frame: networks loaded, encoder tried, disk looked at, segments cut."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnirender.encoding.animation import AnimationSink
from dnirender.encoding.boomerang import BoomerangSink
from dnirender.encoding.encoders import (
    VideoSpec,
    check_container,
    check_encoder,
    choose_pix_fmt,
    container_keeps_opacity,
    encodable_color,
    encoder_options,
    even_size,
    keeps_shape,
)
from dnirender.encoding.image_sequence import ImageSequenceSink, numbered_path
from dnirender.encoding.provenance import Provenance, read_provenance
from dnirender.encoding.sink import Sink
from dnirender.encoding.video import VideoSink
from dnirender.engine.calibration import calibration_image
from dnirender.errors import MediaError, OutputError, UsageError
from dnirender.files import sample_hash
from dnirender.jobs.disk_space import check_space, estimate_bytes, remaining_bytes
from dnirender.jobs.fingerprint import job_fingerprint
from dnirender.jobs.job import Job
from dnirender.jobs.plan import Plan, make_plan
from dnirender.jobs.workspace import Segment, Workspace, short_hash, split
from dnirender.layout import panels as compose
from dnirender.media import resize
from dnirender.media.containers import CONTAINERS, container_of
from dnirender.media.pixel_formats import carries_opacity
from dnirender.version import __version__

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine

SECONDS = 10.0  # that a segment takes, about
ENCODING = 30e-9  # seconds a pixel: x264 as veryfast on two cores
MOST_FRAMES = 1024
CUDA_BATCH = 4  # on the CPU one by one is faster: activations stay in the caches


def load_engine(job: Job) -> Engine:
    """The networks of the job's preset on its device; raises ModelError, UsageError."""
    from dnirender.engine.engine import Engine
    from dnirender.networks.loading import load

    network, path = load({endpoint.name: endpoint.weights for endpoint in job.preset.network.endpoints})
    options = job.engine
    return Engine(
        network,
        path,
        device=options.device,
        dtype=options.dtype,
        backend=options.backend,
        threads=options.threads,
        tile=options.tile,
    )


@dataclass(frozen=True)
class PreparedJob:
    """A plan with its networks loaded and its encoder tried: nothing but rendering is left."""

    plan: Plan
    engine: Engine
    output_size: tuple[int, int]
    spec: VideoSpec | None
    workspace: Workspace
    segments: tuple[Segment, ...]
    warnings: tuple[str, ...]
    partial: bool = False

    @property
    def space(self) -> int:
        """Bytes that the render takes on the disk, by estimate."""
        return _disk_bytes(self.plan, self.spec, self.output_size)

    @property
    def resumed(self) -> int:
        """Frames that an earlier run has finished."""
        return 0 if self.plan.job.resume.restart else self.workspace.num_finished_frames

    def sink(self) -> Sink:
        """What makes the output of the pictures."""
        plan, job = self.plan, self.plan.job
        if job.animated:
            return AnimationSink(job.output, plan.times, dither=job.preset.animation.dither, order=plan.order)
        if self.spec is None:
            return ImageSequenceSink(job.output, plan.order)
        provenance = _provenance(plan, "" if self.partial else short_hash(self.workspace.job))
        if job.encode.boomerang:
            return BoomerangSink(VideoSink(job.output, self.spec, plan.times, provenance=provenance), plan.order)
        copied_streams = None if not plan.source.metadata.has_streams else (job.input, plan.streams, plan.selection.cut)
        return VideoSink(
            job.output, self.spec, plan.times, copied_streams, provenance, ignore_errors=job.decode.ignore_errors
        )


def is_rendered(job: Job) -> bool:
    """Whether the target is a video that this very job has made. Raises what `make_plan` raises."""
    try:
        provenance = read_provenance(job.output)
    except MediaError:
        return False
    if provenance is None:
        return False
    plan = make_plan(job.override(overwrite=True))
    return provenance.model_copy(update={"crc32": None}) == _provenance(plan, short_hash(job_fingerprint(plan)))


def free_name(prepared: PreparedJob) -> Path:
    """What a part of the result is published as: STEM.partial.EXT, with a number where that is taken by a file that is
    not a part of a render of the same source."""
    output = prepared.plan.job.output
    marks = itertools.chain([".partial"], (f".partial-{number}" for number in itertools.count(2)))
    names = (output.with_name(f"{output.stem}{mark}{output.suffix}") for mark in marks)
    return next(name for name in names if _is_free(prepared, name))


def _is_free(prepared: PreparedJob, name: Path) -> bool:
    job = prepared.plan.job
    first = numbered_path(name, 0) if job.numbered else name
    if not first.exists() or prepared.spec is None or first.resolve() == job.input.resolve():
        return not first.exists()
    try:
        provenance = read_provenance(first)
    except MediaError:
        return False
    return provenance is not None and not provenance.job and provenance.sample == sample_hash(job.input)


def _provenance(plan: Plan, mark: str) -> Provenance:
    """What `verify` has to know of a file."""
    job, indices = plan.job, plan.selection.indices
    return Provenance(
        program=f"dnirender {__version__}",
        source=job.input.name,
        sample=sample_hash(job.input),
        preset=job.preset.name,
        keyframes=job.preset.timeline.keyframes,
        video_stream=job.decode.video_stream,
        start=indices[0],
        stop=indices[-1] + 1,
        frames=plan.num_frames,
        boomerang=job.encode.boomerang,
        audio=job.preset.encoding.audio,
        subtitles=job.preset.encoding.subtitles,
        ignore_errors=job.decode.ignore_errors,
        job=mark,
    )


def prepare(plan: Plan, engine: Engine | None = None) -> PreparedJob:
    """Loads the networks, or takes those of a job with the same ones, and tries the encoder with its real settings.

    What an earlier run of the same job has finished is gone on with, on the device and in the precision it was begun.
    """
    workspace = Workspace(plan.job.output, job_fingerprint(plan))
    for target in plan.targets if not plan.job.encode.overwrite else ():
        if target.exists() and not workspace.has_delivered(target):
            raise OutputError(f"{target}: exists already; overwrite=True replaces it")
    begun = None if plan.job.resume.restart else workspace.manifest
    if begun:
        plan = replace(plan, job=plan.job.override(**begun.engine))
    if engine is None or (begun and begun.engine != engine_settings(engine)):
        try:
            engine = load_engine(plan.job)
        except UsageError as error:
            if begun is None:
                raise
            raise UsageError(
                f"{error}; the job was started with this setting, and restart=True starts it anew"
            ) from error
    if plan.job.engine.batch is None:
        batch = CUDA_BATCH if engine.device.type == "cuda" else 1
        plan = replace(plan, job=plan.job.override(batch=batch))
    width, height = plan.size[0] * engine.network.scale, plan.size[1] * engine.network.scale
    panels = plan.job.preset.layout.panels
    if len(panels) > 1:
        width, height = compose.compare_size(width, height, len(panels))
    spec = _spec(plan, width, height) if plan.job.output.suffix.lower() in CONTAINERS else None
    lost = list(_lost(plan, spec))
    if plan.job.encode.strict and (dropped := [*plan.dropped, *lost]):
        raise UsageError(f"strict=True: {'; '.join(dropped)}")
    warnings = [*plan.warnings, *lost]
    if spec and (spec.width, spec.height) != (width, height):
        warnings.append(
            f"{width}x{height} is odd, and {spec.codec} with {spec.pix_fmt} is not: "
            f"padded to {spec.width}x{spec.height} by repeating the edge"
        )
    if spec and spec.color != plan.source.metadata.color:
        warnings.append(
            f"{spec.codec} in {container_of(plan.job.output)} does not store {plan.source.metadata.color}: "
            f"converted to {spec.color}, which players assume"
        )
    done = 0 if plan.job.resume.restart else workspace.num_finished_frames
    space = _disk_bytes(plan, spec, (width, height))
    needed = remaining_bytes(workspace.folder, done, len(plan.selection.indices), space)
    if tight := check_space(plan.job.output, needed, begun=bool(done)):
        warnings.append(tight)
    prepared = PreparedJob(plan, engine, (width, height), spec, workspace, (), ())
    if isinstance(sink := prepared.sink(), VideoSink):
        sink.check()
    autotune(engine, plan)
    segments = begun.segments if begun else split(len(plan.selection.indices), _segment_length(plan, engine))
    if not plan.job.resume.restart:
        warnings += [
            f"{plan.job.output}: another job was begun on it, with other {', '.join(other)}; its finished parts are "
            "not used, and stay until this one is published"
            for other in workspace.others()
        ]
    return replace(prepared, segments=segments, warnings=tuple(warnings))


def _lost(plan: Plan, spec: VideoSpec | None) -> Iterator[str]:
    """What of the source's pictures the output cannot hold."""
    if spec and not keeps_shape(spec, container_of(plan.job.output)):
        yield f"pixels are {spec.sample_aspect_ratio} wide, which {spec.codec} cannot say in this container"
    if plan.source.metadata.opacity and not _keeps_opacity(plan, spec):
        yield f"{plan.job.input.name}: transparency is dropped"


def _disk_bytes(plan: Plan, spec: VideoSpec | None, size: tuple[int, int]) -> int:
    """Bytes that the render takes, by estimate."""
    codec = spec.codec if spec and not plan.job.encode.boomerang else None
    return estimate_bytes(size[0] * size[1] * len(plan.selection.indices), codec)


def engine_settings(engine: Engine) -> dict[str, Any]:
    """What a job that is resumed has to be rendered with, so that its parts fit together; as the fields of a Job."""
    return {
        "device": str(engine.device),
        "dtype": engine.dtype,
        "backend": engine.backend,
        "threads": engine.threads,
        "tile": engine.tile,
    }


def _segment_length(plan: Plan, engine: Engine) -> int:
    """Frames that take about SECONDS, to the next power of two; no more than MOST_FRAMES."""
    count = len(plan.selection.indices)
    if plan.job.resume.segment_frames:
        return plan.job.resume.segment_frames
    networks = (
        engine.seconds_per_frame(calibration_image(plan.size[1], plan.size[0]), 1) * plan.forwards / count
        if count > 1
        else 0
    )
    pixels = plan.size[0] * plan.size[1] * engine.network.scale**2 * len(plan.job.preset.layout.panels)
    return min(MOST_FRAMES, 2 ** max(0, round(math.log2(SECONDS / (networks + pixels * ENCODING)))))


def shows_opacity(plan: Plan) -> bool:
    """Whether the pictures that are written have opacity; panels have none."""
    return plan.source.metadata.opacity and len(plan.job.preset.layout.panels) == 1


def _keeps_opacity(plan: Plan, spec: VideoSpec | None) -> bool:
    """Whether the output carries the opacity of its pictures, as files of pictures all do."""
    if not shows_opacity(plan) or spec is None:
        return shows_opacity(plan)
    return carries_opacity(spec.pix_fmt) and container_keeps_opacity(spec.codec, container_of(plan.job.output))


def autotune(engine: Engine, plan: Plan) -> None:
    """Tells the engine of the job."""
    engine.autotune(plan.size[1], plan.size[0], plan.forwards, plan.source.metadata.depth)


def _spec(plan: Plan, width: int, height: int) -> VideoSpec:
    """How the pictures are encoded, tried; UsageError where that cannot be."""
    metadata, encoding = plan.source.metadata, plan.job.preset.encoding
    webm = plan.job.output.suffix.lower() == ".webm"
    codec = encoding.codec if encoding.codec != "auto" else "libvpx-vp9" if webm else "libx264"
    opacity = shows_opacity(plan) and container_keeps_opacity(codec, container_of(plan.job.output))
    pix_fmt = choose_pix_fmt(codec, metadata.sampling, metadata.depth, encoding.pix_fmt, opacity)
    width, height = even_size(codec, pix_fmt, width, height)
    spec = VideoSpec(
        codec=codec,
        pix_fmt=pix_fmt,
        width=width,
        height=height,
        color=encodable_color(codec, metadata.color),
        sample_aspect_ratio=metadata.sample_aspect_ratio,
        options=encoder_options(codec, encoding.crf, encoding.options, pix_fmt),
        rate=plan.times.frame_rate.limit_denominator(100_000),
    )
    check_encoder(spec)
    return replace(spec, color=check_container(spec, container_of(plan.job.output)))


def estimate_seconds(prepared: PreparedJob) -> float:
    """How long the networks will take: what a few runs of the first frame take, times the frames that they see."""
    plan = prepared.plan
    frame = next(iter(plan.source.frames(plan.selection.indices[:1])))
    return prepared.engine.seconds_per_frame(resize.resize_to(frame.image, *plan.size)) * plan.forwards
