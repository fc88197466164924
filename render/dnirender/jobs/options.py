"""The options of a job, in four groups, and the names by which callers pass them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dnirender.media.image_files import PICTURES, is_still
from dnirender.options import Flag, Options, offered, unknown_option
from dnirender.preset import PRESET_OPTIONS, Preset, read_renamed

# Rates of NTSC; 29.97 stands for 30000/1001.
NTSC = tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120))


def _position(value: Any) -> Any:
    """Converts a frame number to text, because positions are parsed from text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _rate(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction) or not math.isfinite(value):
        raise ValueError("expected a number of frames per second")
    if not 0 < value <= 1000:
        raise ValueError("expected more than 0 and at most 1000")
    return Fraction(value).limit_denominator(1001)


def _parse_rate(text: str) -> Fraction:
    """A rate as 25, 29.97 (which is 30000/1001) or 30000/1001. Raises ValueError."""
    rate = Fraction(text)
    near = min(NTSC, key=lambda known: abs(known - rate))
    return near if rate.denominator > 1 and abs(near - rate) < Fraction(1, 200) else rate.limit_denominator(1001)


def _constant_rate(value: Any) -> Any:
    if not isinstance(value, str) or value == "auto":
        return value if value == "auto" else _rate(value)
    try:
        return _rate(_parse_rate(value))
    except (ValueError, ZeroDivisionError):
        raise ValueError("expected a rate such as 25, 29.97 or 30000/1001, or auto") from None


def _tile(value: Any) -> Any:
    if value is None:
        return None
    sides = value if isinstance(value, tuple | list) and len(value) == 2 else (value,)
    if not all(isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= 16384 for side in sides):
        raise ValueError("expected a side from 1 to 16384, or (height, width)")
    return value if len(sides) == 1 else tuple(sides)


Position = Annotated[str, BeforeValidator(_position)]
Tile = int | tuple[int, int]


class DecodeOptions(Options):
    """Which part of the source is decoded, and how. `start` and `end` are positions in it, `end` exclusive."""

    start: Annotated[Position | None, Flag("input", text=str | None)] = Field(
        default=None, description="First frame to render: 48, 2s, 0:02 or 50%."
    )
    end: Annotated[Position | None, Flag("input", text=str | None)] = Field(
        default=None, description="Frame to stop before, in the same forms."
    )
    video_stream: Annotated[int | None, Flag("input"), Field(ge=0)] = Field(
        default=None, description="Number of the video stream to render, from 0.  [default: the main one]"
    )
    deinterlace: Annotated[Literal["auto", "off", "bwdif"], Flag("input")] = Field(
        default="auto", description="Deinterlace interlaced sources (auto), none, or all."
    )
    hdr: Annotated[Literal["auto", "keep", "tonemap"], Flag("input")] = Field(
        default="auto", description="Keep HDR (auto: with a warning), or tone-map it to SDR before the network."
    )
    ignore_errors: Annotated[bool, Flag("input", fingerprint=False)] = Field(
        default=False, description="Render damaged inputs; each lost frame repeats the one before it."
    )


class EngineOptions(Options):
    """What runs the networks. `tile` is a side or (height, width) in source pixels."""

    device: Annotated[str, Flag("speed")] = Field(
        default="auto",
        description="cpu, cuda, cuda:N, or auto for a GPU if there is one. With several, as cuda:0,cuda:1, each takes "
        "segments of its own.",
    )
    dtype: Annotated[Literal["auto", "fp32", "bf16", "fp16"], Flag("speed")] = Field(
        default="auto", description="Precision of the networks; auto measures the error of bf16 and fp16."
    )
    backend: Annotated[Literal["auto", "torch", "openvino"], Flag("speed")] = Field(
        default="auto", description="What runs the networks on a CPU; auto measures which is faster."
    )
    batch: Annotated[int | None, Flag("speed", fingerprint=False), Field(ge=1, le=1024)] = Field(
        default=None, description="Frames per pass.  [default: 1 on CPU, 4 on CUDA]"
    )
    threads: Annotated[int | None, Flag("speed"), Field(ge=1, le=1024)] = Field(
        default=None, description="CPU threads of the networks."
    )
    cache: Annotated[bool, Flag("speed", fingerprint=False)] = Field(
        default=True, description="Use and remember what was measured on this machine."
    )
    tile: Annotated[Tile | None, BeforeValidator(_tile), Flag("speed", text=int | None)] = Field(
        default=None, description="Side of tiles, in source pixels.  [default: no tiles, unless memory needs them]"
    )

    @property
    def devices(self) -> tuple[str, ...]:
        """The names in `device`."""
        return tuple(name.strip() for name in self.device.split(","))


class ResumeOptions(Options):
    """The segments on the disk, and what happens to them."""

    segment_frames: Annotated[int | None, Flag("safety", fingerprint=False, old=("segment",)), Field(ge=1)] = Field(
        default=None, description="Frames per segment, the unit of resuming.  [default: about 10 s of work]"
    )
    restart: Annotated[bool, Flag("safety", fingerprint=False)] = Field(
        default=False, description="Do not resume: discard the segments of earlier runs."
    )
    keep_partial: Annotated[bool, Flag("safety", fingerprint=False)] = Field(
        default=False, description="When stopped, write the finished frames to STEM.partial.EXT."
    )


class EncodeOptions(Options):
    """How the output is written, in addition to the settings of the preset."""

    fps: Annotated[Fraction | None, BeforeValidator(_rate), Flag("output", text=float | None)] = Field(
        default=None, description="Frame rate of GIF, WebP and APNG, and of videos from still images."
    )
    cfr: Annotated[
        Fraction | Literal["auto"] | None, BeforeValidator(_constant_rate), Flag("output", text=str | None)
    ] = Field(
        default=None,
        description="Constant frame rate for editors: 25, 29.97, auto. Frames are repeated or dropped.  "
        "[default: the source's own times]",
    )
    boomerang: Annotated[bool, Flag("timeline")] = Field(
        default=False, description="Play forward, then backward; drops the audio."
    )
    strict: Annotated[bool, Flag("safety", fingerprint=False)] = Field(
        default=False, description="Fail if the output format cannot store all streams and properties of the input."
    )
    overwrite: Annotated[bool, Flag("safety", names=("-y", "--overwrite"), fingerprint=False, old=("yes",))] = Field(
        default=False, description="Overwrite existing outputs."
    )


GROUPS: dict[str, type[Options]] = {
    "decode": DecodeOptions,
    "engine": EngineOptions,
    "resume": ResumeOptions,
    "encode": EncodeOptions,
}
JOB_OPTIONS = {name: (group, found) for group, model in GROUPS.items() for name, found in offered(model).items()}
"""By option: the group, and (field's name, field, flag)."""
SHEET_OPTIONS = (
    *(
        "style",
        "weights_key",
        "strength",
        "keep_colors",
        "repair",
        "extrapolate",
        "tracks",
        "video_stream",
        "ignore_errors",
        "deinterlace",
        "hdr",
        "width",
        "height",
    ),
    *("mask", "subject", "sky", "luma", "depth", "depth_range", "range_softness"),
    *("mask_channel", "mask_invert", "mask_grow", "mask_feather"),
    *(name for name, (group, _) in JOB_OPTIONS.items() if group == "engine" and name != "batch"),
    "overwrite",
)
"""Options of a contact sheet."""
SHEET_FRAMES = ("0", "25%", "50%", "75%", "end")
"""What it shows by default of a video."""
RENAMED = {old: name for name, (_, (_, _, flag)) in (*PRESET_OPTIONS.items(), *JOB_OPTIONS.items()) for old in flag.old}
"""Options of the version before, and what they are called now."""


def split_options(values: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Sorts options by name into fields of the preset's sections and of the job's groups. UsageError: unknown."""
    sections: dict[str, dict[str, Any]] = {}
    groups: dict[str, dict[str, Any]] = {}
    for name, value in read_renamed(dict(values), RENAMED).items():
        if name in JOB_OPTIONS:
            group, (field, _, _) = JOB_OPTIONS[name]
            groups.setdefault(group, {})[field] = value
        elif name in PRESET_OPTIONS:
            section, (field, _, _) = PRESET_OPTIONS[name]
            sections.setdefault(section, {})[field] = value
        else:
            raise unknown_option(name, [*JOB_OPTIONS, *PRESET_OPTIONS])
    return sections, groups


def check_options(preset: Preset, values: Mapping[str, Any]) -> Preset:
    """The preset with these options. Raises UsageError for one that is unknown or out of range, without opening or
    importing anything."""
    sections, groups = split_options(values)
    for group, fields in groups.items():
        GROUPS[group](**fields)
    return apply_to_preset(preset, sections)


def apply_to_preset(preset: Preset, sections: Mapping[str, Mapping[str, Any]]) -> Preset:
    """The preset with these fields changed; encoder options are merged with its own."""
    changed = {name: dict(fields) for name, fields in sections.items()}
    if "options" in changed.get("encoding", {}):
        changed["encoding"]["options"] = preset.encoding.options | changed["encoding"]["options"]
    return preset.override(changed) if changed else preset


def default_output(source: Path, name: str, is_constant: bool) -> Path:
    """`<stem>.<name>.mp4` in the current folder. Of a still image whose alpha is constant it is a picture: of the same
    format if it can be written, else PNG."""
    if not (is_constant and is_still(source)):
        return Path(f"{source.stem}.{name}.mp4")
    return Path(f"{source.stem}.{name}{source.suffix if source.suffix.lower() in PICTURES else '.png'}")
