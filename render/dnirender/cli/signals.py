"""Ctrl-C and SIGTERM: the first finishes the frames in progress, the second ends the process at once."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from types import FrameType
from typing import Any, NamedTuple

from dnirender.errors import RenderError

# SIGHUP, where there is one: the terminal was closed.
SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Interrupt(KeyboardInterrupt):
    """The first signal, raised on the main thread like KeyboardInterrupt."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class InterruptedRender(RenderError):
    """A render that was stopped by a signal; the message says what was finished."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Invocation(NamedTuple):
    """The arguments of this process, and when it began, by `time.perf_counter`."""

    words: Sequence[str]
    began: float


@contextlib.contextmanager
def handle_signals() -> Generator[list[int]]:
    """Makes signals raise `Interrupt` and yields the list of their numbers. Ignored signals stay ignored (`nohup`,
    background jobs of a shell)."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def heard(number: int, _frame: FrameType | None) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        # To the descriptor, because the stream may be in the middle of a write.
        with contextlib.suppress(OSError):
            os.write(2, b"\nFinishing frames in progress; press Ctrl-C again to quit now.\n")
        raise Interrupt(number)

    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in heeded:
        signal.signal(number, heard)
    try:
        yield seen
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def command_line(arguments: Sequence[str]) -> str:
    """The command as shell text."""
    words = ["dnirender", *arguments]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
