"""Rendering on a GPU. The only file that knows CUDA streams, events and pinned memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor

from dnirender.engine.color import from_rgb, to_rgb
from dnirender.engine.cuda_graphs import Graphed
from dnirender.engine.executor import Model, RenderedBatch
from dnirender.engine.memory import render_errors
from dnirender.engine.torch_model import as_tensor
from dnirender.frames import Alpha, Batch, Image
from dnirender.media.planar import PlanarFormat, PlanarImage
from dnirender.networks.weights import MixedWeights


class Streams:
    """Upload, computation and download, which overlap."""

    def __init__(self, device: torch.device) -> None:
        self.upload, self.compute, self.download = (torch.cuda.Stream(device) for _ in range(3))

    def synchronize(self) -> None:
        for stream in (self.upload, self.compute, self.download):
            stream.synchronize()


class InFlightBatch:
    """Tensors and events of one batch in flight.

    The pinned buffer of frames is reused as long as the shape of batches stays. Those of results are new for each
    batch, as the images that are passed on share their memory; PyTorch uses it again once they are gone. `form` is the
    format of frames that came as planes, `rendered_form` that in which their renders go.
    """

    uploaded_frames: Tensor
    rendered: Tensor
    sums: Tensor
    pinned_rendered: Tensor
    pinned_sums: Tensor
    form: PlanarFormat | None = None
    rendered_form: PlanarFormat | None = None

    def __init__(self) -> None:
        self.uploaded, self.computed, self.downloaded = (torch.cuda.Event() for _ in range(3))
        self.pinned_frames = torch.empty(0)

    def copy_to_pinned(self, batch: Batch) -> Tensor:
        """The frames in pinned memory, as pixels [n, h, w, 3] or samples of planes [n, form.size]."""
        self.form, self.rendered_form = _formats(batch)
        images = [_samples(frame.image) if self.form else as_tensor(frame.image) for frame in batch.frames]
        shape, dtype = (len(images), *images[0].shape), images[0].dtype
        if self.pinned_frames.shape != shape or self.pinned_frames.dtype != dtype:
            self.pinned_frames = torch.empty(shape, dtype=dtype, pin_memory=True)
        for target, image in zip(self.pinned_frames, images, strict=True):
            target.copy_(image)
        return self.pinned_frames

    def start_download(self) -> None:
        self.pinned_rendered, self.pinned_sums = (
            torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in (self.rendered, self.sums)
        )
        self.pinned_rendered.copy_(self.rendered, non_blocking=True)
        self.pinned_sums.copy_(self.sums, non_blocking=True)

    def images(self) -> tuple[Image, ...]:
        """The results, once they are downloaded."""
        images, form = [rendered.numpy() for rendered in self.pinned_rendered], self.rendered_form
        return tuple(cast(Image, PlanarImage(image, form)) if form else image for image in images)


def _formats(batch: Batch) -> tuple[PlanarFormat | None, PlanarFormat | None]:
    """Those of frames that are all planar and alike, and of their renders."""
    images: list[object] = [frame.image for frame in batch.frames]
    formats = {(image.form, image.rendered) if isinstance(image, PlanarImage) else (None, None) for image in images}
    return formats.pop() if len(formats) == 1 else (None, None)


def _samples(image: Image) -> Tensor:
    return as_tensor(cast(PlanarImage, image).samples)


class CUDAExecutor:
    """An executor that has two batches in flight, so that the device always has work.

    `models` are two copies of one network on `device`, each with weights of its own: those of the next batch are
    written into one copy while the other one computes. Frames that are planes are converted on the device.
    """

    def __init__(self, models: Sequence[Model], device: torch.device) -> None:
        self._models = list(models)  # the one that was used last comes first
        self._device = device
        self._last_use: dict[Model, torch.cuda.Event] = {}
        self._conversions: dict[tuple[object, PlanarFormat], Graphed] = {}

    @property
    def weights(self) -> tuple[MixedWeights, ...]:
        return tuple(weights for model in self._models for weights in model.weights)

    def __call__(self, batches: Iterable[Batch]) -> Generator[RenderedBatch]:
        """Batch k is submitted before batch k - 1 is waited for."""
        # Waiting for the whole device is not allowed while another thread records a graph.
        torch.cuda.default_stream(self._device).synchronize()  # on which the modules were made
        streams = Streams(self._device)
        free = deque([InFlightBatch(), InFlightBatch()])
        submitted: deque[tuple[Batch, InFlightBatch]] = deque()
        try:
            for batch in batches:
                submitted.append((batch, free.popleft()))
                with render_errors(batch, str(self._device)):
                    self._submit(*submitted[-1], streams)
                if not free:
                    yield _collect(*submitted[0])
                    free.append(submitted.popleft()[1])
            for batch, in_flight in submitted:
                yield _collect(batch, in_flight)
        finally:
            streams.synchronize()  # buffers are freed only when nothing on the device uses them

    def _submit(self, batch: Batch, in_flight: InFlightBatch, streams: Streams) -> None:
        """Nothing here waits for the device. `in_flight` keeps every tensor alive until the batch is collected."""
        pinned = in_flight.copy_to_pinned(batch)
        with torch.cuda.stream(streams.upload):
            in_flight.uploaded_frames = pinned.to(self._device, non_blocking=True)
            model = self._model_for(batch.alpha)
            in_flight.uploaded.record()
        with torch.cuda.stream(streams.compute):
            streams.compute.wait_event(in_flight.uploaded)
            pixels = self._converted(to_rgb, in_flight.uploaded_frames, in_flight.form)
            rendered, in_flight.sums = model(pixels, batch.alpha)
            in_flight.rendered = self._converted(from_rgb, rendered, in_flight.rendered_form)
            in_flight.computed.record()
            self._last_use[model] = in_flight.computed
        with torch.cuda.stream(streams.download):
            streams.download.wait_event(in_flight.computed)
            in_flight.start_download()
            in_flight.downloaded.record()

    def _converted(
        self, convert: Callable[[Tensor, PlanarFormat], Tensor], batch: Tensor, form: PlanarFormat | None
    ) -> Tensor:
        """The batch, converted frame by frame: a smaller batch needs no other graph and less memory."""
        if form is None:
            return batch
        if (convert, form) not in self._conversions:
            self._conversions[convert, form] = Graphed(lambda frame: (convert(frame, form),))
        frames = [self._conversions[convert, form](frame)[0] for frame in batch.split(1)]
        return frames[0] if len(frames) == 1 else torch.cat(frames)

    def _model_for(self, alpha: Alpha) -> Model:
        """The model that has theta(alpha). Where alpha changes, it is written into the model that was not used last:
        the batch in flight still reads the other one."""
        if any(weights.alpha != alpha for weights in self._models[0].weights):
            self._models.reverse()
            if self._models[0] in self._last_use:
                torch.cuda.current_stream(self._device).wait_event(self._last_use[self._models[0]])
            for weights in self._models[0].weights:
                weights.write(alpha)
        return self._models[0]


def _collect(batch: Batch, in_flight: InFlightBatch) -> RenderedBatch:
    in_flight.downloaded.synchronize()
    finite = tuple(math.isfinite(total) for total in in_flight.pinned_sums.tolist())
    return RenderedBatch(batch, in_flight.images(), finite)
