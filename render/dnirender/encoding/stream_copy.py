"""Copies audio, subtitles, attachments, chapters and tags of the source into the output, as `stream_plan` plans."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av.error
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from dnirender.encoding.stream_plan import MUXER_TAGS, StreamPlan, add_copy, copy_metadata
from dnirender.encoding.transcode import AudioTranscoder
from dnirender.errors import MediaError
from dnirender.files import error_text
from dnirender.media.containers import codec_of, demux, fraction, open_container
from dnirender.media.timecode import TAG

PROBE_PACKETS = 15
EDIT_LIST_CONTAINERS = ("mp4", "mov")  # with an edit list, which mutes audio before time zero
PREROLL = Fraction(8, 100)  # seconds a decoder needs before its first audible sample: 80 ms for Opus, less for others


@dataclass(frozen=True)
class TimeRange:
    """Source time [start, stop) in seconds, None for unbounded; `shift` is subtracted from every timestamp.

    `timecode` is that of the first frame in the range, "" without one.
    """

    start: Fraction | None = None
    stop: Fraction | None = None
    shift: Fraction = Fraction(0)
    timecode: str = ""

    def contains(self, time: Fraction) -> bool:
        """Whether a packet that begins at `time` is in the range."""
        return (self.start is None or time >= self.start) and (self.stop is None or time < self.stop)


class StreamCopier:
    """Muxes the other streams of the source into the output, interleaved with the rendered video.

    Create it after the video stream was added to `out` and before the header is written. Call `advance` with the time
    the video has reached, so that the muxer buffers little, then `finish`, then `close`. Copied packets are unchanged
    except for timestamps. With `ignore_errors`, corrupt packets are left out instead of raising.

    Raises:
        MediaError: the source is truncated, or audio that must be transcoded cannot be decoded.
    """

    def __init__(
        self,
        path: Path,
        plans: tuple[StreamPlan, ...],
        time_range: TimeRange,
        out: OutputContainer,
        *,
        ignore_errors: bool = False,
    ) -> None:
        self._path, self._ignore_errors = path, ignore_errors
        self._source: InputContainer = open_container(path)
        self._time_range = time_range
        self._out = out
        self._handlers: dict[int, Callable[[Packet[Any]], None]] = {}
        self._flush: list[Callable[[], None]] = []
        for plan in plans:
            if plan.action != "drop":
                self._add(plan)
        out.metadata.update({k: v for k, v in self._source.metadata.items() if k.lower() not in MUXER_TAGS})
        self._describe_video({plan.index for plan in plans})
        self._copy_chapters()
        self._packets = self._demux()
        self._next: Packet[Any] | None = next(self._packets, None)

    def advance(self, until: Fraction) -> None:
        """Muxes every packet that starts at or before `until`, in seconds of output time."""
        while self._next is not None and start_of(self._next) - self._time_range.shift <= until:
            self._mux(self._next)
            self._next = next(self._packets, None)

    def probe(self) -> None:
        """Muxes only the first packets, for a file that tells whether the muxer takes the streams."""
        for packet in [self._next, *itertools.islice(self._packets, PROBE_PACKETS)]:
            if packet is not None:
                self._mux(packet)
        self._next, self._packets = None, iter(())
        self.finish()

    def finish(self) -> None:
        """Muxes the remaining packets and flushes the audio encoders."""
        while self._next is not None:
            self._mux(self._next)
            self._next = next(self._packets, None)
        for flush in self._flush:
            flush()

    def close(self) -> None:
        """Closes the source."""
        self._source.close()

    def _mux(self, packet: Packet[Any]) -> None:
        self._handlers[packet.stream.index](packet)

    def _demux(self) -> Iterator[Packet[Any]]:
        streams = [self._source.streams[index] for index in self._handlers]
        try:
            for packet in demux(self._source, streams) if streams else ():
                if packet.size and self._is_selected(packet) and not (packet.is_corrupt and self._ignore_errors):
                    yield packet
        except av.error.FFmpegError as error:
            if self._ignore_errors:
                return
            raise MediaError(f"{self._path}: cannot be read to the end ({error_text(error)})") from error

    def _is_selected(self, packet: Packet[Any]) -> bool:
        # A subtitle that begins before the range may overlap it.
        return packet.stream.type == "subtitle" or is_in_output(packet, self._time_range, self._out.format.name)

    def _add(self, plan: StreamPlan) -> None:
        stream: Any = self._source.streams[plan.index]
        if plan.action == "copy":
            out_stream = add_copy(self._out, stream, plan.layout)
            if stream.type == "attachment":  # attachments are part of the header
                return
            self._handlers[plan.index] = lambda packet: self._copy(packet, out_stream)
        elif plan.kind == "audio":
            self._add_audio(plan, cast(AudioStream, stream))
        else:
            out_stream = self._out.add_mux_stream(plan.codec)
            copy_metadata(out_stream, stream)
            self._handlers[plan.index] = lambda packet: self._copy(_convert_text_packet(packet, plan), out_stream)
        if stream.type == "subtitle":
            copy = self._handlers[plan.index]
            self._handlers[plan.index] = lambda packet: copy(packet) if _trim(packet, self._time_range) else None

    def _copy(self, packet: Packet[Any], out_stream: Any) -> None:
        ticks = round(self._time_range.shift / fraction(packet.time_base, Fraction(1)))
        if ticks:
            packet.pts = None if packet.pts is None else packet.pts - ticks
            packet.dts = None if packet.dts is None else packet.dts - ticks
        packet.stream = out_stream
        if packet.size:  # gaps are empty packets in mov_text and nothing in subrip
            self._out.mux_one(packet)

    def _add_audio(self, plan: StreamPlan, stream: AudioStream) -> None:
        transcoder = AudioTranscoder(stream, self._out, plan.codec)
        copy_metadata(transcoder.stream, stream)

        def encode(packet: Packet[Any] | None) -> None:
            for frame in self._decoded(transcoder, plan.index, packet):
                if self._time_range.shift and frame.pts is not None:
                    frame.pts -= round(self._time_range.shift / fraction(frame.time_base, Fraction(1)))
                self._out.mux(transcoder.encode(frame))

        def flush() -> None:
            encode(None)
            self._out.mux(transcoder.encode(None))

        self._handlers[plan.index] = encode
        self._flush.append(flush)

    def _decoded(self, transcoder: AudioTranscoder, index: int, packet: Packet[Any] | None) -> list[AudioFrame]:
        try:
            return list(transcoder.decode(packet))
        except av.error.FFmpegError as error:
            if self._ignore_errors:
                return []
            at = f" at {float(start_of(packet)):.2f} s" if packet else ""
            raise MediaError(
                f"{self._path}: audio #{index} cannot be decoded{at} ({error_text(error)}); "
                "audio=False renders without it"
            ) from error

    def _describe_video(self, others: set[int]) -> None:
        """Gives the rendered video, the one that no plan is about, its language, title and disposition back."""
        rendered = next((stream for stream in self._source.streams.video if stream.index not in others), None)
        if rendered is None or not self._out.streams.video:
            return
        video = self._out.streams.video[0]
        copy_metadata(video, rendered)
        if timecode := self._time_range.timecode:
            # MP4 and MOV make a track of the video's tag.
            (video if self._out.format.name in EDIT_LIST_CONTAINERS else self._out).metadata[TAG] = timecode

    def _copy_chapters(self) -> None:
        chapters: list[Any] = []
        for chapter in [dict(chapter) for chapter in self._source.chapters()]:
            base = fraction(chapter["time_base"], Fraction(1))
            start, end = cast(int, chapter["start"]) * base, cast(int, chapter["end"]) * base
            first = start if self._time_range.start is None else max(start, self._time_range.start)
            last = end if self._time_range.stop is None else min(end, self._time_range.stop)
            if first < last:
                shifted = {
                    "start": round((first - self._time_range.shift) / base),
                    "end": round((last - self._time_range.shift) / base),
                }
                chapters.append(chapter | shifted | {"time_base": base})
        if chapters:
            self._out.set_chapters(chapters)


def start_of(packet: Packet[Any]) -> Fraction:
    """Start of a packet in seconds, in the time of its own file."""
    timestamp = packet.pts if packet.pts is not None else packet.dts
    return (timestamp or 0) * fraction(packet.time_base, Fraction(1))


def is_in_output(packet: Packet[Any], time_range: TimeRange, container: str) -> bool:
    """Whether an audio packet belongs in an output of format `container`.

    It must be in the range. A packet muted by the source's edit list is kept only if the output has edit lists too, or
    if the decoder needs it as preroll.
    """
    is_hidden = packet.is_discard and start_of(packet) < -PREROLL
    return time_range.contains(start_of(packet)) and (container in EDIT_LIST_CONTAINERS or not is_hidden)


def stored_packets(packets: Iterable[Packet[Any]], stream: Any, container: str) -> Iterator[Packet[Any]]:
    """Packets of the source's `stream` as the muxer of `container` stores them.

    That is AAC without ADTS headers, which move to the header of the file, and the parts of a PGS subtitle in one.
    """
    name = {"aac": "aac_adtstoasc", "hdmv_pgs_subtitle": "pgs_frame_merge"}.get(codec_of(stream))
    if name is None or (name == "pgs_frame_merge" and container != "matroska"):
        yield from packets
        return
    bitstream_filter: BitStreamFilterContext | None = None
    for packet in packets:
        if bitstream_filter is None:
            has_adts = packet.size > 1 and int.from_bytes(bytes(packet)[:2], "big") & 0xFFF0 == 0xFFF0
            bitstream_filter = BitStreamFilterContext(name if has_adts or "pgs" in name else "null", stream)
        if packet.size:
            yield from bitstream_filter.filter(packet)
    if bitstream_filter is not None:
        yield from bitstream_filter.filter(None)


def _trim(packet: Packet[Any], time_range: TimeRange) -> bool:
    """Trims a subtitle to the range, in place; returns False if it is entirely outside."""
    base = fraction(packet.time_base, Fraction(1))
    start, end = start_of(packet), start_of(packet) + (packet.duration or 0) * base
    first = start if time_range.start is None else max(start, time_range.start)
    last = end if time_range.stop is None else min(end, time_range.stop)
    if first >= last and not time_range.contains(start):
        return False
    if (first, last) != (start, end):
        packet.pts = packet.dts = round(first / base)
        packet.duration = round((last - first) / base)
    return True


def _convert_text_packet(packet: Packet[Any], plan: StreamPlan) -> Packet[Any]:
    """Converts a subtitle packet between mov_text and subrip: mov_text prefixes the text with its length, 2 bytes."""
    data = bytes(packet)
    if plan.source_codec == "mov_text":
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    if plan.codec == "mov_text":
        data = len(data).to_bytes(2, "big") + data
    converted = Packet(data)
    converted.pts, converted.dts, converted.duration = packet.pts, packet.dts, packet.duration
    converted.time_base = packet.time_base
    return converted
