"""A render on a thread of its own: for programs that go on meanwhile, and for notebooks."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from dnirender.errors import Cancelled, RenderError, UsageError
from dnirender.jobs.job import Keyframes, make_job
from dnirender.jobs.notebook import progress_html
from dnirender.jobs.render import Cancel, Report, as_function, run_job
from dnirender.preset import DEFAULT_PRESET, Preset
from dnirender.progress import Listener, Progress


class Render:
    """`render(...)`, with the same arguments, on a thread of its own. They are checked when this is made.

        with Render("clip.mp4", "evening.mp4", preset="day-to-night") as evening:
            while not evening.done:
                print(evening.progress)
                time.sleep(1)
        print(evening.result())

    A `with` block starts it, waits at its end and raises what the render raised; an exception in the block cancels it.
    Without one: `start()`, then `result()`. A process that ends waits for it, or cancels it where an exception ends it.
    A notebook shows how far it is, and then its report. `progress` and `cancel` are called on the render's thread.
    """

    def __init__(
        self,
        input: str | Path,
        output: str | Path | None = None,
        *,
        preset: str | Path | Preset = DEFAULT_PRESET,
        keyframes: Keyframes | None = None,
        easing: str | Callable[[float], float] | None = None,
        progress: Listener | None = None,
        cancel: Cancel | None = None,
        **options: Any,
    ) -> None:
        self._job = make_job(input, output, preset, keyframes=keyframes, easing=easing, **options)
        self._listener, self._cancelled_by = progress, as_function(cancel)
        self._progress = Progress("waiting")
        self._cancelled, self._finished = threading.Event(), threading.Event()
        self._report: Report | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Begins to render. UsageError: it has begun already; a render runs once."""
        if self._thread is not None:
            raise UsageError("start: this render has begun already; make another one")
        # Thread pools refuse work when the main thread ends, before other threads are joined. Handlers run in reverse
        # order: this one, registered after that of the pools, runs before. There is no public function for it.
        importlib.import_module("concurrent.futures.thread")
        threading._register_atexit(self._end_with_process)  # pyright: ignore
        self._thread = threading.Thread(target=self._run, name="dnirender")
        self._thread.start()
        return self

    @property
    def progress(self) -> Progress:
        """How far it is: phase, frames done and in all, seconds left. The phase is `waiting` before it begins, one of
        `Progress` while it runs, then `done`, `cancelled` or `failed`."""
        if not self.done:
            return self._progress
        end = "done" if self._report else "cancelled" if isinstance(self._error, Cancelled) else "failed"
        return replace(self._progress, phase=end, seconds_left=0.0 if self._report else None)

    @property
    def done(self) -> bool:
        """Whether it has come to its end, by success, failure or `cancel`."""
        return self._finished.is_set()

    def cancel(self) -> None:
        """Asks it to stop after the frame in progress, and does not wait. Finished segments are kept, as by `render`;
        once the file is being joined it is published all the same."""
        self._cancelled.set()

    def result(self, timeout: float | None = None) -> Report:
        """Waits for the end, at most `timeout` seconds, and returns the report.

        Raises what `render` raises, Cancelled among it; TimeoutError: it still runs; UsageError: it has not begun.
        """
        if self._thread is None:
            raise UsageError("result: this render has not begun; call start() or use it in a `with` block")
        if not self._finished.wait(timeout):
            raise TimeoutError(f"{self._job.output}: still {self._progress.phase} after {timeout:g} s")
        self._thread.join()
        if self._report is not None:
            return self._report
        raise self._error or RenderError(f"{self._job.output}: the render ended without a result")

    def __enter__(self) -> Self:
        return self if self._thread is not None else self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.cancel()
        self._finished.wait()
        if kind is None and not self._cancelled.is_set():
            self.result()

    def _repr_html_(self) -> str:
        if self._report is not None:
            return self._report._repr_html_()  # pyright: ignore[reportPrivateUsage] - the name that notebooks call
        now = self.progress
        phase = f"{now.phase} ({self._error})" if self._error is not None else now.phase
        return progress_html(self._job.output.name, phase, now.done, now.total, now.seconds_left)

    def _run(self) -> None:
        try:
            self._report = run_job(self._job, self._listen, self._is_cancelled)
        except BaseException as error:  # noqa: BLE001 - raised again by `result`
            self._error = error
        finally:
            self._finished.set()

    def _listen(self, now: Progress) -> None:
        self._progress = now
        if self._listener is not None:
            self._listener(now)

    def _is_cancelled(self) -> bool:
        return self._cancelled.is_set() or self._cancelled_by()

    def _end_with_process(self) -> None:
        if getattr(sys, "last_value", None) is not None:  # the error that ends the main thread
            self.cancel()
        self._finished.wait()
