"""Decodes any range of a video's frames and checks each one against the scan."""

from __future__ import annotations

import contextlib
import itertools
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence
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
from dnirender.decoding.concealment import conceal_lost_frames, drop_corrupt_frames
from dnirender.decoding.deinterlace import deinterlace_frames
from dnirender.decoding.metadata import VideoMetadata
from dnirender.decoding.packets import PROBE_FRAMES, decode_packets
from dnirender.decoding.reorder import restamp_in_order
from dnirender.decoding.scan import scan
from dnirender.decoding.source import Source
from dnirender.decoding.timestamps import SPLIT_HINT
from dnirender.errors import MediaError
from dnirender.files import error_text
from dnirender.frames import Frame, Image, Opacity, to_uint8, to_uint16
from dnirender.media.containers import open_container
from dnirender.media.pixel_formats import depth_of, has_opacity, is_yuv, opacity_of, to_planar, to_rgb

SEEK_MARGIN = Fraction(10)  # seconds; longer than the keyframe interval of broadcasts


COUNTED = {"mpeg4"}  # with packed B-frames, a keyframe may carry the pts of another frame


class VideoDecoder(Source):
    """A video file; `VideoDecoder.open` scans it and decodes only its first frames.

    `metadata` describes the frames that it yields, `coded` those in the file (they differ if HDR is tone mapped). With
    `parity`, a value of bwdif's option of that name, frames are deinterlaced.
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
        self._lost: set[int] = set()  # concealed so far, ahead of `concealed_frames` while deinterlacing

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

        `deinterlace` is one of `deinterlace.MODES`; auto deinterlaces if the source is flagged as interlaced. `hdr` is
        one of `tonemap.MODES`; with tonemap an HDR source yields SDR frames of `sdr_depth` bits. With `ignore_errors`,
        truncated files are opened and lost frames concealed. Raises MediaError, and UsageError for an unknown stream.
        """
        coded = scan(path, stream, ignore_errors=ignore_errors)
        warnings = [*_interlacing_warnings(coded, deinterlace), *_hdr_warnings(coded, hdr)]
        metadata = replace(coded, warnings=(*coded.warnings, *(f"{path.name}: {text}" for text in warnings)))
        if hdr.startswith("tonemap") and coded.color.hdr:
            metadata = replace(metadata, color=tonemap.SDR, depth=sdr_depth)
        enabled = deinterlace == "bwdif" or (deinterlace == "auto" and coded.parity is not None)
        parity = (coded.parity or "auto") if enabled else None
        return cls(path, metadata, coded, parity, ignore_errors=ignore_errors)

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        return self._frames(indices, self._to_image)

    def planar_frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        metadata, coded = self.metadata, self._coded
        as_coded = metadata.color == coded.color and not (metadata.rotation or metadata.mirrored or metadata.opacity)
        return self._frames(indices, self._to_planar if as_coded else self._to_image)

    def _frames(self, indices: Sequence[int], convert: Callable[[VideoFrame], Image]) -> Iterator[Frame]:
        targets = iter(indices)
        target = next(targets, None)
        if target is None:
            return
        with contextlib.closing(self._progressive_frames(target)) as decoded:
            for index, frame in decoded:
                if index != target:
                    continue
                if index in self._lost:
                    self.concealed_frames.add(index)
                image = convert(frame)
                yield Frame(index, self.metadata.pts[index], image, _opacity(frame, image, self.metadata))
                target = next(targets, None)
                if target is None:
                    return

    def _progressive_frames(self, start: int) -> Generator[tuple[int, VideoFrame]]:
        """Frames with their indices, from `start` or earlier, deinterlaced if enabled."""
        # bwdif also reads the frame before `start`.
        first = start if self._parity is None else max(0, start - 1)
        with contextlib.closing(self._decode_concealed() if self._ignore_errors else self._decode(first)) as decoded:
            if self._parity is None:
                yield from decoded
                return
            yield from deinterlace_frames(decoded, len(self.metadata.pts), self._parity)

    def _decode(self, start: int) -> Generator[tuple[int, VideoFrame]]:
        """Yields frames with their indices, from `start` or earlier to the last; raises MediaError at a lost frame."""
        stream_pts, margin = self.metadata.stream_pts, int(SEEK_MARGIN / self.metadata.stream_time_base)
        # A seek may land after the frame: a broken index, an open GOP, a transport stream without an index. Frames
        # without pts, or with those of others, can only be identified by counting from the first one.
        done, can_seek = 0, start and stream_pts and self._coded.codec not in COUNTED
        for time in (stream_pts[start], stream_pts[start] - margin, None) if can_seek else (None,):
            for index, frame in self._decode_from(time, max(start, done)):
                if index >= done:  # after a seek that had to be repeated
                    yield index, frame
                    done = index + 1
            if done == len(self.metadata.pts):
                return
        raise self._decoding_error(done)

    def _decode_from(self, time: int | None, start: int) -> Generator[tuple[int, VideoFrame]]:
        """Yields frames from the keyframe that a seek to `time` finds, up to the first whose index is uncertain.

        That is the first one if it comes after frame `start`. Raises MediaError at a lost frame if `time` is None.
        """
        stream_pts, index = self.metadata.stream_pts, 0
        with open_container(self.path) as container:
            stream = cast(VideoStream, container.streams[self.metadata.video_index])
            if time is not None:
                with contextlib.suppress(av.error.FFmpegError):
                    container.seek(time, stream=stream, backward=True)
            try:
                decoded = (frame for _, group in self._packets(container, stream) for frame in group or ())
                frames = cast("Iterator[VideoFrame]", restamp_in_order(decoded, stream_pts, from_start=time is None))
                first = list(itertools.islice(frames, 1 if time is None else PROBE_FRAMES))
                if not first or (stream_pts and first[0].pts not in stream_pts[: start + 1]):
                    return
                if stream_pts:
                    index = bisect_left(stream_pts, cast(int, first[0].pts))
                if time is not None and [frame.pts for frame in first] != sorted(set(stream_pts[index:][: len(first)])):
                    return  # frames with pts that are equal or not in order can only be identified by counting
                for frame in itertools.chain(first, frames):
                    is_excess = index == len(self.metadata.pts)
                    is_misplaced = not is_excess and bool(stream_pts) and frame.pts != stream_pts[index]
                    if is_misplaced and time is not None:
                        return  # a seek into frames whose pts are not in order
                    if is_excess or is_misplaced or frame.is_corrupt:
                        raise self._decoding_error(index)
                    self._check_format(frame, index)
                    yield index, frame
                    index += 1
                if index < len(self.metadata.pts):
                    raise self._decoding_error(index)
            except av.error.FFmpegError as error:
                raise self._decoding_error(index, error) from error

    def _packets(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[tuple[Packet[Any], list[VideoFrame] | None]]:
        decoded = decode_packets(container, stream, ignore_errors=self._ignore_errors)
        # Without pts, the scan does not count packets before the first keyframe.
        if self.metadata.stream_pts:
            return decoded
        return itertools.dropwhile(lambda pair: not pair[0].is_keyframe, decoded)

    def _decode_concealed(self) -> Generator[tuple[int, VideoFrame]]:
        """Yields all frames with their indices, with lost frames replaced; raises MediaError if none can be decoded."""
        is_empty = True
        with open_container(self.path) as container:
            stream = cast(VideoStream, container.streams[self.metadata.video_index])
            decoded = drop_corrupt_frames(self._packets(container, stream))
            decoded = restamp_in_order(decoded, self.metadata.stream_pts)
            for index, frame in conceal_lost_frames(decoded, self.metadata, self._check_format, self._lost):
                is_empty = False
                yield index, frame
        if is_empty:
            raise MediaError(f"{self.path}: none of its {len(self.metadata.pts)} frames can be decoded")

    def _check_format(self, frame: VideoFrame, index: int) -> None:
        """Raises MediaError if the size, pixel format or range of a frame differs from the first frame."""
        metadata, form = self._coded, frame.format
        sideways = metadata.rotation % 180 == 90
        width, height = (frame.height, frame.width) if sideways else (frame.width, frame.height)
        full = {1: False, 2: True}.get(int(frame.color_range), metadata.color.full_range)
        change = ""
        if (width, height) != (metadata.width, metadata.height):
            change = f"the frame size changes from {metadata.width}x{metadata.height} to {width}x{height}"
        elif form.name != metadata.pix_fmt and not (self._parity is None and _is_compatible(form, metadata)):
            change = f"the pixel format changes from {metadata.pix_fmt} to {form.name}"
        elif is_yuv(form) and full != metadata.color.full_range:
            # H.264 decoders report only the range as changed, not the pixel format.
            change = f"the color range changes to {'full' if full else 'limited'}"
        if change:
            at = float((metadata.pts[index] - metadata.pts[0]) * metadata.time_base)
            raise MediaError(f"{self.path}: {change} at frame {index} ({at:.2f} s); {SPLIT_HINT}")

    def _to_image(self, frame: VideoFrame) -> Image:
        metadata = self._coded
        image = _upright(to_rgb(frame, metadata.color, self.path), self.metadata)
        if self.metadata.color != metadata.color:
            return tonemap.tone_map(
                image, metadata.color, metadata.mastering_peak or tonemap.DEFAULT_PEAK, self.metadata.depth
            )
        return image

    def _to_planar(self, frame: VideoFrame) -> Image:
        image = to_planar(frame, self._coded.color)
        return self._to_image(frame) if image is None else cast(Image, image)

    def _decoding_error(self, num_decoded: int, error: Exception | None = None) -> MediaError:
        pts = self.metadata.pts
        seconds = float((pts[min(num_decoded, len(pts) - 1)] - pts[0]) * self.metadata.time_base)
        reason = f" ({error_text(error)})" if error else ""
        hint = f"end={num_decoded} renders the frames before the damage, " if num_decoded else ""
        return MediaError(
            f"{self.path}: damaged: the first {num_decoded} of {len(pts)} frames could be decoded "
            f"({seconds:.1f} of {float(self.metadata.duration):.1f} s){reason}; {hint}"
            "ignore_errors=True repeats the frame before each that is lost"
        )


def _opacity(frame: VideoFrame, image: Image, metadata: VideoMetadata) -> Opacity | None:
    """The alpha of a frame; None for videos without. Frames without (empty ones in some GIFs) are opaque."""
    if not metadata.opacity:
        return None
    if not has_opacity(frame.format):
        return np.full(image.shape[:2], np.iinfo(image.dtype).max, image.dtype)
    opacity = _upright(opacity_of(frame), metadata)
    return to_uint8(opacity) if image.dtype == np.uint8 else to_uint16(opacity)


def _upright(coded: Image, metadata: VideoMetadata) -> Image:
    rotated = np.rot90(coded, metadata.rotation // 90)
    return np.ascontiguousarray(rotated[:, ::-1] if metadata.mirrored else rotated)


def _is_compatible(form: VideoFormat, metadata: VideoMetadata) -> bool:
    """Whether frames of this format convert to images of the same depth, with no alpha that the first frame lacks."""
    first = VideoFormat(metadata.pix_fmt)
    return (depth_of(form) <= 8) == (metadata.depth <= 8) and has_opacity(form) <= has_opacity(first)


def _interlacing_warnings(metadata: VideoMetadata, mode: str) -> Iterator[str]:
    if metadata.parity is None:
        return
    if mode == "auto":
        yield "is interlaced; deinterlaced by bwdif (deinterlace='off' leaves its fields as they are)"
    if mode == "off":
        yield "is interlaced; its fields are rendered as they are (deinterlace='bwdif' makes progressive frames)"


def _hdr_warnings(metadata: VideoMetadata, mode: str) -> Iterator[str]:
    name = metadata.color.hdr
    if name and mode == "auto":
        yield f"is HDR ({name}); the networks see its code values and the tags stay (hdr='tonemap' converts it to SDR)"
    if name and mode == "tonemap-auto":
        yield f"is HDR ({name}), which image files cannot signal; it becomes SDR (hdr='keep' keeps its code values)"
    if not name and mode == "tonemap":
        yield "is not HDR; hdr='tonemap' changes nothing"
