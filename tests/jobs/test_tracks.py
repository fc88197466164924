"""Tracks of groups of layers: what is rendered is what mixing each group by hand renders."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import dnirender
from dnirender.cli.main import main
from dnirender.engine.engine import Engine
from dnirender.errors import TimelineError, UsageError
from dnirender.jobs.contact_sheet import TRACKS, sheet
from dnirender.jobs.fingerprint import job_fingerprint
from dnirender.jobs.frames import render_frames
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.preview import preview_numbers
from dnirender.networks.loading import load
from dnirender.timeline.timeline import Timeline
from dnirender.timeline.tracks import MAIN, are_closed, join_alphas, resolve_all
from support.clips import paint, preset_of, tiny_endpoints
from support.toys import Overflowing, cpu, pictures, toy

LAST = "body.4.*"
KEYS, TRACK = "0:0, end:1", "0:1, end:0"


def two_networks(folder):
    """Networks whose first layers and whose last layers both change the picture."""
    files = tiny_endpoints(folder)
    for seed, file in enumerate(files.values()):
        torch.manual_seed(seed)
        save_file({name: torch.randn_like(tensor) * 0.2 for name, tensor in load_file(file).items()}, file)
    return files


@pytest.fixture
def clip(tmp_path):
    from support.clips import make_clip

    return make_clip(tmp_path / "clip.mkv", frames=5)


def by_hand(files, folder, first, last):
    """The state with `first` of the second network in all layers but the last, which has `last` of it."""
    one, two = (load_file(file) for file in files.values())
    shares = {name: last if name.startswith("body.4.") else first for name in one}
    save_file(
        {name: (1 - share) * one[name] + share * two[name] for name, share in shares.items()},
        folder / "hand.safetensors",
    )
    return folder / "hand.safetensors"


def test_frames_are_those_of_layers_mixed_by_hand(tmp_path):
    files = two_networks(tmp_path)
    frames = [paint(number, (48, 32)) for number in range(5)]
    preset = preset_of(files, timeline={"keyframes": KEYS, "tracks": {LAST: TRACK}})
    rendered = list(render_frames(frames, preset=preset, device="cpu", dtype="fp32", backend="torch"))
    for number, (frame, image) in enumerate(zip(frames, rendered, strict=True)):
        hand = by_hand(files, tmp_path, number / 4, 1 - number / 4)
        engine = Engine(*load({"hand": hand}), device="cpu", dtype="fp32")
        assert np.abs(engine.render(frame, (1.0,)).astype(int) - image).max() <= 1
        plain = Engine(*load(files), device="cpu", dtype="fp32").render(frame, number / 4)
        assert number == 2 or (plain != image).any()


def test_the_library_has_tracks_too(tmp_path):
    files = two_networks(tmp_path)
    frame = paint(3, (48, 32))
    engine = Engine(*load(files, groups=[LAST]), device="cpu", dtype="fp32")
    hand = Engine(*load({"hand": by_hand(files, tmp_path, 0.25, 0.75)}), device="cpu", dtype="fp32")
    rendered = engine.render(frame, 0.25, tracks={LAST: 0.75})
    assert np.abs(rendered.astype(int) - hand.render(frame, (1.0,))).max() <= 1
    np.testing.assert_array_equal(engine.render(frame, 0.25, tracks={LAST: 0.25}), engine.render(frame, 0.25))
    with pytest.raises(UsageError, match=r"tracks='x': expected a group of the path's layers, which are body\.4\.\*"):
        engine.render(frame, 0.25, tracks={"x": 1})


def test_a_frame_that_overflows_is_rendered_again_under_all_its_tracks():
    from dnirender.frames import Batch, Frame
    from dnirender.networks.weights import WeightPath

    network, plain = toy(2, Overflowing)
    states = {
        name: {v.name: v.of(row).clone() for v in plain.layout}
        for name, row in zip(plain.names, plain.stack, strict=True)
    }
    path = WeightPath(states, groups=["fine.*"])
    (image,) = pictures(1, 8, 12)
    image[:] = 255
    batch = Batch((Frame(0, 0, image),), (1.0, 0.0, 0.0, 1.0))
    engine, exact = cpu(network, path, "bf16"), cpu(network, path)
    [(_, (retried,))], [(_, (expected,))] = list(engine([batch])), list(exact([batch]))
    assert engine.fp32_frames == [0]
    np.testing.assert_array_equal(retried, expected)


def test_a_render_on_the_command_line(tmp_path, clip, capsys):
    files = two_networks(tmp_path)
    models = [word for name, file in files.items() for word in ("-m", f"{name}={file}")]
    target = tmp_path / "out.mkv"
    arguments = [str(clip), *models, "-k", KEYS, "--track", f"{LAST}={TRACK}", "-o", str(target), "-e", "qp=0"]
    arguments += ["--dtype", "fp32", "--backend", "torch"]
    assert main([*arguments, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["distinct_alphas"] == 5
    assert main([*arguments, "--compare", "--panels", "source,render,crossfade,day"]) == 0
    capsys.readouterr()
    assert main([str(clip), *models, "--track", "nothing.*=0:0", "-o", str(tmp_path / "b.mkv"), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert "--track nothing.*: matches no tensor" in error and "the layers are body.0, body.1" in error
    assert main([str(clip), *models, "--track", f"{LAST}=0:0,0:1", "-o", str(tmp_path / "b.mkv")]) == 2
    assert f"--track {LAST}: frame 0 comes after frame 0" in capsys.readouterr().err
    assert main([str(clip), *models, "--track", LAST, "-o", str(tmp_path / "b.mkv")]) == 2
    assert f"--track {LAST}: expected LAYERS=KEYFRAMES" in capsys.readouterr().err


def test_segments_of_other_tracks_are_not_reused(tmp_path, clip):
    files = tiny_endpoints(tmp_path)
    jobs = [
        make_job(clip, tmp_path / "out.mkv", preset_of(files), keyframes=keyframes, tracks=tracks)
        for keyframes in (KEYS, Timeline.parse(KEYS))
        for tracks in ({}, {LAST: TRACK}, {LAST: KEYS}, {"body.2.*": TRACK})
    ]
    prints = [str(job_fingerprint(make_plan(job))) for job in jobs]
    assert len(set(prints)) == len(prints)


def test_the_plan_counts_and_previews_all_tracks(tmp_path, clip):
    preset = preset_of(tiny_endpoints(tmp_path))
    plan = make_plan(make_job(clip, tmp_path / "out.mkv", preset, keyframes="0:0", tracks={LAST: "1:0,3:1"}))
    assert plan.distinct_alphas == 3 and plan.weight_writes == 3
    assert plan.selection.alphas[2] == (1.0, 0.0, 0.5, 0.5)
    assert preview_numbers(plan) == [0, 1, 2, 3, 4]
    weak = make_plan(make_job(clip, tmp_path / "out.mkv", preset, keyframes="0:1", tracks={LAST: "0:1"}, strength=0.5))
    assert set(weak.selection.alphas) == {(0.5, 0.5, 0.5, 0.5)}
    far = make_plan(make_job(clip, tmp_path / "out.mkv", preset, keyframes="0:1", tracks={LAST: "0:0,90:1"}))
    assert any(warning.startswith(f"tracks='{LAST}': ") and "90:1" in warning for warning in far.warnings)


def test_a_picture_is_held_for_the_longest_track(tmp_path):
    from dnirender.media.images import write_png

    write_png(tmp_path / "still.png", paint(0, (48, 32)))
    job = make_job(
        tmp_path / "still.png",
        tmp_path / "o.mkv",
        preset_of(tiny_endpoints(tmp_path)),
        keyframes="0:0,9:1",
        tracks={LAST: "0:0,30:1"},
    )
    assert make_plan(job).num_frames == 31


def test_tracks_close_only_together():
    timelines = {MAIN: Timeline.parse("0:0,4:1,8:0"), "a": Timeline.parse("0:0,8:1"), "b": Timeline.parse("0:1")}
    seconds = [Fraction(number, 25) for number in range(9)]
    for names, closed in (((MAIN,), True), ((MAIN, "a"), False), ((MAIN, "b"), True), (("b",), False)):
        some = {name: timelines[name] for name in names}
        assert are_closed(some.values(), resolve_all(some, "ab", seconds), "ab") == closed, names
    joined = join_alphas(resolve_all(timelines, "ab", seconds))
    assert joined[4] == (0.0, 1.0, 0.5, 0.5, 0.0, 1.0)


def test_a_preset_has_tracks(tmp_path):
    files = tiny_endpoints(tmp_path)
    preset = preset_of(files, timeline={"tracks": {LAST: {"0": 1, "end": "night"}}})
    assert preset.timeline.tracks == {LAST: "0:1, end:night"}
    with pytest.raises(TimelineError, match=r"tracks='body\.4\.\*': .*dawn"):
        resolve_all(make_job("a.mp4", "b.mp4", preset, tracks={LAST: "0:dawn"}).timelines, ["day", "night"], [0])
    with pytest.raises(dnirender.PresetError, match=r"tracks='x': .*0:"):
        preset_of(files, timeline={"tracks": {"x": "0:"}})


def test_a_sheet_shows_the_frames_with_their_tracks(tmp_path, clip, monkeypatch):
    from dnirender.layout import contact_sheet

    drawn = []

    def draw(rows, _, titles, *__):
        drawn.append((rows, titles))
        return rows[0][0]

    monkeypatch.setattr(contact_sheet, "sheet", draw)
    preset = preset_of(two_networks(tmp_path))
    sheet(clip, preset=preset, frames=["0", "end"], alphas=["day"], tracks={LAST: TRACK}, dtype="fp32")
    [(rows, titles)] = drawn
    assert titles == ["day", TRACKS]
    assert (rows[0][0] != rows[0][1]).any()
