"""Frames rendered in parallel on the CPU."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from dnirender.frames import Alpha, Batch, Frame

T = TypeVar("T")


def parallel_map(
    workers: Sequence[Callable[[Frame, Alpha], T]], threads: int, batches: Iterable[Batch]
) -> Generator[tuple[Batch, tuple[T, ...]]]:
    """Calls the next idle worker with every frame and its alpha; yields (batch, results) in the order of the batches.

    Each worker is called by one thread at a time, on which PyTorch uses `threads` threads. Two frames on one thread
    each finish sooner than two in sequence on two threads, which synchronize some hundred times per frame, and wait for
    one that the decoder or the encoder has displaced. At most one frame more than there are workers is read ahead. An
    exception in a worker is raised here, in the order of the frames.
    """
    idle: queue.SimpleQueue[Callable[[Frame, Alpha], T]] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def run(frame: Frame, alpha: Alpha) -> T:
        worker = idle.get()
        try:
            return worker(frame, alpha)
        finally:
            idle.put(worker)

    pending: deque[tuple[Batch, list[Future[T]]]] = deque()
    pool = ThreadPoolExecutor(len(workers), "worker", torch.set_num_threads, (threads,))
    try:
        for batch in batches:
            pending.append((batch, [pool.submit(run, frame, batch.alpha) for frame in batch.frames]))
            while sum(len(futures) for _, futures in pending) > len(workers):
                yield _results(*pending.popleft())
        while pending:
            yield _results(*pending.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _results(batch: Batch, futures: list[Future[T]]) -> tuple[Batch, tuple[T, ...]]:
    return batch, tuple(future.result() for future in futures)
