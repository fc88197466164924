"""Start time codes: SMPTE 12M numbers of frames, by which editors link a file to its original."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

PATTERN = re.compile(r"(\d\d):([0-5]\d):([0-5]\d)([:;.])(\d{2,3})")
TAG = "timecode"
DROPPED = 15  # of the frame numbers of a minute, one in so many per second is dropped: 2 at 30, 4 at 60


def read_timecode(container: Any, stream: Any) -> str:
    """The time code of the first frame, "" without one.

    FFmpeg gives the track of MOV and MP4 (tmcd) as a tag of its stream and of the video; MXF, DV, Matroska have tags.
    """
    others = [other for other in container.streams if other.type == "data"]
    for source in (stream, *others, container):
        for key, value in source.metadata.items():
            if key.lower() == TAG and PATTERN.fullmatch(value.strip()):
                return value.strip()
    return ""


def is_timecode(stream: Any) -> bool:
    """Whether a data stream is the time code track of a MOV or MP4, which the muxer writes anew."""
    return stream.type == "data" and any(key.lower() == TAG for key in stream.metadata)


def advance_timecode(text: str, frames: int, rate: Fraction, new_rate: Fraction | None = None) -> str:
    """The time code `frames` after `text`, which counts `rate` frames per second, as one that counts `new_rate`.

    A semicolon or a period before the frames marks drop-frame counting (29.97 and 59.94 frames/s): the first numbers of
    every minute but each tenth are not used. "" stays "".
    """
    match = PATTERN.fullmatch(text)
    if match is None:
        return ""
    hours, minutes, seconds, mark, frame = match.groups()
    base, new_base = round(rate), round(new_rate or rate)
    is_drop = mark in ";." and base % 30 == 0
    total_minutes = int(hours) * 60 + int(minutes)
    number = (total_minutes * 60 + int(seconds)) * base + int(frame)
    if is_drop:
        number -= base // DROPPED * (total_minutes - total_minutes // 10)
    number += frames
    if new_base != base:
        number, is_drop = number * new_base // base, False
    return _to_text(number, new_base, mark if is_drop else ":")


def _to_text(number: int, base: int, mark: str) -> str:
    """The time code of frame `number` after midnight."""
    if mark != ":":
        dropped = base // DROPPED
        per_minute, per_ten = base * 60 - dropped, base * 600 - 9 * dropped
        tens, rest = divmod(number, per_ten)
        number += 9 * dropped * tens + (dropped * ((rest - dropped) // per_minute) if rest > dropped else 0)
    seconds, frame = divmod(number, base)
    hours, minutes = seconds // 3600 % 24, seconds // 60 % 60
    return f"{hours:02}:{minutes:02}:{seconds % 60:02}{mark}{frame:02}"
