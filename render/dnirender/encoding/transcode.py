"""Transcodes one audio stream for containers that do not hold its codec."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, cast

import av
import av.error
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.filter import Graph
from av.packet import Packet

from dnirender.media.channels import channel_layout

BIT_RATE = 96_000  # per channel


class AudioTranscoder:
    """Adds a stream of `codec` to `out` for the packets of `stream`, whose decoder must not be open yet.

    Channels without names get those of the default layout for their number; those in an order of their own are
    rearranged to the standard one. Feed the frames of `decode` to `encode`; None flushes each.

    Raises:
        ValueError: there is no layout for so many channels.
    """

    def __init__(self, stream: AudioStream, out: OutputContainer, codec: str) -> None:
        self._context: Any = stream.codec_context
        layout = channel_layout(self._context)
        if not layout.standard:
            raise ValueError(f"{len(layout.channels)} channels without a layout")
        rate, name = audio_settings(codec, self._context, dict.fromkeys((layout.standard, layout.name)))
        self._order = _standard_order(layout.channels, layout.standard)
        if name != layout.name:  # a layout without a name stays if only that suits the encoder
            self._context.layout = layout.standard
        self._graph: Graph | None = None
        self.stream = cast(AudioStream, out.add_stream(codec, rate=rate, layout=name))
        self.stream.codec_context.bit_rate = BIT_RATE * av.AudioLayout(name).nb_channels

    def decode(self, packet: Packet[Any] | None) -> Iterator[AudioFrame]:
        """The frames of a packet. Raises FFmpegError."""
        for frame in self._context.decode(packet):
            yield from [frame] if self._order is None else self._rearranged(frame)

    def encode(self, frame: AudioFrame | None) -> list[Packet[Any]]:
        """The packets that are ready. Raises FFmpegError."""
        return self.stream.encode(frame)

    def _rearranged(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        if self._graph is None:
            self._graph = Graph()
            source = self._graph.add_abuffer(
                format=frame.format, sample_rate=frame.sample_rate, layout=frame.layout, time_base=frame.time_base
            )
            order = self._graph.add("channelmap", f"map={self._order}:channel_layout={frame.layout.name}")
            self._graph.link_nodes(source, order, self._graph.add("abuffersink")).configure()
        self._graph.push(frame)
        with contextlib.suppress(av.error.BlockingIOError):
            while True:
                yield cast(AudioFrame, self._graph.pull())


def _standard_order(channels: tuple[str, ...], standard: str) -> str | None:
    """Where each channel of the standard layout is among `channels`, as channelmap reads it; None if nothing moves."""
    names = tuple(channel.name for channel in av.AudioLayout(standard).channels)
    if channels == names or sorted(channels) != sorted(names):
        return None
    return "|".join(str(channels.index(name)) for name in names)


def audio_settings(codec: str, source: Any, layouts: Iterable[str]) -> tuple[int, str]:
    """The nearest sample rate, and the first of `layouts`, that the encoder accepts: libopus has five rates, and no
    5.1(side). If it accepts none, 5.1, 7.1, mono or stereo."""
    encoder = av.Codec(codec, "w")
    rate = source.sample_rate if source.sample_rate in (encoder.audio_rates or (source.sample_rate,)) else 48000
    candidates = list(layouts)
    nearest = {1: "mono", 6: "5.1", 8: "7.1"}.get(av.AudioLayout(candidates[0]).nb_channels, "stereo")
    for name in (*candidates, nearest):
        trial: Any = av.CodecContext.create(encoder, "w")
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            trial.sample_rate, trial.layout, trial.format = rate, name, (encoder.audio_formats or [source.format])[0]
            trial.open()
            return rate, name
    return rate, "stereo"
