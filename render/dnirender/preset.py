"""Presets: an effect with its endpoints, timeline and output settings, as YAML, checked against these models.

The defaults of an effect are written here; the command line overrides fields through the same models.
"""

from __future__ import annotations

import difflib
import json
import os
import warnings
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from dnirender.errors import PresetError, with_notes
from dnirender.mask_settings import MaskSettings, WipeSettings
from dnirender.options import Flag, causes, first_error, offered, parse_pairs
from dnirender.preset_files import WEIGHTS_ADVICE, check_below, masks_beside, wipe_beside
from dnirender.timeline.easing import parse_number
from dnirender.timeline.expression import VARIABLES
from dnirender.timeline.keyframes import Endpoints
from dnirender.timeline_settings import Section, TimelineSettings
from dnirender.yaml_file import read_yaml

DEFAULT_PRESET = "day-to-night"
SCHEMA_LINE = "# yaml-language-server: $schema=schema.json\n"

Side = Annotated[int, Field(ge=16, le=16384)]


class Endpoint(Section):
    """One network of the path."""

    name: str = Field(pattern=r"^\w[\w.-]*$", max_length=64, description="What keyframes and panels call it.")
    weights: Path = Field(description="A checkpoint (.safetensors, .pth, .pt), relative to the preset's folder.")
    identity: bool = Field(
        default=False, description="Whether it renders the picture itself, so that `strength` fades to it."
    )

    level: Annotated[float, Field(ge=-16, le=16)] | None = Field(
        default=None,
        description="Of a family other than dni: the level of the file at which it is this endpoint.  [default: 0 for "
        "the first, 1 for the others]",
    )
    position: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Where a number finds it on the path from 0 to 1.  [default: evenly spaced]"
    )

    @field_validator("weights")
    @classmethod
    def _a_name(cls, weights: Path) -> Path:
        try:
            os.fsencode(weights)
        except UnicodeEncodeError as error:  # YAML's \ud83c alone is half a letter
            raise ValueError(f"{str(weights)!a} is no name that a file can have; write it as it is") from error
        return weights

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name in ("source", "render", "crossfade", "mask"):
            raise ValueError(f"{name!r} is the name of a panel; choose another")
        if parse_number(name) is not None:
            raise ValueError(f"{name!r} is a number, and keyframes would read it as one; choose another")
        if name in VARIABLES:
            raise ValueError(f"{name!r} is a variable of expressions in keyframes; choose another")
        return name


class NetworkSettings(Section):
    """The endpoints that are mixed."""

    family: Literal["dni", "adafm", "ftn", "dynamic", "cfs"] = Field(
        "dni", description="What the files are: networks fine-tuned from one another (dni), or tunable ones."
    )
    endpoints: tuple[Endpoint, ...] = Field(
        min_length=2, max_length=64, description="In order of the path from 0 to 1."
    )
    weights_key: Annotated[
        Annotated[str, Field(min_length=1, max_length=200)] | None,
        Flag("effect", metavar="KEY", text=str | None),
    ] = Field(
        None,
        description="Which weights of files that hold several, e.g. params or generator.  [default: EMA, if there]",
    )
    bn: Annotated[Literal["deployed", "reestimate"], Flag("effect")] = Field(
        "deployed", description="BatchNorm of mixtures: that of the files, mixed, or measured on the clip."
    )

    @field_validator("endpoints")
    @classmethod
    def _unique(cls, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        names = [endpoint.name for endpoint in endpoints]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two endpoints are called {twice!r}; names must differ")
        _check_positions(endpoints)
        return endpoints

    @model_validator(mode="after")
    def _levels_of_families(self) -> Self:
        leveled = [endpoint.name for endpoint in self.endpoints if endpoint.level is not None]
        if self.family == "dni" and leveled:
            raise ValueError(f"{leveled[0]} has a level; expected none of family dni, whose files have none")
        return self

    @property
    def files(self) -> dict[str, Path]:
        """The weights files by endpoint."""
        return {endpoint.name: endpoint.weights for endpoint in self.endpoints}

    @property
    def levels(self) -> dict[str, float]:
        """The levels of the endpoints' files, for families that have any."""
        defaults = [0.0, *[1.0] * (len(self.endpoints) - 1)]
        return {
            endpoint.name: default if endpoint.level is None else endpoint.level
            for endpoint, default in zip(self.endpoints, defaults, strict=True)
        }


def _check_positions(endpoints: tuple[Endpoint, ...]) -> None:
    positions = [endpoint.position for endpoint in endpoints if endpoint.position is not None]
    if not positions:
        return
    if len(positions) < len(endpoints):
        bare = next(endpoint.name for endpoint in endpoints if endpoint.position is None)
        raise ValueError(f"{bare} has no position; give one to all endpoints, or to none")
    if (positions[0], positions[-1]) != (0, 1) or any(one >= two for one, two in pairwise(positions)):
        raise ValueError(f"positions must increase from 0 to 1, got {', '.join(f'{at:g}' for at in positions)}")


class Effect(Section):
    """How much of the effect is shown."""

    strength: Annotated[float, Field(ge=0, le=1), Flag("effect", text=float | None)] = Field(
        1.0, description="Share of the effect; the rest is the first endpoint, in most presets the picture itself."
    )
    keep_colors: Annotated[bool, Flag("effect")] = Field(
        False, description="Take only the luma from the networks, and the chroma from the source."
    )
    steady: Annotated[float, Field(ge=0, le=1), Flag("effect", text=float | None)] = Field(
        0.0, description="Blend each frame with the four before it along the motion, against flicker; 1 is the most."
    )
    repair: Annotated[bool, Flag("effect")] = Field(
        False, description="Correct mixtures that are darker or fainter than their ends, as measured on the source."
    )


class Layout(Section):
    """What a frame of the output shows."""

    panels: Annotated[
        tuple[str, ...],
        Flag("comparison", text=str, parse=lambda text: tuple(name.strip() for name in text.split(","))),
    ] = Field(
        ("render",),
        min_length=1,
        max_length=16,
        description="Panels, separated by commas: source, render, crossfade, mask, names of endpoints.",
    )
    labels: bool = Field(True, description="Write each panel's name into it.")
    width: Annotated[Side | None, Flag("input", text=int | None)] = Field(
        None, description="Scale the source to this width before the network."
    )
    height: Annotated[Side | None, Flag("input", text=int | None)] = Field(
        None, description="Scale the source to this height before the network."
    )


class Encoding(Section):
    """How a video is written."""

    codec: Annotated[str, Flag("output")] = Field("auto", description="Encoder.  [auto: libx264, for webm libvpx-vp9]")
    crf: Annotated[Annotated[int, Field(ge=0, le=63)] | None, Flag("output", text=int | None)] = Field(
        None, description="Quality; lower is better and larger.  [default: 17 for libx264, 30 for libvpx-vp9]"
    )
    pix_fmt: Annotated[str | None, Flag("output")] = Field(
        None, description="Pixel format.  [default: the source's chroma sampling and depth]"
    )
    options: Annotated[
        dict[str, str],
        Flag(
            "output",
            names=("-e",),
            option="encoder_options",
            metavar="KEY=VALUE",
            text=list[str],
            parse=lambda texts: parse_pairs("encoder_options", texts, "KEY=VALUE"),
        ),
    ] = Field(default_factory=dict[str, str], description="An option of the encoder, such as preset=slow; repeat.")
    audio: Annotated[bool, Flag("output", fingerprint=False)] = Field(True, description="Copy the audio.")
    subtitles: Annotated[bool, Flag("output", fingerprint=False)] = Field(True, description="Copy the subtitles.")


class Animation(Section):
    """How GIF, WebP and APNG animations are written."""

    width: Side = Field(
        480, description="The source is scaled down to this before the network, unless layout gives a size."
    )
    fps: Annotated[float, Field(gt=0, le=100)] = Field(15, description="Frames per second at most.")
    dither: Literal["none", "bayer", "floyd_steinberg", "sierra2_4a"] = Field("bayer")


class Preset(Section):
    """An effect, ready to render."""

    name: str = Field(min_length=1, max_length=100, description="For people.")
    about: str = Field("", max_length=2000, description="One sentence for the list of presets.")
    network: NetworkSettings
    effect: Effect = Field(default_factory=Effect)  # pyright: ignore[reportArgumentType]
    timeline: TimelineSettings = Field(default_factory=TimelineSettings)  # pyright: ignore[reportArgumentType]
    mask: MaskSettings = Field(default_factory=MaskSettings)  # pyright: ignore[reportArgumentType]
    wipe: WipeSettings = Field(default_factory=WipeSettings)  # pyright: ignore[reportArgumentType]
    layout: Layout = Field(default_factory=Layout)  # pyright: ignore[reportArgumentType]
    encoding: Encoding = Field(default_factory=Encoding)  # pyright: ignore[reportArgumentType]
    animation: Animation = Field(default_factory=Animation)  # pyright: ignore[reportArgumentType]

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, data: Any) -> Any:
        return read_renamed(data, {"gif": "animation"})

    @cached_property
    def endpoints(self) -> Endpoints:
        """The endpoints' names in the order of the path, and where they lie on it."""
        positions = [endpoint.position for endpoint in self.network.endpoints if endpoint.position is not None]
        return Endpoints((endpoint.name for endpoint in self.network.endpoints), positions or None)

    @classmethod
    def load(cls, name_or_path: str | Path) -> Preset:
        """A shipped preset by name, or any by path; weights become absolute. Raises PresetError."""
        path = find_preset(name_or_path)
        preset = cls.checked(read_yaml(path), str(path))
        for number, endpoint in enumerate(preset.network.endpoints):
            check_below(endpoint.weights, f"{path}: network.endpoints[{number}].weights", WEIGHTS_ADVICE)
        return preset.override(
            {
                "mask": masks_beside(preset.mask, path),
                "wipe": wipe_beside(preset.wipe, path),
                "network": {
                    "endpoints": [
                        endpoint.model_dump() | {"weights": (path.parent / endpoint.weights).resolve()}
                        for endpoint in preset.network.endpoints
                    ]
                },
            },
            str(path),
        )

    @classmethod
    def checked(cls, data: object, where: str) -> Preset:
        """The preset that plain data means; PresetError names `where`, the key, what was expected and found."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise with_notes(PresetError(f"{where}: {first_error(error, _fields)}"), *causes(error)) from error

    def override(self, changes: Mapping[str, Mapping[str, Any]], where: str = "options") -> Preset:
        """This preset with fields of its sections replaced, checked again."""
        data = self.model_dump()
        for section, fields in changes.items():
            old = data.get(section)
            mixes = isinstance(old, dict) and isinstance(cast(object, fields), Mapping)
            data[section] = cast("dict[str, Any]", old) | dict(fields) if mixes else fields
        return self.checked(data, where)


def preset_folder() -> Path:
    """Where the shipped presets lie: inside the installed package, or beside the sources."""
    here = Path(__file__).resolve().parent
    packaged = here / "presets"
    return packaged if packaged.is_dir() else here.parents[1] / "presets"


def preset_names() -> list[str]:
    """The names of the shipped presets, the default first."""
    names = sorted(path.stem for path in preset_folder().glob("*.yaml"))
    return sorted(names, key=lambda name: name != DEFAULT_PRESET)


def find_preset(name_or_path: str | Path) -> Path:
    """The file of a shipped preset's name, or the path itself where it looks like one."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.lower().endswith((".yaml", ".yml")) or "/" in text or "\\" in text:
        path = Path(name_or_path)
        if not path.is_file():
            raise PresetError(f"{text}: no such preset file")
        return path
    if text in preset_names():
        return preset_folder() / f"{text}.yaml"
    close = difflib.get_close_matches(text, preset_names(), 1)
    hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(preset_names())}."
    raise PresetError(f"unknown preset {text!r}; {hint} A file of your own must end in .yaml")


def read_renamed(data: Any, names: Mapping[str, str]) -> Any:
    """Keys of the version before as they are called now, with a FutureWarning that says so."""
    if not isinstance(data, dict):
        return data
    found = cast("dict[str, Any]", data)
    for old, new in names.items():
        if old in found and new not in found:
            warnings.warn(
                f"{old}: is now called {new}; the old name will be removed in the next version", FutureWarning, 2
            )
            found = {new if key == old else key: value for key, value in found.items()}
    return found


def schema() -> str:
    """The JSON Schema of presets, as committed in presets/schema.json."""
    return json.dumps(Preset.model_json_schema(), indent=2) + "\n"


def _fields(place: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at a key path knows."""
    if not place:
        return list(Preset.model_fields)
    model = Endpoint if "endpoints" in place else _SECTIONS.get(cast(str, place[0]), Preset)
    return list(model.model_fields)


_SECTIONS: dict[str, type[BaseModel]] = {
    "network": NetworkSettings,
    "effect": Effect,
    "timeline": TimelineSettings,
    "mask": MaskSettings,
    "wipe": WipeSettings,
    "layout": Layout,
    "encoding": Encoding,
    "animation": Animation,
}

PRESET_OPTIONS = {
    name: (section, found) for section, model in _SECTIONS.items() for name, found in offered(model).items()
}
"""By option: the section, and (field's name, field, flag)."""
