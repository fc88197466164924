"""How fast, and how exact, the renderer is on a GPU: one command, on a machine without data, tools or a network.

    python benchmarks/gpu.py [--device cuda] [--sections tests,exact,model,frames,film,compile] [--seconds 170]
                             [--out benchmarks/results/gpu] [--tiny]

tests    the tests that need a GPU
exact    fp32 and low precision on the device against fp32 on the CPU; batches, odd sizes, tiles, planes; the same
         frames three times
model    the network alone, pixels on the device: without graphs, by graphs, alpha fixed and changing
frames   from frames in memory to frames in memory
film     from file to file, beside decoding and encoding alone, and beside the plain loop
compile  the network by torch.compile with fixed weights: half a minute for each, so what is left of the time

Two floors stand beside every time: the network's operations at the measured rate of matrix products, and the bytes that
its layers read and write at the measured rate of a copy. After `--seconds` no row is begun any more. The tables are
written after every row, so that what was measured is there, whatever ends the run. `--tiny` takes tiny sizes, to try
the script without a GPU. Times of the network alone are medians of five, by events on a GPU, after a warm-up.
"""

import argparse
import contextlib
import copy
import functools
import hashlib
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from itertools import islice, repeat
from pathlib import Path

import av.codec.hwaccel
import numpy as np
import torch
from rivals import fixed, naive
from subjects import COMPACT, PRESETS, RRDB, Subject, make_film, random_jobs, transcode

from dnirender import Engine
from dnirender.engine.calibration import calibration_image
from dnirender.engine.cuda_graphs import graphed
from dnirender.engine.torch_model import TorchModel
from dnirender.frames import Batch, Frame
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import prepare
from dnirender.jobs.render import run
from dnirender.media.colorspace import ColorSpec, rgb_to_planes
from dnirender.media.planar import PlanarFormat, PlanarImage

SECTIONS = {"tests": 0.3, "exact": 0.3, "model": 0.35, "frames": 0.3, "film": 0.65, "compile": 1.0}
"""The part of the time that is left when a section begins that it may take."""
NAMES = (*PRESETS, COMPACT, RRDB)
MIN_COMPILING = 40  # seconds that must be left
TESTS = [*(f"tests/engine/test_{name}.py" for name in ("cuda", "cuda_graphs", "color")), "tests/jobs/test_devices.py"]
SIZES = {"640x360": (360, 640), "1080p": (1080, 1920), "2160p": (2160, 3840)}
ENLARGED = {"320x180": (180, 320), "960x540": (540, 960)}  # of networks that make them four times as large
TINY = {"64x48": (48, 64)}
SMALL, SMALL_X4 = (96, 128), (48, 64)  # of the frames that the CPU renders too
PACKAGES = ("torch", "numpy", "av", "opencv-python", "opencv-python-headless")
FLOORS = ("operations, ms", "bytes, ms")


class Report:
    """Tables in Markdown, written to `out`.md after every row."""

    def __init__(self, out):
        self.out, self.lines = out, []

    def table(self, title, *columns):
        self.add(f"\n## {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")

    def row(self, *cells):
        shown = (f"{cell:.3g}" if isinstance(cell, float) else str(cell).replace("|", "/") for cell in cells)
        self.add(f"| {' | '.join(shown)} |")

    def add(self, text):
        print(text, flush=True)
        self.lines.append(text)
        if self.out:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.out.with_suffix(".md").write_text("\n".join(self.lines) + "\n", "utf-8")


class Timer:
    """Measures calls on a GPU by its events, elsewhere by the clock."""

    def __init__(self, device):
        self.device, self.on_gpu = device, device.type == "cuda"

    def seconds(self, call, least=0.1, runs=5):
        """Of one call: the median of `runs` means over as many calls as take `least` seconds in all."""
        for _ in range(3):
            call()
        calls = max(1, int(least / runs / max(self._mean(call, 1), 1e-6)))
        return statistics.median(self._mean(call, calls) for _ in range(runs))

    def _mean(self, call, calls):
        if not self.on_gpu:
            began = time.perf_counter()
            for _ in range(calls):
                call()
            return (time.perf_counter() - began) / calls
        torch.cuda.synchronize()
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        for _ in range(calls):
            call()
        after.record()
        after.synchronize()
        return before.elapsed_time(after) / 1e3 / calls

    def rates(self, tiny):
        """Operations a second of matrix products; bytes a second of a copy on the device, to it and from it."""
        found = {}
        for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
            side = 256 if tiny else 4096 if name == "fp32" else 8192
            a, b = (torch.randn(side, side, device=self.device).to(dtype) for _ in range(2))
            found[name] = 2 * side**3 / self.seconds(lambda a=a, b=b: a @ b)
        source, target = (torch.rand(1 << (18 if tiny else 28), device=self.device) for _ in range(2))
        found["copy"] = 2 * source.nbytes / self.seconds(lambda: target.copy_(source))
        host, part = torch.rand(len(source) // 16, pin_memory=self.on_gpu), source[: len(source) // 16]
        found["upload"] = host.nbytes / self.seconds(lambda: part.copy_(host, non_blocking=True))
        found["download"] = host.nbytes / self.seconds(lambda: host.copy_(part, non_blocking=True))
        return found


class Bench:
    """The sections, which share the networks, the rates and the time."""

    def __init__(self, given, folder):
        self.given, self.folder, self.tiny = given, folder, given.tiny
        self.end = self.section_end = time.monotonic() + given.seconds
        self.device = torch.device(given.device)
        self.timer, self.report, self._subjects = Timer(self.device), Report(given.out), {}
        self.report.add(head(self.device))
        self.rates = self.timer.rates(self.tiny)
        products = [f"{name} {self.rates[name] / 1e12:.3g} TFLOP/s" for name in ("bf16", "fp16", "fp32")]
        copies = [f"{name} {self.rates[name] / 1e9:.3g} GB/s" for name in ("copy", "upload", "download")]
        self.report.add(f"\nMeasured here: {', '.join(products + copies)}.")

    def run(self):
        for section in self.given.sections.split(","):
            began = time.monotonic()
            self.section_end = began + SECTIONS[section] * max(0, self.end - began)
            try:
                getattr(self, section)()
            except Exception as error:  # noqa: BLE001 - the other sections are worth their time
                self.report.add(f"\n{section}: stopped by {type(error).__name__}: {str(error)[:500]}")
            self.report.add(f"\n{section}: {time.monotonic() - began:.0f} s")

    @property
    def left(self):
        return self.section_end - time.monotonic()

    def subjects(self, names=None):
        for name in names or NAMES:
            if self.left <= 0:
                break
            try:
                self._subjects[name] = self._subjects.get(name) or Subject(name, self.folder, self.tiny)
            except Exception as error:  # noqa: BLE001 - the others are worth their time
                self.report.row(name, f"{type(error).__name__}: {str(error)[:200]}")
                continue
            yield self._subjects[name]

    def sizes(self, subject):
        if self.tiny:
            return TINY
        return SIZES if subject.network.scale < 4 else ENLARGED

    def rows(self, rows):
        """(name, what its call returns), while there is time. Errors are shown in their place."""
        for name, call in rows.items():
            try:
                yield name, call() if self.left > 0 else "no time left"
            except Exception as error:  # noqa: BLE001 - whatever a device raises; the other rows are worth their time
                yield name, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
            if self.timer.on_gpu:
                torch.cuda.empty_cache()

    def timed_rows(self, subject, size, rows, *more):
        """Rows of calls that return seconds a frame, beside both floors."""
        height, width = size
        operations, moved = subject.cost(height, width)
        floors = operations / self.rates["bf16"] * 1e3, moved / self.rates["copy"] * 1e3
        for name, found in self.rows(rows):
            known = isinstance(found, float)
            rate = operations / found / 1e12 if known else ""
            self.report.row(
                subject.name, f"{width}x{height}", name, found * 1e3 if known else found, *floors, rate, *more
            )

    def engine(self, subject, dtype, device=None, tile=None):
        device = device or self.given.device
        path = subject.path_on(torch.device(device))
        return Engine(subject.network, path, device=device, dtype=dtype, backend="torch", tile=tile)

    # --- tests

    def tests(self):
        self.report.table("Tests", "file", "result")
        seconds, root = max(5, self.left), Path(__file__).parents[1]
        command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-W", "default", "-p", "no:cacheprovider", *TESTS]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=root, check=False)
        except subprocess.TimeoutExpired:
            self.report.row(", ".join(TESTS), f"stopped after {seconds:.0f} s")
            return
        lines = [line for line in done.stdout.splitlines() if re.match(r"FAILED|ERROR|=* ?\d+ \w+", line)]
        self.report.row(", ".join(TESTS), "; ".join(lines)[:2000] or done.stderr[-300:].replace("\n", " "))
        if self.given.out:
            self.given.out.with_suffix(".tests.txt").write_text((done.stdout + done.stderr)[-200_000:], "utf-8")

    # --- exactness

    def exact(self):
        columns = ("network", "what", "mean", "largest", "expected", "")
        self.report.table("Differences from fp32 on the CPU, in codes of 8 bits", *columns)
        for subject in self.subjects():
            for name, found in self.rows(self.comparisons(subject)):
                self.report.row(subject.name, name, *(found if isinstance(found, tuple) else (found, "", "", "")))
        for subject in self.subjects(NAMES[:2]):
            for name, found in self.rows({"200 frames three times": lambda subject=subject: self.hashes(subject)}):
                self.report.row(subject.name, name, "", "", "equal", found)

    def comparisons(self, subject):
        """Names of rows and calls that return (mean, largest, what is expected, whether it is so)."""
        height, width = SMALL_X4 if self.tiny or subject.network.scale > 2 else SMALL
        jobs = random_jobs(subject, 4 if self.tiny else 20, height, width)
        kinds = {
            "fp32": jobs,
            "fp32, odd size": random_jobs(subject, 4, height - 3, width - 5),
            "fp32, batches of several": [in_one(jobs[:4]), in_one(jobs[1:4])],
            "fp32, planes to planes": [replaced(job, to_planes) for job in jobs[:4]],
            "bf16": jobs,
            "fp16": jobs,
        }
        known = {}

        def compare(name):
            given, dtype = kinds[name], name[:4]
            if id(given) not in known:  # each list lives as long as `kinds`
                known[id(given)] = images_of(self.engine(subject, "fp32", "cpu"), given)
            mean, largest = difference(images_of(self.engine(subject, dtype), given), known[id(given)])
            if dtype != "fp32":
                return mean, largest, "mean 0.5", "yes" if mean <= 0.5 else "NO"
            most = 2 if "planes" in name else 1  # colors may be a code off before the network, and after it
            return mean, largest, f"largest {most}", "yes" if largest <= most else "NO"

        rows = {name: lambda name=name: compare(name) for name in kinds}
        if subject.name in (PRESETS[2], COMPACT):  # the others compute with all of a frame, or with far pixels
            rows["fp32, tiles"] = lambda: self.tiles(subject)
        return rows

    def tiles(self, subject):
        """One frame of three tiles."""
        on_cpu = self.engine(subject, "fp32", "cpu")
        side = (2 * on_cpu.planner.receptive_radius // 32 + 2) * 32
        jobs = random_jobs(subject, 1, side // 2, 2 * side)
        tiled = self.engine(subject, "fp32", tile=side)
        tiled.autotune(side // 2, 2 * side, 1)
        mean, largest = difference(images_of(tiled, jobs * 3), images_of(on_cpu, jobs) * 3)
        found = "yes" if largest <= 1 and tiled.tile else "NO"
        return mean, largest, "largest 1", found

    def hashes(self, subject):
        jobs = random_jobs(subject, 20 if self.tiny else 200, *next(iter(self.sizes(subject).values())), distinct=8)
        engine, found = self.engine(subject, "bf16"), set()
        for _ in range(3):
            digest = hashlib.sha256()
            for image in images_of(engine, jobs):
                digest.update(np.ascontiguousarray(image).data)
            found.add(digest.hexdigest())
        return "equal" if len(found) == 1 else "DIFFERENT"

    # --- speed

    def model(self):
        columns = ("network", "frame", "how", "ms a frame", *FLOORS, "TFLOP/s")
        self.report.table("The network alone, pixels on the device", *columns)
        for subject in self.subjects():
            for number, size in enumerate(self.sizes(subject).values()):
                self.timed_rows(subject, size, self.model_rows(subject, size, is_first=not number))

    def model_rows(self, subject, size, *, is_first):
        still = next(subject.alphas())
        pixels = torch.from_numpy(calibration_image(*size)[None]).to(self.device)

        def measured(dtype, alphas=None, frames=1, by_graph=True):
            model = TorchModel(subject.network, subject.path_on(self.device), dtype)
            [model] = graphed([model]) if by_graph and self.timer.on_gpu else [model]
            batch, alphas = pixels.repeat(frames, 1, 1, 1), alphas or repeat(still)
            return self.timer.seconds(lambda: model(batch, next(alphas))) / frames

        rows = {
            "bf16": lambda: measured("bf16", by_graph=False),
            "bf16, graph": lambda: measured("bf16"),
            "bf16, graph, alpha changing": lambda: measured("bf16", subject.alphas()),
            "bf16, graph, batch of 4": lambda: measured("bf16", frames=4),
        }
        if is_first:
            rows |= {
                "fp32": lambda: measured("fp32", by_graph=False),
                "fp16, graph": lambda: measured("fp16"),
                "fp16, graph, alpha changing": lambda: measured("fp16", subject.alphas()),
            }
        return rows

    def frames(self):
        columns = ("network", "frame", "how", "ms a frame", *FLOORS, "TFLOP/s", "upload and download, ms")
        self.report.table("From frames in memory to frames in memory, bf16", *columns)
        for subject in self.subjects():
            for height, width in self.sizes(subject).values():
                larger = subject.network.scale**2
                moved = 3 * height * width * (1 / self.rates["upload"] + larger / self.rates["download"]) * 1e3
                self.timed_rows(subject, (height, width), self.memory_rows(subject, (height, width)), moved)

    def memory_rows(self, subject, size):
        images = [np.roll(calibration_image(*size), 7 * k, 1) for k in range(4)]
        still, seconds = next(subject.alphas()), 0.1 if self.tiny else 0.4
        make_engine = functools.cache(lambda: self.engine(subject, "bf16"))

        def measured(alphas, frames):
            engine, batch = make_engine(), tuple(Frame(number, 0, images[number % 4]) for number in range(frames))
            for _ in engine([Batch(batch, next(alphas))] * 3):
                pass
            began = time.perf_counter()
            jobs = iter(lambda: time.perf_counter() - began > seconds, True)  # batches until the time is over
            rendered = sum(len(found) for _, found in engine(Batch(batch, next(alphas)) for _ in jobs))
            return (time.perf_counter() - began) / max(rendered, 1)

        return {
            "alpha fixed, batches of 4": lambda: measured(repeat(still), 4),
            "alpha fixed, single frames": lambda: measured(repeat(still), 1),
            "alpha changing, single frames": lambda: measured(subject.alphas(), 1),
        }

    def film(self):
        columns = ("network", "frame", "how", "ms a further frame", *FLOORS, "TFLOP/s")
        self.report.table("From file to file, bf16", *columns)
        sizes = TINY if self.tiny else SIZES
        for height, width in sizes.values():
            for name, found in self.rows(self.codec_rows(height, width)):
                shown = found * 1e3 if isinstance(found, float) else found
                self.report.row("none", f"{width}x{height}", name, shown, "", "", "")
        for subject in self.subjects():
            for size in islice(self.sizes(subject).values(), None if subject.network.scale < 4 else 1):
                self.timed_rows(subject, size, self.film_rows(subject, *size))

    def clip(self, height, width):
        """A clip, and how many frames of it a short and a long run take."""
        short, long = (2, 18) if self.tiny else (8, 32) if height > 1080 else (24, 96)
        path = self.folder / f"{width}x{height}.mp4"
        if not path.exists():
            make_film(path, height, width, long)
        return path, short, long

    def codec_rows(self, height, width):
        gpu = av.codec.hwaccel.HWAccel("cuda", allow_software_fallback=False)
        kinds = {
            "decode and encode alone, libx264": ("libx264", None),
            "decode and encode alone, h264_nvenc": ("h264_nvenc", None),
            "decode alone, NVDEC": (None, gpu),
        }

        def measured(codec, hwaccel):
            clip, *lengths = self.clip(height, width)
            return further(lambda n: transcode(clip, self.folder / "t.mp4", n, codec, hwaccel), *lengths)

        return {name: lambda kind=kind: measured(*kind) for name, kind in kinds.items()}

    def film_rows(self, subject, height, width):
        def ours(keyframes, **encoding):
            clip, *lengths = self.clip(height, width)
            changes = {"timeline": {"keyframes": keyframes}, "layout": {"width": None}, "encoding": encoding}
            options = {"overwrite": True, "device": self.given.device, "dtype": "bf16", "backend": "torch"}
            job = make_job(clip, self.folder / "out.mp4", subject.preset.override(changes), **options)
            engine = prepare(make_plan(job)).engine
            return further(lambda n: run(prepare(make_plan(job.override(end=str(n))), engine)), *lengths)

        def loop():
            clip, short, long = self.clip(height, width)
            alphas, options = [n / long for n in range(long)], {"multiple": subject.network.multiple}
            with plain_pytorch():
                return further(
                    lambda n: naive.naive_loop(
                        clip,
                        self.folder / "n.mp4",
                        lambda: copy.deepcopy(subject.network.module),
                        *subject.states(),
                        alphas,
                        n,
                        device=self.given.device,
                        **options,
                    ),
                    short,
                    long,
                )

        return {
            "dnirender, alpha changing": lambda: ours("0:0.3, 1000:0.4"),
            "dnirender, alpha fixed": lambda: ours("0:0.3"),
            "plain loop, fp32, alpha changing": loop,
            "dnirender, alpha changing, h264_nvenc": lambda: ours("0:0.3, 1000:0.4", codec="h264_nvenc"),
        }

    def compile(self):
        columns = ("network", "frame", "how", "ms a frame", *FLOORS, "TFLOP/s")
        self.report.table("The network by torch.compile, fixed weights", *columns)
        for subject in self.subjects():
            if self.left < MIN_COMPILING:
                break
            size = next(iter(self.sizes(subject).values()))
            self.timed_rows(subject, size, {"bf16, compiled": lambda s=subject, size=size: self.compiled(s, size)})

    def compiled(self, subject, size):
        render = fixed.Render(subject.network, subject.path_on(self.device), torch.bfloat16)
        render = torch.compile(render, mode="reduce-overhead" if self.timer.on_gpu else None)
        pixels = subject.network.preprocess(torch.from_numpy(calibration_image(*size)[None]).to(self.device))
        with torch.inference_mode():
            return self.timer.seconds(lambda: render(pixels))


def head(device):
    """The command, the device and the versions."""
    versions = []
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    where = "On a CPU: no figure here says anything of a GPU"
    if device.type == "cuda":
        where = (
            f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        )
    where += f". {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(versions)}."
    return f"`{' '.join(['python', *sys.argv])}`\n\n{where}"


def further(film, short, long):
    """Seconds of a further frame: a long run without what a short one takes."""
    film(short)
    seconds = []
    for frames in (short, long):
        began = time.perf_counter()
        film(frames)
        seconds.append(time.perf_counter() - began)
    return (seconds[1] - seconds[0]) / (long - short)


@contextlib.contextmanager
def plain_pytorch():
    """PyTorch as a script has it, with TF32 in convolutions, which engines turn off."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def in_one(jobs):
    return Batch(tuple(frame for job in jobs for frame in job.frames), jobs[0].alpha)


def replaced(job, change):
    return Batch(tuple(Frame(frame.index, frame.pts, change(frame.image)) for frame in job.frames), job.alpha)


def to_planes(image):
    """The image in 4:2:0, whose render is wanted in 4:4:4 of the same size."""
    color = ColorSpec(1, full_range=False)
    small, whole = (PlanarFormat(*image.shape[:2], sampling, 8, color) for sampling in ((2, 2), (1, 1)))
    planes = rgb_to_planes(image, small.sampling, 8, color)
    return PlanarImage(np.concatenate([plane.ravel() for plane in planes]), small).render_as(whole)


def images_of(engine, jobs):
    return [np.asarray(image) for _, images in engine(jobs) for image in images]


def difference(got, expected):
    """The mean and the largest, over all images."""
    errors = [np.abs(a.astype(int) - b) for a, b in zip(got, expected, strict=True)]
    return float(np.mean([error.mean() for error in errors])), int(max(error.max() for error in errors))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--seconds", type=float, default=170)
    parser.add_argument("--out", type=Path, help="writes OUT.md, and what the tests print to OUT.tests.txt")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Bench(given, Path(folder)).run()


if __name__ == "__main__":
    main()
