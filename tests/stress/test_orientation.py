"""What lies on its side stands upright, and nothing that travels beside the pictures is lost unnamed."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from support.delivery import clips, identity, make_clip, packets

SIGNS = list(itertools.product((-1, 1), repeat=2))
MATRICES = [(a, 0, 0, d) for a, d in SIGNS] + [(0, b, c, 0) for b, c in SIGNS]  # a b c d
WIDTH, HEIGHT = 160, 96


def painted():
    """A picture without any symmetry."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    red, green = 40 + 170 * x / WIDTH, 30 + 160 * y / HEIGHT
    blue = 128 + 90 * np.sin(x / 19 + y * y / 900)
    return np.rint(np.stack([red, green, blue], axis=2)).astype(np.uint8)


def lying(upright, matrix):
    """The picture as it is coded: where the matrix shows coded (x, y) stands the upright (a x + c y, b x + d y)."""
    a, b, c, d = matrix
    y, x = np.mgrid[0 : (HEIGHT if a else WIDTH), 0 : (WIDTH if a else HEIGHT)]
    across, down = a * x + c * y, b * x + d * y
    return upright[down - down.min(), across - across.min()]


def write(path, pictures, matrix, sar=None):
    a, b, c, d = matrix
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], "yuv444p"
        if sar:
            stream.sample_aspect_ratio = sar
        stream.set_display_matrix([v << 16 for v in (a, b, 0, c, d, 0)] + [0, 0, 1 << 30])
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))))
        out.mux(stream.encode(None))
    return path


def psnr(a, b):
    return 10 * np.log10(255**2 / np.square(a.astype(np.float64) - b).mean())


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_every_orientation_comes_upright(tmp_path, matrix, suffix, target):
    pictures = [painted(), painted() // 2]
    source = write(tmp_path / f"clip{suffix}", [lying(picture, matrix) for picture in pictures], matrix, Fraction(4, 3))
    identity(source, tmp_path / f"out{target}", options={"preset": "medium", "crf": "18"})
    with av.open(str(tmp_path / f"out{target}")) as out:
        frames = list(out.decode(video=0))
        assert out.streams.video[0].sample_aspect_ratio == (Fraction(4, 3) if matrix[0] else Fraction(3, 4))
    assert [frame.rotation for frame in frames] == [0, 0]
    assert not any("DISPLAYMATRIX" in frame.side_data for frame in frames)
    for frame, picture in zip(frames, pictures, strict=True):
        assert psnr(frame.to_ndarray(format="rgb24"), picture) >= 35


TEXTS = ((0.04, 0.12, "first line"), (0.2, 0.1, "second: ünï 🎬"))
CHAPTERS = [(0, 0.2, "one"), (0.2, 0.3, "zwei"), (0.3, 0.48, "три")]
FORCED = Disposition.forced
COMMENT = Disposition.comment | Disposition.hearing_impaired


def furnish(folder):
    """A clip with all that Matroska holds: SAR, tags, 3 chapters, 2 sounds, 2 subtitles, a font; odd dispositions."""
    plain = make_clip(
        folder / "plain.mkv",
        sar=Fraction(4, 3),
        matrix=9,
        primaries=9,
        transfer=14,
        full_range=False,
        audio=["aac", "flac"],
        subtitles=True,
        texts=TEXTS,
    )
    path = folder / "clip.mkv"
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        out.metadata.update({"title": "Dusk — сумерки", "artist": "nobody", "comment": "kept"})
        chapters = [
            {"id": i + 7, "start": round(a * 1000), "end": round(b * 1000), "time_base": Fraction(1, 1000)}
            | {"metadata": {"title": title}}
            for i, (a, b, title) in enumerate(CHAPTERS)
        ]
        out.set_chapters(chapters)
        order = [0, 1, 2, 3, 3]  # the subtitle twice
        twins = [out.add_stream_from_template(source.streams[index], opaque=True) for index in order]
        marks = [Disposition.default, COMMENT, Disposition.default, FORCED | Disposition.default, Disposition(0)]
        titles = ["picture", "Kommentar", "ambience", "signs", "dialogue"]
        for twin, mark, title, language in zip(twins, marks, titles, ["und", "deu", "jpn", "fra", "eng"], strict=True):
            twin.disposition = mark
            twin.metadata.update({"title": title, "language": language})
        out.add_attachment("font.ttf", "font/ttf", b"glyphs" * 20)
        for packet in [packet for packet in source.demux() if packet.size]:
            data, index = bytes(packet), packet.stream.index
            for twin in [twin for twin, number in zip(twins, order, strict=True) if number == index]:
                copy = av.Packet(data)
                copy.pts, copy.dts, copy.duration, copy.time_base = (
                    packet.pts,
                    packet.dts,
                    packet.duration,
                    packet.time_base,
                )
                copy.is_keyframe, copy.stream = packet.is_keyframe, twin
                out.mux(copy)
    return path


def inventory(path):
    """What a file says of itself, as far as it outlasts a remux: per stream, per chapter, in all."""
    with clips._open(path) as container:
        streams = [
            (
                stream.type,
                stream.codec_context.name if stream.codec_context and stream.type != "video" else "",
                stream.metadata.get("language", "und"),
                stream.metadata.get("title") or stream.metadata.get("name"),
                Disposition(stream.disposition) & (Disposition.default | FORCED | COMMENT),
            )
            for stream in container.streams
            if stream.type in ("video", "audio", "subtitle")
        ]
        chapters = [
            (float(c["start"] * clips._exact(c["time_base"])), c["metadata"].get("title")) for c in container.chapters()
        ]
        tags = {key.lower(): value for key, value in container.metadata.items()}
        video = container.streams.video[0]
        frame = next(container.decode(video))
        context = video.codec_context
        picture = [
            clips._exact(video.sample_aspect_ratio),
            int(frame.colorspace),
            int(frame.color_range),
            int(context.color_primaries),
            int(context.color_trc),
        ]
        attachments = [
            (s.metadata.get("filename"), s.metadata.get("mimetype"), bytes(s.data))
            for s in container.streams
            if s.type == "attachment"
        ]
    return streams, chapters, tags, picture, attachments


def test_matroska_to_matroska_loses_nothing(tmp_path):
    source = furnish(tmp_path)
    report = identity(source, tmp_path / "out.mkv")
    before, after = inventory(source), inventory(tmp_path / "out.mkv")
    assert [line.split(": ")[1] for line in report.streams] == ["copy"] * 5
    assert len(before[0]) == 5 and len(before[1]) == 3 and len(before[4]) == 1
    assert after[0] == before[0]
    assert after[1] == before[1] == [(a, title) for a, _, title in CHAPTERS]
    assert {key: after[2].get(key) for key in ("title", "artist", "comment")} == {
        key: before[2][key] for key in ("title", "artist", "comment")
    }
    assert after[3] == before[3] == [Fraction(4, 3), 9, 1, 9, 14]
    assert after[4] == before[4]
    for kind in ("audio", "subtitle"):
        for index in (0, 1):
            assert packets(tmp_path / "out.mkv", kind, index) == packets(source, kind, index)


def test_mp4_keeps_what_it_can_and_names_the_rest(tmp_path):
    source = furnish(tmp_path)
    report = identity(source, tmp_path / "out.mp4")
    before, after = inventory(source), inventory(tmp_path / "out.mp4")
    assert list(report.streams) == [
        "audio #1 (aac): copy",
        "audio #2 (flac): copy",
        "subtitle #3 (srt): transcode to mov_text (mp4 does not support srt)",
        "subtitle #4 (srt): transcode to mov_text (mp4 does not support srt)",
        "attachment #5 (font.ttf): drop (mp4 does not support attachments)",
    ]
    assert set(report.streams[2:]) <= set(report.warnings)
    assert [line[:1] + line[2:] for line in after[0]] == [line[:1] + line[2:] for line in before[0]]
    assert after[1] == before[1]
    assert (after[2]["title"], after[2]["artist"], after[2]["comment"]) == ("Dusk — сумерки", "nobody", "kept")
    assert after[3] == before[3]
    identity(tmp_path / "out.mp4", tmp_path / "again.mp4")
    assert inventory(tmp_path / "again.mp4")[:4] == after[:4]
    for index in (0, 1):
        words = [data[2:].decode() for _, data in packets(tmp_path / "out.mp4", "subtitle", index) if data[2:]]
        assert words == [text for _, _, text in TEXTS]
