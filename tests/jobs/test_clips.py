"""Real clips, the nasty ones among them: every frame at its time, or one line that is right about the file."""

import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from dnirender import MediaError, render
from dnirender.decoding.open import open_source
from support.clips import CLIPS, decoded, make_clip, needs_shared, packets, preset_of, tiny_endpoints

FILES = sorted([*CLIPS.glob("*.mp4"), *(CLIPS / "edge").glob("*")]) if CLIPS.is_dir() else []


def times(path):
    metadata = open_source(path).metadata
    return list(metadata.seconds)


@needs_shared
@pytest.mark.parametrize("clip", FILES, ids=lambda path: path.name)
def test_frames_out_are_frames_in_at_their_times(tmp_path, endpoints, clip):
    preset = preset_of(endpoints, layout={"width": 64}, encoding={"options": {"preset": "ultrafast"}})
    end = "60" if clip.name == "bunny_480p.mp4" else None
    target = tmp_path / "out.mp4"
    if clip.name == "corrupted.mp4":
        with pytest.raises(MediaError, match=r"damaged: the first 28 of 50 frames could be decoded \(2\.8 of 5\.0 s\)"):
            render(clip, target, preset=preset)
        assert not target.exists()
        return
    report = render(clip, target, preset=preset, end=end, dtype="fp32")
    due = times(clip)[: int(end) if end else None]
    assert times(target) == due
    assert report.frames == len(due)


@needs_shared
@pytest.mark.usefixtures("one_lane")
def test_the_road_keeps_its_sound_byte_by_byte_and_ends_in_full_night(tmp_path, endpoints):
    road = CLIPS / "road.mp4"
    preset = preset_of(endpoints, layout={"width": 96}, encoding={"codec": "ffv1", "pix_fmt": "yuv444p"})
    report = render(road, tmp_path / "out.mkv", preset=preset, keyframes="0:0,120:1", dtype="fp32")
    assert (report.frames, report.weight_writes) == (221, 121)
    assert [data for _, data in packets(tmp_path / "out.mkv", "audio")] == [data for _, data in packets(road, "audio")]
    night = render(road, tmp_path / "night.mkv", preset=preset, keyframes="0:1", dtype="fp32")
    assert (night.frames, night.weight_writes) == (221, 1)
    pairs = zip(decoded(tmp_path / "out.mkv"), decoded(tmp_path / "night.mkv"), strict=True)
    same = [np.array_equal(a, b) for (_, a), (_, b) in pairs]
    assert same == [False] * 120 + [True] * 101


@needs_shared
@pytest.mark.parametrize("name", ["road_720p.mp4", "flower.mp4"])
def test_identity_weights_leave_the_picture_alone(tmp_path, name):
    files = tiny_endpoints(tmp_path, one=0.0, two=0.0)
    preset = preset_of(files, encoding={"codec": "ffv1"})
    render(CLIPS / name, tmp_path / "out.mkv", preset=preset, end="12")
    before, after = decoded(CLIPS / name)[:12], decoded(tmp_path / "out.mkv")
    difference = np.stack([b.astype(float) - a for (_, a), (_, b) in zip(before, after, strict=True)])
    assert abs(difference.mean((0, 1, 2))).max() <= 0.1
    assert abs(difference).mean() <= 0.6


MEASURE = """
import json, sys
from dnirender import Preset, render

resident = {}

def watch(now):
    if now.done in (400, 1200, 2000) and now.alpha:
        with open("/proc/self/statm") as file:
            resident[now.done] = int(file.read().split()[1]) * 4096

preset = Preset.checked(json.loads(sys.argv[3]), "test")
render(sys.argv[1], sys.argv[2], preset=preset, progress=watch)
print(json.dumps(resident))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")
def test_memory_does_not_grow_with_the_frame_number(tmp_path, endpoints):
    clip = make_clip(tmp_path / "long.mp4", frames=2000, size=(320, 180), audio="aac")
    preset = preset_of(endpoints, encoding={"options": {"preset": "ultrafast"}})
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, clip, tmp_path / "out.mp4", preset.model_dump_json()],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    resident = {int(frame): size for frame, size in json.loads(done.stdout).items()}
    # A leak of one 320x180 frame in ten would be 14 MB over 800 frames.
    assert resident[2000] - resident[1200] < 8e6
    assert resident[2000] - resident[400] < 16e6
    assert times(tmp_path / "out.mp4")[-1] == Fraction(1999, 25)
