"""`--repair`: what is rendered is corrected by what was measured on the source."""

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from dnirender.cli.main import main
from dnirender.errors import UsageError
from dnirender.jobs.contact_sheet import sheet
from dnirender.jobs.fingerprint import job_fingerprint
from dnirender.jobs.frames import render_frames
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.repair import _pairs
from support.clips import decoded, make_clip, preset_of, tiny_endpoints


@pytest.fixture
def files(tmp_path):
    """Networks that darken by the same sum in different channels: half-way a quarter of it is left."""
    found = tiny_endpoints(tmp_path, one=0.0, two=0.0)
    for start, file in zip((0, 3), found.values(), strict=True):
        state = {name: tensor.clone() for name, tensor in load_file(file).items()}
        for color, channel in enumerate(range(start, start + 3)):
            state["body.0.weight"][channel, color, 1, 1] = state["body.2.weight"][channel, channel, 1, 1] = 1.0
            state["body.4.weight"][color, channel, 1, 1] = -0.8
        save_file(state, file)
    return found


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mkv", frames=6)


def test_a_render_is_corrected_and_says_so(tmp_path, files, clip, capsys):
    words = [str(clip), *(word for name, file in files.items() for word in ("-m", f"{name}={file}")), "-k", "0:0,5:1"]
    words += ["--dtype", "fp32", "--backend", "torch", "-e", "qp=0", "--pix-fmt", "yuv444p"]
    assert main([*words, "-o", str(tmp_path / "plain.mkv")]) == 0
    capsys.readouterr()
    assert main([*words, "--repair", "-o", str(tmp_path / "repaired.mkv")]) == 0
    assert "repair: one to two: brightness and contrast half-way were off by" in capsys.readouterr().err
    plain, repaired = ([image for _, image in decoded(tmp_path / f"{name}.mkv")] for name in ("plain", "repaired"))
    np.testing.assert_array_equal(plain[0], repaired[0])
    np.testing.assert_array_equal(plain[-1], repaired[-1])
    wanted = [plain[0].mean() + (plain[-1].mean() - plain[0].mean()) * number / 5 for number in range(6)]
    errors = [
        max(abs(image.mean() - goal) for image, goal in zip(images, wanted, strict=True))
        for images in (plain, repaired)
    ]
    assert errors[1] < errors[0] / 2
    assert main([*words, "--repair", "--dry-run", "-o", str(tmp_path / "dry.mkv")]) == 0
    assert "half-way" not in capsys.readouterr().err


def test_segments_without_repair_are_not_reused(tmp_path, files, clip):
    jobs = [make_job(clip, tmp_path / "o.mkv", preset_of(files), repair=repair) for repair in (False, True)]
    one, two = (job_fingerprint(make_plan(job)) for job in jobs)
    assert one != two


def test_every_pair_that_the_timeline_mixes_is_measured(tmp_path, clip):
    files = tiny_endpoints(tmp_path, a=0.0, b=0.1, c=0.2, d=0.3)

    def pairs(keyframes, **options):
        return _pairs(make_job(clip, tmp_path / "o.mkv", preset_of(files), keyframes=keyframes, **options)) - {
            (0, 1),
            (1, 2),
            (2, 3),
        }

    assert pairs("0:0,5:1") == pairs("0:sin(t)**2") == set()
    assert pairs("0:a,5:d") == {(0, 3)}
    assert pairs("0:0.5*a+0.5*c") == {(0, 2)}
    assert pairs("0:a,2:c,5:0.5*b+0.5*d") == {(0, 2), (1, 3)}
    assert pairs("0:0,5:1", strength=0.5) == {(0, 2), (0, 3)}


def test_what_cannot_be_repaired_is_refused(tmp_path, files, clip):
    with pytest.raises(UsageError, match="repair=True: is measured on a file"):
        render_frames([], preset=preset_of(files), repair=True)
    with pytest.raises(UsageError, match="repair=True: layers that have tracks of their own"):
        sheet(clip, preset=preset_of(files), repair=True, tracks={"body.4.*": "0:1"})


def test_a_sheet_is_repaired_too(tmp_path, files, clip):
    images = [
        sheet(
            clip, preset=preset_of(files), frames=["0"], alphas=["0.5"], repair=repair, dtype="fp32", backend="torch"
        ).image
        for repair in (False, True)
    ]
    assert (images[0] != images[1]).any()
