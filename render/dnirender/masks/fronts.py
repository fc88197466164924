"""The fronts of wipes, drawn: when each pixel changes, and how far it has."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dnirender.errors import UsageError
from dnirender.files import sample_hash
from dnirender.frames import Image
from dnirender.masks.alpha_map import Plane
from dnirender.masks.edges import fitted, gray
from dnirender.masks.files import read_picture
from dnirender.timeline.expression import FUNCTIONS, Expression, both, either, negate, where
from dnirender.timeline.wipe import Wipe

OCTAVES = 3  # of noise, each half as large and half as strong

Array = npt.NDArray[np.float64]


class Front:
    """A wipe over pictures. MediaError: its picture cannot be read."""

    def __init__(self, wipe: Wipe) -> None:
        self._wipe = wipe
        self._picture = gray(read_picture(Path(wipe.file))[0]) if wipe.file else None
        self._orders = dict[tuple[int, int], Plane]()

    @property
    def softness(self) -> float:
        """The share of the picture, about, that the front covers in the middle of its way; 1 where it is not known."""
        expression = self._wipe.expression
        return 1.0 if expression is not None and "progress" in expression.program else self._wipe.softness

    @property
    def identity(self) -> str:
        """Tells its picture from any other."""
        return sample_hash(Path(self._wipe.file)) if self._wipe.file else ""

    def share(self, progress: float, image: Image, width: int, height: int) -> Plane:
        """How far each pixel of a render of `image` that is `width` x `height` is from one key to the next, 0..1, when
        the front is at `progress`: 0 everywhere at 0, 1 everywhere at 1. UsageError: an expression is not finite."""
        wipe = self._wipe
        if wipe.expression is not None and "progress" in wipe.expression.program:
            found = np.clip(evaluate(wipe.expression, width, height, progress, wipe.seed), 0, 1)
            found = 1 - found if wipe.reverse else found
            return np.full_like(found, round(progress)) if progress in (0, 1) else found
        order = self._order(image, width, height)
        if wipe.softness == 0:
            return ((order < progress) | (progress >= 1)).astype(np.float32)
        reach = np.float32(progress * (1 + wipe.softness))
        return np.clip((reach - order) / np.float32(wipe.softness), 0, 1)

    def _order(self, image: Image, width: int, height: int) -> Plane:
        """When each pixel changes: 0 first, 1 last."""
        if self._wipe.name == "luma":
            order = fitted(gray(image), width, height)
            return 1 - order if self._wipe.reverse else order
        if (height, width) not in self._orders:
            order = (
                fitted(self._picture, width, height) if self._picture is not None else draw(self._wipe, width, height)
            )
            self._orders = {(height, width): 1 - order if self._wipe.reverse else order}
        return self._orders[height, width]


class _Grid:
    """The pixels' centers: x and y in 0..1, y upward."""

    def __init__(self, width: int, height: int) -> None:
        self.ratio = width / height
        x, y = (np.arange(width) + 0.5) / width, 1 - (np.arange(height) + 0.5) / height
        self.x, self.y = np.meshgrid(x, y)

    def around(self, wipe: Wipe) -> tuple[Array, Array]:
        """Distances to the right of and above its center, in heights of the picture."""
        return (self.x - wipe["x"]) * self.ratio, self.y - wipe["y"]

    def along(self, degrees: float) -> Array:
        """0..1 in a direction: 0 to the right, 90 upward."""
        angle = math.radians(degrees)
        return _normalized(self.x * self.ratio * math.cos(angle) + self.y * math.sin(angle))


DIRECTIONS = {"right": 0.0, "up": 90.0, "left": 180.0, "down": 270.0}


def draw(wipe: Wipe, width: int, height: int) -> Plane:
    """When each pixel changes, 0..1, of a wipe that depends on nothing but the size."""
    if wipe.expression is not None:
        return _normalized(evaluate(wipe.expression, width, height, 0.0, wipe.seed)).astype(np.float32)
    grid = _Grid(width, height)
    return np.asarray(_DRAWN["direction" if wipe.name in DIRECTIONS else wipe.name](wipe, grid), np.float32)


def _direction(wipe: Wipe, grid: _Grid) -> Array:
    return grid.along(DIRECTIONS[wipe.name])


def _angle(wipe: Wipe, grid: _Grid) -> Array:
    return grid.along(wipe["degrees"])


def _radial(wipe: Wipe, grid: _Grid) -> Array:
    distance = np.hypot(*grid.around(wipe))
    return distance / distance.max()


def _clock(wipe: Wipe, grid: _Grid) -> Array:
    right, above = grid.around(wipe)
    return (np.arctan2(right, above) / (2 * math.pi) - wipe["start"] / 360) % 1


def _iris(wipe: Wipe, grid: _Grid) -> Array:
    right, above = grid.around(wipe)
    sides = round(wipe["sides"])
    angles = [2 * math.pi * (k + 0.5) / sides + math.pi / 2 for k in range(sides)]
    distance = np.max([right * math.cos(angle) + above * math.sin(angle) for angle in angles], axis=0)
    return np.maximum(distance, 0) / distance.max()


def _blinds(wipe: Wipe, grid: _Grid) -> Array:
    along = np.minimum(grid.along(wipe["degrees"]), 1 - 1e-9)  # 1 would begin another blind
    return (along * round(wipe["count"])) % 1


def _noise(wipe: Wipe, grid: _Grid) -> Array:
    """Clouds, whose values are as frequent as any other, so that the same area changes in the same time."""
    height, width = grid.x.shape
    rng = np.random.default_rng(int(wipe.seed))
    total = np.zeros((height, width), np.float32)
    for octave in range(OCTAVES):
        cell = wipe["size"] / 2**octave
        rows, columns = 2 + math.ceil(1 / cell), 2 + math.ceil(grid.ratio / cell)
        values = rng.random((rows, columns), np.float32)
        fine = cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)
        total += np.asarray(fine, np.float32) / 2**octave
    ranks = np.empty(total.size)
    ranks[np.argsort(total, axis=None, kind="stable")] = np.linspace(0, 1, total.size)
    return ranks.reshape(total.shape)


_DRAWN: dict[str, Callable[[Wipe, _Grid], Array]] = {
    "direction": _direction,
    "angle": _angle,
    "radial": _radial,
    "clock": _clock,
    "iris": _iris,
    "blinds": _blinds,
    "noise": _noise,
}


def _normalized(values: npt.NDArray[np.floating[Any]]) -> Array:
    low, high = values.min(), values.max()
    return np.asarray((values - low) / (high - low) if high > low else np.zeros(values.shape), np.float64)


def evaluate(expression: Expression, width: int, height: int, progress: float, seed: float) -> Plane:
    """The value of an expression in the variables of wipes at every pixel. UsageError: it is not finite at one."""
    grid = _Grid(width, height)
    variables = {"x": grid.x, "y": grid.y, "progress": progress, "ratio": grid.ratio, "seed": seed, "pi": math.pi}
    stack = list[Any]()
    with np.errstate(all="ignore"):
        for step in expression.program:
            if isinstance(step, tuple):
                function, count = step
                arguments = stack[-count:]
                del stack[-count:]
                stack.append(np.asarray(ARRAY_FUNCTIONS[function](*arguments), np.float64))
            else:
                stack.append(np.float64(step) if not isinstance(step, str) else variables[step])
    found = np.broadcast_to(np.asarray(stack[0], np.float64), (height, width))
    if not np.isfinite(found).all():
        row, column = (int(index[0]) for index in np.nonzero(~np.isfinite(found)))
        where_at = f"x {grid.x[row, column]:.3g}, y {grid.y[row, column]:.3g}, progress {progress:.3g}"
        raise UsageError(f"wipe={expression.text!r}: is {found[row, column]} at {where_at}; expected finite numbers")
    return found.astype(np.float32)


def _extreme(choose: Any) -> Callable[..., Any]:
    return lambda *values: choose.reduce(np.broadcast_arrays(*values))


def _where(condition: Any, yes: Any, no: Any) -> Any:
    return np.where(np.asarray(condition) != 0, yes, no)


ARRAY_FUNCTIONS: dict[Callable[..., float], Callable[..., Any]] = {
    **{FUNCTIONS[name][1]: getattr(np, name) for name in FUNCTIONS if name not in ("where", "min", "max")},
    FUNCTIONS["min"][1]: _extreme(np.minimum),
    FUNCTIONS["max"][1]: _extreme(np.maximum),
    where: _where,
    negate: np.negative,
    either: np.logical_or,
    both: np.logical_and,
    math.pow: np.power,
    operator.truediv: np.divide,
    operator.mod: np.mod,
    operator.add: np.add,
    operator.sub: np.subtract,
    operator.mul: np.multiply,
    operator.lt: np.less,
    operator.le: np.less_equal,
    operator.gt: np.greater,
    operator.ge: np.greater_equal,
    operator.eq: np.equal,
    operator.ne: np.not_equal,
}
"""The functions of expressions, for all pixels at once."""
