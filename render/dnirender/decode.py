"""A source's frames, in any range, each checked against what the scan promised."""

from __future__ import annotations

import contextlib
import itertools
from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dnirender.containers import open_container
from dnirender.errors import MediaError
from dnirender.frames import Frame, Image
from dnirender.pictures import Still, is_still
from dnirender.pixels import to_rgb
from dnirender.scan import scan
from dnirender.source import Source

EARLIER = Fraction(10)  # seconds: more than the distance of keyframes in broadcasts


class Video(Source):
    """A video file: `Video.open` scans it without decoding more than its first frame."""

    @classmethod
    def open(cls, path: Path, stream: int | None = None) -> Video:
        """Scans the packets of one video stream: the best one, or number `stream` among the video streams."""
        return cls(path, scan(path, stream))

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        wanted = iter(indices)
        want = next(wanted, None)
        if want is None:
            return
        with contextlib.closing(self._decoded(want)) as decoded:
            for index, frame in decoded:
                if index != want:
                    continue
                yield Frame(index, self.facts.pts[index], self._picture(frame, index))
                want = next(wanted, None)
                if want is None:
                    return

    def _decoded(self, start: int) -> Generator[tuple[int, VideoFrame]]:
        """Frames with their index, from `start` or earlier to the last; MediaError at the first that is not there."""
        pts, earlier = self.facts.pts, int(EARLIER / self.facts.time_base)
        # A seek may come in behind the frame: a broken index, an open GOP, a transport stream without an index.
        for time in (pts[start], pts[start] - earlier, None) if start else (None,):
            yield from self._decoded_from(time, start)
        raise self._damaged(0)

    def _decoded_from(self, time: int | None, start: int) -> Generator[tuple[int, VideoFrame]]:
        """Frames from the keyframe that a seek to `time` finds; none if it lies behind frame `start`."""
        pts, index = self.facts.pts, 0
        with open_container(self.path) as container:
            stream = cast(VideoStream, container.streams[self.facts.video_index])
            stream.thread_type = "AUTO"
            if time is not None:
                with contextlib.suppress(av.error.FFmpegError):
                    container.seek(time, stream=stream, backward=True)
            frames = container.decode(stream)
            try:
                first = next(frames, None)
                if first is None or first.pts not in pts[: start + 1]:
                    return
                index = bisect_left(pts, first.pts)
                for frame in itertools.chain([first], frames):
                    if index == len(pts) or frame.pts != pts[index]:
                        raise self._damaged(index)
                    yield index, frame
                    index += 1
                raise self._damaged(index)
            except av.error.FFmpegError as error:
                raise self._damaged(index, error) from error

    def _picture(self, frame: VideoFrame, index: int) -> Image:
        facts = self.facts
        image = np.rot90(to_rgb(frame, facts.colour, self.path), facts.rotation // 90)
        image = np.ascontiguousarray(image[:, ::-1] if facts.mirrored else image)
        if image.shape[:2] != (facts.height, facts.width):
            raise MediaError(
                f"{self.path}: the picture changes from {facts.width}x{facts.height} to "
                f"{image.shape[1]}x{image.shape[0]} at frame {index}; cut the file there and render the parts"
            )
        if (image.dtype == np.uint8) != (facts.depth <= 8):
            raise MediaError(
                f"{self.path}: the pixels change from {facts.pix_fmt} to {frame.format.name} at frame {index}; "
                "cut the file there and render the parts"
            )
        return image

    def _damaged(self, decoded: int, error: Exception | None = None) -> MediaError:
        pts = self.facts.pts
        reached = float((pts[min(decoded, len(pts) - 1)] - pts[0]) * self.facts.time_base)
        why = f" ({getattr(error, 'strerror', None) or error})" if error else ""
        advice = f"; use --end {decoded} to render what is whole" if decoded else ""
        return MediaError(
            f"{self.path}: damaged: {decoded} of {len(pts)} frames could be decoded "
            f"({reached:.1f} of {float(self.facts.duration):.1f} s){why}{advice}"
        )


def open_source(
    path: Path, *, stream: int | None = None, still_frames: int = 1, still_rate: Fraction = Fraction(24)
) -> Source:
    """A video, or a still picture held for `still_frames` frames. Raises MediaError if it is neither."""
    try:
        if not path.exists():
            raise MediaError(f"{path}: no such file")
        if path.is_dir():
            raise MediaError(f"{path}: is a folder, expected a video or a picture")
        if path.stat().st_size == 0:
            raise MediaError(f"{path}: is empty")
    except OSError as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    return Still(path, still_frames, still_rate) if is_still(path) else Video.open(path, stream)
