"""The one way to put work on another thread."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar, cast

T = TypeVar("T")
_END = object()


def prefetch(items: Iterable[T], depth: int, name: str = "prefetch") -> Generator[T]:
    """Yields the items unchanged and in order while a thread of its own computes up to `depth` of them ahead.

    Beside those, the worker may hold one more in its hand. An exception raised by `items` is raised here, at its place
    in the order. When the reader stops early, the worker ends after the item it is at, and a generator is closed on the
    worker's thread: what it opened, it closes there.
    """
    ready: queue.Queue[Any] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: object) -> bool:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def work() -> None:
        last: object = _END
        try:
            with contextlib.ExitStack() as stack:
                if (close := getattr(items, "close", None)) is not None:
                    stack.callback(close)
                for item in items:
                    if not put((item,)):
                        break
        except BaseException as error:  # noqa: BLE001 - it is raised again on the reader's thread
            last = error
        put(last)

    worker = threading.Thread(target=work, name=name, daemon=True)
    worker.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield cast("tuple[T]", item)[0]
    finally:
        stop.set()
        worker.join()
