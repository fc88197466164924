"""Laws of the drawing model and of the training that learns from it."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("cv2")

import torch

from dnirender.errors import TrainingError
from dnirender.media.images import write_png
from dnirender.train.data.drawing import INK, NAMES, PATH, PENCIL, PERIOD, PHOTO, WATERCOLOR, draw, mixed, study
from dnirender.train.data.relighting import to_linear
from dnirender.train.losses import LUMA
from dnirender.train.recipe import Recipe
from dnirender.train.tasks.sketch import Sketch
from support.gpu_stand_in import step_on_gpu

MEDIA = {"pencil": PENCIL, "ink": INK, "watercolour": WATERCOLOR}
ENDS = np.eye(4).tolist()


def picture(rows=96, cols=128):
    """A disk before a gradient, with some texture."""
    y, x = np.mgrid[:rows, :cols].astype(np.float32)
    image = np.stack([0.3 + 0.5 * x / cols, 0.5 + 0.3 * y / rows, 0.7 - 0.4 * x / cols], 2)
    image[(y - rows / 2) ** 2 + (x - cols / 2) ** 2 < 28**2] = (0.75, 0.15, 0.2)
    return np.clip(image + 0.03 * np.sin(x * 1.3)[..., None], 0, 1).astype(np.float32)


def drawn(image, medium):
    return draw(study(image), medium)


def test_the_path_is_photo_pencil_ink_watercolour():
    assert NAMES == ("photo", "pencil", "ink", "watercolour")
    assert [mixed(end) for end in ENDS] == list(PATH)
    half = mixed((0, 0.5, 0.5, 0))
    assert half.lines == pytest.approx((PENCIL.lines + INK.lines) / 2)


def test_a_photograph_stays_as_it_is():
    np.testing.assert_array_equal(drawn(picture(), PHOTO), picture())


@pytest.mark.parametrize("name", MEDIA)
def test_drawings_are_of_the_size_and_range_of_pictures_and_always_the_same(name):
    image = picture()
    made = drawn(image, MEDIA[name])
    assert made.shape == image.shape
    assert made.dtype == np.float32
    assert made.min() >= 0 and made.max() <= 1
    np.testing.assert_array_equal(made, drawn(image.copy(), MEDIA[name]))


@pytest.mark.parametrize("name", MEDIA)
def test_a_picture_moved_by_periods_of_the_paper_is_the_same_drawing_moved(name):
    image = np.pad(picture(), ((80, 80), (80, 80), (0, 0)), "reflect")
    y, x = PERIOD, 2 * PERIOD
    whole = drawn(image, MEDIA[name])[64 + y : -64, 64 + x : -64]
    moved = drawn(image[y:, x:], MEDIA[name])[64:-64, 64:-64]
    assert abs(whole - moved).mean() < 0.002


@pytest.mark.parametrize("name", MEDIA)
def test_the_noise_of_video_hardly_shows(name):
    image = picture()
    noisy = np.clip(image + 0.01 * np.random.default_rng(0).normal(size=image.shape), 0, 1).astype(np.float32)
    assert abs(drawn(noisy, MEDIA[name]) - drawn(image, MEDIA[name])).mean() < 0.01


def test_pencil_and_ink_are_without_color_and_watercolour_is_not():
    def chroma(image):
        return (image.max(2) - image.min(2)).mean()

    assert chroma(drawn(picture(), PENCIL)) < 0.06
    assert chroma(drawn(picture(), INK)) < 0.06
    assert chroma(drawn(picture(), WATERCOLOR)) > 0.8 * chroma(picture())


def test_contours_are_drawn_where_the_picture_has_edges():
    image = picture()
    ink = drawn(image, INK).mean(2)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    radius = np.hypot(y - 48, x - 64)
    assert ink[abs(radius - 29) < 2].min() < 0.3
    assert np.median(ink[radius > 40]) > 0.5


@pytest.mark.parametrize("name", ["pencil", "watercolour"])
def test_skin_keeps_its_relative_lightness(name):
    """Render over photo of linear luminance: the same within 15 % from very dark to light skin, and the same hue."""
    skin = np.array([(56, 38, 32), (92, 56, 40), (141, 85, 54), (198, 134, 100), (226, 178, 150)], np.float32) / 255
    rows = [drawn(np.broadcast_to(tone, (64, 64, 3)).copy(), MEDIA[name]) for tone in skin]
    light = [
        float(to_linear(torch.from_numpy(np.ascontiguousarray(p))).mean((0, 1)) @ torch.tensor(LUMA))
        for pair in zip(rows, skin[:, None, None], strict=True)
        for p in pair
    ]
    gains = np.array(light[::2]) / light[1::2]
    assert gains.max() < 1.15 * gains.min()
    if name == "watercolour":
        means = np.stack([row.mean((0, 1)) for row in rows])
        assert (np.diff(means, axis=1) < 0).all()  # red over green over blue: no purple


def test_ink_is_ink_or_paper_with_a_hard_edge_between():
    ink = drawn(picture(), INK).mean(2)
    dark, light = np.mean(INK.shade), np.mean(INK.paper)
    between = (ink > dark + 0.1) & (ink < light - 0.1)
    boundary = abs(np.diff(ink > 0.5, axis=0)).sum() + abs(np.diff(ink > 0.5, axis=1)).sum()
    assert boundary > 1000
    assert between.sum() < 1.6 * boundary


def test_hatching_grows_wider_as_the_tone_falls():
    cover = [1 - drawn(np.full((64, 64, 3), tone, np.float32), INK).mean() for tone in (0.8, 0.6, 0.45, 0.3, 0.2, 0.05)]
    assert (np.diff(cover) > 0.04).all()


@pytest.mark.parametrize("name", ["pencil", "watercolour"])
def test_the_bright_side_of_an_edge_has_no_rim(name):
    image = np.full((128, 128, 3), 0.35, np.float32)
    image[:, 64:] = 0.65
    columns = drawn(image, MEDIA[name]).mean((0, 2)).reshape(-1, 8).mean(1)[8:]
    assert columns.max() < columns[3:].mean() + 0.02


@pytest.mark.parametrize("first", range(3))
def test_half_way_lies_a_drawing_and_not_a_crossfade(first):
    image, mix = picture(), [0.5 * (k in (first, first + 1)) for k in range(4)]
    one, other = (drawn(image, PATH[k]) for k in (first, first + 1))
    apart = abs(drawn(image, mixed(mix)) - (one + other) / 2).mean()
    assert apart > 0.06 * abs(one - other).mean()


def recipe(names=NAMES):
    goals = [{"name": name, "identity": name == "photo", "share": float(name != "photo")} for name in names]
    stages = [{"train": "path", "steps": 1}]
    settings = {"batch": 2, "crop": 64}
    data = {"name": "Sketch", "kind": "sketch", "photos": ["photos"], "endpoints": goals, "stages": stages}
    return Recipe.checked(data | {"training": settings}, "test")


@pytest.fixture
def task(tmp_path):
    (tmp_path / "photos").mkdir()
    write_png(tmp_path / "photos" / "0.png", (picture(160, 200) * 255).astype(np.uint8))
    return Sketch(recipe(), tmp_path)


def test_the_untouched_picture_keeps_its_noise_and_a_drawing_has_none(task):
    rng = torch.Generator().manual_seed(1)
    for _ in range(6):
        seen, target, _, _ = task.batch((1.0, 0.0, 0.0, 0.0), rng)
        torch.testing.assert_close(seen, target)
    torch.manual_seed(0)
    batch = task.batch((0.0, 0.0, 1.0, 0.0), rng)
    terms = task.loss(
        lambda x: batch[1][:1].expand_as(x), (0.0, 0.0, 1.0, 0.0), (batch[0][:1], batch[1][:1], *batch[2:])
    )
    assert terms["values"] < 2e-3  # of the drawing itself


def test_the_network_is_the_picture_itself_at_the_start(task):
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(task.network()(x), x)


def test_other_endpoints_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="sketch draws photo, pencil, ink, watercolour"):
        Sketch(recipe(("photo", "ink")), tmp_path)


def test_a_step_on_a_gpu_leaves_nothing_on_the_cpu(task):
    assert set(step_on_gpu(task)) >= {"values"}
