"""Encoders: their defaults, the pixel formats and sizes they take, and whether one works here at all."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import av.error

from dnirender.errors import UsageError
from dnirender.files import error_text
from dnirender.media.colorspace import ColorSpec
from dnirender.media.containers import create_container
from dnirender.media.pixel_formats import carries_opacity, sampling_of

CRF = {"libx264": 17, "libx265": 20, "libvpx-vp9": 30, "libsvtav1": 28}
X265 = "log-level=error:info=0"  # what it says of the machine in its header would keep others from going on
CODEC_OPTIONS: dict[str, dict[str, str]] = {
    # Beside medium at crf 18: a third of its CPU time, the same SSIM, 0.3 dB less PSNR, 7 % larger files
    # (benchmarks/encoding.py).
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "medium", "x265-params": X265},
    "libvpx-vp9": {"deadline": "good", "cpu-used": "3", "row-mt": "1"},
}
RATES = {"qp", "b", "crf"}  # options that settle the quality
ODD_SIZES = {"libvpx-vp9", "ffv1"}  # these take odd sizes whatever the chroma sampling


@dataclass(frozen=True)
class VideoSpec:
    """How pixels become a stream. `options` are the encoder's own, crf among them."""

    codec: str
    pix_fmt: str
    width: int
    height: int
    color: ColorSpec
    sample_aspect_ratio: Fraction
    options: Mapping[str, str]
    rate: Fraction


def encoder_options(codec: str, crf: int | None, options: Mapping[str, str]) -> dict[str, str]:
    """The encoder's options: ours, then crf, then the user's, each overriding what came before."""
    chosen = dict(CODEC_OPTIONS.get(codec, {}))
    if crf is None and not RATES & options.keys():  # beside a crf the encoders would not look at these
        crf = CRF.get(codec)
    if crf is not None:
        chosen["crf"] = str(crf)
    return chosen | dict(options)


def choose_pix_fmt(
    codec: str, sampling: tuple[int, int] | None, depth: int, asked: str | None, opacity: bool = False
) -> str:
    """The format asked for, else the source's chroma sampling and depth, else the nearest that `codec` takes.

    With `opacity` one that carries it comes before all others.
    """
    formats = [form.name for form in _encoder(codec).video_formats or ()]
    if asked and asked not in formats:
        raise UsageError(f"--pix-fmt {asked}: {codec} takes {', '.join(formats)}")
    if asked:
        return asked
    names = {(2, 2): ["420"], (2, 1): ["422", "420"], (1, 1): ["444", "422", "420"]}
    near = names.get(sampling or (2, 2), ["444", "420"])
    depths = ("12le", "10le", "") if depth > 10 else ("10le", "12le", "") if depth > 8 else ("", "10le")
    carrying = _opacity_formats(codec, formats) if opacity else []
    layouts = [f"yuva{name}p{bits}" for bits in depths for name in dict.fromkeys([*near, "422", "444", "420"])]
    for name in [*layouts, *carrying]:
        if name in carrying:
            return name
    for name in [f"yuv{name}p{bits}" for bits in depths for name in near]:
        if name in formats:
            return name
    return "yuv422p10le" if "yuv422p10le" in formats else next(iter(formats), "yuv420p")


def _opacity_formats(codec: str, formats: Sequence[str]) -> list[str]:
    """Those of an encoder's formats in which it takes opacity; two of them list more than they can be opened with."""
    usable = {"libx265": set[str](), "libvpx-vp9": {"yuva420p"}}.get(codec, set(formats))
    return [name for name in formats if name in usable and carries_opacity(name)]


def container_keeps_opacity(codec: str, container: str) -> bool:
    """Whether opacity that is encoded is stored: VP8's and VP9's lies beside their packets, where MP4 has no place."""
    return container in ("matroska", "webm") or not codec.startswith("libvpx")


def even_size(codec: str, pix_fmt: str, width: int, height: int) -> tuple[int, int]:
    """The size that is encoded: most encoders round sizes up to whole chroma samples."""
    across, down = (1, 1) if codec in ODD_SIZES else sampling_of(av.VideoFormat(pix_fmt)) or (1, 1)
    return -(-width // across) * across, -(-height // down) * down


def check_encoder(spec: VideoSpec) -> None:
    """Opens the encoder with these very settings: names in a table are no promise (an nvenc without a driver).

    Raises UsageError for settings that it refuses and for options that it does not know.
    """
    context = cast(av.VideoCodecContext, av.CodecContext.create(_encoder(spec.codec), "w"))
    configure(context, spec)
    try:
        context.open(strict=False)
    except (av.error.FFmpegError, ValueError) as error:
        options = " ".join(f"{key}={value}" for key, value in spec.options.items())
        raise UsageError(
            f"--codec {spec.codec}: cannot encode {spec.width}x{spec.height} {spec.pix_fmt}"
            f"{' with ' + options if options else ''} ({error_text(error)})"
        ) from error
    unknown = set(context.options) & set(spec.options)
    if unknown:
        raise UsageError(f"{spec.codec} has no option {', '.join(sorted(unknown))}; see ffmpeg -h encoder={spec.codec}")


def check_container(spec: VideoSpec, container: str) -> None:
    """Writes a header with the encoder's stream to memory; UsageError where the container cannot hold it."""
    out = create_container(io.BytesIO(), container)
    try:
        configure(out.add_stream(spec.codec, rate=spec.rate).codec_context, spec)
        out.start_encoding()
    except (av.error.FFmpegError, ValueError) as error:
        raise UsageError(
            f"--codec {spec.codec}: {container} cannot hold it; choose another codec or extension"
        ) from error
    finally:
        # A scratch file without packets; a muxer may complain of that, which says nothing about the header.
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            out.close()


def keeps_shape(spec: VideoSpec, container: str) -> bool:
    """Whether the output says that its pixels are not square: in Matroska only some encoders' streams do."""
    return container in ("mp4", "mov") or spec.codec in ("libx264", "libx265") or spec.sample_aspect_ratio == 1


def configure(context: Any, spec: VideoSpec) -> None:
    """Sets size, rate, shape, color and options of an encoder that is not open yet; it counts pts in frames."""
    context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pix_fmt
    context.time_base, context.framerate = 1 / spec.rate, spec.rate
    context.sample_aspect_ratio = spec.sample_aspect_ratio
    if not av.VideoFormat(spec.pix_fmt).is_rgb:
        context.color_range = 2 if spec.color.full_range else 1
        context.colorspace = spec.color.matrix
    context.color_primaries, context.color_trc = spec.color.primaries, spec.color.transfer
    context.options = dict(spec.options)
    if spec.codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: by default it prints its settings to standard error


def _encoder(codec: str) -> av.Codec:
    try:
        found = av.Codec(codec, "w")
    except ValueError as error:
        raise UsageError(
            f"--codec {codec}: unknown encoder; libx264, libx265, libvpx-vp9, libsvtav1, ffv1 are there"
        ) from error
    if found.type != "video":
        raise UsageError(f"--codec {codec}: encodes {found.type}, expected a video encoder")
    return found
