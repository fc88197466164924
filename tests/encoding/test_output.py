"""Laws of opening an output: what it chooses, what it says is lost, and what it refuses before the first frame."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from dnirender.decoding.open import open_source
from dnirender.encoding.output import COPIES, PNG, OutputRequest, open_output
from dnirender.encoding.sink import FrameTiming
from dnirender.errors import OutputError, UsageError
from dnirender.preset import Encoding
from support.clips import decoded, frame_number, leftovers, paint


@pytest.fixture
def source(clip):
    return open_source(clip).metadata


def request_of(source, target, size=(96, 64), count=3, **changes):
    settings = Encoding(**changes.pop("settings", {}))
    timing = FrameTiming(tuple(range(count)), Fraction(1, 25), 1)
    return OutputRequest(target, size, source.opacity, source, timing, range(count), settings, **changes)


def write(output, folder, numbers, each=2):
    """Encodes frames in segments of `each`, and renames the result to its target."""
    paths = []
    for start in range(0, len(numbers), each):
        paths.append(folder / f"{start}.part")
        with output.open_segment(paths[-1]) as encode:
            for place in range(start, min(start + each, len(numbers))):
                encode(place, output.convert(paint(numbers[place], output.request.size)))
    files = output.finalize(paths, folder)
    for file, target in files:
        file.replace(target)
    return [target for _, target in files]


@pytest.mark.parametrize(
    ("name", "settings", "codec", "size"),
    [
        ("out.mp4", {}, "libx264", (98, 66)),
        ("out.webm", {}, "libvpx-vp9", (97, 65)),
        ("out.mkv", {"codec": "ffv1"}, "ffv1", (97, 65)),
        ("out.mp4", {"pix_fmt": "yuv444p"}, "libx264", (97, 65)),
        ("out.gif", {}, "gif", (97, 65)),
        ("f%d.png", {}, "png", (97, 65)),
        ("f%d.jpg", {}, "jpg", (97, 65)),
    ],
)
def test_the_format_decides_on_codec_and_size(tmp_path, source, name, settings, codec, size):
    output = open_output(request_of(source, tmp_path / name, (97, 65), settings=settings))
    assert (output.codec, output.size) == (codec, size)
    assert any(f"{name}: {codec} with" in warning for warning in output.warnings) == (size != (97, 65))
    assert not output.losses


@pytest.mark.parametrize(("name", "side"), [("a.jpg", 65500), ("a.webp", 16383)])
def test_a_picture_that_its_format_cannot_hold_is_refused_before_the_first_frame(tmp_path, source, name, side):
    assert open_output(request_of(source, tmp_path / name, (side, 8), count=1)).size == (side, 8)
    with pytest.raises(UsageError, match=f"at most {side} pixels, got 8x{side + 1}; choose png"):
        open_output(request_of(source, tmp_path / name, (8, side + 1), count=1))
    open_output(request_of(source, tmp_path / "a.png", (8, side + 1), count=1))


@pytest.mark.parametrize("name", ["out.mkv", "out.gif", "f%d.png"])
def test_what_is_encoded_in_segments_is_the_output(tmp_path, source, name):
    output = open_output(request_of(source, tmp_path / name, settings={"codec": "ffv1"}))
    targets = write(output, tmp_path, [5, 3, 9])
    frames = [image for target in targets for _, image in decoded(target)]
    assert [frame_number(image) for image in frames] == [5, 3, 9]


def test_a_boomerang_shows_frames_again(tmp_path, source):
    request = request_of(source, tmp_path / "out.mkv", count=4, settings={"codec": "ffv1"}, boomerang=True)
    (target,) = write(open_output(replace(request, order=[0, 1, 2, 1])), tmp_path, [5, 3, 9])
    assert [frame_number(image) for _, image in decoded(target)] == [5, 3, 9, 3]


def test_what_the_format_cannot_hold_is_lost_by_name(tmp_path, source):
    clear = replace(source, opacity=True)
    assert open_output(request_of(clear, tmp_path / "a.mp4")).losses == ("a.mp4: transparency is dropped",)
    assert not open_output(request_of(clear, tmp_path / "a.webm")).losses
    panels = replace(request_of(clear, tmp_path / "a.gif"), has_opacity=False)
    assert open_output(panels).losses == ("a.gif: transparency is dropped",)
    wide = replace(source, sample_aspect_ratio=Fraction(4, 3))
    assert not open_output(request_of(wide, tmp_path / "a.mp4")).losses
    request = request_of(wide, tmp_path / "a.mkv", settings={"codec": "ffv1"})
    assert open_output(request).losses == ("a.mkv: ffv1 does not store the pixel aspect ratio 4/3 in this container",)


def test_the_estimate_follows_size_number_and_format(tmp_path, source):
    def estimate(name, **changes):
        return open_output(request_of(source, tmp_path / name, **changes)).estimated_bytes

    assert estimate("a.mp4", count=30) == pytest.approx(10 * estimate("a.mp4"), abs=10)
    assert estimate("a.mp4", boomerang=True) == estimate("a.gif") == round(96 * 64 * 3 * COPIES * PNG)
    assert estimate("a.mp4") < estimate("a.mkv", settings={"codec": "ffv1"}) < estimate("f%d.png")


@pytest.mark.parametrize(
    ("codec", "crfs"), [("libx264", (1, 10, 17, 28)), ("libx265", (5, 20)), ("libvpx-vp9", (10, 30))]
)
def test_the_estimate_follows_the_quality(tmp_path, source, codec, crfs):
    def estimate(**settings):
        return open_output(
            request_of(source, tmp_path / "a.mkv", settings={"codec": codec, **settings})
        ).estimated_bytes

    by_crf = [estimate(crf=crf) for crf in crfs]
    assert by_crf == [estimate(options={"crf": str(crf)}) for crf in crfs]
    for (low, more), (high, less) in itertools.pairwise(zip(crfs, by_crf, strict=True)):
        assert 2 ** ((high - low) / 12) < more / less < 2 ** ((high - low) / 4)
    if codec != "libvpx-vp9":
        assert estimate(options={"qp": str(crfs[0])}) == by_crf[0]


@pytest.mark.parametrize(("rate", "bits"), [("8M", 8e6), ("800k", 8e5), ("500000", 5e5)])
def test_the_estimate_follows_the_bit_rate(tmp_path, source, rate, bits):
    request = request_of(source, tmp_path / "a.mp4", count=50, settings={"options": {"b": rate}})
    assert open_output(request).estimated_bytes == COPIES * bits / 8 * 2


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("a.mp4", {"codec": "h263x"}, "codec='h263x': unknown encoder"),
        ("a.webm", {"codec": "libx264"}, "codec='libx264': webm does not support it"),
        ("a.mp4", {"options": {"preset": "sloow"}}, "codec='libx264': cannot encode 96x64"),
    ],
)
def test_settings_that_do_not_work_are_refused_when_it_is_opened(tmp_path, source, name, settings, message):
    with pytest.raises(UsageError, match=message):
        open_output(request_of(source, tmp_path / name, settings=settings))
    assert not list(tmp_path.glob("a.*"))


def test_a_segment_that_fails_and_an_output_that_is_not_published_leave_no_file(tmp_path, source):
    output = open_output(request_of(source, tmp_path / "out.mkv", settings={"codec": "ffv1"}))
    with pytest.raises(KeyError), output.open_segment(tmp_path / "0.part") as encode:
        encode(0, output.convert(paint(0, (96, 64))))
        raise KeyError
    assert not leftovers(tmp_path)
    with pytest.raises(OutputError, match="expected 3 frames, got 2"):
        write(output, tmp_path, [0, 1])
    assert not list(tmp_path.glob("joined*"))


def test_a_corrupt_segment_is_removed_so_that_it_is_rendered_again(tmp_path, source):
    output = open_output(request_of(source, tmp_path / "f%d.png"))
    with output.open_segment(tmp_path / "0.part") as encode:
        for number in range(3):
            encode(number, np.zeros((64, 96, 3), np.uint8))
    data = bytearray((tmp_path / "0.part").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "0.part").write_bytes(data)
    with pytest.raises(OutputError, match="corrupt"):
        output.finalize([tmp_path / "0.part"], tmp_path)
    assert not (tmp_path / "0.part").exists()
