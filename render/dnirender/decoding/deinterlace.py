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

from dnirender.errors import MediaError, RenderError
from dnirender.media.containers import fraction

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


def deinterlace_frames(
    frames: Iterator[tuple[int, VideoFrame]], stop: int, first_lines: str = "auto"
) -> Iterator[tuple[int, VideoFrame]]:
    """The same (index, frame) with whole pictures, each given once its successor is there.

    Indices are consecutive, frames of one size and format, and `stop - 1` is the last that there is. The first picture
    is made without a frame before it: whoever wants it as it is in the whole starts one earlier. MediaError of `frames`
    is raised once what came before it has been given, so that all that can be decoded can be rendered.
    """
    graph: Graph | None = None
    failure: MediaError | None = None
    due, ended = 0, False
    while not ended:
        try:
            index, frame = next(frames)
        except MediaError as error:
            ended, failure = True, error
        else:
            if graph is None:
                graph, due = _graph(frame, first_lines), index
            frame.pts, frame.time_base = index, Fraction(1)
            graph.vpush(frame)
            ended = index == stop - 1
        if ended and graph:
            graph.vpush(None)
        for made in _pulled(graph) if graph else ():
            if made.pts is None or made.pts * fraction(made.time_base, Fraction(1)) != due:
                raise RenderError(f"bwdif gave the picture of another moment than frame {due}; use --deinterlace off")
            yield due, made
            due += 1
    if failure:
        raise failure


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
