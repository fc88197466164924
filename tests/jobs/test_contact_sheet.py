"""Laws of contact sheets from Python."""

import base64

import numpy as np
import pytest

import dnirender
from dnirender import OutputError, Sheet, UsageError
from dnirender.jobs.contact_sheet import make_sheet
from dnirender.jobs.job import make_job
from dnirender.media.images import decode_png, read_image
from dnirender.progress import ProgressTracker
from support.clips import make_clip, preset_of, tiny_endpoints


@pytest.fixture
def job(tmp_path):
    options = {"preset": preset_of(tiny_endpoints(tmp_path, day=0.0, dusk=-0.2, night=-0.4)), "device": "cpu"}
    return {"input": make_clip(tmp_path / "clip.mp4", frames=12), "dtype": "fp32", **options}


def test_a_sheet_is_an_image_and_a_png_where_one_is_named(tmp_path, job):
    memory = dnirender.sheet(**job)
    assert isinstance(memory, Sheet) and memory.path is None and memory.image.dtype == np.uint8
    assert sorted(path.name for path in tmp_path.glob("*.png")) == []
    written = dnirender.sheet(output=tmp_path / "sheet.png", **job)
    assert written.path == tmp_path / "sheet.png"
    assert np.array_equal(read_image(written.path)[0], memory.image) and np.array_equal(written.image, memory.image)
    with pytest.raises(OutputError, match="sheet.png: exists already"):
        dnirender.sheet(output=tmp_path / "sheet.png", **job)
    dnirender.sheet(output=tmp_path / "sheet.png", overwrite=True, **job)


def test_a_notebook_shows_its_png(job):
    made = dnirender.sheet(frames=[0], alphas=[0], **job)
    data = made._repr_html_().removeprefix('<img src="data:image/png;base64,').removesuffix('">')
    assert np.array_equal(decode_png(base64.b64decode(data)), made.image)


def test_frames_and_alphas_are_texts_numbers_tuples_or_dicts(job):
    text = dnirender.sheet(frames=["0", "6", "end"], alphas=["0", "0.5*day+0.5*dusk", "night"], title="x", **job)
    same = dnirender.sheet(frames=[0, 6, -1], alphas=["0", (0.5, 0.5, 0), "night"], title="x", **job)
    assert np.array_equal(text.image, same.image)
    named = dnirender.sheet(frames=[0, 6, -1], alphas=["0", {"day": 0.5, "dusk": 0.5}, "night"], title="x", **job)
    assert np.array_equal(named.image, text.image)
    other = dnirender.sheet(frames=[0, 6, -1], alphas=["0", {"day": 0.6, "dusk": 0.4}, "night"], title="x", **job)
    assert not np.array_equal(other.image, text.image)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"output": "sheet.jpg"}, "sheet.jpg: a contact sheet is a PNG; name it .png"),
        ({"crf": 17}, r"crf: unknown option; see help\(sheet\)"),
        ({"widht": 64}, "widht: unknown option; did you mean width"),
        ({"alphas": [{"dsuk": 1}]}, "alpha: unknown endpoint .dsuk.; did you mean dusk"),
        ({"alphas": ["1.5"]}, "alphas='1.5'"),
        ({"frames": ["99%%"]}, "99%%"),
    ],
    ids=str,
)
def test_what_does_not_suit_a_sheet_is_refused_by_name(job, option, message):
    with pytest.raises(UsageError, match=message):
        dnirender.sheet(**job | option)


def test_progress_counts_every_image(tmp_path, job):
    seen, rest = [], {name: value for name, value in job.items() if name not in ("input", "preset")}
    made = make_job(job["input"], tmp_path / "sheet.png", job["preset"], **rest)
    make_sheet(made, [0, -1], ["0", "dusk", "1"], "", progress=ProgressTracker(seen.append))
    assert [now.phase for now in seen if now.alpha is None] == ["loading", "choosing", "rendering"]
    frames = [(now.done, now.total, now.alpha) for now in seen if now.alpha is not None]
    alphas = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    assert frames == [(number + 1, 6, alphas[number % 3]) for number in range(6)]
