"""The mixtures over the picture of a job's frames, from its masks and its timeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dnirender.engine.frame_work import Cutter, FrameWork
from dnirender.frames import Alpha, Frame
from dnirender.jobs.plan import Plan
from dnirender.masks.alpha_map import AlphaMap, Plane, constant, in_pixels
from dnirender.masks.masking import Masking
from dnirender.timeline.tracks import join_alphas

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine

MAX_WAYS = 6  # between mixtures, on which levels are measured: the longest ones
MAPPED = ("render", "crossfade")
"""The panels that show alpha over the picture."""


def make_works(plan: Plan, engine: Engine, panels: Sequence[str]) -> Callable[[Frame, Sequence[Plane]], FrameWork]:
    """A function of (a frame of the size to be rendered, its masks as `Masking.read` has them) to what is to be
    rendered of it, so that every panel can be shown."""
    preset, first = plan.job.preset, plan.selection.indices[0]
    alphas = join_alphas(plan.selection.tracks)
    cutter = Cutter(engine) if plan.is_mapped else None

    def work(frame: Frame, planes: Sequence[Plane]) -> FrameWork:
        alpha, result = alphas[frame.index - first], FrameWork(frame)
        if cutter is None:
            for needed in plan.needs(alpha, panels):
                result.add_whole(needed)
            return result
        for needed in plan.needs(alpha, [panel for panel in panels if panel not in MAPPED]):
            result.add_whole(needed)
        maps = AlphaMaps(plan.masking, alpha, frame, planes, cutter.scale)
        if "render" in panels:
            result.add_map("render", maps.mixed(preset.mask.levels or 2), cutter)
        if "crossfade" in panels:
            result.add_map("crossfade", maps.crossfaded(len(preset.endpoints)), cutter)
        return result

    return work


class AlphaMaps:
    """The maps of one frame, which is to be rendered `scale` times as large."""

    def __init__(
        self, masking: Masking | None, alpha: Alpha, frame: Frame, planes: Sequence[Plane], scale: int
    ) -> None:
        self._masking, self._alpha = masking, alpha
        self._height, self._width = (side * scale for side in frame.image.shape[:2])
        self._covers = masking.covers(planes, frame.image, self._width, self._height) if masking else []

    def mixed(self, levels: int) -> AlphaMap:
        """The map that is rendered."""
        found = constant(self._alpha, self._height, self._width)
        return self._masking.masked(found, self._covers, levels) if self._masking else found

    def crossfaded(self, num_endpoints: int) -> AlphaMap:
        """The same coefficients as shares of the endpoints' renders: what is possible without mixing weights."""
        return in_pixels(self.mixed(2), num_endpoints)


def ways_between(plan: Plan) -> list[tuple[Alpha, Alpha]]:
    """The ways between mixtures on which soft edges lie, those that lead farthest."""
    ways = dict[tuple[Alpha, Alpha], float]()
    for alpha in dict.fromkeys(plan.selection.alphas):
        targets = plan.masking.targets(alpha) if plan.masking else []
        for number, start in enumerate(targets):
            for stop in targets[number + 1 :]:
                ways[start, stop] = sum(abs(a - b) for a, b in zip(start, stop, strict=True))
    return sorted((way for way, length in ways.items() if length), key=lambda way: -ways[way])[:MAX_WAYS]
