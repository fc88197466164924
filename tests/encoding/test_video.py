"""Video output: every frame at its time and in the right color; atomic output."""

import errno
import io
import itertools
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnirender.decoding.open import open_source
from dnirender.encoding.encoders import (
    VideoSpec,
    check_container,
    check_encoder,
    choose_pix_fmt,
    encoder_name,
    encoder_options,
    even_size,
    keeps_shape,
)
from dnirender.encoding.image_sequence import ImageSequenceSink
from dnirender.encoding.sink import FrameTiming
from dnirender.encoding.stream_copy import TimeRange
from dnirender.encoding.stream_plan import StreamPlan, plan_streams
from dnirender.encoding.video import VideoSink
from dnirender.errors import MediaError, OutputError, UsageError
from dnirender.files import temporary_path
from dnirender.media.colorspace import ColorSpec
from dnirender.media.containers import container_of
from dnirender.media.images import read_image
from support.clips import CLIPS, decoded, deliver, frame_number, leftovers, make_clip, needs_shared, packets, paint

SPEED = {
    "libx264": {"preset": "medium", "crf": "12", "bf": "3"},
    "libx265": {"preset": "ultrafast", "crf": "12", "x265-params": "log-level=error:bframes=3"},
    "libvpx-vp9": {"deadline": "good", "cpu-used": "8", "crf": "12"},
    "ffv1": {},
}
TAGGED = ColorSpec(matrix=1, full_range=False, primaries=1, transfer=1)


def spec_of(times, codec="libx264", pix_fmt="yuv420p", size=(96, 64), **changes):
    rate = times.frame_rate.limit_denominator(100_000)
    spec = VideoSpec(codec, pix_fmt, *size, TAGGED, Fraction(1), SPEED.get(codec, {}), rate)
    return replace(spec, **changes)


def steady(count, base=Fraction(1, 25), first=0):
    return FrameTiming(tuple(range(first, first + count)), base, 1)


def write(target, times, numbers=None, copied_streams=None, size=(96, 64), segment=1 << 30, **changes):
    sink = VideoSink(target, spec_of(times, size=size, **changes), times, copied_streams)
    numbers = range(len(times.pts)) if numbers is None else numbers
    deliver(sink, (paint(number, size) for number in numbers), target.parent, segment)
    return target


TIMES = {
    "1/25": steady(12),
    "ntsc": FrameTiming(tuple(range(0, 12 * 1001, 1001)), Fraction(1, 30000), 1001),
    "ntsc in its own base": steady(12, Fraction(1001, 30000)),
    "vfr 1/90000": FrameTiming(
        (0, 3000, 3003, 9000, 90000, 93000, 93700, 180000, 183000, 183090, 270000, 300000), Fraction(1, 90000), 45000
    ),
    "vfr 1/16384": FrameTiming(
        (0, 1, 700, 701, 1400, 9000, 9016, 16384, 17000, 18000, 19000, 32768), Fraction(1, 16384), 16
    ),
    "start 1000": steady(12, Fraction(1, 24), 1000),
    "one": steady(1),
    "two": FrameTiming((5, 500), Fraction(1, 600), 10),
}


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mp4", "libx264"),
        (".mov", "libx264"),
        (".mkv", "libx264"),
        (".mp4", "libx265"),
        (".mkv", "ffv1"),
        (".webm", "libvpx-vp9"),
        (".m4v", "libx264"),
    ],
)
def test_every_frame_is_shown_once_and_exactly_at_its_time(tmp_path, name, suffix, codec):
    times = TIMES[name]
    if suffix in (".mkv", ".webm"):  # these count milliseconds
        times = replace(
            times,
            pts=tuple(
                p
                for i, p in enumerate(times.pts)
                if not i or (p - times.pts[i - 1]) * times.time_base > Fraction(1, 500)
            ),
        )
    frames = decoded(write(tmp_path / f"out{suffix}", times, codec=codec))
    assert [frame_number(image) for _, image in frames] == list(range(len(times.pts)))
    expected = [pts * times.time_base for pts in times.pts]
    worst = max(abs(time - right) for (time, _), right in zip(frames, expected, strict=True))
    assert worst <= (Fraction(1, 2000) if suffix in (".mkv", ".webm") else 0)
    assert leftovers(tmp_path) == []


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(1, 4000), min_size=1, max_size=9),
    st.integers(0, 10**6),
    st.sampled_from([600, 1000, 12800, 90000]),
)
def test_any_times_are_kept_with_b_frames(tmp_path, steps, start, denominator):
    pts = tuple(itertools.accumulate(steps, initial=start))
    times = FrameTiming(pts, Fraction(1, denominator), 7)
    frames = decoded(write(tmp_path / "any.mp4", times))
    assert [time for time, _ in frames] == [Fraction(p, denominator) for p in pts]
    assert [frame_number(image) for _, image in frames] == list(range(len(pts)))


def test_there_are_b_frames_in_these_tests(tmp_path):
    write(tmp_path / "out.mp4", steady(12))
    timestamps = [time for time, _ in packets(tmp_path / "out.mp4", "video")]
    assert timestamps != sorted(timestamps)


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "libx264"), (".mov", "libx265"), (".mkv", "libx264"), (".mkv", "ffv1")]
)
def test_the_file_is_as_long_as_its_frames(tmp_path, suffix, codec):
    times = TIMES["vfr 1/90000"]
    with av.open(str(write(tmp_path / f"out{suffix}", times, codec=codec))) as out:
        assert out.duration / av.time_base == pytest.approx(345000 / 90000, abs=0.002)
    steady_facts = open_source(write(tmp_path / f"steady{suffix}", TIMES["ntsc"], codec=codec)).metadata
    assert float(steady_facts.duration) == pytest.approx(12 * 1001 / 30000, abs=0.002)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_that_begins_before_zero_is_moved_with_its_sound(tmp_path, clip, suffix):
    times = FrameTiming(tuple(range(-5, 7)), Fraction(1, 25), 1)
    plans = plan_streams(clip, container_of(Path(suffix[1:] + suffix)), 0, audio=True, subtitles=True)
    target = write(tmp_path / f"out{suffix}", times, copied_streams=(clip, plans, TimeRange()))
    assert [time for time, _ in decoded(target)] == [Fraction(i, 25) for i in range(12)]
    shift = Fraction(1, 5)
    for (was, data), (time, same) in zip(packets(clip, "audio"), packets(target, "audio"), strict=True):
        assert abs(time - was - shift) <= Fraction(1, 1000) and data == same


# Pixels and color.


@pytest.mark.parametrize(
    ("matrix", "primaries", "transfer", "full"),
    [(1, 1, 1, False), (6, 6, 6, True), (9, 9, 16, False), (9, 9, 18, False)],
)
@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "ffv1"), (".mp4", "libx265"), (".webm", "libvpx-vp9")]
)
def test_color_tags_shape_and_pixels_come_back(tmp_path, matrix, primaries, transfer, full, suffix, codec):
    color = ColorSpec(matrix, full, primaries, transfer)
    target = write(tmp_path / f"out{suffix}", steady(2), codec=codec, color=color)
    source = open_source(target)
    assert replace(source.metadata.color, primaries=primaries, transfer=transfer) == color
    if suffix != ".webm":
        assert source.metadata.color == color
    inside = next(source.frames([1])).image[4:16, 4:20].reshape(-1, 3).mean(axis=0)
    assert inside == pytest.approx(paint(1)[8, 8], abs=4)


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "libx264"), (".mov", "libx265"), (".mkv", "libx264"), (".mkv", "libx265")]
)
def test_the_shape_of_the_pixels_is_kept(tmp_path, suffix, codec):
    target = write(tmp_path / f"out{suffix}", steady(2), codec=codec, sample_aspect_ratio=Fraction(64, 45))
    assert open_source(target).metadata.sample_aspect_ratio == Fraction(64, 45)


@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p", "yuv444p12le", "bgr0", "gbrp10le", "gray", "yuva420p"]
)
def test_lossless_is_lossless_but_for_the_chroma(tmp_path, pix_fmt):
    target = write(tmp_path / "out.mkv", steady(3), codec="ffv1", pix_fmt=pix_fmt)
    image = next(open_source(target).frames([2])).image
    expected = paint(2).astype(float)
    if pix_fmt == "gray":
        expected = np.repeat((expected @ [0.2126, 0.7152, 0.0722])[..., None], 3, axis=2)
    delta = np.abs(image / (257 if image.dtype == np.uint16 else 1) - expected)
    assert np.median(delta) <= 1 and delta.mean() <= 3


@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx264", ".mp4"), ("libx265", ".mp4"), ("ffv1", ".mkv"), ("libvpx-vp9", ".webm")]
)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
def test_odd_sizes_are_kept_or_padded_by_their_edge(tmp_path, codec, suffix, pix_fmt):
    width, height = even_size(codec, pix_fmt, 97, 65)
    assert (width, height) == ((98, 66) if pix_fmt == "yuv420p" and codec in ("libx264", "libx265") else (97, 65))
    times, painted = steady(2), paint(1, (97, 65))
    spec = spec_of(times, codec=codec, pix_fmt=pix_fmt, width=width, height=height)
    check_encoder(spec)
    deliver(VideoSink(tmp_path / f"out{suffix}", spec, times), [paint(0, (97, 65)), painted], tmp_path)
    image = next(open_source(tmp_path / f"out{suffix}").frames([1])).image
    assert image.shape == (height, width, 3)
    assert frame_number(image[:65, :97]) == 1
    edge = np.abs(image[2:60, -1].astype(int) - painted[2:60, -1])
    assert np.median(edge) <= 6  # neither black nor green


@needs_shared
@pytest.mark.parametrize("name", ["road_720p.mp4", "flower.mp4"])
def test_a_lossless_pass_through_keeps_real_pictures(tmp_path, name):
    source = open_source(CLIPS / name)
    metadata = source.metadata
    times = FrameTiming(metadata.pts[:6], metadata.time_base, 1)
    pix_fmt = choose_pix_fmt("ffv1", metadata.sampling, metadata.depth, None)
    spec = spec_of(times, "ffv1", pix_fmt, (metadata.width, metadata.height), color=metadata.color)
    originals = [frame.image for frame in source.frames(range(6))]
    deliver(VideoSink(tmp_path / "out.mkv", spec, times), originals, tmp_path)
    deltas = [
        frame.image.astype(float) - original
        for frame, original in zip(open_source(tmp_path / "out.mkv").frames(range(6)), originals, strict=True)
    ]
    for delta in deltas:
        assert np.abs(delta.mean(axis=(0, 1))).max() <= 0.1
        assert np.abs(delta).mean(axis=(0, 1)).max() <= 0.6


# Atomic output.


@pytest.mark.parametrize("count", [0, 3, 11, 13])
def test_another_number_of_frames_is_refused(tmp_path, count):
    target = tmp_path / "out.mp4"
    with pytest.raises(OutputError, match=rf"out.mp4: expected 12 frames, got {count}; nothing was published$"):
        write(target, steady(12), numbers=range(count))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["mux_one", "close"])
def test_disk_errors_name_the_target(tmp_path, monkeypatch, method):
    from dnirender.encoding import video as encode

    class Full:
        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            if name == method:
                raise OSError(errno.ENOSPC, "No space left on device")
            return getattr(self.inner, name)

    create = encode.create_container
    monkeypatch.setattr(encode, "create_container", lambda *args: Full(create(*args)))
    with pytest.raises(OutputError, match=r"out.mp4: cannot be written \(No space left on device\)$"):
        write(tmp_path / "out.mp4", steady(12))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(range(11), "11 of 12 frames"), ([0, 1, 2, 4, *range(4, 12)], "12 of 12 frames, the first difference at frame 3")],
)
def test_a_file_that_is_not_what_was_written_is_not_published(tmp_path, monkeypatch, wrong, message):
    sink = VideoSink(tmp_path / "out.mp4", spec_of(steady(12)), steady(12))
    monkeypatch.setattr(sink, "_read_back", lambda _: ([Fraction(i, 25) for i in wrong], 0))
    with pytest.raises(OutputError, match=f"read back {message}; nothing was published"):
        deliver(sink, map(paint, range(12)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("segment", [1, 2, 5, 11])
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mp4", "libx264"),
        (".mov", "libx265"),
        (".mkv", "libx265"),
        (".mkv", "ffv1"),
        (".webm", "libvpx-vp9"),
        (".mp4", "libsvtav1"),
        (".mp4", "mpeg4"),
        (".mov", "prores_ks"),
    ],
)
def test_segments_join_to_what_is_shown_at_once(tmp_path, suffix, codec, segment):
    pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    times = TIMES["vfr 1/16384"] if suffix in (".mp4", ".mov") else steady(12)
    target = write(tmp_path / f"out{suffix}", times, codec=codec, pix_fmt=pix_fmt, segment=segment)
    frames = decoded(target)
    assert [frame_number(image) for _, image in frames] == list(range(12))
    tolerance = 0 if suffix in (".mp4", ".mov") else Fraction(1, 2000)
    expected = [pts * times.time_base for pts in times.pts]
    assert max(abs(time - right) for (time, _), right in zip(frames, expected, strict=True)) <= tolerance


def test_an_unsupported_combination_of_streams_is_refused_before_the_first_frame(tmp_path, clip):
    sink = VideoSink(tmp_path / "out.mp4", spec_of(steady(2)), steady(2))
    sink.check()
    plans = (StreamPlan(1, "audio", "aac", "copy"),)  # which WebM does not support, whoever planned it
    with pytest.raises(
        UsageError, match=r"out.webm: webm does not support this combination of streams \(.*\); use .mkv, or"
    ):
        VideoSink(
            tmp_path / "out.webm", spec_of(steady(2), codec="libvpx-vp9"), steady(2), (clip, plans, TimeRange())
        ).check()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_every_segment_begins_with_a_key_frame(tmp_path):
    target = write(tmp_path / "out.mp4", steady(12), segment=5)
    with av.open(str(target)) as out:
        keys = [packet.pts for packet in out.demux(video=0) if packet.size and packet.is_keyframe]
    assert [round(pts * 25 * Fraction(1, 25)) for pts in keys] == [0, 5, 10]


def test_segments_of_another_encoder_are_refused(tmp_path):
    sink = VideoSink(tmp_path / "out.mp4", spec_of(steady(2)), steady(2))
    other = VideoSink(tmp_path / "out.mp4", spec_of(steady(2), size=(96, 48)), steady(2))
    sink.new_encoder = other.new_encoder
    with pytest.raises(
        OutputError, match="the encoder differs from the one of the finished segments; use restart=True"
    ):
        deliver(sink, [paint(0, (96, 48)), paint(1, (96, 48))], tmp_path)


def test_a_source_that_vanishes_leaves_nothing(tmp_path, clip):
    plans = plan_streams(clip, "mp4", 0, audio=True, subtitles=True)
    clip.unlink()
    with pytest.raises(MediaError, match="cannot be opened"):
        write(tmp_path / "out.mp4", steady(12), copied_streams=(clip, plans, TimeRange()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x" * 251 + ".mp4", "🎬" * 60 + ".mp4", "-y.mp4", "concat:a|b.mp4", "100%d.mkv"])
def test_any_name_that_a_file_can_have(tmp_path, name):
    write(tmp_path / name, steady(2))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(decoded(tmp_path / name)) == 2


def test_temporary_names_of_different_targets_differ(tmp_path):
    names = [f"{'long ' * 20}{number}.mp4" for number in range(20)]
    paths = {temporary_path(tmp_path / name) for name in names}
    assert len(paths) == 20 and {path.parent for path in paths} == {tmp_path}


# Encoder settings.


@pytest.mark.parametrize(
    ("codec", "sampling", "depth", "chosen"),
    [
        ("libx264", (2, 2), 8, "yuv420p"),
        ("libx264", (2, 1), 8, "yuv422p"),
        ("libx264", (1, 1), 8, "yuv444p"),
        ("libx264", (2, 2), 10, "yuv420p10le"),
        ("libx264", (2, 2), 12, "yuv420p10le"),
        ("libx264", None, 8, "yuv420p"),
        ("libx264", (4, 1), 8, "yuv444p"),
        ("libx265", (2, 1), 12, "yuv422p12le"),
        ("libsvtav1", (1, 1), 8, "yuv420p"),
        ("libvpx-vp9", (1, 1), 8, "yuv444p"),
        ("prores_ks", (2, 2), 8, "yuv422p10le"),
        ("ffv1", (2, 2), 16, "yuv420p12le"),
    ],
)
def test_the_sources_sampling_and_depth_are_kept_where_the_codec_can(codec, sampling, depth, chosen):
    assert choose_pix_fmt(codec, sampling, depth, None) == chosen


MEANT = {
    "h265": "libx265", "H.265": "libx265", "x265": "libx265", "hvc1": "libx265", "HEVC": "libx265", "x264": "libx264",
    "avc": "libx264", "avc1": "libx264", "h.264": "libx264", "LIBX264": "libx264", "libx2644": "libx264",
    "VP9": "libvpx-vp9", "vpx9": "libvpx-vp9", "webm": "libvpx-vp9", "libvp9": "libvpx-vp9", "svt-av1": "libsvtav1",
    "libaom": "libsvtav1", "AV1": "libsvtav1", "prores422hq": "prores_ks", "prores_kk": "prores_ks", "DNxHR": "dnxhd",
    "xvid": "mpeg4", "ffv": "ffv1", "FFV1": "ffv1", "nvenc": "h264_nvenc",
}  # fmt: skip


@pytest.mark.parametrize("text", MEANT)
def test_an_unknown_encoder_is_answered_with_the_nearest_known(text):
    with pytest.raises(UsageError) as caught:
        choose_pix_fmt(text, (2, 2), 8, None)
    assert str(caught.value) == f"codec={text!r}: unknown encoder; did you mean {MEANT[text]}?"


def test_an_encoder_that_nothing_is_near_is_answered_with_the_usual_ones():
    with pytest.raises(UsageError, match="codec='zzzzzz': unknown encoder; choose for example libx264, libx265,"):
        choose_pix_fmt("zzzzzz", (2, 2), 8, None)


def test_the_name_of_a_format_is_that_of_its_encoder():
    assert [encoder_name(name) for name in ("h264", "hevc", "vp9", "libx264", "ffv1")] == [
        "libx264", "libx265", "libvpx-vp9", "libx264", "ffv1",
    ]  # fmt: skip


def test_what_is_asked_for_wins_or_is_refused():
    assert choose_pix_fmt("libx264", (1, 1), 10, "nv12") == "nv12"
    with pytest.raises(UsageError, match=r"^pix_fmt='rgb24': libx264 supports yuv420p, "):
        choose_pix_fmt("libx264", (2, 2), 8, "rgb24")
    with pytest.raises(UsageError, match=r"^codec='h263x': unknown encoder; did you mean h263\?$"):
        choose_pix_fmt("h263x", (2, 2), 8, None)
    with pytest.raises(UsageError, match=r"^codec='aac': encodes audio, expected a video encoder$"):
        choose_pix_fmt("aac", (2, 2), 8, None)


def test_options_override_one_another(monkeypatch):
    monkeypatch.setattr(cv2, "checkHardwareSupport", lambda _: False)
    assert encoder_options("libx264", None, {}) == {"preset": "veryfast", "crf": "17"}
    assert encoder_options("libx264", 23, {"tune": "film"}) == {"preset": "veryfast", "crf": "23", "tune": "film"}
    assert encoder_options("libx264", 23, {"crf": "0", "preset": "slow"}) == {"preset": "slow", "crf": "0"}
    assert encoder_options("ffv1", None, {}) == {}
    # With crf set, x264 and x265 ignore qp, and VP9 takes a bit rate as a limit.
    assert encoder_options("libx264", None, {"qp": "0"}) == {"preset": "veryfast", "qp": "0"}
    assert "crf" not in encoder_options("libvpx-vp9", None, {"b": "1M"})


def test_instructions_of_x264_are_limited_where_the_cpu_has_them_and_the_user_does_not_say(monkeypatch):
    monkeypatch.setattr(cv2, "checkHardwareSupport", lambda _: True)
    for params, wanted in (("", "asm=AVX2"), ("ref=2", "ref=2:asm=AVX2"), ("asm=0:ref=2", "asm=0:ref=2")):
        assert encoder_options("libx264", None, {"x264-params": params})["x264-params"] == wanted
    assert "x264-params" not in encoder_options("libx265", None, {})


@pytest.mark.parametrize("size", [(160, 96), (320, 180), (480, 270)])
def test_equal_frames_give_equal_packets_with_the_default_options(size):
    def packed():
        with av.open(io.BytesIO(), "w", format="matroska") as container:
            stream = container.add_stream("libx264", Fraction(25), options=encoder_options("libx264", None, {}))
            stream.width, stream.height = size
            made = [p for f in frames for p in stream.encode(av.VideoFrame.from_ndarray(f, "rgb24"))]
            return [bytes(packet) for packet in made + stream.encode()]

    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 256, (90, 150, 3), np.uint8), (600, 360), interpolation=cv2.INTER_CUBIC)
    frames = [np.ascontiguousarray(scene[k : k + size[1], 2 * k : 2 * k + size[0]]) for k in range(40)]
    first = packed()
    assert len(first) == 40
    for _ in range(12):
        assert packed() == first


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"options": {"presett": "slow"}}, r"^libx264 has no option presett; see ffmpeg -h encoder=libx264$"),
        ({"options": {"preset": "sloow"}}, r"^codec='libx264': cannot encode 96x64 yuv420p with preset=sloow \("),
        ({"width": 97}, r"^codec='libx264': cannot encode 97x64 yuv420p with "),
        ({"codec": "h264_nvenc", "options": {}}, r"^codec='h264_nvenc': (unknown encoder|cannot encode 96x64)"),
    ],
)
def test_what_an_encoder_refuses_is_known_before_the_first_frame(changes, text):
    if changes.get("codec") == "h264_nvenc" and Path("/dev/nvidia0").exists():
        pytest.skip("this machine may have the encoder")
    with pytest.raises(UsageError, match=text):
        check_encoder(spec_of(steady(2), **changes))


@pytest.mark.parametrize("codec", SPEED)
def test_what_an_encoder_takes_passes(codec):
    check_encoder(spec_of(steady(2), codec=codec))


# Image sequences.


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_numbered_pictures_are_the_pictures(tmp_path, kind):
    images = [paint(i).astype(kind) * kind(257 if kind == np.uint16 else 1) for i in range(3)]
    deliver(ImageSequenceSink(tmp_path / "f_%03d.png", range(3)), images, tmp_path, segment=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f_000.png", "f_001.png", "f_002.png"]
    for number, image in enumerate(images):
        assert np.array_equal(read_image(tmp_path / f"f_{number:03d}.png")[0], image)


def test_media_made_for_tests_is_what_it_says(tmp_path):
    frames = decoded(make_clip(tmp_path / "clip.mp4", frames=5, b_frames=2, rate=24))
    assert [frame_number(image) for _, image in frames] == list(range(5))
    assert [time for time, _ in frames] == [Fraction(i, 24) for i in range(5)]
    assert frame_number((paint(300, (31, 23)) * 0.4).astype(np.uint8)) == 300
    for wrong in (np.rot90(paint(5)), np.full((64, 96, 3), 90, np.uint8), paint(0) // 2 + paint(1) // 2):
        with pytest.raises(AssertionError, match="no painted number"):
            frame_number(wrong)
    with av.open(str(make_clip(tmp_path / "b.mkv", audio=["aac", "flac"], subtitles=True))) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio", "audio", "subtitle"]


def small_spec(codec, pix_fmt="yuv420p", sar=Fraction(1)):
    return VideoSpec(codec, pix_fmt, 64, 48, ColorSpec(1, False), sar, encoder_options(codec, None, {}), Fraction(25))


@pytest.mark.parametrize(
    ("codec", "container", "fits"),
    [
        ("libx264", "mp4", True),
        ("libx264", "webm", False),
        ("libvpx-vp9", "webm", True),
        ("ffv1", "matroska", True),
        ("ffv1", "webm", False),
    ],
)
def test_a_container_is_asked_before_the_first_frame(codec, container, fits):
    if fits:
        check_container(small_spec(codec), container)
        return
    with pytest.raises(UsageError, match=f"codec={codec!r}: {container} does not support it; choose another codec"):
        check_container(small_spec(codec), container)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize("codec", ["libx264", "ffv1", "libvpx-vp9"])
def test_what_is_said_to_keep_the_shape_of_pixels_keeps_it(tmp_path, codec, suffix):
    spec = small_spec(codec, sar=Fraction(4, 3))
    target = tmp_path / f"out{suffix}"
    try:
        check_container(spec, container_of(target))
    except UsageError:
        pytest.skip("this container does not support this codec")
    sink = VideoSink(target, spec, FrameTiming((0, 1), Fraction(1, 25), 1))
    deliver(sink, [paint(0, (64, 48)), paint(1, (64, 48))], tmp_path)
    stored = open_source(target).metadata.sample_aspect_ratio == Fraction(4, 3)
    assert stored == keeps_shape(spec, container_of(target))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed on Linux only")
def test_av1_takes_no_real_time_priority(tmp_path):
    """Its encoder takes it as root; other users may not."""
    target = tmp_path / "out.mkv"
    sink = VideoSink(target, spec_of(steady(2), "libsvtav1", options={"preset": "12"}), steady(2))

    def threads():
        return [int(task.name) for task in Path("/proc/self/task").iterdir()]

    def policies():
        return {os.sched_getscheduler(thread) for thread in threads()}

    before = {os.SCHED_OTHER}
    for thread in threads():  # where other tests have encoded with PyAV alone
        os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
    encoder = sink.new_encoder()
    assert policies() == before
    del encoder
    sink.check()
    assert policies() == before
    check_encoder(spec_of(steady(2), "libsvtav1", options={"preset": "12"}))
    deliver(sink, [paint(0), paint(1)], tmp_path)
    assert policies() == before
