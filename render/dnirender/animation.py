"""Animated pictures - GIF, WebP, APNG - from rendered frames, and the spool that lets frames be read twice."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import av.error
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dnirender.encode import Times, disk_errors, publish
from dnirender.errors import OutputError
from dnirender.frames import Image, to_uint8

FORMATS = {".gif": "gif", ".webp": "webp", ".apng": "apng"}
DITHERS = ("none", "bayer", "floyd_steinberg", "sierra2_4a")
# palettegen keeps every frame it is shown, so a long cycle is sampled: 64 frames of 480x270 are 33 MB.
PALETTE_FRAMES = 64


class Spool:
    """Pictures of one size on disk, in a file without a name: appended in order, read in any."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
        self._shape: tuple[int, ...] = ()
        self._kind: Any = np.uint8
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, image: Image) -> None:
        """Adds a picture [h, w, 3] of the same size and dtype as the first."""
        if not self._count:
            self._shape, self._kind = image.shape, image.dtype
        elif image.shape != self._shape or image.dtype != self._kind:
            raise ValueError(f"a spool of {self._shape} cannot take {image.shape}")
        with disk_errors(self._folder):
            self._file.seek(self._count * self._bytes)
            self._file.write(np.ascontiguousarray(image).data)
        self._count += 1

    def __getitem__(self, index: int) -> Image:
        if not 0 <= index < self._count:
            raise IndexError(index)
        self._file.seek(index * self._bytes)
        return np.frombuffer(self._file.read(self._bytes), self._kind).reshape(self._shape)

    @property
    def _bytes(self) -> int:
        return int(np.prod(self._shape)) * np.dtype(self._kind).itemsize

    def close(self) -> None:
        """Gives the disk space back."""
        self._file.close()


class AnimationSink:
    """An animated picture that loops forever: frames are spooled, the file is made when all are there.

    A GIF has one palette for the whole cycle, so that still parts do not shimmer.
    """

    def __init__(self, target: Path, times: Times, *, dither: str = "bayer") -> None:
        self._target, self._times, self._dither = target, times, dither
        self._format = FORMATS[target.suffix.lower()]
        self._part = target.with_name(f".{target.name}.{os.getpid()}.part")

    def __enter__(self) -> Self:
        with disk_errors(self._target):
            self._spool = Spool(self._target.parent)
        return self

    def write(self, image: Image) -> None:
        """Takes the next picture."""
        self._spool.append(to_uint8(image))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with disk_errors(self._target):
                    self._encode()
                publish(self._part, self._target)
        finally:
            self._spool.close()
            self._part.unlink(missing_ok=True)

    def _encode(self) -> None:
        if not len(self._spool):
            raise OutputError(f"{self._target}: there is no frame to write")
        frames = self._frames()
        first = next(frames)
        with av.open(
            f"file:{self._part.resolve()}", "w", format=self._format, container_options=self._loop_forever()
        ) as out:
            stream = self._add_stream(out, first)
            for frame in _chain(first, frames):
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))

    def _loop_forever(self) -> dict[str, str]:
        return {"plays": "0"} if self._format == "apng" else {"loop": "0"}

    def _add_stream(self, out: Any, first: VideoFrame) -> VideoStream:
        codec = {"gif": "gif", "webp": "libwebp_anim", "apng": "apng"}[self._format]
        options = {"gif": {}, "webp": {"quality": "82"}, "apng": {"pred": "mixed"}}[self._format]
        stream = cast(
            VideoStream, out.add_stream(codec, rate=self._times.frame_rate.limit_denominator(100_000), options=options)
        )
        stream.width, stream.height = first.width, first.height
        stream.pix_fmt = {"gif": "pal8", "webp": "yuv420p", "apng": "rgb24"}[self._format]
        stream.codec_context.time_base = first.time_base
        return stream

    def _frames(self) -> Iterator[VideoFrame]:
        # GIF counts hundredths of a second, the others as finely as they are told.
        base = Fraction(1, 100) if self._format == "gif" else Fraction(1, 1000)
        pictures = (self._spool[index] for index in range(len(self._spool)))
        if self._format == "gif":
            frames = paletted(pictures, self._palette(), self._dither)
        else:
            frames = (VideoFrame.from_ndarray(image, format="rgb24") for image in pictures)
        shown = [round(pts * self._times.time_base / base) for pts in self._times.pts]
        end = round((self._times.pts[-1] + self._times.last_duration) * self._times.time_base / base)
        for frame, start, stop in zip(frames, shown, [*shown[1:], end], strict=True):
            frame.pts, frame.time_base, frame.duration = start, base, stop - start
            yield frame

    def _palette(self) -> VideoFrame:
        count = len(self._spool)
        chosen = sorted({round(i * (count - 1) / max(1, PALETTE_FRAMES - 1)) for i in range(PALETTE_FRAMES)})
        return palette(self._spool[index] for index in chosen)


def palette(pictures: Iterator[Image]) -> VideoFrame:
    """The 256 colours (16x16 pixels) that serve all the pictures best, by median cut."""
    graph = Graph()
    source: Any = None
    for image in pictures:
        if source is None:
            source = _buffer(graph, image.shape[1], image.shape[0], "rgb24")
            made = graph.add("palettegen", "stats_mode=full:reserve_transparent=0")
            sink = graph.add("buffersink")
            source.link_to(made)
            made.link_to(sink)
            graph.configure()
        source.push(VideoFrame.from_ndarray(image, format="rgb24"))
    source.push(None)
    return cast(VideoFrame, graph.vpull())


def paletted(pictures: Iterator[Image], colours: VideoFrame, dither: str) -> Iterator[VideoFrame]:
    """The pictures in the colours of one palette, format pal8."""
    graph: Graph | None = None
    source: Any = None
    for index, image in enumerate(pictures):
        if graph is None:
            graph = Graph()
            source = _buffer(graph, image.shape[1], image.shape[0], "rgb24")
            swatches = _buffer(graph, colours.width, colours.height, colours.format.name)
            scale = ":bayer_scale=4" if dither == "bayer" else ""
            used = graph.add("paletteuse", f"dither={dither}{scale}:diff_mode=rectangle")
            sink = graph.add("buffersink")
            source.link_to(used, 0, 0)
            swatches.link_to(used, 0, 1)
            used.link_to(sink)
            graph.configure()
            colours.pts, colours.time_base = 0, Fraction(1, 25)
            swatches.push(colours)
            swatches.push(None)
        frame = VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        source.push(frame)
        yield from _pulled(graph)
    if graph is not None:
        source.push(None)
        yield from _pulled(graph)


def _buffer(graph: Graph, width: int, height: int, form: str) -> Any:
    return graph.add_buffer(width=width, height=height, format=av.VideoFormat(form), time_base=Fraction(1, 25))


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield cast(VideoFrame, graph.vpull())


def _chain(first: VideoFrame, rest: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    yield first
    yield from rest
