"""On a CPU in fp32 the pictures are the same, however the work was cut up or interrupted."""

import hashlib

import numpy as np
import pytest

from dnirender import Preset, render
from support.clips import decoded, make_clip

LOSSLESS = {"encoding": {"codec": "ffv1", "pix_fmt": "yuv444p"}}


class Stop(Exception):
    pass


def shown(path):
    return [(at, hashlib.sha256(image.tobytes()).hexdigest()) for at, image in decoded(path)]


@pytest.mark.parametrize("name", ["day-to-night", "painters", "sketchbook", "focus", "detail", "denoise"])
def test_pictures_depend_on_nothing_but_the_job(tmp_path, name):
    clip = make_clip(tmp_path / "clip.mp4", frames=14, size=(128, 96))
    job = {"preset": Preset.load(name).override(LOSSLESS), "dtype": "fp32", "device": "cpu"}

    def rendered(target, **options):
        render(clip, tmp_path / target, **job | options)
        return shown(tmp_path / target)

    for backend in ("torch", "openvino"):
        wanted = rendered(f"{backend}.mkv", backend=backend, threads=2)
        assert len(wanted) == 14
        for number, options in enumerate(
            [{"batch": 4}, {"segment_frames": 1}, {"segment_frames": 5, "batch": 4}, {"segment_frames": 1000}]
        ):
            assert rendered(f"{backend}{number}.mkv", backend=backend, threads=2, **options) == wanted, options
        for stop in (3, 9):

            def progress(now, stop=stop):
                if now.done == stop:
                    raise Stop

            target = f"{backend}stopped{stop}.mkv"
            with pytest.raises(Stop):
                rendered(target, backend=backend, threads=2, segment_frames=2, progress=progress)
            assert rendered(target, backend=backend, threads=2, segment_frames=2) == wanted, (backend, stop)
        rendered(f"{backend}one.mkv", backend=backend, threads=1)
        pairs = zip(decoded(tmp_path / f"{backend}one.mkv"), decoded(tmp_path / f"{backend}.mkv"), strict=True)
        apart = max(np.abs(one.astype(int) - two).max() for (_, one), (_, two) in pairs)
        print(f"\n{name}, {backend}: one thread and two differ by at most {apart} of 255")
        assert apart <= 1
