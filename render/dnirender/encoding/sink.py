"""What all output formats share: frame timing, and the protocols of sinks and segment encoders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from av.video.frame import VideoFrame

from dnirender.encoding.segment_file import EncodedPacket, SegmentReader
from dnirender.frames import Image
from dnirender.media.containers import container_of


def timestamp_tolerance(target: Path) -> Fraction:
    """Largest possible error of a timestamp in `target`, in seconds: Matroska and WebM round to milliseconds."""
    return Fraction(0) if container_of(target) in ("mp4", "mov") else Fraction(1, 2000)


class SegmentEncoder(Protocol):
    """Encodes the frames of one segment to packets.

    Created by `Sink.new_encoder` for one segment, used by one thread, and then discarded. The caller reads `header`,
    calls `encode` for each frame in increasing order, and then `flush` once. It consumes each returned iterator fully
    before the next call and writes the packets in the order they come, which may differ from frame order (B-frames).

    Every segment must be decodable without the others: its first packet is a keyframe, and nothing refers to frames of
    another segment. The same frames must give the same packets in every run, as an interrupted render is resumed with
    the segments of an earlier one.
    """

    @property
    def header(self) -> bytes:
        """Data the container needs about the encoder (extradata), known before the first frame; may be empty.

        It must be equal for all segments of a render: `SegmentReader` refuses to join segments that differ.
        """
        ...

    def encode(self, index: int, frame: Any) -> Iterator[EncodedPacket]:
        """Encodes one frame and yields the packets that are ready: none, one or several.

        `index` counts the frames of the render from 0 and increases by 1 within a segment; the `EncodedPacket` of this
        frame must carry it. `frame` is a result of `Sink.convert`. The encoder owns it from here on and may modify it
        (set its pts). There must be exactly one packet per frame in the end.

        Raises:
            OutputError: encoding fails. The segment is then discarded.
        """
        ...

    def flush(self) -> Iterator[EncodedPacket]:
        """Yields the packets still buffered. No call follows.

        Raises:
            OutputError: encoding fails. The segment is then discarded.
        """
        ...


class Sink(Protocol):
    """An output format: turns rendered images into one or more files.

    A sink is created with its target and its `FrameTiming`, before the first frame. It holds settings, not frames: all
    frames pass through segment files, so that a render can be interrupted and resumed. The calls, in order:

    1. `convert` for each frame, in order, on a worker thread that runs ahead of the encoding;
    2. `new_encoder` for each segment not yet rendered, on the caller's thread, while `convert` runs on the other;
    3. `finalize` once, on the caller's thread, when all segments are written. Segments of earlier runs are included, so
       another sink object may have made them, in another process.

    A minimal format, raw RGB in one file, needs no state but its target:

        class RawEncoder:
            header = b""

            def encode(self, index, frame):
                yield EncodedPacket(index, True, frame.tobytes())

            def flush(self):
                return iter(())

        class RawSink:
            def __init__(self, target, num_frames):
                self._target, self._num_frames = target, num_frames

            def convert(self, image):
                return to_uint8(image)

            def new_encoder(self):
                return RawEncoder()

            def finalize(self, segments, folder):
                check_frame_indices(segments, self._num_frames, self._target)
                file = folder / "joined.rgb"
                with disk_errors(self._target), file.open("wb") as out:
                    out.writelines(packet.data for packet in segments)
                return [(file, self._target)]
    """

    def convert(self, image: Image) -> Image | VideoFrame:
        """Converts a rendered image to what the `SegmentEncoder` of this sink accepts.

        `image` is RGB [h, w, 3] or RGBA [h, w, 4] with straight alpha, uint8 or uint16, full range. It may share memory
        with other frames: do not modify it; returning it unchanged is allowed. Must be thread-safe with `new_encoder`,
        and depend on nothing but `image` and the settings of the sink.
        """
        ...

    def new_encoder(self) -> SegmentEncoder:
        """A new encoder in its initial state, for one segment.

        Raises:
            OutputError: the encoder cannot be opened. The caller turns an FFmpegError or OSError into one.
        """
        ...

    def finalize(self, segments: SegmentReader, folder: Path) -> list[tuple[Path, Path]]:
        """Writes the output files into `folder` and returns (file, target) for each.

        `segments` holds the packets of all segments in order; the caller opens and closes it. Check that every frame is
        there with `check_frame_indices`. `folder` is the working folder of the job, on the file system of the target.
        Name files `joined.*` where possible: those are removed if `finalize` fails. Do not touch the targets: the
        caller flushes each file to disk and renames it to its target, in the order of the list. A file must therefore
        be complete, closed and, where the format allows it, read back and verified.

        Raises:
            CorruptSegmentError: a segment is corrupt. The caller deletes it, so that the next run renders it again.
            OutputError: frames are missing or duplicated, or writing or reading back fails; nothing is published.
            MediaError: the source is needed again (to copy streams) and cannot be read.
        """
        ...


@dataclass(frozen=True)
class FrameTiming:
    """Timestamps of the output frames.

    `pts` holds one increasing integer per frame in units of `time_base` seconds; `last_duration` is the duration of the
    last frame in the same unit.
    """

    pts: tuple[int, ...]
    time_base: Fraction
    last_duration: int

    @property
    def frame_rate(self) -> Fraction:
        """Mean frames per second."""
        length = (self.pts[-1] - self.pts[0] + self.last_duration) * self.time_base
        return Fraction(len(self.pts)) / length

    def duration(self, index: int) -> int:
        """Duration of frame `index`, in units of `time_base`."""
        return self.pts[index + 1] - self.pts[index] if index + 1 < len(self.pts) else self.last_duration
