"""A video that plays forward and then backward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dnirender.encoding.image_sequence import PngRecorder
from dnirender.encoding.segment_file import Parts, PartWriter
from dnirender.encoding.sink import Recorder
from dnirender.encoding.video import VideoSink
from dnirender.files import disk_errors
from dnirender.frames import Image
from dnirender.media.images import decode_png


class BoomerangSink:
    """A video whose pictures come back: `order` lists the number of each frame's picture."""

    def __init__(self, video: VideoSink, order: Sequence[int]) -> None:
        self._video, self._order = video, order

    def converted(self, image: Image) -> Image:
        """The picture."""
        return image

    def recorder(self) -> Recorder:
        """One that makes PNG, so that pictures can be had again."""
        return PngRecorder()

    def deliver(self, parts: Parts, folder: Path) -> list[tuple[Path, Path]]:
        """Encodes the pictures forth and back."""
        whole = folder / "boomerang.whole"
        with disk_errors(whole):
            recorder = self._video.recorder()
        with PartWriter(whole, recorder.header) as part:
            for number, picture in enumerate(self._order):
                image = decode_png(parts[picture].data)
                part.extend(recorder.record(number, self._video.converted(image)))
            part.extend(recorder.flush())
        with Parts([whole]) as encoded:
            return self._video.deliver(encoded, folder)
