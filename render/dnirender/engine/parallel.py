"""Pictures rendered side by side on the CPU."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from dnirender.frames import Alpha, Batch, Frame, Image

Worker = Callable[[Frame, Alpha], Image]
"""Renders a frame under an alpha, one at a time, with weights of its own."""


def parallel_map(
    workers: Sequence[Worker], threads: int, batches: Iterable[Batch]
) -> Iterator[tuple[Batch, tuple[Image, ...]]]:
    """Every frame on the next lane that is free, on a thread that gives PyTorch `threads`; results in order.

    Two pictures on one thread each are done sooner than two after one another on two threads, which wait for each other
    some hundred times a picture, and for one that the decoder or the encoder has put aside. Batches are taken up to one
    frame more than there are lanes ahead. What a lane raises is raised here, at its place in the order.
    """
    free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    for lane in workers:
        free.put(lane)

    def render(frame: Frame, alpha: Alpha) -> Image:
        lane = free.get()
        try:
            return lane(frame, alpha)
        finally:
            free.put(lane)

    flying: deque[tuple[Batch, list[Future[Image]]]] = deque()
    pool = ThreadPoolExecutor(len(workers), "lane", torch.set_num_threads, (threads,))
    try:
        for batch in batches:
            flying.append((batch, [pool.submit(render, frame, batch.alpha) for frame in batch.frames]))
            while sum(len(images) for _, images in flying) > len(workers):
                yield _results(*flying.popleft())
        while flying:
            yield _results(*flying.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _results(batch: Batch, images: list[Future[Image]]) -> tuple[Batch, tuple[Image, ...]]:
    return batch, tuple(image.result() for image in images)
