"""Keyframes at cuts between scenes: `cut` is the first cut of a clip, `cut3` the third, `cut3+1s` a second later."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from dnirender.errors import TimelineError
from dnirender.timeline.easing import parse_number, quote
from dnirender.timeline.keyframes import describe_clip
from dnirender.timeline.parser import parse_keyframe, parse_position, split_keyframes

_CUT = re.compile(r"\s*cut\s*([0-9]{0,6})\s*(?:([+-])\s*([0-9.]+)\s*(s?))?\s*:(.*)", re.IGNORECASE | re.DOTALL)
MAX_SNAP = Fraction(1, 2)
"""Seconds from a key to the cut that it is moved to."""


def names_cuts(keyframes: str) -> bool:
    """Whether a key is at a cut. Its values are checked; its positions cannot be, without the clip.

    TimelineError: a value or an easing.
    """
    keys = [(number, _CUT.fullmatch(key)) for number, key in enumerate(split_keyframes(keyframes), 1)]
    for number, found in keys:
        if found:
            parse_keyframe(f"0:{found[5]}", number, extrapolate=True)
    return any(found for _, found in keys)


def place_at_cuts(keyframes: str, cuts: Sequence[int], seconds: Sequence[Fraction]) -> str:
    """Keyframes with frame numbers or times in place of cuts.

    `cuts` are the numbers of the first frames of all scenes but the first, `seconds` the times of all frames.

    TimelineError: the clip has fewer cuts, or a position is before the first frame.
    """
    return ", ".join(_placed(key, cuts, seconds) for key in split_keyframes(keyframes))


def snap_to_cuts(keyframes: str, cuts: Sequence[int], seconds: Sequence[Fraction]) -> str:
    """Keyframes of which those within `MAX_SNAP` seconds of a cut lie on it; of several, the nearest one."""
    keys = [key.partition(":")[::2] for key in split_keyframes(keyframes)]
    places = [parse_position(position).frame(seconds) for position, _ in keys]
    moved = dict[int, int]()
    for cut in cuts:
        near = [
            (abs(seconds[place] - seconds[cut]), number)
            for number, place in enumerate(places)
            if 0 < place < len(seconds) and number not in moved
        ]
        if near and min(near)[0] <= MAX_SNAP:
            moved[min(near)[1]] = cut
    texts = [f"{moved.get(number, position)}:{value}" for number, (position, value) in enumerate(keys)]
    return ", ".join(texts)


def _placed(key: str, cuts: Sequence[int], seconds: Sequence[Fraction]) -> str:
    found = _CUT.fullmatch(key)
    if found is None:
        return key
    name, number = key.partition(":")[0].strip(), int(found[1] or 1)
    if not 1 <= number <= len(cuts):
        known = f"its cuts are at frames {', '.join(map(str, cuts[:20]))}" if cuts else "no cut was found in it"
        raise TimelineError(f"keyframes: {quote(name)}: {describe_clip(len(seconds))} and {known}")
    frame, shift = cuts[number - 1], parse_number(found[3] or "0")
    if shift is None:
        raise TimelineError(f"keyframes: {quote(name)}: expected a number of frames or seconds, as in cut2+1s or cut-3")
    shift = -shift if found[2] == "-" else shift
    if found[4]:
        place, text = seconds[frame] - seconds[0] + shift, "s"
    else:
        if shift.denominator != 1:
            advice = f"{found[3]} frames is no integer; for a time write cut{found[1]}{found[2]}{found[3]}s"
            raise TimelineError(f"keyframes: {quote(name)}: {advice}")
        place, text = frame + shift, ""
    if place < 0:
        raise TimelineError(f"keyframes: {quote(name)} is before the first frame; the cut is at frame {frame}")
    written = str(place) if place.denominator == 1 else f"{float(place):.6f}"
    return f"{written}{text}:{found[5]}"
