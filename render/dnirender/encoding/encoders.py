"""Video encoders: default options, supported pixel formats and sizes, and a check that an encoder works."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.error
import cv2
import numpy as np
from av.video.stream import VideoStream

from dnirender.errors import UsageError
from dnirender.files import error_text
from dnirender.media.colorspace import KR_KB, UNSPECIFIED, ColorSpec, guess_matrix
from dnirender.media.containers import create_container, logged_errors
from dnirender.media.pixel_formats import carries_opacity, sampling_of, to_frame

CRF = {"libx264": 17, "libx265": 20, "libvpx-vp9": 30, "libsvtav1": 28}
X265_PARAMS = "log-level=error:info=0"  # the info SEI names the machine, so that no other could resume
X264_PARAMS = "asm=AVX2"  # x264's AVX-512 code is not deterministic on small frames; AVX2 takes no more time
AVX2 = 11  # OpenCV's number of the CPU feature
CODEC_OPTIONS: dict[str, dict[str, str]] = {
    # Compared to medium at crf 18: a third of the CPU time, the same SSIM, 0.3 dB less PSNR, 7 % larger files
    # (benchmarks/encoding.py).
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "medium", "x265-params": X265_PARAMS},
    "libvpx-vp9": {"deadline": "good", "cpu-used": "3", "row-mt": "1"},
}
USUAL = ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "prores_ks", "ffv1")
_MEANT = {
    "(lib)?(x264|h264|avc1?|mpeg4avc)": ("libx264", "h264_videotoolbox", "libopenh264"),
    "(lib)?(x265|h265|hevc|hvc1|hev1)": ("libx265", "hevc_videotoolbox"),
    "(lib)?(vpx?9|vpx|webm)": ("libvpx-vp9",),
    "(lib)?vpx?8": ("libvpx",),
    "(lib)?(svt|svtav1|aom|aomav1|rav1e|av1|av01)": ("libsvtav1", "libaom-av1", "librav1e"),
    "(apple)?prores(422|4444|hq|lt|proxy|ks)*": ("prores_ks",),
    "dnx(hr|hd)?[a-z]*": ("dnxhd",),
    "(lib)?(xvid|divx|mpeg4.*)": ("mpeg4",),
    "(h264)?nvenc(h264)?": ("h264_nvenc",),
    "nvenc(hevc|h265)|(hevc|h265)nvenc": ("hevc_nvenc",),
    "lossless": ("ffv1",),
}
"""Encoders, best first, by what people write for them."""
RATE_OPTIONS = {"qp", "b", "crf"}  # options that set the quality or the bit rate
DNXHR_PROFILES = {"yuv422p10le": "dnxhr_hqx", "yuv444p10le": "dnxhr_444", "gbrp10le": "dnxhr_444"}
FULL_RANGE = {"mjpeg"}  # encoders that refuse limited range
TASKS = Path("/proc/self/task")  # the threads of this process, on Linux
ODD_SIZES = {"libvpx-vp9", "ffv1"}  # these accept odd sizes with any chroma subsampling


@dataclass(frozen=True)
class VideoSpec:
    """Settings of a video stream. `options` are encoder options, including crf; `rate` is frames per second."""

    codec: str
    pix_fmt: str
    width: int
    height: int
    color: ColorSpec
    sample_aspect_ratio: Fraction
    options: Mapping[str, str]
    rate: Fraction


def encoder_options(
    codec: str, crf: int | None, options: Mapping[str, str], pix_fmt: str | None = None
) -> dict[str, str]:
    """Merges encoder options: our defaults, then crf, then the user's; later ones override earlier ones.

    DNxHD has a few sizes and bit rates only: unless the options choose one of them, it becomes DNxHR, of the profile
    for `pix_fmt`.

    On CPUs with AVX2, x264 gets `X264_PARAMS` unless x264-params set `asm`: equal frames give equal packets then.
    """
    merged = dict(CODEC_OPTIONS.get(codec, {}))
    if crf is None and not RATE_OPTIONS & options.keys():  # encoders ignore these when crf is set
        crf = CRF.get(codec)
    if crf is not None:
        merged["crf"] = str(crf)
    if codec == "dnxhd" and not {"b", "profile"} & options.keys():
        merged["profile"] = DNXHR_PROFILES.get(pix_fmt or "", "dnxhr_hq")
    merged |= options
    params = merged.get("x264-params", "")
    if codec == "libx264" and "asm=" not in params and cv2.checkHardwareSupport(AVX2):
        merged["x264-params"] = ":".join(filter(None, (params, X264_PARAMS)))
    return merged


def choose_pix_fmt(
    codec: str, sampling: tuple[int, int] | None, depth: int, requested: str | None, opacity: bool = False
) -> str:
    """The pixel format to encode: the requested one, else the nearest to the source that `codec` supports.

    `sampling` is the source's chroma subsampling (across, down), None for RGB or gray; `depth` is bits per channel.
    With `opacity`, formats with an alpha channel are preferred.

    Raises:
        UsageError: `codec` is not a video encoder or does not support `requested`.
    """
    formats = [form.name for form in _find_encoder(codec).video_formats or ()]
    if requested and requested not in formats:
        raise UsageError(f"pix_fmt={requested!r}: {codec} supports {', '.join(formats)}")
    if requested:
        return requested
    nearest = {(2, 2): ["420"], (2, 1): ["422", "420"], (1, 1): ["444", "422", "420"]}
    samplings = nearest.get(sampling or (2, 2), ["444", "420"])
    depths = ("12le", "10le", "") if depth > 10 else ("10le", "12le", "") if depth > 8 else ("", "10le")
    with_opacity = _opacity_formats(codec, formats) if opacity else []
    candidates = [f"yuva{name}p{bits}" for bits in depths for name in dict.fromkeys([*samplings, "422", "444", "420"])]
    for name in [*candidates, *with_opacity]:
        if name in with_opacity:
            return name
    for names in (samplings, ("422", "444", "420")):
        for name in [f"yuv{name}p{bits}" for bits in depths for name in names]:
            if name in formats:
                return name
    return next(iter(formats), "yuv420p")


def _opacity_formats(codec: str, formats: Sequence[str]) -> list[str]:
    """The formats in which an encoder stores alpha; libx265 and libvpx-vp9 list formats that they cannot open."""
    usable = {"libx265": set[str](), "libvpx-vp9": {"yuva420p"}}.get(codec, set(formats))
    return [name for name in formats if name in usable and carries_opacity(name)]


def container_keeps_opacity(codec: str, container: str) -> bool:
    """Whether the container stores the alpha channel: VP8 and VP9 put it in packet side data, which MP4 lacks."""
    return container in ("matroska", "webm") or not codec.startswith("libvpx")


def even_size(codec: str, pix_fmt: str, width: int, height: int) -> tuple[int, int]:
    """The encoded (width, height): most encoders need a multiple of the chroma subsampling, so it is rounded up."""
    across, down = (1, 1) if codec in ODD_SIZES else sampling_of(av.VideoFormat(pix_fmt)) or (1, 1)
    return -(-width // across) * across, -(-height // down) * down


def encodable_color(codec: str, color: ColorSpec) -> ColorSpec:
    """The color with the range that the encoder takes."""
    return replace(color, full_range=color.full_range or codec in FULL_RANGE)


def check_encoder(spec: VideoSpec) -> None:
    """Opens the encoder with these settings: that it is listed does not mean it works (nvenc without a driver).

    Raises:
        UsageError: the encoder rejects the settings or does not know an option.
    """
    context = cast(av.VideoCodecContext, av.CodecContext.create(_find_encoder(spec.codec), "w"))
    configure(context, spec)
    messages = list[str]()
    try:
        with logged_errors() as messages, usual_scheduling():
            context.open(strict=False)
    except (av.error.FFmpegError, ValueError) as error:
        reason = "; ".join(messages[:2]) or error_text(error)
        options = " ".join(f"{key}={value}" for key, value in spec.options.items())
        raise UsageError(
            f"codec={spec.codec!r}: cannot encode {spec.width}x{spec.height} {spec.pix_fmt}"
            f"{' with ' + options if options else ''} ({reason})"
        ) from error
    unknown = set(context.options) & set(spec.options)
    if unknown:
        raise UsageError(f"{spec.codec} has no option {', '.join(sorted(unknown))}; see ffmpeg -h encoder={spec.codec}")


def check_container(spec: VideoSpec, container: str) -> ColorSpec:
    """Writes a file with one frame to memory, to its end, and returns the color that its decoder reports.

    Matrix and range differ from those of `spec` where neither the codec nor the container stores them (DNxHR is BT.709
    by definition, MJPEG full range): then the frames must be encoded with what is returned.

    Raises:
        UsageError: the container does not support the codec, or the encoder fails at the first frame.
    """
    file = io.BytesIO()
    out = create_container(file, container)
    messages = list[str]()
    try:
        with logged_errors() as messages, usual_scheduling():
            stream = cast(VideoStream, out.add_stream(spec.codec, rate=spec.rate))
            configure(stream.codec_context, spec, container)
            black = np.zeros((spec.height, spec.width, 3), np.uint8)
            frame = to_frame(black, spec.pix_fmt, spec.color)
            frame.pts, frame.time_base = 0, 1 / spec.rate
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                packet.dts = packet.pts  # x265 leaves the dts unset if it is flushed after a single frame
                out.mux_one(packet)
            out.close()
    except (av.error.FFmpegError, ValueError) as error:
        reason = "; ".join(messages[:2]) or error_text(error)
        raise UsageError(
            f"codec={spec.codec!r}: {container} does not support it; choose another codec or extension ({reason})"
        ) from error
    finally:
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            out.close()
    return _decoded_color(file, spec.color)


def _decoded_color(file: io.BytesIO, intended: ColorSpec) -> ColorSpec:
    """The color of the first frame of a file in memory, as players decode it; `intended` if there is no decoder."""
    file.seek(0)
    with contextlib.suppress(av.error.FFmpegError, ValueError), av.open(file, "r") as container:
        frame = next(container.decode(video=0), None)
        if frame is None or frame.format.is_rgb:
            return intended
        matrix, codes = int(frame.colorspace), int(frame.color_range)
        matrix = guess_matrix(frame.height) if matrix == UNSPECIFIED else matrix
        full = codes == 2 or frame.format.name.startswith("yuvj")
        # A matrix has several codes: BT.601 is 5 and 6.
        same = KR_KB.get(matrix, KR_KB[intended.matrix]) == KR_KB[intended.matrix]
        return replace(intended, matrix=intended.matrix if same else matrix, full_range=full)
    return intended


def keeps_shape(spec: VideoSpec, container: str) -> bool:
    """Whether the output stores the sample aspect ratio: in Matroska only the streams of some encoders do."""
    return container in ("mp4", "mov") or spec.codec in ("libx264", "libx265") or spec.sample_aspect_ratio == 1


def configure(context: Any, spec: VideoSpec, container: str = "") -> None:
    """Sets size, rate, aspect ratio, color and options of an encoder that is not open yet; its pts count frames.

    `container` is the format of the file that its stream is added to.
    """
    context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pix_fmt
    context.time_base, context.framerate = 1 / spec.rate, spec.rate
    context.sample_aspect_ratio = spec.sample_aspect_ratio
    if not av.VideoFormat(spec.pix_fmt).is_rgb:
        context.color_range = 2 if spec.color.full_range else 1
        context.colorspace = spec.color.matrix
    context.color_primaries, context.color_trc = spec.color.primaries, spec.color.transfer
    context.options = dict(spec.options)
    if container in ("mp4", "mov") and context.codec.canonical_name == "hevc":
        context.codec_tag = "hvc1"  # FFmpeg writes hev1, which Apple's players do not open
    if spec.codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: by default it prints its settings to stderr


@contextlib.contextmanager
def usual_scheduling() -> Generator[None]:
    """Takes real-time priority from the threads of this process that get it meanwhile. SVT-AV1 gives it to all of them
    where it may, as root, and then everything else on the machine waits for a render. Linux only."""
    if not TASKS.is_dir():
        yield
        return
    before, usual = _real_time_threads(), (os.sched_getscheduler(0), os.sched_getparam(0))
    try:
        yield
    finally:
        for thread in _real_time_threads() - before:
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setscheduler(thread, *usual)


def _real_time_threads() -> set[int]:
    found = set[int]()
    for task in TASKS.iterdir():
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(int(task.name)) in (os.SCHED_FIFO, os.SCHED_RR):
                found.add(int(task.name))
    return found


def encoder_name(codec: str) -> str:
    """The name of the encoder behind the name of an encoder or of a format: h264 is libx264 where that is there.

    Raises:
        UsageError: there is none, or it does not encode video.
    """
    return _find_encoder(codec).name


def nearest_encoder(text: str) -> str | None:
    """The video encoder of this FFmpeg that a name is most likely meant for, None where none is near."""
    word = re.sub(r"[^a-z0-9]", "", text.lower())
    meant = next((names for pattern, names in _MEANT.items() if re.fullmatch(pattern, word)), ())
    close = difflib.get_close_matches(text.lower()[:64], sorted(av.codecs_available), 5, cutoff=0.7)
    return next((name for name in (*meant, *close) if _encodes_video(name)), None)


def _encodes_video(name: str) -> bool:
    try:
        encoder = av.Codec(name, "w")
    except ValueError:
        return False
    return encoder.type == "video" and encoder.name == name


def _find_encoder(codec: str) -> av.Codec:
    try:
        encoder = av.Codec(codec, "w")
    except ValueError as error:
        known = nearest_encoder(codec)
        hint = f"did you mean {known}?" if known else f"choose for example {', '.join(USUAL)}"
        raise UsageError(f"codec={codec!r}: unknown encoder; {hint}") from error
    if encoder.type != "video":
        raise UsageError(f"codec={codec!r}: encodes {encoder.type}, expected a video encoder")
    return encoder
