"""Laws of parts: what is read is what was written, or it is called damaged; a part is whole or not there."""

import errno

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnirender.encoding.segment_file import (
    CorruptSegmentError,
    EncodedPacket,
    SegmentReader,
    SegmentWriter,
    check_numbers,
    is_complete,
)
from dnirender.errors import OutputError

PACKETS = st.lists(
    st.builds(EncodedPacket, st.integers(0, 2**31), st.booleans(), st.binary(max_size=40), st.binary(max_size=3)),
    max_size=8,
)


def write(path, packets, header=b"head"):
    with SegmentWriter(path, header) as part:
        part.extend(packets)
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PACKETS, min_size=1, max_size=4), st.binary(max_size=30))
def test_packets_come_back_in_order_across_parts(tmp_path, groups, header):
    paths = [write(tmp_path / f"{i}.part", packets, header) for i, packets in enumerate(groups)]
    flat = [packet for packets in groups for packet in packets]
    with SegmentReader(paths) as parts:
        assert parts.header == header
        assert list(parts) == flat and len(parts) == len(flat)
        assert list(parts.indices) == [packet.index for packet in flat]
        for place in reversed(range(len(flat))):
            assert parts[place] == flat[place]
        with pytest.raises(IndexError):
            parts[len(flat)]


def test_any_other_byte_is_noticed(tmp_path):
    packets = [EncodedPacket(0, True, b"abc"), EncodedPacket(1, False, b"", b"side"), EncodedPacket(2, False, b"x" * 9)]
    path = write(tmp_path / "a.part", packets)
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        with pytest.raises(CorruptSegmentError), SegmentReader([path]) as parts:
            list(parts)


def test_a_part_that_is_cut_is_not_whole(tmp_path):
    path = write(tmp_path / "a.part", [EncodedPacket(i, True, b"frame" * i) for i in range(5)])
    good = path.read_bytes()
    assert is_complete(path)
    for size in range(len(good)):
        path.write_bytes(good[:size])
        assert not is_complete(path), size
    assert not is_complete(tmp_path / "none.part")


def test_a_flipped_bit_in_a_packet_is_damage(tmp_path):
    path = write(tmp_path / "a.part", [EncodedPacket(0, True, b"abcdef")])
    data = bytearray(path.read_bytes())
    data[data.index(b"abcdef") + 2] ^= 1
    path.write_bytes(data)
    with (
        SegmentReader([path]) as parts,
        pytest.raises(CorruptSegmentError, match="a.part: this finished part is damaged; run again"),
    ):
        parts[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_part_has_its_name_only_when_it_is_whole(tmp_path, error):
    path = tmp_path / "a.part"
    with pytest.raises(error), SegmentWriter(path) as part:
        part.extend([EncodedPacket(0, True, b"abc")])
        assert not path.exists()
        raise error
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"a.part: cannot be written \(No space left on device\)"):
        write(tmp_path / "a.part", [EncodedPacket(0, True, b"abc")])
    assert not list(tmp_path.iterdir())


def test_parts_of_other_encoders_do_not_mix(tmp_path):
    paths = [write(tmp_path / "a.part", [], b"one"), write(tmp_path / "b.part", [], b"two")]
    with pytest.raises(OutputError, match="b.part: was encoded with other settings than the parts before it; use --re"):
        SegmentReader(paths)


@pytest.mark.parametrize("numbers", [[0, 1, 1], [0, 2], [1, 2, 3], [], [0, 1, 2, 3]])
def test_each_frame_is_due_once(tmp_path, numbers):
    path = write(tmp_path / "a.part", [EncodedPacket(i, True, b"") for i in numbers])
    due = pytest.raises(OutputError, match=f"3 frames were due, {len(numbers)} came; nothing was published")
    with SegmentReader([path]) as parts, due:
        check_numbers(parts, 3, tmp_path / "x.mp4")
