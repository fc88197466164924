"""Decodes the sound of a clip to samples."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt

from dnirender.errors import MediaError
from dnirender.media.channels import channel_layout
from dnirender.media.containers import demux, open_container

MAX_SECONDS = 4 * 3600
GAP = 0.05  # seconds between two frames of sound from which there is silence between them


def read_sound(path: Path, start: Fraction, end: Fraction, rate: int) -> npt.NDArray[np.float32]:
    """The first audio stream between two times on the file's clock in seconds, mixed to one channel at `rate` samples
    per second, as FFmpeg mixes: float32 [(end - start) * rate]. There is silence where there is no sound, or damage.

    MediaError: the file has no audio stream, its decoder is missing, or it would last longer than four hours.
    """
    if end - start > MAX_SECONDS:
        raise MediaError(
            f"{path}: {float(end - start):.0f} s of sound, expected at most {MAX_SECONDS}; use start and end"
        )
    out = np.zeros(max(1, math.ceil((end - start) * rate)), np.float32)
    with open_container(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path}: has no audio stream")
        stream = container.streams.audio[0]
        if (context := _context(stream)) is None:
            raise MediaError(f"{path}: its audio cannot be decoded here")
        resampler, expected, cursor = None, None, 0
        for packet in demux(container, stream):
            for frame in _decoded(context, packet):
                if frame.pts is None or frame.time_base is None:
                    continue
                seconds = frame.pts * frame.time_base
                if resampler is None or expected is None or abs(seconds - expected) > GAP:
                    resampler = av.AudioResampler("flt", "mono", rate)
                    cursor = round((seconds - start) * rate)
                expected = seconds + Fraction(frame.samples, frame.sample_rate)
                frame.pts = None
                for part in resampler.resample(frame):
                    values = part.to_ndarray()[0]
                    first, last = max(0, -cursor), min(len(values), len(out) - cursor)
                    if first < last:
                        out[cursor + first : cursor + last] = values[first:last]
                    cursor += len(values)
            if expected is not None and expected > end:
                break
    return out


def _context(stream: Any) -> Any:
    """The decoder of a stream, with names for its channels; None if there is none."""
    context = stream.codec_context
    if context is not None:
        layout = channel_layout(context)
        if layout.standard and layout.name != layout.standard:
            context.layout = layout.standard
    return context


def _decoded(context: Any, packet: Any) -> list[Any]:
    """The frames of a packet, none if it is damaged."""
    with contextlib.suppress(av.error.InvalidDataError, av.error.EOFError):
        return context.decode(packet)
    return []
