"""`strength` and `keep_colors`: exact at their ends, the same in videos, memory, sheets, presets and comparisons."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dnirender
from dnirender import Preset, Timeline, render
from dnirender.cli.main import main
from dnirender.errors import PresetError, UsageError
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.media.images import read_image
from dnirender.media.luma import with_chroma
from dnirender.timeline.keyframes import weaken
from support.clips import preset_of

EXACT = {"dtype": "fp32", "backend": "torch"}


def pictures(folder):
    return [read_image(path)[0] for path in sorted(folder.glob("*.png"))]


def made(clip, folder, endpoints, sections=None, **options):
    """The frames of a render as it is written to PNG files, which are exact."""
    folder.mkdir(exist_ok=True)
    preset = endpoints if isinstance(endpoints, Preset) else preset_of(endpoints, **(sections or {}))
    render(clip, folder / "%04d.png", preset=preset, overwrite=True, **EXACT, **options)
    return pictures(folder)


def same(one, other):
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


coefficients = st.lists(st.floats(0, 1), min_size=1, max_size=5).filter(lambda c: sum(c) > 0.01)


@given(coefficients, st.floats(0, 1))
def test_a_weakened_alpha_is_a_mix_with_the_first(coefficients, strength):
    alpha = tuple(c / sum(coefficients) for c in coefficients)
    weak = weaken(alpha, strength)
    assert sum(weak) == pytest.approx(1, abs=1e-12) and len(weak) == len(alpha)
    assert weak[1:] == pytest.approx([strength * a for a in alpha[1:]])
    assert weaken(alpha, 1) is alpha
    assert weaken(alpha, 0) == (1, *[0] * (len(alpha) - 1))
    first = (1.0, *[0.0] * (len(alpha) - 1))
    assert weaken(first, strength) == first  # bit for bit: what is the picture stays it


def test_strength_is_exact_at_its_ends_and_linear_in_alpha_between(tmp_path, clip, endpoints):
    plain = made(clip, tmp_path / "a", endpoints, keyframes="0:0, 11:1")
    assert same(made(clip, tmp_path / "b", endpoints, keyframes="0:0, 11:1", strength=1), plain)
    first = made(clip, tmp_path / "b", endpoints, keyframes="0:day")
    assert same(made(clip, tmp_path / "b", endpoints, keyframes="0:0, 11:1", strength=0), first)
    half = made(clip, tmp_path / "b", endpoints, keyframes="0:0, 11:1", strength=0.5)
    assert same(half, made(clip, tmp_path / "c", endpoints, keyframes="0:0, 11:0.5"))
    assert not same(half, plain)
    written = made(clip, tmp_path / "b", endpoints, {"effect": {"strength": 0.5}}, keyframes="0:0, 11:1")
    assert same(written, half)
    timeline = made(clip, tmp_path / "b", endpoints, keyframes=Timeline.parse("0:0, 11:1"), strength=0.5)
    assert same(timeline, half)


def test_colors_are_kept_and_the_identity_stays_exact(tmp_path, clip, endpoints):
    plain = made(clip, tmp_path / "a", endpoints, keyframes="0:0, 11:1")
    matrix = make_plan(make_job(clip, tmp_path / "x.mkv", preset_of(endpoints))).source.metadata.color.matrix
    day = made(clip, tmp_path / "b", endpoints, keyframes="0:day")
    assert same(made(clip, tmp_path / "b", endpoints, keyframes="0:day", keep_colors=True), day)
    kept = made(clip, tmp_path / "c", endpoints, keyframes="0:0, 11:1", keep_colors=True)
    assert same(kept, [with_chroma(image, source, matrix) for image, source in zip(plain, day, strict=True)])
    assert not same(kept, plain)
    written = made(clip, tmp_path / "d", endpoints, {"effect": {"keep_colors": True}}, keyframes="0:0, 11:1")
    assert same(written, kept)
    parts = made(clip, tmp_path / "d", endpoints, keyframes="0:0, 11:1", keep_colors=True, batch=5)
    assert same(parts, kept)


def test_every_panel_but_the_source_keeps_colors(tmp_path, clip, endpoints):
    panels = {"layout": {"panels": ["source", "render", "night"], "labels": False}}
    sheet = made(clip, tmp_path / "a", endpoints, panels, keyframes="0:0, 11:1", keep_colors=True)
    alone = made(clip, tmp_path / "b", endpoints, keyframes="0:0, 11:1", keep_colors=True)
    night = made(clip, tmp_path / "c", endpoints, keyframes="0:night", keep_colors=True)
    for whole, image, last in zip(sheet, alone, night, strict=True):
        gap = (whole.shape[1] - 3 * 96) // 2
        assert np.array_equal(whole[:64, 96 + gap : 2 * 96 + gap], image)
        assert np.array_equal(whole[:64, 2 * (96 + gap) : 3 * 96 + 2 * gap], last)


def test_frames_in_memory_are_those_of_the_file(tmp_path, clip, endpoints):
    options = {"keyframes": "0:0, 11:1", "strength": 0.7, "keep_colors": True}
    source = made(clip, tmp_path / "a", endpoints, keyframes="0:day")
    preset = preset_of(endpoints)
    frames = list(dnirender.render_frames(source, preset=preset, **options, **EXACT))
    plain = list(dnirender.render_frames(source, "0:0, 11:0.7", preset=preset, **EXACT))
    assert same(frames, [with_chroma(image, frame) for image, frame in zip(plain, source, strict=True)])


def test_a_network_that_enlarges_gets_enlarged_colors(tmp_path, clip):
    source = made(clip, tmp_path / "a", Preset.load("painters"), keyframes="0:photo", end=2)
    plain = made(clip, tmp_path / "b", Preset.load("detail"), end=2)
    kept = made(clip, tmp_path / "c", Preset.load("detail"), end=2, keep_colors=True)
    assert kept[0].shape == (128, 192, 3)
    matrix = make_plan(make_job(clip, tmp_path / "x.mkv")).source.metadata.color.matrix
    assert same(kept, [with_chroma(image, frame, matrix) for image, frame in zip(plain, source, strict=True)])


def test_an_alpha_that_is_weakened_is_what_the_track_and_the_plan_show(tmp_path, clip, endpoints):
    plan = make_plan(make_job(clip, tmp_path / "a.mkv", preset_of(endpoints), keyframes="0:0, 11:1", strength=0.5))
    assert plan.selection.track.alphas[-1] == plan.selection.alphas[-1] == (0.5, 0.5)
    assert plan.selection.track.keys[-1] == (1, (0.5, 0.5))
    still = make_plan(make_job(clip, tmp_path / "a.mkv", preset_of(endpoints), keyframes="0:0, 11:1", strength=0))
    assert still.weight_writes == 1


def test_a_first_endpoint_that_is_not_known_to_be_the_picture_is_named(tmp_path, clip, endpoints):
    warning = "strength=0.5: the rest is day, which this preset does not call the picture itself"
    assert warning in make_plan(make_job(clip, tmp_path / "a.mkv", preset_of(endpoints), strength=0.5)).warnings
    assert warning not in make_plan(make_job(clip, tmp_path / "a.mkv", preset_of(endpoints))).warnings
    for name, first in {
        "painters": "photo",
        "painters-cycle": "photo",
        "sketchbook": "photo",
        "day-to-night": "day",
        "focus": "deep",
    }.items():
        preset = Preset.load(name)
        assert (preset.endpoints[0], preset.network.endpoints[0].identity) == (first, True)
        assert not any(
            "strength" in text for text in make_plan(make_job(clip, tmp_path / "a.mkv", preset, strength=0.5)).warnings
        )
    assert not Preset.load("detail").network.endpoints[0].identity


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), "much"])
def test_strengths_out_of_range_are_refused_by_name(tmp_path, value, endpoints):
    with pytest.raises(PresetError, match=r"effect\.strength: expected "):
        make_job("x.mp4", "y.mp4", preset_of(endpoints), strength=value)


def test_the_command_line_offers_both(tmp_path, clip, endpoints, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models = ["-m", "day=day.safetensors", "-m", "night=night.safetensors", "-y"]
    words = ["clip.mp4", *models, "--dtype", "fp32", "--backend", "torch", "-k", "0:0,11:1", "-o", "a/%04d.png"]
    (tmp_path / "a").mkdir()
    assert main([*words, "--strength", "0.7", "--keep-colors", "--json"]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert any(warning.startswith("--strength 0.7: the rest is day") for warning in warnings)
    expected = made(clip, tmp_path / "b", endpoints, keyframes="0:0, 11:1", strength=0.7, keep_colors=True)
    assert same(pictures(tmp_path / "a"), expected)
    assert main([*words, "--strength", "1.5"]) == 2
    assert "--strength: expected less than or equal to 1, got 1.5" in capsys.readouterr().err
    assert main(["sheet", "clip.mp4", *models, "--strength", "0.5", "--keep-colors", "--alphas", "0,1"]) == 0


def test_sheets_show_the_weakened_effect(tmp_path, clip, endpoints, monkeypatch):
    from dnirender.jobs import contact_sheet

    rows = {}
    monkeypatch.setattr(contact_sheet.contact_sheet, "sheet", lambda cells, *_: rows.update(cells=cells) or cells[0][0])

    def cells(**options):
        job = make_job(clip, tmp_path / "s.png", preset_of(endpoints), overwrite=True, **EXACT, **options)
        contact_sheet.make_sheet(job, ["0", "end"], ["day", "night", "0.5"], "title")
        return rows["cells"]

    plain, half = cells(), cells(strength=0.5)
    for full, weak in zip(plain, half, strict=True):
        assert np.array_equal(weak[0], full[0]) and np.array_equal(weak[1], full[2])
    matrix = make_plan(make_job(clip, tmp_path / "x.mkv", preset_of(endpoints))).source.metadata.color.matrix
    for full, kept in zip(plain, cells(keep_colors=True), strict=True):
        assert same(kept, [with_chroma(image, full[0], matrix) for image in full])


def test_previews_keep_colors_and_are_weakened(tmp_path, clip, endpoints, monkeypatch):
    from dnirender.jobs import preview

    shown = []
    monkeypatch.setattr(preview, "stills", lambda images, *_: shown.append(images) or images[0])

    def images(**options):
        job = make_job(clip, tmp_path / "a.mkv", preset_of(endpoints), keyframes="0:0, end:1", **EXACT, **options)
        preview.make_preview(job.override(overwrite=True))
        return shown[-1]

    plain, half, kept = images(), images(strength=0.5), images(keep_colors=True)
    source = made(clip, tmp_path / "b", endpoints, keyframes="0:day")
    matrix = make_plan(make_job(clip, tmp_path / "x.mkv", preset_of(endpoints))).source.metadata.color.matrix
    middle = (source[-1].astype(int) + plain[-1]) / 2
    assert np.abs(half[-1] - middle)[plain[-1] > 0].max() <= 1
    assert np.array_equal(kept[-1], with_chroma(plain[-1], source[-1], matrix))
    assert not same(kept, plain)


def test_an_unknown_option_is_still_unknown(endpoints):
    with pytest.raises(UsageError, match="strenght: unknown option; did you mean strength"):
        make_job("x.mp4", "y.mp4", preset_of(endpoints), strenght=1)
