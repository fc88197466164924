"""Everything before the first frame: loads the networks, opens the output, checks the disk, divides into segments."""

from __future__ import annotations

import itertools
import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnirender.cache import Cache, cache_folder
from dnirender.concurrency import collector_paused
from dnirender.encoding.image_sequence import numbered_path
from dnirender.encoding.output import Output, OutputRequest, open_output
from dnirender.encoding.provenance import Provenance
from dnirender.errors import OutputError, UsageError
from dnirender.frames import Image
from dnirender.jobs.disk_space import check_space, remaining_bytes
from dnirender.jobs.fingerprint import job_fingerprint
from dnirender.jobs.frame_selection import animation_rate
from dnirender.jobs.job import Job
from dnirender.jobs.pace import at_even_pace
from dnirender.jobs.plan import Plan, make_plan
from dnirender.jobs.sampling import open_input, sample_frames
from dnirender.jobs.targets import rendered_by
from dnirender.jobs.workspace import Manifest, Segment, Workspace, short_hash, split
from dnirender.layout.panels import compare_size
from dnirender.media.resize import middle, resize_to
from dnirender.preset_files import preset_folder
from dnirender.progress import ProgressTracker
from dnirender.version import __version__

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine

SEGMENT_SECONDS = 10.0  # about what rendering a segment takes
ENCODING_SECONDS = 30e-9  # per pixel: x264 with preset veryfast on two cores
MAX_SEGMENT_FRAMES = 1024
SAMPLES, SAMPLE_SIDE = 8, 384  # pictures of a source on which statistics are measured
LEVELS_SIDE = 256  # of the middles of frames on which levels are measured
CUDA_BATCH = 4  # on the CPU, 1 is faster: activations stay in the caches


def load_engine(job: Job, *, fresh: bool = False) -> Engine:
    """The networks of the job's preset on its device, the first one if there are several. `fresh` uses nothing that was
    measured before. Raises ModelError, UsageError."""
    with collector_paused():
        from dnirender.engine.device import one_thread
        from dnirender.engine.engine import Engine
        from dnirender.families.loading import load_family

    settings = job.preset.network
    measures = settings.bn == "reestimate"
    if measures and job.preset.effect.repair:
        raise UsageError("bn='reestimate': expected no repair=True, as both correct the spread of mixed layers")
    with one_thread():
        network, path = load_family(
            settings.family,
            settings.files,
            settings.levels,
            settings.styles,
            weights_key=settings.weights_key,
            groups=tuple(job.preset.timeline.tracks),
            deploy=not measures,
        )
    if measures:
        from dnirender.networks.reestimation import reestimate

        network, path = reestimate(network, path, _sample(job))
    if job.preset.effect.repair:
        from dnirender.jobs.repair import measure_for

        path.repair = found = measure_for(job, network, path)
        network = replace(network, notes=(*network.notes, *found.notes(path.names)))
    options = job.engine
    return Engine(
        network,
        path,
        device=options.devices[0],
        dtype=options.dtype,
        backend=options.backend,
        threads=options.threads,
        tile=options.tile,
        cache=Cache(cache_folder() if options.cache else None, fresh=fresh),
    )


def _sample(job: Job) -> list[Image]:
    """A few pictures of the source, all along it, of which only the middle is used if they are large."""
    return [middle(frame.image, SAMPLE_SIDE) for frame in sample_frames(open_input(job), SAMPLES)]


@dataclass(frozen=True)
class PreparedJob:
    """A plan with its networks loaded and its output opened: only rendering is left.

    segments: all segments of the render, finished or not
    warnings: those of the plan and of the output
    others: the same networks on the other devices of the job
    """

    plan: Plan
    engine: Engine
    output: Output
    workspace: Workspace
    segments: tuple[Segment, ...]
    warnings: tuple[str, ...]
    others: tuple[Engine, ...] = ()

    @property
    def engines(self) -> tuple[Engine, ...]:
        """One for each device."""
        return self.engine, *self.others

    @property
    def devices(self) -> str:
        """The devices, as the option names them."""
        return ",".join(str(engine.device) for engine in self.engines)

    @property
    def resumed(self) -> int:
        """Frames that an earlier run has finished."""
        return 0 if self.plan.job.resume.restart else self.workspace.num_finished_frames


def prepare(
    plan: Plan, engine: Engine | None = None, progress: ProgressTracker | None = None, *, measure: bool = True
) -> PreparedJob:
    """Loads the networks, or uses `engine` if it fits, and opens the output.

    `engine` must come from a job with the same networks and engine options. Resumes segments finished by an earlier
    run, on the same device and dtype. Without `measure` nothing is measured and nothing can be rendered: the engine
    only states what it would choose, as far as that is known. Raises UsageError, ModelError, OutputError.
    """
    workspace = Workspace(plan.job.output, job_fingerprint(plan))
    _check_targets(plan, workspace)
    manifest = None if plan.job.resume.restart else workspace.manifest
    if manifest:
        plan = replace(plan, job=plan.job.override(**manifest.engine))
    repair = plan.job.preset.effect.repair  # of this source
    found = {**manifest.engine, "device": plan.job.engine.devices[0]} if manifest else {}
    settings = {key: value for key, value in found.items() if key != "levels"}
    if engine is None or repair or (manifest and settings != engine_settings(engine)):
        engine = _load_engine(plan.job.override(repair=repair and measure), manifest)
    names = plan.job.engine.devices[1:] if measure else ()
    others = tuple(_load_engine(plan.job.override(device=name, dtype=engine.dtype), manifest) for name in names)
    plan = at_even_pace(plan, engine, manifest.paced_keyframes if manifest else "", progress)
    if plan.job.engine.batch is None:
        batch = CUDA_BATCH if engine.device.type == "cuda" else 1
        plan = replace(plan, job=plan.job.override(batch=batch))
    output = open_output(output_request(plan, engine.network.scale, short_hash(workspace.job)))
    if plan.job.encode.strict and (lost := [*plan.dropped, *output.losses]):
        raise UsageError(f"strict=True: {'; '.join(lost)}")
    warnings = [*plan.warnings, *_path_warnings(plan, engine), *output.warnings]
    num_frames = len(plan.selection.indices)
    finished = 0 if plan.job.resume.restart else workspace.num_finished_frames
    needed = remaining_bytes(workspace.folder, finished, num_frames, output.estimated_bytes)
    if tight := check_space(plan.job.output, needed, is_resumed=bool(finished)):
        warnings.append(tight)
    segments: tuple[Segment, ...] = ()
    if measure:
        for each in (engine, *others):
            autotune(each, plan, progress)
        plan = with_levels(plan, engine)
        segments = manifest.segments if manifest else split(num_frames, _segment_length(plan, engine))
    else:
        engine.recall(plan.size[1], plan.size[0], plan.forwards, plan.source.metadata.depth)
    if not plan.job.resume.restart:
        warnings += [
            f"{plan.job.output}: another job was started on it, with a different {', '.join(names)}; its finished "
            "segments are not used, and are deleted when this job is published"
            for names in workspace.others()
        ]
    return PreparedJob(plan, engine, output, workspace, segments, tuple(warnings), others)


def _path_warnings(plan: Plan, engine: Engine) -> list[str]:
    """A warning where networks of the user are mixed whose weights are not alike; the shipped ones were looked at."""
    endpoints = plan.job.preset.network.endpoints
    if all(endpoint.weights.is_relative_to(preset_folder().resolve()) for endpoint in endpoints):
        return []
    mixed = [
        [k for k, share in enumerate(alpha[start : start + len(endpoints)]) if share]
        for alpha in set(plan.selection.alphas)
        for start in range(0, len(alpha), len(endpoints))  # groups of layers have their own
    ]
    pairs = sorted({pair for used in mixed for pair in itertools.pairwise(used)})
    if not pairs:
        return []
    from dnirender.models.similarity import MIN_CORRELATION, doubtful_pair

    found = doubtful_pair(engine.path, pairs)
    if found is None:
        return []
    (first, second), correlation = found
    one, two = endpoints[first], endpoints[second]
    kind = "are unrelated" if correlation < MIN_CORRELATION else "may be far apart"
    return [
        f"{one.name} and {two.name} {kind}, as their weights correlate by {correlation:.2f}: the middle may be dark or "
        f"muddy; before a long render, `dnirender model check {_shown(one.weights)} {_shown(two.weights)}` shows it"
    ]


def _shown(path: Path) -> str:
    """A path as a word of a command, from the current folder where it lies there."""
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def _check_targets(plan: Plan, workspace: Workspace) -> None:
    for target in plan.targets if not plan.job.encode.overwrite else ():
        if target.exists() and not workspace.has_delivered(target):
            raise OutputError(f"{target}: exists already; overwrite=True replaces it")


def _load_engine(job: Job, manifest: Manifest | None) -> Engine:
    try:
        return load_engine(job)
    except UsageError as error:
        if manifest is None:
            raise
        raise UsageError(f"{error}; the job was started with this setting, and restart=True starts it anew") from error


def output_request(plan: Plan, scale: int, job_hash: str) -> OutputRequest:
    """The output of a plan whose network enlarges by `scale`. `job_hash` is empty for a partial result."""
    job, metadata, preset = plan.job, plan.source.metadata, plan.job.preset
    size, panels = (plan.size[0] * scale, plan.size[1] * scale), preset.layout.panels
    return OutputRequest(
        target=job.output,
        size=compare_size(*size, len(panels), track=not job.one_frame) if len(panels) > 1 else size,
        has_opacity=plan.has_opacity,
        source=metadata,
        timing=plan.times,
        order=plan.order,
        boomerang=job.encode.boomerang,
        settings=preset.encoding,
        dither=preset.animation.dither,
        copied_streams=None
        if not metadata.has_streams or job.encode.boomerang
        else (job.input, plan.streams, plan.selection.time_range),
        provenance=_provenance(plan, job_hash),
        ignore_errors=job.decode.ignore_errors,
    )


def _provenance(plan: Plan, job_hash: str) -> Provenance:
    job, indices = plan.job, plan.selection.indices
    return Provenance(
        program=f"dnirender {__version__}",
        source=job.input.name,
        sample=plan.source_hash,
        preset=job.preset.name,
        keyframes=job.preset.timeline.keyframes,
        video_stream=job.decode.video_stream,
        start=indices[0],
        stop=plan.selection.stop or indices[-1] + 1,
        fps=str(animation_rate(job, plan.source.metadata)) if job.animated else "",
        cfr=str(constant.rate) if (constant := plan.selection.constant_rate) else "",
        frames=plan.num_frames,
        boomerang=job.encode.boomerang,
        audio=job.preset.encoding.audio,
        subtitles=job.preset.encoding.subtitles,
        ignore_errors=job.decode.ignore_errors,
        job=job_hash,
    )


def plan_unless_rendered(job: Job) -> Plan | None:
    """The plan of a job; None if its target is what this job has rendered. Raises what `make_plan` raises."""
    provenance = rendered_by(job.output)
    if provenance is None:
        return make_plan(job)
    plan = make_plan(job.override(overwrite=True))
    if provenance.model_copy(update={"crc32": None}) == _provenance(plan, short_hash(job_fingerprint(plan))):
        return None
    return replace(plan, job=plan.job.override(overwrite=job.encode.overwrite))


def partial_path(prepared: PreparedJob) -> Path:
    """Where a partial result is published: STEM.partial.EXT, with a number if another file has that name.

    A partial result of the same source is replaced.
    """
    output = prepared.plan.job.output
    marks = itertools.chain([".partial"], (f".partial-{number}" for number in itertools.count(2)))
    names = (output.with_name(f"{output.stem}{mark}{output.suffix}") for mark in marks)
    return next(name for name in names if _is_free(prepared, name))


def _is_free(prepared: PreparedJob, name: Path) -> bool:
    job = prepared.plan.job
    first = numbered_path(name, 0)
    if not first.exists() or prepared.output.spec is None or first.resolve() == job.input.resolve():
        return not first.exists()
    provenance = rendered_by(first)
    return provenance is not None and not provenance.job and provenance.sample == prepared.plan.source_hash


def with_levels(plan: Plan, engine: Engine) -> Plan:
    """The plan with as many levels at soft edges as its frames need, measured on two of them."""
    if not plan.is_mapped or not plan.forwards or not plan.job.preset.mask.needs_levels:
        return plan
    from dnirender.jobs.alpha_maps import needed_levels

    indices = plan.selection.indices
    frames = plan.source.frames(sorted({indices[0], indices[len(indices) // 2]}))
    images = [middle(resize_to(frame.image, *plan.size), LEVELS_SIDE) for frame in frames]
    return replace(plan, job=plan.job.override(levels=needed_levels(plan, engine, images)))


def resume_settings(prepared: PreparedJob) -> dict[str, Any]:
    """The options that a resumed job must have, so that its segments match."""
    levels = prepared.plan.job.preset.mask.levels
    settings = {**engine_settings(prepared.engine), "device": prepared.devices}
    return {**settings, **({} if levels is None else {"levels": levels})}


def engine_settings(engine: Engine) -> dict[str, Any]:
    """The engine options that a resumed job must have, so that its segments match; as fields of `EngineOptions`."""
    return {
        "device": str(engine.device),
        "dtype": engine.dtype,
        "backend": engine.backend,
        "threads": engine.threads,
        "tile": engine.tile,
    }


def _segment_length(plan: Plan, engine: Engine) -> int:
    """Frames that take about SEGMENT_SECONDS, rounded to a power of two; at most MAX_SEGMENT_FRAMES."""
    count = len(plan.selection.indices)
    if plan.job.resume.segment_frames:
        return plan.job.resume.segment_frames
    networks = engine.measure_pace() * plan.forwards / count if count > 1 else 0
    pixels = plan.size[0] * plan.size[1] * engine.network.scale**2 * len(plan.job.preset.layout.panels)
    seconds_per_frame = networks + pixels * ENCODING_SECONDS
    return min(MAX_SEGMENT_FRAMES, 2 ** max(0, round(math.log2(SEGMENT_SECONDS / seconds_per_frame))))


def autotune(engine: Engine, plan: Plan, progress: ProgressTracker | None = None) -> None:
    """Lets the engine choose the fastest configuration for the frames of this job."""
    enter = progress.enter if progress else None
    engine.autotune(plan.size[1], plan.size[0], plan.forwards, plan.source.metadata.depth, enter)
