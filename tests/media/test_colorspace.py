"""Conversion between Y'CbCr planes and RGB, and every pixel format: invariants."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dnirender.errors import MediaError
from dnirender.media.colorspace import (
    KR_KB,
    ColorSpec,
    code_range,
    downsample,
    guess_matrix,
    planes_to_rgb,
    rgb_to_planes,
    to_rgb_matrix,
    upsample,
)
from dnirender.media.pixel_formats import depth_of, sampling_of, to_frame, to_rgb

PATH = Path("clip.mp4")
SAMPLINGS = {"444": (1, 1), "422": (2, 1), "420": (2, 2), "411": (4, 1), "440": (1, 2), "410": (4, 4)}


def noise(height, width, depth=8, seed=0):
    top, kind = (256, np.uint8) if depth == 8 else (65536, np.uint16)
    return np.random.default_rng(seed).integers(0, top, (height, width, 3)).astype(kind)


def smooth(height, width, depth=8):
    """An image of all hues without edges: its error is rounding, not lost chroma detail."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(x / 23 + y / 31), np.sin(x / 37 - y / 29 + 1), np.sin(y / 41 + x / 53 + 2)]
    top, kind = (255, np.uint8) if depth == 8 else (65535, np.uint16)
    return np.rint((np.stack(waves, axis=2) * 0.45 + 0.5) * top).astype(kind)


def difference(a, b):
    """(bias, mean error) in code values of 8 bits, the worst channel."""
    delta = (a.astype(np.float64) - b) / (257 if a.dtype == np.uint16 else 1)
    return np.abs(delta.mean(axis=(0, 1))).max(), np.abs(delta).mean(axis=(0, 1)).max()


@pytest.mark.parametrize("depth", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
def test_no_code_is_above_the_largest_of_its_depth(depth, full):
    """Chroma of full range would be: half a span above its middle, which is half a code above the span's."""
    corners = np.array([[[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)]] * 8, np.uint16) * 65535
    planes = rgb_to_planes(corners, (1, 1), depth, ColorSpec(matrix=1, full_range=full, primaries=1, transfer=1))
    assert max(int(plane.max()) for plane in planes) <= (1 << depth) - 1
    assert (max(int(plane[:, 1].max()) for plane in planes) == (1 << depth) - 1) == full  # blue


@pytest.mark.parametrize("matrix", KR_KB)
def test_the_matrix_inverts_the_definition(matrix):
    kr, kb = KR_KB[matrix]
    for red, green, blue in np.random.default_rng(0).random((20, 3)):
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
        assert to_rgb_matrix(matrix) @ [luma, cb, cr] == pytest.approx([red, green, blue])


@pytest.mark.parametrize("depth", [8, 10, 12])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
def test_black_white_and_chroma_have_the_standard_codes(depth, full):
    top, kind = (255, np.uint8) if depth == 8 else (65535, np.uint16)
    image = np.array([[[0, 0, 0], [top] * 3, [0, 0, top], [top, 0, 0]]], kind)
    luma, cb, cr = rgb_to_planes(image, (1, 1), depth, ColorSpec(1, full))
    step, last = 1 << (depth - 8), (1 << depth) - 1
    assert luma[0, :2].tolist() == ([0, last] if full else [16 * step, 235 * step])
    assert (cb[0, 0], cr[0, 0]) == (128 * step, 128 * step)
    extreme = last if full else 240 * step
    assert abs(int(cb[0, 2]) - extreme) <= 1 and abs(int(cr[0, 3]) - extreme) <= 1


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("sampling", ["444", "422", "420"])
def test_the_round_trip_stays_within_rounding(matrix, full, depth, sampling):
    image, color = smooth(120, 161, depth), ColorSpec(matrix, full)
    planes = rgb_to_planes(image, SAMPLINGS[sampling], depth, color)
    bias, error = difference(planes_to_rgb(planes, depth, color), image)
    assert bias <= (0.05 if depth == 8 else 0.02)
    assert error <= (0.6 if depth == 8 else 0.2)


def test_full_resolution_has_no_error_beyond_rounding_for_any_color():
    image = noise(64, 64)
    for matrix in KR_KB:
        for full in (False, True):
            planes = rgb_to_planes(image, (1, 1), 8, ColorSpec(matrix, full))
            delta = planes_to_rgb(planes, 8, ColorSpec(matrix, full)).astype(int) - image
            assert np.abs(delta).max() <= 3
            assert np.abs(delta.mean(axis=(0, 1))).max() <= 0.06


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 19), st.integers(1, 19), st.sampled_from(sorted(SAMPLINGS)), st.sampled_from([8, 10]))
def test_every_size_keeps_its_shape_and_a_flat_image_its_color(height, width, sampling, depth):
    color, (across, down) = ColorSpec(1, False), SAMPLINGS[sampling]
    image = np.full((height, width, 3), (200, 100, 50), np.uint8).astype(np.uint8 if depth == 8 else np.uint16)
    image = image * (257 if depth > 8 else 1)
    planes = rgb_to_planes(image, (across, down), depth, color)
    assert planes[0].shape == (height, width)
    assert planes[1].shape == planes[2].shape == (-(-height // down), -(-width // across))
    back = planes_to_rgb(planes, depth, color)
    assert back.shape == image.shape and back.dtype == image.dtype
    assert difference(back, image)[1] <= 1.0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 23), st.integers(1, 23), st.sampled_from(sorted(SAMPLINGS)))
def test_downsampling_inverts_upsampling(width, height, sampling):
    across, down = SAMPLINGS[sampling]
    assume(down < 4 or height % 4 != 2)  # there the last chroma row cannot be recovered
    size = -(-height // down), -(-width // across)
    chroma = np.random.default_rng(0).integers(0, 256, size).astype(np.float32)
    assert np.allclose(downsample(upsample(chroma, width, height), size[1], size[0]), chroma, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.sampled_from(sorted(SAMPLINGS)))
def test_chroma_is_sited_at_the_left_luma_sample(rows, columns, sampling):
    across, down = SAMPLINGS[sampling]
    ramp = np.tile(np.arange(columns, dtype=np.float32) * across, (rows, 1))
    full = upsample(ramp, columns * across, rows * down)
    inside = full[:, : (columns - 1) * across + 1]
    assert np.allclose(inside, np.arange(inside.shape[1]))
    if across == 2:
        assert np.allclose(downsample(full, columns, rows)[:, 1:-1], ramp[:, 1:-1])


def test_chroma_is_sited_between_two_luma_rows():
    ramp = np.tile(np.arange(8, dtype=np.float32)[:, None] * 2 + 0.5, (1, 4))
    full = upsample(ramp, 8, 16)
    assert np.allclose(full[1:-1], np.arange(1, 15)[:, None])
    assert np.allclose(downsample(full, 4, 8)[1:-1], ramp[1:-1])


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("sampling", [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (4, 4)])
@pytest.mark.parametrize(("height", "width"), [(67, 30), (32, 8), (5, 41)])
def test_strips_equal_the_full_image(monkeypatch, height, width, sampling, depth):
    image = noise(height, width, depth)
    monkeypatch.setattr("dnirender.media.colorspace.STRIP", 1 << 30)
    expected_planes = rgb_to_planes(image, sampling, depth, ColorSpec(1, False))
    expected_image = planes_to_rgb(expected_planes, depth, ColorSpec(1, False))
    monkeypatch.setattr("dnirender.media.colorspace.STRIP", 4 * width)
    planes = rgb_to_planes(image, sampling, depth, ColorSpec(1, False))
    result_image = planes_to_rgb(expected_planes, depth, ColorSpec(1, False))
    for result, expected in zip([*planes, result_image], [*expected_planes, expected_image], strict=True):
        assert result.shape == expected.shape
        assert abs(result.astype(int) - expected).max() <= (
            0 if depth == 8 else 1
        )  # OpenCV's last bit depends on the row


@pytest.mark.parametrize("sampling", [(2, 1), (2, 2)])
@pytest.mark.parametrize("depth", [8, 10, 16])
@pytest.mark.parametrize(("height", "width"), [(1, 2), (7, 9), (360, 641), (5, 3)])
def test_half_width_chroma_equals_upsampling_and_the_matrix(height, width, depth, sampling):
    rng, top = np.random.default_rng(height), (1 << depth) - 1
    kind = np.uint8 if depth == 8 else np.uint16
    sizes = [(height, width), *[(-(-height // sampling[1]), -(-width // 2))] * 2]
    planes = [rng.integers(0, top, size, kind, endpoint=True) for size in sizes]
    luma_offset, luma_span, chroma_offset, chroma_span = code_range(depth, False)
    y, *chroma = (plane.astype(np.float32) for plane in planes)
    cb, cr = ((upsample(plane, width, height).astype(float) - chroma_offset) / chroma_span for plane in chroma)
    rgb = np.stack([(y.astype(float) - luma_offset) / luma_span, cb, cr], -1) @ to_rgb_matrix(1).T
    peak = 255 if depth == 8 else 65535
    result = planes_to_rgb(planes, depth, ColorSpec(1, False))
    assert abs(result - (rgb * peak).clip(0, peak)).max() <= 0.5 + 1e-6 * peak


def test_gray_has_no_hue_and_reaches_black_and_white():
    for depth, full in ((8, True), (8, False), (10, False), (16, True)):
        top = (1 << depth) - 1
        low, high = (0, top) if full else (16 << (depth - 8), 235 << (depth - 8))
        plane = np.linspace(low, high, 64).round().astype(np.uint8 if depth == 8 else np.uint16).reshape(8, 8)
        image = planes_to_rgb([plane], depth, ColorSpec(1, full))
        assert (image == image[..., :1]).all()
        assert image.min() == 0 and image.max() == (255 if depth == 8 else 65535)


@pytest.mark.parametrize(("height", "matrix"), [(480, 6), (576, 6), (719, 6), (720, 1), (1080, 1), (2160, 1)])
def test_untagged_video_is_guessed_by_its_height(height, matrix):
    assert guess_matrix(height) == matrix


def test_color_specs_have_a_description():
    assert str(ColorSpec(1, False)) == "bt709, limited range"
    assert str(ColorSpec(9, False, 9, 16)) == "bt2020, limited range, PQ"
    assert str(ColorSpec(6, True, guessed=True)) == "bt601, full range (guessed from the size)"
    assert ColorSpec(9, False, 9, 18).hdr == "HLG" and ColorSpec(1, False).hdr is None


@pytest.mark.parametrize("matrix", [1, 6])
def test_limited_range_agrees_with_an_accurate_swscale(matrix):
    image, color = smooth(120, 160), ColorSpec(matrix, False)
    space = "ITU709" if matrix == 1 else "ITU601"
    accurate = (
        Interpolation.BILINEAR
        | Interpolation.ACCURATE_RND
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.FULL_CHR_H_INP
    )
    theirs = av.VideoFrame.from_ndarray(image).reformat(
        format="yuv444p", dst_colorspace=space, dst_color_range="MPEG", interpolation=accurate
    )
    bias, error = difference(to_rgb(theirs, color, PATH), image)
    assert bias <= 0.1 and error <= 0.6
    ours = to_frame(image, "yuv444p", color)
    for our_plane, their_plane in zip(ours.planes, theirs.planes, strict=True):
        our_codes, their_codes = (np.frombuffer(plane, np.uint8).astype(int) for plane in (our_plane, their_plane))
        assert np.abs(our_codes - their_codes).mean() <= 0.1


PLANAR = "yuv420p yuv422p yuv444p yuv411p yuv410p yuv440p yuv420p10le yuv422p10le yuv444p12le yuv444p16le yuva420p"
PACKED = "nv12 nv21 nv16 nv24 p010le p016le yuyv422 uyvy422 y210le y212le vuya xv36le yuv420p10be yuva444p10le"
RGB = "rgb24 bgr24 rgba bgr0 gbrp gbrap rgb48le gbrp10le gbrp12le gbrp16le gbrap12le"


@pytest.mark.parametrize("pix_fmt", (PLANAR + " " + PACKED + " " + RGB).split())
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
def test_an_image_survives_every_pixel_format(pix_fmt, full):
    form = av.VideoFormat(pix_fmt)
    image, color = smooth(96, 128, 8 if depth_of(form) == 8 else 16), ColorSpec(1, full)
    frame = to_frame(image, pix_fmt, color)
    assert frame.format.name == pix_fmt
    assert form.is_rgb or (frame.colorspace, frame.color_range) == (1, 2 if full else 1)
    back = to_rgb(frame, color, PATH)
    assert back.dtype == image.dtype
    bias, error = difference(back, image)
    coarse = (sampling_of(form) or (1, 1))[0] == 4
    assert bias <= (0.2 if coarse else 0.1) and error <= (1.0 if coarse else 0.6)


@pytest.mark.parametrize("pix_fmt", ["gbrp10le", "gbrp12le", "gbrp16le"])
def test_deep_rgb_reaches_white(pix_fmt):
    white = np.full((4, 4, 3), 65535, np.uint16)
    assert (to_rgb(to_frame(white, pix_fmt, ColorSpec(1, False)), ColorSpec(1, False), PATH) == 65535).all()


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le", "gray16le", "ya8"])
def test_gray_keeps_the_luma(pix_fmt):
    image, color = smooth(32, 48), ColorSpec(1, True)
    kr, kb = KR_KB[1]
    luma = image @ np.array([kr, 1 - kr - kb, kb])
    back = to_rgb(to_frame(image, pix_fmt, color), color, PATH)
    assert np.abs(back[..., 0] / (257 if back.dtype == np.uint16 else 1) - luma).max() <= 1


def test_palette_frames_are_converted():
    graph = av.filter.Graph()
    image = cv2.resize(noise(4, 4), (32, 32), interpolation=cv2.INTER_NEAREST)
    source = graph.add_buffer(width=32, height=32, format=av.VideoFormat("rgb24"), time_base=av.time_base and 1)
    split, made, used, sink = (graph.add(name) for name in ("split", "palettegen", "paletteuse", "buffersink"))
    source.link_to(split)
    split.link_to(used, 0, 0)
    split.link_to(made, 1, 0)
    made.link_to(used, 0, 1)
    used.link_to(sink)
    graph.configure()
    source.push(av.VideoFrame.from_ndarray(image))
    source.push(None)
    frame = graph.vpull()
    assert frame.format.name == "pal8"
    assert np.abs(to_rgb(frame, ColorSpec(6, False), PATH).astype(int) - image).mean() < 2


@pytest.mark.parametrize("pix_fmt", ["monow", "xyz12le"])
def test_unsupported_pixel_formats_are_refused(pix_fmt):
    with pytest.raises(MediaError, match=rf"^clip.mp4: pixels of format {pix_fmt} are not supported; convert"):
        to_rgb(av.VideoFrame(8, 8, pix_fmt), ColorSpec(1, False), PATH)
