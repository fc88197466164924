"""The mixtures over the picture of a job's frames, from its masks and its timeline."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dnirender.engine.frame_work import Cutter, FrameWork
from dnirender.engine.levels import choose_levels
from dnirender.frames import Alpha, Frame, Image
from dnirender.jobs.plan import Plan
from dnirender.layout.panels import MASK
from dnirender.mask_settings import MaskSettings
from dnirender.masks.alpha_map import AlphaMap, Plane, constant, in_pixels, mix, spread
from dnirender.masks.edges import as_picture
from dnirender.masks.fronts import Front
from dnirender.masks.masking import Masking
from dnirender.timeline.interpolation import Way
from dnirender.timeline.tracks import join_alphas

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine
    from dnirender.engine.layered import LayeredRenderer

MAX_WAYS = 6  # between mixtures, on which levels are measured: the longest ones
MAPPED = ("render", "crossfade", MASK)
"""The panels that show alpha over the picture."""


def make_works(plan: Plan, engine: Engine, panels: Sequence[str]) -> Callable[[Frame, Sequence[Plane]], FrameWork]:
    """A function of (a frame of the size to be rendered, its masks as `Masking.read` has them) to what is to be
    rendered of it, so that every panel can be shown."""
    preset, first = plan.job.preset, plan.selection.indices[0]
    alphas = join_alphas(plan.selection.tracks)
    cutter = Cutter(engine) if plan.is_mapped else None
    layered = layered_renderer(plan.job.preset.mask, engine) if plan.is_mapped else None

    def work(frame: Frame, planes: Sequence[Plane]) -> FrameWork:
        alpha, result = alphas[frame.index - first], FrameWork(frame)
        if cutter is None:
            for needed in plan.needs(alpha, panels):
                result.add_whole(needed)
            return result
        for needed in plan.needs(alpha, [panel for panel in panels if panel not in MAPPED]):
            result.add_whole(needed)
        way = plan.ways[frame.index - first] if plan.front else None
        maps = AlphaMaps(plan.masking, plan.front, alpha, way, frame, planes, cutter.scale)
        if "render" in panels:
            maps.add_render(result, preset.mask.levels or 2, cutter, layered)
        if MASK in panels:
            result.renders[MASK] = maps.shown(frame.image.dtype)
        if "crossfade" in panels:
            result.add_map("crossfade", maps.crossfaded(len(preset.endpoints)), cutter)
        return result

    return work


def layered_renderer(settings: MaskSettings, engine: Engine) -> LayeredRenderer | None:
    """What mixes inside of the layers, if the masks' settings ask for it. UsageError: the network cannot."""
    if not settings.layers:
        return None
    from dnirender.engine.layered import LayeredRenderer

    return LayeredRenderer(engine)


class AlphaMaps:
    """The maps of one frame, which is to be rendered `scale` times as large."""

    def __init__(
        self,
        masking: Masking | None,
        front: Front | None,
        alpha: Alpha,
        way: Way | None,
        frame: Frame,
        planes: Sequence[Plane],
        scale: int,
    ) -> None:
        self._masking, self._alpha, self._way = masking, alpha, way
        self._height, self._width = (side * scale for side in frame.image.shape[:2])
        size = self._width, self._height
        self._covers = masking.covers(planes, frame.image, *size) if masking else []
        self._progress = front.share(way.progress, frame.image, *size) if front and way else None

    def mixed(self, levels: int) -> AlphaMap:
        """The map that is rendered, with so many levels at a soft edge, and along each straight part of a way."""
        found = constant(self._alpha, self._height, self._width)
        if self._way is not None and self._progress is not None:
            nodes, alphas = _in_levels(self._way, levels)
            rest = self._alpha[len(alphas[0]) :]  # of groups of layers with a track of their own
            found = spread(self._progress, nodes, [alpha + rest for alpha in alphas])
        return self._masking.masked(found, self._covers, levels) if self._masking else found

    def shown(self, dtype: np.dtype[Any]) -> Image:
        """The mask as a picture [h, w, 3] of a dtype: read back as a file, it is the same mask."""
        return as_picture(self._covers[0], dtype)

    def add_render(self, work: FrameWork, levels: int, cutter: Cutter, layered: LayeredRenderer | None) -> None:
        """Adds the render under the mixed map to a frame's, by `levels` or inside of the layers."""
        if layered is None:
            work.add_map("render", self.mixed(levels), cutter)
        else:
            work.add_layered("render", self.mixed(2), layered)

    def crossfaded(self, num_endpoints: int) -> AlphaMap:
        """What is possible without mixing weights: with a wipe, the front between the renders of the two keys; else
        the same coefficients, as shares of the endpoints' renders."""
        if self._way is None or self._progress is None:
            return in_pixels(self.mixed(2), num_endpoints)
        found = spread(self._progress, (0.0, 1.0), (self._way.alphas[0], self._way.alphas[-1]))
        return self._masking.masked(found, self._covers, 2) if self._masking else found


def _in_levels(way: Way, levels: int) -> tuple[list[float], list[Alpha]]:
    """The nodes of a way with `levels` on each straight part, both ends counted, and their mixtures."""
    nodes, alphas = [way.nodes[0]], [way.alphas[0]]
    for number, (start, stop) in enumerate(itertools.pairwise(way.nodes)):
        for step in range(1, levels):
            part = step / (levels - 1)
            nodes.append(stop if step == levels - 1 else start + (stop - start) * part)
            alphas.append(mix(way.alphas[number], way.alphas[number + 1], part))
    return nodes, alphas


def needed_levels(plan: Plan, engine: Engine, images: Sequence[Image]) -> int:
    """The levels that soft edges of this job need on these images: for masks as if all of the picture were an edge,
    for wipes in the part of it that their front covers."""
    masking, wipes = plan.masking, [pair for way in plan.ways if way for pair in itertools.pairwise(way.alphas)]
    masks = [
        pair
        for alpha in (dict.fromkeys(plan.selection.alphas) if masking else ())
        for pair in itertools.combinations(masking.targets(alpha) if masking else (), 2)
    ]
    softness = plan.front.softness if plan.front else 0.0
    return max(choose_levels(engine, images, longest(masks)), choose_levels(engine, images, longest(wipes), softness))


def longest(ways: Sequence[tuple[Alpha, Alpha]]) -> list[tuple[Alpha, Alpha]]:
    """Of ways between two mixtures the MAX_WAYS that lead farthest."""
    lengths = {(a, b): sum(abs(x - y) for x, y in zip(a, b, strict=True)) for a, b in dict.fromkeys(ways)}
    return sorted((way for way, length in lengths.items() if length), key=lambda way: -lengths[way])[:MAX_WAYS]
