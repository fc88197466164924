"""`--pace perceptual`: equal times bring equal change of what is rendered, also when a render is resumed."""

import itertools

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from dnirender.cli.main import main
from dnirender.errors import PresetError, UsageError
from dnirender.jobs import pace
from dnirender.jobs.frames import render_frames
from dnirender.jobs.job import make_job
from dnirender.jobs.pace import changes
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import prepare
from dnirender.jobs.preview import make_preview
from dnirender.jobs.render import run
from dnirender.jobs.workspace import Manifest
from dnirender.media.images import write_png
from dnirender.progress import ProgressTracker
from support.clips import decoded, make_clip, preset_of, tiny_endpoints


@pytest.fixture
def files(tmp_path):
    """From the picture itself to a dark one, of which the path reaches half in less than a third of the way."""
    found = tiny_endpoints(tmp_path, one=0.0, two=0.0)
    for file, shares in zip(found.values(), ((0.0, 1.0), (1.0, 0.0)), strict=True):
        state = {name: tensor.clone() for name, tensor in load_file(file).items()}
        for channel in range(3):  # out = x - 0.9 (1 - a) (1 - a) x, plus nothing at a = 1
            state["body.0.weight"][channel, channel, 1, 1] = state["body.2.weight"][channel, channel, 1, 1] = shares[1]
            state["body.4.weight"][channel, channel, 1, 1] = -0.9
        save_file(state, file)
    return found


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mkv", frames=21)


def job(clip, files, out="o.mkv", **options):
    options = {"keyframes": "0:one, 20:two", "dtype": "fp32", "backend": "torch"} | options
    return make_job(clip, clip.parent / out, preset_of(files, encoding={"codec": "ffv1", "pix_fmt": "bgr0"}), **options)


def unevenness(path):
    """Largest over mean change from frame to frame."""
    steps = changes([image for _, image in decoded(path)])
    return max(steps) / np.mean(steps)


def test_the_render_changes_evenly_and_keys_are_exact(tmp_path, files):
    clip, found = tmp_path / "still.png", {}
    write_png(clip, np.arange(64 * 96 * 3, dtype=np.uint8).reshape(64, 96, 3))
    for kind in ("linear", "perceptual"):
        run(prepare(make_plan(job(clip, files, f"{kind}.mkv", pace=kind))), ProgressTracker())
        found[kind] = clip.with_name(f"{kind}.mkv")
    assert unevenness(found["linear"]) > 1.5
    assert unevenness(found["perceptual"]) < 1.25
    for frame in (0, -1):
        first, second = (decoded(path)[frame][1] for path in found.values())
        np.testing.assert_array_equal(first, second)


def test_a_resumed_render_keeps_the_pace_that_it_began_with(clip, files, monkeypatch):
    asked = job(clip, files, pace="perceptual", segment_frames=4, cache=False)
    prepared = prepare(make_plan(asked))
    paced = prepared.plan.paced_keyframes
    assert paced.startswith("0:one, ") and paced.endswith("20:two")

    class Stop(Exception):
        pass

    def stop(now):
        if now.done == 8 and now.alpha is not None:
            raise Stop

    with pytest.raises(Stop):
        run(prepared, ProgressTracker(stop))
    assert Manifest.read(prepared.workspace.folder).paced_keyframes == paced
    monkeypatch.setattr(pace, "changes", None)  # nothing is measured again
    assert prepare(make_plan(asked)).plan.selection.alphas == prepared.plan.selection.alphas


def test_a_pace_is_measured_once_per_job(clip, files, monkeypatch):
    first = prepare(make_plan(job(clip, files, pace="perceptual"))).plan
    monkeypatch.setattr(pace, "changes", lambda images: [1.0] * (len(images) - 1))
    assert prepare(make_plan(job(clip, files, pace="perceptual"))).plan.selection == first.selection
    other = prepare(make_plan(job(clip, files, pace="perceptual", end="9"))).plan
    assert len(set(np.round(np.diff([alpha[1] for alpha in other.selection.alphas]), 3))) == 1


def test_a_line_is_measured_on_the_frames_that_it_is_shown_with(clip, files, monkeypatch):
    seen = []
    monkeypatch.setattr(pace, "_images", lambda _, first, start, stop: seen.append((first, start, stop)) or [])
    monkeypatch.setattr(pace, "_at_their_time", lambda _: [1.0] * 32)
    prepare(
        make_plan(job(clip, files, keyframes="0:one, 6:two, 12:two, 14:0.5", start="3", end="19", pace="perceptual"))
    )
    assert seen == [(3, 0, 6), (3, 12, 14)]


def test_the_change_of_a_step_is_that_of_the_frames_nearest_to_it():
    early, late = [1.0] * 8, [3.0] * 8
    found = pace._at_their_time([early, late])
    assert found[:2] == [1.0, 1.0] and found[-2:] == [3.0, 3.0]
    assert all(a <= b for a, b in itertools.pairwise(found))


def test_change_is_the_cielab_difference():
    gray, red = np.full((4, 6, 3), 119, np.uint8), np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 255
    black = np.zeros((4, 6, 3), np.uint16)
    assert changes([black, gray, red, red]) == pytest.approx([50.0, 104.9, 0], abs=0.4)


def test_the_keyframes_of_a_dry_run_can_be_rendered_as_they_are(clip, files, capsys):
    words = [str(clip), *(word for name, file in files.items() for word in ("-m", f"{name}={file}"))]
    words += [
        "-k",
        "0:one, 20:two",
        "--backend",
        "torch",
        "--dtype",
        "fp32",
        "-o",
        str(clip.with_name("o.mkv")),
        "--dry-run",
    ]
    assert main([*words, "--pace", "perceptual"]) == 0
    text = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("keyframes")).split(None, 1)[1]
    first = prepare(make_plan(job(clip, files, pace="perceptual"))).plan.selection.alphas
    second = make_plan(job(clip, files, keyframes=text)).selection.alphas
    assert np.abs(np.subtract(first, second)).max() < 1e-6


def test_a_preview_shows_the_keys_and_the_paced_middle(clip, files):
    asked = job(clip, files, pace="perceptual")
    even = make_preview(asked).image
    plain = make_preview(asked.override(pace="linear", overwrite=True)).image
    assert even.shape == plain.shape
    assert np.abs(even.astype(int) - plain).max() > 8


def test_what_has_a_pace_of_its_own_is_refused(clip, files):
    for options, message in (
        ({"keyframes": "audio:rms"}, "follow the sound"),
        ({"tracks": {"body.*": "0:0,5:1"}}, "keyframes of their own"),
    ):
        with pytest.raises(UsageError, match=message):
            job(clip, files, pace="perceptual", **options)
    with pytest.raises(PresetError, match="pace of its own"):
        job(clip, files, pace="perceptual", keyframes="0:0, 5:sin(t)**2")
    with pytest.raises(UsageError, match="measured on a file"):
        list(render_frames([np.zeros((8, 8, 3), np.uint8)], "0:0", preset=preset_of(files), pace="perceptual"))
