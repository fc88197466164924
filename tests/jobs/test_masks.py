"""Laws of masks from end to end: white is the timeline, black the outside, in every format, resumed or not."""

import cv2
import numpy as np
import pytest

import dnirender
from dnirender.cli.main import main
from dnirender.errors import Cancelled, MediaError, UsageError
from dnirender.jobs.fingerprint import job_fingerprint
from dnirender.jobs.frames import render_frames
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.preview import make_preview
from dnirender.jobs.workspace import Workspace
from support.clips import decoded, make_clip, paint, preset_of, tiny_endpoints

LOSSLESS = {"codec": "ffv1", "pix_fmt": "yuv444p"}
EXACT = {"device": "cpu", "dtype": "fp32", "backend": "torch"}
FIRST = 504  # of the painted numbers: the cells that do not change are bright on both sides
BASE = paint(FIRST)
BRIGHT = (BASE > 150) & (np.arange(64) >= 22)[:, None, None]


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mkv", frames=6, codec="ffv1", pix_fmt="yuv444p", start_number=FIRST)


@pytest.fixture
def half(tmp_path):
    """White on the right."""
    image = np.zeros((64, 96), np.uint8)
    image[:, 48:] = 255
    cv2.imwrite(str(tmp_path / "half.png"), image)
    return tmp_path / "half.png"


@pytest.fixture
def preset(tmp_path):
    return preset_of(tiny_endpoints(tmp_path, day=0.0, dusk=-0.1, night=-0.4), encoding=LOSSLESS)


def shade(image, start, stop):
    """How much darker some columns of a frame are than those of the clip, where it is bright, in 0..1."""
    part = np.zeros_like(BRIGHT)
    part[:, start:stop] = BRIGHT[:, start:stop]
    return (BASE.astype(int) - image)[part].mean() / 255


def is_darker(image, left, right, edge=0):
    """Whether the halves of a frame are darker by so much, but for `edge` columns on either side of the middle."""
    found = shade(image, 0, 48 - edge), shade(image, 48 + edge, 96)
    return np.allclose(found, (left, right), atol=0.012) or found


def render(clip, preset, target, **options):
    dnirender.render(clip, target, preset=preset, **{"keyframes": "0:night", **EXACT, **options})
    return [image for _, image in decoded(target)]


def test_white_follows_the_timeline_and_black_stays_outside(tmp_path, clip, half, preset):
    images = render(clip, preset, tmp_path / "o.mkv", mask=half, keyframes="0:day, end:night")
    for number in (0, 5):
        assert is_darker(images[number], 0, 0.4 * number / 5) is True
    (first, *_) = render(clip, preset, tmp_path / "p.mkv", mask=half, outside="0.5*day+0.5*dusk")
    assert is_darker(first, 0.05, 0.4) is True
    (first, *_) = render(clip, preset, tmp_path / "q.mkv", mask=half, mask_invert=True, outside="dusk", strength=0.5)
    assert is_darker(first, 0.2, 0.05) is True


def test_a_soft_mask_is_a_mixture_in_every_pixel(tmp_path, clip, preset):
    ramp = np.tile(np.linspace(0, 1, 96), (64, 1))
    (first, *_) = render(clip, preset, tmp_path / "o.mkv", mask=ramp)
    for column in range(0, 96, 5):
        expected = 0.4 * np.clip((ramp[0, column] - 0.01) / 0.98, 0, 1)
        if BRIGHT[:, column].any():
            assert shade(first, column, column + 1) == pytest.approx(expected, abs=0.012)


def test_masks_by_name_share_what_the_timeline_gives_them(tmp_path, clip, half, preset):
    white = np.ones((64, 96))
    left = 1 - np.tile(np.arange(96) >= 48, (64, 1)).astype(float)
    masks = {"dusk": left, "night": 1 - left}
    (first, *_) = render(clip, preset, tmp_path / "o.mkv", mask=masks)
    assert is_darker(first, 0.1, 0.4) is True
    (first, *_) = render(clip, preset, tmp_path / "p.mkv", mask=masks, keyframes="0:0.5*day+0.2*dusk+0.3*night")
    assert is_darker(first, 0.05, 0.2) is True
    (first, *_) = render(clip, preset, tmp_path / "q.mkv", mask={"dusk": white, "night": 1 - left})
    assert is_darker(first, 0.1, 0.25) is True  # where masks add up to more than 1 they are scaled
    (first, *_) = render(clip, preset, tmp_path / "r.mkv", mask={"night": 0.5 * white}, outside="dusk")
    assert is_darker(first, 0.25, 0.25) is True
    (first, *_) = render(clip, preset, tmp_path / "s.mkv", mask=[0 * white, left, 1 - left])
    assert is_darker(first, 0.1, 0.4) is True
    (first, *_) = render(clip, preset, tmp_path / "t.mkv", mask=[f"night={half}", f"dusk={half}"])
    assert is_darker(first, 0.0, 0.25) is True


def test_layers_with_tracks_of_their_own_are_masked_too(tmp_path, clip, half, preset):
    (first, *_) = render(clip, preset, tmp_path / "o.mkv", mask=half, keyframes="0:day", tracks={"body.4.*": "0:night"})
    assert is_darker(first, 0, 0.4) is True
    masks = {"night": np.ones((64, 96))}
    (first, *_) = render(clip, preset, tmp_path / "p.mkv", mask=masks, tracks={"body.4.*": "0:dusk"}, outside="day")
    assert is_darker(first, 0.1, 0.1) is True


def test_luma_and_depth_are_masks(tmp_path, clip, half, preset):
    (first, *_) = render(clip, preset, tmp_path / "o.mkv", luma="0.5..1")
    assert is_darker(first, 0.4, 0.4) is True
    (first, *_) = render(clip, preset, tmp_path / "p.mkv", luma="0.0..0.4")
    assert is_darker(first, 0, 0) is True
    (first, *_) = render(clip, preset, tmp_path / "q.mkv", depth=str(half), depth_range="0.6..1")
    assert is_darker(first, 0, 0.4) is True
    (first, *_) = render(clip, preset, tmp_path / "r.mkv", depth=str(half), depth_range="0..0.4")
    assert is_darker(first, 0.4, 0) is True
    (first, *_) = render(clip, preset, tmp_path / "s.mkv", depth=str(half), luma="0..0.4", mask_invert=True)
    assert is_darker(first, 0.4, 0.4) is True


def test_the_mask_of_a_part_of_the_clip_is_that_of_its_frames(tmp_path, clip, preset):
    masks = np.zeros((6, 64, 96))
    masks[4] = 1
    images = render(clip, preset, tmp_path / "o.mkv", mask=masks, start="3", end="6")
    assert [shade(image, 0, 96) > 0.3 for image in images] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("name", ["o.gif", "o.webp", "o.apng", "f_%02d.png"])
def test_other_formats_and_stills(tmp_path, clip, half, preset, name):
    small = preset.override({"animation": {"width": 96, "fps": 25}})
    for source in (clip, tmp_path / "still.png"):
        if source.suffix == ".png":
            cv2.imwrite(str(source), paint(FIRST)[..., ::-1])
        dnirender.render(
            source,
            tmp_path / name,
            preset=small,
            keyframes="0:day, 3:night, 5:night",
            mask=half,
            overwrite=True,
            **EXACT,
        )
        if "%" in name:
            last = cv2.imread(str(tmp_path / "f_05.png"))[..., ::-1]
        elif name == "o.gif":
            last = decoded(tmp_path / name)[-1][1]
        else:
            last = list(dnirender.open(tmp_path / name))[-1].image
        assert np.allclose([0, 0.4], [shade(last, 0, 44), shade(last, 52, 96)], atol=0.03)


def test_a_stopped_render_resumes_with_the_same_frames(tmp_path, clip, preset):
    ramp = np.tile(np.linspace(0, 1, 96), (64, 1))
    options = {"preset": preset, "keyframes": "0:day,end:night", "mask": ramp, "segment_frames": 2, **EXACT}
    dnirender.render(clip, tmp_path / "whole.mkv", **options)
    done = []

    def stop():
        return len(done) > 0

    with pytest.raises(Cancelled):
        dnirender.render(
            clip,
            tmp_path / "part.mkv",
            progress=lambda now: done.append(1) if now.done == 3 else None,
            cancel=stop,
            **options,
        )
    job = make_job(clip, tmp_path / "part.mkv", **options)
    manifest = Workspace(tmp_path / "part.mkv", job_fingerprint(make_plan(job))).manifest
    assert manifest is not None and manifest.engine["levels"] >= 2
    report = dnirender.render(clip, tmp_path / "part.mkv", **options)
    assert report.resumed == 2
    for (_, one), (_, other) in zip(decoded(tmp_path / "whole.mkv"), decoded(tmp_path / "part.mkv"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_segments_of_another_mask_are_not_reused(tmp_path, clip, half, preset):
    def fingerprint(**options):
        return str(job_fingerprint(make_plan(make_job(clip, tmp_path / "o.mkv", preset, **options))))

    other = np.ones((64, 96))
    found = [
        fingerprint(**options)
        for options in (
            {},
            {"mask": half},
            {"mask": f"night={half}"},
            {"mask": other},
            {"mask": {"night": other}},
            {"mask": half, "outside": "dusk"},
            {"mask": half, "mask_feather": 3.0},
            {"mask": half, "mask_channel": "gray", "mask_grow": -1.0},
            {"luma": "0..0.5"},
            {"depth": str(half)},
        )
    ]
    assert len(set(found)) == len(found)
    (tmp_path / "moved.png").write_bytes(half.read_bytes())
    assert fingerprint(mask=tmp_path / "moved.png") == fingerprint(mask=half)
    assert "mask" not in job_fingerprint(make_plan(make_job(clip, tmp_path / "o.mkv", preset)))


def test_the_crossfade_beside_it_has_the_same_coefficients(tmp_path, clip, half, preset):
    panels = preset.override({"layout": {"panels": ("source", "render", "crossfade", "night"), "labels": False}})
    (first, *_) = render(clip, panels, tmp_path / "o.mkv", mask=half, keyframes="0:0.5*dusk+0.5*night", mask_feather=9)
    rows = [first[:64], first[66:130]]
    cells = [row[:, at : at + 96] for row in rows for at in (0, 98)]
    assert np.abs(cells[1].astype(int) - cells[2])[BRIGHT].max() <= 2  # where these networks are linear
    assert is_darker(cells[2], 0, 0.25, edge=8) is True
    assert np.abs(cells[0].astype(int) - paint(FIRST)).max() <= 1
    assert is_darker(cells[3], 0.4, 0.4) is True


def test_colors_can_stay_and_previews_have_masks(tmp_path, clip, half, preset, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "dnirender.jobs.preview.stills", lambda images, *_: shown.extend(images) or np.zeros((4, 4, 3), np.uint8)
    )
    make_preview(make_job(clip, tmp_path / "o.mkv", preset, keyframes="0:day,5:night", mask=half, **EXACT))
    assert is_darker(shown[0], 0, 0) is True
    assert is_darker(shown[-1], 0, 0.4) is True
    (first, *_) = render(clip, preset, tmp_path / "k.mkv", mask=half, keep_colors=True)
    assert is_darker(first, 0, 0.4) is True


def test_frames_from_memory(tmp_path, preset):
    frames = [paint(FIRST)] * 3
    masks = np.zeros((3, 64, 96))
    masks[1:, :, 48:] = 1
    found = list(render_frames(frames, "0:night", preset=preset, mask=masks, **EXACT))
    assert is_darker(found[0], 0, 0) is True
    assert is_darker(found[2], 0, 0.4) is True
    assert (
        is_darker(next(render_frames(iter(frames), "0:night", preset=preset, luma="0.5..1", **EXACT)), 0.4, 0.4) is True
    )
    with pytest.raises(UsageError, match="mask: expected a mask for frame 3, got 3 masks"):
        list(render_frames([*frames, paint(FIRST)], "0:night", preset=preset, mask=masks, **EXACT))
    with pytest.raises(UsageError, match="mask: expected arrays, as frames from memory have no file"):
        render_frames(frames, "0:night", preset=preset, mask="half.png", **EXACT)


def test_what_is_wrong_is_said_before_anything_is_rendered(tmp_path, clip, half, preset):
    def plan(**options):
        make_plan(make_job(clip, tmp_path / "o.mkv", preset, **options))

    for options, message in (
        ({"mask": [half, half]}, "mask: got 2 masks without names, expected one, or one for each endpoint"),
        ({"mask": f"noon={half}"}, "mask: noon: unknown endpoint; expected NAME=FILE with a name of day, dusk, night"),
        ({"mask": [f"night={half}", half]}, "mask: a mask without a name beside others with one"),
        ({"mask": [f"night={half}", f"night={half}"]}, "mask: two masks for night, expected one"),
        ({"mask": half, "outside": "noon"}, "outside='noon': unknown endpoint"),
        ({"mask": [half, np.ones((64, 96))]}, "mask: expected files or arrays, got both"),
        ({"mask": [np.ones((64, 96))] * 2}, "mask: got 2 arrays, expected one, one for each endpoint"),
        ({"luma": "0.5"}, r"luma='0.5': expected LOW..HIGH in 0..1"),
        ({"mask": half, "levels": 1}, "levels: .*greater than or equal to 2, got 1"),
        ({"mask_channel": "blue"}, "channel: .*'auto', 'gray' or 'alpha'"),
    ):
        with pytest.raises(UsageError, match=message):
            plan(**options)
    with pytest.raises(MediaError, match=r"none\.png: no such file"):
        plan(mask="none.png")


def test_a_preset_has_masks_beside_it(tmp_path, clip, half):
    tiny_endpoints(tmp_path)
    file = tmp_path / "p.yaml"
    head = "name: p\nnetwork: {endpoints: [{name: day, weights: day.safetensors}, {name: night, weights: night.safetensors}]}\n"
    for text in ("mask: half.png", "mask: {files: [night=half.png], feather: 0}"):
        file.write_text(f"{head}{text}\n", "utf-8")
        loaded = dnirender.Preset.load(file)
        assert loaded.mask.files[0].endswith(str(half))
        (first, *_) = render(clip, loaded.override({"encoding": LOSSLESS}), tmp_path / "o.mkv", overwrite=True)
        assert is_darker(first, 0, 0.4) is True
    for text, place in (("mask: ../half.png", r"mask\.files\[0\]"), ("mask: {depth: /etc/x.png}", r"mask\.depth")):
        file.write_text(f"{head}{text}\n", "utf-8")
        with pytest.raises(dnirender.PresetError, match=rf"{place}: expected a file in the preset's folder or below"):
            dnirender.Preset.load(file)


def test_on_the_command_line(tmp_path, clip, half, capsys):
    files = tiny_endpoints(tmp_path)
    models = [word for name, file in files.items() for word in ("-m", f"{name}={file}")]
    target = tmp_path / "out.mkv"
    arguments = [str(clip), *models, "-k", "0:night", "--mask", str(half), "--mask-feather", "4", "-o", str(target)]
    arguments += ["--codec", "ffv1", "--pix-fmt", "yuv444p", "--dtype", "fp32", "--backend", "torch"]
    assert main([*arguments, "--dry-run"]) == 0
    assert main(arguments) == 0, capsys.readouterr().err
    first = decoded(target)[0][1]
    assert is_darker(first, 0, 0.4, edge=8) is True
    capsys.readouterr()
    square = tmp_path / "square.png"
    cv2.imwrite(str(square), np.zeros((64, 64), np.uint8))
    wrong = [str(clip), *models, "--mask", str(square), "-o", str(tmp_path / "w.mkv")]
    assert main(wrong) == 2
    assert "--mask: square.png is 64x64 and the clip 96x64" in capsys.readouterr().err
    alpha = [str(clip), *models, "--mask", str(half), "--mask-channel", "alpha", "-o", str(tmp_path / "w.mkv")]
    assert main(alpha) == 2
    assert "got none; --mask-channel gray takes its luma" in capsys.readouterr().err


def test_layers_mix_inside_the_network(tmp_path, clip, preset):
    ramp = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (64, 1))
    options = {"mask": ramp}
    layered = render(clip, preset, tmp_path / "a.mkv", mask_layers=True, **options)
    fine = render(clip, preset, tmp_path / "b.mkv", levels=17, **options)
    assert np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(layered, fine, strict=True)]) < 1
    assert any(not np.array_equal(a, b) for a, b in zip(layered, fine, strict=True))
    sides = [render(clip, preset, tmp_path / f"{name}.mkv", keyframes=f"0:{name}") for name in ("day", "night")]
    for made, day, night in zip(layered, *sides, strict=True):
        assert np.abs(made[:, :1].astype(int) - day[:, :1]).max() <= 2
        assert np.abs(made[:, -1:].astype(int) - night[:, -1:]).max() <= 2
    parts = render(clip, preset, tmp_path / "c.mkv", mask_layers=True, segment_frames=1, **options)
    assert all(np.array_equal(a, b) for a, b in zip(layered, parts, strict=True))
    pictures = [image for _, image in decoded(clip)]
    memory = render_frames(pictures, "0:night", preset=preset, mask=ramp, mask_layers=True, **EXACT)
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(memory, layered, strict=True))


def test_layers_and_levels_are_two_ways(clip, preset, tmp_path):
    with pytest.raises(UsageError, match="leave one out"):
        render(clip, preset, tmp_path / "a.mkv", mask_layers=True, levels=3, mask=np.ones((64, 96)))
