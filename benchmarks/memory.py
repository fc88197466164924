"""Peak memory of whole renders, each in a process of its own that believes in `--limit` bytes of memory.

    python benchmarks/memory.py [--data ../shared/data] [--limit 8e9] [--frames 8] [--out benchmarks/results/memory.md]

Shown are megabytes of resident memory: after the imports and the loading of the networks, at the peak of the render,
the difference, and that in frames (RGB, of the larger of source and output), beside the activations that were expected
for what is rendered at once. x264 keeps a dozen frames for itself.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from dnirender.jobs.benchmark import make_clip
from dnirender.jobs.job import make_job

CASES = (
    ("day-to-night", 1920, 1080),
    ("painters", 1920, 1080),
    ("detail", 1920, 1080),
    ("realesr_general_x4v3", 1920, 1080),
    ("day-to-night", 3840, 2160),
    ("painters", 3840, 2160),
    ("detail", 3840, 2160),
)


def child(name, clip, data, limit, folder):
    """Renders and prints one JSON object."""
    import resource

    import torch

    from dnirender import Preset
    from dnirender.engine import memory_usage
    from dnirender.jobs.plan import make_plan
    from dnirender.jobs.prepare import load_engine, prepare
    from dnirender.jobs.render import run

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    if name.startswith("realesr"):
        files = [data / "models" / f"{part}.pth" for part in (name, name.replace("general", "general_wdn"))]
        ends = [{"name": file.stem, "weights": file} for file in files]
        preset = Preset.checked({"name": name, "network": {"endpoints": ends}}, name)
    else:
        preset = Preset.load(name)
    memory_usage.free_memory = lambda _: int(limit - resident())
    plan = make_plan(make_job(clip, folder / f"{name}.{clip.stem}.out.mp4", preset, device="cpu"))
    engine = load_engine(plan.job)
    before = resident()
    ready = prepare(plan, engine)
    part = engine.tile or (plan.size[1], plan.size[0])
    dtype = torch.bfloat16 if engine.dtype == "bf16" else torch.float32
    told = memory_usage.peak_bytes(engine.network, *part, dtype) * engine.workers
    run(ready)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    frame = 3 * max(plan.size[0] * plan.size[1], ready.output.request.size[0] * ready.output.request.size[1])
    print(json.dumps({"before": before, "peak": peak, "activations": told, "frame": frame, "choice": engine.decision}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--limit", type=float, default=8e9)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        name, clip, folder = given.child
        child(name, Path(clip), given.data, given.limit, Path(folder))
        return
    lines = [
        f"`python {' '.join(sys.argv)}`, {given.frames} frames each\n",
        "| preset | source | loaded, MB | peak, MB | more, MB | that in frames | activations expected, MB | chosen |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, width, height in CASES:
            clip = Path(folder, f"{width}.mp4")
            if not clip.exists():
                make_clip(clip, height, width, given.frames)
            command = [sys.executable, __file__, "--data", given.data, "--limit", given.limit]
            command += ["--child", name, clip, folder]
            result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
            if result.returncode:
                told = result.stderr.strip().splitlines()[-1]
                lines.append(f"| {name} | {width}x{height} | | | | | | {told} |")
            else:
                f = json.loads(result.stdout.splitlines()[-1])
                more = f["peak"] - f["before"]
                figures = [f["before"] / 1e6, f["peak"] / 1e6, more / 1e6, more / f["frame"], f["activations"] / 1e6]
                chosen = "; ".join(f["choice"].split("; ")[1:])
                lines.append(f"| {name} | {width}x{height} | {' | '.join(f'{x:.0f}' for x in figures)} | {chosen} |")
            print(lines[-1], flush=True)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
