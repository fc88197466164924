"""Mixtures and wipes that options name as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from dnirender.decoding.source import Source
from dnirender.errors import UsageError
from dnirender.frames import Alpha
from dnirender.jobs.job import Job
from dnirender.layout.panels import MASK
from dnirender.mask_settings import split_mask
from dnirender.masks.fronts import Front
from dnirender.masks.masking import Masking, open_masking
from dnirender.preset import Preset
from dnirender.timeline.interpolation import Way
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


def masking_of(job: Job, source: Source | None) -> Masking | None:
    """The masks of a job on its source, which is None where frames come from memory; None without any. Raises what
    `open_masking` raises."""
    preset = job.preset
    return open_masking(preset.mask, job.mask_arrays, preset.endpoints, outside_alpha(job), source)


def check_mask_panel(job: Job, masking: Masking | None) -> None:
    """Raises UsageError if a panel is to show a mask, and there is none, or more than one."""
    if MASK not in job.preset.layout.panels:
        return
    if masking is None:
        raise UsageError(f"panels: {MASK!r} shows a mask, and there is none; give one, such as subject=True")
    if len(masking.places) > 1:
        raise UsageError(f"panels: {MASK!r} shows one mask, got {len(masking.places)}; give one, without a name")


def open_front(job: Job) -> Front | None:
    """The wipe of a job; None without one. MediaError: its picture. UsageError: masks that it excludes."""
    wipe = job.preset.wipe.parsed
    names = [*job.mask_arrays, *(split_mask(text)[0] for text in job.preset.mask.files)]
    if wipe is not None and (any(names) or len(names) > 1):
        raise UsageError("wipe: expected at most one mask, without a name, as it is the timeline that moves")
    if wipe is not None and job.preset.timeline.pace != "linear":
        raise UsageError(f"pace={job.preset.timeline.pace!r}: expected no wipe, whose front has the pace of its easing")
    return Front(wipe) if wipe is not None else None


def ways_of(job: Job, seconds: Sequence[Fraction]) -> tuple[Way | None, ...]:
    """The way between two keys of the main timeline that each frame is on, as strong as the job has it."""
    strength, weak = job.preset.effect.strength, dict[tuple[Alpha, ...], tuple[Alpha, ...]]()

    def weakened(way: Way | None) -> Way | None:
        if way is None or strength == 1:
            return way
        if way.alphas not in weak:
            weak[way.alphas] = tuple(weaken(alpha, strength) for alpha in way.alphas)
        return replace(way, alphas=weak[way.alphas])

    return tuple(map(weakened, job.timeline.ways(job.preset.endpoints, seconds)))
