"""Segment files: packets are read back unchanged or reported as corrupt; files are written atomically."""

import errno

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnirender.encoding.segment_file import (
    CorruptSegmentError,
    EncodedPacket,
    SegmentReader,
    SegmentWriter,
    check_frame_indices,
    is_complete,
)
from dnirender.errors import OutputError

PACKETS = st.lists(
    st.builds(EncodedPacket, st.integers(0, 2**31), st.booleans(), st.binary(max_size=40), st.binary(max_size=3)),
    max_size=8,
)


def write(path, packets, header=b"head"):
    with SegmentWriter(path, header) as writer:
        writer.extend(packets)
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PACKETS, min_size=1, max_size=4), st.binary(max_size=30))
def test_packets_are_read_in_order_across_segments(tmp_path, groups, header):
    paths = [write(tmp_path / f"{i}.part", packets, header) for i, packets in enumerate(groups)]
    flat = [packet for packets in groups for packet in packets]
    with SegmentReader(paths) as segments:
        assert segments.header == header
        assert list(segments) == flat and len(segments) == len(flat)
        assert list(segments.indices) == [packet.index for packet in flat]
        for position in reversed(range(len(flat))):
            assert segments[position] == flat[position]
        with pytest.raises(IndexError):
            segments[len(flat)]


def test_any_changed_byte_is_detected(tmp_path):
    packets = [EncodedPacket(0, True, b"abc"), EncodedPacket(1, False, b"", b"side"), EncodedPacket(2, False, b"x" * 9)]
    path = write(tmp_path / "a.part", packets)
    good = path.read_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x55]) + good[position + 1 :])
        with pytest.raises(CorruptSegmentError), SegmentReader([path]) as segments:
            list(segments)


def test_a_truncated_segment_is_not_complete(tmp_path):
    path = write(tmp_path / "a.part", [EncodedPacket(i, True, b"frame" * i) for i in range(5)])
    good = path.read_bytes()
    assert is_complete(path)
    for size in range(len(good)):
        path.write_bytes(good[:size])
        assert not is_complete(path), size
    assert not is_complete(tmp_path / "none.part")


def test_a_flipped_bit_in_a_packet_is_corruption(tmp_path):
    path = write(tmp_path / "a.part", [EncodedPacket(0, True, b"abcdef")])
    data = bytearray(path.read_bytes())
    data[data.index(b"abcdef") + 2] ^= 1
    path.write_bytes(data)
    with (
        SegmentReader([path]) as segments,
        pytest.raises(CorruptSegmentError, match="a.part: this finished segment is corrupt; run again"),
    ):
        segments[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_segment_file_appears_only_when_it_is_complete(tmp_path, error):
    path = tmp_path / "a.part"
    with pytest.raises(error), SegmentWriter(path) as writer:
        writer.extend([EncodedPacket(0, True, b"abc")])
        assert not path.exists()
        raise error
    assert not list(tmp_path.iterdir())


def test_a_full_disk_raises_and_leaves_no_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"a.part: cannot be written \(No space left on device\)"):
        write(tmp_path / "a.part", [EncodedPacket(0, True, b"abc")])
    assert not list(tmp_path.iterdir())


def test_segments_of_different_encoders_are_refused(tmp_path):
    paths = [write(tmp_path / "a.part", [], b"one"), write(tmp_path / "b.part", [], b"two")]
    with pytest.raises(
        OutputError, match="b.part: was encoded with different settings than the segments before it; use restart=True"
    ):
        SegmentReader(paths)


@pytest.mark.parametrize("numbers", [[0, 1, 1], [0, 2], [1, 2, 3], [], [0, 1, 2, 3]])
def test_each_frame_must_be_there_exactly_once(tmp_path, numbers):
    path = write(tmp_path / "a.part", [EncodedPacket(i, True, b"") for i in numbers])
    wrong_count = pytest.raises(OutputError, match=f"expected 3 frames, got {len(numbers)}; nothing was published")
    with SegmentReader([path]) as segments, wrong_count:
        check_frame_indices(segments, 3, tmp_path / "x.mp4")
