"""Opacity: it bypasses the network bit for bit and is written wherever the output supports it."""

import struct
import zlib
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from dnirender import render
from dnirender.decoding.open import open_source
from dnirender.encoding.animation import AnimationSink
from dnirender.encoding.encoders import choose_pix_fmt
from dnirender.encoding.sink import FrameTiming
from dnirender.frames import to_uint8
from dnirender.media.colorspace import ColorSpec
from dnirender.media.images import read_image
from dnirender.media.pixel_formats import opacity_of, to_frame
from dnirender.media.resize import with_opacity
from support.clips import decoded, deliver, frame_number, make_clip, paint, preset_of

SIZE = (96, 64)
BT601 = ColorSpec(matrix=6, full_range=False)


def glass(number, depth=8, size=SIZE):
    """An opacity [h, w] that differs from frame to frame and has every level, with no symmetry at all."""
    width, height = size
    codes = np.random.default_rng(number).integers(0, 1 << depth, (height, width)).astype(np.uint32)
    codes[: height // 4, : width // 3] = (1 << depth) - 1
    codes[: height // 4, width // 3 : width // 2] = 0
    top = (1 << depth) - 1
    return ((codes * 65535 + top // 2) // top).astype(np.uint16) if depth > 8 else codes.astype(np.uint8)


def stained(number, depth=8, size=SIZE):
    """`paint(number)` behind `glass(number)`, [h, w, 4]."""
    image = paint(number, size)
    image = image if depth == 8 else image.astype(np.uint16) * 257
    return np.dstack([image, glass(number, depth, size)])


def make_glass(path, codec, pix_fmt, *, frames=4, depth=8, size=SIZE, options=None, rotation=0):
    """A clip of `stained` pictures."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options or {})
        coded = np.rot90(stained(0, depth, size), -rotation // 90)
        stream.width, stream.height, stream.pix_fmt = coded.shape[1], coded.shape[0], pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            image = np.ascontiguousarray(np.rot90(stained(number, depth, size), -rotation // 90))
            frame = to_frame(image, pix_fmt, BT601)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def opacities(path):
    """The opacity of every frame; VP9 is decoded by libvpx, the only decoder that reads it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if stream.codec_context.name == "vp9":
            context = av.CodecContext.create("libvpx-vp9", "r")
            return [opacity_of(frame) for packet in container.demux(stream) for frame in context.decode(packet)]
        return [opacity_of(frame) for frame in container.decode(stream)]


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "depth"),
    [
        ("ffv1", "yuva420p", 8),
        ("ffv1", "yuva422p10le", 10),
        ("ffv1", "yuva444p12le", 12),
        ("ffv1", "yuva444p16le", 16),
        ("ffv1", "bgra", 8),
        ("ffv1", "rgba64le", 16),
        ("ffv1", "gbrap10le", 10),
        ("ffv1", "gbrap16le", 16),
        ("png", "rgba", 8),
        ("png", "rgba64be", 16),
        ("qtrle", "argb", 8),
        ("utvideo", "gbrap", 8),
    ],
)
@pytest.mark.parametrize("size", [SIZE, (97, 65)])
def test_opacity_is_read_and_written_to_the_bit(tmp_path, codec, pix_fmt, depth, size):
    suffix = {"ffv1": ".mkv", "utvideo": ".avi"}.get(codec, ".mov")
    source = open_source(make_glass(tmp_path / f"clip{suffix}", codec, pix_fmt, depth=depth, size=size))
    assert source.metadata.opacity and source.metadata.depth == depth
    for frame in source.frames(range(4)):
        assert frame_number(frame.image) == frame.index and frame.image.shape[2] == 3
        assert frame.opacity is not None and frame.opacity.dtype == frame.image.dtype
        assert np.array_equal(frame.opacity, glass(frame.index, depth, size))


def test_gray_with_opacity_is_read(tmp_path):
    levels = np.dstack([paint(3).mean(axis=2).astype(np.uint8), glass(3)])
    with av.open(str(tmp_path / "gray.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "ya8"
        frame = av.VideoFrame(*SIZE, "ya8")
        rows = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
        rows[:, : 2 * SIZE[0]] = levels.reshape(SIZE[1], -1)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    frame = next(open_source(tmp_path / "gray.mkv").frames([0]))
    assert frame_number(frame.image) == 3
    assert np.array_equal(frame.opacity, glass(3))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_opacity_turns_with_its_picture(tmp_path, degrees):
    source = open_source(make_glass(tmp_path / "clip.mp4", "ffv1", "yuva444p", rotation=degrees))
    assert source.metadata.rotation == degrees
    for frame in source.frames(range(4)):
        assert frame_number(frame.image) == frame.index
        assert np.array_equal(frame.opacity, glass(frame.index))


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_vp8_and_vp9_show_what_lies_beside_their_packets(tmp_path, codec):
    options = {"crf": "4", "b": "4M", "deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "0", "g": "3"}
    source = open_source(make_glass(tmp_path / "clip.webm", codec, "yuva420p", frames=8, options=options))
    assert source.metadata.pix_fmt == "yuva420p" and source.metadata.opacity
    whole = list(source.frames(range(8)))
    for frame in whole:
        assert frame_number(frame.image) == frame.index
        assert np.abs(frame.opacity.astype(int) - glass(frame.index)).mean() < 12
    for first in range(8):
        assert np.array_equal(next(source.frames([first])).opacity, whole[first].opacity)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_stills_have_opacity(tmp_path, suffix, depth):
    if suffix == ".webp" and depth == 16:
        pytest.skip("WebP has 8 bits")
    order = cv2.COLOR_RGBA2BGRA
    assert cv2.imwrite(str(tmp_path / f"p{suffix}"), cv2.cvtColor(stained(5, depth), order))
    source = open_source(tmp_path / f"p{suffix}", still_frames=2)
    for frame in source.frames([0, 1]):
        assert np.array_equal(frame.opacity, glass(5, depth))
        assert suffix == ".webp" or np.array_equal(frame.image, stained(5, depth)[..., :3])


@pytest.mark.parametrize(
    ("orientation", "turns", "mirrored"), [(6, 1, False), (3, 2, False), (8, 3, False), (2, 0, True)]
)
def test_the_opacity_of_a_still_is_turned_as_exif_says(tmp_path, orientation, turns, mirrored):
    stored = np.rot90(stained(5), turns)
    stored = np.ascontiguousarray(stored[:, ::-1] if mirrored else stored)
    data = cv2.imencode(".png", cv2.cvtColor(stored, cv2.COLOR_RGBA2BGRA))[1].tobytes()
    chunk = b"eXIfMM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "p.png").write_bytes(data[:33] + exif + data[33:])
    image, opacity = read_image(tmp_path / "p.png")
    assert np.array_equal(image, paint(5))
    assert np.array_equal(opacity, glass(5))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le", "bgr0", "gbrp10le", "gray"])
def test_a_source_without_opacity_has_none(tmp_path, pix_fmt):
    source = open_source(make_clip(tmp_path / "clip.mkv", frames=2, codec="ffv1", pix_fmt=pix_fmt))
    assert not source.metadata.opacity
    assert [frame.opacity for frame in source.frames([0, 1])] == [None, None]


def test_without_opacity_a_picture_is_untouched_and_with_it_scaled():
    image = paint(3)
    assert with_opacity(image, None) is image
    large = np.repeat(np.repeat(image, 2, 0), 2, 1)
    joined = with_opacity(large, np.full((64, 96), 77, np.uint8))
    assert joined.shape == (128, 192, 4)
    assert np.array_equal(joined[..., :3], large) and (joined[..., 3] == 77).all()


@pytest.mark.parametrize(("suffix", "made"), [(".apng", 8), (".apng", 16), (".gif", 8)])
def test_animations_have_the_opacity_they_are_given(tmp_path, suffix, made):
    times = FrameTiming((0, 4, 8, 20), Fraction(1, 100), 5)
    deliver(AnimationSink(tmp_path / f"out{suffix}", times), (stained(number, made) for number in range(4)), tmp_path)
    found = opacities(tmp_path / f"out{suffix}")
    for number, opacity in enumerate(found):
        expected = to_uint8(glass(number, made))
        assert np.array_equal(opacity, expected if suffix == ".apng" else np.where(expected < 128, 0, 255))
    assert len(found) == 4
    if suffix == ".apng":  # a GIF has no color in transparent pixels
        assert [frame_number(image) for _, image in decoded(tmp_path / "out.apng")] == list(range(4))


# From file to file, through networks that change nothing.


@pytest.mark.parametrize(
    ("name", "options", "depth"),
    [
        ("out.mkv", {"codec": "ffv1"}, 8),
        ("out.mkv", {"codec": "ffv1"}, 10),
        ("out.mov", {"codec": "qtrle"}, 8),
        ("out.mov", {"codec": "png"}, 8),
        ("out.apng", {}, 8),
        ("out%02d.png", {}, 8),
        ("out%02d.png", {}, 16),
    ],
)
def test_opacity_comes_out_as_it_went_in(tmp_path, endpoints, name, options, depth):
    made = {8: "yuva420p", 10: "yuva420p10le", 16: "yuva444p16le"}[depth]
    clip = make_glass(tmp_path / "clip.mkv", "ffv1", made, depth=depth)
    preset = preset_of(endpoints, encoding=options, animation={"fps": 25})
    report = render(clip, tmp_path / name, preset=preset, keyframes="0:0,end:0", dtype="fp32")
    assert not any("transparency" in text for text in report.warnings)
    if "%" in name:
        found = [read_image(tmp_path / (name % number))[1] for number in range(4)]
    else:
        found = opacities(tmp_path / name)
    assert len(found) == 4
    for number, opacity in enumerate(found):
        assert np.array_equal(opacity, glass(number, depth))


@pytest.mark.parametrize(
    ("name", "codec", "error"), [("out.webm", "auto", 20), ("out.mkv", "libvpx-vp9", 20), ("out.mov", "prores_ks", 2)]
)
def test_lossy_encoders_carry_it_too(tmp_path, endpoints, name, codec, error):
    clip = make_glass(tmp_path / "clip.mkv", "ffv1", "yuva420p", frames=30)
    options = {} if codec == "prores_ks" else {"cpu-used": "8"}
    preset = preset_of(endpoints, encoding={"codec": codec, "options": options})
    report = render(clip, tmp_path / name, preset=preset, keyframes="0:0,end:0", dtype="fp32")
    assert not any("transparency" in text for text in report.warnings)
    found = opacities(tmp_path / name)
    assert len(found) == 30
    for number, opacity in enumerate(found):
        levels = opacity.astype(float) / (257 if opacity.dtype == np.uint16 else 1)
        assert np.abs(levels - glass(number)).mean() < error
        assert levels[4:12, 36:44].max() < 40 and levels[4:12, 4:28].min() > 215
    again = open_source(tmp_path / name)
    assert [frame_number(frame.image) for frame in again.frames(range(30))] == list(range(30))


def test_webp_has_its_opacity_in_every_frame(tmp_path, endpoints):
    clip = make_glass(tmp_path / "clip.mkv", "ffv1", "yuva420p")
    render(clip, tmp_path / "out.webp", preset=preset_of(endpoints, animation={"fps": 25}), keyframes="0:0,end:0")
    data = (tmp_path / "out.webp").read_bytes()
    frames = data.split(b"ANMF")[1:]
    assert len(frames) == 4 and all(b"ALPH" in frame for frame in frames)
    assert data[20] & 0x10, "the header says that there is none"


def test_a_gif_has_holes_where_less_than_half_is_there(tmp_path, endpoints):
    clip = make_glass(tmp_path / "clip.mkv", "ffv1", "yuva444p")
    report = render(
        clip, tmp_path / "out.gif", preset=preset_of(endpoints, animation={"fps": 25}), keyframes="0:0,end:0"
    )
    assert not any("transparency" in text for text in report.warnings)
    source = open_source(tmp_path / "out.gif")
    assert source.metadata.opacity
    for frame in source.frames(range(4)):
        assert np.array_equal(frame.opacity, np.where(glass(frame.index) < 128, 0, 255))


def test_a_gif_without_holes_has_no_opacity(tmp_path, clip, endpoints):
    render(clip, tmp_path / "out.gif", preset=preset_of(endpoints, animation={"fps": 25}))
    assert not open_source(tmp_path / "out.gif").metadata.opacity


def test_a_boomerang_keeps_it(tmp_path, endpoints):
    clip = make_glass(tmp_path / "clip.mkv", "ffv1", "yuva420p")
    render(clip, tmp_path / "b%d.png", preset=preset_of(endpoints), keyframes="0:0,end:0", boomerang=True)
    found = [read_image(tmp_path / f"b{number}.png")[1] for number in range(6)]
    for number, opacity in zip([0, 1, 2, 3, 2, 1], found, strict=True):
        assert np.array_equal(opacity, glass(number))


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("out.mp4", {}),
        ("out.mp4", {"encoding": {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}}}),
        ("out.mkv", {"encoding": {"codec": "libx265"}}),
        ("out%d.png", {"layout": {"panels": ["source", "render"]}}),
    ],
)
def test_where_it_cannot_go_it_is_dropped_and_told(tmp_path, endpoints, name, sections):
    clip = make_glass(tmp_path / "clip.mkv", "ffv1", "yuva420p")
    report = render(clip, tmp_path / name, preset=preset_of(endpoints, **sections), keyframes="0:0,end:0")
    assert f"{name}: transparency is dropped" in report.warnings
    if "%" in name:
        assert read_image(tmp_path / "out0.png")[1] is None
    else:
        assert [frame_number(image) for _, image in decoded(tmp_path / name)] == list(range(4))


@pytest.mark.parametrize(
    ("codec", "sampling", "depth", "expected"),
    [
        ("ffv1", (2, 2), 8, "yuva420p"),
        ("ffv1", (2, 1), 10, "yuva422p10le"),
        ("ffv1", (1, 1), 12, "yuva444p12le"),
        ("libvpx-vp9", (1, 1), 8, "yuva420p"),
        ("prores_ks", (2, 2), 8, "yuva444p10le"),
        ("qtrle", None, 8, "argb"),
        ("libx264", (2, 2), 8, "yuv420p"),
        ("libx265", (2, 2), 8, "yuv420p"),
    ],
)
def test_a_format_with_opacity_is_chosen_where_there_is_one(codec, sampling, depth, expected):
    assert choose_pix_fmt(codec, sampling, depth, None, opacity=True) == expected
