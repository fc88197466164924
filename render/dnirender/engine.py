"""Batches in, rendered batches out. The only file that knows CUDA streams, events and pinned memory."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from dnirender import compiled, probe
from dnirender.device import choose_device, fast_dtypes
from dnirender.errors import ModelError, RenderError, UsageError
from dnirender.frames import Alpha, Batch, Frame, Image
from dnirender.network import Network, unit
from dnirender.weights import Live, LiveWeights, WeightPath

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Half a code of 8 bits, on average over a picture: what `auto` lets a faster dtype cost at any endpoint.
MAX_ERROR = 0.5 / 255
BACKENDS = ("auto", "torch", "openvino")
FEW = 32  # pictures: measuring takes four or five and a second of compiling
WORTH_TRYING = 5.0  # seconds that a job takes in PyTorch
WRONG = 10 * MAX_ERROR  # no rounding explains it

Rendered = tuple[Batch, tuple[Image, ...]]


class Engine:
    """Renders batches under the weights of their alphas: `engine(batches)` yields (batch, pictures) in order.

    A picture comes back in its own dtype, `network.scale` times as large, rounded to nearest from a float clamped to
    0..1. The result does not depend on the batch size; on the CPU not by a bit: there pictures run one by one, which is
    faster too, as activations stay in the caches. On CUDA two batches are in flight, and the next weights are written
    into a second copy of the network while the current batch runs.

    `device` is auto, cpu, cuda or cuda:N; `dtype` is auto, fp32, bf16 or fp16, and auto takes a faster one only where
    the hardware has it and a probe stays within MAX_ERROR of fp32 at every endpoint. `choice` tells what was taken and
    why. `backend` is auto, torch or openvino: what `tune` chooses from. `threads` is set for the whole process; `path`
    is moved to the device.

    UsageError: a device, dtype or backend that is not to be had. ModelError: output that is not finite. RenderError: no
    memory.
    """

    def __init__(
        self,
        network: Network,
        path: WeightPath,
        *,
        device: str = "auto",
        dtype: str = "auto",
        backend: str = "auto",
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            if threads < 1:
                raise UsageError(f"--threads {threads}: expected 1 or more")
            torch.set_num_threads(threads)
        self.network = network
        self.device = choose_device(device)
        if self.device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # on by default: fp32 convolutions with the mantissa of fp16
        path.to(self.device)
        self._path = path
        self.dtype, why = self._choose(dtype)
        self.choice = self._why = f"{self.device}, {self.dtype}: {why}"
        self._asked = self._check(backend)
        self._inputs: LiveWeights | None = None
        self._compiled: compiled.Compiled | None = None
        self._seconds: dict[tuple[int, int, type], float] = {}
        self._tuned: tuple[int, int, type] | None = None
        self._slots = [self._live(self.dtype) for _ in range(2 if self.device.type == "cuda" else 1)]
        self._in_use: dict[Live, torch.cuda.Event] = {}

    @property
    def writes(self) -> int:
        """How often weights were written: at most once per change of alpha."""
        return sum(live.writes for live in self._all_live())

    @property
    def backend(self) -> str:
        """torch or openvino: what renders pictures of the size last tuned for."""
        return "openvino" if self._compiled else "torch"

    def tune(self, height: int, width: int, count: int, depth: int = 8) -> None:
        """Takes what renders `count` pictures of this size and depth soonest: on the CPU either PyTorch or, where it is
        installed and within MAX_ERROR at every endpoint, the network compiled by OpenVINO.

        This is measured, so it may differ from run to run, and pictures with it by MAX_ERROR. Other sizes are rendered
        by PyTorch. ModelError: OpenVINO was asked for and cannot run the network, or not rightly.
        """
        kind = np.uint8 if depth <= 8 else np.uint16
        job = (height, width, kind)
        if job == self._tuned:
            return
        self._tuned, self._compiled, self.choice = None, None, self._why
        if self._asked == "torch" or (self._asked == "auto" and (count < FEW or not self._can_compile())):
            return
        image = probe.picture(height, width, kind)
        try:
            with _memory(Batch((Frame(0, 0, image),), ()), "cpu"):
                if job not in self._seconds:
                    self._seconds[job] = probe.soonest(lambda: self._run(image, self._ends()[-1]))
                if self._asked == "openvino" or count * self._seconds[job] >= WORTH_TRYING:
                    self._try_openvino(image, self._seconds[job])
                    self._tuned = job
        finally:
            for live in self._all_live():
                live.alpha = None  # the first write of the job is one

    def _try_openvino(self, image: Image, seconds: float) -> None:
        """Takes OpenVINO where it was asked for, or is right and takes less than `seconds` for `image`."""
        try:
            error = self._compiled_error(probe.picture(probe.SIDE, probe.SIDE))
            graph = self._compile(image)
            error = max(error, self._apart(graph, self._slots[0], image, self._ends()[-1]))
            compiled_seconds = probe.soonest(lambda: graph(image))
        except Exception as failure:  # what OpenVINO raises for a network it cannot compile is not documented
            if self._asked == "openvino":
                raise ModelError(f"{self.network.architecture}: OpenVINO cannot run it: {failure}") from failure
            self.choice = f"{self._why}; OpenVINO cannot run it"
            return
        if self._asked == "openvino" and error > WRONG:
            raise ModelError(
                f"{self.network.architecture}: OpenVINO renders it wrongly, with a mean error of {error * 255:.3f} of "
                "255; use --backend torch"
            )
        if self._asked == "openvino" or (error <= MAX_ERROR and compiled_seconds < seconds):
            self._compiled = graph
        self.choice = (
            f"{self._why}; {self.backend}: OpenVINO takes {compiled_seconds * 1e3:.0f} ms a picture with a mean error "
            f"of {error * 255:.3f} of 255, PyTorch {seconds * 1e3:.0f} ms"
        )

    def _check(self, backend: str) -> str:
        if backend not in BACKENDS:
            raise UsageError(f"--backend {backend}: expected {', '.join(BACKENDS)}")
        if backend == "openvino" and not self._can_compile():
            if not compiled.available():
                raise UsageError("--backend openvino: it is not installed; pip install 'dnirender[openvino]'")
            raise UsageError(
                "--backend openvino: expected a convolutional network in fp32 or bf16 on the CPU, "
                f"got {self.network.architecture} in {self.dtype} on {self.device}; use --backend torch"
            )
        return backend

    def _can_compile(self) -> bool:
        suits = self.network.channels_last and self.dtype in compiled.PRECISIONS
        return self.device.type == "cpu" and suits and compiled.available()

    def _compile(self, image: Image) -> compiled.Compiled:
        self._inputs = self._inputs or LiveWeights(self._path)
        return compiled.Compiled(self.network, self._inputs, image, self.dtype, torch.get_num_threads())

    def _compiled_error(self, image: Image) -> float:
        """The largest mean difference to PyTorch in fp32 at an endpoint, in 0..1."""
        graph, exact = self._compile(image), self._live("fp32")
        return max(self._apart(graph, exact, image, alpha) for alpha in self._ends())

    def _apart(self, graph: compiled.Compiled, live: Live, image: Image, alpha: Alpha) -> float:
        """The mean difference between what `graph` and PyTorch make of `image`, in 0..1; Inf where it is not finite."""
        live.write(alpha)
        graph.write(alpha)
        picture, total = graph(image)
        wanted, _ = self._render(live, torch.from_numpy(image)[None])
        difference = (picture.float() - wanted[0].float()).abs().mean() / np.iinfo(image.dtype).max
        return float(difference) if math.isfinite(total) else math.inf

    def _all_live(self) -> list[LiveWeights]:
        return [*self._slots, *([self._inputs] if self._inputs else [])]

    def _ends(self) -> list[Alpha]:
        """The alphas of the endpoints."""
        names = self._path.names
        return [tuple(float(name == end) for name in names) for end in names]

    def __call__(self, batches: Iterable[Batch]) -> Iterator[Rendered]:
        return self._overlapped(batches) if self.device.type == "cuda" else self._one_by_one(batches)

    def render(self, image: Image, alpha: Alpha) -> Image:
        """One picture, as if it were frame 0."""
        [(_, (rendered,))] = self([Batch((Frame(0, 0, image),), alpha)])
        return rendered

    def _live(self, dtype: str) -> Live:
        return Live(self._path, copy.deepcopy(self.network.module), DTYPES[dtype])

    def _weights(self, alpha: Alpha) -> Live:
        """The module with theta(alpha). With two slots the other one is written: the batch in flight reads this one."""
        if alpha != self._slots[0].alpha:
            self._slots.reverse()
            if self._slots[0] in self._in_use:
                torch.cuda.current_stream(self.device).wait_event(self._in_use[self._slots[0]])
            self._slots[0].write(alpha)
        return self._slots[0]

    @torch.inference_mode()
    def _render(self, live: Live, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.render(live.module, pixels, live.flat.dtype)

    def _image(self, frame: Frame, alpha: Alpha, picture: Tensor, total: float) -> Image:
        if not math.isfinite(total):
            advice = "the weights overflow there" if self.dtype == "fp32" else "try --dtype fp32"
            where = f"frame {frame.index}, alpha {alpha}, {self.dtype}"
            raise ModelError(f"{where}: the network's output is not finite (NaN or Inf); {advice}")
        return picture.numpy()

    def _one_by_one(self, batches: Iterable[Batch]) -> Iterator[Rendered]:
        for batch in batches:
            images: list[Image] = []
            with _memory(batch, "cpu"):
                for frame in batch.frames:
                    picture, total = self._run(np.require(frame.image, requirements=["C", "W"]), batch.alpha)
                    images.append(self._image(frame, batch.alpha, picture, total))
            yield batch, tuple(images)

    def _run(self, image: Image, alpha: Alpha) -> tuple[Tensor, float]:
        """One picture on the CPU."""
        if self._compiled and self._compiled.fits(image):
            self._compiled.write(alpha)
            return self._compiled(image)
        pictures, totals = self._render(self._weights(alpha), torch.from_numpy(image)[None])
        return pictures[0], float(totals)

    def _overlapped(self, batches: Iterable[Batch]) -> Iterator[Rendered]:
        """CUDA. Batch k is queued before batch k - 1 is waited for, so that the device always has work."""
        torch.cuda.synchronize(self.device)  # the modules were made on the default stream
        streams = _Streams(self.device)
        free = deque([_Lane(), _Lane()])
        flying: deque[tuple[Batch, _Lane]] = deque()
        try:
            for batch in batches:
                flying.append((batch, free.popleft()))
                with _memory(batch, str(self.device)):
                    self._submit(*flying[-1], streams)
                if not free:
                    yield self._collect(*flying[0])
                    free.append(flying.popleft()[1])
            for batch, lane in flying:
                yield self._collect(batch, lane)
        finally:
            torch.cuda.synchronize(self.device)  # buffers may go when nothing on the device uses them

    def _submit(self, batch: Batch, lane: _Lane, streams: _Streams) -> None:
        """Nothing here waits for the device. The lane keeps every tensor alive until its batch is collected."""
        staged = lane.stage(batch)
        with torch.cuda.stream(streams.upload):
            lane.pixels = staged.to(self.device, non_blocking=True)
            live = self._weights(batch.alpha)
            lane.ready.record()
        with torch.cuda.stream(streams.compute):
            streams.compute.wait_event(lane.ready)
            lane.rendered, lane.sums = self._render(live, lane.pixels)
            lane.computed.record()
            self._in_use[live] = lane.computed
        with torch.cuda.stream(streams.download):
            streams.download.wait_event(lane.computed)
            lane.download()
            lane.done.record()

    def _collect(self, batch: Batch, lane: _Lane) -> Rendered:
        lane.done.synchronize()
        parts = zip(batch.frames, lane.result.clone(), lane.totals.tolist(), strict=True)  # lane.result is used again
        return batch, tuple(self._image(frame, batch.alpha, picture, total) for frame, picture, total in parts)

    def _choose(self, dtype: str) -> tuple[str, str]:
        """The dtype and why. The probe is the same on every run, so a render that is resumed chooses the same."""
        if dtype not in (*DTYPES, "auto"):
            raise UsageError(f"--dtype {dtype}: expected auto, {', '.join(DTYPES)}")
        if dtype == "fp32":
            return dtype, "as asked"
        asked, net = dtype != "auto", self.network
        good = {"bf16": net.supports_bf16, "fp16": net.supports_half}
        x = unit(_tensor(probe.picture(probe.SIDE, probe.SIDE))[None].to(self.device))
        reasons: list[str] = []
        for name in [dtype] if asked else fast_dtypes(self.device):
            error = self._error(name, x) if good[name] else math.inf
            if asked and error == math.inf:
                raise UsageError(
                    f"--dtype {name}: {net.architecture} does not work in it on {self.device}; use --dtype fp32"
                )
            limit = "" if asked else f", at most {MAX_ERROR * 255:.1f} is allowed"
            reasons.append(
                f"mean error of {name} {error * 255:.3f} of 255{limit}" if error < 1 else f"{name} does not work"
            )
            if asked or error <= MAX_ERROR:
                return name, reasons[-1]
        return "fp32", "; ".join(reasons) or "the hardware has nothing faster"

    @torch.inference_mode()
    def _forward(self, live: Live, x: Tensor) -> Tensor:
        return self.network.forward(live.module, x, live.flat.dtype)

    def _error(self, dtype: str, x: Tensor) -> float:
        """The largest mean difference to fp32 at an endpoint, in 0..1; Inf where the dtype does not work."""
        exact, fast = self._live("fp32"), self._live(dtype)
        errors: list[float] = []
        for alpha in self._ends():
            exact.write(alpha)
            fast.write(alpha)
            try:
                y = self._forward(fast, x)
            except RuntimeError:  # an operation that is not implemented for this dtype on this device
                return math.inf
            error = (y.clamp(0, 1) - self._forward(exact, x).clamp(0, 1)).abs().mean()
            errors.append(float(error) if bool(y.isfinite().all()) else math.inf)
        return max(errors)


class _Streams:
    def __init__(self, device: torch.device) -> None:
        self.upload, self.compute, self.download = (torch.cuda.Stream(device) for _ in range(3))


class _Lane:
    """What one batch in flight needs. Pinned buffers are used again as long as the batch's shape stays."""

    pixels: Tensor
    rendered: Tensor
    sums: Tensor

    def __init__(self) -> None:
        self.ready, self.computed, self.done = (torch.cuda.Event() for _ in range(3))
        self.staged = self.result = self.totals = torch.empty(0)

    def stage(self, batch: Batch) -> Tensor:
        images = [_tensor(frame.image) for frame in batch.frames]
        self.staged = _pinned(self.staged, (len(images), *images[0].shape), images[0].dtype)
        for place, image in zip(self.staged, images, strict=True):
            place.copy_(image)
        return self.staged

    def download(self) -> None:
        self.result = _pinned(self.result, self.rendered.shape, self.rendered.dtype)
        self.totals = _pinned(self.totals, self.sums.shape, self.sums.dtype)
        self.result.copy_(self.rendered, non_blocking=True)
        self.totals.copy_(self.sums, non_blocking=True)


def _pinned(buffer: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    same = buffer.shape == shape and buffer.dtype == dtype
    return buffer if same else torch.empty(shape, dtype=dtype, pin_memory=True)


def _tensor(image: Image) -> Tensor:
    """Shares memory with the picture where PyTorch can: it wants whole, writable arrays."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"]))


@contextmanager
def _memory(batch: Batch, device: str) -> Generator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        frame, count = batch.frames[0], len(batch.frames)
        height, width = frame.image.shape[:2]
        advice = "use --batch 1" if count > 1 and device != "cpu" else "use a smaller --width"
        raise RenderError(
            f"frame {frame.index}: {device} has no memory for {count} x {width}x{height}; {advice}"
        ) from error
