"""The section of a preset that says where in the picture alpha is what."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dnirender.errors import UsageError
from dnirender.options import Flag
from dnirender.timeline.easing import parse_number
from dnirender.timeline.wipe import Wipe, parse_wipe
from dnirender.timeline_settings import Section

MAX_MASKS = 16
MAX_LEVELS = 65
GROUP = "masks"
FOUND = {":subject": "subject", ":sky": "sky"}
"""What may stand in place of a mask's file, and what is then found in the clip."""

_NAMED = re.compile(r"(\w[\w.-]*)=(.+)", re.S)


class Range(NamedTuple):
    """Values from `low` to `high`, 0..1."""

    low: float
    high: float


def parse_range(option: str, text: str) -> Range:
    """`LOW..HIGH`, numbers in 0..1. UsageError: another form, or not in order."""
    ends = [parse_number(part.strip()) for part in text.split("..")]
    low, high = (ends[0], ends[1]) if len(ends) == 2 else (None, None)
    if low is None or high is None or not 0 <= low < high <= 1:
        raise UsageError(f"{option}={text!r}: expected LOW..HIGH in 0..1, such as 0.6..1")
    return Range(float(low), float(high))


def split_mask(text: str) -> tuple[str, str]:
    """The endpoint, empty without one, and the file of `[NAME=]FILE`."""
    named = _NAMED.fullmatch(text)
    return (named[1], named[2]) if named else ("", text)


def _texts(texts: list[str]) -> tuple[str, ...]:
    return tuple(texts)


class MaskSettings(Section):
    """Where in the picture the timeline rules."""

    files: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...],
        Flag(GROUP, names=("--mask",), option="mask", metavar="[NAME=]FILE", text=list[str], parse=_texts),
    ] = Field(
        (),
        max_length=MAX_MASKS,
        description="A picture, clip or sequence (%04d.png): the timeline where it is white, the outside where it is "
        "black. Repeat with an endpoint's name for the place of each; :subject and :sky are found in the clip.",
    )
    outside: Annotated[str | None, Flag(GROUP, metavar="VALUE")] = Field(
        None,
        description="The mixture where masks are black, such as a name or 0.3*golden+0.7*night.  "
        "[default: the first endpoint]",
    )
    subject: Annotated[bool, Flag(GROUP)] = Field(
        False, description="A mask from the clip itself: its main subject, such as a person."
    )
    sky: Annotated[bool, Flag(GROUP)] = Field(False, description="A mask from the clip itself: the sky.")
    luma: Annotated[str | None, Flag(GROUP, metavar="LOW..HIGH")] = Field(
        None, description="A mask from the clip itself: white where its luma is in this range of 0..1."
    )
    depth: Annotated[str | None, Flag(GROUP, metavar="FILE")] = Field(
        None, description="A depth map as a mask: a picture, clip or sequence."
    )
    depth_range: Annotated[str | None, Flag(GROUP, metavar="LOW..HIGH")] = Field(
        None, description="Depths that are white, as values of the file in 0..1.  [default: white is its value]"
    )
    range_softness: Annotated[float, Flag(GROUP, text=float | None)] = Field(
        0.1, ge=0, le=1, description="How far beyond a range of luma or depth a mask falls to black."
    )
    channel: Annotated[Literal["auto", "gray", "alpha"], Flag(GROUP, option="mask_channel")] = Field(
        "auto", description="What of a mask's file is the mask; auto is its alpha channel if it has one."
    )
    invert: Annotated[bool, Flag(GROUP, option="mask_invert")] = Field(False, description="Swap black and white.")
    grow: Annotated[float, Flag(GROUP, option="mask_grow", metavar="PIXELS", text=float | None)] = Field(
        0.0, ge=-500, le=500, description="Grow the white parts by so many pixels of the clip; shrink if negative."
    )
    feather: Annotated[float, Flag(GROUP, option="mask_feather", metavar="PIXELS", text=float | None)] = Field(
        0.0, ge=0, le=500, description="Width of soft edges, 10 to 90 %, in pixels of the clip."
    )
    levels: Annotated[Annotated[int, Field(ge=2, le=MAX_LEVELS)] | None, Flag(GROUP, text=int | None)] = Field(
        None,
        description="Mixtures rendered from one side of a soft edge to the other.  [default: as many as keep the mean "
        "error below 1 of 255]",
    )
    layers: Annotated[bool, Flag(GROUP, option="mask_layers")] = Field(
        False, description="At soft edges mix inside of every layer of the network, instead of between renders."
    )

    @property
    def needs_levels(self) -> bool:
        """Whether the number of mixtures at soft edges is still to be measured."""
        return self.levels is None and not self.layers

    @model_validator(mode="after")
    def _has_one_way(self) -> MaskSettings:
        if self.layers and self.levels is not None:
            raise ValueError("layers and levels are two ways to make soft edges; leave one out")
        return self

    @model_validator(mode="before")
    @classmethod
    def _as_section(cls, data: Any) -> Any:
        """One file, or several, in place of a section."""
        return {"files": data} if isinstance(data, str | list) else data

    @field_validator("files", mode="before")
    @classmethod
    def _as_tuple(cls, files: Any) -> Any:
        return (files,) if isinstance(files, str) else files

    @field_validator("luma", "depth_range")
    @classmethod
    def _is_range(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None:
            parse_range(info.field_name or "", text)
        return text

    @property
    def luma_range(self) -> Range | None:
        return parse_range("luma", self.luma) if self.luma is not None else None

    @property
    def depths(self) -> Range | None:
        return parse_range("depth_range", self.depth_range) if self.depth_range is not None else None

    @property
    def is_used(self) -> bool:
        """Whether there is a mask."""
        return bool(self.files or self.found or self.luma is not None or self.depth is not None)

    @property
    def found(self) -> tuple[str, ...]:
        """What is to be found in the clip."""
        return tuple(name for name in FOUND.values() if getattr(self, name))


class WipeSettings(Section):
    """A front over the picture between two keys."""

    front: Annotated[str | None, Flag(GROUP, option="wipe", metavar="NAME[:OPTIONS]")] = Field(
        None,
        description="Let a front move over the picture between two keys: right, left, up, down, angle:30, radial, "
        "clock, iris, blinds, noise, luma, image:FILE, or an expression in x, y, progress, ratio and seed; "
        "options follow a colon, as in right:softness=.2.",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_section(cls, data: Any) -> Any:
        """The front in place of a section."""
        return {"front": data} if isinstance(data, str) else data

    @field_validator("front")
    @classmethod
    def _parses(cls, front: str | None) -> str | None:
        if front is not None:
            parse_wipe(front)
        return front

    @property
    def parsed(self) -> Wipe | None:
        return parse_wipe(self.front) if self.front is not None else None
