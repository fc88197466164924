"""Truncated, corrupt and malicious files: refused or concealed, in bounded time and memory."""

import os
import re
import struct
import time
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from dnirender.decoding.open import open_source
from dnirender.decoding.timestamps import PacketTimestamps, resolve_timestamps
from dnirender.errors import MediaError
from dnirender.media.containers import demux
from dnirender.media.truncation import is_truncated
from support import clips as support_clips
from support.clips import CLIPS, frame_number, make_clip, needs_shared, paint
from support.mutations import make_seeds, run_cases

FORMS = {".ts": "mpegts", ".avi": "avi", ".gif": "gif", ".flv": "flv", ".ogv": "ogg", ".ivf": "ivf", ".mpg": "mpeg"}
FORMS |= {".mxf": "mxf", ".asf": "asf", ".h264": "h264", ".hevc": "hevc", ".y4m": "yuv4mpegpipe", ".apng": "apng"}
GOP = {"options": {"g": "6"}}
FAST = {"container_options": {"movflags": "faststart"}}
FRAGMENTS = {"container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}
KINDS = {
    "a.mp4": {"b_frames": 2, "audio": "aac", **FAST, **GOP},
    "live.mp4": {**FRAGMENTS, **GOP},
    "a.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "a.mkv": {"b_frames": 2, "audio": "aac", **GOP},
    "live.webm": {"codec": "libvpx-vp9", "container_options": {"live": "1"}, **GOP},
    "a.avi": {"codec": "mpeg4", "audio": "mp2", **GOP},
    "a.gif": {"codec": "gif", "pix_fmt": "rgb8", "rate": 10},
    "a.apng": {"codec": "apng", "pix_fmt": "rgb24"},
    "a.flv": {"b_frames": 2, "audio": "aac", **GOP},
    "a.ogv": {"codec": "libvpx", **GOP},
    "a.ivf": {"codec": "libvpx-vp9", **GOP},
    "a.mpg": {"codec": "mpeg2video", **GOP},
    "a.mxf": {"codec": "mpeg2video", **GOP},
    "a.asf": {"codec": "wmv2", **GOP},
    "a.ts": {"b_frames": 2, "audio": "aac", **GOP},
    "a.y4m": {"codec": "wrapped_avframe"},
}


@pytest.fixture(autouse=True)
def more_containers(monkeypatch):
    monkeypatch.setattr(support_clips, "CONTAINERS", support_clips.CONTAINERS | FORMS)


def decode(path, **kwargs):
    """The source, and the numbers painted into its frames."""
    source = open_source(path, **kwargs)
    return source, [frame_number(frame.image) for frame in source.frames(range(len(source.metadata.pts)))]


def error_message(path, **kwargs):
    with pytest.raises(MediaError) as caught:
        decode(path, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def truncate(path, size):
    path.write_bytes(path.read_bytes()[:size])
    return path


# Truncated files.


@pytest.mark.parametrize("name", KINDS)
def test_truncation_is_refused_and_the_rest_rendered_on_request(tmp_path, name):
    path = make_clip(tmp_path / name, frames=24, **KINDS[name])
    assert not is_truncated(path)
    assert decode(path)[1] == list(range(24))
    assert decode(path, ignore_errors=True)[1] == list(range(24))
    data, num_opened = path.read_bytes(), 0
    for tenths in range(1, 10):
        size = len(data) * tenths // 10
        path.write_bytes(data[: size + (name == "a.ts" and size % 188 == 0)])
        text = error_message(path)
        if "ignore_errors=True renders them" not in text:
            continue  # no frame can be decoded
        try:
            source = open_source(path, ignore_errors=True)
            frames = list(source.frames(range(len(source.metadata.pts))))
        except MediaError as error:
            assert "can be decoded" in str(error) or "before the first frame" in str(error)
            continue
        num_opened += 1
        numbers = [frame_number(frame.image) for frame in frames[:-1]]  # the last one may be incomplete
        assert numbers == sorted(numbers) and numbers[:1] in ([], [0])
        assert any(
            "is cut off: " in warning and warning.endswith("and rendered") for warning in source.metadata.warnings
        )
    assert num_opened >= 4 or name == "a.mov"  # its index comes last


def test_a_truncation_message_states_frames_and_seconds(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", frames=120, rate=30, **FAST)
    with av.open(str(path)) as container:
        position = [packet for packet in container.demux() if packet.size][59].pos
    truncate(path, position + 1)
    assert (
        error_message(path) == "is cut off: 59 of 120 frames, 2.0 of 4.0 s are there; ignore_errors=True renders them"
    )
    source, numbers = decode(path, ignore_errors=True)
    assert numbers == list(range(59)) and source.concealment_warnings() == ()
    assert "clip.mp4: is cut off: 59 of 120 frames, 2.0 of 4.0 s are there and rendered" in source.metadata.warnings
    path = make_clip(tmp_path / "clip.mkv", frames=50, codec="ffv1")
    assert error_message(truncate(path, path.stat().st_size // 2)).startswith("is cut off: 2")
    assert " of about 50 frames, " in error_message(path)
    path = make_clip(tmp_path / "late.mp4", frames=50)
    assert (
        error_message(truncate(path, path.stat().st_size // 2))
        == "is truncated and its index is missing; no frame can be decoded"
    )


@needs_shared
def test_no_real_clip_is_called_truncated():
    files = [path for path in CLIPS.rglob("*.*") if path.is_file()]
    assert len(files) == 23
    assert [path.name for path in files if is_truncated(path)] == []


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
def test_a_truncated_image_is_refused(tmp_path, suffix):
    path = tmp_path / f"still{suffix}"
    cv2.imwrite(str(path), paint(9)[..., ::-1])
    assert decode(path)[1] == [9]
    data = path.read_bytes()
    for percent in range(8, 100, 7):
        path.write_bytes(data[: len(data) * percent // 100])
        assert any(text in error_message(path) for text in ("is cut off", "is truncated", "cannot be read as an image"))
    path.write_bytes(data[: len(data) * 9 // 10])
    if suffix != ".jpg":
        assert error_message(path, ignore_errors=True) == "is truncated; only a truncated JPEG can be decoded in part"
        return
    assert error_message(path) == "is cut off: a part of the image is there; ignore_errors=True renders it"
    source = open_source(path, ignore_errors=True)
    assert source.metadata.warnings == ("still.jpg: is truncated; the missing part of the image is gray",)
    top = next(source.frames([0])).image[:16]
    assert np.abs(top.astype(int) - paint(9)[:16]).mean() < 8


# Frames that cannot be decoded.


def corrupt(path, *numbers):
    """Overwrites the packets of these numbers, in decoding order, with zeros."""
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    for number in numbers:
        assert data.count(packets[number]) == 1
        data = data.replace(packets[number], bytes(len(packets[number])))
    path.write_bytes(data)
    return path


def test_a_decoding_error_states_what_was_decoded(tmp_path):
    path = corrupt(make_clip(tmp_path / "clip.mp4", frames=20, options={"g": "1"}), 8)
    text = error_message(path)
    assert text.startswith("damaged: the first 8 of 20 frames could be decoded (0.3 of 0.8 s)")
    assert text.endswith(
        "; end=8 renders the frames before the damage, ignore_errors=True repeats the frame before each that is lost"
    )
    assert [frame_number(frame.image) for frame in open_source(path).frames(range(8))] == list(range(8))


@pytest.mark.parametrize("lost", [(8,), (8, 9, 15), (0,), (0, 1, 19), tuple(range(19))])
def test_a_lost_frame_is_replaced_by_the_one_before_it(tmp_path, lost):
    path = corrupt(make_clip(tmp_path / "clip.mp4", frames=20, options={"g": "1"}), *lost)
    source, numbers = decode(path, ignore_errors=True)
    first = next(number for number in range(20) if number not in lost)
    expected = [max((n for n in range(number + 1) if n not in lost), default=first) for number in range(20)]
    assert numbers == expected
    assert source.metadata.seconds == tuple(Fraction(number, 25) for number in range(20))
    assert source.concealed_frames == set(lost)
    assert source.concealment_warnings() == (
        f"clip.mp4: {len(lost)} of 20 frames could not be decoded, the first at frame {lost[0]}, {lost[0] / 25:.1f} s: "
        "each is replaced by the frame before it",
    )
    selected = open_source(path, ignore_errors=True)
    assert [frame_number(frame.image) for frame in selected.frames([3, 8, 19])] == [
        expected[3],
        expected[8],
        expected[19],
    ]
    assert selected.concealed_frames == {3, 8, 19} & set(lost)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9", "libx265"])
def test_all_frames_are_yielded_in_order_despite_lost_ones(tmp_path, codec):
    path = corrupt(make_clip(tmp_path / "clip.mkv", frames=24, codec=codec, options={"g": "6"}), 3, 9)
    source, _ = open_source(path, ignore_errors=True), error_message(path)
    frames = list(source.frames(range(24)))
    assert [frame.index for frame in frames] == list(range(24))
    assert source.concealed_frames


def test_a_video_without_a_decodable_frame_is_an_error(tmp_path):
    path = corrupt(make_clip(tmp_path / "clip.mp4", frames=5, options={"g": "1"}), *range(5))
    assert error_message(path, ignore_errors=True) == "none of its frames can be decoded"


@needs_shared
def test_a_real_damaged_clip(tmp_path):
    path = CLIPS / "edge" / "corrupted.mp4"
    with pytest.raises(MediaError, match=r"28 of 50 frames could be decoded \(2\.8 of 5\.0 s\)"):
        list(open_source(path).frames(range(50)))
    source = open_source(path, ignore_errors=True)
    assert len(list(source.frames(range(50)))) == 50
    assert source.concealment_warnings()[0].startswith(
        "corrupted.mp4: 2 of 50 frames could not be decoded, the first at frame 30"
    )


# Timestamps.


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("clip.h264", {"b_frames": 2}),
        ("clip.h264", {}),
        ("clip.hevc", {"codec": "libx265"}),
        ("clip.avi", {"b_frames": 2}),
        ("clip.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
    ],
)
def test_frames_without_timestamps_are_in_order(tmp_path, name, make):
    path = make_clip(tmp_path / name, frames=20, **make)
    source, numbers = decode(path)
    assert numbers == list(range(20))
    steps = {
        after - before for before, after in zip(source.metadata.seconds, source.metadata.seconds[1:], strict=False)
    }
    assert steps == {Fraction(1, 25)}
    if make.get("codec") != "mpeg4":
        assert any(re.search("has no (presentation )?timestamps; using the", text) for text in source.metadata.warnings)
        assert [frame_number(frame.image) for frame in source.frames([7, 13])] == [7, 13]


def test_duplicate_timestamps_are_separated(tmp_path):
    pts = [0, 10, 20, 30, 40, 50]
    path = make_clip(tmp_path / "clip.mkv", frames=6, codec="ffv1", pts=pts, time_base=Fraction(1, 1000))
    data = bytearray(path.read_bytes())
    for old, new in ((20, 10), (40, 31)):
        block = data.index(struct.pack(">Bh", 0x81, old))  # track 1, so many milliseconds after its cluster
        data[block : block + 3] = struct.pack(">Bh", 0x81, new)
    path.write_bytes(data)
    source, numbers = decode(path)
    assert numbers == list(range(6))
    assert [1000 * time for time in source.metadata.seconds] == [0, 10, 11, 30, 31, 50]
    assert any(
        text == "clip.mkv: 1 frame(s) have the same timestamp as the frame before, the first is frame 2, 0.01 s; "
        "each is shown one tick later"
        for text in source.metadata.warnings
    )
    for index in range(6):
        assert [frame_number(frame.image) for frame in source.frames([index])] == [index]


def packet_timestamps(*pts, keys=(0,), dts=None):
    return [PacketTimestamps(p, dts[i] if dts else None, 1, i in keys) for i, p in enumerate(pts)]


def test_the_time_base_is_subdivided_where_no_tick_is_free():
    result = resolve_timestamps(packet_timestamps(0, 1, 1, 1, 2, 3, 3), Fraction(1, 25), Fraction(25))
    assert result.stream_pts == (0, 1, 1, 1, 2, 3, 3)
    assert result.time_base == Fraction(1, 75) and result.last_duration == 3
    assert result.pts == (0, 3, 4, 5, 6, 9, 10)
    still = resolve_timestamps(packet_timestamps(*[7] * 8), Fraction(1, 25), Fraction(25))
    assert (still.time_base, still.pts) == (Fraction(1, 25), tuple(range(7, 15)))  # nothing is behind them
    with pytest.raises(MediaError, match=r"^9 frames have the same timestamp from frame 1 on, at 0\.04 s; remux"):
        resolve_timestamps(packet_timestamps(0, *[1] * 9, 2), Fraction(1, 25), Fraction(25))


@pytest.mark.parametrize("known", ["pts", "dts"])
def test_the_last_frame_without_a_duration_lasts_as_long_as_the_one_before(known):
    times = [
        PacketTimestamps(**{"pts": None, "dts": None, known: t}, duration=0, is_keyframe=True) for t in (0, 1, 3, 10)
    ]
    assert resolve_timestamps(times, Fraction(1, 25), Fraction(25)).last_duration == 7
    assert resolve_timestamps(times[:1], Fraction(1, 100), Fraction(25)).last_duration == 4  # of one frame: by the rate


def test_gaps_and_negative_timestamps_are_preserved_and_absurd_ones_refused():
    assert resolve_timestamps(packet_timestamps(-5, -2, 900), Fraction(1, 25), Fraction(25)).pts == (-5, -2, 900)
    with pytest.raises(MediaError, match="its timestamps span .* hours, expected at most 100"):
        resolve_timestamps(packet_timestamps(0, 2**62), Fraction(1, 90000), Fraction(25))
    assert resolve_timestamps([PacketTimestamps(0, 0, 2**62, True)], Fraction(1, 25), Fraction(25)).last_duration == 1


def test_timestamps_that_go_backwards_are_refused(tmp_path):
    assert resolve_timestamps(packet_timestamps(0, 3, 1, 2, 4, keys=(0, 4)), Fraction(1), Fraction(1)).pts == (
        0,
        1,
        2,
        3,
        4,
    )
    with pytest.raises(
        MediaError, match=r"^its timestamps go backwards at frame 2, from 0\.40 s to 0\.00 s; split the file there"
    ):
        resolve_timestamps(packet_timestamps(0, 10, 0, 5, dts=(0, 10, 0, 5)), Fraction(1, 25), Fraction(25))
    pieces = [make_clip(tmp_path / f"{i}.ts", frames=10, b_frames=2).read_bytes() for i in range(2)]
    (tmp_path / "twice.ts").write_bytes(b"".join(pieces))
    assert error_message(tmp_path / "twice.ts").startswith(
        "its timestamps go backwards at frame 10, from 0.44 s to 0.08 s; split the"
    )


def test_33_bit_timestamps_that_overflow_are_unwrapped(tmp_path):
    first = 2**33 - 90000 // 5
    path = make_clip(tmp_path / "wrap.ts", frames=12, pts=range(first, first + 12 * 3600, 3600), b_frames=2)
    source, numbers = decode(path)
    assert numbers == list(range(12))
    assert {after - before for before, after in zip(source.metadata.pts, source.metadata.pts[1:], strict=False)} == {
        3600
    }


# Malicious headers.


@pytest.fixture
def quickly():
    before = time.monotonic()
    yield
    assert time.monotonic() - before < 30  # a refusal by the header is immediate; anything else takes minutes


def patched(path, box, offset, form, *values):
    """Writes values into a box of an MP4, `offset` bytes after its type."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, data.index(box) + offset, *values)
    path.write_bytes(data)
    return path


def test_tables_that_claim_more_samples_than_the_file_has_bytes(tmp_path, quickly):
    path = make_clip(tmp_path / "clip.mp4", frames=12)
    assert error_message(patched(path, b"stsz", 8, ">II", 1, 80_000_000)) == (
        f"declares 80000000 samples in {path.stat().st_size} bytes: refused"
    )
    path = make_clip(tmp_path / "parts.mp4", frames=12, **FRAGMENTS)
    assert "declares 80000000 samples in" in error_message(patched(path, b"trun", 8, ">I", 80_000_000))


@pytest.mark.parametrize("side", [10_000, 16_384, 65_535])
def test_a_video_of_implausible_size_is_refused(tmp_path, quickly, side):
    path = make_clip(tmp_path / "clip.mkv", frames=2, codec="ffv1", size=(300, 300))
    data = path.read_bytes()
    for element in (b"\xb0\x82", b"\xba\x82"):  # width and height
        assert data.count(element + struct.pack(">H", 300)) == 1
        data = data.replace(element + struct.pack(">H", 300), element + struct.pack(">H", side))
    path.write_bytes(data)
    # Beyond FFmpeg's own limits the size is unknown.
    assert error_message(path) == (
        "declares 10000x10000 pixels, expected at most 67108864; scale it down first"
        if side == 10_000
        else "its first frame cannot be decoded (Invalid data found when processing input)"
    )


@pytest.mark.parametrize("count", [2**28, 2**32 - 1])
def test_counts_beyond_the_file_size_are_refused(tmp_path, quickly, count):
    error_message(patched(make_clip(tmp_path / "clip.mp4", frames=12), b"stts", 8, ">I", count))


def test_a_duration_of_2_to_the_62_is_refused(tmp_path, quickly):
    path = make_clip(tmp_path / "clip.mkv", frames=3, codec="ffv1")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 2.0**52)  # milliseconds
    path.write_bytes(data)
    assert error_message(path).startswith("is cut off: 3 of about ")


@pytest.mark.parametrize("side", [16_384, 40_000, 65_535, 2**31 - 1])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_an_image_of_implausible_size_is_refused(tmp_path, quickly, suffix, side):
    data = bytearray(cv2.imencode(suffix, paint(1))[1].tobytes())
    if suffix == ".png":
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif suffix == ".jpg":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", min(side, 65535), min(side, 65535))
    elif suffix == ".bmp":
        data[18:26] = struct.pack("<ii", side, side)
    elif suffix == ".tif":
        at = int.from_bytes(data[4:8], "little")
        for entry in range(at + 2, at + 2 + 12 * int.from_bytes(data[at : at + 2], "little"), 12):
            if int.from_bytes(data[entry : entry + 2], "little") in (256, 257):
                data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, side)
    else:
        sides = struct.pack("<I", 16383 | 16383 << 14 | 1 << 28)
        data = b"RIFF" + struct.pack("<I", 200) + b"WEBPVP8L" + struct.pack("<I", 188) + b"/" + sides + bytes(183)
    (tmp_path / f"huge{suffix}").write_bytes(data)
    assert "declares" in error_message(tmp_path / f"huge{suffix}")


def test_a_deflate_bomb_outside_the_pixels_is_not_decompressed(tmp_path, quickly):
    data = cv2.imencode(".png", paint(7))[1].tobytes()
    packer = zlib.compressobj(9)
    bomb = b"x\0\0" + b"".join(packer.compress(bytes(1 << 20)) for _ in range(1 << 9)) + packer.flush()
    chunk = struct.pack(">I", len(bomb)) + b"zTXt" + bomb + struct.pack(">I", zlib.crc32(b"zTXt" + bomb))
    (tmp_path / "bomb.png").write_bytes(data[:33] + chunk + data[33:])
    assert decode(tmp_path / "bomb.png")[1] == [7]


def test_devices_and_pipes_are_not_opened(tmp_path):
    paths = [Path("/dev/zero")]
    if hasattr(os, "mkfifo"):
        for name in ("pipe.mp4", "pipe.png"):
            os.mkfifo(tmp_path / name)
            paths.append(tmp_path / name)
    for path in filter(Path.exists, paths):
        assert error_message(path) == "is a device or a pipe, expected a file; record it into one first"


# Random damage; tests/stress has thousands of cases.


def test_corrupt_files_are_refused_or_decoded_completely(tmp_path):
    pytest.importorskip("torch")
    seeds = make_seeds(tmp_path)
    outcomes = run_cases(tmp_path, range(10_000, 10_000 + 20 * len(seeds)))
    assert len(outcomes) == 20 * len(seeds)
    assert [outcome for outcome in outcomes if outcome.broken] == []
    assert {outcome.strict == "whole" for outcome in outcomes} == {True, False}


def test_a_stream_that_appears_in_the_middle_is_ignored():
    class Recording:
        """Behaves as PyAV does if a stream appears after the probed part, some 5 MB into the file."""

        def demux(self):
            yield from ("packet", "flush")
            raise IndexError("list index out of range")

    assert list(demux(Recording())) == ["packet", "flush"]
