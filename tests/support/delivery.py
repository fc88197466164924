"""Helpers for tests of exact output: clips, an identity render, and measurements of a file with PyAV only."""

import importlib.util
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import av
import numpy as np

from dnirender import Preset
from dnirender.jobs.job import make_job

# A separate module object, so that the changes below do not affect other tests.
_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("clips.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
clips.CONTAINERS |= {".ts": "mpegts", ".avi": "avi"}
decoded, frame_number, make_clip, packets, paint = (
    clips.decoded,
    clips.frame_number,
    clips.make_clip,
    clips.packets,
    clips.paint,
)
HAS_TORCH = importlib.util.find_spec("torch") is not None
MILLISECOND = Fraction(1, 1000)
FAST = clips.FAST | {"libx264": {"preset": "ultrafast", "crf": "8", "bf": "2", "g": "6"}}
FAST |= {"libvpx-vp9": clips.FAST["libvpx-vp9"] | {"lag-in-frames": "8"}}
# From preset 10 on SVT-AV1 4.1 loses cells of small painted frames at any quality.
FAST |= {"libsvtav1": {"preset": "8", "crf": "16"}}
clips.FAST = FAST


class Identity:
    """Replaces the engine if torch is not installed; returns every frame unchanged."""

    device, network = SimpleNamespace(type="cpu"), SimpleNamespace(scale=1)
    dtype, backend, decision, workers, tile, weight_writes, threads = "fp32", "torch", "", 1, None, 0, 1
    fp32_frames: ClassVar[list[int]] = []
    pace, measurements = None, SimpleNamespace(read=lambda *_, **__: {}, write=lambda *_, **__: None)

    def autotune(self, *_):
        pass

    def measure_pace(self):
        return 1e-6

    def __call__(self, batches):
        for batch in batches:
            yield batch, tuple(frame.image for frame in batch.frames)


def preset_of(folder, **sections):
    """A preset of two identity networks."""
    if HAS_TORCH:
        files = clips.tiny_endpoints(folder, one=0.0, two=0.0)
    else:
        files = {name: folder / f"{name}.safetensors" for name in ("one", "two")}
        for file in files.values():
            file.touch()
        sections.setdefault("timeline", {"keyframes": "0:0"})  # weights that are mixed would be read and compared
    endpoints = [{"name": name, "weights": file} for name, file in files.items()]
    return Preset.checked({"name": "identity", "network": {"endpoints": endpoints}, **sections}, "test")


def identity(source, target, codec="libx264", pix_fmt=None, options=None, **job):
    """Renders `source` to `target` with an identity network and returns the report."""
    from dnirender.jobs.plan import make_plan
    from dnirender.jobs.prepare import prepare
    from dnirender.jobs.render import run

    encoding = {"codec": codec, "options": FAST[codec] if options is None else options}
    preset = preset_of(source.parent, encoding=encoding | ({"pix_fmt": pix_fmt} if pix_fmt else {}))
    plan = make_plan(make_job(source, target, preset, dtype="fp32", device="cpu", backend="torch", **job))
    return run(prepare(plan, None if HAS_TORCH else Identity()))


def numbered(path):
    """The painted numbers and the times in seconds of all frames."""
    frames = decoded(path)
    return [frame_number(image) for _, image in frames], [time for time, _ in frames]


def time_base(path):
    with clips._open(path) as container:
        return clips._exact(container.streams.video[0].time_base)


def sound_data(path, index=0):
    """The audio packets without container-specific parts: ADTS headers, and the boundaries of PCM packets."""
    with clips._open(path) as container:
        adts = "mpegts" in container.format.name and container.streams.audio[index].codec_context.name == "aac"
        plain = container.streams.audio[index].codec_context.name.startswith("pcm_")
    payloads = [data[7 if data[1] & 1 else 9 :] if adts else data for _, data in packets(path, "audio", index)]
    return [b"".join(payloads)] if plain else payloads


def start(path, kind, index=0):
    """The earliest presentation time of a stream in seconds."""
    return min(time for time, _ in packets(path, kind, index))


@cache
def heard(path, index=0, rate=24000):
    """Decoded audio as (seconds of the first sample, mono samples at `rate`), without encoder priming."""
    with clips._open(path) as container:
        stream = container.streams.audio[index]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        first, blocks = None, []
        for frame in container.decode(stream):
            first = frame.pts * clips._exact(frame.time_base) if first is None else first
            frame.pts = None
            blocks += [block.to_ndarray()[0] for block in resampler.resample(frame)]
        blocks += [block.to_ndarray()[0] for block in resampler.resample(None)]
    return first, np.concatenate(blocks)


def lag(a, b, index=0, rate=24000, widest=0.03, later=0):
    """The delay in seconds of the audio of `b` relative to `a`, by the maximum of their normalized cross-correlation.

    Audio times are relative to the first video frame of each file; if `b` is an excerpt of `a`, it starts `later` seconds
    into `a`. Raises AssertionError if the sounds do not correlate.
    """
    sounds = [(heard(path, index, rate), decoded(path)[0][0] + begins) for path, begins in ((a, later), (b, 0))]
    (start_a, wave_a), (start_b, wave_b) = [(float(first - video), wave) for (first, wave), video in sounds]
    best = (-1.0, 0.0, 0.0)
    for shift in range(-round(widest * rate), round(widest * rate) + 1):
        # Sample i of a lies under sample i + offset of b.
        offset = round((start_a - start_b) * rate) + shift
        low, high = max(0, -offset), min(len(wave_a), len(wave_b) - offset)
        if high - low < min(len(wave_a), len(wave_b)) // 2:
            continue
        x, y = wave_a[low:high], wave_b[low + offset : high + offset]
        correlation = float(x @ y) / (float(np.linalg.norm(x) * np.linalg.norm(y)) + 1e-9)
        best = max(best, (correlation, -abs(shift), shift / rate))
    assert best[0] > 0.7, f"these are different sounds: their correlation is {best[0]:.2f} at most"
    return best[-1]
