"""Laws of renders whose keyframes depend on the sound or the cuts of their clip."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from dnirender import render
from dnirender.decoding.sound import read_sound
from dnirender.errors import MediaError, UsageError
from dnirender.jobs.compose import make_alpha_track
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.media.images import write_png
from support.clips import make_clip, preset_of, tiny_endpoints

RATE = 48000


def musical_clip(path, seconds=6, sound="pcm_s16le", delay=0.0, beats=0.5):
    """A clip of gray frames with a click every `beats` seconds, the first at 0.25 s; the sound begins `delay` late."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = out.add_stream(sound, rate=RATE, layout="stereo")
        samples = np.zeros(round((seconds - delay) * RATE), np.float32)
        for click in np.arange(0.25, seconds - 0.1, beats):
            start = round((click - delay) * RATE)
            after = np.arange(2400)
            if start >= 0:
                samples[start : start + 2400] += np.exp(-after / 500) * np.sin(2 * np.pi * 1000 * after / RATE)
        packets = []
        for number in range(seconds * 25):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = number
            packets += video.encode(frame)
        packets += video.encode(None)
        whole = np.stack([samples, samples])
        for start in range(0, whole.shape[1], 1024):
            part = np.ascontiguousarray((whole[:, start : start + 1024] * 30000).astype(np.int16).T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(part, "s16", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start + round(delay * RATE), Fraction(1, RATE)
            packets += audio.encode(frame)
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)
    return path


@pytest.fixture
def preset(tmp_path):
    return preset_of(tiny_endpoints(tmp_path))


@pytest.mark.parametrize(
    ("name", "sound"), [("a.mkv", "pcm_s16le"), ("a.mp4", "aac"), ("a.ts", "aac"), ("a.mov", "pcm_s16le")]
)
def test_beats_are_keys_at_their_times(tmp_path, preset, name, sound):
    clip = musical_clip(tmp_path / name, sound=sound)
    plan = make_plan(make_job(clip, tmp_path / "out.mp4", preset, beat="night"))
    assert plan.keyframes_from == ("12 beats at 120.0 per minute",)
    peaks = [float(key.position.value) for key in plan.job.timeline.keyframes if "night" in key.text]
    assert np.abs(np.array(peaks) - np.arange(0.25, 5.9, 0.5)).max() < 0.01
    assert not any("not reached" in warning for warning in plan.warnings)


def test_sound_that_begins_late_is_in_its_place(tmp_path, preset):
    clip = musical_clip(tmp_path / "late.mkv", delay=1.1)
    keys = make_plan(make_job(clip, tmp_path / "out.mp4", preset, beat="night")).job.timeline.keyframes
    peaks = [float(key.position.value) for key in keys if "night" in key.text]
    assert np.abs(np.array(peaks) - np.arange(1.25, 5.9, 0.5)).max() < 0.01


def test_alpha_is_drawn_over_the_sound_that_it_was_made_from(tmp_path, preset):
    plan = make_plan(make_job(musical_clip(tmp_path / "a.mkv"), tmp_path / "o.mkv", preset, beat="night"))
    peaks, count = np.array(plan.waveform), len(plan.waveform)
    assert peaks.max() == 1 and np.median(peaks) < 0.1, "clicks are short"
    image, silent = (make_alpha_track(p).draw_all(800, 80) for p in (plan, replace(plan, waveform=())))
    changed = (image.astype(int) - silent).any(2).sum(0)
    loud = 0.45 * 80 + np.flatnonzero(peaks > 0.5) / count * (800 - 0.9 * 80)
    assert all(changed[round(x) - 2 : round(x) + 3].max() > 16 for x in loud), "the middle is where the sound is"
    assert not changed[: int(0.45 * 80) - 2].any()


def test_beats_of_a_part_count_from_its_first_frame(tmp_path, preset):
    clip = musical_clip(tmp_path / "clip.mkv")
    plan = make_plan(make_job(clip, tmp_path / "out.mp4", preset, beat="night", start="1s", end="5s"))
    peaks = [float(key.position.value) for key in plan.job.timeline.keyframes if "night" in key.text]
    assert np.abs(np.array(peaks) - np.arange(0.25, 3.9, 0.5)).max() < 0.01


def test_what_was_heard_renders_as_the_same_keyframes_typed(tmp_path, preset):
    clip = musical_clip(tmp_path / "clip.mkv", seconds=3)
    typed = make_plan(make_job(clip, tmp_path / "a.mkv", preset, keyframes="audio:mid@smooth")).job
    text = typed.preset.timeline.keyframes
    render(clip, tmp_path / "a.mkv", preset=preset, keyframes="audio:mid@smooth", codec="ffv1")
    render(clip, tmp_path / "b.mkv", preset=preset, keyframes=text, codec="ffv1")
    frames = []
    for name in ("a.mkv", "b.mkv"):
        with av.open(str(tmp_path / name)) as container:
            frames.append([frame.to_ndarray() for frame in container.decode(video=0)])
    assert len(frames[0]) == 75 and all((a == b).all() for a, b in zip(*frames, strict=True))
    assert len({frame.mean() for frame in frames[0]}) > 10


def test_a_clip_without_sound_is_an_error_that_says_so(tmp_path, preset):
    mute = make_clip(tmp_path / "mute.mp4")
    with pytest.raises(MediaError, match=r"mute.mp4: has no audio stream"):
        make_plan(make_job(mute, tmp_path / "out.mp4", preset, beat="night"))


def test_silence_is_an_error_that_says_so(tmp_path, preset):
    silent = musical_clip(tmp_path / "silent.mkv", seconds=2, beats=100, delay=0.3)
    for changes in ({"beat": "night"}, {"keyframes": "audio:rms"}):
        with pytest.raises(UsageError, match="nothing is to be heard in silent.mkv"):
            make_plan(make_job(silent, tmp_path / "out.mp4", preset, **changes))


def test_samples_are_those_of_the_file(tmp_path):
    clip = musical_clip(tmp_path / "clip.mkv", seconds=2)
    sound = read_sound(clip, Fraction(0), Fraction(2), RATE)
    assert sound.shape == (2 * RATE,) and sound.dtype == np.float32
    assert np.abs(sound[: RATE // 4 - 4]).max() < 1e-4
    assert sound[RATE // 4 + 12] == pytest.approx(2**0.5 * np.exp(-12 / 500) * 30000 / 32768, abs=0.02)
    part = read_sound(clip, Fraction(1, 5), Fraction(1), RATE)
    assert np.allclose(part, sound[RATE // 5 : RATE])


def scenes(path, lengths=(20, 15, 25)):
    """A clip of scenes of one gray each."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        grays = [gray for scene, length in enumerate(lengths) for gray in [40 + 80 * (scene % 2)] * length]
        for number, gray in enumerate(grays):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), gray, np.uint8), format="rgb24")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_keys_lie_at_the_cuts_of_the_rendered_part(tmp_path, preset):
    clip = scenes(tmp_path / "clip.mp4")
    plan = make_plan(make_job(clip, tmp_path / "out.mp4", preset, keyframes="0:day@hold, cut:night@hold, cut2:day"))
    assert plan.keyframes_from == ("2 cuts, at frames 20, 35",)
    assert [alpha[1] for alpha in plan.selection.alphas] == [0] * 20 + [1] * 15 + [0] * 25
    part = make_plan(
        make_job(clip, tmp_path / "out.mp4", preset, keyframes="0:day@hold, cut:night", start="10", end="30")
    )
    assert part.keyframes_from == ("1 cuts, at frames 10",)
    assert [alpha[1] for alpha in part.selection.alphas] == [0] * 10 + [1] * 10


def test_keys_snap_to_cuts(tmp_path, preset):
    clip = scenes(tmp_path / "clip.mp4")
    job = make_job(
        clip, tmp_path / "out.mp4", preset, keyframes="0:day@hold, 0.7s:night@hold, 1.5s:day", snap_to_cuts=True
    )
    assert [alpha[1] for alpha in make_plan(job).selection.alphas] == [0] * 20 + [1] * 15 + [0] * 25


def test_a_cut_that_is_not_there_is_an_error(tmp_path, preset):
    clip = scenes(tmp_path / "clip.mp4")
    with pytest.raises(UsageError, match=r"cut3.*60 frames and its cuts are at frames 20, 35"):
        make_plan(make_job(clip, tmp_path / "out.mp4", preset, keyframes="0:day, cut3:night"))


@pytest.mark.parametrize("name", ["clip.mkv", "still.png"])
def test_noise_of_the_clip_is_the_alpha(tmp_path, preset, name):
    source, rng = tmp_path / name, np.random.default_rng(0)
    images = np.clip(rng.normal(120, 30, (1 if name == "still.png" else 6, 64, 96, 3)), 0, 255).astype(np.uint8)
    if name == "still.png":
        write_png(source, images[0])
    else:
        with av.open(str(source), "w") as out:
            video = out.add_stream("ffv1", rate=25)
            video.width, video.height, video.pix_fmt = 96, 64, "bgr0"
            for image in images:
                out.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="bgr0")))
            out.mux(video.encode(None))
    plan = make_plan(make_job(source, tmp_path / "out.mp4", preset, keyframes="noise:20..40"))
    alphas = set(plan.selection.alphas)
    assert len(alphas) == 1
    assert alphas.pop()[1] == pytest.approx(0.5, abs=0.2)
    assert plan.keyframes_from[0].startswith("noise of sigma ")
    assert plan.job.preset.timeline.keyframes.startswith("0:0.")
    with pytest.raises(UsageError, match="its sound, cuts or noise"):
        preset.override({"timeline": {"keyframes": "noise:20..40"}}).timeline.parsed()
