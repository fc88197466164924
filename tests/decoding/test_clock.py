"""A clock that starts anywhere is the file's, not the clip's: results begin at zero, and streams keep their distances."""

from fractions import Fraction

import av
import pytest

from dnirender.decoding.open import open_source
from support.clips import _open, frame_number, paint
from support.delivery import identity, numbered, start

FORMATS = {
    ".ts": "mpegts",
    ".mts": "mpegts",
    ".vob": "vob",
    ".mpg": "mpeg",
    ".flv": "flv",
    ".asf": "asf",
    ".mkv": "matroska",
}
VIDEO = {".vob": "mpeg2video", ".mpg": "mpeg2video"}
AUDIO = {".vob": "ac3", ".mpg": "mp2", ".asf": "libmp3lame"}


def make(path, video_start, audio_start, frames=25, form=None, options=None):
    """A second of numbered frames at 25/s from `video_start`, and of sound from `audio_start`, in seconds."""
    with av.open(str(path), "w", format=form or FORMATS[path.suffix], container_options=options or {}) as out:
        video = out.add_stream(VIDEO.get(path.suffix, "libx264"), rate=25, options={"bf": "0", "b": "4000000"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.time_base = Fraction(1, 25)
        tracks = [out.add_stream(AUDIO.get(path.suffix, "aac"), rate=48000)] if audio_start is not None else []
        packets = []
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(paint(number), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(video_start * 25) + number, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None)
        for track in tracks:
            size = track.codec_context.frame_size or 1152
            for number in range(48000 // size):
                frame = av.AudioFrame(track.codec_context.format.name, "stereo", size)
                for plane in frame.planes:
                    plane.update(bytes(plane.buffer_size))
                frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
                frame.pts = round(audio_start * 48000) + number * size
                packets += track.encode(frame)
            packets += track.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux_one(packet)
    return path


def begin(path, kind):
    with _open(path) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        shown = [p.pts for p in container.demux(stream) if p.size and not p.is_discard]
        return min(shown) * Fraction(stream.time_base.numerator, stream.time_base.denominator)


@pytest.mark.parametrize(("clock", "late"), [(36000, Fraction(12, 25)), (2, Fraction(-12, 25)), (36000, 0)])
@pytest.mark.parametrize("suffix", [".ts", ".mts", ".vob", ".mpg", ".flv", ".asf"])
@pytest.mark.parametrize("target", [".mp4", ".mkv"])
def test_the_earliest_stream_begins_at_zero_and_the_other_as_much_later_as_it_was(
    tmp_path, suffix, late, clock, target
):
    clip = make(tmp_path / f"clip{suffix}", clock + max(0, late), clock + max(0, -late))
    between = begin(clip, "video") - begin(clip, "audio")
    assert abs(between - late) < Fraction(7, 100)  # less what the encoder puts in front
    out = tmp_path / f"out{target}"
    identity(clip, out)
    firsts = [begin(out, kind) for kind in ("video", "audio")]
    assert numbered(out)[0] == list(range(25))
    assert 0 <= min(firsts) < Fraction(1, 1000)
    assert abs(firsts[0] - firsts[1] - between) <= Fraction(1, 1000)
    with _open(out) as container:
        assert container.duration / av.time_base < 2


def test_a_late_video_stays_late_also_without_its_sound(tmp_path):
    clip = make(tmp_path / "clip.ts", 10 + Fraction(12, 25), 10)
    late = begin(clip, "video") - begin(clip, "audio")
    identity(clip, tmp_path / "out.mp4", audio=False)
    assert start(tmp_path / "out.mp4", "video") == late


def test_a_cut_begins_at_zero(tmp_path):
    clip = make(tmp_path / "clip.ts", 36000, 36000)
    identity(clip, tmp_path / "out.mp4", start="5", end="20")
    assert numbered(tmp_path / "out.mp4") == (list(range(5, 20)), [Fraction(i, 25) for i in range(15)])


@pytest.mark.parametrize(("first", "shown"), [(Fraction(12, 25), Fraction(12, 25)), (36000, 0)])
@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+delay_moov"}])
def test_elsewhere_a_short_pause_is_meant_and_ten_hours_are_not(tmp_path, first, shown, options):
    clip = make(tmp_path / "clip.mp4", first, None, form="mp4", options=options)
    assert open_source(clip).metadata.seconds[0] == first
    identity(clip, tmp_path / "out.mp4")
    assert numbered(tmp_path / "out.mp4") == (list(range(25)), [shown + Fraction(i, 25) for i in range(25)])


def test_frames_are_where_the_clock_says(tmp_path):
    clip = make(tmp_path / "clip.ts", 36000, None)
    source = open_source(clip)
    assert source.metadata.clock_start == source.metadata.seconds[0] > 35999
    assert [frame_number(frame.image) for frame in source.frames([0, 7, 24])] == [0, 7, 24]
