"""Frames whose timestamps are out of order are complete: the n-th frame shown has the n-th timestamp."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from dnirender.decoding.open import open_source
from dnirender.decoding.reorder import MAX_REORDER, restamp_in_order
from dnirender.errors import MediaError
from support.clips import frame_number, make_clip, paint
from support.delivery import identity, numbered

COUNT = 61
DIVX = b"\0\0\1\xb2DivX503b1393p"  # user data by which decoders know that B-frames are packed


def mpeg4(count=COUNT, b_frames=1):
    """Packets of numbered frames, each P before the B that it follows in time."""
    context = av.CodecContext.create("mpeg4", "w")
    context.width, context.height, context.pix_fmt, context.max_b_frames = 96, 64, "yuv420p", b_frames
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = {"b_strategy": "0", "sc_threshold": "1000000000", "g": "20", "qmin": "2", "qmax": "2"}
    packets = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(paint(number), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, context.time_base
        packets += context.encode(frame)
    return packets + context.encode(None)


def placeholder(number):
    """The packet of 6 bytes that stands for a B-frame packed into the one before: a P-VOP that is not coded."""
    bits = f"0101{number % 25:05b}1001111"
    return b"\0\0\1\xb6" + int(bits, 2).to_bytes(2, "big")


def packed():
    """(bytes, is keyframe) of packets as Xvid and DivX write them: P and B together, then a placeholder."""
    packets, found = mpeg4(), []
    for packet in packets:
        data = bytes(packet)
        if packet.pts % 2:
            found[-1:] = [(found[-1][0] + data, found[-1][1]), (placeholder(packet.pts + 1), False)]
            continue
        if packet.is_keyframe:
            data = data.replace(b"\0\0\1\xb6", DIVX + b"\0\0\1\xb6", 1)
        found.append((data, packet.is_keyframe))
    return found


def write(path, packets, form="avi", base=Fraction(1, 25)):
    """Muxes (bytes, is keyframe) or (bytes, is keyframe, pts) with the number of each packet as its dts."""
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_mux_stream("mpeg4", rate=Fraction(25), width=96, height=64)
        stream.time_base = base
        for number, (data, key, *pts) in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, base, key
            packet.dts = number
            packet.pts = pts[0] if pts else number
            packet.duration = 1
            out.mux_one(packet)
    return path


def numbers(source, indices):
    return [frame_number(frame.image) for frame in source.frames(indices)]


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path / "clip.avi", packed())


@pytest.mark.parametrize("ignore_errors", [False, True])
def test_packed_b_frames_are_all_there(clip, ignore_errors):
    source = open_source(clip, ignore_errors=ignore_errors)
    assert numbers(source, range(len(source.metadata.pts))) == list(range(COUNT))
    assert not source.concealed_frames
    assert source.metadata.seconds == tuple(Fraction(i, 25) for i in range(COUNT))


@pytest.mark.parametrize("indices", [range(19, 24), range(20, 22), range(40, 61), [0, 33, 60]])
def test_any_range_of_packed_b_frames_is_the_same_as_in_the_whole(clip, indices):
    assert numbers(open_source(clip), indices) == list(indices)


def test_a_render_of_packed_b_frames_is_the_clip(tmp_path, clip):
    report = identity(clip, tmp_path / "out.mp4")
    assert numbered(tmp_path / "out.mp4") == (list(range(COUNT)), [Fraction(i, 25) for i in range(COUNT)])
    assert not [warning for warning in report.warnings if "decoded" in warning]


def test_b_frames_that_are_not_packed_begin_at_zero_too(tmp_path):
    clip = write(tmp_path / "clip.avi", [(bytes(packet), packet.is_keyframe) for packet in mpeg4()])
    source = open_source(clip)
    assert numbers(source, range(COUNT)) == list(range(COUNT))
    assert source.metadata.seconds[0] == 0


@pytest.mark.parametrize("ignore_errors", [False, True])
def test_stamps_in_decoding_order_are_put_in_order(tmp_path, ignore_errors):
    clip = write(tmp_path / "clip.mkv", [(bytes(p), p.is_keyframe) for p in mpeg4()], "matroska", Fraction(1, 25))
    source = open_source(clip, ignore_errors=ignore_errors)
    assert numbers(source, range(COUNT)) == list(range(COUNT))
    assert numbers(open_source(clip), range(30, 40)) == list(range(30, 40))
    assert not source.concealed_frames


def test_a_lost_packet_of_packed_b_frames_is_still_damage(tmp_path):
    packets = packed()
    broken = [(b"\0\0\1\xb6" + b"\xff" * 40 if 30 <= i < 32 else data, key) for i, (data, key) in enumerate(packets)]
    source = open_source(write(tmp_path / "clip.avi", broken))
    with pytest.raises(MediaError, match="damaged: the first"):
        numbers(source, range(len(source.metadata.pts)))


def frames(*stamps):
    return [SimpleNamespace(pts=pts, name=number) if pts is not None else None for number, pts in enumerate(stamps)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 2, 1, 3], [0, 1, 2, 3]),
        ([1, 0, 3, 2], [0, 1, 2, 3]),
        ([0, 2, 3], [0, 2, 3]),  # 1 is missing
        ([0, 2, None, 3], [0, 2, None, 3]),
        ([2, 3], [2, 3]),
        ([0, 3, 2, 1], [0, 1, 2, 3]),
    ],
)
def test_only_what_is_complete_is_put_in_order(given, expected):
    restamped = list(restamp_in_order(frames(*given), range(4)))
    assert [frame and frame.pts for frame in restamped] == expected
    assert [frame.name for frame in restamped if frame] == [i for i, pts in enumerate(given) if pts is not None]


def test_after_a_seek_the_first_stamp_tells_the_place():
    assert [f.pts for f in restamp_in_order(frames(2, 4, 3), range(9), from_start=False)] == [2, 3, 4]
    assert [f.pts for f in restamp_in_order(frames(2, 4, 3), range(9))] == [2, 4, 3]


def test_no_more_frames_are_held_back_than_any_codec_reorders():
    seen = []
    stamps = [0, *range(2, 100)]

    def source():
        for frame in frames(*stamps):
            seen.append(frame.pts)
            yield frame

    restamped = restamp_in_order(source(), range(100))
    assert [next(restamped).pts for _ in range(2)] == [0, 2]
    assert len(seen) == MAX_REORDER + 2
    assert [frame.pts for frame in restamped] == stamps[2:]


def test_frames_in_order_are_yielded_at_once(tmp_path):
    seen = []

    def source():
        for frame in frames(*range(9)):
            seen.append(frame.pts)
            yield frame

    for number, frame in enumerate(restamp_in_order(source(), range(9))):
        assert frame.pts == number == seen[-1]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_ordinary_b_frames_are_as_before(tmp_path, codec):
    clip = make_clip(tmp_path / "clip.mkv", frames=40, codec=codec, b_frames=2)
    assert numbers(open_source(clip), range(40)) == list(range(40))
    assert np.array_equal(
        next(iter(open_source(clip).frames([25]))).image, list(open_source(clip).frames(range(40)))[25].image
    )
