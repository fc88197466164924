"""Laws of training: subspaces of weights, the mixtures drawn, exact resumption, and the commands that use them."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("cv2")

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from dnirender.cli.main import main
from dnirender.errors import ModelError, PresetError, TrainingError, UsageError
from dnirender.families.loading import ADDITIONS, load_family
from dnirender.media.images import read_image, write_png
from dnirender.networks.architectures import paint
from dnirender.networks.checkpoint import load_state_dict
from dnirender.preset import Preset
from dnirender.train import add_endpoint, loop
from dnirender.train.features import DISTILLED, Moments, distilled_vgg19, gram
from dnirender.train.losses import blotchiness, lattice, periodicity, plainness
from dnirender.train.recipe import Recipe
from dnirender.train.subspace import Subspace
from dnirender.train.task import Task
from dnirender.train.tasks.style import Style
from support.clips import feature_network
from support.gpu_stand_in import step_on_gpu

CPU = torch.device("cpu")


def recipe(stages, ends=3, **changes):
    goals = [{"name": f"e{k}", "identity": k == 0, "share": float(k > 0)} for k in range(ends)]
    data = {"name": "Test", "kind": "sketch", "photos": ["."], "endpoints": goals, "stages": stages}
    return Recipe.checked(data | changes, "test")


class Target(Task):
    """Learns to output a color: that of the mixture of the endpoints' numbers."""

    def network(self):
        net = nn.Sequential()
        net.add_module("first", nn.Conv2d(3, 4, 1))
        net.add_module("last", nn.Conv2d(4, 3, 1))
        return net

    def batch(self, mix, rng):
        return torch.rand(1, 3, 4, 4, generator=rng), torch.tensor(sum(k * share for k, share in enumerate(mix)))

    def loss(self, apply, _mix, batch):
        picture, wanted = batch
        return {"color": (apply(picture) - wanted).square().mean(), "size": 1e-4 * apply(picture).abs().mean()}


STAGES = [
    {"train": "base", "endpoint": "e1", "steps": 5},
    {"train": "endpoints", "steps": 4},
    {"train": "path", "steps": 6},
]


def subspace():
    torch.manual_seed(0)
    space = Subspace(Target(recipe(STAGES)).network(), 3, untouched=[0])
    with torch.no_grad():
        for value in space.tensors():
            value.normal_()
    return space


def test_an_untouched_endpoint_has_a_last_layer_of_zeros_and_the_others_are_base_plus_delta():
    space = subspace()
    assert not any(value.any() for name, value in space.endpoint(0).items() if name.startswith("last."))
    for name, value in space.endpoint(2).items():
        assert torch.equal(value, space.base[name] + space.deltas[2][name])


def test_a_mixture_is_the_mixture_of_the_endpoints():
    space, mix = subspace(), (0.25, 0.25, 0.5)
    ends = [space.endpoint(k) for k in range(3)]
    for name, value in space.at(mix).items():
        wanted = sum(share * end[name] for share, end in zip(mix, ends, strict=True))
        torch.testing.assert_close(value, wanted, atol=1e-6, rtol=1e-5)


def test_what_starting_weights_lack_stays_as_it_was_initialised():
    run = loop.Run(Target(recipe(STAGES)), CPU)
    initial = {name: value.detach().clone() for name, value in run.space.base.items()}
    weights = {name: torch.full_like(value, 7.0) for name, value in initial.items() if name != "first.bias"}
    run.begin_at([weights] * 3)
    for name, value in run.space.endpoint(1).items():
        assert torch.equal(value, initial[name] if name == "first.bias" else weights[name])


def draws(stage, goals=3, count=400):
    task = Target(recipe(STAGES, goals))
    rng = torch.Generator().manual_seed(0)
    return [loop.draw_mix(task, stage, rng) for _ in range(count)]


def test_mixtures_drawn_sum_to_one_and_lie_between_neighbours():
    base, endpoints, path = recipe(STAGES).stages
    assert set(draws(base)) == {(0.0, 1.0, 0.0)}
    assert set(draws(endpoints)) == {(0.0, 1.0, 0.0), (0.0, 0.0, 1.0)}  # the untouched has a share of nothing
    mixed = [mix for mix in draws(path, 4) if 1.0 not in mix]
    assert 100 < len(mixed) < 300
    assert all(sum(mix) == pytest.approx(1) for mix in mixed)
    assert {tuple(k for k, share in enumerate(mix) if share) for mix in mixed} == {(0, 1), (1, 2), (2, 3)}


def trained(folder, stages=STAGES, stop=lambda _: False, **changes):
    folder.mkdir(exist_ok=True)
    task = Target(recipe(stages, training={"learning_rate": 0.05}, **changes))
    return loop.train(task, folder, CPU, stop=stop)


@pytest.mark.parametrize("at", [2, 5, 7, 9, 12])
def test_resumed_training_equals_uninterrupted_at_every_stage(tmp_path, at):
    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", stop=lambda done: done == at)
    for one, two in zip(whole, trained(tmp_path / "parts"), strict=True):
        assert all(torch.equal(value, two[name]) for name, value in one.items())
    lines = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 16))
    assert all(line["loss"] == pytest.approx(line["color"] + line["size"], abs=1e-4) for line in lines)


def test_after_a_base_stage_training_goes_on_from_the_running_mean(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, stop=lambda done: done == 5)
    state = torch.load(tmp_path / "checkpoint.pt")
    base = zip(state["tensors"], state["mean"], strict=True)
    assert all(torch.equal(value, mean) for value, mean in list(base)[: len(state["mean"]) // 4])


def test_training_learns_the_path(tmp_path):
    stages = [{"train": "base", "endpoint": "e1", "steps": 50}, {"train": "path", "steps": 250}]
    task = Target(recipe(stages, training={"learning_rate": 0.02, "average": 0.9}))
    loop.train(task, tmp_path, CPU)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["color"] < 0.1 * max(line["color"] for line in lines)


def after(tmp_path, stage, steps=3):
    """The subspace before and after some steps of a stage."""
    task = Target(recipe([stage], training={"learning_rate": 0.05}))
    run = loop.Run(task, CPU)
    with torch.no_grad():
        for value in run.space.tensors():
            value.normal_(generator=torch.Generator().manual_seed(0))
    before = [v.detach().clone() for v in run.space.tensors()]
    rng = torch.Generator().manual_seed(0)
    for _ in range(steps):
        mix = loop.draw_mix(task, task.recipe.stages[0], rng)
        run.step(task.recipe.stages[0], 0.0, loop.Example(mix, task.batch(mix, rng), rng.get_state()))
    moved = [not torch.equal(a, b) for a, b in zip(before, run.space.tensors(), strict=True)]
    size = len(run.space.base)
    return [any(moved[k * size : (k + 1) * size]) for k in range(4)]  # base, e0, e1, e2


def test_each_stage_changes_what_it_may_and_nothing_else(tmp_path):
    assert after(tmp_path, {"train": "base", "endpoint": "e1", "steps": 3}) == [True, False, False, False]
    assert not after(tmp_path, {"train": "endpoints", "steps": 9}, 9)[0]
    assert after(tmp_path, {"train": "path", "endpoint": "e2", "steps": 9}, 9) == [False, False, False, True]
    assert all(after(tmp_path, {"train": "path", "steps": 30}, 30))


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    trained(tmp_path)
    with pytest.raises(TrainingError, match="belongs to another recipe"):
        trained(tmp_path, settings={"x": 1.0})
    trained(tmp_path, [*STAGES[:2], {"train": "path", "steps": 8}])  # longer is the same recipe


def test_a_loss_that_is_no_number_ends_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Target, "loss", lambda *_: {"x": torch.tensor(float("nan"), requires_grad=True)})
    with pytest.raises(TrainingError, match="step 1: the loss is"):
        trained(tmp_path)


STYLE = {
    "name": "Tiny",
    "kind": "style",
    "photos": ["photos"],
    "endpoints": [
        {"name": "photo", "identity": True, "share": 0},
        {"name": "one", "image": "a.png", "size": 64},
    ],
    "stages": [{"train": "base", "endpoint": "one", "steps": 2}, {"train": "path", "steps": 2}],
    "training": {"batch": 1, "crop": 64},
    "show": ["photos/0.png"],
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "music"}, ["kind", "relight", "'music'"]),
        ({"stages": []}, ["stages", "at least 1"]),
        ({"stages": [{"train": "base", "steps": 3}]}, ["endpoint: expected one of photo, one", "None"]),
        ({"stages": [{"train": "path", "steps": 0}]}, ["stages[0].steps", "0"]),
        ({"training": {"bach": 1}}, ["training.bach", "did you mean batch?"]),
        ({"endpoint": []}, ["endpoint", "did you mean endpoints?"]),
        ({"endpoints": [{"name": "a"}, {"name": "one"}]}, ["a: expected an image, or identity: true"]),
        ({"endpoints": [{"name": "one", "identity": True}] * 2}, ["differ in name"]),
        ({"endpoints": [{"name": "render", "identity": True}, {"name": "one", "image": "x"}]}, ["name of a panel"]),
    ],
)
def test_a_wrong_recipe_is_explained(change, words):
    with pytest.raises(PresetError) as caught:
        Recipe.checked(STYLE | change, "my.yaml")
    assert all(word in str(caught.value) for word in ["my.yaml", *words]), caught.value


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "presets" / "recipes").glob("*.yaml")), ids=str)
def test_shipped_recipes_make_the_shipped_presets(path):
    family = Recipe.load(path)
    shipped = Preset.load(path.parents[1] / path.name)
    assert shipped.endpoints == family.names
    network = {"endpoints": [{"name": name, "weights": "x"} for name in family.names]}
    made = Preset.checked({"name": family.name, "about": family.about, "network": network, **family.preset}, "made")
    assert made.model_dump(exclude={"network"}) == shipped.model_dump(exclude={"network"})


@pytest.fixture
def studio(tmp_path, monkeypatch):
    """A folder with a recipe, photographs, paintings and a feature network of random weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(add_endpoint, "CROP", 64)
    random = np.random.default_rng(0)
    (tmp_path / "data" / "photos").mkdir(parents=True)
    for name in ("photos/0", "photos/1", "a", "b"):
        coarse = torch.from_numpy(random.random((1, 3, 12, 16), np.float32))
        picture = nn.functional.interpolate(coarse, size=(96, 128), mode="bilinear")[0].permute(1, 2, 0)
        write_png(tmp_path / "data" / f"{name}.png", (picture.numpy() * 255).astype(np.uint8))
    feature_network(tmp_path / "data" / "perceptual")
    (tmp_path / "tiny.yaml").write_text(json.dumps(STYLE), "utf-8")  # JSON is YAML
    return tmp_path


def test_a_recipe_becomes_a_preset_that_renders(studio, capsys):
    assert main(["train", "tiny.yaml", "--data", "data"]) == 0, capsys.readouterr().err
    preset = Preset.load(studio / "tiny" / "tiny.yaml")
    assert preset.endpoints == ("photo", "one")
    with safe_open(studio / "tiny" / "weights" / "tiny" / "one.safetensors", "pt") as file:
        assert file.metadata() == {
            "architecture": "paint", "effect": "tiny", "license": "MIT", "name": "one", "seed": "0", "steps": "4",
        }  # fmt: skip
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.int8, torch.float32, torch.float16}  # noqa: SIM118
    sheet, _ = read_image(studio / "tiny" / "weights" / "tiny.jpg")
    assert sheet.shape[1] > 3 * 128
    plot, _ = read_image(studio / "tiny" / "weights" / "tiny.loss.png")
    assert len(np.unique(plot.reshape(-1, 3), axis=0)) > 4
    assert len((studio / "tiny" / "weights" / "tiny.log.jsonl").read_text().splitlines()) == 4
    assert main(["data/photos/0.png", "-p", "tiny/tiny.yaml", "-k", "0:0,1:1", "-o", "out.gif"]) == 0


def test_training_refuses_before_it_begins(studio, capsys):
    def fails(arguments, code, *words):
        assert main(["train", *arguments]) == code
        message = capsys.readouterr().err
        assert all(word in message for word in words), message

    (studio / "tiny").mkdir()
    (studio / "tiny" / "tiny.yaml").write_text("mine")
    fails(["tiny.yaml", "--data", "data"], 5, "tiny.yaml: exists", "-y")
    fails(["tiny.yaml", "--data", "data", "-o", ".", "-y"], 5, "would overwrite its recipe")
    fails(["tiny.yaml", "-o", "x"], 1, "no such folder of photographs", "--data")
    (studio / "shown.yaml").write_text(json.dumps(STYLE | {"show": ["x.png"]}))
    fails(["shown.yaml", "--data", "data", "-o", "x"], 1, "x.png: no such image for the contact sheet")
    fails(["nothing"], 2, "no such recipe", "day-to-night")
    fails(["tiny.yaml", "--data", "data", "-o", "x", "--features", "."], 1, DISTILLED, "--features")
    (studio / "data" / "photos" / "0.png").unlink()
    write_png(studio / "data" / "photos" / "1.png", np.zeros((20, 30, 3), np.uint8))
    (studio / "bare.yaml").write_text(json.dumps(STYLE | {"show": []}))
    fails(["bare.yaml", "--data", "data", "-o", "x"], 1, "none of 1 pictures has a short side of 64")
    assert (studio / "tiny" / "tiny.yaml").read_text() == "mine"


def join(*more):
    photos = ["--photos", "data/photos", "--features", "data/perceptual", "--steps", "2", "--preview-every", "1"]
    return main(
        ["train", "style", "--from", "tiny/tiny.yaml", "--image", "data/b.png", "--name", "mine", *photos, *more]
    )


def test_a_painting_joins_a_family(studio, capsys):
    assert main(["train", "tiny.yaml", "--data", "data"]) == 0
    assert join() == 0, capsys.readouterr().err
    preset = Preset.load(studio / "mine" / "mine.yaml")
    assert preset.endpoints == ("photo", "one", "mine")
    assert preset.timeline.keyframes == "0:photo, end:mine"
    folder = studio / "mine" / "weights" / "mine"
    for name in ("photo", "one"):
        kept = studio / "tiny" / "weights" / "tiny" / f"{name}.safetensors"
        assert kept.read_bytes() == (folder / f"{name}.safetensors").read_bytes()
    one, mine = (load_file(folder / f"{name}.safetensors") for name in ("one", "mine"))
    assert any(not torch.equal(one[name], mine[name]) for name in one)
    assert (studio / "mine.training" / "preview_00002.png").exists()
    assert join() == 5
    assert main(["data/photos/0.png", "-p", "mine/mine.yaml", "-k", "0:0,1:mine", "-o", "out.gif"]) == 0


def test_a_painting_joins_only_painters(studio):
    def prepare(family="day-to-night", name="mine", **how):
        features, photos = Path("data/perceptual"), [Path("data/photos")]
        options = {"steps": 1, "size": 64, "strength": 1.0, "start": None} | how
        return add_endpoint.prepare(Preset.load(family), Path("data/b.png"), name, photos, features, **options)

    with pytest.raises(ModelError, match="is not a painter"):
        prepare()
    with pytest.raises(UsageError, match="has an endpoint of that name"):
        prepare(name="night")


NO_MOVE = (torch.tensor((0, 0)), torch.tensor(1.0), torch.tensor(1.0))  # shift, no second pass, scale


def test_the_style_loss_is_least_at_the_painting_itself(studio):
    task = Style(Recipe.checked(STYLE, "tiny"), studio / "data", studio / "data" / "perceptual")
    painting = torch.from_numpy(read_image(studio / "data" / "a.png")[0]).permute(2, 0, 1)[None] / 255
    painting = nn.functional.interpolate(painting, scale_factor=2 / 3, mode="bilinear", antialias=True)
    batch = (torch.rand_like(painting), torch.rand_like(painting), *NO_MOVE)
    at = task.loss(lambda _: painting, (0.0, 1.0), batch)["style"]
    away = task.loss(lambda x: x, (0.0, 1.0), batch)["style"]
    assert at < 0.5 * away
    assert task.loss(lambda x: x, (1.0, 0.0), batch)["style"] < 1e-6  # the identity aims at the photograph's own style


def test_a_flat_picture_of_the_right_color_is_not_yet_painted(studio):
    task = Style(Recipe.checked(STYLE, "tiny"), studio / "data", studio / "data" / "perceptual")
    task.phi = lambda x: [x]
    strokes = 0.5 + 0.4 * (torch.arange(64) % 2 * 2.0 - 1).expand(1, 3, 64, 64)
    task.goals = [None, [Moments.of(strokes)]]
    batch = (strokes, strokes, *NO_MOVE)
    flat, turned = torch.full_like(strokes, 0.5), strokes.mT
    costs = []
    for out in (flat, turned):
        task.restore({"errors": []})
        costs.append(task.loss(lambda _, out=out: out, (0.0, 1.0), batch)["style"])
    assert costs[0] == pytest.approx(task.settings["style"] / 2)  # the covariance's half, missed wholly
    assert costs[1] == pytest.approx(0, abs=1e-6)


def test_style_is_matched_over_the_batch_so_that_each_image_may_take_a_part_of_the_palette(studio):
    task = Style(Recipe.checked(STYLE, "tiny"), studio / "data", studio / "data" / "perceptual")
    task.phi = lambda x: [x]
    dark, bright = torch.full((1, 3, 64, 64), 0.2), torch.full((1, 3, 64, 64), 0.8)
    task.goals = [None, [Moments.of(torch.cat([dark, bright], 3))]]
    halves = torch.cat([dark, bright])
    cost = task.loss(lambda _: halves, (0.0, 1.0), (halves, halves, *NO_MOVE))["style"]
    assert cost == pytest.approx(0, abs=1e-6)
    task.restore({"errors": []})
    assert task.loss(lambda _: dark, (0.0, 1.0), (dark, dark, *NO_MOVE))["style"] > 1


def test_moments_of_earlier_steps_count_and_the_gradient_is_that_of_this_batch(studio):
    task = Style(Recipe.checked(STYLE, "tiny"), studio / "data", studio / "data" / "perceptual")
    task.phi = lambda x: [x]
    dark, bright = torch.full((1, 3, 64, 64), 0.2), torch.full((1, 3, 64, 64), 0.8)
    task.goals = [None, [Moments.of(torch.cat([dark, bright], 3))]]
    after = []
    for _ in range(12):
        for out in (dark, bright):
            shown = out.clone().requires_grad_()
            cost = task.loss(lambda _, shown=shown: shown, (0.0, 1.0), (out, out, *NO_MOVE))["style"]
            after.append(float(cost.detach()))
    assert after[-1] < 0.2 * after[0]
    (gradient,) = torch.autograd.grad(cost, shown)
    assert gradient.abs().max() > 0
    other = Style(Recipe.checked(STYLE, "tiny"), studio / "data", studio / "data" / "perceptual")
    other.phi, other.goals = task.phi, task.goals
    other.restore(task.state())
    last = (0.0, 1.0), (dark, dark, *NO_MOVE)
    assert other.loss(lambda _: dark, *last)["style"] == task.loss(lambda _: dark, *last)["style"]


def test_blotches_are_changes_of_color_that_the_picture_has_not():
    plain, half = torch.full((1, 3, 64, 64), 0.5), torch.full((1, 3, 64, 64), 0.5)
    half[:, 0, :, 32:] = 0.9
    assert blotchiness(half, plain) > 10 * blotchiness(half, half)
    strokes = plain + 0.2 * (-1.0) ** torch.arange(64)
    assert blotchiness(strokes, plain) == pytest.approx(0, abs=1e-6)


def test_the_lattice_is_what_repeats_with_the_strides_and_nothing_else():
    torch.manual_seed(0)
    noise = 0.5 + 0.05 * torch.randn(2, 3, 128, 128)
    for period in (2, 4, 8):
        waves = 0.5 + 0.05 * torch.cos(2 * torch.pi * torch.arange(128) / period).expand(2, 3, 128, 128)
        assert lattice(waves) > 50 * lattice(noise)
    odd = 0.5 + 0.05 * torch.cos(2 * torch.pi * torch.arange(128) / 9.3).expand(2, 3, 128, 128)
    assert lattice(odd) < 0.1 * lattice(waves)


def test_periodicity_is_log_2_for_noise_and_grows_for_one_repeated_wave():
    torch.manual_seed(0)
    noise = 0.5 + 0.1 * torch.randn(1, 3, 256, 256)
    assert float(periodicity(noise).mean()) == pytest.approx(0.69, abs=0.06)
    wave = noise + 0.3 * torch.cos(2 * torch.pi * torch.arange(256) / 7).expand(1, 3, 256, 256)
    assert periodicity(wave).min() > periodicity(noise).max() + 1
    assert periodicity(torch.full((1, 3, 64, 64), 0.5)).isfinite().all()


def test_plain_windows_count_wholly_and_busy_ones_hardly():
    plain, busy = (
        torch.full((1, 3, 64, 64), 0.4),
        torch.rand(1, 3, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3),
    )
    assert plainness(plain).item() == pytest.approx(1)
    assert plainness(busy).item() < 0.05


def test_between_two_paintings_the_mixture_of_their_styles_is_aimed_at(studio):
    task = Style(Recipe.checked(STYLE, "tiny"), studio / "data", studio / "data" / "perceptual")
    one, other = (Moments.of(torch.rand(1, 5, 6, 7)) for _ in range(2))
    task.goals = [[one], [other]]
    middle = task._wanted(0, torch.rand(1, 5, 6, 7), (0.25, 0.75))
    torch.testing.assert_close(middle.mean, 0.25 * one.mean + 0.75 * other.mean)
    torch.testing.assert_close(middle.covariance, 0.25 * one.covariance + 0.75 * other.covariance)
    assert middle.distance(middle) == 0
    assert one.distance(middle) < one.distance(other)


def test_a_new_endpoint_starts_from_its_painter_and_the_identity(studio):
    assert main(["train", "tiny.yaml", "--data", "data"]) == 0
    family = Preset.load("tiny/tiny.yaml")
    options = {"steps": 1, "size": 64, "strength": 1.0, "start": None}
    new = add_endpoint.prepare(
        family, Path("data/b.png"), "mine", [Path("data/photos")], Path("data/perceptual"), **options
    )
    run = loop.Run(new.task, CPU)
    new.load(run)
    for k, endpoint in enumerate(family.network.endpoints):
        weights = load_state_dict(endpoint.weights).state
        assert "stem.norm.deviation" in weights
        for name, value in paint.without_deviations(weights).items():
            torch.testing.assert_close(run.space.endpoint(k)[name], value, atol=1e-6, rtol=0)


def test_the_gram_matrix_is_that_of_the_definition():
    x = torch.rand(2, 5, 3, 4)
    wanted = torch.einsum("nchw,ndhw->ncd", x, x) / 12
    torch.testing.assert_close(gram(x), wanted)


def test_the_moments_are_those_of_the_definition():
    x = torch.rand(2, 5, 3, 4)
    found = Moments.of(x)
    for n in range(2):
        torch.testing.assert_close(found.mean[n], x[n].flatten(1).mean(1))
        torch.testing.assert_close(found.covariance[n], torch.cov(x[n].flatten(1), correction=0))
    wanted = Moments(2 * found.mean, 3 * found.covariance)
    assert found.distance(wanted) == pytest.approx((1 / 4 + 4 / 9) / 2)


TUNED = {
    "endpoints": [
        {"name": "one", "image": "a.png", "size": 64, "share": 0},
        {"name": "two", "image": "b.png", "size": 64},
    ],
    "stages": [{"train": "base", "endpoint": "one", "steps": 2}, {"train": "endpoints", "steps": 3}],
}


@pytest.mark.parametrize("family", ["adafm", "ftn", "dynamic", "cfs"])
def test_a_recipe_of_styles_may_have_a_family(studio, family, capsys):
    plan = STYLE | TUNED | {"family": family, "training": STYLE["training"] | {"average": 0}}
    (studio / "tuned.yaml").write_text(json.dumps(plan), "utf-8")
    assert main(["train", "tuned.yaml", "--data", "data"]) == 0, capsys.readouterr().err
    network = Preset.load(studio / "tuned" / "tuned.yaml").network
    assert network.family == family
    assert set(network.files.values()) == {studio / "tuned" / "weights" / "tuned" / f"{family}.safetensors"}
    with safe_open(network.files["two"], "pt") as file:
        stored = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    added = [dtype for name, dtype in stored.items() if ADDITIONS[family] in name]
    assert added and torch.int8 not in added and torch.int8 in stored.values()
    built, path = load_family(network.family, network.files, network.levels)
    assert built.architecture == "paint"
    run = loop.Run(
        Style(Recipe.checked(plan, "x"), studio / "data", studio / "data" / "perceptual"), torch.device("cpu")
    )
    run.resume(studio / "tuned.training" / "checkpoint.pt", torch.Generator())
    for alpha, row in zip(((1.0, 0.0), (0.0, 1.0)), path.stack, strict=True):
        weights = run.space.at(alpha)
        for view in path.layout:
            torch.testing.assert_close(view.of(row), weights[view.name].detach(), atol=4e-3, rtol=1e-2)
    assert any(
        not torch.allclose(view.of(path.stack[0]), view.of(path.stack[1]), atol=1e-6, rtol=0) for view in path.layout
    )


def test_a_family_of_styles_begins_at_a_base_that_paints(studio):
    with pytest.raises(PresetError, match=r"photo: identity: expected an image with family: ftn, whose additions"):
        Recipe.checked(STYLE | {"family": "ftn"}, "x")
    with pytest.raises(PresetError, match=r"settings.kernel: expected 1, 3, 5 or 7, that of AdaFM, got 2"):
        Style(Recipe.checked(STYLE | {"settings": {"kernel": 2}}, "x"), studio / "data", studio / "data" / "perceptual")


def test_features_shrink_by_two_per_level(studio):
    found = distilled_vgg19(studio / "data" / "perceptual")(torch.rand(1, 3, 64, 32))
    assert [tuple(f.shape[1:]) for f in found] == [(16, 64, 32), (32, 32, 16), (64, 16, 8), (128, 8, 4)]


def small_painter():
    torch.manual_seed(0)
    net = paint.PaintNet((16, 16, 32), (1, 2, 1))
    nn.init.normal_(net.last.weight, std=0.05)
    return net


def test_a_painter_with_a_last_layer_of_zeros_is_the_identity():
    x = torch.rand(2, 3, 16, 24)
    for dtype in (torch.float32, torch.bfloat16):
        assert torch.equal(paint.PaintNet().to(dtype)(x), x)


def test_a_painter_is_rebuilt_from_its_weights():
    net, x = small_painter(), torch.rand(1, 3, 32, 40)
    again = paint.from_state_dict({k: v.double() for k, v in net.state_dict().items()})
    with torch.no_grad():
        torch.testing.assert_close(again.float()(x), net(x), atol=1e-5, rtol=1e-4)
    assert not list(net.buffers())
    with pytest.raises(KeyError):
        paint.from_state_dict({"stem.weight": x})


def test_a_step_on_a_gpu_leaves_nothing_on_the_cpu(studio):
    assert step_on_gpu(Style(Recipe.checked(STYLE, "tiny"), studio / "data", studio / "data" / "perceptual"))


def test_a_recipe_may_be_trained_longer_and_in_other_batches(studio, capsys):
    assert main(["train", "tiny.yaml", "--data", "data", "--batch", "3", "--length", "0.5"]) == 0
    with safe_open(studio / "tiny" / "weights" / "tiny" / "one.safetensors", "pt") as file:
        assert file.metadata()["steps"] == str(sum(round(stage["steps"] / 2) for stage in STYLE["stages"]))
    family = Recipe.checked(STYLE, "tiny").scaled(length=0.001)
    assert [stage.steps for stage in family.stages] == [1] * len(family.stages)
    assert Recipe.checked(STYLE, "tiny").scaled(batch=7).training.batch == 7
