"""Rendering in smaller pieces where memory runs out."""

from __future__ import annotations

import torch
from torch import Tensor

from dnirender.engine.executor import Model
from dnirender.engine.memory import MemoryPlanner, is_out_of_memory
from dnirender.engine.tiling import render_tiled
from dnirender.frames import Alpha
from dnirender.networks.weights import MixedWeights


class MemoryRetry:
    """A model that calls another one with as many frames at once, and in such tiles, as `planner` allows.

    Where memory runs out, the planner halves the number of frames, then the tile, and the pixels are rendered again.
    The error of the last attempt is raised where nothing smaller is possible.
    """

    def __init__(self, model: Model, planner: MemoryPlanner) -> None:
        self._model = model
        self._planner = planner

    @property
    def weights(self) -> tuple[MixedWeights, ...]:
        return self._model.weights

    def __call__(self, pixels: Tensor, alpha: Alpha) -> tuple[Tensor, Tensor]:
        while True:
            limits = self._planner.limits
            try:
                chunks = pixels.split(self._planner.max_frames or len(pixels))
                results = [self._render(chunk, alpha) for chunk in chunks]
                return results[0] if len(results) == 1 else _concatenate(results)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not self._planner.shrink(limits, *pixels.shape[:3]):
                    raise
            if pixels.is_cuda:
                torch.cuda.empty_cache()

    def _render(self, pixels: Tensor, alpha: Alpha) -> tuple[Tensor, Tensor]:
        if (tiles := self._planner.tiles(*pixels.shape[1:3])) is None:
            return self._model(pixels, alpha)
        return render_tiled(lambda tile: self._model(tile, alpha), pixels, tiles, self._planner.network.scale)


def _concatenate(results: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    pixels, sums = zip(*results, strict=True)
    return torch.cat(pixels), torch.cat(sums)
