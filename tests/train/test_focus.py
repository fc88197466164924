"""Laws of the pictures that the focus learns from, of its training, and of what ships."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("cv2")

import torch

from dnirender.engine.engine import Engine
from dnirender.errors import TrainingError
from dnirender.media.images import write_png
from dnirender.networks.loading import load
from dnirender.preset import Preset
from dnirender.preset_files import preset_folder
from dnirender.train.data import subjects
from dnirender.train.loop import train
from dnirender.train.recipe import Recipe
from dnirender.train.tasks.focus import Focus
from support.gpu_stand_in import step_on_gpu

NAMES = ("deep", "shallow")
WEIGHTS = preset_folder() / "weights" / "focus"


def write_photos(folder):
    """A photograph with a subject cut by the lower edge, and one without, in `folder`, with masks."""
    rng, (photos, masks) = np.random.default_rng(0), (folder / "photos", folder / "work" / "masks")
    photos.mkdir()
    masks.mkdir(parents=True)
    mask = np.zeros((300, 400, 3), np.uint8)
    mask[100:, 150:250] = 255
    for name, which in (("subject", mask), ("scene", np.zeros_like(mask)), ("unlisted", None)):
        write_png(photos / f"{name}.png", rng.integers(0, 255, (300, 400, 3), np.uint8))
        if which is not None:
            write_png(masks / f"{name}.png", which)


def recipe(**changes):
    goals = [{"name": name, "identity": name == "deep", "share": float(name != "deep")} for name in NAMES]
    data = {"name": "Focus", "kind": "focus", "photos": ["photos"], "endpoints": goals}
    stages = [{"train": "base", "endpoint": "shallow", "steps": 1}]
    return Recipe.checked(data | {"stages": stages, "training": {"batch": 2}} | changes, "test")


@pytest.fixture
def folder(tmp_path):
    write_photos(tmp_path)
    return tmp_path


@pytest.fixture
def task(folder):
    return Focus(recipe(), folder, folder / "work")


def test_photographs_without_a_mask_are_left_out(task):
    assert (len(task.pool.subjects), len(task.pool.scenes)) == (1, 1)


def test_missing_masks_are_refused_with_the_command_that_makes_them(folder):
    with pytest.raises(TrainingError, match=r"got none with a subject; `python benchmarks/focus_masks.py` makes them"):
        Focus(recipe(held_out=["subject"]), folder, folder / "work")
    with pytest.raises(TrainingError, match="got none without a subject"):
        Focus(recipe(held_out=["scene"]), folder, folder / "work")


def test_batches_are_pictures_masks_and_radii(task):
    rng = torch.Generator().manual_seed(0)
    seen = set()
    while len(seen) < len(subjects.WINDOWS):
        picture, mask, radius, known, _ = task.batch((0.0, 1.0), rng)
        n, _, h, w = picture.shape
        seen.add((h, w))
        assert (mask.shape, radius.shape, known.shape) == ((n, 1, h, w), (n, 1, h, w), (n, 1, 1, 1))
        for part in (picture, mask, radius):
            assert part.min() >= 0 and part.max() < 1 + 1e-5
        empty = mask.amax((1, 2, 3)) == 0
        assert (radius[empty & (known.flatten() > 0)] == 0).all()  # a scene stays sharp
    assert seen == set(subjects.WINDOWS)


def test_the_blur_grows_from_the_feet_of_who_stands_in_the_picture():
    mask = torch.zeros(1, 100, 60)
    mask[:, 20:70, 20:40] = 1
    rows = subjects.ground(mask)[0, :, 0]
    assert (rows[70:] == rows.min()).all() and rows[0] == 1
    assert (rows.diff() <= 0).all()
    mask[:, 70:] = mask[:, 60:61]
    assert (subjects.ground(mask) == 1).all()


def test_the_picture_of_a_network_that_knows_the_mask_is_the_target(task):
    rng = torch.Generator().manual_seed(1)
    batch = task.batch((0.0, 1.0), rng)
    terms = task.loss(task.network(), (0.0, 1.0), (*batch[:-1], torch.tensor(True)))
    assert set(terms) == {"cover", "radius", "reading", "picture"}
    assert all(torch.isfinite(term) and term >= 0 for term in terms.values())
    assert "picture" not in task.loss(task.network(), (0.0, 1.0), (*batch[:-1], torch.tensor(False)))


def test_training_leaves_the_endpoints_equal_but_for_their_last_layer(task, tmp_path):
    (tmp_path / "run").mkdir()
    deep, shallow = train(task, tmp_path / "run", torch.device("cpu"))
    for name, weight in shallow.items():
        assert torch.equal(deep[name], weight) != name.startswith("last.")
    assert not deep["last.weight"].any() and not deep["last.bias"].any()


def shipped():
    safetensors_torch = pytest.importorskip("safetensors.torch")
    return [safetensors_torch.load_file(WEIGHTS / f"{name}.safetensors") for name in NAMES]


def portrait():
    """A checkered background, 192 x 256; whatever of it is taken for a subject, some is blurred or none."""
    y, x = np.mgrid[:192, :256]
    return np.repeat(((y // 4 + x // 4) % 2 * 200 + 20).astype(np.uint8)[..., None], 3, 2)


def test_the_shipped_endpoints_differ_in_the_last_layer_alone_and_are_small():
    deep, shallow = shipped()
    assert all(torch.equal(deep[name], shallow[name]) for name in deep if not name.startswith("last."))
    assert not deep["last.weight"].any() and shallow["last.weight"].any()
    assert sum((WEIGHTS / f"{name}.safetensors").stat().st_size for name in NAMES) < 1_600_000
    assert {weight.dtype for weight in deep.values()} == {torch.float16}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_shipped_deep_is_the_picture_itself(dtype):
    preset = Preset.load("focus")
    engine = Engine(*load({e.name: e.weights for e in preset.network.endpoints}), device="cpu", dtype=dtype)
    np.testing.assert_array_equal(engine.render(portrait(), (1.0, 0.0)), portrait())


def test_a_step_on_a_gpu_leaves_nothing_on_the_cpu(task):
    assert step_on_gpu(task)
