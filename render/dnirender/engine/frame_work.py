"""The renders that frames need, of whole pictures or of parts of them, in batches."""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dnirender.frames import Alpha, Batch, Frame, Image
from dnirender.masks.alpha_map import AlphaMap, Layer
from dnirender.masks.regions import Box, Surroundings, cover

if TYPE_CHECKING:
    from dnirender.engine.engine import Engine
    from dnirender.engine.layered import LayeredRenderer

Renders = dict[Alpha | str, Image]
"""The renders of one frame: of the whole picture by alpha, of mixtures over the picture by a name."""
OPENVINO_CROP = 1.6  # cost of a pixel in a crop, which PyTorch renders, where OpenVINO renders whole frames


@dataclass(frozen=True)
class Task:
    """A render of a frame, or of a part of it, under one alpha. `put` takes the result."""

    frame: Frame
    alpha: Alpha
    put: Callable[[Image], None]


class FrameWork:
    """A frame and what is to be rendered of it.

    renders: what is rendered so far; complete when `missing` is 0
    """

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.renders = Renders()
        self.missing = 0
        self._tasks = list[Task]()
        self._wholes = dict[Alpha, list[Callable[[Image], None]]]()

    @property
    def tasks(self) -> list[Task]:
        """All that is to be rendered, the whole picture once for each alpha."""
        wholes = [Task(self.frame, alpha, _put_all(puts)) for alpha, puts in self._wholes.items()]
        return [*wholes, *self._tasks]

    def add_whole(self, alpha: Alpha, name: str | None = None) -> None:
        """The whole picture under `alpha`, as `renders[name]`, by default as `renders[alpha]`."""

        def put(image: Image) -> None:
            self.renders[alpha if name is None else name] = image
            self.missing -= 1

        self._add_whole(alpha, put)

    def add_map(self, name: str, alpha_map: AlphaMap, cutter: Cutter) -> None:
        """The picture under the mixtures of a map, which has the size of the render, as `renders[name]`."""
        if alpha_map.is_constant:
            self.add_whole(alpha_map.layers[0].alpha, name)
            return
        image, blend = self.frame.image, _Blend(alpha_map, self.frame.image, cutter.scale)
        parts = [(layer, box) for layer in alpha_map.layers for box in cutter.boxes(layer, image)]
        left = len(parts)

        def put(render: Image, layer: Layer, box: Box, outer: Box) -> None:
            nonlocal left
            blend.add(render, layer, box, outer)
            left -= 1
            self.missing -= 1
            if not left:
                self.renders[name] = blend.result()

        for layer, box in parts:
            outer = cutter.around(box, image)
            put_part = functools.partial(put, layer=layer, box=box, outer=outer)
            if outer == cutter.whole(image):
                self._add_whole(layer.alpha, put_part)
                continue
            crop = np.ascontiguousarray(image[outer.rows, outer.columns])
            self._tasks.append(Task(replace(self.frame, image=crop, opacity=None), layer.alpha, put_part))
            self.missing += 1

    def add_layered(self, name: str, alpha_map: AlphaMap, renderer: LayeredRenderer) -> None:
        """The picture under the mixtures of a map, rendered at once by mixing inside of the layers."""
        if alpha_map.is_constant:
            self.add_whole(alpha_map.layers[0].alpha, name)
        else:
            self.renders[name] = renderer(self.frame, alpha_map)

    def _add_whole(self, alpha: Alpha, put: Callable[[Image], None]) -> None:
        self._wholes.setdefault(alpha, []).append(put)
        self.missing += 1


def _put_all(puts: Sequence[Callable[[Image], None]]) -> Callable[[Image], None]:
    def put(image: Image) -> None:
        for each in puts:
            each(image)

    return put


class Cutter:
    """Cuts from pictures what is needed to render a layer of a map: with the receptive field around it, all of the
    picture for a network whose output depends on all of it, or where cutting would not pay."""

    def __init__(self, engine: Engine) -> None:
        network = engine.network
        self.scale = network.scale
        self._radius, self._multiple, self._minimum = engine.planner.receptive_radius, network.multiple, network.minimum
        self._crop_cost = OPENVINO_CROP if engine.backend == "openvino" else 1.0

    def boxes(self, layer: Layer, image: Image) -> list[Box]:
        """Parts of the picture, in its own pixels, that together have all pixels of the layer."""
        height, width = image.shape[:2]
        whole = [self.whole(image)]
        if self._radius is None:
            return whole
        region = np.zeros((height * self.scale, width * self.scale), bool)
        region[layer.rows, layer.columns] = layer.share > 0
        if self.scale > 1:
            region = np.asarray(region.reshape(height, self.scale, width, self.scale).any((1, 3)))
        surroundings = self._surroundings(image)
        boxes = cover(region, surroundings)
        pays = sum(map(surroundings.cost, boxes)) * self._crop_cost < height * width
        return boxes if pays else whole

    def whole(self, image: Image) -> Box:
        """All of the picture."""
        return Box(0, 0, *image.shape[:2])

    def around(self, box: Box, image: Image) -> Box:
        """The part to render for a box."""
        return box if self._radius is None else self._surroundings(image).around(box)

    def _surroundings(self, image: Image) -> Surroundings:
        height, width = image.shape[:2]
        return Surroundings(height, width, self._radius or 0, self._multiple, self._minimum)


class _Blend:
    """The sum of rendered layers, each with its share."""

    def __init__(self, alpha_map: AlphaMap, image: Image, scale: int) -> None:
        self._scale, self._dtype = scale, image.dtype
        self._total = np.zeros((alpha_map.height, alpha_map.width, 3), np.float32)

    def add(self, render: Image, layer: Layer, box: Box, outer: Box) -> None:
        """The pixels of `box` of a render of `outer`."""
        scale = self._scale
        top, bottom = max(box.top * scale, layer.rows.start), min(box.bottom * scale, layer.rows.stop)
        left, right = max(box.left * scale, layer.columns.start), min(box.right * scale, layer.columns.stop)
        share = layer.share[
            top - layer.rows.start : bottom - layer.rows.start, left - layer.columns.start : right - layer.columns.start
        ]
        first, start = outer.top * scale, outer.left * scale
        part = render[top - first : bottom - first, left - start : right - start]
        self._total[top:bottom, left:right] += share[:, :, None] * part

    def result(self) -> Image:
        top = np.iinfo(self._dtype).max
        return np.clip(np.rint(self._total), 0, top).astype(self._dtype)


def render_works(engine: Engine, works: Iterable[FrameWork], batch_size: int) -> Iterator[FrameWork]:
    """Renders the tasks of frames, `batch_size` frames at a time, and yields the frames in order as they become
    complete. Successive frames with tasks of one alpha and size are rendered together."""
    pending, sent = deque[FrameWork](), deque[list[Task]]()
    for _, images in engine(_batches(works, batch_size, pending, sent)):
        for task, image in zip(sent.popleft(), images, strict=True):
            task.put(image)
        while pending and not pending[0].missing:
            yield pending.popleft()
    yield from pending  # frames that need no render


def _batches(
    works: Iterable[FrameWork], batch_size: int, pending: deque[FrameWork], sent: deque[list[Task]]
) -> Iterator[Batch]:
    for block in _blocks(works, batch_size):
        pending.extend(block)
        groups = dict[tuple[Alpha, tuple[int, ...]], list[Task]]()
        for work in block:
            for task in work.tasks:
                groups.setdefault((task.alpha, task.frame.image.shape), []).append(task)
        for (alpha, _), tasks in groups.items():
            sent.append(tasks)
            yield Batch(tuple(task.frame for task in tasks), alpha)


def _blocks(works: Iterable[FrameWork], size: int) -> Iterator[tuple[FrameWork, ...]]:
    iterator = iter(works)
    while block := tuple(itertools.islice(iterator, size)):
        yield block
