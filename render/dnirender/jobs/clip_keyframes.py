"""Keyframes from a clip: at its beats or cuts, or its loudness or noise as alpha."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from dnirender.decoding.cuts import find_cuts
from dnirender.decoding.sound import read_sound
from dnirender.decoding.source import Source
from dnirender.errors import UsageError
from dnirender.jobs.job import Job
from dnirender.jobs.sampling import evenly
from dnirender.media.image_files import is_still
from dnirender.media.noise import estimate_sigma
from dnirender.media.resize import resize_to
from dnirender.sound.beats import find_beats
from dnirender.sound.loudness import HOP, loudness, peaks
from dnirender.sound.spectrum import RATE, Array
from dnirender.timeline.audio import AudioLevel, beat_keyframes
from dnirender.timeline.cuts import place_at_cuts, snap_to_cuts
from dnirender.timeline.easing import parse_easing
from dnirender.timeline.parser import MAX_CHARACTERS, MAX_KEYS
from dnirender.timeline.simplification import simplified

NOISE_FRAMES = 5
PEAKS = 1000  # of a waveform
TOLERANCE = 0.01  # of alpha: how far keyframes may be from the loudness


@dataclass(frozen=True)
class ClipKeyframes:
    """A job with keyframes of its own, what they were made from, and the peaks (0..1) of the sound that was heard over
    the rendered frames; nothing where the timeline does not depend on the clip."""

    job: Job
    made_from: tuple[str, ...] = ()
    waveform: tuple[float, ...] = ()


def resolve_clip_keyframes(job: Job, source: Source, start: int, stop: int, size: tuple[int, int]) -> ClipKeyframes:
    """The job with keyframes of its own where its timeline depends on the clip.

    Frames `start` to `stop` (exclusive) of the source are rendered, scaled to `size` (width, height). The keyframes are
    text and replace the settings that asked for them, so the job can be written down, resumed and edited like any
    other.

    UsageError: the input is a picture, or there is nothing to hear. TimelineError: there are fewer cuts. MediaError:
    the input has no audio, or cannot be decoded.
    """
    settings, found = job.preset.timeline, list[str]()
    if job.own_timeline is None and settings.noise is not None and not settings.follows_sound:
        frames = source.frames(evenly(start, stop, NOISE_FRAMES))
        sigma = estimate_sigma(resize_to(frame.image, *size) for frame in frames)
        made_from = (settings.noise.describe(sigma),)
        return ClipKeyframes(job.override(keyframes=settings.noise.keyframes(sigma)), made_from)
    if job.own_timeline is not None or not (settings.follows_sound or settings.follows_cuts):
        return ClipKeyframes(job)
    if is_still(job.input):
        raise UsageError(f"{settings.clip_option}: {job.input.name} is a picture, without sound or cuts")
    seconds, waveform = source.metadata.seconds[start:stop], tuple[float, ...]()
    if settings.follows_sound:
        samples = read_sound(job.input, seconds[0], seconds[-1], RATE)
        text, heard = _from_sound(job, samples)
        waveform = tuple(map(float, peaks(samples, PEAKS)))
        found.append(heard)
    else:
        text = settings.keyframes
    if settings.follows_cuts:
        cuts = find_cuts(frame.image for frame in source.frames(range(start, stop)))
        text = place_at_cuts(text, cuts, seconds)
        text = snap_to_cuts(text, cuts, seconds) if settings.snap_to_cuts else text
        found.append(f"{len(cuts)} cuts, at frames {', '.join(map(str, cuts))}" if cuts else "no cuts")
    return ClipKeyframes(job.override(keyframes=text, beat=None, snap_to_cuts=False), tuple(found), waveform)


def _from_sound(job: Job, samples: Array) -> tuple[str, str]:
    """Keyframes from the sound of the input, and what was heard."""
    settings = job.preset.timeline
    if settings.beat is not None:
        beats = find_beats(samples)
        count = len(beats.times)
        heard = f"{count} beats at {beats.tempo:.1f} per minute" if beats.tempo else f"{count} onsets, no steady tempo"
        base = job.preset.endpoints[0]
        text = beat_keyframes(beats.times, base, settings.beat, settings.beat_attack, settings.beat_decay)
        silent = not count
    else:
        level = cast("AudioLevel", settings.audio)
        values = _levels(samples, level)
        text, silent = _level_keyframes(values), not values.any()
        heard = f"the loudness of the sound ({level.band})"
    if silent:
        raise UsageError(f"{settings.clip_option}: nothing is to be heard in {job.input.name}")
    return text, heard


def _levels(samples: Array, level: AudioLevel) -> Array:
    easing = parse_easing(level.easing)
    values = loudness(samples, level.band)
    values[:] = [min(max(easing(float(value)), 0.0), 1.0) for value in values]
    return values


def _level_keyframes(values: Array) -> str:
    """Levels as keyframes, as many as the parser reads."""
    tolerance = TOLERANCE
    while True:
        places = simplified(range(len(values)), values.tolist(), tolerance)
        text = ", ".join(f"{place * HOP / RATE:.2f}s:{values[place]:.3f}" for place in places)
        if len(text) <= MAX_CHARACTERS and len(places) <= MAX_KEYS:
            return text
        tolerance *= 1.5
