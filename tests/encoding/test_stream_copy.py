"""Other streams of the source: copied byte for byte, else transcoded in full, else dropped with a reason."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from dnirender.decoding.open import open_source
from dnirender.encoding.encoders import VideoSpec
from dnirender.encoding.sink import FrameTiming
from dnirender.encoding.stream_copy import TimeRange
from dnirender.encoding.stream_plan import plan_streams
from dnirender.encoding.video import VideoSink
from dnirender.errors import MediaError
from dnirender.media.containers import CONTAINERS, open_container
from support import clips
from support.clips import decoded, deliver, make_clip, packets, paint

FAST = {"libx264": {"preset": "ultrafast"}, "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"}}


def remux(source, target, time_range=None, frames=None, ignore_errors=False, **options):
    """Writes the painted video with the other streams of `source`; returns the stream plans as text."""
    metadata = open_source(source).metadata
    options = {"audio": True, "subtitles": True} | options
    plans = plan_streams(source, CONTAINERS[target.suffix], metadata.video_index, **options)
    indices = frames or range(len(metadata.pts))
    unit, base = metadata.time_base.numerator, Fraction(1, metadata.time_base.denominator)
    first = metadata.pts[indices[0]] if time_range and time_range.shift else 0
    times = FrameTiming(tuple((metadata.pts[i] - first) * unit for i in indices), base, metadata.last_duration * unit)
    codec = "libvpx-vp9" if target.suffix == ".webm" else "libx264"
    rate = times.frame_rate.limit_denominator(100_000)
    spec = VideoSpec(codec, "yuv420p", 96, 64, metadata.color, Fraction(1), FAST[codec], rate)
    copied = source, plans, time_range or TimeRange()
    sink = VideoSink(target, spec, times, copied, ignore_errors=ignore_errors)
    deliver(sink, map(paint, indices), target.parent)
    return [str(plan) for plan in plans]


def data(path, kind, index=0):
    return [packet for _, packet in packets(path, kind, index)]


def start(path, kind):
    return packets(path, kind)[0][0]


def shown_for(path):
    """Seconds that each subtitle stays; gaps are no subtitles."""
    with open_container(path) as container:
        stream = container.streams.subtitles[0]
        gap = 2 if stream.codec_context.name == "mov_text" else 0  # the length of an empty text
        found = [packet for packet in container.demux(stream) if packet.size > gap]
        return [float(packet.duration * packet.time_base) for packet in found]


def sound(path):
    """(first second, samples per second-aligned array) of the audio as it is heard."""
    with open_container(path) as container:
        frames = list(container.decode(container.streams.audio[0]))
    first = frames[0].pts * Fraction(frames[0].time_base.numerator, frames[0].time_base.denominator)
    return float(first), sum(frame.samples for frame in frames) / frames[0].sample_rate


@pytest.mark.parametrize(
    ("source", "target", "codec"),
    [
        (".mp4", ".mp4", "aac"),
        (".mp4", ".mov", "aac"),
        (".mp4", ".mkv", "aac"),
        (".mkv", ".mp4", "aac"),
        (".mkv", ".mkv", "flac"),
        (".mkv", ".mp4", "flac"),
        (".mkv", ".mkv", "libopus"),
        (".webm", ".webm", "libopus"),
        (".webm", ".mkv", "libopus"),
        (".webm", ".mp4", "libopus"),
        (".mov", ".mov", "pcm_s16le"),
        (".mkv", ".mp4", "ac3"),
    ],
)
def test_sound_is_copied_to_the_byte_and_stays_in_place(tmp_path, source, target, codec):
    video = "libvpx-vp9" if source == ".webm" else "libx264"
    clip = make_clip(tmp_path / f"clip{source}", frames=25, codec=video, audio=codec)
    plans = remux(clip, tmp_path / f"out{target}")
    assert len(plans) == 1 and plans[0].endswith(": copy")
    assert data(tmp_path / f"out{target}", "audio") == data(clip, "audio")
    for (was, _), (time, _) in zip(packets(clip, "audio"), packets(tmp_path / f"out{target}", "audio"), strict=True):
        assert abs(was - time) <= Fraction(1, 1000)
    assert [time for time, _ in decoded(tmp_path / f"out{target}")] == [Fraction(i, 25) for i in range(25)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    "shape",
    [
        {"audio_start": 0.3},
        {"audio_start": 15.0},
        {"audio_seconds": 25.0},
        {"audio_seconds": 0.1},
        {"pts": range(9000, 45000, 3600), "b_frames": 2, "audio_start": 0.1},
    ],
    ids=["late", "after the video", "much longer", "shorter", "both start late"],
)
def test_sound_may_begin_and_end_when_it_likes(tmp_path, suffix, shape):
    clip = make_clip(tmp_path / f"clip{suffix}", frames=10, audio="aac", **shape)
    target = tmp_path / f"out{suffix}"
    remux(clip, target)
    assert data(target, "audio") == data(clip, "audio")
    was = start(clip, "audio") - decoded(clip)[0][0]
    assert abs(start(target, "audio") - decoded(target)[0][0] - was) <= Fraction(1, 1000)


@pytest.mark.parametrize("codec", ["aac", "libopus", "ac3"])
def test_what_an_edit_list_hides_is_not_heard_elsewhere(tmp_path, codec):
    clip = make_clip(tmp_path / "clip.mp4", frames=10, audio=codec, audio_start=-3.0, audio_seconds=4.0)
    remux(clip, tmp_path / "out.mp4")
    assert data(tmp_path / "out.mp4", "audio") == data(clip, "audio")  # muted there as well
    remux(clip, tmp_path / "out.mkv")
    copied = data(tmp_path / "out.mkv", "audio")
    assert copied == data(clip, "audio")[-len(copied) :]
    assert -Fraction(9, 100) < start(tmp_path / "out.mkv", "audio") <= 0
    for suffix in (".mp4", ".mkv"):
        first, seconds = sound(tmp_path / f"out{suffix}")
        assert first + seconds == pytest.approx(1.0, abs=0.04)


def test_all_tracks_keep_order_language_and_bytes(tmp_path):
    clip = make_clip(
        tmp_path / "clip.mkv", audio=["aac", "flac", "libopus"], languages=["deu", "jpn", "eng"], subtitles=True
    )
    remux(clip, tmp_path / "out.mkv")
    for index in range(3):
        assert data(tmp_path / "out.mkv", "audio", index) == data(clip, "audio", index)
    with av.open(str(tmp_path / "out.mkv")) as out:
        assert [stream.metadata.get("language") for stream in out.streams.audio] == ["deu", "jpn", "eng"]
        assert out.streams.subtitles[0].metadata["language"] == "fra"


@pytest.mark.parametrize(
    ("source", "codec", "target", "to"),
    [(".mp4", "aac", ".webm", "libopus"), (".mov", "pcm_s16le", ".webm", "libopus"), (".mkv", "tta", ".mp4", "aac")],
)
def test_sound_that_does_not_fit_is_transcoded_in_full(tmp_path, source, codec, target, to):
    clip = make_clip(tmp_path / f"clip{source}", frames=25, audio=codec)
    (plan,) = remux(clip, tmp_path / f"out{target}")
    container = CONTAINERS[target]
    assert plan == f"audio #1 ({codec}): transcode to {to} ({container} does not support {codec})"
    first, seconds = sound(tmp_path / f"out{target}")
    was_first, was = sound(clip)
    assert abs(first - was_first) <= 0.03
    assert first + seconds == pytest.approx(was_first + was, abs=0.03)


@pytest.mark.parametrize("layout", ["mono", "stereo", "2.1", "5.1", "5.1(side)", "7.1"])
def test_every_layout_finds_one_that_opus_takes(tmp_path, layout):
    codec = "pcm_s16le" if layout == "2.1" else "flac"  # FLAC knows no 2.1, and PCM does not tell side from back
    clip = make_clip(tmp_path / "clip.mkv", frames=5, audio=codec, layout=layout)
    remux(clip, tmp_path / "out.webm")
    with av.open(str(tmp_path / "out.webm")) as out:
        channels = out.streams.audio[0].codec_context.layout.nb_channels
    assert channels == {"mono": 1, "stereo": 2, "2.1": 3, "7.1": 8}.get(layout, 6)


@pytest.mark.parametrize(("source", "target"), [(".mp4", ".mkv"), (".mkv", ".mp4"), (".mp4", ".mp4"), (".mkv", ".mkv")])
def test_subtitles_keep_their_words_and_times(tmp_path, source, target):
    texts = ((0.04, 0.12, "first: ünï 🎬"), (0.2, 0.1, "<i>second</i>\nline"))
    clip = make_clip(tmp_path / f"clip{source}", subtitles=True, texts=texts)
    plans = remux(clip, tmp_path / f"out{target}")
    assert plans[0].split(": ")[1].startswith("copy" if source == target else "transcode to ")
    found = []
    for time, packet in packets(tmp_path / f"out{target}", "subtitle"):
        text = packet[2:] if target == ".mp4" else packet
        if text:
            found.append((time, text.decode()))
    assert found == [(Fraction(1, 25), texts[0][2]), (Fraction(1, 5), texts[1][2])]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_video_keeps_its_own_title_language_and_disposition(tmp_path, suffix):
    with av.open(str(tmp_path / "clip.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.metadata.update({"language": "jpn", "title": "angle 2", "BPS": "77"})
        stream.disposition = av.stream.Disposition.forced
        out.mux(stream.encode(av.VideoFrame.from_ndarray(paint(0)).reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    remux(tmp_path / "clip.mkv", tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as out:
        video = out.streams.video[0]
        assert video.metadata["language"] == "jpn"
        assert "BPS" not in video.metadata  # it was that of the source's packets
        if suffix == ".mkv":
            assert (video.metadata["title"], video.disposition) == ("angle 2", av.stream.Disposition.forced)


def test_chapters_and_tags_are_carried_over(tmp_path):
    chapters = [(0, 0.2, "one"), (0.2, 0.4, "two")]
    clip = make_clip(tmp_path / "clip.mp4", chapters=chapters, metadata={"title": "Dusk", "artist": "nobody"})
    for suffix in (".mp4", ".mkv", ".mov"):
        plans = remux(clip, tmp_path / f"out{suffix}")
        assert plans == []  # the text track of the chapters is not a stream that is lost
        with av.open(str(tmp_path / f"out{suffix}")) as out:
            tags = {key.lower(): value for key, value in out.metadata.items()}
            assert (tags["title"], tags["artist"]) == ("Dusk", "nobody")
            found = [
                (chapter["start"] * Fraction(str(chapter["time_base"].numerator)) / chapter["time_base"].denominator)
                for chapter in out.chapters()
            ]
            assert found == [0, Fraction(1, 5)]
            assert [chapter["metadata"]["title"] for chapter in out.chapters()] == ["one", "two"]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_tags_that_are_not_unicode_pass(tmp_path, suffix):
    clip = make_clip(tmp_path / "clip.mkv", audio="aac", metadata={"title": "QQQQQQ"})
    clip.write_bytes(clip.read_bytes().replace(b"QQQQQQ", b"Q\xe9\xffQQQ"))
    remux(clip, tmp_path / f"out{suffix}")
    assert data(tmp_path / f"out{suffix}", "audio") == data(clip, "audio")
    if suffix == ".mkv":
        assert b"Q\xe9\xffQQQ" in (tmp_path / f"out{suffix}").read_bytes() or av.__version__ >= "19"


def test_attachments_stay_in_matroska_and_are_named_elsewhere(tmp_path):
    with av.open(str(tmp_path / "clip.mkv"), "w") as out:
        out.add_attachment("font.ttf", "font/ttf", b"glyphs" * 20)
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(paint(number)).reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    assert [plan.split(": ")[1] for plan in remux(tmp_path / "clip.mkv", tmp_path / "out.mkv")] == ["copy"]
    assert b"glyphs" * 20 in (tmp_path / "out.mkv").read_bytes()
    (plan,) = remux(tmp_path / "clip.mkv", tmp_path / "out.mp4")
    assert plan == "attachment #1 (font.ttf): drop (mp4 does not support attachments)"


def test_what_is_not_wanted_or_not_known_is_dropped_by_name(tmp_path):
    clip = make_clip(tmp_path / "clip.mkv", audio="flac", subtitles=True)
    plans = remux(clip, tmp_path / "out.mkv", audio=False, subtitles=False)
    assert [plan.split(": ")[1] for plan in plans] == ["drop (as requested)"] * 2
    with av.open(str(tmp_path / "out.mkv")) as out:
        assert [stream.type for stream in out.streams] == ["video"]
    clip.write_bytes(clip.read_bytes().replace(b"A_FLAC", b"A_ZZZZ"))
    plans = remux(clip, tmp_path / "out.mkv")
    assert plans[0] == "audio #1 (unknown): drop (matroska does not support unknown)"
    (plan,) = remux(make_clip(tmp_path / "s.mp4", subtitles=True), tmp_path / "out.webm")
    assert plan == "subtitle #1 (mov_text): drop (webm does not support mov_text)"


def test_covers_and_second_videos_are_named(tmp_path):
    with av.open(str(tmp_path / "clip.mp4"), "w") as out:
        streams = [
            out.add_stream("libx264", rate=25),
            out.add_stream("libx264", rate=25),
            out.add_stream("png", rate=1),
        ]
        for stream, pix_fmt in zip(streams, ("yuv420p", "yuv420p", "rgb24"), strict=True):
            stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        streams[2].disposition = av.stream.Disposition.attached_pic
        for stream in streams:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(paint(0))))
            out.mux(stream.encode(None))
    plans = [str(plan) for plan in plan_streams(tmp_path / "clip.mp4", "mp4", 0, audio=True, subtitles=True)]
    assert plans == [
        "video #1 (h264): drop (only one video stream is rendered)",
        "video #2 (png): drop (cover art is not rendered)",
    ]


# Ranges.


def test_a_range_takes_the_sound_the_words_and_the_chapters_that_lie_in_it(tmp_path):
    texts = ((0.1, 0.6, "before into"), (0.8, 0.1, "inside"), (1.0, 0.9, "out of it"), (1.9, 0.05, "behind"))
    chapters = [(0, 0.3, "gone"), (0.3, 1.0, "cut"), (1.0, 2.0, "end")]
    clip = make_clip(
        tmp_path / "clip.mp4", frames=50, audio="aac", subtitles=True, texts=texts, chapters=chapters, b_frames=2
    )
    first, stop = Fraction(12, 25), Fraction(36, 25)
    for suffix in (".mp4", ".mkv"):
        target = tmp_path / f"out{suffix}"
        remux(clip, target, TimeRange(first, stop, first), range(12, 36))
        assert [time for time, _ in decoded(target)] == [Fraction(i, 25) for i in range(24)]
        expected = [(time - first, packet) for time, packet in packets(clip, "audio") if first <= time < stop]
        found = packets(target, "audio")
        assert [packet for _, packet in found] == [packet for _, packet in expected]
        assert max(abs(a - b) for (a, _), (b, _) in zip(found, expected, strict=True)) <= Fraction(1, 1000)
        strip = 2 if suffix == ".mp4" else 0
        words = [
            (float(time), packet[strip:].decode()) for time, packet in packets(target, "subtitle") if packet[strip:]
        ]
        assert words == [(0.0, "before into"), (pytest.approx(0.32), "inside"), (pytest.approx(0.52), "out of it")]
        assert shown_for(target) == pytest.approx([0.22, 0.1, 0.44], abs=0.002)
        with av.open(str(target)) as out:
            titles = [chapter["metadata"]["title"] for chapter in out.chapters()]
            ends = [
                chapter["end"] * float(chapter["time_base"].numerator / chapter["time_base"].denominator)
                for chapter in out.chapters()
            ]
        assert titles == ["cut", "end"]
        assert ends == [pytest.approx(0.52, abs=0.002), pytest.approx(0.96, abs=0.002)]


def test_a_range_of_transcoded_sound_is_as_long_as_the_range(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=50, audio="aac")
    first, stop = Fraction(12, 25), Fraction(36, 25)
    remux(clip, tmp_path / "out.webm", TimeRange(first, stop, first), range(12, 36))
    begin, seconds = sound(tmp_path / "out.webm")
    assert 0 <= begin <= 0.05
    assert begin + seconds == pytest.approx(0.96, abs=0.05)


@pytest.mark.parametrize("at", [Fraction(0), Fraction(1, 2)])
def test_what_holds_is_half_open(at):
    time_range = TimeRange(at, at + 1)
    assert (
        time_range.contains(at) and not time_range.contains(at + 1) and not time_range.contains(at - Fraction(1, 10**6))
    )
    assert TimeRange().contains(Fraction(-5))


# Damage.


def test_sound_that_cannot_be_decoded_is_named(tmp_path):
    clip = make_clip(tmp_path / "clip.mkv", frames=25, audio="flac")
    broken = data(clip, "audio")[4]
    noise = np.random.default_rng(0).bytes(len(broken))
    clip.write_bytes(clip.read_bytes().replace(broken, noise))
    with pytest.raises(
        MediaError, match=r"clip.mkv: audio #1 cannot be decoded at 0\.\d\d s \(.*\); audio=False renders"
    ):
        remux(clip, tmp_path / "out.webm")
    assert not (tmp_path / "out.webm").exists()
    remux(clip, tmp_path / "out.mkv")  # copied packets are not decoded
    assert data(tmp_path / "out.mkv", "audio") == data(clip, "audio")


def test_the_plan_leaves_no_trace(tmp_path, clip, monkeypatch):
    made = []
    monkeypatch.setattr(io, "BytesIO", lambda made=made, new=io.BytesIO: made.append(new()) or made[-1])
    plan_streams(clip, "mp4", 0, audio=True, subtitles=True)
    assert made and [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("ignored", [False, True])
def test_corrupt_packets_are_left_out_where_errors_are_ignored_and_copied_elsewhere(tmp_path, monkeypatch, ignored):
    monkeypatch.setattr(clips, "CONTAINERS", {**clips.CONTAINERS, ".ts": "mpegts"})
    clip = make_clip(tmp_path / "clip.ts", frames=50, audio="ac3")
    with open_container(clip) as container:
        pid = container.streams.audio[0].id
    ts = bytearray(clip.read_bytes())
    cells = [at for at in range(0, len(ts), 188) if int.from_bytes(ts[at + 1 : at + 3], "big") & 0x1FFF == pid]
    ts[cells[len(cells) // 2] + 1] |= 0x80  # transport_error_indicator: the demuxer marks the packet as corrupt
    clip.write_bytes(ts)
    with open_container(clip) as container:
        packets_read = [packet for packet in container.demux(container.streams.audio[0]) if packet.size]
        whole = [bytes(packet) for packet in packets_read if not packet.is_corrupt]
    assert 0 < len(packets_read) - len(whole) < len(whole)
    remux(clip, tmp_path / "out.mkv", ignore_errors=ignored)
    found = data(tmp_path / "out.mkv", "audio")
    assert len(found) == (len(whole) if ignored else len(packets_read))
    assert not ignored or found == whole
