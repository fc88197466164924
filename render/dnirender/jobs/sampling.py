"""Frames of a job's input, whatever is made of them."""

from __future__ import annotations

from collections.abc import Iterator

from dnirender.decoding.open import open_source
from dnirender.decoding.source import Source
from dnirender.frames import Frame
from dnirender.jobs.job import Job


def open_input(job: Job) -> Source:
    """The input of a job under its decoding options alone: a still image is one frame, HDR stays unless it is asked to
    be mapped. Raises MediaError."""
    options = job.decode
    return open_source(
        job.input,
        stream=options.video_stream,
        deinterlace=options.deinterlace,
        hdr=options.hdr,
        ignore_errors=options.ignore_errors,
    )


def sample_frames(source: Source, count: int) -> Iterator[Frame]:
    """`count` frames from all over a source, the middles of as many equal parts; fewer if it is shorter."""
    yield from source.frames(evenly(0, len(source.metadata.pts), count))


def evenly(start: int, stop: int, count: int) -> list[int]:
    """The middles of `count` equal parts of the frames `start` to `stop` (exclusive), each once."""
    total = stop - start
    return sorted({start + (2 * k + 1) * total // (2 * count) for k in range(count)})
