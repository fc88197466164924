"""A video that plays forward and then backward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dnirender.encoding.image_sequence import PngSegmentEncoder
from dnirender.encoding.segment_file import SegmentReader, SegmentWriter
from dnirender.encoding.sink import SegmentEncoder
from dnirender.encoding.video import VideoSink
from dnirender.files import disk_errors
from dnirender.frames import Image
from dnirender.media.images import decode_png


class BoomerangSink:
    """A video whose pictures come back: `order` lists the number of each frame's picture."""

    def __init__(self, video: VideoSink, order: Sequence[int]) -> None:
        self._video, self._order = video, order

    def convert(self, image: Image) -> Image:
        """The picture."""
        return image

    def new_encoder(self) -> SegmentEncoder:
        """One that makes PNG, so that pictures can be had again."""
        return PngSegmentEncoder()

    def finalize(self, parts: SegmentReader, folder: Path) -> list[tuple[Path, Path]]:
        """Encodes the pictures forth and back."""
        whole = folder / "boomerang.whole"
        with disk_errors(whole):
            recorder = self._video.new_encoder()
        with SegmentWriter(whole, recorder.header) as part:
            for number, picture in enumerate(self._order):
                image = decode_png(parts[picture].data)
                part.extend(recorder.record(number, self._video.convert(image)))
            part.extend(recorder.flush())
        with SegmentReader([whole]) as encoded:
            return self._video.finalize(encoded, folder)
