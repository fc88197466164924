"""A video that plays forward and then backward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from av.error import FFmpegError

from dnirender.encoding.image_sequence import ImageSegmentEncoder
from dnirender.encoding.segment_file import SegmentReader, SegmentWriter
from dnirender.encoding.sink import SegmentEncoder
from dnirender.encoding.video import VideoSink
from dnirender.files import disk_errors
from dnirender.frames import Image
from dnirender.media.images import decode_png


class BoomerangSink:
    """A video whose frames are used more than once: `order` gives, for each output frame, the rendered frame to
    show."""

    def __init__(self, video: VideoSink, order: Sequence[int]) -> None:
        self._video, self._order = video, order

    def convert(self, image: Image) -> Image:
        """Returns the image unchanged."""
        return image

    def new_encoder(self) -> SegmentEncoder:
        """A PNG encoder: segments are lossless, so that frames can be decoded again in any order."""
        return ImageSegmentEncoder()

    def finalize(self, segments: SegmentReader, folder: Path) -> list[tuple[Path, Path]]:
        """Encodes the frames in `order` and muxes them into a video.

        Raises:
            OutputError: a frame is missing, a segment is corrupt, or encoding or writing fails.
        """
        path = folder / "boomerang.packets"
        with disk_errors(path, FFmpegError):
            encoder = self._video.new_encoder()
        with SegmentWriter(path, encoder.header) as writer:
            for number, image_number in enumerate(self._order):
                image = decode_png(segments[image_number].data)
                writer.extend(encoder.encode(number, self._video.convert(image)))
            writer.extend(encoder.flush())
        with SegmentReader([path]) as encoded:
            return self._video.finalize(encoded, folder)
