"""The first frames of a clip as a clip, with its sound: for rivals that cannot stop after N frames.

python cut.py road.mp4 short.mp4 24 [WIDTHxHEIGHT]
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av


def cut(source: Path, target: Path, frames: int, size: tuple[int, int] | None = None) -> int:
    """Writes at most `frames` frames as H.264 at CRF 14, pts kept, and the sound beside them; returns how many."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        width, height = size or (video.width, video.height)
        picture = writer.add_stream("libx264", video.average_rate, {"crf": "14", "preset": "veryfast"})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        picture.time_base = picture.codec_context.time_base = video.time_base
        sound = writer.add_stream_from_template(reader.streams.audio[0]) if reader.streams.audio else None
        written, end = 0, Fraction(0)
        for frame in reader.decode(video):
            if written == frames:
                end = frame.pts * video.time_base
                break
            frame = frame.reformat(width, height, "yuv420p")
            frame.pict_type = av.video.frame.PictureType.NONE
            writer.mux(picture.encode(frame))
            written += 1
        writer.mux(picture.encode(None))
        if sound:
            _copy_sound(source, writer, sound, end)
    return written


def _copy_sound(source: Path, writer: av.container.OutputContainer, sound: av.AudioStream, end: Fraction) -> None:
    """Packets up to `end` seconds; all of them where it is 0."""
    with av.open(str(source)) as reader:
        for packet in reader.demux(reader.streams.audio[0]):
            if packet.dts is None or (end and packet.pts * packet.time_base >= end):
                continue
            packet.stream = sound
            writer.mux(packet)


if __name__ == "__main__":
    paths, count, size = sys.argv[1:3], int(sys.argv[3]), sys.argv[4:]
    print(cut(Path(paths[0]), Path(paths[1]), count, tuple(map(int, size[0].split("x"))) if size else None))  # type: ignore[arg-type]
