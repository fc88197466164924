"""REPAIR of the mixtures of a job, measured on a few frames of its source."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from fractions import Fraction

from dnirender.frames import Image
from dnirender.jobs.job import Job
from dnirender.jobs.plan import scaled_size
from dnirender.jobs.sampling import open_input, sample_frames
from dnirender.media.resize import resize_to
from dnirender.networks.network import Network
from dnirender.networks.repair import Repair, measure_repair
from dnirender.networks.weights import WeightPath
from dnirender.timeline.expression import Expression
from dnirender.timeline.keyframes import Keyframe

FRAMES, SIDE = 4, 96  # that statistics are measured on; more change them little


def measure_for(job: Job, network: Network, path: WeightPath) -> Repair:
    """The repair of what the timeline of `job` mixes, measured on its source. Raises MediaError, UsageError."""
    return measure_repair(network, path, list(_sample(job)), _pairs(job))


def _sample(job: Job) -> Iterable[Image]:
    """The middle of frames from all over the source, at the size that the network receives."""
    source = open_input(job)
    for frame in sample_frames(source, FRAMES):
        image = resize_to(frame.image, *scaled_size(job, source.metadata))
        top, left = (max(0, (side - SIDE) // 2) for side in image.shape[:2])
        yield image[top : top + SIDE, left : left + SIDE]


def _pairs(job: Job) -> set[tuple[int, int]]:
    """The endpoints that are mixed: neighbors on the path, those of a key and the next unless both are numbers, and the
    first with all, where `strength` adds it."""
    endpoints, keys = job.preset.endpoints, job.timeline.keyframes
    together = [_used(key, endpoints) for key in keys]
    together += [
        _used(one, endpoints) | _used(two, endpoints)
        for one, two in itertools.pairwise(keys)
        if not (_is_number(one) and _is_number(two))
    ]
    if job.preset.effect.strength < 1:
        together += [{0, index} for index in range(1, len(endpoints))]
    neighbors = itertools.pairwise(range(len(endpoints)))
    return {*neighbors, *(pair for group in together for pair in itertools.combinations(sorted(group), 2))}


def _is_number(key: Keyframe) -> bool:
    return isinstance(key.value, Expression | Fraction)


def _used(key: Keyframe, endpoints: tuple[str, ...]) -> set[int]:
    if isinstance(key.value, Expression):  # along the path
        return set()
    return {index for index, coefficient in enumerate(key.alpha(endpoints)) if coefficient}
