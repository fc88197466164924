"""Conversion between 8 and 16 bits, and prefetching on another thread: invariants."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnirender.concurrency import prefetch
from dnirender.frames import to_uint8, to_uint16


def threads(name="prefetch"):
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_8_bits_survive_16_and_16_bits_round_to_the_nearest_8():
    image8 = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_uint8(to_uint16(image8)), image8)
    assert to_uint16(image8).min() == 0 and to_uint16(image8).max() == 65535
    image16 = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(to_uint8(image16), np.rint(image16 / 257).astype(np.uint8))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(), max_size=20), st.integers(1, 5))
def test_prefetch_changes_nothing(items, depth):
    assert list(prefetch(iter(items), depth)) == items


def test_an_error_is_raised_in_its_place_in_the_order():
    def items():
        yield 1
        yield 2
        raise ValueError("third")

    got = []
    with pytest.raises(ValueError, match="third"):
        got.extend(prefetch(items(), 4))
    assert got == [] or got == [1, 2]  # `extend` may discard items on an error
    reader = prefetch(items(), 4)
    assert [next(reader), next(reader)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(reader)
    assert not threads()


def test_an_interrupt_on_the_worker_reaches_the_consumer():
    def items():
        yield 1
        raise KeyboardInterrupt

    reader = prefetch(items(), 1)
    assert next(reader) == 1
    with pytest.raises(KeyboardInterrupt):
        next(reader)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_worker_is_at_most_depth_plus_one_items_ahead(depth):
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    for num_read, number in enumerate(prefetch(items(), depth), 1):
        time.sleep(0.002)
        assert number == num_read - 1
        assert len(made) <= num_read + depth + 1
    assert len(made) == 50


def test_the_worker_runs_ahead():
    ahead = threading.Event()

    def items():
        yield 1
        yield 2
        ahead.set()
        yield 3

    reader = prefetch(items(), 2)
    next(reader)
    assert ahead.wait(5)
    reader.close()


def test_stopping_early_ends_the_worker_which_closes_the_generator():
    closed = []

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    reader = prefetch(items(), 2, "worker")
    next(reader)
    assert threads("worker")
    reader.close()
    assert closed == ["worker"]
    assert not threads("worker")


def test_an_error_in_the_consumer_ends_the_worker():
    def consume():
        for number in prefetch(iter(range(1000)), 2, "worker"):
            if number == 3:
                raise RuntimeError("consumer")

    with pytest.raises(RuntimeError, match="consumer"):
        consume()
    assert not threads("worker")


def test_an_error_of_close_is_raised():
    class Items:
        def __iter__(self):
            return iter([1])

        def close(self):
            raise OSError("cannot close")

    with pytest.raises(OSError, match="cannot close"):
        list(prefetch(Items(), 1))
    assert not threads()


def test_nothing_runs_before_the_first_item_is_requested():
    reader = prefetch(iter([1]), 1, "worker")
    assert not threads("worker")
    assert list(reader) == [1]
