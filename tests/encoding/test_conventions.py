"""What the field expects of a file and FFmpeg does not do by itself: tags, the index in front, colors, clear refusals."""

from fractions import Fraction

import numpy as np
import pytest

from dnirender.decoding.open import open_source
from dnirender.encoding.encoders import (
    VideoSpec,
    check_container,
    check_encoder,
    choose_pix_fmt,
    encodable_color,
    encoder_options,
)
from dnirender.errors import UsageError
from dnirender.media.colorspace import ColorSpec
from dnirender.media.truncation import boxes
from support.clips import _open, decoded, frame_number, make_clip
from support.delivery import FAST, identity

COLORS = [ColorSpec(6, False), ColorSpec(1, False), ColorSpec(9, False), ColorSpec(1, True)]


def spec_of(codec, color=COLORS[0], size=(256, 144), depth=8, pix_fmt=None, **options):
    pix_fmt = choose_pix_fmt(codec, (2, 2), depth, pix_fmt)
    merged = encoder_options(codec, None, FAST.get(codec, {}) | options, pix_fmt)
    return VideoSpec(codec, pix_fmt, *size, encodable_color(codec, color), Fraction(1), merged, Fraction(25))


def top_level(path):
    with path.open("rb") as file:
        return [kind for kind, *_ in boxes(file, 0, path.stat().st_size)]


@pytest.mark.parametrize(
    ("suffix", "codec", "tag"),
    [
        (".mp4", "libx265", "hvc1"),
        (".mov", "libx265", "hvc1"),
        (".m4v", "libx265", "hvc1"),
        (".mp4", "libx264", "avc1"),
    ],
)
def test_mp4_and_mov_have_the_tag_that_players_open_and_their_index_in_front(tmp_path, suffix, codec, tag):
    clip = make_clip(tmp_path / "clip.mp4", audio=True)
    target = tmp_path / f"out{suffix}"
    identity(clip, target, codec, options=FAST[codec])
    kinds = top_level(target)
    assert kinds.index(b"moov") < kinds.index(b"mdat")
    with _open(target) as container:
        assert container.streams.video[0].codec_context.codec_tag == tag
    assert [frame_number(image) for _, image in decoded(target)] == list(range(12))


def test_an_edit_list_that_hides_priming_does_not_move_the_index(tmp_path):
    identity(make_clip(tmp_path / "clip.mkv", audio="libopus"), tmp_path / "out.mp4")
    assert top_level(tmp_path / "out.mp4").index(b"moov") < top_level(tmp_path / "out.mp4").index(b"mdat")


@pytest.mark.parametrize("matrix", [6, 1, 9])
@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("dnxhd", ".mov"), ("mjpeg", ".mov"), ("mpeg4", ".mp4"), ("prores_ks", ".mov"), ("v210", ".mov")],
)
def test_colors_come_back_from_codecs_that_do_not_store_their_matrix(tmp_path, codec, suffix, matrix):
    tags = {"matrix": matrix, "primaries": matrix, "transfer": 1}
    clip = make_clip(tmp_path / "clip.mkv", size=(256, 144), codec="ffv1", pix_fmt="yuv444p", frames=2, **tags)
    options = {"b": "50000000"} if codec in ("mpeg4", "mjpeg") else {}
    target = tmp_path / f"out{suffix}"
    report = identity(clip, target, codec, options=options)
    before = [frame.image.astype(float) for frame in open_source(clip).frames(range(2))]
    after = [
        frame.image.astype(float) / (257 if frame.image.dtype == np.uint16 else 1)
        for frame in open_source(target).frames(range(2))
    ]
    errors = abs(np.stack(before) - np.stack(after)).reshape(-1, 3)
    assert np.median(errors, axis=0).max() <= 2  # away from the edges, where chroma is halved
    told = any("players assume" in text for text in report.warnings)
    assert told == {"dnxhd": matrix != 1, "mjpeg": True, "prores_ks": False}.get(codec, told)


def test_a_single_frame_of_an_encoder_that_reorders_is_enough_for_a_trial():
    for _ in range(20):  # x265's dts is whatever lay in memory
        assert check_container(spec_of("libx265", size=(96, 64)), "mp4") == COLORS[0]


@pytest.mark.parametrize("color", COLORS, ids=str)
def test_codecs_that_store_it_keep_their_color(color):
    assert check_container(spec_of("libx264", color), "mp4") == color
    assert check_container(spec_of("libx264", color), "matroska") == color


def test_dnxhr_is_bt709_by_definition():
    assert check_container(spec_of("dnxhd", ColorSpec(6, False)), "mov") == ColorSpec(1, False)
    assert spec_of("dnxhd").options["profile"] == "dnxhr_hq"
    assert spec_of("dnxhd", depth=10).options["profile"] == "dnxhr_hqx"
    assert "profile" not in encoder_options("dnxhd", None, {"b": "36M"}, "yuv422p")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (lambda: spec_of("dnxhd", size=(192, 108)), "at least 256x120"),
        (lambda: spec_of("dnxhd", profile="dnxhr_hqx", pix_fmt="yuv422p"), "pixel format is incompatible"),
        (lambda: spec_of("dnxhd", b="36000000"), "incompatible with DNxHD"),
        (lambda: spec_of("libx264", size=(95, 64)), "width not divisible by 2"),
        (lambda: spec_of("libx264", profile="nonsense"), "profile nonsense"),
        (lambda: spec_of("prores_ks", pix_fmt="yuv420p"), "supports yuv422p10le"),
    ],
)
def test_a_refusal_names_what_the_encoder_asks_for(spec, reason):
    for _ in range(2):  # FFmpeg does not repeat itself unless it is told to
        with pytest.raises(UsageError) as caught:
            check_encoder(spec())
        assert reason in str(caught.value)


def test_a_container_says_why_it_does_not_take_a_codec():
    with pytest.raises(UsageError, match=r"mov does not support it; .*av1 only supported in MP4 and AVIF"):
        check_container(spec_of("libsvtav1"), "mov")
