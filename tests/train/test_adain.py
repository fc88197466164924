"""Laws of the training of the network for any style."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("cv2")

import torch
from torch import nn

from dnirender import Preset
from dnirender.cli.main import main
from dnirender.cli.train import make_task
from dnirender.errors import PresetError
from dnirender.families.adain import code_of, read_style
from dnirender.media.images import write_png
from dnirender.networks.architectures.paint import PaintNet
from dnirender.networks.architectures.style_encoder import StyleEncoder, statistics
from dnirender.networks.checkpoint import load_state_dict
from dnirender.train import loop
from dnirender.train.data.style_pictures import drawn, recolored
from dnirender.train.recipe import Recipe
from dnirender.train.tasks.adain import DISTILLED, GROUPS, AdaIN, even, relief, split_features
from support.clips import feature_network

CPU = torch.device("cpu")
RECIPE = {
    "name": "Any",
    "kind": "adain",
    "family": "adain",
    "photos": ["photos"],
    "styles": ["paintings"],
    "endpoints": [{"name": "photo", "identity": True}, {"name": "a", "image": "paintings/a.png"}],
    "stages": [{"train": "path", "steps": 2}],
    "training": {"batch": GROUPS, "crop": 64},
    "settings": {"side": 64},
}


@pytest.fixture
def studio(tmp_path, monkeypatch):
    """A folder with a recipe, photographs, paintings and a feature network of random weights."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("photos/0", "photos/1", "paintings/a", "paintings/b"):
        coarse = torch.from_numpy(random.random((1, 3, 12, 16), np.float32))
        picture = nn.functional.interpolate(coarse, size=(96, 128), mode="bilinear")[0].permute(1, 2, 0)
        file = tmp_path / "data" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_png(file, (picture.numpy() * 255).astype(np.uint8))
    feature_network(tmp_path / "data" / "perceptual")
    (tmp_path / "any.yaml").write_text(json.dumps(RECIPE), "utf-8")
    return tmp_path


def task_of(studio, **changes):
    data = studio / "data"
    return make_task(Recipe.checked(RECIPE | changes, "test"), data, data / "perceptual", studio / "work")


def test_a_recipe_becomes_one_file_with_its_styles(studio, capsys):
    assert main(["train", "any.yaml", "--data", "data", "--threads", "1"]) == 0, capsys.readouterr().err
    preset = Preset.load(studio / "any" / "any.yaml")
    assert preset.network.family == "adain"
    assert preset.endpoints == ("photo", "a")
    assert set(preset.network.files.values()) == {studio / "any" / "weights" / "any" / "adain.safetensors"}
    state = load_state_dict(preset.network.files["a"]).state
    found = code_of(state, read_style(studio / "data" / "paintings" / "a.png"))
    torch.testing.assert_close(state["styles.a"], found, atol=0.1, rtol=0.05)  # 0.1 of their deviation
    style = ["--style", "data/paintings/b.png"]
    assert main(["data/photos/0.png", "-p", "any/any.yaml", *style, "-k", "0:0,1:1", "-o", "out.gif"]) == 0


def test_a_network_of_styles_is_where_another_training_starts(studio):
    task = task_of(studio)
    run = loop.Run(task, CPU)
    weights = {name: torch.randn_like(value) for name, value in run.space.base.items()}
    run.begin_at([weights, weights])
    assert all(torch.equal(value, weights[name]) for name, value in run.space.endpoint(1).items())
    painters = [
        {k.removeprefix("paint."): v * f for k, v in weights.items() if k.startswith("paint.")} for f in (0, 1, 3)
    ]
    run.begin_at(painters)
    for name, value in run.space.base.items():
        if name == "paint.last.bias":
            assert (value[:12] == -1).all()  # the gain: nothing is left of the picture's own colors
        elif not name.startswith(("paint.last.", "paint.deep.")):
            torch.testing.assert_close(value.detach(), weights[name] * (2 if name.startswith("paint.") else 1))


def test_groups_are_in_one_style_or_between_two_ends(studio):
    task = task_of(studio)
    assert isinstance(task, AdaIN)
    rng = torch.Generator().manual_seed(0)
    mixes = torch.cat([task.batch((1.0, 0.0), rng)[3] for _ in range(40)])
    torch.testing.assert_close(mixes.sum(1), torch.ones(len(mixes)))
    ends = [tuple(mix.nonzero().flatten().tolist()) for mix in mixes]
    assert {len(e) for e in ends} == {1, 2}
    assert 0.1 < sum(0 in e for e in ends) / len(ends) < 0.45
    for k, e in enumerate(ends):
        assert set(e) <= {0, 1 + k % GROUPS, 1 + (k + 1) % GROUPS}


def test_the_style_error_is_least_at_the_style(studio):
    task = task_of(studio)
    _, _, styles, _, *numbers = task.batch((1.0, 0.0), torch.Generator().manual_seed(0))
    numbers = [numbers[0], torch.tensor(1.0), torch.tensor(1.0)]  # nothing moved or scaled
    flat = torch.zeros(GROUPS, sum(w * (64 >> k) ** 2 for k, w in enumerate((24, 48, 96, 96), 1)))
    pictures = torch.rand(GROUPS, 3, 64, 64)
    shares = torch.cat([torch.zeros(GROUPS, 1), torch.eye(GROUPS)], 1)

    def error(output):
        return task.loss(
            lambda _, *more: output if more else flat, (1.0, 0.0), (pictures, pictures, styles, shares, *numbers)
        )["style"]

    assert error(styles) < 1e-4
    assert error(styles.flip(2)) < error(pictures)
    shares = shares.flip(0)
    assert error(styles.flip(0)) < 1e-4
    shares = torch.tensor([[1.0] + [0.0] * GROUPS] * GROUPS)
    assert error(pictures) < 1e-6
    assert error(styles) > 0.1


def test_one_place_far_from_all_others_is_a_peak_in_every_norm_of_the_painter(studio):
    task = task_of(studio)
    run = loop.Run(task, CPU)
    batch = task.batch((1.0, 0.0), torch.Generator().manual_seed(0))
    terms = run.step(task.recipe.stages[0], 0.0, loop.Example((1.0, 0.0), batch, torch.zeros(1)))
    assert terms["peaks"] > 0
    assert {value.shape[-1] for value in task._normalized} == {64 // 8, 64 // 4}
    out, smooth = torch.zeros(1, 3, 8, 8), torch.rand(1, 4, 16, 16)
    spiked = smooth.clone()
    spiked[..., 5:8, 5:8] += 9
    found = []
    for value in (smooth, spiked, 7 * spiked + 3):
        task._normalized[:] = [value]
        found.append(float(task._peaks(out)))
    assert found[0] == 0
    assert found[1] > 0.01
    assert found[2] == pytest.approx(found[1], rel=0.01)


def test_relief_is_texture_where_the_picture_is_smooth():
    smooth, rough = torch.full((1, 3, 16, 16), 0.5), torch.rand(1, 3, 16, 16)
    assert relief(rough, smooth) > 10 * relief(rough, rough)
    assert relief(smooth, smooth) == 0


def test_an_even_head_gives_smooth_places_no_lattice():
    net = PaintNet((4, 4, 4), (1, 1, 1))
    x, flat = torch.zeros(1, 3, 32, 32), torch.rand(1, 4, 18, 18).mean((2, 3), keepdim=True).expand(1, 4, 18, 18)
    for value in net.last.parameters():
        nn.init.normal_(value)

    def lattice_of():
        gain, offset = net.last(flat)
        return max(float(part.unflatten(-1, (4, 3)).std(-2).max()) for part in (gain, offset))

    with torch.no_grad():
        assert lattice_of() > 0.1
        mean = net.last.weight.sum((2, 3)).view(6, 4, -1).mean(1)
        for value in net.last.parameters():
            value.copy_(even(value))
        assert lattice_of() < 1e-5
        torch.testing.assert_close(net.last.weight.sum((2, 3)).view(6, 4, -1).mean(1), mean)
    assert net(x).shape == x.shape


def test_codes_begin_as_numbers_that_tell_styles_apart():
    torch.manual_seed(0)
    encoder = StyleEncoder(10, (4, 4, 4, 4), 6)
    found = statistics(encoder.features(torch.rand(40, 3, 32, 32) ** torch.linspace(0.3, 3, 40)[:, None, None, None]))
    encoder.begin_codes(found)
    codes = encoder.code(found).detach()
    torch.testing.assert_close(codes.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(codes.T.cov(), torch.eye(6), atol=0.05, rtol=0)


def test_features_are_the_encoders_own(studio):
    task = task_of(studio)
    net = task.network()
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        maps, flat = net.encoder.features(x), net(x)
        found = split_features(flat, 64)
    assert len(found) == len(DISTILLED)
    assert all(torch.equal(one, two) for one, two in zip(found, maps, strict=False))


def test_drawings_and_colors_stay_pictures():
    photo = (torch.rand(3, 90, 120) * 255).byte()
    rng = torch.Generator().manual_seed(0)
    seen = [drawn(photo, 64, rng) for _ in range(16)]
    seen += [recolored(one, rng) for one in seen]
    assert all(one.shape == (3, 64, 64) and one.min() >= 0 and one.max() <= 1 for one in seen)
    assert min(float(one.std()) for one in seen[:16]) > 0.01
    again = drawn(photo, 64, torch.Generator().manual_seed(0))
    assert torch.equal(again, seen[0])
    gray = torch.full((3, 8, 8), 0.5)
    assert recolored(gray, rng).std((1, 2)).max() < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "dni"}, "kind adain goes with family: adain"),
        ({"styles": []}, "has styles, folders of paintings"),
        ({"endpoints": [{"name": "photo", "identity": True}, {"name": "a"}]}, "a: expected an image"),
    ],
)
def test_recipes_that_are_none_are_refused(change, message):
    with pytest.raises(PresetError, match=message):
        Recipe.checked(RECIPE | change, "test")
