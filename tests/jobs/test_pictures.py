"""Laws of a render of one frame: it is one picture, under the name that was asked for or beside the photograph."""

import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from dnirender import Timeline, UsageError, render
from dnirender.cli.main import main
from dnirender.decoding.open import open_source
from dnirender.encoding.image_record import append_record, read_record
from dnirender.encoding.image_sequence import FORMATS, numbered_path
from dnirender.jobs.job import make_job
from dnirender.jobs.prepare import plan_unless_rendered
from dnirender.jobs.verify import verify
from dnirender.media.color_profile import read_profile, with_profile
from dnirender.media.images import encode_image, read_image, write_png
from support.clips import frame_number, leftovers, make_clip, paint, preset_of

SUFFIXES = [".png", ".jpg", ".jpeg", ".webp"]


@pytest.fixture
def photo(tmp_path):
    write_png(tmp_path / "photo.png", paint(7))
    return tmp_path / "photo.png"


@pytest.fixture
def here(tmp_path, photo, endpoints, monkeypatch):
    """A folder with photo.png, clip.mp4, day.safetensors and night.safetensors that is the current one."""
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mp4")
    return tmp_path


MODELS = ["-m", "day=day.safetensors", "-m", "night=night.safetensors", "--no-progress"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_photograph_under_one_value_is_a_picture_of_its_size(tmp_path, photo, endpoints, suffix):
    preset = preset_of(endpoints, animation={"width": 48})
    report = render(photo, tmp_path / f"out{suffix}", preset=preset, keyframes="0:night", dtype="fp32")
    pattern = render(photo, tmp_path / "n%d.png", preset=preset, keyframes="0:night", dtype="fp32")
    image, expected = read_image(tmp_path / f"out{suffix}")[0], read_image(tmp_path / "n0.png")[0]
    assert report.frames == pattern.frames == 1
    assert image.shape == (64, 96, 3) and frame_number(image) == 7
    assert np.array_equal(
        image, cv2.imdecode(np.frombuffer(encode_image(expected, FORMATS[suffix]), np.uint8), 1)[..., ::-1]
    )
    assert np.abs(image.astype(int) - expected).mean() <= {".png": 0, ".webp": 3}.get(suffix, 1)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_png_has_sixteen_bits_where_its_source_has(tmp_path, endpoints, suffix):
    values = np.linspace(0, 65535, 64 * 96 * 3).astype(np.uint16).reshape(64, 96, 3)
    write_png(tmp_path / "deep.png", values)
    render(tmp_path / "deep.png", tmp_path / f"out{suffix}", preset=preset_of(endpoints), keyframes="0:0", dtype="fp32")
    image = read_image(tmp_path / f"out{suffix}")[0]
    assert image.dtype == (np.uint16 if suffix == ".png" else np.uint8)
    assert suffix != ".png" or np.abs(image.astype(int) - values).max() <= 1


def test_a_jpeg_keeps_the_sharpness_of_colors():
    columns = np.arange(96) % 2 == 0
    image = np.where(columns[None, :, None], (255, 0, 0), (0, 0, 255)).astype(np.uint8).repeat(64, 0)
    data = np.frombuffer(encode_image(image, ".jpg"), np.uint8)
    found = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(found.astype(int) - image).mean() < 4


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_frame_of_a_clip_is_the_one_that_was_selected(tmp_path, clip, endpoints, suffix):
    render(clip, tmp_path / f"out{suffix}", preset=preset_of(endpoints), start=5, end=6)
    assert frame_number(read_image(tmp_path / f"out{suffix}")[0]) == 5


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg"])
def test_more_frames_are_counted_and_refused(tmp_path, photo, clip, endpoints, suffix):
    preset, target = preset_of(endpoints), tmp_path / f"out{suffix}"
    with pytest.raises(UsageError) as caught:
        render(photo, target, preset=preset, keyframes="0:0,24:1")
    assert "the keyframes make 25; a constant value, such as keyframes='0:night', makes one" in str(caught.value)
    with pytest.raises(UsageError) as caught:
        render(clip, target, preset=preset, start=3)
    assert "the range has 9; start=3 end=4 selects one" in str(caught.value)
    assert f"frame_%04d{suffix} holds all" in str(caught.value)
    assert not target.exists() and leftovers(tmp_path) == []


def test_numbered_jpegs(tmp_path, clip, endpoints):
    render(clip, tmp_path / "f_%03d.jpg", preset=preset_of(endpoints), end=3)
    made = sorted(tmp_path.glob("f_*"))
    assert [path.name for path in made] == ["f_000.jpg", "f_001.jpg", "f_002.jpg"]
    assert [frame_number(read_image(path)[0]) for path in made] == [0, 1, 2]
    assert all(path.read_bytes()[:3] == b"\xff\xd8\xff" for path in made)
    assert all(check.good for check in verify(tmp_path / "f_%03d.jpg"))


@pytest.mark.parametrize("name", ["100% wool", "50%", "a %"])
def test_a_percent_sign_may_be_in_a_name(tmp_path, photo, endpoints, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo.rename(f"{name}.png")
    made = render(f"{name}.png", preset=preset_of(endpoints), keyframes="0:0").output
    assert made == f"{name}.test.png" and frame_number(read_image(Path(made))[0]) == 7
    assert all(check.good for check in verify(Path(made)))


def test_a_webp_of_several_frames_moves(tmp_path, photo, endpoints):
    render(photo, tmp_path / "out.webp", preset=preset_of(endpoints, animation={"width": 48}), keyframes="0:0,9:1")
    assert len(open_source(tmp_path / "out.webp").metadata.pts) > 1


@pytest.mark.parametrize(
    ("source", "keyframes", "expected"),
    [
        ("a.png", "0:0.5", "a.test.png"),
        ("a.jpg", "0:night", "a.test.jpg"),
        ("a.JPEG", "0:0.2*day+0.8*night", "a.test.JPEG"),
        ("a.webp", "0:0", "a.test.webp"),
        ("a.tiff", "0:0", "a.test.png"),
        ("a.bmp", "0:0", "a.test.png"),
        ("a.png", "noise:15..50", "a.test.png"),
        ("a.png", Timeline.parse("0:1"), "a.test.png"),
        ("a.png", None, "a.test.mp4"),
        ("a.png", "0:0,1s:1", "a.test.mp4"),
        ("a.png", "0:(t/10)", "a.test.mp4"),
        ("a.png", "audio:low", "a.test.mp4"),
        ("a.png", Timeline.parse("0:0,2:1"), "a.test.mp4"),
        ("a.mp4", "0:0.5", "a.test.mp4"),
    ],
)
def test_the_default_name_of_what_does_not_move_is_that_of_a_picture(endpoints, source, keyframes, expected):
    assert str(make_job(source, None, preset_of(endpoints), keyframes=keyframes).output) == expected


def test_a_track_that_moves_makes_a_video(endpoints):
    job = make_job("a.png", None, preset_of(endpoints), keyframes="0:0", tracks={"conv.*": "0:0,10:1"})
    assert str(job.output) == "a.test.mp4"


def test_the_command_line_has_the_same_defaults(here, capsys):
    assert main(["photo.png", *MODELS, "-k", "0:0.5"]) == 0
    assert "photo.day-night.png: 1 frame in" in capsys.readouterr().err
    assert main(["photo.png", *MODELS, "-k", "0:0.5"]) == 5
    assert "exists already" in capsys.readouterr().err
    assert main(["photo.png", *MODELS, "-k", "0:1", "-y"]) == 0
    assert main(["photo.png", *MODELS]) == 0
    assert main(["photo.png", *MODELS, "-o", "moving.jpg"]) == 2
    assert "--keyframes 0:night, makes one" in capsys.readouterr().err
    assert {path.name for path in here.glob("photo.*")} == {"photo.png", "photo.day-night.png", "photo.day-night.mp4"}


def test_photographs_and_clips_into_a_folder(here, capsys):
    (here / "b.jpg").write_bytes(encode_image(paint(9), ".jpg"))
    command = ["photo.png", "b.jpg", "clip.mp4", *MODELS, "-k", "0:0.5", "-o", "rendered"]
    assert main(command) == 0
    made = sorted((here / "rendered").iterdir())
    assert [path.name for path in made] == ["b.day-night.jpg", "clip.day-night.mp4", "photo.day-night.png"]
    assert frame_number(read_image(made[0])[0]) == 9
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().err.count("already rendered by this command") == 3


def test_the_picture_of_another_job_is_replaced_by_a_picture(tmp_path, photo, endpoints):
    options = {"preset": preset_of(endpoints), "overwrite": True}
    render(photo, tmp_path / "out.webp", keyframes="0:0.5", **options)
    plan = plan_unless_rendered(make_job(photo, tmp_path / "out.webp", keyframes="0:1", **options))
    assert plan is not None and plan.job.one_frame and plan.job.encode.overwrite


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("phase", ["rendering", "joining"])
def test_whatever_stops_a_render_the_old_picture_stays(tmp_path, photo, endpoints, suffix, phase):
    target = tmp_path / "made" / f"out{suffix}"
    target.parent.mkdir()
    target.write_bytes(b"old")

    def stop(now):
        if now.phase == phase:
            raise RuntimeError

    options = {"preset": preset_of(endpoints), "keyframes": "0:0", "overwrite": True}
    with pytest.raises(RuntimeError):
        render(photo, target, progress=stop, **options)
    assert target.read_bytes() == b"old"
    assert render(photo, target, **options).resumed == (phase == "joining")
    assert frame_number(read_image(target)[0]) == 7
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_verify_reads_a_picture(tmp_path, photo, endpoints, suffix):
    target = tmp_path / f"out{suffix}"
    render(photo, target, preset=preset_of(endpoints), keyframes="0:0.5")
    assert all(check.good for check in verify(target))
    data = bytearray(target.read_bytes())
    data[-40 if suffix.startswith(".j") else 80] ^= 1  # a pixel: the record is first in a JPEG, last elsewhere
    target.write_bytes(data)
    assert [check.name for check in verify(target) if not check.good][:1] == ["file"]


def test_a_record_of_any_length_fits_into_a_jpeg(tmp_path, photo, endpoints):
    target = tmp_path / "out.jpg"
    render(photo, target, preset=preset_of(endpoints), keyframes="0:0.5")
    bare = tmp_path / "bare.jpg"
    bare.write_bytes(encode_image(read_image(target)[0], ".jpg"))
    before, long = bare.read_bytes(), read_record(target)[0].model_copy(update={"keyframes": "0:0," * 50_000})
    append_record(bare, long)
    found, crc32 = read_record(bare)
    assert bare.read_bytes()[2:4] == b"\xff\xe0"  # the header of JFIF is first
    assert found.keyframes == long.keyframes and found.crc32 == crc32
    assert np.array_equal(read_image(bare)[0], cv2.imdecode(np.frombuffer(before, np.uint8), 1)[..., ::-1])


@pytest.mark.parametrize(("suffix", "kept"), [(".png", True), (".webp", True), (".jpg", False)])
def test_transparency_is_kept_or_reported(tmp_path, endpoints, suffix, kept):
    glass = np.dstack([paint(3), np.arange(96, dtype=np.uint8)[None].repeat(64, 0) * 2])
    write_png(tmp_path / "glass.png", glass)
    target = tmp_path / f"out{suffix}"
    report = render(tmp_path / "glass.png", target, preset=preset_of(endpoints), keyframes="0:0")
    assert any("transparency is dropped" in warning for warning in report.warnings) == (not kept)
    opacity = read_image(target)[1]
    assert np.array_equal(opacity, glass[..., 3]) if kept else opacity is None


PROFILE = (
    (3000).to_bytes(4, "big") + b"\1" * 12 + b"RGB " + bytes(range(256)) * 11 + b"\2" * 164
)  # none that means anything


@pytest.mark.parametrize("suffix", [*SUFFIXES, "%d.png", "%d.jpg"])
@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", "alpha.webp"])
def test_a_picture_has_the_color_profile_of_its_source(tmp_path, endpoints, source, suffix):
    image = paint(3) if "alpha" not in source else np.dstack([paint(3), paint(3)[..., 0]])
    (tmp_path / f"a{source}").write_bytes(with_profile(encode_image(image, Path(f"a{source}").suffix), PROFILE))
    options = {"preset": preset_of(endpoints), "keyframes": "0:0"}
    render(tmp_path / f"a{source}", tmp_path / f"out{suffix}", **options)
    made = numbered_path(tmp_path / f"out{suffix}", 0)
    assert read_profile(made) == PROFILE
    assert suffix != ".webp" or made.read_bytes()[20] & 0x20  # the flag that readers look at
    assert frame_number(read_image(made)[0]) == 3
    assert all(check.good for check in verify(tmp_path / f"out{suffix}"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize(
    "profile", [b"", PROFILE[:-1], PROFILE.replace(b"RGB ", b"CMYK"), PROFILE.replace(b"RGB ", b"GRAY"), PROFILE[:99]]
)
def test_what_is_no_profile_of_colors_is_left_out(tmp_path, suffix, profile):
    (tmp_path / f"a{suffix}").write_bytes(with_profile(encode_image(paint(3), suffix), profile))
    assert read_profile(tmp_path / f"a{suffix}") == b""
    assert frame_number(read_image(tmp_path / f"a{suffix}")[0]) == 3


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_damaged_picture_has_no_profile_and_no_error(tmp_path, suffix):
    data = with_profile(encode_image(paint(3), suffix), PROFILE)
    for length in range(0, len(data), 7):
        (tmp_path / f"a{suffix}").write_bytes(data[:length])
        assert read_profile(tmp_path / f"a{suffix}") in (b"", PROFILE)


def test_a_profile_of_any_length_fits_into_a_jpeg(tmp_path):
    large = (200_000).to_bytes(4, "big") + PROFILE[4:20] + bytes(200_000 - 20)
    (tmp_path / "a.jpg").write_bytes(with_profile(encode_image(paint(3), ".jpg"), large))
    assert read_profile(tmp_path / "a.jpg") == large


def test_a_picture_stands_upright(tmp_path, endpoints):
    stored = encode_image(np.ascontiguousarray(np.rot90(paint(5))), ".jpg")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (tmp_path / "a.jpg").write_bytes(stored[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + stored[2:])
    render(tmp_path / "a.jpg", tmp_path / "out.jpg", preset=preset_of(endpoints), keyframes="0:0")
    image = read_image(tmp_path / "out.jpg")[0]
    assert image.shape == (64, 96, 3) and frame_number(image) == 5


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_panels_previews_and_plans_of_one_picture(here, capsys, suffix):
    command = ["photo.png", *MODELS, "-k", "0:0.5", "-o", f"out{suffix}"]
    assert main([*command, "--dry-run"]) == 0
    assert "frames:            1" in capsys.readouterr().out and not (here / f"out{suffix}").exists()
    assert main([*command, "--preview"]) == 0
    assert (here / "out.preview.png").exists() and not (here / f"out{suffix}").exists()
    assert main([*command, "--compare"]) == 0
    height, width, _ = read_image(here / f"out{suffix}")[0].shape
    assert width >= 2 * 96 and height == 64  # without a plot of alpha, which does not move


def test_a_picture_has_no_constant_rate(tmp_path, clip, endpoints):
    with pytest.raises(UsageError, match="cfr: applies to videos and numbered pictures"):
        render(clip, tmp_path / "out.png", preset=preset_of(endpoints), start=1, end=2, cfr=Fraction(25))


def test_an_input_is_not_replaced_by_its_own_picture(here, capsys):
    shutil.copy("photo.png", "photo.day-night.png")
    assert main(["photo.day-night.png", *MODELS, "-k", "0:0", "-o", "photo.day-night.png", "-y"]) == 5
    assert "is the input itself" in capsys.readouterr().err
