"""Deinterlaces video with FFmpeg's bwdif, one progressive frame per interlaced frame.

An interlaced frame holds two fields, its even and its odd lines, captured at different times. bwdif keeps the field
that is displayed first and interpolates the lines of the other one from both fields and from the neighboring frames.
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
# Which field is displayed first, by AVFieldOrder: TT, BB, TB (top stored first, bottom displayed first), BT.
PARITIES = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}


def detect_parity(frames: Iterable[VideoFrame], field_order: int) -> str | None:
    """bwdif's `parity`: which field is displayed first; None for progressive video.

    Flags of the frames take precedence over the stream's `field_order` (an AVFieldOrder).
    """
    if any(frame.interlaced_frame for frame in frames):
        return "auto"
    return PARITIES.get(field_order)


def deinterlace_frames(
    frames: Iterator[tuple[int, VideoFrame]], stop: int, parity: str = "auto"
) -> Iterator[tuple[int, VideoFrame]]:
    """Deinterlaces (index, frame) pairs; each is yielded after its successor has been read.

    Indices must be consecutive, frames of equal size and format, and `stop - 1` the index of the video's last frame.
    The first frame is interpolated without its predecessor; for the same result as from the start of the video, begin
    one frame earlier. A MediaError of `frames` is raised after the frames before it have been yielded. Raises
    RenderError if bwdif drops, repeats or reorders frames.
    """
    graph: Graph | None = None
    pending_error: MediaError | None = None
    expected, ended = 0, False
    while not ended:
        try:
            index, frame = next(frames)
        except MediaError as error:
            ended, pending_error = True, error
        else:
            if graph is None:
                graph, expected = _bwdif_graph(frame, parity), index
            frame.pts, frame.time_base = index, Fraction(1)
            graph.vpush(frame)
            ended = index == stop - 1
        if ended and graph:
            graph.vpush(None)
        for output in _pull_frames(graph) if graph else ():
            if output.pts is None or output.pts * fraction(output.time_base, Fraction(1)) != expected:
                raise RenderError(
                    f"bwdif returned a frame for another time than that of frame {expected}; use deinterlace='off'"
                )
            yield expected, output
            expected += 1
    if pending_error:
        raise pending_error


def _bwdif_graph(frame: VideoFrame, parity: str) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    bwdif = graph.add("bwdif", f"mode=send_frame:parity={parity}:deint=all")
    source.link_to(bwdif)
    bwdif.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _pull_frames(graph: Graph) -> Iterator[VideoFrame]:
    with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield graph.vpull()
