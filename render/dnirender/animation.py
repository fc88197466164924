"""Animated pictures - GIF, WebP, APNG - from rendered frames, and the spool that lets frames be read twice."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import av.error
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dnirender.colour import Colour
from dnirender.containers import create_container
from dnirender.encode import Times
from dnirender.errors import OutputError, UsageError
from dnirender.frames import Image, to_uint8
from dnirender.pixels import to_frame
from dnirender.publish import disk_errors, part_path, publish

FORMATS = {".gif": "gif", ".webp": "webp", ".apng": "apng"}
# GIF counts hundredths of a second; the others are told to count thousandths.
BASES = {"gif": Fraction(1, 100), "webp": Fraction(1, 1000), "apng": Fraction(1, 1000)}
PIX_FMTS = {"gif": "pal8", "webp": "yuv420p", "apng": "rgb24"}
BT601 = Colour(matrix=6, full_range=False)  # what WebP's Y'CbCr is by definition
DITHERS = ("none", "bayer", "floyd_steinberg", "sierra2_4a")
# palettegen keeps every frame it is shown, so a long cycle is sampled: 64 frames of 480x270 are 33 MB.
PALETTE_FRAMES = 64


def check_rate(target: Path, times: Times) -> list[tuple[int, int]]:
    """When each picture comes and goes in the units of the target's format, rounded one by one, so that errors do not
    add up; UsageError where one would not be shown at all."""
    form = FORMATS[target.suffix.lower()]
    unit = times.time_base / BASES[form]
    edges = [round(pts * unit) for pts in (*times.pts, times.pts[-1] + times.last_duration)]
    shown = list(pairwise(edges))
    if any(stop <= start for start, stop in shown):
        raise UsageError(f"{target.name}: {form} shows at most {BASES[form].denominator} frames/s; lower --fps")
    return shown


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
            self._file.flush()  # a full disk is met here, not when the picture is read
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
        self._base = BASES[self._format]
        self._shown = check_rate(target, times)
        self._part = part_path(target)

    def __enter__(self) -> Self:
        with disk_errors(self._target):
            self._spool = Spool(self._target.parent)
        return self

    def converted(self, image: Image) -> Image:
        """The picture in 8 bits."""
        return to_uint8(image)

    def write(self, image: Any) -> None:
        """Takes the next picture."""
        self._spool.append(self.converted(image))

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
        if len(self._spool) != len(self._times.pts):
            raise OutputError(f"{self._target}: {len(self._times.pts)} frames were due, {len(self._spool)} came")
        frames = self._frames()
        first = next(frames)
        with create_container(self._part, self._format, self._container_options()) as out:
            stream = self._add_stream(out, first)
            for frame in _chain(first, frames):
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        if self._format == "webp":
            start, stop = self._shown[-1]
            _set_last_duration(self._part, stop - start)

    def _container_options(self) -> dict[str, str]:
        """Loops forever, and shows the last picture as long as it is due; muxers repeat the delay before it."""
        start, stop = self._shown[-1]
        if self._format == "apng":
            return {"plays": "0", "final_delay": f"{stop - start}/{self._base.denominator}"}
        return {"loop": "0"} | ({"final_delay": str(stop - start)} if self._format == "gif" else {})

    def _add_stream(self, out: Any, first: VideoFrame) -> VideoStream:
        codec = {"gif": "gif", "webp": "libwebp_anim", "apng": "apng"}[self._format]
        options = {"gif": {}, "webp": {"quality": "82"}, "apng": {"pred": "mixed"}}[self._format]
        stream = cast(
            VideoStream, out.add_stream(codec, rate=self._times.frame_rate.limit_denominator(100_000), options=options)
        )
        stream.width, stream.height = first.width, first.height
        stream.pix_fmt = PIX_FMTS[self._format]
        stream.codec_context.time_base = cast(Fraction, first.time_base)
        return stream

    def _frames(self) -> Iterator[VideoFrame]:
        pictures = (self._spool[index] for index in range(len(self._spool)))
        if self._format == "gif":
            frames = paletted(pictures, self._palette(), self._dither)
        else:
            pix_fmt = PIX_FMTS[self._format]
            frames = (to_frame(image, pix_fmt, BT601) for image in pictures)
        for frame, (start, stop) in zip(frames, self._shown, strict=True):
            frame.pts, frame.time_base, frame.duration = start, self._base, stop - start
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
    return graph.vpull()


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


def _set_last_duration(webp: Path, milliseconds: int) -> None:
    """Corrects the last frame of an animated WebP, to which the encoder gives the mean of the others' durations.

    A file of one frame is a still picture and has none. Chunks: name, length, padded to an even length; the duration
    are 3 bytes behind the 12 of a frame's place and size.
    """
    with webp.open("rb+") as file:
        place, last, size = 12, None, webp.stat().st_size
        while place + 8 <= size:
            file.seek(place)
            name, length = file.read(4), int.from_bytes(file.read(4), "little")
            last = place if name == b"ANMF" else last
            place += 8 + length + length % 2
        if last is not None:
            file.seek(last + 8 + 12)
            file.write(milliseconds.to_bytes(3, "little"))


def _buffer(graph: Graph, width: int, height: int, form: str) -> Any:
    return graph.add_buffer(width=width, height=height, format=av.VideoFormat(form), time_base=Fraction(1, 25))


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield graph.vpull()


def _chain(first: VideoFrame, rest: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    yield first
    yield from rest
