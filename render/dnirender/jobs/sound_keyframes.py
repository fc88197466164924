"""Keyframes from the sound of a clip: at its beats, or its loudness as alpha."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from dnirender.decoding.sound import read_sound
from dnirender.errors import UsageError
from dnirender.jobs.job import Job
from dnirender.media.images import is_still
from dnirender.sound.beats import find_beats
from dnirender.sound.loudness import HOP, loudness, simplified
from dnirender.sound.spectrum import RATE, Array
from dnirender.timeline.audio import AudioLevel, beat_keyframes
from dnirender.timeline.easing import parse_easing
from dnirender.timeline.parser import MAX_CHARACTERS, MAX_KEYS

TOLERANCE = 0.01  # of alpha: how far keyframes may be from the loudness


def follow_sound(job: Job, seconds: Sequence[Fraction]) -> tuple[Job, str]:
    """The job with keyframes of its own where its timeline follows the sound, and what was heard; else the job and "".

    `seconds` are the times of the rendered frames on the clock of the input. The keyframes are text and replace the
    settings that asked for them, so the job can be written down, resumed and edited like any other.

    UsageError: the input is a picture, or there is nothing to hear. MediaError: it has no audio.
    """
    settings = job.preset.timeline
    level, beat = settings.audio, settings.beat
    if job.own_timeline is not None or (level is None and beat is None):
        return job, ""
    wish = f"beat={beat!r}" if beat is not None else f"keyframes={settings.keyframes!r}"
    if is_still(job.input):
        raise UsageError(f"{wish}: {job.input.name} is a picture and has no sound")
    samples = read_sound(job.input, seconds[0], seconds[-1], RATE)
    if beat is not None:
        found = find_beats(samples)
        text = beat_keyframes(found.times, job.preset.endpoints[0], beat, settings.beat_attack, settings.beat_decay)
        count = len(found.times)
        heard = f"{count} beats at {found.tempo:.1f} per minute" if found.tempo else f"{count} onsets, no steady tempo"
    else:
        assert level is not None
        found, values = None, _levels(samples, level)
        text = _level_keyframes(values) if values.any() else ""
        heard = f"the loudness of the sound ({level.band})"
    if not text or (found is not None and not found.times):
        raise UsageError(f"{wish}: nothing is to be heard in {job.input.name}")
    changes = {"keyframes": text, "beat": None}
    return job.override(**changes), heard


def _levels(samples: Array, level: AudioLevel) -> Array:
    easing = parse_easing(level.easing)
    values = loudness(samples, level.band)
    values[:] = [min(max(easing(float(value)), 0.0), 1.0) for value in values]
    return values


def _level_keyframes(values: Array) -> str:
    """Levels as keyframes, as many as the parser reads."""
    tolerance = TOLERANCE
    while True:
        places = simplified(values, tolerance)
        text = ", ".join(f"{place * HOP / RATE:.2f}s:{values[place]:.3f}" for place in places)
        if len(text) <= MAX_CHARACTERS and len(places) <= MAX_KEYS:
            return text
        tolerance *= 1.5
