"""Batches in, rendered batches out. The only file that knows CUDA streams, events and pinned memory."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dnirender.engine import calibration as probe
from dnirender.engine import openvino as compiled
from dnirender.engine.cuda import InFlightBatch, Streams, as_contiguous
from dnirender.engine.device import choose_device, fast_dtypes
from dnirender.engine.memory import MemoryPlanner, is_out_of_memory
from dnirender.engine.parallel import parallel_map
from dnirender.errors import ModelError, RenderError, UsageError
from dnirender.frames import Alpha, Batch, Frame, Image
from dnirender.networks.network import Network, to_unit_range
from dnirender.networks.weights import MixedModule, MixedWeights, WeightPath

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Half a code of 8 bits, on average over a picture: what `auto` lets a faster dtype cost at any endpoint.
MAX_ERROR = 0.5 / 255
MAX_WORKERS = 4  # pictures side by side on the CPU: more would wait for memory
BACKENDS = ("auto", "torch", "openvino")
MIN_FRAMES_TO_TUNE = 32  # pictures: measuring takes four or five and a second of compiling
MIN_SECONDS_TO_TUNE = 5.0  # seconds that a job takes in PyTorch
MAX_PLAUSIBLE_ERROR = 10 * MAX_ERROR  # no rounding explains it

Rendered = tuple[Batch, tuple[Image, ...]]


@dataclass
class _Worker:
    """What renders one picture at a time on the CPU: a network with live weights, and where it is taken, a graph."""

    live: MixedModule
    graph: compiled.OpenVINOModel | None = None


class Engine:
    """Renders batches under the weights of their alphas: `engine(batches)` yields (batch, pictures) in order.

    A picture comes back in its own dtype, `network.scale` times as large, rounded to nearest from a float clamped to
    0..1. The result does not depend on the batch size; on the CPU not by a bit: there pictures run one by one, which is
    faster too, as activations stay in the caches, and once `tune` was told of a job, as many of them side by side as
    threads and memory allow, up to LANES. On CUDA two batches are in flight, and the next weights are written into a
    second copy of the network while the current batch runs.

    `device` is auto, cpu, cuda or cuda:N; `dtype` is auto, fp32, bf16 or fp16, and auto takes a faster one only where
    the hardware has it and a probe stays within MAX_ERROR of fp32 at every endpoint. `choice` tells what was taken and
    why. `backend` is auto, torch or openvino: what `tune` chooses from. `threads` is set for the whole process; `tile`
    is the side of the tiles that pictures are cut into, in pixels of the source, or their height and width, and None
    cuts them only where memory asks for it; `path` is moved to the device. A picture that is not finite (NaN or Inf) in
    bf16 or fp16 is rendered again in fp32; `retried` lists the frames.

    UsageError: a device, dtype, backend or tile that is not to be had. ModelError: output that is not finite in fp32.
    RenderError: no memory.
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
        tile: int | tuple[int, int] | None = None,
    ) -> None:
        if threads is not None:
            if threads < 1:
                raise UsageError(f"--threads {threads}: expected 1 or more")
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()  # of this thread: a new one has what any thread has set last
        self.network = network
        self.device = choose_device(device)
        if self.device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # on by default: fp32 convolutions with the mantissa of fp16
        path.to(self.device)
        self._path = path
        self.dtype, why = self._choose(dtype)
        self.decision = self._why = f"{self.device}, {self.dtype}: {why}"
        self._asked = self._check(backend)
        self._memory_planner = MemoryPlanner(network, tile)
        self._tuned: tuple[int, int, type] | None = None
        self._longest = 0
        self._slots = [self._live(self.dtype) for _ in range(2 if self.device.type == "cuda" else 1)]
        self._in_use: dict[MixedModule, torch.cuda.Event] = {}
        self._workers = [_Worker(self._slots[0])]
        self.fp32_frames: list[int] = []
        self._exact: MixedModule | None = None
        self._exact_lock = threading.Lock()

    @property
    def weight_writes(self) -> int:
        """How often weights were written: at most once per change of alpha and lane."""
        return sum(live.weight_writes for live in self._all_live())

    @property
    def backend(self) -> str:
        """torch or openvino: what renders pictures of the size last tuned for."""
        return "openvino" if self._workers[0].graph else "torch"

    @property
    def workers(self) -> int:
        """How many pictures are rendered side by side on the CPU."""
        return len(self._workers)

    @property
    def tile(self) -> tuple[int, int] | None:
        """Height and width of the tiles in pixels of the source; None where pictures are rendered whole."""
        return self._memory_planner.tile

    def autotune(self, height: int, width: int, count: int, depth: int = 8) -> None:
        """Takes what renders `count` pictures of this size and depth soonest: on the CPU as many of them side by side
        as threads and memory allow, by PyTorch or, where it is installed and within MAX_ERROR at every endpoint, by the
        network compiled by OpenVINO; in tiles where they do not fit as a whole.

        This is measured, so it may differ from run to run, and pictures with it by MAX_ERROR. Other sizes are rendered
        by PyTorch. ModelError: OpenVINO was asked for and cannot run the network, or not rightly. RenderError: no tile
        fits into memory.
        """
        kind = np.uint8 if depth <= 8 else np.uint16
        if (height, width, kind) == self._tuned and count <= self._longest:
            return
        self._tuned, self._workers = None, [_Worker(self._slots[0])]
        wanted = max(1, min(self.threads, MAX_WORKERS, count)) if self.device.type == "cpu" else 1
        workers = self._memory_planner.plan(height, width, DTYPES[self.dtype], self.device, wanted)
        self._workers += [_Worker(self._live(self.dtype)) for _ in range(workers - 1)]
        told = [self._why]
        if self._asked == "openvino" or (self._asked == "auto" and count >= MIN_FRAMES_TO_TUNE and self._can_compile()):
            image = probe.calibration_image(height, width, kind)
            with _memory_errors(Batch((Frame(0, 0, image),), ()), "cpu"):
                told += self._compare(image, count)
        if workers > 1:
            told.append(f"{workers} pictures side by side")
        if self.tile:
            told.append(f"tiles of {self.tile[1]}x{self.tile[0]}")
        self.decision = "; ".join(told)
        self._forget()
        self._tuned, self._longest = (height, width, kind), count

    def _compare(self, image: Image, count: int) -> list[str]:
        """Takes OpenVINO for pictures like `image` where it was asked for, or is right and `count` of them are done
        sooner with it; says why."""
        seconds = self.seconds_per_frame(image)
        if self._asked == "auto" and count * seconds < MIN_SECONDS_TO_TUNE:
            return []
        try:
            error, compiled_seconds = self._try_openvino(image)
        except Exception as failure:  # what OpenVINO raises for a network it cannot compile is not documented
            self._take([])
            if self._asked == "openvino":
                raise ModelError(f"{self.network.architecture}: OpenVINO cannot run it: {failure}") from failure
            return ["OpenVINO cannot run it"]
        if self._asked == "openvino" and error > MAX_PLAUSIBLE_ERROR:
            self._take([])
            raise ModelError(
                f"{self.network.architecture}: OpenVINO renders it wrongly, with a mean error of {error * 255:.3f} of "
                "255; use --backend torch"
            )
        if self._asked == "auto" and (error > MAX_ERROR or compiled_seconds >= seconds):
            self._take([])
        return [
            f"{self.backend}: OpenVINO takes {compiled_seconds * 1e3:.0f} ms a picture with a mean error of "
            f"{error * 255:.3f} of 255, PyTorch {seconds * 1e3:.0f} ms"
        ]

    def _try_openvino(self, image: Image) -> tuple[float, float]:
        """Takes it, and returns its largest mean error at an endpoint, in 0..1, and its seconds a picture."""
        error = self._compiled_error(probe.calibration_image(probe.SIDE, probe.SIDE))
        height, width = self._memory_planner.part(*image.shape[:2])
        part = probe.calibration_image(height, width, image.dtype.type)
        first = self._graph(part, self.threads, self.workers)
        error = max(error, self._apart(first, self._slots[0], part, self._ends()[-1]))
        self._take([first, *(first.clone(MixedWeights(self._path)) for _ in self._workers[1:])])
        return error, self.seconds_per_frame(image)

    def _take(self, graphs: list[compiled.OpenVINOModel]) -> None:
        for lane, graph in itertools.zip_longest(self._workers, graphs):
            lane.graph = graph

    def seconds_per_frame(self, image: Image, rounds: int = 2) -> float:
        """Seconds that a picture like `image` takes among others, under the weights of the last endpoint: `rounds` on
        each lane."""
        frames = [Batch((Frame(number, 0, image),), self._ends()[-1]) for number in range(rounds * self.workers)]
        seconds = probe.best_time(lambda: deque(self(frames), 0)) / len(frames)
        self._forget()
        return seconds

    def _forget(self) -> None:
        """So that the first write of a job is one, whatever was measured before it."""
        for live in self._all_live():
            live.alpha = None

    def _check(self, backend: str) -> str:
        if backend not in BACKENDS:
            raise UsageError(f"--backend {backend}: expected {', '.join(BACKENDS)}")
        if backend == "openvino" and not self._can_compile():
            if not compiled.is_available():
                raise UsageError("--backend openvino: it is not installed; pip install 'dnirender[openvino]'")
            raise UsageError(
                "--backend openvino: expected a convolutional network in fp32 or bf16 on the CPU, "
                f"got {self.network.architecture} in {self.dtype} on {self.device}; use --backend torch"
            )
        return backend

    def _can_compile(self) -> bool:
        suits = self.network.channels_last and self.dtype in compiled.PRECISIONS
        return self.device.type == "cpu" and suits and compiled.is_available()

    def _graph(self, image: Image, threads: int = 1, workers: int = 1) -> compiled.OpenVINOModel:
        return compiled.OpenVINOModel(self.network, MixedWeights(self._path), image, self.dtype, threads, workers)

    def _compiled_error(self, image: Image) -> float:
        """The largest mean difference to PyTorch in fp32 at an endpoint, in 0..1."""
        graph, exact = self._graph(image), self._live("fp32")
        return max(self._apart(graph, exact, image, alpha) for alpha in self._ends())

    def _apart(self, graph: compiled.OpenVINOModel, live: MixedModule, image: Image, alpha: Alpha) -> float:
        """The mean difference between what `graph` and PyTorch make of `image`, in 0..1; Inf where it is not finite."""
        live.write(alpha)
        graph.live.write(alpha)
        pixels = torch.from_numpy(image)[None]
        picture, total = graph(pixels)
        wanted, _ = self._render(live, pixels)
        difference = (picture.float() - wanted.float()).abs().mean() / np.iinfo(image.dtype).max
        return float(difference) if bool(total.isfinite().all()) else math.inf

    def _all_live(self) -> list[MixedWeights]:
        graphs = [lane.graph.live for lane in self._workers if lane.graph]
        return [*self._slots, *(lane.live for lane in self._workers[1:]), *graphs]

    def _ends(self) -> list[Alpha]:
        """The alphas of the endpoints."""
        names = self._path.names
        return [tuple(float(name == end) for name in names) for end in names]

    def __call__(self, batches: Iterable[Batch]) -> Iterator[Rendered]:
        if self.device.type == "cuda":
            return self._overlapped(batches)
        if len(self._workers) == 1:
            return self._one_by_one(batches)
        workers = [functools.partial(self._on, lane) for lane in self._workers]
        return parallel_map(workers, max(1, self.threads // len(workers)), batches)

    def render(self, image: Image, alpha: Alpha) -> Image:
        """One picture, as if it were frame 0."""
        frame = Frame(0, 0, image)
        if self.device.type == "cpu":
            return self._on(self._workers[0], frame, alpha)
        [(_, (rendered,))] = self([Batch((frame,), alpha)])
        return rendered

    def _live(self, dtype: str) -> MixedModule:
        return MixedModule(self._path, copy.deepcopy(self.network.module), DTYPES[dtype])

    def _weights(self, alpha: Alpha) -> MixedModule:
        """The module with theta(alpha). With two slots the other one is written: the batch in flight reads this one."""
        if alpha != self._slots[0].alpha:
            self._slots.reverse()
            if self._slots[0] in self._in_use:
                torch.cuda.current_stream(self.device).wait_event(self._in_use[self._slots[0]])
            self._slots[0].write(alpha)
        return self._slots[0]

    @torch.inference_mode()
    def _render(self, live: MixedModule, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.render(live.module, pixels, live.flat.dtype)

    def _image(self, frame: Frame, alpha: Alpha, picture: Tensor, total: float) -> Image:
        if not math.isfinite(total) and self.dtype != "fp32":
            picture, total = self._exactly(frame, alpha)
        if not math.isfinite(total):
            raise ModelError(
                f"frame {frame.index}, alpha {alpha}: the network's output is not finite (NaN or Inf), in fp32 too; "
                "the weights overflow there"
            )
        return picture.numpy()

    def _exactly(self, frame: Frame, alpha: Alpha) -> tuple[Tensor, float]:
        """The picture in fp32, for one that overflows in the dtype that was chosen."""
        with self._exact_lock:
            self._exact = self._exact or self._live("fp32")
            self._exact.write(alpha)
            with _memory_errors(Batch((frame,), alpha), str(self.device)):
                pixels = torch.from_numpy(as_contiguous(frame.image))[None].to(self.device)
                pictures, totals = self._memory_planner.render(functools.partial(self._render, self._exact), pixels)
            self.fp32_frames.append(frame.index)
            return pictures[0].cpu(), float(totals)

    def _one_by_one(self, batches: Iterable[Batch]) -> Iterator[Rendered]:
        torch.set_num_threads(self.threads)
        for batch in batches:
            yield batch, tuple(self._on(self._workers[0], frame, batch.alpha) for frame in batch.frames)

    def _on(self, lane: _Worker, frame: Frame, alpha: Alpha) -> Image:
        """One picture on the CPU."""
        run = functools.partial(self._run, lane, alpha)
        with _memory_errors(Batch((frame,), alpha), "cpu"):
            pictures, totals = self._memory_planner.render(run, torch.from_numpy(as_contiguous(frame.image))[None])
        return self._image(frame, alpha, pictures[0], float(totals))

    def _run(self, lane: _Worker, alpha: Alpha, pixels: Tensor) -> tuple[Tensor, Tensor]:
        if lane.graph and lane.graph.fits(pixels):
            lane.graph.live.write(alpha)
            return lane.graph(pixels)
        lane.live.write(alpha)
        return self._render(lane.live, pixels)

    def _overlapped(self, batches: Iterable[Batch]) -> Iterator[Rendered]:
        """CUDA. Batch k is queued before batch k - 1 is waited for, so that the device always has work."""
        torch.cuda.synchronize(self.device)  # the modules were made on the default stream
        streams = Streams(self.device)
        free = deque([InFlightBatch(), InFlightBatch()])
        flying: deque[tuple[Batch, InFlightBatch]] = deque()
        try:
            for batch in batches:
                flying.append((batch, free.popleft()))
                with _memory_errors(batch, str(self.device)):
                    self._submit(*flying[-1], streams)
                if not free:
                    yield self._collect(*flying[0])
                    free.append(flying.popleft()[1])
            for batch, flight in flying:
                yield self._collect(batch, flight)
        finally:
            torch.cuda.synchronize(self.device)  # buffers may go when nothing on the device uses them

    def _submit(self, batch: Batch, flight: InFlightBatch, streams: Streams) -> None:
        """Nothing here waits for the device. The flight keeps every tensor alive until its batch is collected."""
        staged = flight.stage(batch)
        with torch.cuda.stream(streams.upload):
            flight.pixels = staged.to(self.device, non_blocking=True)
            live = self._weights(batch.alpha)
            flight.ready.record()
        with torch.cuda.stream(streams.compute):
            streams.compute.wait_event(flight.ready)
            flight.rendered, flight.sums = self._memory_planner.render(
                functools.partial(self._render, live), flight.pixels
            )
            flight.computed.record()
            self._in_use[live] = flight.computed
        with torch.cuda.stream(streams.download):
            streams.download.wait_event(flight.computed)
            flight.download()
            flight.done.record()

    def _collect(self, batch: Batch, flight: InFlightBatch) -> Rendered:
        flight.done.synchronize()
        result = flight.result.clone()  # the flight is used again
        parts = zip(batch.frames, result, flight.totals.tolist(), strict=True)
        return batch, tuple(self._image(frame, batch.alpha, picture, total) for frame, picture, total in parts)

    def _choose(self, dtype: str) -> tuple[str, str]:
        """The dtype and why. The probe is the same on every run, so a render that is resumed chooses the same."""
        if dtype not in (*DTYPES, "auto"):
            raise UsageError(f"--dtype {dtype}: expected auto, {', '.join(DTYPES)}")
        if dtype == "fp32":
            return dtype, "as asked"
        asked, net = dtype != "auto", self.network
        good = {"bf16": net.supports_bf16, "fp16": net.supports_half}
        x = to_unit_range(
            torch.from_numpy(probe.calibration_image(probe.SIDE, probe.SIDE))[None].to(self.device)
        ).permute(0, 3, 1, 2)
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
    def _forward(self, live: MixedModule, x: Tensor) -> Tensor:
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


@contextmanager
def _memory_errors(batch: Batch, device: str) -> Generator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        frame, count = batch.frames[0], len(batch.frames)
        if not is_out_of_memory(error):
            raise RenderError(f"frame {frame.index}: the network failed on {device}: {error}") from error
        height, width = frame.image.shape[:2]
        advice = "use --batch 1" if count > 1 and device != "cpu" else "use a smaller --width"
        raise RenderError(
            f"frame {frame.index}: {device} has no memory for {count} x {width}x{height}; {advice}"
        ) from error
