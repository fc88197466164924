"""Everything of a source that is not the rendered video: decided before frame 1, carried along while frames are muxed.

Each stream is copied packet by packet if the container can hold it, else transcoded, else dropped with a named warning.
Tables of supported codecs are wrong too often to be asked (PCM in MP4 is listed and fails), so a real header with the
real stream is written to memory.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from dnirender.decode import fraction, open_container

AUDIO_CODECS = {"webm": "libopus"}  # where aac, the default, will not do
TEXT_CODECS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
TEXT_SUBTITLES = {"mov_text", "subrip", "srt", "text", "webvtt"}
AS_ASKED = "as asked"
# What the muxer writes itself; copying it would contradict the new file.
MUXER_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


@dataclass(frozen=True)
class StreamPlan:
    """What happens to one stream: `copy`, `transcode` to codec `to`, or `drop`; `why` where it is not a copy."""

    index: int
    kind: str
    codec: str
    action: str
    to: str = ""
    why: str = ""

    def __str__(self) -> str:
        text = f"{self.kind} #{self.index} ({self.codec}): {self.action}"
        text += f" to {self.to}" if self.to else ""
        return text + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True)
class Cut:
    """The range of source time that is kept, in seconds, and what is taken off every time stamp."""

    start: Fraction | None = None
    stop: Fraction | None = None
    shift: Fraction = Fraction(0)


def plan_streams(path: Path, container: str, video: int, *, audio: bool, subtitles: bool) -> tuple[StreamPlan, ...]:
    """One plan per stream of `path` other than the rendered one, for an output of format `container`."""
    with open_container(path) as source:
        return tuple(_plan(stream, container, audio, subtitles) for stream in source.streams if stream.index != video)


def _plan(stream: Any, container: str, audio: bool, subtitles: bool) -> StreamPlan:
    codec = stream.codec_context.name if stream.codec_context is not None else "unknown"
    plan = StreamPlan(stream.index, stream.type, codec, "copy")
    if stream.type == "video":
        return _drop(plan, "one video stream is rendered")
    if (stream.type == "audio" and not audio) or (stream.type == "subtitle" and not subtitles):
        return _drop(plan, AS_ASKED)
    if stream.type == "attachment":
        return plan if container == "matroska" else _drop(plan, f"{container} holds no attachments")
    if stream.type == "data":
        return _drop(plan, "data tracks describe the frames of the source")
    if _holds(container, lambda out: add_copy(out, stream)):
        return plan
    why = f"{container} cannot hold {codec}"
    if stream.type == "audio":
        to = AUDIO_CODECS.get(container, "aac")
        if _holds(container, lambda out: out.add_stream(to, rate=48000)):
            return StreamPlan(stream.index, stream.type, codec, "transcode", to, why)
    to = TEXT_CODECS.get(container, "")
    if stream.type == "subtitle" and codec in TEXT_SUBTITLES and to and {codec, to} <= {"mov_text", "subrip", "srt"}:
        return StreamPlan(stream.index, stream.type, codec, "transcode", to, why)
    return _drop(plan, why)


def _drop(plan: StreamPlan, why: str) -> StreamPlan:
    return StreamPlan(plan.index, plan.kind, plan.codec, "drop", "", why)


def _holds(container: str, add: Callable[[OutputContainer], Any]) -> bool:
    """Whether a header with this stream can be written."""
    out = av.open(io.BytesIO(), "w", format=container)
    try:
        add(out)
        out.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    finally:
        # The scratch file has no packets; a muxer may complain of that, which says nothing about the header.
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            out.close()
    return True


def add_copy(out: OutputContainer, stream: Any) -> Any:
    """A stream of `out` with the parameters, language, title and disposition of `stream`."""
    # Without opaque=True an encoder is looked up, which fails for codecs that can only be decoded (AV1).
    twin = out.add_stream_from_template(stream, opaque=True)
    _describe(twin, stream)
    return twin


def _describe(twin: Any, stream: Any) -> None:
    twin.metadata.update({key: value for key, value in stream.metadata.items() if key.lower() not in MUXER_TAGS})
    with contextlib.suppress(AttributeError):
        twin.disposition = stream.disposition


class Companions:
    """The streams that travel beside the video: opened with the output, muxed in step with it.

    Packets of copied streams pass byte for byte. Call `advance` with the time the video has reached, so that the
    muxer never has to hold more than the difference, and `finish` at the end.
    """

    def __init__(self, path: Path, plans: tuple[StreamPlan, ...], cut: Cut, out: OutputContainer) -> None:
        self._source: InputContainer = open_container(path)
        self._cut = cut
        self._out = out
        self._routes: dict[int, Callable[[Packet], None]] = {}
        self._flush: list[Callable[[], None]] = []
        for plan in plans:
            if plan.action != "drop":
                self._add(plan)
        out.metadata.update({k: v for k, v in self._source.metadata.items() if k.lower() not in MUXER_TAGS})
        self._copy_chapters()
        self._packets = self._demux()
        self._next: Packet | None = next(self._packets, None)

    def advance(self, until: Fraction) -> None:
        """Muxes every packet that starts before `until` seconds of output time."""
        while self._next is not None and self._time(self._next) - self._cut.shift <= until:
            self._route(self._next)
            self._next = next(self._packets, None)

    def finish(self) -> None:
        """Muxes all that is left."""
        while self._next is not None:
            self._route(self._next)
            self._next = next(self._packets, None)
        for flush in self._flush:
            flush()

    def close(self) -> None:
        """Closes the source."""
        self._source.close()

    def _route(self, packet: Packet) -> None:
        self._routes[packet.stream.index](packet)

    def _demux(self) -> Iterator[Packet]:
        streams = [self._source.streams[index] for index in self._routes]
        for packet in self._source.demux(streams) if streams else ():
            if packet.size and self._inside(packet):
                yield packet

    def _time(self, packet: Packet) -> Fraction:
        stamp = packet.pts if packet.pts is not None else packet.dts
        return (stamp or 0) * fraction(packet.time_base, Fraction(1))

    def _inside(self, packet: Packet) -> bool:
        time = self._time(packet)
        start, stop = self._cut.start, self._cut.stop
        return (start is None or time >= start) and (stop is None or time < stop)

    def _add(self, plan: StreamPlan) -> None:
        stream = self._source.streams[plan.index]
        if plan.action == "copy":
            twin = add_copy(self._out, stream)
            if stream.type != "attachment":  # attachments live in the header
                self._routes[plan.index] = lambda packet: self._copy(packet, twin)
        elif plan.kind == "audio":
            self._add_audio(plan, cast(AudioStream, stream))
        else:
            twin = self._out.add_mux_stream(plan.to)
            _describe(twin, stream)
            self._routes[plan.index] = lambda packet: self._copy(_text_packet(packet, plan), twin)

    def _copy(self, packet: Packet, twin: Any) -> None:
        ticks = round(self._cut.shift / fraction(packet.time_base, Fraction(1)))
        if ticks:
            packet.pts = None if packet.pts is None else packet.pts - ticks
            packet.dts = None if packet.dts is None else packet.dts - ticks
        packet.stream = twin
        if packet.size:  # mov_text pauses are empty once they are subrip
            self._out.mux_one(packet)

    def _add_audio(self, plan: StreamPlan, stream: AudioStream) -> None:
        # Opus knows few sample rates, and 48000 is one that every encoder takes.
        rate = 48000 if plan.to == "libopus" else stream.codec_context.sample_rate
        layout = stream.codec_context.layout
        twin = cast(AudioStream, self._out.add_stream(plan.to, rate=rate, layout=layout.name))
        twin.codec_context.bit_rate = 96_000 * max(1, layout.nb_channels)
        _describe(twin, stream)
        resampler = av.AudioResampler(format=twin.codec_context.format, layout=layout, rate=rate)

        def encode(packet: Packet | None) -> None:
            for frame in stream.codec_context.decode(packet):
                if self._cut.shift and frame.pts is not None:
                    frame.pts -= round(self._cut.shift / fraction(frame.time_base, Fraction(1)))
                for piece in resampler.resample(frame):
                    self._out.mux(twin.encode(piece))

        def flush() -> None:
            encode(None)
            for piece in resampler.resample(None):
                self._out.mux(twin.encode(piece))
            self._out.mux(twin.encode(None))

        self._routes[plan.index] = encode
        self._flush.append(flush)

    def _copy_chapters(self) -> None:
        chapters = [dict(chapter) for chapter in self._source.chapters()]
        kept: list[Any] = []
        for chapter in chapters:
            base = fraction(chapter["time_base"], Fraction(1))
            start, end = cast(int, chapter["start"]) * base, cast(int, chapter["end"]) * base
            first, last = self._cut.start, self._cut.stop
            if (first is not None and end <= first) or (last is not None and start >= last):
                continue
            start = start if first is None else max(start, first)
            end = end if last is None else min(end, last)
            shift = self._cut.shift
            kept.append(chapter | {"start": round((start - shift) / base), "end": round((end - shift) / base)})
        if kept:
            self._out.set_chapters(kept)


def _text_packet(packet: Packet, plan: StreamPlan) -> Packet:
    """A subtitle packet in the other dialect: mov_text is the text of subrip behind its length in two bytes."""
    data = bytes(packet)
    if plan.codec == "mov_text":
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    if plan.to == "mov_text":
        data = len(data).to_bytes(2, "big") + data
    twin = Packet(data)
    twin.pts, twin.dts, twin.duration = packet.pts, packet.dts, packet.duration
    twin.time_base = packet.time_base
    return twin
