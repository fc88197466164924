"""What the tests of exact delivery share: the clips of tests/support/clips.py, a render that changes nothing, and what a
plain decode finds in a file, measured without the code that is tested."""

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

# A copy of its own: what is changed below is not changed for other tests.
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
# From preset 10 on SVT-AV1 4.1 loses whole cells of small painted pictures, whatever the quality.
FAST |= {"libsvtav1": {"preset": "8", "crf": "16"}}
clips.FAST = FAST


class Identity:
    """In place of the engine where there is no torch: every picture comes back as it is."""

    device, network = SimpleNamespace(type="cpu"), SimpleNamespace(scale=1)
    dtype, backend, choice, workers, tile, writes, threads = "fp32", "none", "", 1, None, 0, 1
    retried: ClassVar[list[int]] = []

    def autotune(self, *_):
        pass

    def seconds_per_frame(self, *_):
        return 1e-6

    def __call__(self, batches):
        for batch in batches:
            yield batch, tuple(frame.image for frame in batch.frames)


def preset_of(folder, **sections):
    """A preset of two networks that change nothing."""
    if HAS_TORCH:
        files = clips.tiny_endpoints(folder, one=0.0, two=0.0)
    else:
        files = {name: folder / f"{name}.safetensors" for name in ("one", "two")}
        for file in files.values():
            file.touch()
    endpoints = [{"name": name, "weights": file} for name, file in files.items()]
    return Preset.checked({"name": "identity", "network": {"endpoints": endpoints}, **sections}, "test")


def identity(source, target, codec="libx264", pix_fmt=None, options=None, **job):
    """Renders `source` to `target` through a network that changes nothing, and returns the report."""
    from dnirender.jobs.plan import make_plan
    from dnirender.jobs.prepare import prepare
    from dnirender.jobs.render import run

    encoding = {"codec": codec, "options": FAST[codec] if options is None else options}
    preset = preset_of(source.parent, encoding=encoding | ({"pix_fmt": pix_fmt} if pix_fmt else {}))
    plan = make_plan(make_job(source, target, preset, dtype="fp32", device="cpu", backend="torch", **job))
    return run(prepare(plan, None if HAS_TORCH else Identity()))


def numbered(path):
    """(numbers, seconds) of the frames that a plain decode shows."""
    frames = decoded(path)
    return [frame_number(image) for _, image in frames], [time for time, _ in frames]


def time_base(path):
    with clips._open(path) as container:
        return clips._exact(container.streams.video[0].time_base)


def sound_data(path, index=0):
    """The bytes of a sound without what belongs to the container: headers of ADTS, and the cuts between PCM packets."""
    with clips._open(path) as container:
        adts = "mpegts" in container.format.name and container.streams.audio[index].codec_context.name == "aac"
        plain = container.streams.audio[index].codec_context.name.startswith("pcm_")
    parts = [data[7 if data[1] & 1 else 9 :] if adts else data for _, data in packets(path, "audio", index)]
    return [b"".join(parts)] if plain else parts


def start(path, kind, index=0):
    """Seconds at which the first packet of a stream is shown or heard."""
    return min(time for time, _ in packets(path, kind, index))


@cache
def heard(path, index=0, rate=24000):
    """(seconds of the first sample, mono samples at `rate`) of a sound as it is decoded, priming taken off."""
    with clips._open(path) as container:
        stream = container.streams.audio[index]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        first, parts = None, []
        for frame in container.decode(stream):
            first = frame.pts * clips._exact(frame.time_base) if first is None else first
            frame.pts = None
            parts += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
        parts += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    return first, np.concatenate(parts)


def lag(a, b, index=0, rate=24000, widest=0.03, later=0):
    """Seconds by which the sound of `b` comes later than that of `a`, each against its own first frame of video, or, for
    a part of `a`, against the frame that is `later` there.

    Where the two agree best, by their normalised correlation, which must be there at all.
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
        alike = float(x @ y) / (float(np.linalg.norm(x) * np.linalg.norm(y)) + 1e-9)
        best = max(best, (alike, -abs(shift), shift / rate))
    assert best[0] > 0.7, f"these are different sounds: they agree by {best[0]:.2f} at most"
    return best[-1]
