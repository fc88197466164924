"""A job: input, output, preset and options, validated when it is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self, cast

from dnirender.encoding.animation import FORMATS
from dnirender.encoding.image_sequence import is_pattern
from dnirender.errors import UsageError
from dnirender.jobs.options import (
    DecodeOptions,
    EncodeOptions,
    EngineOptions,
    ResumeOptions,
    apply_to_preset,
    default_output,
    split_options,
)
from dnirender.media.image_files import PICTURES
from dnirender.preset import DEFAULT_PRESET, Preset
from dnirender.preset_styles import STYLE_PRESET
from dnirender.timeline.easing import Easing
from dnirender.timeline.timeline import Timeline
from dnirender.timeline.tracks import MAIN
from dnirender.timeline_settings import STILL_RATE

Keyframes = str | Timeline | Mapping[Any, Any] | Sequence[Sequence[Any]]
"""The command line's text, a Timeline, values by position, or keys as (position, value[, easing])."""


@dataclass(frozen=True)
class Job:
    """A render of one input.

    own_timeline: replaces the preset's if it cannot be written as text
    mask_arrays: replace the preset's masks, by the endpoints that they place, "" for all of the timeline
    one_frame: whether one frame is rendered: a WebP is then a picture, and panels have no plot; `make_plan` sets it
    """

    input: Path
    output: Path
    preset: Preset
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    resume: ResumeOptions = field(default_factory=ResumeOptions)
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    own_timeline: Timeline | None = None
    mask_arrays: Mapping[str, Any] = field(default_factory=dict[str, Any])
    one_frame: bool = False

    @property
    def timeline(self) -> Timeline:
        """The timeline that is rendered."""
        return self.own_timeline or self.preset.timeline.parsed()

    @property
    def timelines(self) -> dict[str, Timeline]:
        """The timeline, as MAIN, and those of groups of layers by the pattern of their tensors' names."""
        return {MAIN: self.timeline, **self.preset.timeline.parsed_tracks()}

    @property
    def numbered(self) -> bool:
        """Whether the output is a pattern of numbered images."""
        return is_pattern(self.output)

    @property
    def animated(self) -> bool:
        """Whether the output is a GIF, APNG or WebP, but for a WebP of one frame."""
        suffix = self.output.suffix.lower()
        return suffix in FORMATS and not (self.one_frame and suffix in PICTURES)

    @property
    def pictures(self) -> bool:
        """Whether the output is a picture, or a pattern of numbered ones."""
        return self.output.suffix.lower() in PICTURES and not self.animated

    @property
    def is_constant(self) -> bool:
        """Whether a still image is shown for one frame."""
        return self.still_frames(STILL_RATE) == 1 if self.own_timeline else self.preset.timeline.is_constant

    def still_frames(self, rate: Fraction) -> int:
        """Number of frames to show a still image for, at `rate` per second. UsageError: alpha depends on a clip."""
        if self.own_timeline is None:
            return self.preset.timeline.still_frames(rate)
        return max(timeline.num_frames(rate) for timeline in self.timelines.values())

    def override(self, **options: Any) -> Self:
        """The job with other options, by name. UsageError: an unknown option, or a value out of range."""
        sections, groups = split_options(options)
        changed = {name: getattr(self, name).override(values) for name, values in groups.items()}
        return replace(self, preset=apply_to_preset(self.preset, sections), **changed)


def make_job(
    input: str | Path,
    output: str | Path | None = None,
    preset: str | Path | Preset = DEFAULT_PRESET,
    *,
    keyframes: Keyframes | None = None,
    easing: str | Callable[[float], float] | None = None,
    **options: Any,
) -> Job:
    """A job with options by name, as on the command line with underscores; None means the default.

    `output` defaults to `<stem>.<preset>.mp4` in the current folder, for one frame of a still image to a picture there.
    `easing` may be a function from 0..1 to 0..1.
    `style`, one picture or several, has the preset "style" where none is named.
    `mask` may be a file or an array, [h, w] or [n, h, w] in 0..1, a list of these, or a dict of them by endpoint.
    UsageError: an unknown option or a value out of range, by name, with what was expected. PresetError: the preset.
    """
    style = options.pop("style", None)
    if style and preset == DEFAULT_PRESET:
        preset = STYLE_PRESET
    chosen = preset if isinstance(preset, Preset) else Preset.load(preset)
    if style:
        chosen = apply_to_preset(chosen, {"network": {"style": style}})
    name = Path(preset).stem if isinstance(preset, str | Path) else re.sub(r"[^\w.-]+", "-", chosen.name).lower()
    job = Job(Path(input), Path(output or ""), chosen)
    options, arrays = _split_masks(options, chosen.endpoints)
    job = replace(job, mask_arrays=arrays)
    text = keyframes if isinstance(keyframes, str) or keyframes is None else None
    values = {"keyframes": text, "easing": easing if isinstance(easing, str) else None, **options}
    if keyframes is not None and text is None and not isinstance(keyframes, Timeline):
        keys = keyframes.items() if isinstance(keyframes, Mapping) else keyframes
        values["keyframes"] = ", ".join(_key_text(key) for key in keys)
    job = job.override(**{key: value for key, value in values.items() if value is not None})
    if isinstance(keyframes, Timeline):
        job = replace(job, own_timeline=keyframes)
    elif easing is not None and not isinstance(easing, str):
        job = replace(job, own_timeline=replace(job.timeline, easing=Easing(_curve_name(easing), easing)))
    return job if output is not None else replace(job, output=default_output(job.input, name, job.is_constant))


def _split_masks(options: dict[str, Any], endpoints: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options with masks in files as texts, and masks in memory by the endpoint that they place."""
    mask = options.get("mask")
    if mask is None:
        return options, {}
    if isinstance(mask, Mapping):
        named = list(cast("Mapping[Any, Any]", mask).items())
    else:
        several = list(cast("Sequence[Any]", mask)) if isinstance(mask, list | tuple) else [mask]
        named = [("", value) for value in several]
    files = [(name, value) for name, value in named if isinstance(value, str | Path)]
    if files and len(files) < len(named):
        raise UsageError("mask: expected files or arrays, got both")
    if files:
        return {**options, "mask": tuple(f"{name}={file}" if name else str(file) for name, file in files)}, {}
    if len(named) > 1 and not isinstance(mask, Mapping):
        if len(named) != len(endpoints):
            known = ", ".join(endpoints)
            raise UsageError(f"mask: got {len(named)} arrays, expected one, one for each endpoint ({known}), or a dict")
        named = [(name, value) for name, (_, value) in zip(endpoints, named, strict=True)]
    return {key: value for key, value in options.items() if key != "mask"}, dict(named)


def _key_text(key: Sequence[Any]) -> str:
    if isinstance(key, str) or not 2 <= len(key) <= 3:
        raise UsageError(f"keyframes: expected (position, value) or (position, value, easing), got {key!r}")
    position, value, *easing = key
    return f"{position}:{value}" + "".join(f"@{name}" for name in easing)


def _curve_name(curve: Callable[[float], float]) -> str:
    """A name that identifies the curve in the fingerprint of a job."""
    return "curve " + " ".join(f"{curve(step / 16):.6g}" for step in range(17))
