"""Deinterlacing: one progressive frame per interlaced frame, at its time, and equal for every range."""

from fractions import Fraction

import av
import numpy as np
import pytest

from dnirender import Preset, UsageError, render
from dnirender.decoding.deinterlace import deinterlace_frames
from dnirender.decoding.open import open_source
from dnirender.jobs.job import make_job
from support.clips import decoded, make_clip, tiny_endpoints

COUNT = 12
PTS = [3, 10, 11, 40, 41, 90, 200, 999, 1000, 1001, 1010, 2000]


def field_image(time, size=(96, 64)):
    """A gray image [h, w] of a bar with soft edges that moves by 3 pixels per unit of time."""
    width, height = size
    columns = np.arange(width)
    bar = np.clip(12 - np.abs(columns - 16 - 3 * time), 0, 8) / 8
    return np.tile(40 + 160 * bar, (height, 1))


def interlaced_image(number, bottom_first=False):
    """Frame `number`: two fields of different times."""
    early, late = field_image(2 * number), field_image(2 * number + 1)
    frame = late.copy()
    frame[bottom_first::2] = early[bottom_first::2]
    return frame


def noise(number, _bottom_first):
    """Noise, so that every deinterlaced line depends on all neighbors in space and time."""
    return np.random.default_rng(number).integers(16, 236, (64, 96)).astype(float)


def make_interlaced(path, codec="libx264", pix_fmt="gray", bottom_first=False, make_image=interlaced_image, **options):
    """Writes an interlaced clip of gray frames at irregular times."""
    depth = 10 if "10" in pix_fmt else 8
    order = "bb" if bottom_first else "tt"
    settings = {"libx264": {"qp": "0", "g": "5", "bf": "2", "x264-params": "bff=1" if bottom_first else "tff=1"}}
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=settings.get(codec, {"field_order": order}) | options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, pts in enumerate(PTS):
            codes = make_image(number, bottom_first) * (1 << (depth - 8))
            frame = av.VideoFrame(96, 64, pix_fmt)
            kind = np.uint16 if depth > 8 else np.uint8
            for index, plane in enumerate(frame.planes):
                rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // np.dtype(kind).itemsize)
                rows[:, : plane.width] = codes if index == 0 else 1 << (depth - 1)
            if codec == "libx264":
                frame = flagged(frame, "bff" if bottom_first else "tff")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def flagged(frame, lines):
    """The frame, flagged as interlaced by a filter, because PyAV's attributes are read-only."""
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(template=None, width=96, height=64, format=frame.format, time_base=Fraction(1)),
        graph.add("setfield", lines),
        graph.add("buffersink"),
    ).configure()
    graph.push(frame)
    return graph.vpull()


def read_frames(path, mode, indices=range(COUNT)):
    return list(open_source(path, deinterlace=mode).frames(indices))


def combing(image):
    """The mean difference between a line and the mean of its neighbors."""
    lines = image[..., 0].astype(float) / np.iinfo(image.dtype).max
    return np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).mean()


@pytest.mark.parametrize("bottom_first", [False, True])
@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("libx264", "gray"),
        ("libx264", "gray10le"),
        ("libx264", "yuv420p"),
        ("libx264", "yuv422p10le"),
        ("ffv1", "gray"),
    ],
)
def test_every_frame_becomes_one_progressive_frame_at_its_time(tmp_path, codec, pix_fmt, bottom_first):
    path = make_interlaced(tmp_path / "clip.mkv", codec, pix_fmt, bottom_first)
    plain, progressive = read_frames(path, "off"), read_frames(path, "auto")
    assert [frame.index for frame in progressive] == list(range(COUNT))
    assert [frame.pts for frame in progressive] == [frame.pts for frame in plain] == PTS
    for before, after in zip(plain, progressive, strict=True):
        assert after.image.dtype == before.image.dtype == (np.uint16 if "10" in pix_fmt else np.uint8)
        early = slice(int(bottom_first), None, 2)
        assert np.array_equal(after.image[early], before.image[early])  # the first field is unchanged
        assert combing(after.image) < combing(before.image) / 5
        # In one field all lines of the moving bar are equal; the interpolated lines must be close to them.
        error = np.abs(after.image[:, 8:-8].astype(float) - before.image[early][:1, 8:-8]).mean()
        assert error < 0.03 * np.iinfo(after.image.dtype).max


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_any_range_equals_the_same_frames_of_the_full_video(tmp_path, pix_fmt, suffix):
    path = make_interlaced(tmp_path / f"clip{suffix}", pix_fmt=pix_fmt, make_image=noise)
    expected = read_frames(path, "bwdif")
    for start in range(COUNT):
        for stop in {start + 1, min(start + 3, COUNT), COUNT}:
            frames = read_frames(path, "bwdif", range(start, stop))
            assert [frame.index for frame in frames] == list(range(start, stop))
            assert all(np.array_equal(frame.image, expected[frame.index].image) for frame in frames)
    selected = read_frames(path, "bwdif", [1, 4, 5, 11])
    assert [frame.index for frame in selected] == [1, 4, 5, 11]
    assert all(np.array_equal(frame.image, expected[frame.index].image) for frame in selected)


def test_static_content_is_unchanged(tmp_path):
    path = make_interlaced(tmp_path / "clip.mkv", make_image=lambda *_: field_image(5))
    for before, after in zip(read_frames(path, "off"), read_frames(path, "bwdif"), strict=True):
        assert np.abs(before.image.astype(int) - after.image).max() <= 1


def test_progressive_video_is_deinterlaced_only_on_request(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", codec="ffv1", pix_fmt="yuv444p")
    assert open_source(path).metadata.parity is None
    for (_, plain), frame in zip(decoded(path), read_frames(path, "auto"), strict=True):
        assert np.abs(plain.astype(int) - frame.image).max() <= 2
    assert not any("interlaced" in text for text in open_source(path).metadata.warnings)
    assert [frame.index for frame in read_frames(path, "bwdif")] == list(range(COUNT))


def test_a_video_of_one_frame(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", frames=1, codec="ffv1", pix_fmt="yuv444p")
    assert len(read_frames(path, "bwdif", [0])) == 1


def test_deinterlacing_keeps_colors(tmp_path):
    for number, (matrix, full) in enumerate([(1, True), (6, False), (9, True)]):
        path = make_clip(
            tmp_path / f"{number}.mkv", frames=3, codec="ffv1", pix_fmt="yuv420p10le", matrix=matrix, full_range=full
        )
        for before, after in zip(read_frames(path, "off", range(3)), read_frames(path, "bwdif", range(3)), strict=True):
            assert np.array_equal(before.image[0::2][1], after.image[0::2][1])
            assert np.abs(before.image.astype(int) - after.image).mean() < 2000


def test_opacity_is_deinterlaced_too(tmp_path):
    path = make_interlaced(tmp_path / "clip.mkv", "ffv1", "yuva420p")
    assert all(np.array_equal(frame.opacity, np.full((64, 96), 128)) for frame in read_frames(path, "auto"))


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("auto", "clip.mkv: is interlaced; deinterlaced by bwdif (deinterlace='off' leaves its fields as they are)"),
        (
            "off",
            "clip.mkv: is interlaced; its fields are rendered as they are (deinterlace='bwdif' makes progressive frames)",
        ),
        ("bwdif", None),
    ],
)
def test_deinterlacing_is_reported(tmp_path, mode, text):
    warnings = open_source(make_interlaced(tmp_path / "clip.mkv"), deinterlace=mode).metadata.warnings
    assert [warning for warning in warnings if "interlaced" in warning] == ([text] if text else [])


def test_a_job_deinterlaces(tmp_path):
    path = make_interlaced(tmp_path / "clip.mkv", pix_fmt="yuv420p")
    files = tiny_endpoints(tmp_path)
    endpoints = [{"name": name, "weights": file} for name, file in files.items()]
    lossless = {"codec": "ffv1", "pix_fmt": "yuv444p"}
    preset = Preset.checked({"name": "t", "network": {"endpoints": endpoints}, "encoding": lossless}, "t")
    settings = {"preset": preset, "keyframes": "0:0,end:0", "start": "3", "end": "9"}
    combs = {}
    for mode in ("off", "auto", "bwdif"):
        report = render(path, tmp_path / f"{mode}.mkv", deinterlace=mode, **settings)
        assert report.frames == 6
        combs[mode] = np.mean([combing(image) for _, image in decoded(tmp_path / f"{mode}.mkv")])
    assert combs["auto"] == combs["bwdif"] < combs["off"] / 5
    with pytest.raises(UsageError, match=r"deinterlace: expected 'auto', 'off' or 'bwdif', got 'yadif'"):
        make_job(path, tmp_path / "o.mkv", preset, deinterlace="yadif")


def test_no_frame_is_read_after_the_last():
    def frames():
        for index in range(3):
            yield index, av.VideoFrame(16, 16, "gray")
        raise AssertionError("read past the last frame")

    assert [index for index, _ in deinterlace_frames(frames(), 3)] == [0, 1, 2]
