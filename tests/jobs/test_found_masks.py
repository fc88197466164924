"""Laws of masks that are found in the clip: the same for a part of it as for all of it, resumed or not, and read back
from what they were written to."""

import cv2
import numpy as np
import pytest

import dnirender
from dnirender.cli.main import main
from dnirender.errors import Cancelled, PresetError, UsageError
from dnirender.jobs.fingerprint import job_fingerprint
from dnirender.jobs.frames import render_frames
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.masks.tracking import REACH
from support.clips import decoded, make_clip, paint, preset_of, tiny_endpoints

LOSSLESS = {"codec": "ffv1", "pix_fmt": "yuv444p"}
EXACT = {"device": "cpu", "dtype": "fp32", "backend": "torch", "levels": 2}
FRAMES = 2 * REACH + 8


class Bright:
    """In the place of the network: the subject is what is bright, the sky the upper half, both a little unsteady."""

    calls = 0

    def __init__(self, path):
        pass

    def __call__(self, image):
        type(self).calls += 1
        gray = image.mean(2) / 255
        rows = np.linspace(1, 0, len(gray))[:, None] > 0.5
        planes = np.dstack([gray, rows * np.ones_like(gray)])
        return np.float32(np.clip(planes * (0.8 + 0.2 * np.sin(gray.sum())), 0, 1))


@pytest.fixture(autouse=True)
def bright(monkeypatch):
    Bright.calls = 0
    monkeypatch.setattr("dnirender.networks.segmentation.Segmenter", Bright)


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mkv", frames=FRAMES, codec="ffv1", pix_fmt="yuv444p", start_number=300)


@pytest.fixture
def preset(tmp_path):
    return preset_of(tiny_endpoints(tmp_path, day=0.0, dusk=-0.1, night=-0.4), encoding=LOSSLESS)


def render(clip, preset, target, **options):
    dnirender.render(clip, target, preset=preset, **{"keyframes": "0:night", **EXACT, **options})
    return [image for _, image in decoded(target)]


def pictures(clip, preset, target, **options):
    """A render as numbered PNG, whose colors are not converted."""
    dnirender.render(clip, target, preset=preset, **{"keyframes": "0:night", **EXACT, **options})
    files = sorted(target.parent.glob(target.name.replace("%03d", "[0-9]*")))
    return np.array([cv2.imread(str(file)) for file in files], int)


def test_a_part_of_a_clip_has_the_masks_that_all_of_it_has(tmp_path, clip, preset):
    whole = render(clip, preset, tmp_path / "whole.mkv", subject=True)
    plain = render(clip, preset, tmp_path / "plain.mkv")
    assert all(np.abs(one.astype(int) - other).max() > 20 for one, other in zip(whole, plain, strict=True))
    for number, (start, stop) in enumerate(((0, 2), (7, 12), (FRAMES - 3, FRAMES))):
        part = render(clip, preset, tmp_path / f"{number}.mkv", subject=True, start=start, end=stop)
        np.testing.assert_array_equal(part, whole[start:stop])
    small = render(clip, preset, tmp_path / "segments.mkv", subject=True, segment_frames=3)
    np.testing.assert_array_equal(small, whole)


def test_a_stopped_render_resumes_with_the_same_masks(tmp_path, clip, preset):
    whole = render(clip, preset, tmp_path / "whole.mkv", subject=True)
    options = {"preset": preset, "keyframes": "0:night", "subject": True, "segment_frames": 2, **EXACT}
    done = []
    with pytest.raises(Cancelled):
        dnirender.render(
            clip,
            tmp_path / "part.mkv",
            progress=lambda now: done.append(1) if now.done == 7 else None,
            cancel=lambda: len(done) > 0,
            **options,
        )
    assert dnirender.render(clip, tmp_path / "part.mkv", **options).resumed >= 6
    np.testing.assert_array_equal([image for _, image in decoded(tmp_path / "part.mkv")], whole)


@pytest.mark.parametrize("name", ["mask.mkv", "mask_%03d.png"])
@pytest.mark.parametrize(
    "shape", [{}, {"mask_invert": True, "mask_feather": 5.0, "mask_grow": 2.0, "luma": "0.3..1", "sky": True}]
)
def test_a_mask_that_is_written_is_read_back_as_the_same(tmp_path, clip, preset, name, shape):
    masks = preset.override({"layout": {"panels": ("mask",)}, "encoding": {"codec": "ffv1", "pix_fmt": "gray"}})
    dnirender.render(clip, tmp_path / name, preset=masks, subject=True, **EXACT, **shape)
    found = pictures(clip, preset, tmp_path / "found_%03d.png", subject=True, **shape)
    back = pictures(clip, preset, tmp_path / "back_%03d.png", mask=tmp_path / name)
    assert np.abs(found - back).max() <= 1 and len(back) == FRAMES
    assert np.abs(found - pictures(clip, preset, tmp_path / "plain_%03d.png")).max() > 20


def test_a_mask_needs_no_render_and_no_alpha(tmp_path, preset):
    picture = np.dstack([paint(300)[..., ::-1], np.full((64, 96), 100, np.uint8)])
    cv2.imwrite(str(tmp_path / "still.png"), picture)
    masks = preset.override({"layout": {"panels": ("mask",)}})
    job = make_job(tmp_path / "still.png", tmp_path / "m_%02d.png", masks, keyframes="0:day, 3:night", subject=True)
    assert make_plan(job).forwards == 0
    dnirender.render(job.input, job.output, preset=masks, keyframes="0:day, 3:night", subject=True, **EXACT)
    written = cv2.imread(str(tmp_path / "m_03.png"), cv2.IMREAD_UNCHANGED)
    assert written.shape == (64, 96, 3) and written.std() > 20
    assert Bright.calls == 1  # a still is looked at once


def test_masks_beside_other_panels_keep_their_grays(tmp_path, clip, preset):
    panels = preset.override({"layout": {"panels": ("source", "mask", "render"), "labels": False}})
    (first, *_) = render(clip, panels, tmp_path / "o.mkv", subject=True, keep_colors=True)
    mask = first[:64, 98:194].astype(int)
    assert np.ptp(mask, axis=2).max() <= 2 and mask.std() > 20
    assert np.abs(first[:64, :96].astype(int) - paint(300)).max() <= 1


def test_subject_and_sky_place_endpoints_or_are_one_mask(tmp_path, clip, preset):
    def darkness(image):
        return [
            (paint(300).astype(int) - image)[rows][paint(300)[rows] > 150].mean() for rows in (slice(32), slice(40, 64))
        ]

    (both, *_) = render(clip, preset, tmp_path / "a.mkv", end=1, subject=True, sky=True)
    (sky, *_) = render(clip, preset, tmp_path / "b.mkv", end=1, sky=True)
    (named, *_) = render(clip, preset, tmp_path / "c.mkv", end=1, mask=["night=:sky"])
    np.testing.assert_array_equal(named, sky)
    upper, lower = darkness(sky)
    assert upper > 60 and lower < 12
    assert darkness(both)[0] >= upper and darkness(both)[1] > 40
    (two, *_) = render(clip, preset, tmp_path / "d.mkv", end=1, mask=["night=:sky", "dusk=:subject"])
    assert darkness(two)[0] > 30 and 5 < darkness(two)[1] < 40


def test_a_preset_asks_for_them_and_a_fingerprint_knows(tmp_path, clip):
    tiny_endpoints(tmp_path)
    ends = "[{name: day, weights: day.safetensors}, {name: night, weights: night.safetensors}]"
    found = set()
    for number, mask in enumerate(
        ("{subject: true}", "{sky: true}", "{subject: true, sky: true}", "':subject'", "{files: ['night=:sky']}")
    ):
        (tmp_path / f"{number}.yaml").write_text(f"name: p\nnetwork: {{endpoints: {ends}}}\nmask: {mask}\n", "utf-8")
        plan = make_plan(make_job(clip, tmp_path / "o.mkv", tmp_path / f"{number}.yaml"))
        assert plan.masking is not None
        found.add(str(job_fingerprint(plan)))
    assert len(found) == 5
    (tmp_path / "x.yaml").write_text(f"name: p\nnetwork: {{endpoints: {ends}}}\nmask: {{subject: person}}\n", "utf-8")
    with pytest.raises(PresetError, match=r"mask.subject: .*bool"):
        dnirender.Preset.load(tmp_path / "x.yaml")


def test_a_sheet_shows_masks_before_its_columns(tmp_path, clip, preset):
    options = {"preset": preset, "frames": ["0", "5"], "alphas": ["day"], "device": "cpu", "dtype": "fp32"}
    plain, masked = dnirender.sheet(clip, **options).image, dnirender.sheet(clip, subject=True, **options).image
    names = dnirender.sheet(clip, mask=["night=:sky", "dusk=:subject"], **options).image
    columns = [sheet.shape[1] for sheet in (plain, masked, names)]
    assert columns[0] < columns[1] < columns[2]
    assert plain.shape[0] == masked.shape[0] == names.shape[0]
    np.testing.assert_array_equal(masked[40:, -90:], plain[40:, -90:])  # the last column is rendered as before


def test_what_is_wrong_is_said(tmp_path, clip, preset):
    masks = preset.override({"layout": {"panels": ("mask",)}})
    with pytest.raises(
        UsageError, match="panels: 'mask' shows a mask, and there is none; give one, such as subject=True"
    ):
        make_plan(make_job(clip, tmp_path / "o.mkv", masks))
    with pytest.raises(UsageError, match="panels: 'mask' shows one mask, got 2; give one, without a name"):
        make_plan(make_job(clip, tmp_path / "o.mkv", masks, mask=["day=:sky", "night=:subject"]))
    frames = [paint(300)] * 3
    with pytest.raises(UsageError, match="subject: is found in a clip, and frames in memory are none"):
        render_frames(frames, "0:night", preset=preset, subject=True)
    with pytest.raises(UsageError, match="mask=':sky': is found in a clip"):
        render_frames(frames, "0:night", preset=preset, mask=":sky")
    with pytest.raises(PresetError, match="'mask' is the name of a panel"):
        preset_of({"mask": tmp_path / "day.safetensors", "night": tmp_path / "night.safetensors"})


def test_on_the_command_line(tmp_path, clip, capsys):
    files = tiny_endpoints(tmp_path)
    models = [word for name, file in files.items() for word in ("-m", f"{name}={file}")]
    exact = ["--codec", "ffv1", "--pix-fmt", "gray", "--device", "cpu", "--dtype", "fp32"]
    target = tmp_path / "mask.mkv"
    assert main([str(clip), *models, "--subject", "--panels", "mask", *exact, "-o", str(target)]) == 0
    assert decoded(target)[0][1].std() > 20
    capsys.readouterr()
    assert main([str(clip), *models, "--panels", "mask", "-o", str(tmp_path / "o.mkv")]) == 2
    assert "give one, such as --subject" in capsys.readouterr().err
