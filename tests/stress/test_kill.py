"""Killed at any moment, the target is absent, old or complete, and the same command brings it to its end."""

import hashlib
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from support.clips import decoded, leftovers, make_clip, tiny_endpoints

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

MOMENTS, IN_PUBLISHING, SEED = 50, 15, 20261122
FRAMES, SEGMENT = 120, 10
OLD = b"the old file"
# What is done in the file system on the way of a result to its name and behind it.
STEPS = [(os, "fsync"), (os, "replace"), (os, "rename"), (os, "unlink"), (os, "rmdir")]


def job(folder, name):
    models = [f"--model={end}={folder / end}.safetensors" for end in ("day", "night")]
    return [
        *(str(folder / "clip.mp4"), *models, "-o", str(folder / name), "-y", "-q", "--no-progress"),
        *("--segment-frames", str(SEGMENT), "--dtype", "fp32", "-e", "preset=ultrafast"),
    ]


def child(arguments, done, steps, deadly):
    """Runs the command; tells how many frames were given to the encoder, and dies in step number `deadly`."""
    from dnirender.cli import main
    from dnirender.jobs import render

    def counted(function):
        def step(*args, **options):
            steps.value += 1
            if steps.value == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return step

    for module, name in STEPS:
        setattr(module, name, counted(getattr(module, name)))
    run = render.run

    def watched(prepared, progress, notice=None):
        wrote = progress.wrote

        def tell(count, total, alpha):
            done.value = count
            wrote(count, total, alpha)

        progress.wrote = tell
        return run(prepared, progress, notice)

    render.run = watched
    sys.exit(main.main(arguments))


@pytest.fixture(scope="module")
def start():
    """Starts a render in a process of its own, within milliseconds: the libraries are imported once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch", "av", "cv2", "dnirender.cli.app", "dnirender.jobs.pipeline", "dnirender.networks.network"]
    )

    counters = []  # they must outlive the start of the process

    def started(arguments, deadly=0):
        done, steps = context.Value("q", 0), context.Value("q", 0)
        counters.append((done, steps))
        process = context.Process(target=child, args=(arguments, done, steps, deadly))
        process.start()
        return process, done, steps

    return started


def shown(path: Path):
    return [(at, hashlib.sha256(image.tobytes()).hexdigest()) for at, image in decoded(path)]


def kept(folder):
    names = [path.name for path in folder.glob(".*.parts/*.part")]
    return sum(int(name[9:17]) - int(name[:8]) + 1 for name in names)


def test_fifty_kills(tmp_path, start):
    make_clip(tmp_path / "clip.mp4", frames=FRAMES, size=(320, 180), audio="aac", b_frames=2)
    tiny_endpoints(tmp_path)
    for _ in range(2):  # the second time everything is in the caches
        began = time.monotonic()
        process, _, steps = start(job(tmp_path, "whole.mp4"))
        process.join(120)
        taken = time.monotonic() - began
        assert process.exitcode == 0
    wanted, last = shown(tmp_path / "whole.mp4"), steps.value
    assert len(wanted) == FRAMES and last > FRAMES // SEGMENT
    random_ = random.Random(SEED)
    found = {"absent": 0, "old": 0, "complete": 0}
    worst = 0
    for number in range(MOMENTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        for path in tmp_path.iterdir():
            if path.suffix in (".safetensors", ".mp4") and path.name != "whole.mp4":
                (folder / path.name).symlink_to(path)
        target = folder / "out.mp4"
        if number % 2:
            target.write_bytes(OLD)
        # The last fifteen steps are those of publishing: file and folder made durable, renamed, parts removed.
        deadly = random_.randint(last - 14, last) if number < IN_PUBLISHING else 0
        process, done, _ = start(job(folder, "out.mp4"), deadly)
        if not deadly:
            process.join(random_.uniform(0.3, 1.1) * taken)
            process.kill()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL), (number, process.exitcode)
        state = "absent" if not target.exists() else "old" if target.read_bytes() == OLD else "complete"
        found[state] += 1
        if state == "complete":
            assert shown(target) == wanted, number
        else:
            lost = done.value - kept(folder)
            worst = max(worst, lost)
            assert lost <= SEGMENT, (number, lost)
        process, _, _ = start(job(folder, "out.mp4"))
        process.join(120)
        assert process.exitcode == 0, number
        assert shown(target) == wanted, number
        assert leftovers(folder) == [], number
    print(f"\nkilled {MOMENTS} times (seed {SEED}): {found}; at most {worst} frames of {SEGMENT} lost")
    assert found["complete"] and found["absent"] and found["old"]
