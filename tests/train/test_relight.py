"""Laws of the relighting network and of the model that makes its targets."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("cv2")

from dnirender.engine.engine import Engine
from dnirender.networks.architectures.relight import RelightNet, from_state_dict
from dnirender.networks.loading import load
from dnirender.networks.pixel_shuffle import pixel_shuffle
from dnirender.preset import Preset
from dnirender.timeline.timeline import Timeline
from dnirender.train import loop
from dnirender.train.data import augment, batches
from dnirender.train.data.relighting import Scene, describe, light, luminance, relight, to_linear, to_srgb
from dnirender.train.recipe import Recipe
from dnirender.train.tasks.relight import Relight, under
from support.gpu_stand_in import step_on_gpu

ALPHAS = [k / 10 for k in range(11)]
PRESETS = Path(__file__).parents[2] / "presets"
RECIPE, WEIGHTS = PRESETS / "recipes" / "day-to-night.yaml", PRESETS / "weights" / "day-to-night"


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def small_net(widths=(16, 16, 16), *, grain=False):
    net = RelightNet(widths, grain=grain)
    torch.nn.init.normal_(net.last.weight, std=0.05)
    return net


def scene(sky_rows=24):
    picture = torch.rand(1, 3, 64, 96) * 0.3 + 0.1
    sky = torch.zeros(1, 1, 64, 96)
    sky[:, :, :sky_rows] = 1
    picture[:, :, :sky_rows] = torch.tensor([0.5, 0.7, 0.9]).view(1, 3, 1, 1)
    lamps = torch.zeros(1, 3, 64, 96)
    lamps[:, :, 50:52, 40:42] = torch.tensor([3.0, 2.0, 1.0]).view(3, 1, 1)
    return describe(picture, sky, lamps)


def test_zero_last_layer_is_the_identity_in_every_dtype():
    x = torch.rand(2, 3, 64, 32)
    for dtype in (torch.float32, torch.bfloat16):
        assert torch.equal(RelightNet().to(dtype)(x), x)


def test_the_output_has_the_size_and_dtype_of_the_input():
    x = torch.rand(1, 3, 32, 96)
    out = small_net().bfloat16()(x)
    assert out.shape == x.shape
    assert out.dtype == x.dtype


def test_bfloat16_is_close_to_float32():
    net, x = small_net(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        exact, quick = net(x), net.bfloat16()(x)
    assert (exact - quick).abs().mean() < 0.01 * (exact - x).abs().mean()


def test_a_shift_by_the_multiple_shifts_the_output():
    net, step = small_net().double(), 8
    x = torch.rand(1, 3, 256, 32, dtype=torch.float64)
    with torch.no_grad():
        a, b = net(x), net(x.roll(step, 2))
    inside = slice(120, 136)  # away from the borders, which see padding
    torch.testing.assert_close(a[:, :, inside], b[:, :, inside.start + step : inside.stop + step])


def test_the_grain_stays_while_the_picture_moves():
    net, period = RelightNet((16, 16, 16), grain=True), RelightNet.multiple
    torch.nn.init.normal_(net.last.weight, std=0.05)
    torch.nn.init.normal_(net.stem.grain)
    with torch.no_grad():
        out = net(torch.full((1, 3, 12 * period, 12 * period), 0.5))[
            ..., 5 * period : 7 * period, 5 * period : 7 * period
        ]
    torch.testing.assert_close(out[..., :period, :period], out[..., period:, period:])
    assert out.std() > 0.01
    assert (out[..., :period, :] - out[..., 8 : period + 8, :]).std() > 0.01


@pytest.mark.parametrize("grain", [False, True])
def test_from_state_dict_rebuilds_the_network(grain):
    net, x = small_net((16, 32, 16), grain=grain), torch.rand(1, 3, 32, 32)
    again = from_state_dict({k: v.half() for k, v in net.state_dict().items()})
    assert again.widths == net.widths
    assert next(again.parameters()).dtype == torch.float16
    with torch.no_grad():
        torch.testing.assert_close(again.float()(x), net(x), atol=1e-3, rtol=1e-2)


def test_a_strange_state_dict_is_refused():
    with pytest.raises(KeyError, match=r"stem\.weight"):
        from_state_dict({"conv.weight": torch.zeros(3)})


def test_all_parameters_can_be_mixed():
    net = RelightNet()
    assert not list(net.buffers())
    assert all(p.is_floating_point() for p in net.parameters())


def test_day_is_the_picture():
    s = scene()
    torch.testing.assert_close(relight(s, 0.0), s.picture, atol=1e-5, rtol=0)


def test_it_gets_darker_all_the_way_and_evenly():
    means = torch.stack([relight(scene(), a).mean() for a in ALPHAS])
    steps = means[:-1] - means[1:]
    assert (steps > 0).all()
    assert steps.max() < 2 * steps.mean()


def test_night_is_dark_and_its_lamps_are_warm():
    night = relight(scene(), 1.0)[0]
    assert night[:, :20].mean() < 0.2
    shade = night[:, :20].mean((1, 2))
    assert shade[2] > 1.3 * shade[0]
    red, green, blue = night[:, 50:52, 40:42].mean((1, 2))
    assert red > green > blue
    assert red > 0.9


def night_of(color, sky):
    """The night of a picture 1 3 64 96 of one color with sky above row `sky`: its rows, 3 64, linear."""
    picture = torch.tensor(color).view(1, 3, 1, 1).expand(1, 3, 64, 96)
    cover = (torch.arange(64) < sky).float().view(1, 1, 64, 1).expand(1, 1, 64, 96)
    return to_linear(relight(describe(picture, cover, torch.zeros(1, 3, 64, 96)), 1.0))[0].mean(2)


def test_the_sky_is_darkened_at_night_most_of_all_overhead():
    light = night_of((0.6, 0.7, 0.8), sky=40).mean(0)
    assert (light[:30].diff() > 0).all()
    assert light[0] < 0.5 * light[50]
    assert light[36] > 0.5 * light[50]


def test_at_night_what_a_color_has_beyond_gray_is_tinted_less():
    color = torch.tensor((0.65, 0.45, 0.40))
    gray = to_srgb(luminance(to_linear(color).view(1, 3, 1, 1))).expand(1, 3, 1, 1).flatten()
    skin, shade = (night_of(tuple(c.tolist()), sky=0)[:, 0] for c in (color, gray))
    gain = (skin - shade) / (to_linear(color) - to_linear(gray))
    assert gain[0] / gain[2] > 1.3 * shade[0] / shade[2]


def test_what_is_white_by_day_and_no_lamp_does_not_shine_at_night():
    s = scene()
    white = Scene(**{**s.__dict__, "picture": torch.ones_like(s.picture), "glow": torch.zeros_like(s.glow)})
    assert relight(white, 1.0)[:, :, 58:, :30].max() < 0.5


def test_dusk_is_no_crossfade_of_day_and_night():
    s = scene()
    dusk, faded = relight(s, 2 / 3), torch.lerp(relight(s, 0.0), relight(s, 1.0), 2 / 3)
    above_horizon = slice(20, 24)
    warm = dusk[0, 0, above_horizon].mean() - dusk[0, 2, above_horizon].mean()
    assert warm > faded[0, 0, above_horizon].mean() - faded[0, 2, above_horizon].mean() + 0.1


def test_sky_behind_a_half_covered_pixel_leaves_no_bright_edge():
    s = scene()
    half = Scene(**{**s.__dict__, "sky": torch.full_like(s.sky, 0.5)})
    dark = to_srgb(0.5 * half.behind)  # a black leaf that covers half of each pixel
    leaf = relight(Scene(**{**half.__dict__, "picture": dark}), 1.0)
    assert leaf[:, :, :16].mean() < relight(s, 1.0)[:, :, :16].mean()


def test_light_is_continuous_at_the_keys():
    for key in (1 / 3, 2 / 3):
        assert light(key - 1e-9).stops == pytest.approx(light(key + 1e-9).stops)


def test_what_lamps_light_by_day_stays_lit_at_night():
    plain = scene()
    part = torch.zeros(1, 1, 64, 96)
    part[..., 40:] = 0.5
    lit = relight(describe(plain.picture, plain.sky, torch.zeros_like(plain.picture), part), 1.0)
    dark = relight(describe(plain.picture, plain.sky, torch.zeros_like(plain.picture)), 1.0)
    assert torch.equal(lit[..., :40], dark[..., :40])
    assert (lit[:, :, 24:, 40:] > dark[:, :, 24:, 40:] + 0.02).all()


def test_patches_of_sun_are_kept_by_day_and_gone_at_night():
    rng = torch.Generator().manual_seed(0)
    many = Scene(*(getattr(scene(), name).repeat(16, 1, 1, 1) for name in Scene.__annotations__))
    sunny, shade = augment.dappled(many, rng)
    changed = (to_linear(sunny.picture) > shade + 0.02).any(1).any(1).any(1)
    assert 0 < changed.sum() < 16
    assert augment.shaded(sunny, shade, 0.0) is sunny
    assert torch.allclose(augment.shaded(sunny, shade, 1.0).picture, to_srgb(shade), atol=1e-6)
    assert torch.equal(sunny.picture[~changed], to_srgb(to_linear(many.picture))[~changed])


def test_an_evening_is_darker_and_its_lamps_are_known(monkeypatch):
    monkeypatch.setattr(augment, "EVENING", 1.0)
    plain = scene()
    hung = augment.hung(plain, torch.Generator().manual_seed(1))
    assert hung.picture[..., :24, :].median() < plain.picture[..., :24, :].median()
    assert hung.lamps.sum() > plain.lamps.sum()
    assert (hung.glow >= plain.glow).all()


def test_srgb_round_trip():
    x = torch.linspace(0, 1, 1001)
    torch.testing.assert_close(to_srgb(to_linear(x)), x, atol=1e-5, rtol=0)


def training(steps=4):
    recipe = Recipe.load(RECIPE).model_dump(mode="json") | {"stages": [{"train": "path", "steps": steps}]}
    recipe["training"] |= {"batch": 1, "crop": 32}
    return Recipe.checked(recipe, "test")


@pytest.fixture
def few_scenes(monkeypatch):
    """Three scenes of 64x96, seen in windows of 32x32."""
    layers = [batches.stacked(scene(k)) for k in (0, 20, 30)]
    monkeypatch.setattr(batches, "load", lambda *_: (layers, layers))
    for name in ("CROP", "WHOLE", "LARGE"):
        monkeypatch.setattr(batches, name, (32, 32))


def test_resumed_training_equals_uninterrupted(tmp_path, few_scenes):
    def run(folder, stop=lambda _: False):
        (tmp_path / folder).mkdir(exist_ok=True)
        task = Relight(training(), tmp_path, tmp_path)
        return loop.train(task, tmp_path / folder, torch.device("cpu"), stop=stop)

    with pytest.raises(KeyboardInterrupt):
        run("b", lambda done: done == 2)
    for one, two in zip(run("a"), run("b"), strict=True):
        for name, value in one.items():
            assert torch.equal(value, two[name]), name


def test_a_batch_is_the_scene_at_its_hour_and_the_same_moved(tmp_path, few_scenes):
    task, rng = Relight(training(), tmp_path, tmp_path), torch.Generator().manual_seed(3)
    moved_ones = 0
    for _ in range(20):
        seen, target, known, clean, moved, moved_clean, move = task.batch((1.0, 0.0, 0.0, 0.0), rng)
        torch.testing.assert_close(target, seen, atol=1e-4, rtol=0)  # at day the target is the input, noise included
        assert known.shape == (1, 5, 16, 16)
        if len(moved):
            moved_ones += 1
            y, x = move.tolist()
            torch.testing.assert_close(moved_clean[..., : 32 - y, : 32 - x], clean[..., y:, x:])
            assert moved.shape == moved_clean.shape
    assert 3 < moved_ones < 17


def test_steadiness_is_nothing_for_a_network_that_does_not_look(tmp_path, few_scenes):
    task = Relight(training(), tmp_path, tmp_path)
    net, rng = task.network(), torch.Generator().manual_seed(0)
    torch.nn.init.normal_(net.last.weight, std=0.05)
    terms = {}
    while "steadiness" not in terms:
        terms = task.loss(net, (0.0, 0.0, 0.0, 1.0), task.batch((0.0, 0.0, 0.0, 1.0), rng))
    blind = task.network()  # its last layer is zero: no light, wherever the picture is
    still = {}
    while "steadiness" not in still:
        still = task.loss(blind, (0.0, 0.0, 0.0, 1.0), task.batch((0.0, 0.0, 0.0, 1.0), rng))
    least = task.settings["steadiness"] * 1e-3  # of the Charbonnier distance
    assert still["steadiness"].item() == pytest.approx(least, rel=0.01)
    assert terms["steadiness"] > 2 * still["steadiness"]


def test_light_is_the_gain_and_offset_of_the_network():
    net, x, seen = small_net(), torch.rand(1, 3, 32, 32), []
    net.last.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    out = net(x)
    gain, offset = (pixel_shuffle(part, 2).permute(0, 3, 1, 2) for part in seen[0])
    torch.testing.assert_close(x * (1 + gain) + offset, out)
    torch.testing.assert_close(under(x, seen[0]).permute(0, 3, 1, 2), out)


def shipped(name):
    safetensors_torch = pytest.importorskip("safetensors.torch")
    return safetensors_torch.load_file(WEIGHTS / f"{name}.safetensors")


NAMES = ("day", "golden", "dusk", "night")


def test_the_shipped_day_is_the_untouched_picture():
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(from_state_dict(shipped("day")).float()(x), x)


def test_the_shipped_path_falls_in_luminance_without_jumps():
    preset = Preset.load("day-to-night")
    engine = Engine(*load({e.name: e.weights for e in preset.network.endpoints}), device="cpu", dtype="fp32")
    alphas = [Timeline.parse(f"0:{a}").resolve(NAMES, [0]).alphas[0] for a in ALPHAS]
    picture = (scene().picture[0].permute(1, 2, 0) * 255).byte().numpy()
    means = torch.tensor([engine.render(picture, alpha).mean() for alpha in alphas])
    steps = means[:-1] - means[1:]
    assert (steps > 0).all()
    assert steps.max() < 2 * steps.mean()
    assert means[-1] < 0.45 * means[0]


def test_the_shipped_endpoints_are_small_and_half_precision():
    for name in NAMES:
        assert (WEIGHTS / f"{name}.safetensors").stat().st_size < 1_000_000
        assert {v.dtype for v in shipped(name).values()} == {torch.float16}


def test_a_step_on_a_gpu_leaves_nothing_on_the_cpu(tmp_path, few_scenes):
    assert step_on_gpu(Relight(training(), tmp_path, tmp_path))
