"""Several timelines over one clip: the main one, and those of groups of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from dnirender.errors import TimelineError, with_notes
from dnirender.timeline.timeline import Timeline, Track

if TYPE_CHECKING:
    from dnirender.frames import Alpha

MAIN = ""
"""The name of the main timeline, which layers without a track of their own follow."""


def resolve_all(
    timelines: Mapping[str, Timeline], endpoints: Sequence[str], seconds: Sequence[Fraction], strength: float = 1.0
) -> tuple[Track, ...]:
    """The tracks of a clip, weakened by `strength`, in the order of `timelines`: patterns of layers, MAIN first.

    TimelineError: see `Timeline.resolve`; it names the pattern.
    """
    return tuple(
        _resolve(pattern, timeline, endpoints, seconds).weakened(strength) for pattern, timeline in timelines.items()
    )


def _resolve(pattern: str, timeline: Timeline, endpoints: Sequence[str], seconds: Sequence[Fraction]) -> Track:
    try:
        return timeline.resolve(endpoints, seconds)
    except TimelineError as error:
        raise track_error(pattern, error) from error


def track_error(pattern: str, error: TimelineError) -> TimelineError:
    """The error of a timeline with the pattern of the layers that follow it; as it is for MAIN."""
    return error if pattern == MAIN else with_notes(TimelineError(in_track(pattern, str(error))), error)


def in_track(pattern: str, message: str) -> str:
    """A message about keyframes as one about the track of a pattern; as it is for MAIN."""
    return message if pattern == MAIN else f"tracks='{pattern}': {message.removeprefix('keyframes: ')}"


def join_alphas(tracks: Sequence[Track]) -> tuple[Alpha, ...]:
    """One alpha per frame that holds the coefficients of all tracks, one after another; equal ones are one tuple."""
    main, *others = tracks
    if not others:
        return main.alphas
    shared: dict[Alpha, Alpha] = {}
    joined = (sum(parts, ()) for parts in zip(*(track.alphas for track in tracks), strict=True))
    return tuple(shared.setdefault(alpha, alpha) for alpha in joined)


def split_alpha(alpha: Alpha, num_endpoints: int) -> list[Alpha]:
    """The coefficients of each track of a joined alpha, the main one's first."""
    return [alpha[start : start + num_endpoints] for start in range(0, len(alpha), num_endpoints)]


def are_closed(timelines: Iterable[Timeline], tracks: Sequence[Track], endpoints: Sequence[str]) -> bool:
    """Whether timelines form a cycle together: at least one does, and the others do not move."""
    moving = [timeline for timeline, track in zip(timelines, tracks, strict=True) if len(set(track.alphas)) > 1]
    return bool(moving) and all(timeline.is_closed(endpoints) for timeline in moving)
