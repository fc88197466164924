"""Everything of a source that is not the rendered video: decided before frame 1, carried along while frames are muxed.

Each stream is copied packet by packet if the container can hold it, else transcoded, else dropped with a named warning.
Tables of supported codecs are wrong too often to be asked (PCM in MP4 is listed and fails), so a real header with the
real stream is written to memory.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.error
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from dnirender.errors import MediaError
from dnirender.files import error_text
from dnirender.media.containers import codec_of, create_container, demux, fraction, is_cover, open_container

AUDIO_CODECS = {"webm": "libopus"}  # where aac, the default, will not do
TEXT_CODECS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip"}
TEXT_SUBTITLES = {"mov_text", "subrip", "srt"}
AS_ASKED = "as asked"
PICTURE_TAGS = {"language", "title", "handler_name"}  # others (rotate, alpha_mode, BPS) tell of the source's pictures
HIDING = ("mp4", "mov")  # an edit list keeps what lies before zero from being heard
PREROLL = Fraction(8, 100)  # what decoders want to have seen before they are heard: 80 ms for Opus, less for others
# What the muxer writes itself; copying it would contradict the new file.
MUXER_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


@dataclass(frozen=True)
class StreamPlan:
    """What happens to one stream: `copy`, `transcode` to `codec`, or `drop`; `reason` where it is not a copy."""

    index: int
    kind: str
    source_codec: str
    action: str
    codec: str = ""
    reason: str = ""

    def __str__(self) -> str:
        text = f"{self.kind} #{self.index} ({self.source_codec}): {self.action}"
        text += f" to {self.codec}" if self.codec else ""
        return text + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class TimeRange:
    """The range of source time that is kept, in seconds, and what is taken off every time stamp."""

    start: Fraction | None = None
    stop: Fraction | None = None
    shift: Fraction = Fraction(0)

    def holds(self, time: Fraction) -> bool:
        """Whether what begins at `time` is kept."""
        return (self.start is None or time >= self.start) and (self.stop is None or time < self.stop)


def plan_streams(path: Path, container: str, video: int, *, audio: bool, subtitles: bool) -> tuple[StreamPlan, ...]:
    """One plan per stream of `path` other than the rendered one, for an output of format `container`.

    The text track in which MP4 keeps its chapters is no stream of its own: chapters are always carried over.
    """
    with open_container(path) as source:
        others = [stream for stream in source.streams if stream.index != video and not _is_chapters(stream, source)]
        return tuple(_plan(stream, container, audio, subtitles) for stream in others)


def _is_chapters(stream: Any, source: InputContainer) -> bool:
    return stream.type == "data" and stream.name == "bin_data" and bool(source.chapters())


def _plan(stream: Any, container: str, audio: bool, subtitles: bool) -> StreamPlan:
    codec = stream.metadata.get("filename", "unknown") if stream.type == "attachment" else codec_of(stream)
    plan = StreamPlan(stream.index, stream.type, codec, "copy")
    if stream.type == "video":
        return _drop(plan, "a cover shows the clip unrendered" if is_cover(stream) else "one video stream is rendered")
    if (stream.type == "audio" and not audio) or (stream.type == "subtitle" and not subtitles):
        return _drop(plan, AS_ASKED)
    if stream.type == "attachment":
        return plan if container == "matroska" else _drop(plan, f"{container} holds no attachments")
    if stream.type == "data":
        return _drop(plan, "data tracks describe the frames of the source")
    if _holds(container, lambda out: add_copy(out, stream)):
        return plan
    why = f"{container} cannot hold {codec}"
    to = TEXT_CODECS.get(container, "") if codec in TEXT_SUBTITLES else ""
    if stream.type == "audio" and stream.codec_context is not None:
        to = AUDIO_CODECS.get(container, "aac")
    return StreamPlan(stream.index, stream.type, codec, "transcode", to, why) if to else _drop(plan, why)


def _drop(plan: StreamPlan, reason: str) -> StreamPlan:
    return replace(plan, action="drop", reason=reason)


def _holds(container: str, add: Callable[[OutputContainer], Any]) -> bool:
    """Whether a header with this stream can be written."""
    out = create_container(io.BytesIO(), container)
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
    tags = {key: value for key, value in stream.metadata.items() if key.lower() not in MUXER_TAGS}
    if "name" in tags:  # FFmpeg reads the title of a track of MP4 under this name, and writes it under the other
        tags.setdefault("title", tags.pop("name"))
    if stream.type == "video":
        tags = {key: value for key, value in tags.items() if key.lower() in PICTURE_TAGS}
    twin.metadata.update(tags)
    with contextlib.suppress(AttributeError):
        twin.disposition = stream.disposition


class StreamCopier:
    """The streams that travel beside the video: opened after it in the output, muxed in step with it.

    Packets of copied streams pass byte for byte. Call `advance` with the time the video has reached, so that the
    muxer never has to hold more than the difference, and `finish` at the end. MediaError: the source cannot be read to
    its end, or its sound cannot be decoded where it must be; with `ignore_errors` what is torn is left out.
    """

    def __init__(
        self,
        path: Path,
        plans: tuple[StreamPlan, ...],
        cut: TimeRange,
        out: OutputContainer,
        *,
        ignore_errors: bool = False,
    ) -> None:
        self._path, self._ignore_errors = path, ignore_errors
        self._source: InputContainer = open_container(path)
        self._cut = cut
        self._out = out
        self._routes: dict[int, Callable[[Packet[Any]], None]] = {}
        self._flush: list[Callable[[], None]] = []
        for plan in plans:
            if plan.action != "drop":
                self._add(plan)
        self._describe_video({plan.index for plan in plans})
        out.metadata.update({k: v for k, v in self._source.metadata.items() if k.lower() not in MUXER_TAGS})
        self._copy_chapters()
        self._packets = self._demux()
        self._next: Packet[Any] | None = next(self._packets, None)

    def advance(self, until: Fraction) -> None:
        """Muxes every packet that starts up to `until` seconds of output time."""
        while self._next is not None and start_of(self._next) - self._cut.shift <= until:
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

    def _route(self, packet: Packet[Any]) -> None:
        self._routes[packet.stream.index](packet)

    def _demux(self) -> Iterator[Packet[Any]]:
        streams = [self._source.streams[index] for index in self._routes]
        try:
            for packet in demux(self._source, streams) if streams else ():
                if packet.size and self._wants(packet) and not (packet.is_corrupt and self._ignore_errors):
                    yield packet
        except av.error.FFmpegError as error:
            if self._ignore_errors:
                return
            raise MediaError(f"{self._path}: cannot be read to its end ({error_text(error)})") from error

    def _wants(self, packet: Packet[Any]) -> bool:
        # A subtitle that begins before the range may reach into it.
        return packet.stream.type == "subtitle" or is_in_output(packet, self._cut, self._out.format.name)

    def _add(self, plan: StreamPlan) -> None:
        stream: Any = self._source.streams[plan.index]
        if plan.action == "copy":
            twin = add_copy(self._out, stream)
            if stream.type == "attachment":  # attachments live in the header
                return
            self._routes[plan.index] = lambda packet: self._copy(packet, twin)
        elif plan.kind == "audio":
            self._add_audio(plan, cast(AudioStream, stream))
        else:
            twin = self._out.add_mux_stream(plan.codec)
            _describe(twin, stream)
            self._routes[plan.index] = lambda packet: self._copy(_text_packet(packet, plan), twin)
        if stream.type == "subtitle":
            copy = self._routes[plan.index]
            self._routes[plan.index] = lambda packet: copy(packet) if _trim(packet, self._cut) else None

    def _copy(self, packet: Packet[Any], twin: Any) -> None:
        ticks = round(self._cut.shift / fraction(packet.time_base, Fraction(1)))
        if ticks:
            packet.pts = None if packet.pts is None else packet.pts - ticks
            packet.dts = None if packet.dts is None else packet.dts - ticks
        packet.stream = twin
        if packet.size:  # mov_text pauses are empty once they are subrip
            self._out.mux_one(packet)

    def _add_audio(self, plan: StreamPlan, stream: AudioStream) -> None:
        rate, layout = audio_settings(plan.codec, stream.codec_context)
        twin = cast(AudioStream, self._out.add_stream(plan.codec, rate=rate, layout=layout))
        twin.codec_context.bit_rate = 96_000 * twin.codec_context.layout.nb_channels
        _describe(twin, stream)

        def encode(packet: Packet[Any] | None) -> None:
            for frame in self._decoded(stream, packet):
                if self._cut.shift and frame.pts is not None:
                    frame.pts -= round(self._cut.shift / fraction(frame.time_base, Fraction(1)))
                self._out.mux(twin.encode(frame))

        def flush() -> None:
            encode(None)
            self._out.mux(twin.encode(None))

        self._routes[plan.index] = encode
        self._flush.append(flush)

    def _decoded(self, stream: AudioStream, packet: Packet[Any] | None) -> list[AudioFrame]:
        try:
            return stream.codec_context.decode(packet)
        except av.error.FFmpegError as error:
            if self._ignore_errors:
                return []
            at = f" at {float(start_of(packet)):.2f} s" if packet else ""
            raise MediaError(
                f"{self._path}: audio #{stream.index} cannot be decoded{at} ({error_text(error)}); "
                "--no-audio renders without it"
            ) from error

    def _describe_video(self, others: set[int]) -> None:
        """Gives the rendered video, the one that no plan is about, its language, title and disposition back."""
        rendered = next((stream for stream in self._source.streams.video if stream.index not in others), None)
        if rendered is not None and self._out.streams.video:
            _describe(self._out.streams.video[0], rendered)

    def _copy_chapters(self) -> None:
        kept: list[Any] = []
        for chapter in [dict(chapter) for chapter in self._source.chapters()]:
            base = fraction(chapter["time_base"], Fraction(1))
            start, end = cast(int, chapter["start"]) * base, cast(int, chapter["end"]) * base
            first = start if self._cut.start is None else max(start, self._cut.start)
            last = end if self._cut.stop is None else min(end, self._cut.stop)
            if first < last:
                moved = {
                    "start": round((first - self._cut.shift) / base),
                    "end": round((last - self._cut.shift) / base),
                }
                kept.append(chapter | moved | {"time_base": base})
        if kept:
            self._out.set_chapters(kept)


def audio_settings(codec: str, source: Any) -> tuple[int, str]:
    """The sample rate and layout nearest to the source's that the encoder opens with.

    libopus, for one, takes 5.1 but not 5.1(side), and only five rates, of which 48000 is one.
    """
    encoder = av.Codec(codec, "w")
    rate = source.sample_rate if source.sample_rate in (encoder.audio_rates or (source.sample_rate,)) else 48000
    standard = {1: "mono", 6: "5.1", 8: "7.1"}.get(source.layout.nb_channels, "stereo")
    for layout in (source.layout.name, standard):
        trial: Any = av.CodecContext.create(encoder, "w")
        trial.sample_rate, trial.layout, trial.format = rate, layout, (encoder.audio_formats or [source.format])[0]
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            trial.open()
            return rate, layout
    return rate, "stereo"


def start_of(packet: Packet[Any]) -> Fraction:
    """When a packet begins, in seconds of its own file."""
    stamp = packet.pts if packet.pts is not None else packet.dts
    return (stamp or 0) * fraction(packet.time_base, Fraction(1))


def is_in_output(packet: Packet[Any], cut: TimeRange, container: str) -> bool:
    """Whether a packet of sound goes into an output of format `container`: it lies within the range and, where the
    source's edit list keeps it from being heard, the output can do so too or a decoder needs it to begin with."""
    hidden = packet.is_discard and start_of(packet) < -PREROLL
    return cut.holds(start_of(packet)) and (container in HIDING or not hidden)


def _trim(packet: Packet[Any], cut: TimeRange) -> bool:
    """Cuts a subtitle to the part of it that is shown within the range; False where there is none."""
    base = fraction(packet.time_base, Fraction(1))
    start, end = start_of(packet), start_of(packet) + (packet.duration or 0) * base
    first = start if cut.start is None else max(start, cut.start)
    last = end if cut.stop is None else min(end, cut.stop)
    if first >= last and not cut.holds(start):
        return False
    if (first, last) != (start, end):
        packet.pts = packet.dts = round(first / base)
        packet.duration = round((last - first) / base)
    return True


def _text_packet(packet: Packet[Any], plan: StreamPlan) -> Packet[Any]:
    """A subtitle packet in the other dialect: mov_text is the text of subrip behind its length in two bytes."""
    data = bytes(packet)
    if plan.source_codec == "mov_text":
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    if plan.codec == "mov_text":
        data = len(data).to_bytes(2, "big") + data
    twin = Packet(data)
    twin.pts, twin.dts, twin.duration = packet.pts, packet.dts, packet.duration
    twin.time_base = packet.time_base
    return twin
