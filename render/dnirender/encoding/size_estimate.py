"""How many bytes a video stream will have, to the order of magnitude, before its first frame is rendered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from dnirender.encoding.encoders import VideoSpec


class _Quality(NamedTuple):
    """Bytes per pixel at `crf`, and the steps of it that halve them."""

    crf: float
    bytes_per_pixel: float
    halving: float


# Between day-to-night and painters on road.mp4 at 960x540, of which the second takes five times as much.
QUALITY = {
    "libx264": _Quality(17, 0.035, 4.5),
    "libx265": _Quality(17, 0.035, 4.5),
    "libvpx-vp9": _Quality(30, 0.024, 10),
    "libsvtav1": _Quality(28, 0.018, 10),
}
NOISE = 0.9  # bytes per pixel of video that is nearly lossless, which a lower crf hardly enlarges
LOSSY = 0.06  # bytes per pixel by other encoders
BULKY = {"ffv1": 1.5, "prores_ks": 0.7, "prores": 0.7, "mjpeg": 0.3, "dnxhd": 0.5, "huffyuv": 2.0, "utvideo": 2.0}
UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


def encoded_bytes(spec: VideoSpec, num_frames: int) -> float:
    """Bytes of `num_frames` frames: of the bit rate in the options, else by crf or qp, else of the encoder."""
    if "crf" not in spec.options and (rate := _bit_rate(spec.options)):
        return rate / 8 * float(num_frames / spec.rate)
    return spec.width * spec.height * num_frames * _bytes_per_pixel(spec)


def _bytes_per_pixel(spec: VideoSpec) -> float:
    quality, chosen = QUALITY.get(spec.codec), _number(spec.options.get("crf", spec.options.get("qp", "")))
    if quality is None or chosen is None:
        return BULKY.get(spec.codec, LOSSY)
    found = quality.bytes_per_pixel * 2 ** ((quality.crf - max(0.0, chosen)) / quality.halving)
    return found / (1 + found / NOISE)


def _bit_rate(options: Mapping[str, str]) -> float | None:
    """Bits per second, as FFmpeg reads them: 800k, 5M."""
    match = re.fullmatch(r"([\d.]+)([kKmMgG]?)", options.get("b", ""))
    number = _number(match[1]) if match else None
    return number * UNITS[match[2].lower()] if match and number else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
