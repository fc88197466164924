"""A start time code is read from wherever it is, moved by the cut, and written where the container has it."""

from fractions import Fraction

import av
import pytest

from dnirender.decoding.open import open_source
from dnirender.jobs.verify import verify
from dnirender.media.timecode import advance_timecode, read_timecode
from support.clips import _open, paint
from support.delivery import identity, numbered

NTSC, NTSC2 = Fraction(30000, 1001), Fraction(60000, 1001)


def make(path, timecode, rate=Fraction(25), where="stream", form=None):
    """Twelve frames with a time code, as a tag of the video stream (a track in MOV and MP4) or of the file."""
    codec = "mpeg2video" if path.suffix == ".mxf" else "libx264"
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.options = {"bf": "0"}
        if codec == "mpeg2video":
            stream.bit_rate = 5_000_000
        (stream if where == "stream" else out).metadata["timecode"] = timecode
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(paint(number), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def timecodes(path):
    """What each stream and the file say."""
    with _open(path) as container:
        places = [(stream.type, stream.metadata) for stream in container.streams] + [("file", container.metadata)]
        return {name: value for name, tags in places for key, value in tags.items() if key.lower() == "timecode"}


@pytest.mark.parametrize(
    ("source", "where"),
    [(".mov", "stream"), (".mp4", "stream"), (".mov", "file"), (".mxf", "file"), (".mkv", "stream"), (".mkv", "file")],
)
@pytest.mark.parametrize("target", [".mov", ".mp4", ".mkv"])
def test_it_is_one_fact_however_it_is_stored(tmp_path, source, where, target):
    clip = make(tmp_path / f"clip{source}", "10:00:00:00", where=where)
    assert open_source(clip).metadata.timecode == "10:00:00:00"
    report = identity(clip, tmp_path / f"out{target}")
    places = {"video", "data"} if target != ".mkv" else {"file"}
    assert timecodes(tmp_path / f"out{target}") == dict.fromkeys(places, "10:00:00:00")
    assert report.streams == () and not [text for text in report.warnings if "data" in text]
    identity(clip, tmp_path / f"cut{target}", start="3", end="9")
    assert set(timecodes(tmp_path / f"cut{target}").values()) == {"10:00:00:03"}
    assert numbered(tmp_path / f"cut{target}")[0] == list(range(3, 9))
    for made in ("out", "cut"):
        checks = {check.name: check for check in verify(tmp_path / f"{made}{target}")}
        assert checks["time code"].good and all(check.good for check in checks.values())


def test_verify_finds_another_time_code(tmp_path):
    clip = make(tmp_path / "clip.mov", "10:00:00:00")
    identity(clip, tmp_path / "out.mkv")
    data = (tmp_path / "out.mkv").read_bytes()
    (tmp_path / "out.mkv").write_bytes(data.replace(b"10:00:00:00", b"10:00:00:01"))
    assert "time code" in [check.name for check in verify(tmp_path / "out.mkv") if not check.good]


@pytest.mark.parametrize("target", [".mov", ".mkv"])
def test_drop_frame_skips_the_first_numbers_of_a_minute(tmp_path, target):
    clip = make(tmp_path / "clip.mov", "00:00:59;27", NTSC)
    identity(clip, tmp_path / f"out{target}", start="4")
    assert set(timecodes(tmp_path / f"out{target}").values()) == {"00:01:00;03"}


def test_a_clip_without_one_gets_none(tmp_path):
    clip = make(tmp_path / "clip.mov", "nonsense", where="file", form="matroska")
    assert open_source(clip).metadata.timecode == ""
    identity(clip, tmp_path / "out.mov")
    assert timecodes(tmp_path / "out.mov") == {}


@pytest.mark.parametrize(
    ("text", "frames", "rate", "expected"),
    [
        ("01:00:00:00", 3, 25, "01:00:00:03"),
        ("01:00:00:24", 1, 25, "01:00:01:00"),
        ("23:59:59:24", 1, 25, "00:00:00:00"),
        ("01:00:00:00", 0, 25, "01:00:00:00"),
        ("00:00:59;29", 1, NTSC, "00:01:00;02"),
        ("00:09:59;29", 1, NTSC, "00:10:00;00"),
        ("00:00:59:29", 1, NTSC, "00:01:00:00"),
        ("00:00:59;59", 1, NTSC2, "00:01:00;04"),
        ("00:00:00;00", 17982, NTSC, "00:10:00;00"),
        ("00:00:00;00", 107892, NTSC, "01:00:00;00"),
        ("01:00:00:00", 48, Fraction(24000, 1001), "01:00:02:00"),
        ("01:00:00:00", 100, 100, "01:00:01:00"),
        ("", 5, 25, ""),
    ],
)
def test_it_counts_frames(text, frames, rate, expected):
    assert advance_timecode(text, frames, Fraction(rate)) == expected


@pytest.mark.parametrize("rate", [NTSC, NTSC2])
def test_drop_frame_numbers_are_all_different_and_in_order(rate):
    base, dropped = round(rate), round(rate) // 15
    numbers = [advance_timecode("00:00:00;00", frame, rate) for frame in range(base * 60 * 11)]
    assert numbers == sorted(set(numbers))
    assert not [n for n in numbers if n[6:8] == "00" and int(n[9:]) < dropped and int(n[3:5]) % 10]
    for frame in range(0, len(numbers), 997):
        assert advance_timecode(numbers[frame], 5, rate) == advance_timecode("00:00:00;00", frame + 5, rate)


def test_another_rate_counts_other_frames():
    assert advance_timecode("01:00:00:12", 0, Fraction(25), Fraction(50)) == "01:00:00:24"
    assert advance_timecode("01:00:10;02", 0, NTSC, Fraction(30)) == "01:00:10;02"


def test_what_is_read_is_a_time_code():
    class Tagged:
        type, streams = "video", ()

        def __init__(self, **tags):
            self.metadata = tags

    assert read_timecode(Tagged(TIMECODE="01:02:03:04"), Tagged()) == "01:02:03:04"
    assert read_timecode(Tagged(timecode="01:02:03:04"), Tagged(timecode="11:02:03;04")) == "11:02:03;04"
    assert read_timecode(Tagged(timecode="01:99:03:04"), Tagged(timecode="noon")) == ""
