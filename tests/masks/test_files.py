"""Laws of masks from files: the mask of a frame is the one that the rules name, and what does not fit is refused."""

import cv2
import numpy as np
import pytest

from dnirender.decoding.open import open_source
from dnirender.errors import MediaError, UsageError
from dnirender.masks.files import ArrayMask, open_mask
from support.clips import frame_number, make_clip


def metadata(folder, frames=12, rate=25, size=(96, 64)):
    return open_source(make_clip(folder / f"clip{frames}.mkv", frames=frames, rate=rate, size=size)).metadata


def numbers(mask, indices):
    return [frame_number((plane * 255).astype(np.uint8)) for plane in mask.masks(indices)]


def write(path, image):
    cv2.imwrite(str(path), image)
    return str(path)


def test_a_clip_of_as_many_frames_masks_frame_by_frame_at_any_rate(tmp_path):
    clip = metadata(tmp_path)
    mask = open_mask("mask", str(make_clip(tmp_path / "m.mkv", frames=12, rate=10)), "auto", clip)
    assert numbers(mask, [0, 3, 3, 11]) == [0, 3, 3, 11] and not mask.warning


def test_another_clip_is_shown_by_time(tmp_path):
    clip = metadata(tmp_path)
    slow = open_mask("mask", str(make_clip(tmp_path / "slow.mkv", frames=6, rate=12.5)), "auto", clip)
    assert numbers(slow, range(12)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5] and not slow.warning
    long = open_mask("mask", str(make_clip(tmp_path / "long.mkv", frames=40)), "auto", clip)
    assert numbers(long, [0, 5, 11]) == [0, 5, 11] and not long.warning
    short = open_mask("mask", str(make_clip(tmp_path / "short.mkv", frames=5)), "auto", clip)
    assert numbers(short, [0, 4, 5, 11]) == [0, 4, 4, 4]
    assert short.warning == "short.mkv: this mask lasts 0.20 s and the clip 0.48 s; its last frame stays"


def test_a_picture_masks_every_frame_and_a_sequence_frame_by_frame(tmp_path):
    clip = metadata(tmp_path, 4)
    for number in (1, 2, 3):
        write(tmp_path / f"s_{number:02d}.png", np.full((64, 96), 60 * number, np.uint8))
    picture = open_mask("mask", str(tmp_path / "s_01.png"), "auto", clip)
    assert [float(plane[0, 0]) * 255 for plane in picture.masks(range(4))] == pytest.approx([60] * 4)
    sequence = open_mask("mask", str(tmp_path / "s_%02d.png"), "auto", clip)
    assert [round(float(plane[0, 0]) * 255) for plane in sequence.masks([0, 1, 1, 3])] == [60, 120, 120, 180]
    assert sequence.warning == "s_%02d.png: this mask has 3 pictures and the clip 4 frames; the last one stays"


def test_alpha_is_the_mask_where_there_is_one_unless_gray_is_asked_for(tmp_path):
    clip = metadata(tmp_path, 2)
    rgba = np.zeros((64, 96, 4), np.uint8)
    rgba[..., :3], rgba[:, :48, 3] = 255, 204
    path = write(tmp_path / "a.png", rgba)
    for channel, left, right in (("auto", 0.8, 0), ("alpha", 0.8, 0), ("gray", 1, 1)):
        (plane,) = open_mask("mask", path, channel, clip).masks([1])
        assert plane[0, 0] == pytest.approx(left) and plane[0, -1] == right
    plain = write(tmp_path / "b.png", rgba[..., :3])
    with pytest.raises(UsageError, match=r"mask=.*b\.png': expected an alpha channel, got none; mask_channel='gray'"):
        open_mask("mask", plain, "alpha", clip)


def test_another_size_fits_and_another_shape_is_refused(tmp_path):
    clip = metadata(tmp_path, 2)
    open_mask("mask", write(tmp_path / "double.png", np.zeros((128, 192), np.uint8)), "auto", clip)
    square = write(tmp_path / "square.png", np.zeros((64, 64), np.uint8))
    with pytest.raises(UsageError, match=r"mask: square\.png is 64x64 and the clip 96x64; expected one size, or one"):
        open_mask("mask", square, "auto", clip)


def test_what_is_not_there_or_no_mask_is_refused(tmp_path):
    clip = metadata(tmp_path, 2)
    with pytest.raises(MediaError, match=r"nothing\.png: no such file"):
        open_mask("mask", str(tmp_path / "nothing.png"), "auto", clip)
    with pytest.raises(MediaError, match=r"n_%03d\.png: no such file, neither with number 0 nor with 1"):
        open_mask("mask", str(tmp_path / "n_%03d.png"), "auto", clip)
    with pytest.raises(UsageError, match=r"expected one number in the pattern, as in mask_%04d\.png"):
        open_mask("mask", str(tmp_path / "n_%d_%d.png"), "auto", clip)


def test_arrays_are_checked(tmp_path):
    clip = metadata(tmp_path, 3)
    half = np.zeros((64, 96), np.float64)
    half[:, 48:] = 0.5
    assert ArrayMask("mask", half, clip).mask(2)[0, -1] == 0.5
    assert ArrayMask("mask", np.stack([half, half * 2, half]) > 0.6, clip).mask(1)[0, -1] == 1
    assert ArrayMask("mask", np.full((64, 96), 51, np.uint8), clip).mask(0)[0, 0] == pytest.approx(0.2)
    for array, message in (
        (np.zeros((64, 96, 3, 1)), r"expected an array \[h, w\] or \[n, h, w\], got shape \[64, 96, 3, 1\]"),
        ([0, 1], "got list"),
        (half.astype(np.int64), "expected float in 0..1, bool or uint8, got int64"),
        (half * 4, "expected values in 0..1, got 0 to 2"),
        (half * np.nan, "expected values in 0..1, got nan"),
        (np.zeros((2, 64, 96)), "expected 3 masks, one for each frame, got 2"),
        (np.zeros((64, 64)), "the array is 64x64 and the clip 96x64"),
    ):
        with pytest.raises(UsageError, match=f"^mask: .*{message}"):
            ArrayMask("mask", array, clip)
    with pytest.raises(UsageError, match="expected a mask for frame 3, got 3 masks"):
        ArrayMask("mask", np.zeros((3, 64, 96)), None).mask(3)


def test_identities_tell_contents_apart(tmp_path):
    clip = metadata(tmp_path, 2)
    one = write(tmp_path / "one.png", np.zeros((64, 96), np.uint8))
    other = write(tmp_path / "other.png", np.full((64, 96), 7, np.uint8))
    found = {open_mask("mask", path, "auto", clip).identity for path in (one, other, one)}
    assert len(found) == 2
    assert ArrayMask("mask", np.zeros((64, 96)), None).identity != ArrayMask("mask", np.ones((64, 96)), None).identity
