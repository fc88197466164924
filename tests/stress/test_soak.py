"""Long renders: memory does not grow with the number of frames."""

import json
import subprocess
import sys

import numpy as np
import pytest

from support.clips import make_clip, tiny_endpoints

FRAMES = 20_000
PROGRAM = """
import json, os, sys
from pathlib import Path
from dnirender import Preset, render
clip, target, *weights = sys.argv[1:]
endpoints = [{"name": Path(w).stem, "weights": w} for w in weights]
preset = Preset.checked({"name": "t", "network": {"endpoints": endpoints},
                         "encoding": {"options": {"preset": "ultrafast"}}}, "t")
page, seen = os.sysconf("SC_PAGE_SIZE"), []
def progress(now):
    if now.alpha and now.done % 250 == 0:
        seen.append((now.done, int(Path("/proc/self/statm").read_text().split()[1]) * page))
report = render(clip, target, preset=preset, dtype="fp32", backend="torch", progress=progress)
after = int(Path("/proc/self/statm").read_text().split()[1]) * page
print(json.dumps({"seen": seen, "after": after, "frames": report.frames, "fps": report.fps}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")
def test_twenty_thousand_frames(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=FRAMES, audio="aac")
    weights = tiny_endpoints(tmp_path).values()
    command = [sys.executable, "-c", PROGRAM, clip, tmp_path / "out.mp4", *weights]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    told = json.loads(result.stdout)
    seen = np.array(told["seen"], float)
    late = seen[seen[:, 0] >= FRAMES / 5]
    slope = np.polyfit(late[:, 0], late[:, 1], 1)[0]
    print(
        f"\n{told['frames']} frames at {told['fps']:.0f}/s: {slope:.0f} bytes of resident memory a frame; "
        f"{late[0, 1] / 1e6:.0f} MB at frame {late[0, 0]:.0f}, {late[-1, 1] / 1e6:.0f} MB at the last, "
        f"{told['after'] / 1e6:.0f} MB when joined and published"
    )
    assert told["frames"] == FRAMES
    assert slope <= 1000
    assert told["after"] - late[-1, 1] <= 1000 * FRAMES
