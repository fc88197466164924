"""How far a render is: the phase it is in, its frames, and the seconds that are left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnirender.frames import Alpha

PHASES = ("loading", "choosing", "compiling", "rendering", "joining")
"""What a render waits for, in order: libraries, input and networks; measurements of backends; OpenVINO; frames; the
file made of the segments. A phase that is not needed is left out."""


@dataclass(frozen=True)
class Progress:
    """`done` of `total` frames are written, those of earlier runs included. `alpha` is that of the frame written last.
    `seconds_left` is an estimate for the frames that are missing; None before the first frame."""

    phase: str
    done: int = 0
    total: int = 0
    alpha: Alpha | None = None
    seconds_left: float | None = None


Listener = Callable[[Progress], None]
"""Called when a phase begins, and after every written frame."""


class ProgressTracker:
    """Tells a listener how far a render is, and measures how long each phase takes, from `began` on
    (`time.perf_counter`; by default now). `first_frame` is the seconds from the beginning of its phase to the first
    frame."""

    def __init__(self, listener: Listener | None = None, began: float | None = None) -> None:
        self._listener = listener
        self._since = time.perf_counter() if began is None else began
        self._phase = PHASES[0]
        self._first = 0
        self.first_frame: float | None = None
        self._before: dict[str, float] = {}
        self._tell(Progress(self._phase))

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds in each phase until now, in the order of PHASES."""
        taken = {**self._before, self._phase: self._before.get(self._phase, 0.0) + time.perf_counter() - self._since}
        return {phase: taken[phase] for phase in PHASES if phase in taken}

    def enter(self, phase: str, done: int = 0, total: int = 0) -> None:
        """Begins a phase."""
        if phase == self._phase:
            return
        self._before = self.seconds
        self._phase, self._since, self._first = phase, time.perf_counter(), done
        self._tell(Progress(phase, done, total))

    def wrote(self, done: int, total: int, alpha: Alpha) -> None:
        """A frame was written."""
        taken = time.perf_counter() - self._since
        if self.first_frame is None:
            self.first_frame = taken
        pace = taken / max(1, done - self._first)
        self._tell(Progress(self._phase, done, total, alpha, pace * (total - done)))

    def _tell(self, progress: Progress) -> None:
        if self._listener is not None:
            self._listener(progress)
