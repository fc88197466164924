"""Decoding: equals the scan, for every start frame, or raises an accurate error."""

import itertools
import os
import struct
from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from dnirender.decoding.open import open_source
from dnirender.decoding.video import VideoDecoder
from dnirender.errors import MediaError, UsageError
from dnirender.media.colorspace import ColorSpec
from dnirender.media.images import read_image
from support import clips as support_clips
from support.clips import CLIPS, decoded, frame_number, make_clip, needs_shared, paint

OPEN_GOP = {"g": "5", "x264-params": "open-gop=1:scenecut=0:min-keyint=1"}
GOP = {"g": "5"}
MAKES = {
    "mp4": {"suffix": ".mp4", "b_frames": 2, "options": GOP},
    "mp4 open GOP": {"suffix": ".mp4", "b_frames": 3, "options": OPEN_GOP},
    "mkv open GOP": {"suffix": ".mkv", "b_frames": 3, "options": OPEN_GOP},
    "mp4 intra refresh": {"suffix": ".mp4", "options": {"x264-params": "intra-refresh=1:keyint=8"}},
    "mov vfr": {
        "suffix": ".mov",
        "b_frames": 2,
        "options": GOP,
        "pts": [3, 10, 11, 40, 41, 90, 200, 999, 1000, 1001, 1010, 2000],
    },
    "mkv ffv1": {"suffix": ".mkv", "codec": "ffv1"},
    "webm vp9": {"suffix": ".webm", "codec": "libvpx-vp9", "options": GOP},
    "mp4 hevc open GOP": {
        "suffix": ".mp4",
        "codec": "libx265",
        "options": {"x265-params": "log-level=error:keyint=5:open-gop=1:min-keyint=5"},
    },
    "ts": {"suffix": ".ts", "b_frames": 2, "options": GOP},
    "avi mpeg4": {"suffix": ".avi", "codec": "mpeg4", "options": GOP},
}


@pytest.fixture(autouse=True)
def more_containers(monkeypatch):
    monkeypatch.setattr(support_clips, "CONTAINERS", support_clips.CONTAINERS | {".ts": "mpegts", ".avi": "avi"})


def all_frames(source):
    return list(source.frames(range(len(source.metadata.pts))))


@pytest.mark.parametrize("name", MAKES)
def test_decoding_matches_the_scan_and_any_range_equals_the_full_video(tmp_path, name):
    make = dict(MAKES[name])
    path = make_clip(tmp_path / f"clip{make.pop('suffix')}", size=(64, 48), **make)
    source = open_source(path)
    expected = all_frames(source)
    assert [frame_number(frame.image) for frame in expected] == list(range(12))
    assert [frame.index for frame in expected] == list(range(12))
    assert source.metadata.seconds == tuple(time for time, _ in decoded(path))
    for start in range(12):
        frames = list(source.frames(range(start, min(start + 3, 12))))
        assert [frame.index for frame in frames] == list(range(start, min(start + 3, 12)))
        for frame in frames:
            assert np.array_equal(frame.image, expected[frame.index].image)
            assert frame.pts == source.metadata.pts[frame.index]


def test_frames_that_are_not_displayed_are_not_counted(tmp_path):
    cut = make_clip(tmp_path / "edited.mp4", pts=range(-5, 7), time_base=Fraction(1, 25))
    source = open_source(cut)
    assert [frame_number(frame.image) for frame in all_frames(source)] == list(range(5, 12))
    assert not any("reference frames before the start" in text for text in source.metadata.warnings)
    clip = make_clip(tmp_path / "clip.webm", frames=6, codec="libvpx", options={"g": "100"})
    with av.open(str(clip)) as plain, av.open(str(tmp_path / "hidden.webm"), "w") as out:
        twin, first = out.add_stream_from_template(plain.streams.video[0]), b""
        for packet in [p for p in plain.demux(video=0) if p.size]:
            if packet.pts == 40:  # the first frame again, not displayed: bit 4 of VP8's first byte is clear
                hidden = av.Packet(bytes([first[0] & ~0x10]) + first[1:])
                hidden.pts = hidden.dts = 20
                hidden.time_base, hidden.stream, hidden.is_keyframe = packet.time_base, twin, True
                out.mux_one(hidden)
            first = bytes(packet)
            packet.stream = twin
            out.mux_one(packet)
    source = open_source(tmp_path / "hidden.webm")
    assert [frame_number(frame.image) for frame in all_frames(source)] == list(range(6))


def test_frames_that_the_decoder_drops_are_an_error(clip):
    source = open_source(clip)
    pts = source.metadata.pts

    def claim(*claimed):
        source.metadata = replace(source.metadata, pts=claimed, stream_pts=claimed)

    claim(*pts[:7], (pts[6] + pts[7]) / 2, *pts[7:])
    with pytest.raises(
        MediaError,
        match=r"clip.mp4: damaged: the first 7 of 13 frames could be decoded .*; end=7 renders the frames before the damage",
    ):
        all_frames(source)
    claim(*pts, pts[-1] + 1)
    with pytest.raises(MediaError, match=r"damaged: the first 12 of 13 frames could be decoded"):
        all_frames(source)


def test_single_frames_of_a_range_are_yielded_in_order(clip):
    source = open_source(clip)
    assert [frame_number(frame.image) for frame in source.frames([1, 2, 7, 11])] == [1, 2, 7, 11]
    assert list(source.frames([])) == []


def test_metadata_has_the_times_of_the_file(tmp_path):
    path = make_clip(
        tmp_path / "vfr.mp4", frames=4, pts=[900, 1000, 1500, 1501], time_base=Fraction(1, 1000), b_frames=2
    )
    metadata = open_source(path).metadata
    assert metadata.seconds == (Fraction(9, 10), Fraction(1), Fraction(3, 2), Fraction(1501, 1000))
    assert metadata.variable_frame_rate
    constant = open_source(make_clip(tmp_path / "cfr.mp4", frames=10, rate=Fraction(30000, 1001))).metadata
    assert not constant.variable_frame_rate
    assert constant.frame_rate == Fraction(30000, 1001)
    assert constant.duration == 10 * Fraction(1001, 30000)
    assert open_source(make_clip(tmp_path / "one.mp4", frames=1)).metadata.duration == Fraction(1, 25)


def test_rounding_to_milliseconds_is_not_a_variable_frame_rate(tmp_path):
    metadata = open_source(make_clip(tmp_path / "ntsc.mkv", frames=20, rate=Fraction(30000, 1001))).metadata
    assert not metadata.variable_frame_rate
    assert float(metadata.frame_rate) == pytest.approx(29.97, rel=0.01)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_rotated_clips_are_decoded_upright(tmp_path, degrees, suffix):
    source = open_source(make_clip(tmp_path / f"clip{suffix}", frames=3, rotation=degrees, sar=Fraction(4, 3)))
    metadata = source.metadata
    assert (metadata.width, metadata.height, metadata.rotation) == (96, 64, degrees)
    assert metadata.sample_aspect_ratio == (Fraction(3, 4) if degrees % 180 else Fraction(4, 3))
    assert [frame_number(frame.image) for frame in source.frames(range(3))] == [0, 1, 2]


@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [m for m in itertools.product((-1, 0, 1), repeat=4) if (m[0] == 0) == (m[3] == 0) != (m[1] == 0) == (m[2] == 0)],
)
def test_all_eight_orientations_follow_the_display_matrix(tmp_path, a, b, c, d):
    upright = paint(77, (96, 64))
    coded = np.zeros((64, 96, 3) if a else (96, 64, 3), np.uint8)
    for y, x in np.ndindex(coded.shape[:2]):
        coded[y, x] = upright[(b * x + d * y) % 64, (a * x + c * y) % 96]
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = coded.shape[1], coded.shape[0], "yuv444p"
        stream.set_display_matrix([v << 16 for v in (a, b, 0, c, d, 0)] + [0, 0, 1 << 30])
        out.mux(stream.encode(av.VideoFrame.from_ndarray(coded)))
        out.mux(stream.encode(None))
    image = next(open_source(path).frames([0])).image
    # The modulo above wraps -x to width - x: one row or column is off by one pixel.
    assert frame_number(image) == 77
    assert np.abs(image.astype(int) - upright).mean() < 12


@needs_shared
@pytest.mark.parametrize("name", ["rotated_90.mov", "nasa_13013_rotated.mp4", "vfr_rotated_180_audio.mp4"])
def test_real_rotated_clips_are_decoded_upright(name):
    source = open_source(CLIPS / "edge" / name)
    image = next(source.frames([0])).image
    assert source.metadata.rotation in (90, 180, 270)
    assert image.shape == (source.metadata.height, source.metadata.width, 3)


@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
@pytest.mark.parametrize(
    ("matrix", "primaries", "transfer", "full"),
    [(1, 1, 1, False), (6, 6, 6, True), (9, 9, 16, False), (9, 9, 18, False)],
)
def test_color_tags_are_read(tmp_path, codec, matrix, primaries, transfer, full):
    tags = {"matrix": matrix, "primaries": primaries, "transfer": transfer, "full_range": full}
    metadata = open_source(make_clip(tmp_path / "clip.mkv", frames=1, codec=codec, **tags)).metadata
    assert metadata.color == ColorSpec(matrix, full, primaries, transfer)
    assert not any("no color tags" in text for text in metadata.warnings)
    assert any("is HDR" in text for text in metadata.warnings) == (transfer in (16, 18))


def test_missing_color_tags_are_guessed_and_reported(tmp_path):
    metadata = open_source(make_clip(tmp_path / "clip.mp4", frames=1)).metadata
    assert metadata.color == ColorSpec(6, False, guessed=True)
    assert metadata.warnings == ("clip.mp4: has no color tags; read as bt601, limited range (guessed from the size)",)


@pytest.mark.parametrize(
    ("pix_fmt", "depth", "sampling"),
    [
        ("yuv420p", 8, (2, 2)),
        ("yuv422p10le", 10, (2, 1)),
        ("yuv444p", 8, (1, 1)),
        ("gray", 8, None),
        ("gray16le", 16, None),
        ("yuv411p", 8, (4, 1)),
        ("gbrp10le", 10, None),
        ("bgr0", 8, None),
        ("yuva420p", 8, (2, 2)),
    ],
)
@pytest.mark.parametrize("size", [(96, 64), (97, 65)])
def test_lossless_frames_are_read_exactly(tmp_path, pix_fmt, depth, sampling, size):
    source = open_source(make_clip(tmp_path / "clip.mkv", frames=2, codec="ffv1", pix_fmt=pix_fmt, size=size))
    metadata, image = source.metadata, next(source.frames([1])).image
    assert (metadata.width, metadata.height) == size
    assert (metadata.pix_fmt, metadata.depth, metadata.sampling) == (pix_fmt, depth, sampling)
    assert image.dtype == (np.uint8 if depth == 8 else np.uint16)
    assert image.flags.c_contiguous and frame_number(image) == 1
    expected, inside = paint(1, size), image[4:12, 4:16].reshape(-1, 3).mean(axis=0) / (257 if depth > 8 else 1)
    if sampling is None and "gray" in pix_fmt:
        assert inside == pytest.approx([expected[8, 8] @ [0.299, 0.587, 0.114]] * 3, abs=2)
    else:
        assert inside == pytest.approx(expected[8, 8], abs=3)
    assert metadata.opacity == ("a4" in pix_fmt)


def test_a_gif_is_a_video(tmp_path):
    with av.open(str(tmp_path / "a.gif"), "w") as out:
        stream = out.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgb8"
        for number in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(paint(number)).reformat(format="rgb8")))
        out.mux(stream.encode(None))
    source = open_source(tmp_path / "a.gif")
    assert [frame_number(frame.image) for frame in all_frames(source)] == [0, 1, 2]
    assert source.metadata.seconds == (0, Fraction(1, 10), Fraction(1, 5))


def test_streams_are_numbered_among_the_video_streams(tmp_path):
    with av.open(str(tmp_path / "two.mkv"), "w") as out:
        streams = [out.add_stream("ffv1", rate=25) for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.width, stream.height, stream.pix_fmt = (32, 48)[number], 32, "yuv420p"
        for number, stream in enumerate(streams):
            for index in range(3):
                frame = av.VideoFrame.from_ndarray(paint(100 * number + index, (stream.width, 32)))
                out.mux(stream.encode(frame.reformat(format="yuv420p")))
        for stream in streams:
            out.mux(stream.encode(None))
    for number, width in ((0, 32), (1, 48)):
        source = open_source(tmp_path / "two.mkv", stream=number)
        assert source.metadata.width == width
        assert [frame_number(frame.image) for frame in all_frames(source)] == [100 * number + i for i in range(3)]
    with pytest.raises(UsageError, match=r"^video_stream=2: .*two.mkv has 2 video stream\(s\), numbered from 0$"):
        open_source(tmp_path / "two.mkv", stream=2)


def test_frames_before_the_first_keyframe_are_skipped_and_reported(tmp_path):
    make_clip(tmp_path / "whole.mp4", frames=20, options=GOP)
    with av.open(str(tmp_path / "whole.mp4")) as source, av.open(str(tmp_path / "cut.ts"), "w") as out:
        stream = source.streams.video[0]
        twin = out.add_stream_from_template(stream)
        for packet in [p for p in source.demux(stream) if p.size][3:]:
            packet.stream = twin
            out.mux_one(packet)
    source = open_source(tmp_path / "cut.ts")
    assert [frame_number(frame.image) for frame in all_frames(source)] == list(range(5, 20))
    assert any("its first 2 frame(s) reference frames before the start" in text for text in source.metadata.warnings)


# Error messages.


def error_message(path, **kwargs):
    with pytest.raises(MediaError) as caught:
        source = open_source(path, **kwargs)
        all_frames(source)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    return text.removeprefix(str(path))


def test_missing_folder_and_empty(tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert error_message(tmp_path / "none.mp4") == ": no such file"
    expected = f": is a folder, expected a video or an image; name its files, as {tmp_path / '*'}"
    assert error_message(tmp_path) == expected
    assert error_message(tmp_path / "empty.mp4") == ": is empty"
    assert error_message(tmp_path / ("x" * 300)).startswith(": cannot be read (File name too long")


@pytest.mark.parametrize("name", ["noise.mp4", "noise.mkv", "noise.xyz"])
def test_garbage(tmp_path, name):
    (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(5000))
    assert error_message(tmp_path / name).startswith(": cannot be opened as a video or image (")


@pytest.mark.parametrize(
    "protocol", ["concat:{0}|{0}", "file:{0}", "subfile,,start,0,end,9,,:{0}", "http://localhost/{0}"]
)
def test_names_are_files_and_never_protocols(clip, protocol):
    with pytest.raises(MediaError, match=": no such file$"):
        open_source(type(clip)(protocol.format(clip)))


def test_a_file_may_be_called_like_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("time:12.mp4", "-y.mp4", "concat:a|b.mp4", "🎬 ünïcode.mp4", "100%d.mp4"):
        make_clip(tmp_path / name, frames=2)
        source = open_source(type(tmp_path)(name))
        assert [frame_number(frame.image) for frame in all_frames(source)] == [0, 1]


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat", "list.mpd", "list.sdp"])
def test_playlists_are_refused(tmp_path, clip, name):
    texts = {
        "list.m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n",
        "list.ffconcat": "ffconcat version 1.0\nfile clip.mp4\n",
        "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>\n',
        "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5000 RTP/AVP 96\n",
    }
    (tmp_path / name).write_text(texts.get(name, texts["list.m3u8"]))
    assert error_message(tmp_path / name).startswith(": cannot be opened as a video or image (")


def test_an_image_with_a_video_extension_is_reported(tmp_path):
    cv2.imwrite(str(tmp_path / "p.png"), paint(3))
    (tmp_path / "p.png").rename(tmp_path / "p.mp4")
    assert "(its content is a playlist or does not match its file extension)" in error_message(tmp_path / "p.mp4")


def test_no_video_stream_and_only_cover_art(tmp_path, clip):
    with av.open(str(clip)) as source, av.open(str(tmp_path / "sound.mp4"), "w") as out:
        twin = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = twin
                out.mux_one(packet)
    assert error_message(tmp_path / "sound.mp4") == ": has no video stream"
    with av.open(str(clip)) as source, av.open(str(tmp_path / "cover.mp4"), "w") as out:
        twin = out.add_stream_from_template(source.streams.audio[0])
        cover = out.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 96, 64, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(paint(0))))
        out.mux(cover.encode(None))
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = twin
                out.mux_one(packet)
    assert error_message(tmp_path / "cover.mp4") == ": has no video stream"


def test_unknown_codecs(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", frames=2, codec="ffv1", audio="flac")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"V_FFV1", b"V_ZZZZ").replace(b"V_MS/VFW/FOURCC", b"V_MS/VFW/FOURXX"))
    assert error_message(path).startswith(": its first frame cannot be decoded (")
    path.write_bytes(data.replace(b"A_FLAC", b"A_ZZZZ"))
    assert [metadata.codec for metadata in open_source(path).metadata.streams] == ["ffv1", "unknown"]


def test_a_change_of_the_frame_size_is_refused(tmp_path):
    pieces = [
        make_clip(tmp_path / f"{width}.ts", frames=5, size=(width, 64), pts=range(first, first + 18000, 3600))
        for width, first in ((96, 3600), (64, 21600))
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    for mode in ("off", "bwdif"):
        before = open_source(joined, deinterlace=mode).frames(range(5))
        assert [frame_number(frame.image) for frame in before] == list(range(5))
    assert error_message(joined, deinterlace="bwdif") == error_message(joined)
    assert error_message(joined) == (
        ": the frame size changes from 96x64 to 64x64 at frame 5 (0.20 s); split the file there and render each piece"
    )


@pytest.mark.parametrize(
    ("first", "second", "mode", "text"),
    [
        ("yuv420p", "yuv420p10le", "off", "the pixel format changes from yuv420p to yuv420p10le"),
        ("yuv420p", "yuvj420p", "off", "the color range changes to full"),
        ("yuvj420p", "yuv420p", "bwdif", "the color range changes to limited"),
        ("yuv420p", "yuv444p", "off", ""),
        ("yuv420p", "yuv444p", "bwdif", "the pixel format changes from yuv420p to yuv444p"),
    ],
)
def test_a_change_of_the_pixel_format_is_refused(tmp_path, first, second, mode, text):
    pieces = [
        make_clip(
            tmp_path / f"{pix_fmt}.ts",
            frames=5,
            pix_fmt=pix_fmt,
            full_range="j" in pix_fmt,
            matrix=1,
            pts=range(start, start + 18000, 3600),
        )
        for pix_fmt, start in ((first, 3600), (second, 21600))
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    if text:
        assert error_message(joined, deinterlace=mode) == (
            f": {text} at frame 5 (0.20 s); split the file there and render each piece"
        )
    else:
        assert [frame_number(frame.image) for frame in all_frames(open_source(joined))] == list(range(5)) * 2


@pytest.mark.parametrize("mode", ["off", "bwdif"])
def test_a_decoding_error_states_what_was_decoded(tmp_path, mode):
    path = make_clip(tmp_path / "clip.mkv", frames=20)
    with av.open(str(path)) as container:
        broken = [bytes(packet) for packet in container.demux(video=0) if packet.size][8]
    path.write_bytes(path.read_bytes().replace(broken, bytes(len(broken))))
    assert error_message(path, deinterlace=mode).startswith(
        ": damaged: the first 8 of 20 frames could be decoded (0.3 of 0.8 s)"
    )
    assert "; end=8 renders the frames before the damage, ignore_errors=True " in error_message(path, deinterlace=mode)
    assert [frame_number(frame.image) for frame in open_source(path, deinterlace=mode).frames(range(8))] == list(
        range(8)
    )


# Still images.


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".PNG"])
def test_still_images_are_repeated(tmp_path, suffix):
    path = tmp_path / f"still{suffix}"
    assert cv2.imwrite(str(path), paint(9)[..., ::-1])
    source = open_source(path, still_frames=5, still_rate=Fraction(10))
    assert source.metadata.still and source.metadata.seconds == tuple(Fraction(i, 10) for i in range(5))
    frames = list(source.frames([0, 3]))
    assert [frame.index for frame in frames] == [0, 3]
    assert np.abs(frames[1].image.astype(int) - paint(9)).mean() < 4
    assert frame_number(frames[1].image) == 9


def test_still_images_keep_16_bits(tmp_path):
    image = (paint(5).astype(np.uint16) * 257) ^ 0x15
    cv2.imwrite(str(tmp_path / "deep.png"), image[..., ::-1])
    assert np.array_equal(read_image(tmp_path / "deep.png")[0], image)
    assert open_source(tmp_path / "deep.png").metadata.depth == 16


EXIF = {1: 0, 3: 2, 6: 1, 8: 3}  # orientation: counterclockwise quarter turns of the stored image


@pytest.mark.parametrize("orientation", EXIF)
def test_still_images_are_read_upright(tmp_path, orientation):
    stored = np.ascontiguousarray(np.rot90(paint(42), EXIF[orientation]))
    data = cv2.imencode(".jpg", stored[..., ::-1])[1].tobytes()
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    app1 = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (tmp_path / "photo.jpg").write_bytes(data[:2] + app1 + data[2:])
    image, _ = read_image(tmp_path / "photo.jpg")
    assert image.shape == (64, 96, 3) and frame_number(image) == 42


def test_files_that_are_not_images(tmp_path):
    (tmp_path / "noise.png").write_bytes(b"not an image at all")
    assert (
        error_message(tmp_path / "noise.png") == ": cannot be read as an image; expected PNG, JPEG, WebP, BMP or TIFF"
    )
    cv2.imwrite(str(tmp_path / "float.tiff"), np.zeros((4, 4, 3), np.float32))
    assert error_message(tmp_path / "float.tiff") == ": cannot be read as an image of 8 or 16 bits"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_files_without_read_permission(tmp_path, clip):
    cv2.imwrite(str(tmp_path / "p.png"), paint(1))
    for path in (clip, tmp_path / "p.png"):
        path.chmod(0)
        assert "Permission denied" in error_message(path)


def test_video_open_is_open_source(clip):
    assert VideoDecoder.open(clip).metadata == open_source(clip).metadata
