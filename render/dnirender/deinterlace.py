"""Interlaced video as whole pictures, one for each of its frames.

A frame of interlaced video holds the even lines of one moment and the odd lines of another. FFmpeg's bwdif keeps the
lines that are shown first and makes the others from these, from both neighbouring frames and from what was there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av.error
from av.filter import Graph
from av.video.frame import VideoFrame

from dnirender.containers import fraction
from dnirender.errors import RenderError

MODES = ("auto", "off", "bwdif")
# How AVFieldOrder tells which lines are shown first: top, bottom, stored top first but shown bottom first, and so on.
PARITIES = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}


def parity(frames: Iterable[VideoFrame], field_order: int) -> str | None:
    """bwdif's name for the lines that are shown first; None where nothing says that there are two moments in a frame.

    What frames say of themselves comes before what the stream says of all.
    """
    if any(frame.interlaced_frame for frame in frames):
        return "auto"
    return PARITIES.get(field_order)


def deinterlaced(
    frames: Iterable[tuple[int, VideoFrame]], stop: int, first_lines: str = "auto"
) -> Iterator[tuple[int, VideoFrame]]:
    """The same (index, frame) with whole pictures, each given once its successor is there.

    Indices are consecutive, and `stop - 1` is the last that there is. The first picture lacks a neighbour, and so does
    the last unless it is `stop - 1`: whoever wants them as they are in the whole asks for one more on either side.
    """
    graph: Graph | None = None
    due: int | None = None
    for index, frame in frames:
        due = index if due is None else due
        graph = graph or _graph(frame, first_lines)
        frame.pts, frame.time_base = index, Fraction(1)
        graph.vpush(frame)
        if index == stop - 1:
            graph.vpush(None)
        for made in _pulled(graph):
            if made.pts is None or made.pts * fraction(made.time_base, Fraction(1)) != due:
                raise RenderError(f"bwdif gave the picture of another moment than frame {due}; use --deinterlace off")
            yield due, made
            due += 1
        if index == stop - 1:
            return


def _graph(frame: VideoFrame, first_lines: str) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    made = graph.add("bwdif", f"mode=send_frame:parity={first_lines}:deint=all")
    source.link_to(made)
    made.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield graph.vpull()
