"""Masks as settings ask for them, and the mixtures that they give the pixels of a frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dnirender.decoding.metadata import VideoMetadata
from dnirender.decoding.source import Source
from dnirender.errors import UsageError
from dnirender.frames import Alpha, Image
from dnirender.mask_settings import FOUND, MaskSettings, split_mask
from dnirender.masks.alpha_map import AlphaMap, Plane, constant, over
from dnirender.masks.edges import cleaned, fitted, gray, in_range, shaped
from dnirender.masks.files import ArrayMask, MaskSource, open_mask
from dnirender.masks.found import FoundMask
from dnirender.timeline.tracks import split_alpha

Arrays = Mapping[str, object]
"""Masks in memory by the endpoint that they place, or by "" for all of the timeline."""


@dataclass(frozen=True, eq=False)
class Masking:
    """The masks of a clip.

    places: what each mask places: the number of an endpoint, or None for all of the timeline
    sources: the masks, as many, or none where what follows alone is the mask
    found: where the subject or the sky is
    outside: the mixture where they are black, with the coefficients of groups of layers, where there are any
    """

    settings: MaskSettings
    places: tuple[int | None, ...]
    sources: tuple[MaskSource, ...]
    found: MaskSource | None
    depth: MaskSource | None
    outside: Alpha
    num_endpoints: int

    @property
    def identity(self) -> str:
        """Tells the content of the files from that of any others."""
        names = ("found", self.found), ("depth", self.depth)
        common = [f"{name} {source.identity}" for name, source in names if source]
        return " ".join([f"{self.places}", *(source.identity for source in self.sources), *common])

    @property
    def warnings(self) -> list[str]:
        return [source.warning for source in self._all if source.warning]

    @property
    def _all(self) -> list[MaskSource]:
        return [*self.sources, *(source for source in (self.found, self.depth) if source)]

    def read(self, indices: Sequence[int]) -> Iterator[tuple[Plane, ...]]:
        """The masks of the clip's frames at `indices`, then what was found, then the depth, in sizes of their own."""
        sources = self._all
        return zip(*(source.masks(indices) for source in sources), strict=True) if sources else (() for _ in indices)

    def covers(self, planes: Sequence[Plane], image: Image, width: int, height: int) -> list[Plane]:
        """How much each of `places` covers every pixel of a render of `image` that is `width` x `height`; 0..1, in
        sum at most 1. `planes` are of `read`."""
        settings, pixel = self.settings, width / image.shape[1]
        common = list[Plane]()
        if settings.luma_range is not None:
            luma = in_range(gray(image), *settings.luma_range, settings.range_softness)
            common.append(fitted(luma, width, height))
        if self.found is not None:
            common.append(fitted(planes[len(self.sources)], width, height))
        if self.depth is not None:
            depth = fitted(planes[-1], width, height)
            depths = settings.depths
            common.append(in_range(depth, *depths, settings.range_softness) if depths else depth)
        own = [fitted(plane, width, height) for plane in planes[: len(self.sources)]] or [None]
        found = list[Plane]()
        for plane in own:
            factors = [*common, *(() if plane is None else (plane,))]
            mask = cleaned(np.asarray(np.prod(factors, axis=0), np.float32) if len(factors) > 1 else factors[0])
            found.append(shaped(mask, settings.invert, settings.grow * pixel, settings.feather * pixel))
        if len(found) == 1:
            return found
        total = np.maximum(np.sum(found, axis=0), 1)
        return [mask / total for mask in found]

    def masked(self, base: AlphaMap, covers: Sequence[Plane], levels: int) -> AlphaMap:
        """`base`, the timeline's, where the masks place it, and the outside elsewhere."""
        height, width = base.height, base.width
        if None in self.places:
            return over(constant(self.outside, height, width), base, covers[0], levels)
        (layer,) = base.layers
        targets = self.targets(layer.alpha)
        result, rest = constant(targets[0], height, width), 1 - np.sum(covers, axis=0)
        for cover, target in zip(covers, targets[1:], strict=True):
            rest = rest + cover  # what is left once the masks after this one are taken away
            part = np.divide(cover, rest, out=np.zeros_like(cover), where=rest > 0)
            result = over(result, constant(target, height, width), np.clip(part, 0, 1), levels)
        return result

    def targets(self, alpha: Alpha) -> list[Alpha]:
        """The mixtures between which the masks choose: the one outside, then that of each place.

        Endpoints with a mask share what the timeline gives to them together; the others keep what it gives to them.
        """
        if None in self.places:
            return [self.outside, alpha]
        places = [place for place in self.places if place is not None]
        blocks = zip(split_alpha(alpha, self.num_endpoints), split_alpha(self.outside, self.num_endpoints), strict=True)
        found: list[Alpha] = [()] * (len(places) + 1)
        for own, outside in blocks:
            share = sum(own[place] for place in places)
            rest = [0.0 if k in places else coefficient for k, coefficient in enumerate(own)]
            found[0] += tuple(a + share * b for a, b in zip(rest, outside, strict=True))
            for number, place in enumerate(places, 1):
                found[number] += tuple(a + share * (k == place) for k, a in enumerate(rest))
        return found


def open_masking(
    settings: MaskSettings,
    arrays: Arrays,
    endpoints: Sequence[str],
    outside: Alpha,
    source: Source | None,
) -> Masking | None:
    """The masks of a clip; None without any. `arrays` take the place of `files`. `source` is None where frames come
    from memory: then files are not possible, and nothing is found in them. Raises UsageError, MediaError."""
    if not (settings.is_used or arrays):
        return None
    clip = source.metadata if source else None
    names, sources = list[str](), list[MaskSource]()
    for name, array in arrays.items():
        names.append(name)
        sources.append(ArrayMask("mask", array, clip))
    if not arrays:
        for text in settings.files:
            name, file = split_mask(text)
            names.append(name)
            if file in FOUND:
                sources.append(FoundMask(_sought(f"mask={file!r}", source), (FOUND[file],)))
            else:
                sources.append(open_mask("mask", file, settings.channel, _needed("mask", clip)))
    depth = settings.depth
    depth_source = open_mask("depth", depth, settings.channel, _needed("depth", clip)) if depth is not None else None
    found = FoundMask(_sought(settings.found[0], source), settings.found) if settings.found else None
    places = _places(names, endpoints) if names else (None,)
    return Masking(settings, places, tuple(sources), found, depth_source, outside, len(endpoints))


def _needed(option: str, clip: VideoMetadata | None) -> VideoMetadata:
    if clip is None:
        raise UsageError(f"{option}: expected arrays, as frames from memory have no file beside them")
    return clip


def _sought(option: str, source: Source | None) -> Source:
    if source is None:
        raise UsageError(f"{option}: is found in a clip, and frames in memory are none; render a file or give a mask")
    return source


def _places(names: Sequence[str], endpoints: Sequence[str]) -> tuple[int | None, ...]:
    """What each mask places; without names one places the timeline, or as many as endpoints these in their order."""
    known = ", ".join(endpoints)
    if not any(names):
        if len(names) not in (1, len(endpoints)):
            raise UsageError(
                f"mask: got {len(names)} masks without names, expected one, or one for each endpoint ({known}); "
                "NAME=FILE places some of them"
            )
        return (None,) if len(names) == 1 else tuple(range(len(endpoints)))
    for name in names:
        if name not in endpoints:
            what = f"{name}: unknown endpoint" if name else "a mask without a name beside others with one"
            raise UsageError(f"mask: {what}; expected NAME=FILE with a name of {known}")
        if names.count(name) > 1:
            raise UsageError(f"mask: two masks for {name}, expected one")
    return tuple(endpoints.index(name) for name in names)
