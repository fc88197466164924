"""Laws of the preview: it shows the keys of the timeline and what lies half-way between them, and touches nothing
else."""

import numpy as np
import pytest

from dnirender.cli.main import main
from dnirender.errors import OutputError
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.preview import MAX_FRAMES, make_preview, preview_numbers, preview_path
from dnirender.media.images import read_image
from support.clips import make_clip, preset_of


def numbers(clip, folder, endpoints, keyframes, **options):
    return preview_numbers(
        make_plan(make_job(clip, folder / "o.mp4", preset_of(endpoints), keyframes=keyframes, **options))
    )


@pytest.mark.parametrize(
    ("keyframes", "expected"),
    [
        ("0:0,end:1", [0, 5, 11]),
        ("2:0,6:1", [0, 1, 2, 4, 6, 8, 11]),
        ("0:0,1:1", [0, 1, 6, 11]),
        ("0:0,0.24s:1", [0, 3, 6, 8, 11]),
        ("0:0,20:1", [0, 5, 11]),
        ("0:0.5", [0, 5, 11]),
    ],
)
def test_the_frames_are_those_of_keys_and_half_ways(tmp_path, clip, endpoints, keyframes, expected):
    assert numbers(clip, tmp_path, endpoints, keyframes) == expected


def test_frames_are_counted_from_the_first_one_rendered(tmp_path, clip, endpoints):
    assert numbers(clip, tmp_path, endpoints, "0:0,end:1", start="4", end="9") == [0, 2, 4]


def test_there_are_never_more_than_can_be_looked_at(tmp_path, endpoints):
    clip = make_clip(tmp_path / "long.mp4", frames=60)
    keys = ", ".join(f"{number}:{number % 2}" for number in range(60))
    found = numbers(clip, tmp_path, endpoints, keys)
    assert len(found) == MAX_FRAMES and (found[0], found[-1]) == (0, 59) and found == sorted(set(found))


def test_each_frame_is_shown_under_its_own_alpha(tmp_path, clip, endpoints, monkeypatch):
    """The network adds the mix of its biases, so that brightness tells alpha."""
    shown = {}
    monkeypatch.setattr(
        "dnirender.jobs.preview.stills", lambda *found: shown.update(enumerate(found)) or np.zeros((4, 4, 3), np.uint8)
    )
    make_preview(make_job(clip, tmp_path / "o.mp4", preset_of(endpoints), keyframes="0:0,end:1", dtype="fp32"))
    images, labels, title = shown[0], shown[1], shown[2]
    assert labels == [("0   0.00 s", "day"), ("5   0.20 s", "0.55 day + 0.45 night"), ("11   0.44 s", "night")]
    assert title == "clip.mp4   test"
    plain = preset_of({"day": endpoints["day"], "same": endpoints["day"]})
    make_preview(make_job(clip, tmp_path / "p.mp4", plain, keyframes="0:0,5:0,end:0", dtype="fp32"))
    for image, source, alpha in zip(images, [shown[0][0], shown[0][2], shown[0][-1]], (0, 5 / 11, 1), strict=True):
        expected = np.clip(source / 255 - 0.4 * alpha, 0, 1) * 255
        assert np.abs(image - expected).max() <= 1


def test_large_frames_are_shown_small_and_small_ones_as_they_are(tmp_path, clip, endpoints):
    sheet = make_preview(make_job(clip, tmp_path / "o.mp4", preset_of(endpoints)))
    assert 3 * 96 < sheet.image.shape[1] < 3 * 96 + 100
    large = make_clip(tmp_path / "large.mp4", size=(800, 400), frames=3)
    sheet = make_preview(make_job(large, tmp_path / "l.mp4", preset_of(endpoints)))
    assert 3 * 320 < sheet.image.shape[1] < 3 * 320 + 100
    assert np.array_equal(read_image(sheet.path)[0], sheet.image)


def test_the_output_stays_and_a_preview_is_not_overwritten_unasked(tmp_path, clip, endpoints):
    target = tmp_path / "o.mp4"
    target.write_bytes(b"old")
    before = set(tmp_path.iterdir())
    job = make_job(clip, target, preset_of(endpoints))
    make_preview(job)
    assert set(tmp_path.iterdir()) - before == {tmp_path / "o.preview.png"} and target.read_bytes() == b"old"
    with pytest.raises(OutputError, match=r"o.preview.png: exists already"):
        make_preview(job)
    make_preview(job.override(overwrite=True))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("a.mp4", "a.preview.png"),
        ("a.b.gif", "a.b.preview.png"),
        ("f_%04d.png", "f.preview.png"),
        ("%d.png", "frames.preview.png"),
    ],
)
def test_the_name_follows_from_the_outputs(tmp_path, output, expected):
    assert preview_path(tmp_path / output) == tmp_path / expected


def test_the_command_says_where_it_is(tmp_path, clip, endpoints, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    models = ["-m", "day=day.safetensors", "-m", "night=night.safetensors"]
    assert main(["clip.mp4", *models, "-o", "o.mp4", "--preview"]) == 0
    assert capsys.readouterr().err == "o.preview.png: preview\n"
    assert not (tmp_path / "o.mp4").exists()
