"""Sound that begins before, with or after the video still does so, on every track, also when a part is cut out."""

from fractions import Fraction

import pytest

from support.delivery import MILLISECOND, identity, lag, make_clip, numbered, sound_data, start

OFFSETS = [-0.04, 0.0, 0.04, 1.5]
FIRSTS = [0.0, 0.4]  # where the video begins
RENDERED = {".webm": "libvpx-vp9"}


def offset(path, index=0):
    """Seconds from the first frame of the video to the first packet of a sound."""
    return start(path, "audio", index) - start(path, "video")


def make(path, offsets, first, audio="aac", frames=50):
    """A clip of two seconds whose video begins at `first` and whose sounds begin at `offsets` from there."""
    codec = "libvpx-vp9" if path.suffix == ".webm" else "libx264"
    pts = [round((Fraction(str(first)) + Fraction(i, 25)) * 90000) for i in range(frames)]
    starts = [first + start for start in offsets]
    early = {"avoid_negative_ts": "disabled"} if min(starts) < 0.1 and path.suffix in (".mkv", ".webm") else {}
    return make_clip(
        path,
        codec=codec,
        pts=pts,
        time_base=Fraction(1, 90000),
        b_frames=2 if codec == "libx264" and not early else 0,
        audio=[audio] * len(offsets),
        audio_start=starts,
        audio_seconds=1.6,
        container_options=early,
    )


def check(source, target, tracks, report):
    for index in range(tracks):
        # Opus begins 6.5 ms early, which Matroska rounds once more.
        copied = report.streams[index].endswith(": copy")
        assert abs(lag(source, target, index)) <= (0.00101 if copied else 0.00151)
        if report.streams[index].endswith(": copy"):
            assert sound_data(target, index) == sound_data(source, index)
            assert abs(offset(target, index) - offset(source, index)) <= MILLISECOND


@pytest.mark.parametrize("first", FIRSTS)
@pytest.mark.parametrize("begins", OFFSETS)
@pytest.mark.parametrize(
    ("suffix", "audio", "target"),
    [
        (".mp4", "aac", ".mp4"), (".mp4", "aac", ".mkv"), (".mp4", "aac", ".webm"), (".mov", "pcm_s16le", ".mov"),
        (".mkv", "aac", ".mp4"), (".mkv", "flac", ".mkv"), (".mkv", "flac", ".mov"), (".mkv", "libopus", ".mp4"),
        (".webm", "libopus", ".webm"), (".ts", "aac", ".mp4"), (".ts", "libmp3lame", ".mkv"), (".ts", "ac3", ".webm"),
    ],
)  # fmt: skip
def test_every_beginning_is_kept(tmp_path, suffix, audio, target, begins, first):
    source = make(tmp_path / f"clip{suffix}", [begins], first, audio)
    report = identity(source, tmp_path / f"out{target}", RENDERED.get(target, "libx264"))
    assert numbered(tmp_path / f"out{target}")[0] == list(range(50))
    check(source, tmp_path / f"out{target}", 1, report)


@pytest.mark.parametrize("target", [".mp4", ".mkv", ".mov", ".webm"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_every_track_has_a_beginning_of_its_own(tmp_path, suffix, target):
    source = make(tmp_path / f"clip{suffix}", OFFSETS, 0.4)
    report = identity(source, tmp_path / f"out{target}", RENDERED.get(target, "libx264"))
    assert len(report.streams) == 4
    check(source, tmp_path / f"out{target}", 4, report)
    for one, other in ((0, 1), (1, 3)):
        between = offset(tmp_path / f"out{target}", other) - offset(tmp_path / f"out{target}", one)
        due = offset(source, other) - offset(source, one)
        assert abs(between - due) <= MILLISECOND + (0 if report.streams[0].endswith("copy") else MILLISECOND / 2)


@pytest.mark.parametrize(("first_frame", "stop"), [(0, 40), (1, 50), (13, 46), (30, 50)])
@pytest.mark.parametrize("target", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_cut_keeps_sound_and_picture_together(tmp_path, suffix, target, first_frame, stop):
    source, out = make(tmp_path / f"clip{suffix}", [-0.04, 0.04], 0.4), tmp_path / f"out{target}"
    identity(source, out, RENDERED.get(target, "libx264"), start=str(first_frame), end=str(stop))
    numbers, times = numbered(out)
    assert numbers == list(range(first_frame, stop))
    assert times[0] == 0
    # `lag` measures from the first frame of each file, and that of the part is a later one.
    later = Fraction(first_frame, 25)
    slack = 0.0005 if suffix == ".mkv" else 0  # the packets of the source lie off their places by as much
    for index in (0, 1):
        assert abs(lag(source, out, index, later=later)) <= 0.00101 + slack
