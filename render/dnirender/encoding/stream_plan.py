"""What becomes of each stream beside the rendered video: copied if the container takes it, else transcoded or dropped.

Tables of supported codecs are often wrong, and some muxers refuse a stream only with its first packet or at the end of
the file. So each stream is tried: a file with its first packets is written to memory, to its end.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from dnirender.encoding.transcode import AudioTranscoder
from dnirender.media.channels import DEFAULT_LAYOUTS, channel_layout
from dnirender.media.containers import codec_of, create_container, demux, is_cover, open_container
from dnirender.media.timecode import is_timecode

AUDIO_CODECS = {"webm": "libopus"}  # containers without support for aac, the default
TEXT_CODECS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip"}
TEXT_SUBTITLES = {"mov_text", "subrip", "srt"}
# What FFmpeg writes into MP4, but hardly any player or editor reads there.
UNUSUAL = {"mp4": ("pcm_", "vorbis")}
AS_REQUESTED = "as requested"
VIDEO_TAGS = {"language", "title", "handler_name"}  # others (rotate, alpha_mode, BPS) describe the source's frames
# The muxer writes these itself; copies would contradict the new file.
MUXER_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "timecode"}
# The first packets of each stream that are tried, and where the search for them ends: a subtitle may come late.
SAMPLES, MAX_PACKETS, MAX_BYTES = 8, 2000, 1 << 25


@dataclass(frozen=True)
class StreamPlan:
    """What to do with one stream. `action` is copy, transcode (to `codec`) or drop; `reason` says why if not copy.

    `layout` names the channels of copied audio where the source does not and the container needs it.
    """

    index: int
    kind: str
    source_codec: str
    action: str
    codec: str = ""
    reason: str = ""
    layout: str = ""

    def __str__(self) -> str:
        text = f"{self.kind} #{self.index} ({self.source_codec}): {self.action}"
        text += f" to {self.codec}" if self.codec else ""
        text += f" as {self.layout}" if self.layout else ""
        return text + (f" ({self.reason})" if self.reason else "")


def plan_streams(path: Path, container: str, video: int, *, audio: bool, subtitles: bool) -> tuple[StreamPlan, ...]:
    """One plan per stream of `path` except the rendered stream `video`, for an output of format `container`.

    The tracks that store chapters and time code in MP4 are not listed: both are always copied. Raises MediaError if
    the source cannot be opened.
    """
    with open_container(path) as source:
        others = [stream for stream in source.streams if stream.index != video and not _is_written(stream, source)]
        wanted = [stream for stream in others if (stream.type == "audio" and audio) or stream.type == "subtitle"]
        samples = _first_packets(source, wanted)
        return tuple(_plan(path, stream, container, audio, subtitles, samples[stream.index]) for stream in others)


def _is_written(stream: Any, source: InputContainer) -> bool:
    """Whether the muxer writes this stream anew, from the chapters or the time code."""
    return is_timecode(stream) or _is_chapters(stream, source)


def _is_chapters(stream: Any, source: InputContainer) -> bool:
    return stream.type == "data" and stream.name == "bin_data" and bool(source.chapters())


def _first_packets(source: InputContainer, streams: Sequence[Any]) -> dict[int, list[Packet[Any]]]:
    """The first packets of each stream, by its index; none for a stream that begins late."""
    found: dict[int, list[Packet[Any]]] = defaultdict(list)
    waiting, size = {stream.index for stream in streams}, 0
    with contextlib.suppress(av.error.FFmpegError):  # rendering reports it
        for number, packet in enumerate(demux(source) if waiting else ()):
            size += packet.size
            if packet.size and packet.stream.index in waiting:
                found[packet.stream.index].append(packet)
                if len(found[packet.stream.index]) == SAMPLES:
                    waiting.remove(packet.stream.index)
            if not waiting or number > MAX_PACKETS or size > MAX_BYTES:
                break
    return found


def _plan(
    path: Path, stream: Any, container: str, audio: bool, subtitles: bool, samples: list[Packet[Any]]
) -> StreamPlan:
    codec = stream.metadata.get("filename", "unknown") if stream.type == "attachment" else codec_of(stream)
    plan = StreamPlan(stream.index, stream.type, codec, "copy")
    if stream.type == "video":
        return _drop(plan, "cover art is not rendered" if is_cover(stream) else "only one video stream is rendered")
    if (stream.type == "audio" and not audio) or (stream.type == "subtitle" and not subtitles):
        return _drop(plan, AS_REQUESTED)
    if stream.type == "data":
        return _drop(plan, "data streams describe the frames of the source")
    if stream.type == "attachment" and container != "matroska":
        return _drop(plan, f"{container} does not support attachments")
    unusual = any(codec.startswith(name) for name in UNUSUAL.get(container, ()))
    reason = f"players do not expect {codec} in {container}" if unusual else f"{container} does not support {codec}"
    copy = _copy(plan, stream, container, samples)
    if copy and not unusual:
        return copy
    target = TEXT_CODECS.get(container, "") if codec in TEXT_SUBTITLES else ""
    if stream.type == "audio" and stream.codec_context is not None:
        target = AUDIO_CODECS.get(container, "aac")
        if (refusal := _transcoding_error(path, stream.index, container, target, samples)) is not None:
            return copy or _drop(plan, f"{reason}, and it cannot be transcoded to {target}: {refusal}")
    if target:
        return replace(plan, action="transcode", codec=target, reason=reason)
    return _drop(plan, reason)


def _copy(plan: StreamPlan, stream: Any, container: str, samples: Sequence[Packet[Any]]) -> StreamPlan | None:
    """The plan with the channel layout that the container needs, None if it does not take a copy."""
    for layout in ("", *_default_layout(stream)):
        if is_muxable(container, samples, lambda out, layout=layout: add_copy(out, stream, layout)):
            return replace(plan, layout=layout)
    return None


def _drop(plan: StreamPlan, reason: str) -> StreamPlan:
    return replace(plan, action="drop", reason=reason)


def _default_layout(stream: Any) -> list[str]:
    """The default layout of audio whose channels have no names; none for other streams."""
    if stream.type != "audio" or stream.codec_context is None:
        return []
    layout = channel_layout(stream.codec_context)
    return [DEFAULT_LAYOUTS[len(layout.channels)]] if layout.is_unspecified and layout.standard else []


def is_muxable(container: str, packets: Sequence[Packet[Any]], add: Callable[[OutputContainer], Any]) -> bool:
    """Whether the container takes the stream that `add` adds, with these packets, up to the end of the file."""
    out = create_container(io.BytesIO(), container)
    try:
        stream = add(out)
        out.start_encoding()
        for packet in packets:
            packet.stream = stream
            out.mux_one(packet)
        if packets:  # a muxer may raise for a file without packets, which says nothing about the stream
            out.close()
    except (av.error.FFmpegError, ValueError):
        return False
    finally:
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            out.close()
    return True


def _transcoding_error(
    path: Path, index: int, container: str, codec: str, samples: Sequence[Packet[Any]]
) -> str | None:
    """Why the first packets cannot be transcoded to `codec` in this container, None if they can.

    Packets that cannot be decoded are left to the render, which reports them with their time.
    """
    with open_container(path) as source:  # a decoder of its own: this one gets no more packets than these
        out = create_container(io.BytesIO(), container)
        try:
            transcoder = AudioTranscoder(cast(AudioStream, source.streams[index]), out, codec)
            out.start_encoding()
            for packet in (*samples, None):
                with contextlib.suppress(av.error.InvalidDataError):
                    for frame in list(transcoder.decode(packet)):
                        out.mux(transcoder.encode(frame))
            out.mux(transcoder.encode(None))
            out.close()
        except (av.error.FFmpegError, ValueError) as error:
            return getattr(error, "strerror", None) or str(error)
        finally:
            with contextlib.suppress(av.error.FFmpegError, ValueError):
                out.close()
    return None


def add_copy(out: OutputContainer, stream: Any, layout: str = "") -> Any:
    """Adds a stream to `out` with the codec parameters, language, title and disposition of `stream`.

    `layout` names the channels of audio; "" leaves them as they are.
    """
    # Without opaque=True PyAV looks up an encoder, which fails for codecs that can only be decoded (AV1).
    out_stream: Any = out.add_stream_from_template(stream, opaque=True)
    if layout:
        out_stream.codec_context.layout = layout
    copy_metadata(out_stream, stream)
    return out_stream


def copy_metadata(out_stream: Any, stream: Any) -> None:
    """Copies tags and disposition, but for tags that the muxer writes itself or that describe the source's frames."""
    tags = {key: value for key, value in stream.metadata.items() if key.lower() not in MUXER_TAGS}
    if "name" in tags:  # FFmpeg reads the title of an MP4 track as name, but writes it from title
        tags.setdefault("title", tags.pop("name"))
    if stream.type == "video":
        tags = {key: value for key, value in tags.items() if key.lower() in VIDEO_TAGS}
    out_stream.metadata.update(tags)
    with contextlib.suppress(AttributeError):
        out_stream.disposition = stream.disposition
