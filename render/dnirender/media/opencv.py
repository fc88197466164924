"""OpenCV's use of processors."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import cv2


@contextmanager
def opencv_threads(count: int | None) -> Generator[None]:
    """Limits OpenCV's threads; None leaves them."""
    before = cv2.getNumThreads()
    if count:
        cv2.setNumThreads(count)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
