"""A source's frames, in any range, each checked against what the scan promised."""

from __future__ import annotations

import contextlib
import itertools
from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dnirender.decoding import tonemap
from dnirender.decoding.deinterlace import deinterlace_frames
from dnirender.decoding.metadata import VideoMetadata
from dnirender.decoding.packets import decode_packets
from dnirender.decoding.scan import scan
from dnirender.decoding.source import Source
from dnirender.errors import MediaError
from dnirender.frames import Frame, Image, Opacity, to_uint8, to_uint16
from dnirender.media.containers import open_container
from dnirender.media.pixel_formats import depth_of, has_opacity, is_yuv, opacity_of, to_rgb

EARLIER = Fraction(10)  # seconds: more than the distance of keyframes in broadcasts


class VideoDecoder(Source):
    """A video file: `Video.open` scans it without decoding more than its first few frames.

    `facts` are those of the frames that it gives; `coded` those of the file. With `parity` frames are deinterlaced.
    """

    def __init__(
        self,
        path: Path,
        metadata: VideoMetadata,
        coded: VideoMetadata,
        parity: str | None = None,
        *,
        ignore_errors: bool = False,
    ) -> None:
        super().__init__(path, metadata)
        self._coded, self._parity, self._ignore_errors = coded, parity, ignore_errors
        self._missing: set[int] = set()

    @classmethod
    def open(
        cls,
        path: Path,
        stream: int | None = None,
        *,
        deinterlace: str = "auto",
        hdr: str = "auto",
        sdr_depth: int = 8,
        ignore_errors: bool = False,
    ) -> VideoDecoder:
        """Scans the packets of one video stream: the best one, or number `stream` among the video streams.

        `deinterlace` is one of `deinterlace.MODES`; auto does it where the source says that it is interlaced. `hdr` is
        one of `tonemap.MODES`; with tonemap an HDR source gives SDR pictures of `sdr_depth` bits.
        """
        coded = scan(path, stream, ignore_errors=ignore_errors)
        told = [*_interlaced(coded, deinterlace), *_hdr(coded, hdr)]
        metadata = replace(coded, warnings=(*coded.warnings, *(f"{path.name}: {text}" for text in told)))
        if hdr.startswith("tonemap") and coded.color.hdr:
            metadata = replace(metadata, color=tonemap.SDR, depth=sdr_depth)
        wanted = deinterlace == "bwdif" or (deinterlace == "auto" and coded.parity is not None)
        return cls(path, metadata, coded, (coded.parity or "auto") if wanted else None, ignore_errors=ignore_errors)

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        wanted = iter(indices)
        want = next(wanted, None)
        if want is None:
            return
        with contextlib.closing(self._whole(want)) as decoded:
            for index, frame in decoded:
                if index != want:
                    continue
                if index in self._missing:
                    self.concealed_frames.add(index)
                image = self._picture(frame)
                yield Frame(index, self.metadata.pts[index], image, self._opacity(frame, image))
                want = next(wanted, None)
                if want is None:
                    return

    def _whole(self, start: int) -> Generator[tuple[int, VideoFrame]]:
        """What is decoded, deinterlaced if wanted: then from a frame earlier, so that none lacks its neighbour."""
        first = start if self._parity is None else max(0, start - 1)
        with contextlib.closing(self._concealed() if self._ignore_errors else self._decoded(first)) as decoded:
            if self._parity is None:
                yield from decoded
                return
            yield from deinterlace_frames(decoded, len(self.metadata.pts), self._parity)

    def _decoded(self, start: int) -> Generator[tuple[int, VideoFrame]]:
        """Frames with their index, from `start` or earlier to the last; MediaError at the first that is not there."""
        stamps, earlier = self.metadata.stamps, int(EARLIER / self.metadata.stream_time_base)
        # A seek may come in behind the frame: a broken index, an open GOP, a transport stream without an index. Where
        # frames have no stamps, only counting from the first tells which one is which.
        for time in (stamps[start], stamps[start] - earlier, None) if start and stamps else (None,):
            yield from self._decoded_from(time, start)
        raise self._damaged(0)

    def _decoded_from(self, time: int | None, start: int) -> Generator[tuple[int, VideoFrame]]:
        """Frames from the keyframe that a seek to `time` finds; none if it lies behind frame `start`."""
        stamps, index = self.metadata.stamps, 0
        with open_container(self.path) as container:
            stream = cast(VideoStream, container.streams[self.metadata.video_index])
            if time is not None:
                with contextlib.suppress(av.error.FFmpegError):
                    container.seek(time, stream=stream, backward=True)
            try:
                frames = (frame for _, group in self._packets(container, stream) for frame in group or ())
                first = next(frames, None)
                if first is None or (stamps and first.pts not in stamps[: start + 1]):
                    return
                if stamps:
                    index = bisect_left(stamps, cast(int, first.pts))
                if time is not None and stamps.count(cast(int, first.pts)) > 1:
                    return  # of frames with one stamp only the order tells which it is
                for frame in itertools.chain([first], frames):
                    if index == len(self.metadata.pts) or frame.is_corrupt or (stamps and frame.pts != stamps[index]):
                        raise self._damaged(index)
                    self._check(frame, index)
                    yield index, frame
                    index += 1
                raise self._damaged(index)
            except av.error.FFmpegError as error:
                raise self._damaged(index, error) from error

    def _packets(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[tuple[Packet[Any], list[VideoFrame] | None]]:
        decoded = decode_packets(container, stream, forgiving=self._ignore_errors)
        # The scan did not count what comes before the first keyframe where only the order tells frames apart.
        return decoded if self.metadata.stamps else itertools.dropwhile(lambda pair: not pair[0].is_keyframe, decoded)

    def _concealed(self) -> Generator[tuple[int, VideoFrame]]:
        """Every frame with its index, from the first: one that is missing is the one before it, or the first there is.

        Never from a later keyframe: what a lost one does to those that refer to it depends on where decoding began.
        """
        index, last, count = 0, None, len(self.metadata.pts)
        for frame in self._found():
            place = self._place(frame, index)
            if place is None or (frame is None and last is None):
                continue
            if frame is not None:
                self._check(frame, place)
            for missing in range(index, place):
                yield self._repaired(missing), last or cast(VideoFrame, frame)
            if frame is None:
                yield self._repaired(place), cast(VideoFrame, last)
            else:
                last = frame
                yield place, last
            index = place + 1
        if last is None:
            raise self._damaged(0)
        for missing in range(index, count):
            yield self._repaired(missing), last

    def _found(self) -> Iterator[VideoFrame | None]:
        """The frames that can be decoded; None where a packet gave none for its damage."""
        with open_container(self.path) as container:
            stream = cast(VideoStream, container.streams[self.metadata.video_index])
            for _, frames in self._packets(container, stream):
                if frames is None:
                    yield None
                yield from (None if frame.is_corrupt else frame for frame in frames or ())

    def _place(self, frame: VideoFrame | None, index: int) -> int | None:
        """The index of what came out of the decoder when frame `index` was due; None if it is not to be shown."""
        stamps = self.metadata.stamps
        if not stamps:
            return index if index < len(self.metadata.pts) else None
        if frame is None or frame.pts is None:
            return None
        place = bisect_left(stamps, frame.pts, lo=index)
        return place if place < len(stamps) and stamps[place] == frame.pts else None

    def _repaired(self, index: int) -> int:
        self._missing.add(index)
        return index

    def _check(self, frame: VideoFrame, index: int) -> None:
        """MediaError where a frame is of another size than the first, or of pixels that mean something else."""
        metadata, form = self._coded, frame.format
        sideways = metadata.rotation % 180 == 90
        width, height = (frame.height, frame.width) if sideways else (frame.width, frame.height)
        full = {1: False, 2: True}.get(int(frame.color_range), metadata.color.full_range)
        change = ""
        if (width, height) != (metadata.width, metadata.height):
            change = f"the picture changes from {metadata.width}x{metadata.height} to {width}x{height}"
        elif form.name != metadata.pix_fmt and not (self._parity is None and _alike(form, metadata)):
            change = f"the pixels change from {metadata.pix_fmt} to {form.name}"
        elif is_yuv(form) and full != metadata.color.full_range:
            # H.264 decoders keep calling the format what it was.
            change = f"the pixels change to {'full' if full else 'limited'} range"
        if change:
            at = float((metadata.pts[index] - metadata.pts[0]) * metadata.time_base)
            raise MediaError(
                f"{self.path}: {change} at frame {index} ({at:.2f} s); cut the file there and render the parts"
            )

    def _picture(self, frame: VideoFrame) -> Image:
        metadata = self._coded
        image = self._upright(to_rgb(frame, metadata.color, self.path))
        if self.metadata.color != metadata.color:
            return tonemap.tone_map(image, metadata.color, metadata.mastering_peak or tonemap.PEAK, self.metadata.depth)
        return image

    def _opacity(self, frame: VideoFrame, image: Image) -> Opacity | None:
        """The opacity of a source that has it; a frame without is opaque, as the empty pictures of some GIFs are."""
        if not self.metadata.opacity:
            return None
        if not has_opacity(frame.format):
            return np.full(image.shape[:2], np.iinfo(image.dtype).max, image.dtype)
        opacity = self._upright(opacity_of(frame))
        return to_uint8(opacity) if image.dtype == np.uint8 else to_uint16(opacity)

    def _upright(self, picture: Image) -> Image:
        turned = np.rot90(picture, self.metadata.rotation // 90)
        return np.ascontiguousarray(turned[:, ::-1] if self.metadata.mirrored else turned)

    def _damaged(self, decoded: int, error: Exception | None = None) -> MediaError:
        pts = self.metadata.pts
        reached = float((pts[min(decoded, len(pts) - 1)] - pts[0]) * self.metadata.time_base)
        why = f" ({getattr(error, 'strerror', None) or error})" if error else ""
        if self._ignore_errors:
            return MediaError(f"{self.path}: none of its {len(pts)} frames can be decoded")
        whole = f"--end {decoded} renders what is whole, " if decoded else ""
        return MediaError(
            f"{self.path}: damaged: the first {decoded} of {len(pts)} frames could be decoded "
            f"({reached:.1f} of {float(self.metadata.duration):.1f} s){why}; {whole}"
            "--ignore-errors shows the frame before in place of each that is lost"
        )


def _alike(form: VideoFormat, metadata: VideoMetadata) -> bool:
    """Whether frames of this format give pictures like those of the format that the video began with."""
    known = VideoFormat(metadata.pix_fmt)
    return (depth_of(form) <= 8) == (metadata.depth <= 8) and has_opacity(form) <= has_opacity(known)


def _interlaced(metadata: VideoMetadata, mode: str) -> Iterator[str]:
    if metadata.parity is None:
        return
    if mode == "auto":
        yield "is interlaced; deinterlaced by bwdif (--deinterlace off leaves its fields as they are)"
    if mode == "off":
        yield "is interlaced; its fields are rendered as they are (--deinterlace bwdif makes whole pictures)"


def _hdr(metadata: VideoMetadata, mode: str) -> Iterator[str]:
    name = metadata.color.hdr
    if name and mode == "auto":
        yield f"is HDR ({name}); the networks see its code values and the tags are kept (--hdr tonemap makes it SDR)"
    if name and mode == "tonemap-auto":
        yield f"is HDR ({name}), which files of pictures do not say; it is made SDR (--hdr keep keeps its code values)"
    if not name and mode == "tonemap":
        yield "is not HDR; --hdr tonemap has nothing to do"
