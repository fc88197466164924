"""Every codec in every container, at every rate, with every sound, early and late: what comes out is the clip."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle

import pytest

from support.delivery import MILLISECOND, heard, identity, lag, make_clip, numbered, sound_data, start, time_base

FRAMES = 20
H264, H265, VP9, AV1, FFV1 = "libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1"
INPUTS = {
    ".mp4": [H264, H265, VP9, AV1, "mpeg4", "mjpeg", "mpeg2video"],
    ".mov": [H264, H265, "prores_ks", "mjpeg", "mpeg4"],
    ".mkv": [H264, H265, VP9, AV1, FFV1, "mpeg4", "mjpeg", "mpeg2video", "prores_ks"],
    ".webm": [VP9, AV1],
    ".avi": [H264, FFV1, "mpeg4", "mjpeg"],
    ".ts": [H264, H265, "mpeg2video"],
}
SOUNDS = {
    ".mp4": ["aac", "libopus", "libmp3lame", "ac3", None],
    ".mov": ["pcm_s16le", "aac", "ac3", None],
    ".mkv": ["libopus", "flac", "aac", "libmp3lame", "pcm_s16le", None],
    ".webm": ["libopus", None],
    ".avi": ["libmp3lame", "pcm_s16le", None],
    ".ts": ["aac", "libmp3lame", "ac3", None],
}
OUTPUTS = [
    (".mp4", H264), (".mkv", FFV1), (".mov", H265), (".webm", VP9), (".mp4", AV1), (".mkv", H264),
    (".mp4", H265), (".webm", AV1), (".mov", H264), (".mkv", H265), (".mp4", VP9), (".mkv", AV1), (".mkv", VP9),
]  # fmt: skip
B_FRAMES = {H264: 3, "mpeg4": 2, "mpeg2video": 2}  # x265 and the AV1 and VP9 encoders reorder by themselves
FIXED_RATE = {"mpeg4", "mpeg2video"}  # these count whole frames: a variable rate is frames left out
UNSTAMPED = {(".mkv", H264), (".mkv", H265)}  # FFmpeg gives no pts to what Matroska has of these before zero
OFFSETS = ["together", "video late", "audio late", "video before zero"]
STEPS = [1, 2, 7, 1, 1, 33, 2, 3, 3, 5, 1, 4, 20, 1, 6, 2, 2, 9, 1]  # of a variable rate
BASES = [Fraction(1, 90000), Fraction(1, 600), Fraction(1001, 30000), Fraction(1, 12800), Fraction(1, 24)]


@dataclass(frozen=True)
class Case:
    suffix: str
    codec: str
    variable: bool
    base: Fraction
    audio: str | None
    offset: str
    target: str
    to: str

    def __str__(self):
        rate = "vfr" if self.variable else "cfr"
        sound, base = self.audio or "silent", f"{self.base.numerator}:{self.base.denominator}"
        return f"{self.codec}{self.suffix}-{rate}-{base}-{sound}-{self.offset}-{self.to}{self.target}".replace(" ", "_")

    @property
    def pts(self):
        """In `base`; frames of a variable rate stand for at least 2 ms, as Matroska counts milliseconds."""
        step = max(1, round(Fraction(1, 25) / self.base))
        fine = 1 if self.codec in FIXED_RATE else max(1, step // 12)
        pts = [0]
        for index in range(1, FRAMES):
            pts.append(pts[-1] + (STEPS[index - 1] * fine if self.variable else step))
        first = {"video late": round(Fraction(2, 5) / self.base), "video before zero": -3 * step}.get(self.offset, 0)
        return [first + p for p in pts]

    def make(self, folder):
        late = {"audio late": 0.25, "video before zero": -0.05}.get(self.offset, 0.0)
        before = {"avoid_negative_ts": "disabled"} if late < 0 and self.suffix in (".mkv", ".webm") else {}
        return make_clip(
            folder / f"clip{self.suffix}",
            codec=self.codec,
            pix_fmt={"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}.get(self.codec, "yuv420p"),
            pts=self.pts,
            time_base=self.base,
            rate=25,
            b_frames=0 if self.suffix == ".avi" else B_FRAMES.get(self.codec, 0),
            options={"g": "6"} if self.codec in B_FRAMES else {},
            audio=self.audio,
            audio_start=late,
            audio_seconds=1.2,
            container_options=before,
        )


def every_case():
    """Each codec in each container at a constant and at a variable rate; all else goes round, so that all pairs meet."""
    sounds, outputs = {suffix: cycle(names) for suffix, names in SOUNDS.items()}, cycle(OUTPUTS)
    offsets, bases = {suffix: cycle(OFFSETS) for suffix in INPUTS}, cycle(BASES)
    for suffix, codecs in INPUTS.items():
        for codec in codecs:
            for variable in (False, True) if suffix != ".avi" else (False,):
                offset, base = next(offsets[suffix]), next(bases)
                if offset == "video before zero" and (suffix in (".avi", ".ts") or (suffix, codec) in UNSTAMPED):
                    offset = "audio late"  # these have no time before zero
                if suffix == ".avi" or codec in FIXED_RATE:
                    base = Fraction(1, 25)
                if suffix == ".avi" and offset == "video late":
                    offset = "together"
                target, to = next(outputs)
                yield Case(suffix, codec, variable, base, next(sounds[suffix]), offset, target, to)


CASES = list(every_case())


def test_the_matrix_has_every_value_of_every_axis():
    assert len(CASES) == len(set(CASES)) >= 40
    assert {case.offset for case in CASES} == set(OFFSETS)
    assert {(case.target, case.to) for case in CASES} == set(OUTPUTS)
    assert {case.audio for case in CASES} == {name for names in SOUNDS.values() for name in names}
    assert {case.base for case in CASES} == {*BASES, Fraction(1, 25)}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_comes_out_is_the_clip(tmp_path, case):
    source, target = case.make(tmp_path), tmp_path / f"out{case.target}"
    report = identity(source, target, case.to)
    numbers, times = numbered(source)
    # What lies before zero MP4 and MOV hide behind an edit list, which shows the first frame at or after zero.
    hidden = sum(pts < 0 for pts in case.pts) if case.suffix in (".mp4", ".mov") else 0
    assert numbers == list(range(hidden, FRAMES))
    shift = min(0, times[0])  # no container that is written has frames before zero
    if case.suffix == ".avi":  # which counts frames as they are shown; FFmpeg adds the delay of its decoder
        shift = times[0]
    if case.suffix == ".ts":  # whose clock starts anywhere
        shift = times[0] if case.audio is None else min(times[0], start(source, "audio"))
    assert numbered(target)[0] == numbers
    found, due = numbered(target)[1], [time - shift for time in times]
    worst = max(abs(a - b) for a, b in zip(found, due, strict=True))
    exact = case.target in (".mp4", ".mov")
    assert worst <= (0 if exact else MILLISECOND / 2)
    assert not exact or time_base(target) == Fraction(1, time_base(source).denominator)
    if case.audio is None:
        assert report.streams == ()
        return
    (plan,) = report.streams
    if plan.endswith(": copy"):
        assert sound_data(target) == sound_data(source)
        was, now = (start(path, "audio") - first for path, first in ((source, times[0]), (target, found[0])))
        assert abs(now - was) <= MILLISECOND
    assert abs(lag(source, target, later=-shift if case.suffix == ".avi" else 0)) <= 0.00101
    # Behind an edit list up to 80 ms lie hidden, which Matroska lets be heard before the first frame.
    assert abs(len(heard(target)[1]) - len(heard(source)[1])) <= 24000 * 0.085
