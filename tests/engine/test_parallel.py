"""Laws of frames that are rendered in parallel: the order, the threads, an error, an early end."""

import threading
import time

import numpy as np
import pytest

from dnirender.engine.parallel import parallel_map
from dnirender.frames import Batch, Frame


def batches(count, size=1):
    frames = [Frame(index, index, np.full((1, 1, 3), index, np.uint8)) for index in range(count)]
    return [Batch(tuple(frames[i : i + size]), (float(i),)) for i in range(0, count, size)]


class Worker:
    """Takes longer for every other frame, so that frames overtake one another; notes its arguments."""

    def __init__(self, fails_at=None):
        self.fails_at, self.seen, self.busy = fails_at, [], threading.Lock()

    def __call__(self, frame, alpha):
        assert self.busy.acquire(blocking=False), "two frames at once in one worker"
        try:
            time.sleep(0.002 * (frame.index % 2))
            if frame.index == self.fails_at:
                raise RuntimeError(f"frame {frame.index}")
            self.seen.append((frame.index, alpha))
            return frame.image + 100
        finally:
            self.busy.release()


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_frames_come_back_in_order_whichever_worker_rendered_them(count, size):
    workers, jobs = [Worker() for _ in range(count)], batches(20, size)
    results = list(parallel_map(workers, 1, jobs))
    assert [batch for batch, _ in results] == jobs
    for batch, images in results:
        assert [int(image[0, 0, 0]) for image in images] == [frame.index + 100 for frame in batch.frames]
    seen = sorted(entry for worker in workers for entry in worker.seen)
    assert seen == [(frame.index, job.alpha) for job in jobs for frame in job.frames]
    assert all(worker.seen for worker in workers)


def test_one_frame_more_than_there_are_workers_is_read_ahead():
    read = []
    stream = parallel_map([Worker(), Worker()], 1, (read.append(job) or job for job in batches(10)))
    assert read == []
    for number, _ in enumerate(stream, 1):
        assert len(read) == min(number + 2, 10)


def test_an_error_is_raised_at_its_place_and_nothing_goes_on():
    workers = [Worker(fails_at=5), Worker(fails_at=5)]
    stream = parallel_map(workers, 1, batches(50))
    assert [batch.frames[0].index for batch, _ in (next(stream) for _ in range(5))] == [0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="frame 5"):
        next(stream)
    assert max(index for worker in workers for index, _ in worker.seen) <= 8
    assert not any(thread.name.startswith("worker") for thread in threading.enumerate())


def test_an_early_end_leaves_no_thread():
    stream = parallel_map([Worker(), Worker()], 1, batches(50))
    next(stream)
    stream.close()
    assert not any(thread.name.startswith("worker") for thread in threading.enumerate())
