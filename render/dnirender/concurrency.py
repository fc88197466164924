"""The only place where work moves to another thread, and what else concerns the interpreter's use of processors."""

from __future__ import annotations

import contextlib
import gc
import queue
import threading
from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar, cast

T = TypeVar("T")
_END = object()


@contextlib.contextmanager
def collector_paused() -> Generator[None]:
    """No search for garbage while large libraries are imported, which make hundreds of thousands of objects and leave
    none: a sixth of the time of importing PyTorch. What is there afterwards is not searched any more."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def prefetch(items: Iterable[T], depth: int, name: str = "prefetch") -> Generator[T]:
    """Yields the items unchanged and in order while a worker thread computes up to `depth` of them ahead.

    The worker may hold one item more than the queue. An exception raised by `items` is raised here, in its place in the
    order. When the consumer stops early, the worker stops after its current item. A generator is closed on the worker
    thread, so resources are released by the thread that opened them.
    """
    return merge([items], depth, name)


def merge(sources: Sequence[Iterable[T]], depth: int, name: str = "merge") -> Generator[T]:
    """`prefetch` of several sources, each on a worker thread of its own: those of one source in order, all of them as
    they come. An exception of one stops the others."""
    ready: queue.Queue[Any] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: object) -> bool:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def work(items: Iterable[T]) -> None:
        final: object = _END
        try:
            with contextlib.ExitStack() as stack:
                if (close := getattr(items, "close", None)) is not None:
                    stack.callback(close)
                for item in items:
                    if not put((item,)):
                        break
        except BaseException as error:  # noqa: BLE001 - it is raised again on the consumer's thread
            final = error
        put(final)

    workers = [threading.Thread(target=work, args=(items,), name=name, daemon=True) for items in sources]
    for worker in workers:
        worker.start()
    running = len(workers)
    try:
        while running:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            if item is _END:
                running -= 1
            else:
                yield cast("tuple[T]", item)[0]
    finally:
        stop.set()
        for worker in workers:
            worker.join()
