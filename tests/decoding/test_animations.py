"""Animated WebP, PNG and GIF are read with their times, by what they are and not by what they are called."""

import struct
from fractions import Fraction

import cv2
import numpy as np
import pytest

from dnirender.decoding.open import open_source
from dnirender.encoding.animation import AnimationSink
from dnirender.encoding.sink import FrameTiming
from dnirender.errors import MediaError
from dnirender.media.image_files import is_animated, is_still
from dnirender.media.images import write_png
from support.clips import deliver, frame_number, paint
from support.delivery import identity, numbered

PTS, LAST = (0, 100, 250, 260, 900), 40  # milliseconds
SECONDS = tuple(Fraction(pts, 1000) for pts in PTS)


def animation(path, images=None):
    """Frames 0 to 4 at PTS, as this program writes them."""
    times = FrameTiming(PTS, Fraction(1, 1000), LAST)
    return deliver(AnimationSink(path, times), images or map(paint, range(len(PTS))), path.parent)[0]


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def webp(path, size, frames, extra=b""):
    """An animation of (image RGBA or RGB, x, y, flags) on a canvas of `size`, each shown for 40 ms."""
    body = b""
    for image, x, y, flags in frames:
        order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
        data = cv2.imencode(".webp", cv2.cvtColor(image, order), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()[12:]
        if data[:4] == b"VP8X":
            data = data[18:]
        numbers = (x // 2, y // 2, image.shape[1] - 1, image.shape[0] - 1, 40)
        body += chunk(b"ANMF", b"".join(n.to_bytes(3, "little") for n in numbers) + bytes([flags]) + data)
    head = chunk(b"VP8X", bytes([0x12, 0, 0, 0]) + b"".join((side - 1).to_bytes(3, "little") for side in size))
    content = b"WEBP" + head + extra + chunk(b"ANIM", bytes(6)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)
    return path


@pytest.mark.parametrize("made", [".webp", ".apng", ".gif"])
@pytest.mark.parametrize("called", [".webp", ".apng", ".png", ".gif", ".jpg"])
def test_an_animation_is_read_with_its_times_whatever_it_is_called(tmp_path, made, called):
    path = animation(tmp_path / f"made{made}").rename(tmp_path / f"clip{called}")
    source = open_source(path)
    assert source.metadata.seconds == SECONDS
    assert source.metadata.last_duration * source.metadata.time_base == Fraction(LAST, 1000)
    assert [frame_number(frame.image) for frame in source.frames(range(5))] == list(range(5))
    assert [frame_number(frame.image) for frame in open_source(path).frames([2, 4])] == [2, 4]
    assert not source.metadata.still and not source.metadata.opacity
    assert is_animated(path) and not is_still(path)


@pytest.mark.parametrize("name", ["clip.webp", "clip.png", "clip.gif"])
def test_an_animation_is_rendered_to_a_video(tmp_path, name):
    suffix = {".png": ".apng"}.get(name[-4:], name[name.index(".") :])
    path = animation(tmp_path / f"made{suffix}").rename(tmp_path / name)
    report = identity(path, tmp_path / "out.mp4")
    assert numbered(tmp_path / "out.mp4") == (list(range(5)), list(SECONDS))
    assert report.streams == () and not report.warnings


def test_a_still_stays_a_still(tmp_path):
    write_png(tmp_path / "a.png", paint(1))
    cv2.imwrite(str(tmp_path / "a.webp"), paint(1))
    for name in ("a.png", "a.webp"):
        assert is_still(tmp_path / name)
        assert len(open_source(tmp_path / name, still_frames=3).metadata.pts) == 3


@pytest.mark.parametrize("profile", [0, 5000])
def test_the_mark_of_an_animation_is_found_behind_other_chunks(tmp_path, profile):
    path = animation(tmp_path / "a.apng")
    data = path.read_bytes()
    text = struct.pack(">I", profile) + b"iCCP" + b"x" * profile + bytes(4)
    (tmp_path / "a.png").write_bytes(data[:33] + text + data[33:])
    assert is_animated(tmp_path / "a.png")
    webp(tmp_path / "a.webp", (96, 64), [(paint(0), 0, 0, 0), (paint(1), 0, 0, 0)], chunk(b"ICCP", bytes(profile)))
    source = open_source(tmp_path / "a.webp")
    assert [frame_number(frame.image) for frame in source.frames(range(2))] == [0, 1]


@pytest.mark.parametrize("seed", range(6))
def test_parts_are_drawn_over_one_another_as_libwebp_does(tmp_path, seed):
    random = np.random.default_rng(seed)
    frames = []
    for _ in range(8):
        x, y = 2 * random.integers(0, 20, 2)
        image = random.integers(0, 256, (random.integers(1, 24), random.integers(1, 24), 4), np.uint8)
        image[..., 3] = random.choice([0, 90, 255], image.shape[:2])
        frames.append((image, int(x), int(y), int(random.integers(0, 4))))
    path = webp(tmp_path / "a.webp", (64, 64), frames)
    _, oracle = cv2.imreadanimation(str(path))
    source = open_source(path)
    assert source.metadata.opacity
    found = list(source.frames(range(8)))
    assert len(oracle.frames) == 8
    for frame, expected in zip(found, oracle.frames, strict=True):
        assert abs(frame.opacity.astype(int) - expected[..., 3]).max() <= 1
        shown = expected[..., 3:] > 0
        assert (abs(frame.image[..., ::-1].astype(int) - expected[..., :3]) * shown).max() <= 3


def test_a_frame_without_a_duration_is_shown_for_a_tenth_of_a_second(tmp_path):
    path = webp(tmp_path / "a.webp", (96, 64), [(paint(0), 0, 0, 0), (paint(1), 0, 0, 0)])
    data = path.read_bytes()
    at = data.index(b"ANMF") + 8 + 12
    path.write_bytes(data[:at] + bytes(3) + data[at + 3 :])
    assert open_source(path).metadata.seconds == (0, Fraction(1, 10))


def test_damage_is_told(tmp_path):
    path = webp(tmp_path / "a.webp", (96, 64), [(paint(i), 0, 0, 0) for i in range(4)])
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    with pytest.raises(MediaError, match=r"is cut off: 3 complete frame\(s\) are there; ignore_errors=True"):
        open_source(path)
    source = open_source(path, ignore_errors=True)
    assert len(source.metadata.pts) == 3 and "is cut off; 3 frame(s)" in source.metadata.warnings[0]
    third = data.index(b"VP8L", data.index(b"ANMF", data.index(b"ANMF", data.index(b"ANMF") + 4) + 4))
    path.write_bytes(data[: third + 8] + bytes(12) + data[third + 20 :])
    with pytest.raises(MediaError, match="damaged: frame 2 of 4 cannot be decoded"):
        list(open_source(path).frames(range(4)))
    source = open_source(path, ignore_errors=True)
    assert [frame_number(frame.image) for frame in source.frames(range(4))] == [0, 1, 1, 3]
    assert source.concealed_frames == {2}


def test_a_canvas_that_is_too_large_or_too_small_is_refused(tmp_path):
    with pytest.raises(MediaError, match="declares 16000x16000 pixels"):
        open_source(webp(tmp_path / "a.webp", (16000, 16000), [(paint(0), 0, 0, 0)]))
    with pytest.raises(MediaError, match="damaged"):
        open_source(webp(tmp_path / "b.webp", (90, 64), [(paint(0), 0, 0, 0)]))


def test_what_is_not_read_is_answered_with_what_is(tmp_path):
    (tmp_path / "a.xyz").write_bytes(bytes(2000))
    with pytest.raises(MediaError, match="readable are MP4, MOV, .*GIF, and PNG, WebP"):
        open_source(tmp_path / "a.xyz")
