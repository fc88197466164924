"""Pictures whose styles are the endpoints of a preset of the family adain."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

STYLE_PRESET = "style"
"""The preset that pictures of styles belong to where none is named."""
PHOTO = "photo"
"""In a list of style pictures: the picture itself."""
MAX_NAME = 60


def shipped_weights(folder: Path) -> Path:
    """The weights of the network for any style, in the folder of presets."""
    return folder / "weights" / STYLE_PRESET / "adain.safetensors"


def styles_to_endpoints(data: Mapping[str, Any], weights: Path, reserved: Collection[str]) -> dict[str, Any]:
    """The data of a section `network` with `style`, the list of pictures, made to endpoints: the photograph, then the
    style of one, or the styles of several in order. A name of an endpoint that the data have is that endpoint. The
    weights are those of the data's first endpoint, or else `weights`. Names that are `reserved` get another.

    ValueError: the data are not those of a family of styles, or the list says only `photo`.
    """
    family = data.get("family", "dni")
    if family != "adain":
        raise ValueError(
            f"style: the network is of family {family}; expected adain, as of the preset {STYLE_PRESET}, which takes "
            "any picture"
        )
    given = cast("object", data["style"])
    pictures = [str(one) for one in cast("Sequence[Any]", given)] if isinstance(given, list | tuple) else [str(given)]
    before = [_plain(endpoint) for endpoint in cast("Sequence[Any]", data.get("endpoints") or ())]
    named = {endpoint["name"]: endpoint for endpoint in before}
    file = before[0]["weights"] if before else weights
    named.setdefault(PHOTO, {"name": PHOTO, "weights": file, "identity": True})
    if len(pictures) == 1 and pictures != [PHOTO]:
        pictures = [PHOTO, *pictures]
    if len(pictures) < 2:
        raise ValueError(f"style: expected a picture, got {PHOTO} alone")
    endpoints: list[dict[str, Any]] = []
    for picture in pictures:
        if picture in named:
            endpoints.append({key: value for key, value in named[picture].items() if key != "position"})
        else:
            taken = [*(endpoint["name"] for endpoint in endpoints), *pictures]
            endpoints.append({"name": _name(picture, taken, reserved), "weights": file, "style": picture})
    return {key: value for key, value in data.items() if key != "style"} | {"endpoints": endpoints}


def _plain(endpoint: Any) -> dict[str, Any]:
    return dict(cast("dict[str, Any]", endpoint)) if isinstance(endpoint, dict) else dict(endpoint)


def _name(picture: str, taken: Collection[str], reserved: Collection[str]) -> str:
    """What keyframes call the style of a picture: the name of its file, as far as keyframes can say it."""
    stem = re.sub(r"[^\w.-]+", "_", Path(picture).stem).strip("._-")[:MAX_NAME]
    if not stem or stem in reserved or not re.match(r"[^\W\d]", stem):
        stem = f"style_{stem}" if stem else "style"
    number, name = 2, stem
    while name in taken:
        number, name = number + 1, f"{stem}_{number}"
    return name
