"""Recipes: how a family of endpoints is trained, as YAML, checked against these models."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dnirender.errors import PresetError
from dnirender.network_settings import Endpoint
from dnirender.options import first_error
from dnirender.preset import read_renamed
from dnirender.yaml_file import read_yaml

Steps = Annotated[int, Field(ge=1, le=10_000_000)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EndpointTarget(_Model):
    """One endpoint and its target."""

    name: str = Field(max_length=64, description="What keyframes and panels will call it.")
    image: Path | None = Field(None, description="style, adain: the painting, relative to the data folder.")
    size: Annotated[int, Field(ge=64, le=4096)] = Field(
        448, description="style: the painting's short side; larger for larger strokes."
    )
    weight: Weight = Field(1.0, description="style: factor of the style loss.")
    sigma: Annotated[float, Field(gt=0, le=255)] | None = Field(
        None, description="denoise: the standard deviation of the noise, of 255."
    )
    start: str | None = Field(None, description="Endpoint of `start` that it starts from.  [default: of the same name]")
    identity: bool = Field(False, description="Returns its input exactly; not trained.")
    share: Weight = Field(1.0, description="How often it is trained, relative to the others.")

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, data: Any) -> Any:
        return read_renamed(data, {"untouched": "identity"})

    @model_validator(mode="after")
    def _nameable(self) -> Self:
        Endpoint(name=self.name, weights=Path("x"))
        return self


class Stage(_Model):
    """A stage of the training.

    base: the base alone, for the target of `endpoint`. endpoints: each endpoint alone, the base fixed. path: the
    endpoints and the mixtures between them.
    """

    train: Literal["base", "endpoints", "path"]
    steps: Steps
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="Overrides that of `training`.")
    endpoint: str | None = Field(None, description="base: whose target. path: the only endpoint that is trained.")


class Training(_Model):
    """Settings of the optimizer."""

    seed: Annotated[int, Field(ge=0)] = 0
    batch: Annotated[int, Field(ge=1, le=1024)] = 4
    crop: Annotated[int, Field(ge=32, le=4096)] = Field(256, description="Side of the square crops, in pixels.")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    average: Annotated[float, Field(ge=0, lt=1)] = Field(0.998, description="Decay of the running mean of the weights.")
    fall: Annotated[float, Field(gt=0, le=1)] = Field(
        0.4, description="Fraction of the last stage in which the learning rate falls."
    )


class Recipe(_Model):
    """A family of endpoints, ready to train."""

    name: str = Field(min_length=1, max_length=100, description="For people.")
    about: str = Field("", max_length=2000)
    kind: Literal["relight", "style", "sketch", "detail", "focus", "denoise", "adain"]
    family: Literal["dni", "adafm", "ftn", "dynamic", "cfs", "adain"] = Field(
        "dni", description="denoise, style: fine-tuned endpoints (dni), or two levels of a tunable network."
    )
    photos: tuple[Path, ...] = Field(min_length=1, description="Folders of photographs, relative to the data folder.")
    styles: tuple[Path, ...] = Field(
        (), description="adain: Folders of paintings and textures; one named twice is drawn from twice as often."
    )
    held_out: tuple[str, ...] = Field((), description="Prefixes of the names of photographs that are not trained on.")
    endpoints: tuple[EndpointTarget, ...] = Field(
        min_length=2, max_length=64, description="In order of the path from 0 to 1."
    )
    start: str | None = Field(None, description="A preset whose weights the training starts from.")
    stages: tuple[Stage, ...] = Field(min_length=1)
    training: Training = Field(default_factory=Training)  # pyright: ignore[reportArgumentType]
    license: str = Field("MIT", description="Of the weights.")
    show: tuple[Path, ...] = Field((), description="Photographs on the contact sheet, relative to the data folder.")
    settings: dict[str, float] = Field(
        default_factory=dict[str, float], description="Weights of the losses of this kind."
    )
    preset: dict[str, Any] = Field(
        default_factory=dict[str, Any], description="Sections of the preset that is written."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [goal.name for goal in self.endpoints]
        if len(set(names)) < len(names):
            raise ValueError(f"endpoints must differ in name, got {', '.join(names)}")
        for stage in self.stages:
            if stage.endpoint not in ((*names, None) if stage.train != "base" else names):
                raise ValueError(f"{stage.train}: endpoint: expected one of {', '.join(names)}, got {stage.endpoint!r}")
        if self.kind in ("style", "adain") and (
            bare := [g.name for g in self.endpoints if g.image is None and not g.identity]
        ):
            raise ValueError(f"{bare[0]}: expected an image, or identity: true")
        if (self.kind == "adain") != (self.family == "adain") or (self.kind == "adain" and not self.styles):
            raise ValueError("kind adain goes with family: adain and has styles, folders of paintings")
        if self.family not in ("dni", "adain"):
            self._check_family()
        if self.kind == "denoise":
            self._check_sigmas()
        if sum(goal.share for goal in self.endpoints) == 0:
            raise ValueError("every share is 0; at least one endpoint must be trained")
        return self

    def _check_family(self) -> None:
        if self.kind not in ("denoise", "style") or len(self.endpoints) != 2:
            raise ValueError(f"family: {self.family} has the kind denoise or style, and two endpoints, levels 0 and 1")
        if untouched := [goal.name for goal in self.endpoints if goal.identity]:
            raise ValueError(
                f"{untouched[0]}: identity: expected an image with family: {self.family}, whose additions change "
                "nothing where the base does not paint; family: dni has the picture itself as an endpoint"
            )

    def _check_sigmas(self) -> None:
        if bare := [goal.name for goal in self.endpoints if goal.sigma is None]:
            raise ValueError(f"{bare[0]}: expected a sigma, the noise that it is for")
        sigmas = [goal.sigma for goal in self.endpoints if goal.sigma is not None]
        if any(one >= two for one, two in pairwise(sigmas)):
            raise ValueError(f"sigma must increase from endpoint to endpoint, got {', '.join(map(str, sigmas))}")

    @property
    def positions(self) -> tuple[float, ...] | None:
        """Where the endpoints lie on the path from 0 to 1, linear in sigma; None: evenly spaced."""
        sigmas = [goal.sigma for goal in self.endpoints if goal.sigma is not None]
        if len(sigmas) < len(self.endpoints):
            return None
        return tuple(round((sigma - sigmas[0]) / (sigmas[-1] - sigmas[0]), 6) for sigma in sigmas)

    def scaled(self, batch: int | None = None, length: float = 1.0) -> Self:
        """The recipe with other batches, and with `length` times as many steps in every stage."""
        training = self.training if batch is None else self.training.model_copy(update={"batch": batch})
        stages = [stage.model_copy(update={"steps": max(1, round(stage.steps * length))}) for stage in self.stages]
        return self.model_copy(update={"training": training, "stages": tuple(stages)})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(goal.name for goal in self.endpoints)

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """The recipe in a YAML file. Raises PresetError with the key, what was expected and found."""
        return cls.checked(read_yaml(path), str(path))

    @classmethod
    def checked(cls, data: object, where: str) -> Recipe:
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise PresetError(f"{where}: {first_error(error, _fields)}") from error


def adafm_kernel(settings: dict[str, float]) -> int:
    """The setting of that name. PresetError: it is no size of AdaFM's filters."""
    if settings["kernel"] not in (1, 3, 5, 7):
        raise PresetError(f"settings.kernel: expected 1, 3, 5 or 7, that of AdaFM, got {settings['kernel']:g}")
    return int(settings["kernel"])


def choose(settings: dict[str, float], known: dict[str, float], kind: str) -> dict[str, float]:
    """`known`, updated with the settings of the recipe. PresetError: a setting that `kind` does not have."""
    strange = [name for name in settings if name not in known]
    if strange:
        raise PresetError(f"settings.{strange[0]}: {kind} has no such setting; it has {', '.join(known)}")
    return known | settings


def _fields(place: tuple[int | str, ...]) -> list[str]:
    models: dict[str | int, type[BaseModel]] = {"endpoints": EndpointTarget, "stages": Stage, "training": Training}
    return list((models.get(place[0], Recipe) if place else Recipe).model_fields)
