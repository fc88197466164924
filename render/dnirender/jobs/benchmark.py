"""Measures how fast this machine renders a job, and what limits the speed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from dnirender.engine.calibration import calibration_image
from dnirender.frames import Alpha
from dnirender.jobs.job import Job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import PreparedJob, load_engine, prepare
from dnirender.jobs.render import run
from dnirender.media import resize
from dnirender.progress import ProgressTracker

SECONDS = 6.0  # about the duration of each of two measurements
MIN_FRAMES, MAX_FRAMES = 24, 480  # number of frames measured
SIZE = (360, 640)  # height, width of the sample


@dataclass(frozen=True)
class BenchmarkResult:
    """Speed and configuration.

    whole, networks, rest: milliseconds per frame from file to file, in the networks alone, and in decoding, resizing,
        color conversion and encoding without the networks
    startup: seconds before the first frame
    """

    size: str
    whole: float
    networks: float
    rest: float
    fps: float
    bound: str
    startup: float
    device: str
    dtype: str
    backend: str
    workers: int
    batch: int
    tile: str
    why: str


def bench(job: Job, *, sample: bool = False, progress: ProgressTracker | None = None) -> BenchmarkResult:
    """Renders the first frames of `job` into a temporary folder, or with `sample` those of a generated clip of SIZE,
    and before that decodes and encodes them without the networks: `progress` counts each of them twice.

    Raises RenderError.
    """
    with tempfile.TemporaryDirectory(prefix="dnirender") as name:
        if sample:
            job = replace(job, input=Path(name, "bench.mp4"))
            make_clip(job.input, *SIZE, frames=120)
        return _measured(replace(job, output=Path(name, job.output.name)), progress or ProgressTracker())


def _measured(job: Job, progress: ProgressTracker) -> BenchmarkResult:
    began = time.perf_counter()
    prepared = prepare(make_plan(job), load_engine(job, fresh=True), progress)
    startup = time.perf_counter() - began
    plan, engine = prepared.plan, prepared.engine
    frame = resize.resize_to(next(iter(plan.source.frames(plan.selection.indices[:1]))).image, *plan.size)
    per_forward = engine.seconds_per_frame(frame)
    networks = per_forward * plan.forwards / plan.num_frames
    count = min(len(plan.selection.indices), MAX_FRAMES, max(MIN_FRAMES, int(SECONDS / max(networks, 1e-6))))
    short = plan.job.override(start=plan.selection.indices[0], end=plan.selection.indices[count - 1] + 1)
    prepared = prepare(make_plan(short), engine)
    progress.enter("rendering", 0, 2 * count)

    def wrote(done: int, alpha: Alpha) -> None:
        progress.wrote(done, 2 * count, alpha)

    rest = _seconds_per_tick(lambda tick: _without_networks(prepared, tick), wrote)
    whole = _seconds_per_tick(lambda tick: _with_networks(prepared, tick), lambda n, alpha: wrote(count + n, alpha))
    width, height = prepared.output.request.size
    return BenchmarkResult(
        size=f"{plan.size[0]}x{plan.size[1]} -> {width}x{height}",
        whole=round(whole * 1e3, 2),
        networks=round(networks * 1e3, 2),
        rest=round(rest * 1e3, 2),
        fps=round(1 / whole, 2),
        bound="the networks" if round(networks * 1e3, 2) > round(rest * 1e3, 2) else "decoding and encoding",
        startup=round(startup, 2),
        device=str(engine.device),
        dtype=engine.dtype,
        backend=engine.backend,
        workers=engine.workers,
        batch=prepared.plan.job.engine.batch or 1,
        tile=f"{engine.tile[1]}x{engine.tile[0]}" if engine.tile else "none",
        why=engine.decision,
    )


def _with_networks(prepared: PreparedJob, tick: Callable[[Alpha], None]) -> None:
    run(prepared, ProgressTracker(lambda now: tick(now.alpha) if now.alpha else None))


def _without_networks(prepared: PreparedJob, tick: Callable[[Alpha], None]) -> None:
    """Decodes, resizes to the output's size and encodes."""
    plan, output = prepared.plan, prepared.output
    with output.open_segment(plan.job.output.with_suffix(".part")) as encode:
        for number, frame in enumerate(plan.source.frames(list(dict.fromkeys(plan.selection.indices)))):
            image = resize.resize_to(resize.resize_to(frame.image, *plan.size), *output.request.size)
            encode(number, output.convert(image))
            tick(plan.selection.alphas[number])


def _seconds_per_tick(work: Callable[[Callable[[Alpha], None]], object], wrote: Callable[[int, Alpha], None]) -> float:
    """Mean seconds between the frames of `work`, which calls a function with the alpha of each, without the first
    quarter, including the time after the last one. `wrote` is told how many there are."""
    ticks: list[float] = []

    def tick(alpha: Alpha) -> None:
        ticks.append(time.perf_counter())
        wrote(len(ticks), alpha)

    work(tick)
    ended, first = time.perf_counter(), len(ticks) // 4
    return (ended - ticks[first]) / (len(ticks) - first)


def make_clip(path: Path, height: int, width: int, frames: int) -> None:
    """Writes a clip of 24 frames per second: an image that moves by two pixels per frame."""
    image = calibration_image(height, width + 2 * frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24), options={"preset": "ultrafast"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            view = np.ascontiguousarray(image[:, 2 * number : 2 * number + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode(None))
