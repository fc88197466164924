"""Animated images: every frame in order, with its duration, looping forever."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from dnirender.encoding.animation import AnimationSink, apply_palette, make_palette
from dnirender.encoding.sink import FrameTiming
from dnirender.errors import OutputError, UsageError
from support.clips import deliver, frame_number, leftovers, paint

FORMATS = [".gif", ".webp", ".apng"]
TIMES = {
    "15 per second": FrameTiming(tuple(range(12)), Fraction(1, 15), 1),
    "uneven": FrameTiming((0, 10, 35, 38, 90), Fraction(1, 100), 40),
    "start later": FrameTiming((100, 110, 135), Fraction(1, 100), 77),
    "30000/1001": FrameTiming(tuple(range(10)), Fraction(1001, 30000), 1),
}


def write(target, times, size=(96, 64), **options):
    sink = AnimationSink(target, times, **options)
    deliver(sink, (paint(number, size) for number in range(len(times.pts))), target.parent)
    return target.read_bytes()


def gif_blocks(data):
    """(loop count or None, delays in 1/100 s, number of local palettes) read from the bytes."""
    flags, place = data[10], 13
    assert flags & 0x80, "there is no global palette"
    place += 3 << ((flags & 7) + 1)
    loop, delays, local = None, [], 0

    def skip(place):
        while data[place]:
            place += data[place] + 1
        return place + 1

    while data[place] != 0x3B:
        if data[place] == 0x21:
            if data[place + 1] == 0xF9:
                delays.append(int.from_bytes(data[place + 4 : place + 6], "little"))
            if data[place + 1] == 0xFF and data[place + 3 : place + 14] == b"NETSCAPE2.0":
                loop = int.from_bytes(data[place + 16 : place + 18], "little")
            place = skip(place + 2)
        else:
            has_palette = data[place + 9] & 0x80
            local += bool(has_palette)
            place = skip(place + 10 + ((3 << ((data[place + 9] & 7) + 1)) if has_palette else 0) + 1)
    return loop, delays, local


def webp_chunks(data):
    place, chunks = 12, []
    while place < len(data):
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        chunks.append((data[place : place + 4], data[place + 8 : place + 8 + length]))
        place += 8 + length + length % 2
    return chunks


def png_chunks(data):
    place, chunks = 8, []
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def durations(suffix, data):
    """Duration of each frame in seconds, as browsers read it."""
    if suffix == ".gif":
        return [Fraction(delay, 100) for delay in gif_blocks(data)[1]]
    if suffix == ".webp":
        return [
            Fraction(int.from_bytes(body[12:15], "little"), 1000) for name, body in webp_chunks(data) if name == b"ANMF"
        ]
    found = [body[20:24] for name, body in png_chunks(data) if name == b"fcTL"]
    return [Fraction(int.from_bytes(body[:2], "big"), int.from_bytes(body[2:], "big") or 100) for body in found]


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_frame_stands_its_time_and_the_cycle_its_length(tmp_path, suffix, name):
    times = TIMES[name]
    found = durations(suffix, write(tmp_path / f"a{suffix}", times))
    tick = Fraction(1, 100) if suffix == ".gif" else Fraction(1, 1000)
    expected = [times.duration(i) * times.time_base for i in range(len(times.pts))]
    assert len(found) == len(expected)
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= tick
    assert abs(sum(found) - sum(expected)) <= tick / 2  # the rounding does not add up
    assert leftovers(tmp_path) == []


def test_all_loop_forever(tmp_path):
    assert gif_blocks(write(tmp_path / "a.gif", TIMES["uneven"]))[0] == 0
    assert dict(webp_chunks(write(tmp_path / "a.webp", TIMES["uneven"])))[b"ANIM"][4:6] == b"\0\0"
    assert dict(png_chunks(write(tmp_path / "a.apng", TIMES["uneven"])))[b"acTL"][4:8] == b"\0\0\0\0"


@pytest.mark.parametrize("dither", ["none", "bayer", "floyd_steinberg", "sierra2_4a"])
def test_a_gif_has_one_palette_for_the_cycle(tmp_path, dither):
    assert gif_blocks(write(tmp_path / "a.gif", TIMES["15 per second"], dither=dither))[2] == 0


@pytest.mark.parametrize("suffix", [".gif", ".apng"])
@pytest.mark.parametrize("size", [(96, 64), (97, 65), (16, 12)])
def test_pictures_come_in_order_and_in_color(tmp_path, suffix, size):
    write(tmp_path / f"a{suffix}", TIMES["15 per second"], size)
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame_number(image) for image in images] == list(range(12))
    for number, image in enumerate(images):
        assert np.abs(image.astype(int) - paint(number, size)).mean() <= 4


def test_webp_pictures_come_in_order_and_in_color(tmp_path):
    write(tmp_path / "a.webp", TIMES["15 per second"], (97, 65))
    done, frames = cv2.imreadmulti(str(tmp_path / "a.webp"))
    if not done or len(frames) != 12:
        pytest.skip("this OpenCV reads no animated WebP")
    assert [frame_number(frame[..., :3]) for frame in frames] == list(range(12))
    assert np.abs(frames[3][..., 2::-1].astype(int) - paint(3, (97, 65))).mean() <= 4


def test_sixteen_bits_become_eight(tmp_path):
    sink = AnimationSink(tmp_path / "a.apng", FrameTiming((0,), Fraction(1, 10), 1))
    deliver(sink, [paint(3).astype(np.uint16) * 257], tmp_path)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.apng"))[..., ::-1], paint(3))


def test_a_picture_already_on_the_palette_is_unchanged():
    images = [paint(number) for number in range(3)]
    frames = list(apply_palette(iter(images), make_palette(iter(images)), "none"))
    assert [frame.format.name for frame in frames] == ["pal8"] * 3
    for frame, image in zip(frames, images, strict=True):
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - image).max() <= 1


def test_one_palette_serves_a_cycle_that_changes_its_colors():
    y, x = np.mgrid[0:48, 0:64]
    hues = [(255, 40, 40), (40, 255, 40), (40, 40, 255), (255, 255, 60)]
    images = [np.stack([(x + y) * 2.2 * channel / 255 for channel in hue], axis=2).astype(np.uint8) for hue in hues]
    for frame, image in zip(apply_palette(iter(images), make_palette(iter(images)), "none"), images, strict=True):
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - image).mean() < 4


@pytest.mark.parametrize("count", [0, 4, 6])
def test_another_number_of_frames_is_refused(tmp_path, count):
    sink = AnimationSink(tmp_path / "a.gif", TIMES["uneven"])
    with pytest.raises(OutputError, match=f"a.gif: expected 5 frames, got {count}"):
        deliver(sink, map(paint, range(count)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", FORMATS)
def test_pictures_may_come_back(tmp_path, suffix):
    order = [0, 1, 2, 1]
    sink = AnimationSink(tmp_path / f"a{suffix}", FrameTiming((0, 10, 20, 30), Fraction(1, 100), 10), order=order)
    deliver(sink, map(paint, range(3)), tmp_path, segment=2)
    there = AnimationSink(tmp_path / f"b{suffix}", FrameTiming((0, 10, 20, 30), Fraction(1, 100), 10))
    deliver(there, map(paint, order), tmp_path)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_more_frames_than_a_format_can_count_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"^a.gif: gif shows at most 100 frames/s; set fps=100 or lower$"):
        AnimationSink(tmp_path / "a.gif", FrameTiming(tuple(range(5)), Fraction(1, 240), 1))
