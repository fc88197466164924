"""The section of a preset that says when alpha is what."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dnirender.errors import TimelineError, UsageError
from dnirender.options import Flag, parse_pairs
from dnirender.timeline.audio import AudioLevel, parse_audio
from dnirender.timeline.cuts import names_cuts
from dnirender.timeline.easing import parse_easing
from dnirender.timeline.noise import NoiseRange, parse_noise
from dnirender.timeline.pace import lines
from dnirender.timeline.timeline import Timeline
from dnirender.timeline.tracks import track_error

STILL_RATE = Fraction(24)
"""Frames per second of a still image, where nothing else is asked for."""


class Section(BaseModel):
    """A section of a preset: frozen, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TimelineSettings(Section):
    """When alpha is what."""

    keyframes: Annotated[
        str, Flag("timeline", names=("-k", "--keyframes"), parse=lambda text: text.removeprefix("="))  # -k=0:0
    ] = Field(
        "0:0, end:1",
        description="POSITION:VALUE[@EASING], separated by commas: 0:0,120:1 or 0:day,2.5s:dusk@smooth,end:night.",
    )
    easing: Annotated[str, Flag("timeline")] = Field(
        "linear", description="Easing of keyframes without one, such as smooth or easeInOutCubic."
    )
    loop: Annotated[Literal["none", "repeat", "ping-pong"], Flag("timeline")] = Field(
        "none", description="What follows the last keyframe: none holds its value."
    )
    extrapolate: Annotated[bool, Flag("timeline")] = Field(
        False, description="Allow values outside 0..1 and negative weights."
    )
    pace: Annotated[Literal["linear", "perceptual"], Flag("timeline")] = Field(
        "linear",
        description="perceptual: move keyframes' values between keys so that equal times bring equal change, measured "
        "on the clip.",
    )
    beat: Annotated[str | None, Flag("timeline", metavar="VALUE")] = Field(
        None,
        description="A value such as an endpoint's name to rise to at every beat of the clip's sound, from the first "
        "endpoint; in place of keyframes.",
    )
    beat_attack: Annotated[float, Flag("timeline", metavar="SECONDS")] = Field(
        0.05, ge=0.001, le=60, description="Seconds from the first endpoint to the value of a beat."
    )
    beat_decay: Annotated[float, Flag("timeline", metavar="SECONDS")] = Field(
        0.4, ge=0.001, le=60, description="Seconds back to the first endpoint after a beat."
    )
    snap_to_cuts: Annotated[bool, Flag("timeline")] = Field(
        False, description="Move keys that are within half a second of a cut between scenes to it."
    )
    tracks: Annotated[
        Annotated[dict[Annotated[str, Field(min_length=1, max_length=200)], str], Field(max_length=16)],
        Flag(
            "timeline",
            names=("--track",),
            metavar="LAYERS=KEYFRAMES",
            text=list[str],
            parse=lambda texts: parse_pairs("tracks", texts, "LAYERS=KEYFRAMES, such as 'body.0.*=0:0,2s:1'"),
        ),
    ] = Field(
        default_factory=dict[str, str],
        description="Keyframes of their own for layers, by a pattern of tensor names: 'body.*=0:0,60:1'; repeat.",
    )

    @field_validator("keyframes", mode="before")
    @classmethod
    def _as_text(cls, keyframes: Any) -> Any:
        """A mapping from positions to values, as Deforum's JSON is in YAML, as text."""
        if not isinstance(keyframes, dict):
            return keyframes
        return ", ".join(f"{key}:{value}" for key, value in cast("dict[Any, Any]", keyframes).items())

    @field_validator("tracks", mode="before")
    @classmethod
    def _tracks_as_text(cls, tracks: Any) -> Any:
        if not isinstance(tracks, dict):
            return tracks
        return {key: cls._as_text(value) for key, value in cast("dict[Any, Any]", tracks).items()}

    @model_validator(mode="after")
    def _parses(self) -> Self:
        parse_easing(self.easing)
        if self.beat is not None:
            self._parse(f"0:{self.beat}")
        if self.audio is None and self.noise is None and not names_cuts(self.keyframes):
            self._parse(self.keyframes)
        self.parsed_tracks()
        if self.pace == "perceptual":
            self._check_pace()
        return self

    def _check_pace(self) -> None:
        if self.audio is not None or self.tracks:
            what = "the keyframes follow the sound" if self.audio else "tracks have keyframes of their own"
            raise UsageError(f"pace='perceptual': {what}; expected keys between which the picture may change evenly")
        if not (self.follows_sound or self.follows_cuts or self.follows_noise):
            lines(self.parsed())

    @property
    def audio(self) -> AudioLevel | None:
        """The loudness that the keyframes follow; None if they are keys."""
        return parse_audio(self.keyframes)

    @property
    def noise(self) -> NoiseRange | None:
        """The noise that the keyframes follow; None if they are keys."""
        return parse_noise(self.keyframes)

    @property
    def follows_noise(self) -> bool:
        """Whether the keyframes are made from the noise of a clip."""
        return self.noise is not None and not self.follows_sound

    @property
    def follows_sound(self) -> bool:
        """Whether the keyframes are made from the sound of a clip."""
        return self.beat is not None or self.audio is not None

    @property
    def follows_cuts(self) -> bool:
        """Whether keys lie at cuts of a clip."""
        return self.snap_to_cuts or (not self.follows_sound and names_cuts(self.keyframes))

    @property
    def is_constant(self) -> bool:
        """Whether a still image is shown for one frame: alpha has one value, and no key is behind the first frame."""
        return not (self.follows_sound or self.follows_cuts) and self.still_frames(STILL_RATE) == 1

    def still_frames(self, rate: Fraction) -> int:
        """Number of frames to show a still image for, so that every key is reached. UsageError: see `parsed`."""
        if self.follows_noise:
            return 1
        return max(timeline.num_frames(rate) for timeline in (self.parsed(), *self.parsed_tracks().values()))

    @property
    def clip_option(self) -> str:
        """The option that makes the keyframes depend on a clip, for messages."""
        if self.beat is not None:
            return f"beat={self.beat!r}"
        return "snap_to_cuts" if self.snap_to_cuts else f"keyframes={self.keyframes!r}"

    def parsed(self) -> Timeline:
        """The timeline that the text means. UsageError: it depends on a clip that has not been examined."""
        if self.follows_sound or self.follows_cuts or self.follows_noise:
            what = "depends on a clip, its sound, cuts or noise; only a render of a clip knows them"
            raise UsageError(f"{self.clip_option}: {what}")
        return self._parse(self.keyframes)

    def parsed_tracks(self) -> dict[str, Timeline]:
        """The timelines of groups of layers, by the pattern of their tensors' names."""
        found: dict[str, Timeline] = {}
        for pattern, text in self.tracks.items():
            try:
                found[pattern] = self._parse(text)
            except TimelineError as error:
                raise track_error(pattern, error) from error
        return found

    def _parse(self, keyframes: str) -> Timeline:
        return Timeline.parse(keyframes, easing=self.easing, loop=self.loop, extrapolate=self.extrapolate)
