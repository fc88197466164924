"""Keyframes that come from the sound of a clip."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from dnirender.errors import TimelineError
from dnirender.timeline.easing import parse_easing, quote

BANDS = {"rms": (0.0, float("inf")), "low": (20.0, 150.0), "mid": (150.0, 2500.0), "high": (2500.0, float("inf"))}
"""Name of a band of a sound to its lowest and highest frequency in hertz."""


@dataclass(frozen=True)
class AudioLevel:
    """Keyframes `audio:BAND[@EASING]`: alpha is the loudness of a band, through the easing."""

    band: str
    easing: str = "linear"


def parse_audio(text: str) -> AudioLevel | None:
    """Parses `audio:BAND[@EASING]`; None for other keyframes. TimelineError: an unknown band or easing."""
    found = re.fullmatch(r"\s*audio\s*:\s*([^@]*?)\s*(?:@(.*))?", text, re.IGNORECASE | re.DOTALL)
    if found is None:
        return None
    band, easing = found[1].lower(), (found[2] or "linear").strip()
    if band not in BANDS:
        raise TimelineError(f"keyframes: unknown band {quote(found[1])} of the sound; expected {', '.join(BANDS)}")
    parse_easing(easing)
    return AudioLevel(band, easing)


def beat_keyframes(times: Iterable[float], base: str, beat: str, attack: float, decay: float) -> str:
    """Keyframes that rise from `base` to `beat` within `attack` seconds before every time, and fall back in `decay`.

    A time that is nearer to the one before than both together cuts that one's fall short. `times` increase, in seconds.
    """
    peaks = sorted({round(time * 1000) for time in times if time >= 0})
    rise, fall = max(1, round(attack * 1000)), max(1, round(decay * 1000))
    keys: dict[int, str] = {0: base}
    if peaks and peaks[0] > rise:
        keys[peaks[0] - rise] = base
    for peak, following in itertools.zip_longest(peaks, peaks[1:]):
        keys[peak] = f"{beat}@easeOutQuad"
        if following is None:
            keys[peak + fall] = base
            continue
        turn = max(following - rise, (peak + following) // 2)  # where the next one begins to rise
        keys |= {time: base for time in (peak + fall, turn) if peak < time <= turn}
    return ", ".join(f"{time / 1000:g}s:{value}" for time, value in sorted(keys.items()))
