"""Mixtures that options name as text."""

from __future__ import annotations

from fractions import Fraction

from dnirender.errors import UsageError
from dnirender.frames import Alpha
from dnirender.jobs.job import Job
from dnirender.preset import Preset
from dnirender.timeline.keyframes import weaken
from dnirender.timeline.timeline import Timeline


def parse_mixture(option: str, text: str, preset: Preset) -> Alpha:
    """The coefficients of a value as keyframes have it: a number, a name, a mix. UsageError that names `option`."""
    try:
        timeline = Timeline.parse(f"0:{text.strip()}", extrapolate=preset.timeline.extrapolate)
        return timeline.resolve(preset.endpoints, [Fraction(0)]).alphas[0]
    except UsageError as error:
        raise UsageError(f"{option}={text.strip()!r}: {str(error).split('(key 1): ')[-1]}") from error


def outside_alpha(job: Job) -> Alpha:
    """The mixture outside of a job's masks, the same for all layers and as strong as the timeline's."""
    preset, text = job.preset, job.preset.mask.outside
    first = tuple(float(number == 0) for number in range(len(preset.endpoints)))
    alpha = first if text is None else weaken(parse_mixture("outside", text, preset), preset.effect.strength)
    return alpha * (1 + len(preset.timeline.tracks))
