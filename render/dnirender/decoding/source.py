"""What is known of a source, and what every source can do: give its frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dnirender.decoding.metadata import Facts
from dnirender.frames import Frame


class Source:
    """Something that gives frames: a video file, or a still picture held for a number of frames."""

    def __init__(self, path: Path, facts: Facts) -> None:
        self.path = path
        self.facts = facts
        self.repaired: set[int] = set()  # with --ignore-errors: the frames given so far that show another one

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """The frames at `indices`, which must increase, decoded in one pass from the nearest keyframe.

        Raises MediaError where the file yields other frames than the scan promised, unless errors are ignored: then a
        frame that cannot be decoded shows the one before it (at the beginning: the first that can), and is counted in
        `repaired`.
        """
        raise NotImplementedError

    def repairs(self) -> tuple[str, ...]:
        """What to tell the user of the frames given so far, when all have been."""
        if not self.repaired:
            return ()
        first, facts = min(self.repaired), self.facts
        at = float((facts.pts[first] - facts.pts[0]) * facts.time_base)
        return (
            f"{self.path.name}: {len(self.repaired)} of {len(facts.pts)} frames could not be decoded, the first at "
            f"frame {first}, {at:.1f} s: each shows the one before it",
        )
