"""Presets: an effect with its endpoints, timeline and output settings, as YAML, checked against these models.

The defaults of an effect are written here; the command line overrides fields through the same models.
"""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, Field, ValidationError, model_validator

from dnirender.errors import PresetError, with_notes
from dnirender.mask_settings import MaskSettings, WipeSettings
from dnirender.network_settings import Endpoint, NetworkSettings
from dnirender.options import Flag, causes, first_error, offered, parse_pairs
from dnirender.preset_files import (
    STYLE_ADVICE,
    WEIGHTS_ADVICE,
    check_below,
    masks_beside,
    preset_folder,
    wipe_beside,
)
from dnirender.preset_styles import shipped_weights
from dnirender.timeline.keyframes import Endpoints
from dnirender.timeline_settings import Section, TimelineSettings
from dnirender.yaml_file import read_yaml

DEFAULT_PRESET = "day-to-night"
SCHEMA_LINE = "# yaml-language-server: $schema=schema.json\n"

Side = Annotated[int, Field(ge=16, le=16384)]


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
        shipped = shipped_weights(preset_folder())
        for number, endpoint in enumerate(preset.network.endpoints):
            where = f"{path}: network.endpoints[{number}]"
            if endpoint.weights != shipped:
                check_below(endpoint.weights, f"{where}.weights", WEIGHTS_ADVICE)
            if endpoint.style is not None:
                check_below(endpoint.style, f"{where}.style", STYLE_ADVICE)
        return preset.override(
            {
                "mask": masks_beside(preset.mask, path),
                "wipe": wipe_beside(preset.wipe, path),
                "network": {
                    "endpoints": [
                        endpoint.model_dump()
                        | {"weights": (path.parent / endpoint.weights).resolve()}
                        | ({"style": (path.parent / endpoint.style).resolve()} if endpoint.style else {})
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
