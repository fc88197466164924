"""What becomes of each stream is known before the first frame, up to the end of the file."""

from fractions import Fraction

import av
import numpy as np
import pytest

from dnirender.encoding import stream_plan, transcode
from dnirender.encoding.stream_plan import add_copy, is_muxable, plan_streams
from dnirender.encoding.video import VideoSink
from dnirender.errors import OutputError, UsageError
from dnirender.media.channels import channel_layout
from dnirender.media.containers import open_container
from support.clips import make_clip, packets
from support.delivery import identity

LEVELS = (0.8, 0.4, 0.2, 0.1, 0.05, 0.6, 0.3, 0.15)  # of eight channels, each its own


def plan(path, container):
    """The plan of each stream but the video."""
    with open_container(path) as source:
        video = source.streams.video[0].index if source.streams.video else -1
    return [str(found) for found in plan_streams(path, container, video, audio=True, subtitles=True)]


def layout(path):
    with open_container(path) as container:
        return channel_layout(container.streams.audio[0].codec_context)


def levels(path, count):
    """The greatest sample of each channel, away from the ends."""
    with open_container(path) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="s16")  # PyAV reads no eight planes
        frames = [packed for frame in container.decode(stream) for packed in resampler.resample(frame)]
    samples = np.concatenate([frame.to_ndarray().reshape(-1, count) for frame in frames])
    return abs(samples[4000:-4000].astype(float)).max(axis=0) / 32768


def make_levels(path, name, count):
    """A clip whose channels are tones of different levels."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height = 96, 64
        track = out.add_stream("pcm_s16le", rate=48000, layout=name)
        for number in range(12):
            frame = av.VideoFrame(96, 64, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        wave = np.sin(np.arange(24000) / 150)[:, None] * LEVELS[:count]
        frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16).reshape(1, -1), format="s16", layout=name)
        frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), 0
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
    return path


def make_vorbis(path):
    """Two seconds of silence as Vorbis."""
    with av.open(str(path), "w") as out:
        track = out.add_stream("vorbis", rate=48000)
        track.codec_context.options = {"strict": "experimental"}
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 96000), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), 0
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".mov"])
@pytest.mark.parametrize(("name", "count"), [("5.1", 6), ("7.1", 8)])
def test_channels_keep_their_places_whether_the_file_names_them_or_not(tmp_path, suffix, name, count):
    clip = make_levels(tmp_path / f"clip{suffix}", name, count)
    assert len(layout(clip).channels) == count
    identity(clip, tmp_path / "out.mp4")
    identity(clip, tmp_path / "out.mov")
    assert layout(tmp_path / "out.mp4").name == name
    assert levels(tmp_path / "out.mp4", count) == pytest.approx(LEVELS[:count], rel=0.1, abs=0.01)
    assert b"".join(data for _, data in packets(tmp_path / "out.mov", "audio")) == b"".join(
        data for _, data in packets(clip, "audio")
    )


def test_an_order_of_its_own_becomes_the_standard_one():
    order = ("FL", "FR", "FC", "LFE", "SL", "SR", "BL", "BR")
    assert transcode._standard_order(order, "7.1") == "0|1|2|3|6|7|4|5"
    assert transcode._standard_order(("FL", "LFE"), "stereo") is None


@pytest.mark.parametrize(
    ("codec", "container", "expected"),
    [
        ("pcm_s16le", "mp4", "transcode to aac (players do not expect pcm_s16le in mp4)"),
        ("pcm_s24le", "mp4", "transcode to aac (players do not expect pcm_s24le in mp4)"),
        ("pcm_f32le", "mp4", "transcode to aac (players do not expect pcm_f32le in mp4)"),
        ("vorbis", "mp4", "transcode to aac (players do not expect vorbis in mp4)"),
        ("pcm_s16le", "mov", "copy"),
        ("pcm_s16le", "matroska", "copy"),
        ("pcm_s16le", "webm", "transcode to libopus (webm does not support pcm_s16le)"),
        ("flac", "mp4", "copy"),
        ("libopus", "mp4", "copy"),
        ("libopus", "mov", "transcode to aac (mov does not support opus)"),
    ],
)
def test_sound_is_what_players_of_the_container_expect(tmp_path, codec, container, expected):
    clip = make_vorbis(tmp_path / "a.mkv") if codec == "vorbis" else make_clip(tmp_path / "clip.mkv", audio=codec)
    assert plan(clip, container)[0].split(": ", 1)[1] == expected


def test_a_refusal_at_the_end_of_the_file_is_known_before_the_first_frame(tmp_path, monkeypatch):
    clip = make_clip(tmp_path / "clip.mkv", audio="pcm_s16le", layout="5.1")
    with open_container(clip) as source:
        stream = source.streams.audio[0]
        first = [packet for packet in source.demux(stream) if packet.size][:3]
        assert not is_muxable("mp4", first, lambda out: add_copy(out, stream))
        assert is_muxable("mp4", first, lambda out: add_copy(out, stream, "5.1"))
        assert is_muxable("mov", first, lambda out: add_copy(out, stream))
    monkeypatch.setattr(stream_plan, "UNUSUAL", {})
    assert plan(clip, "mp4") == ["audio #1 (pcm_s16le): copy as 5.1"]
    identity(clip, tmp_path / "out.mp4")
    assert layout(tmp_path / "out.mp4").name == "5.1"
    monkeypatch.setattr(stream_plan, "is_muxable", lambda *_: True)
    with pytest.raises(UsageError, match=r"mp4 does not support this .*audio=False") as caught:
        identity(clip, tmp_path / "other.mp4")
    assert "layout" in str(caught.value)  # the muxer's own words
    assert not list(tmp_path.glob(".other*"))


def test_a_refusal_after_the_last_frame_costs_no_frame(tmp_path, monkeypatch):
    clip = make_clip(tmp_path / "clip.mkv", audio="pcm_s16le", layout="5.1")
    monkeypatch.setattr(stream_plan, "UNUSUAL", {})
    monkeypatch.setattr(stream_plan, "is_muxable", lambda *_: True)
    monkeypatch.setattr(VideoSink, "check", lambda _: None)
    with pytest.raises(OutputError, match=r"no frame is lost: the same command with audio=False joins"):
        identity(clip, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
    report = identity(clip, tmp_path / "out.mp4", audio=False)
    assert (report.resumed, report.frames) == (12, 12)


def test_more_channels_than_have_a_layout_are_dropped_with_the_reason(tmp_path):
    clip = make_clip(tmp_path / "clip.mkv", audio="pcm_s16le", layout="hexadecagonal")
    assert plan(clip, "mp4") == [
        "audio #1 (pcm_s16le): drop (players do not expect pcm_s16le in mp4, and it cannot be transcoded to aac: "
        "16 channels without a layout)"
    ]
    assert plan(clip, "mov") == ["audio #1 (pcm_s16le): copy"]
