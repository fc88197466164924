"""The section of a preset that names its networks."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, field_validator, model_validator

from dnirender.options import Flag
from dnirender.preset_files import preset_folder
from dnirender.preset_styles import shipped_weights, styles_to_endpoints
from dnirender.timeline.easing import parse_number
from dnirender.timeline.expression import VARIABLES
from dnirender.timeline_settings import Section

PANELS = ("source", "render", "crossfade", "mask")


class Endpoint(Section):
    """One network of the path."""

    name: str = Field(pattern=r"^\w[\w.-]*$", max_length=64, description="What keyframes and panels call it.")
    weights: Path = Field(description="A checkpoint (.safetensors, .pth, .pt), relative to the preset's folder.")
    identity: bool = Field(
        default=False, description="Whether it renders the picture itself, so that `strength` fades to it."
    )

    style: Path | None = Field(
        default=None,
        description="Of the family adain: the picture in whose style it paints, relative to the preset's folder.  "
        "[default: the style that the file has by the endpoint's name]",
    )
    level: Annotated[float, Field(ge=-16, le=16)] | None = Field(
        default=None,
        description="Of a family other than dni: the level of the file at which it is this endpoint.  [default: 0 for "
        "the first, 1 for the others]",
    )
    position: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Where a number finds it on the path from 0 to 1.  [default: evenly spaced]"
    )

    @field_validator("weights", "style")
    @classmethod
    def _a_name(cls, file: Path | None) -> Path | None:
        try:
            os.fsencode(file or "")
        except UnicodeEncodeError as error:  # YAML's \ud83c alone is half a letter
            raise ValueError(f"{str(file)!a} is no name that a file can have; write it as it is") from error
        return file

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name in PANELS:
            raise ValueError(f"{name!r} is the name of a panel; choose another")
        if parse_number(name) is not None:
            raise ValueError(f"{name!r} is a number, and keyframes would read it as one; choose another")
        if name in VARIABLES:
            raise ValueError(f"{name!r} is a variable of expressions in keyframes; choose another")
        return name


class NetworkSettings(Section):
    """The endpoints that are mixed."""

    family: Literal["dni", "adafm", "ftn", "dynamic", "cfs", "adain"] = Field(
        "dni", description="What the files are: networks fine-tuned from one another (dni), or tunable ones."
    )
    style: Annotated[
        tuple[Path, ...], Flag("effect", names=("--style",), metavar="PICTURE", text=list[Path], parse=tuple)
    ] = Field(
        (),
        max_length=64,
        description="A picture in whose style to paint, from the photograph on; repeat for styles in order from 0 to "
        "1. A name of an endpoint, such as photo, is that endpoint.",
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

    @model_validator(mode="before")
    @classmethod
    def _styles(cls, data: Any) -> Any:
        """Pictures of styles as the endpoints that they are."""
        if not isinstance(data, dict) or not cast("dict[str, Any]", data).get("style"):
            return cast("object", data)
        reserved = (*PANELS, *VARIABLES)
        return styles_to_endpoints(cast("dict[str, Any]", data), shipped_weights(preset_folder()), reserved)

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
        styled = [endpoint.name for endpoint in self.endpoints if endpoint.style is not None]
        if self.family != "adain" and styled:
            raise ValueError(f"{styled[0]} has a style; expected none of family {self.family}, only of adain")
        return self

    @property
    def files(self) -> dict[str, Path]:
        """The weights files by endpoint."""
        return {endpoint.name: endpoint.weights for endpoint in self.endpoints}

    @property
    def styles(self) -> dict[str, Path | None]:
        """The style pictures of the endpoints but those of the picture itself; None: the file has the style."""
        return {endpoint.name: endpoint.style for endpoint in self.endpoints if not endpoint.identity}

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
