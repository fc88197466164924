"""Laws of wipes from end to end: before the front a frame is the render of one key, behind it that of the other."""

import itertools

import cv2
import numpy as np
import pytest

import dnirender
from dnirender.cli.main import main
from dnirender.errors import UsageError
from dnirender.jobs.alpha_maps import longest
from dnirender.jobs.fingerprint import job_fingerprint
from dnirender.jobs.frames import render_frames
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.preview import make_preview
from support.clips import decoded, make_clip, preset_of, tiny_endpoints

EXACT = {"device": "cpu", "dtype": "fp32", "backend": "torch"}
GRAY = 200


@pytest.fixture
def picture(tmp_path):
    cv2.imwrite(str(tmp_path / "gray.png"), np.full((64, 96, 3), GRAY, np.uint8))
    return tmp_path / "gray.png"


@pytest.fixture
def preset(tmp_path):
    files = tiny_endpoints(tmp_path, day=0.0, dusk=-0.1, night=-0.4)
    return preset_of(files, encoding={"codec": "ffv1", "pix_fmt": "yuv444p"})


def darkness(image):
    """How much darker each pixel is than the picture, in 0..1."""
    return (GRAY - image[..., 1].astype(float)) / 255


def render(picture, preset, target, keyframes, wipe, **options):
    dnirender.render(picture, target, preset=preset, keyframes=keyframes, wipe=wipe, **{**EXACT, **options})
    return [darkness(image) for _, image in decoded(target)]


def test_a_hard_front_separates_the_renders_of_two_keys(tmp_path, picture, preset):
    frames = render(picture, preset, tmp_path / "o.mkv", "0:dusk, 8:night, 10:night", "right:softness=0")
    for number, frame in enumerate(frames):
        columns = round(96 * min(number / 8, 1))
        assert frame[:, : max(0, columns - 1)].size == 0 or np.abs(frame[:, : columns - 1] - 0.4).max() < 0.01
        assert frame[:, columns + 1 :].size == 0 or np.abs(frame[:, columns + 1 :] - 0.1).max() < 0.01


def test_a_soft_front_between_numbers_passes_all_mixtures_on_the_way(tmp_path, picture, preset):
    frames = render(picture, preset, tmp_path / "o.mkv", "0:0, 4:1", "right:softness=1")
    share = np.clip(2 * 0.5 - (np.arange(96) / 95), 0, 1)
    expected = np.interp(share, (0, 0.5, 1), (0, 0.1, 0.4))
    assert np.abs(frames[2] - expected).max() < 0.02
    assert np.abs(np.diff(frames[2], axis=1)).max() < 0.02  # no steps


def test_the_front_follows_the_easing(tmp_path, picture, preset):
    linear = render(picture, preset, tmp_path / "a.mkv", "0:day, 8:night", "up:softness=0")
    eased = render(picture, preset, tmp_path / "b.mkv", "0:day@easeInQuad, 8:night", "up:softness=0")
    for number in range(9):
        assert linear[number].mean() / 0.4 == pytest.approx(number / 8, abs=0.02)
        assert eased[number].mean() / 0.4 == pytest.approx((number / 8) ** 2, abs=0.02)


def test_a_mask_keeps_the_outside_beside_a_wipe_and_strength_weakens_both(tmp_path, picture, preset):
    mask = np.zeros((64, 96))
    mask[32:] = 1
    frames = render(
        picture,
        preset,
        tmp_path / "o.mkv",
        "0:day, 4:night",
        "right:softness=0",
        mask=mask,
        outside="dusk",
        strength=0.5,
    )
    middle = frames[2]
    assert np.abs(middle[:32] - 0.05).max() < 0.01
    assert np.abs(middle[32:, :46] - 0.2).max() < 0.01 and np.abs(middle[32:, 50:]).max() < 0.01


def test_layers_with_tracks_of_their_own_do_not_move_over_the_picture(tmp_path, picture, preset):
    options = {"tracks": {"body.4.*": "0:dusk"}}
    frames = render(picture, preset, tmp_path / "o.mkv", "0:day, 4:night", "right", **options)
    assert all(np.abs(frame - 0.1).max() < 0.01 for frame in frames)


def test_beside_it_is_the_wipe_of_pixels_between_the_keys(tmp_path, picture, preset):
    panels = preset.override({"layout": {"panels": ("render", "crossfade"), "labels": False}})
    frames = render(picture, panels, tmp_path / "o.mkv", "0:0, 4:1", "right:softness=1")
    own, pixels = frames[2][:64, :96], frames[2][:64, -96:]
    share = np.clip(1 - (np.arange(96) / 95), 0, 1)
    assert np.abs(pixels - 0.4 * share).max() < 0.02
    assert np.abs(own - pixels).max() > 0.05  # the weights pass dusk on their way


@pytest.mark.parametrize("name", ["o.gif", "o.webp", "f_%02d.png"])
def test_other_formats(tmp_path, picture, preset, name):
    dnirender.render(picture, tmp_path / name, preset=preset, keyframes="0:day, 4:night", wipe="left", fps=25, **EXACT)
    if "%" in name:
        frames = [cv2.imread(str(tmp_path / f"f_{number:02d}.png")) for number in range(5)]
    else:
        frames = [frame.image for frame in dnirender.open(tmp_path / name)]
    means = [darkness(frame).mean() for frame in frames]
    assert means[0] < 0.02 and means[-1] > 0.35 and all(b > a for a, b in itertools.pairwise(means))


def test_a_part_of_a_clip_and_a_preview_have_the_ways_of_their_frames(tmp_path, preset, monkeypatch):
    clip = make_clip(tmp_path / "clip.mkv", frames=12)
    job = make_job(clip, tmp_path / "o.mkv", preset, keyframes="0:day,end:night", wipe="right", start="4", end="9")
    plan = make_plan(job)
    assert [way.progress for way in plan.ways if way] == [0, 0.25, 0.5, 0.75]
    assert len(plan.ways) == 5 and plan.ways[-1] is None
    ways = [(way.alphas[0], way.alphas[-1]) for way in plan.ways if way]
    assert longest(ways) == [((1, 0, 0), (0, 0, 1))] and longest([((1, 0), (1, 0))]) == []
    shown = []
    monkeypatch.setattr(
        "dnirender.jobs.preview.stills", lambda images, *_: shown.extend(images) or np.zeros((4, 4, 3), np.uint8)
    )
    make_preview(job.override(wipe="right:softness=0", **EXACT))
    assert [int(image[10, 10, 0]) > 200 for image in shown] == [True, False, False]  # a white cell on the left


def test_frames_from_memory(preset):
    frames = [np.full((64, 96, 3), GRAY, np.uint8)] * 5
    for given in (frames, iter(frames)):
        found = [
            darkness(image)
            for image in render_frames(given, "0:day, 4:night", preset=preset, wipe="right:softness=0", **EXACT)
        ]
        assert [frame.mean() / 0.4 for frame in found] == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.02)


def test_segments_of_another_wipe_are_not_reused(tmp_path, picture, preset):
    def fingerprint(**options):
        return str(job_fingerprint(make_plan(make_job(picture, tmp_path / "o.mkv", preset, **options))))

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8), np.uint8))
    first = fingerprint(wipe=f"image:{tmp_path / 'a.png'}")
    cv2.imwrite(str(tmp_path / "a.png"), np.ones((8, 8), np.uint8))
    found = [first, fingerprint(wipe=f"image:{tmp_path / 'a.png'}"), fingerprint(), fingerprint(wipe="right")]
    found += [fingerprint(wipe="right:softness=0.2"), fingerprint(wipe="right", levels=3)]
    assert len(set(found)) == len(found)


def test_what_is_wrong_is_said(tmp_path, picture, preset, capsys):
    with pytest.raises(UsageError, match="wipe: expected at most one mask, without a name"):
        make_plan(make_job(picture, tmp_path / "o.mkv", preset, wipe="right", mask={"night": np.ones((64, 96))}))
    with pytest.raises(UsageError, match="pace='perceptual': expected no wipe"):
        make_plan(make_job(picture, tmp_path / "o.mkv", preset, wipe="right", pace="perceptual"))
    files = tiny_endpoints(tmp_path)
    models = [word for name, file in files.items() for word in ("-m", f"{name}={file}")]
    assert main([str(picture), *models, "--wipe", "rigth", "-o", str(tmp_path / "o.mkv")]) == 2
    assert "--wipe rigth: unknown wipe; did you mean right?" in capsys.readouterr().err


def test_a_preset_has_a_wipe(tmp_path, picture):
    tiny_endpoints(tmp_path)
    head = "name: p\nnetwork: {endpoints: [{name: day, weights: day.safetensors}, {name: night, weights: night.safetensors}]}\n"
    file = tmp_path / "p.yaml"
    file.write_text(f"{head}wipe: image:gray.png,softness=0.2\n", "utf-8")
    loaded = dnirender.Preset.load(file)
    assert loaded.wipe.parsed is not None and loaded.wipe.parsed.file == str(picture.resolve())
    file.write_text(f"{head}wipe: {{front: 'x*y'}}\n", "utf-8")
    assert dnirender.Preset.load(file).wipe.parsed is not None
    for text, message in (("wipe: image:../x.png", "wipe.front: expected a file"), ("wipe: nothing", "unknown wipe")):
        file.write_text(f"{head}{text}\n", "utf-8")
        with pytest.raises(dnirender.PresetError, match=message):
            dnirender.Preset.load(file)
