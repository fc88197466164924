"""Laws of the relighting network and of the model that makes its targets."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("cv2")

from dnirender.nets.relight import RelightNet, from_state_dict
from dnirender.train import day_to_night as training
from dnirender.train.relighting import Scene, describe, light, relight, to_linear, to_srgb

ALPHAS = [k / 10 for k in range(11)]
WEIGHTS = Path(__file__).parents[1] / "presets" / "weights"


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def small_net(widths=(16, 16, 16)):
    net = RelightNet(widths)
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


def test_from_state_dict_rebuilds_the_network():
    net, x = small_net((16, 32, 16)), torch.rand(1, 3, 32, 32)
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


def test_night_is_dark_blue_and_its_lamps_are_warm():
    night = relight(scene(), 1.0)[0]
    red, _, blue = night[:, :40].mean((1, 2))
    assert night[:, :20].mean() < 0.2
    assert blue > 1.3 * red
    red, green, blue = night[:, 50:52, 40:42].mean((1, 2))
    assert red > green > blue
    assert red > 0.9


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


def test_srgb_round_trip():
    x = torch.linspace(0, 1, 1001)
    torch.testing.assert_close(to_srgb(to_linear(x)), x, atol=1e-5, rtol=0)


def test_the_path_meets_its_endpoints_and_day_is_exact():
    path = training.TrainedPath(small_net())
    for k in range(4):
        at = path.at(k / 3)
        for name, value in path.endpoint(k).items():
            torch.testing.assert_close(at[name], value, atol=1e-6, rtol=0)
    assert not path.endpoint(0)["last.weight"].any()


def test_resumed_training_equals_uninterrupted(tmp_path, monkeypatch):
    layers = [training.batches.stacked(scene(k)) for k in (0, 20, 30)]
    monkeypatch.setattr(training.batches, "load", lambda *_: (layers, layers))
    monkeypatch.setattr(training.batches, "CROP", (32, 32))
    monkeypatch.setattr(training.batches, "WHOLE", (32, 32))
    whole = training.Settings(steps=4, batch=1)

    def run(folder, stop=None):
        (tmp_path / folder).mkdir(exist_ok=True)
        return training.train([], tmp_path / folder, whole, stop)

    run("b", stop=2)
    for one, two in zip(run("a"), run("b"), strict=True):
        for name, value in one.items():
            assert torch.equal(value, two[name]), name


def test_written_endpoints_load_and_say_what_they_are(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    path = training.TrainedPath(small_net())
    training.write([path.endpoint(k) for k in range(4)], tmp_path, training.Settings(steps=1))
    with safetensors.safe_open(tmp_path / "night.safetensors", "pt") as file:
        assert file.metadata()["architecture"] == "relight"
        assert file.metadata()["name"] == "night"
        assert from_state_dict({k: file.get_tensor(k) for k in file.keys()}).widths == (16, 16, 16)  # noqa: SIM118
    assert not list(tmp_path.glob("*.partial"))


def shipped(name):
    safetensors_torch = pytest.importorskip("safetensors.torch")
    return safetensors_torch.load_file(WEIGHTS / f"{name}.safetensors")


def test_the_shipped_day_is_the_untouched_picture():
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(from_state_dict(shipped("day")).float()(x), x)


def test_the_shipped_path_falls_in_luminance_without_jumps():
    x = scene().picture
    ends = [shipped(name) for name in training.NAMES]
    means = torch.stack([training.render(ends, x, a).mean() for a in ALPHAS])
    steps = means[:-1] - means[1:]
    assert (steps > 0).all()
    assert steps.max() < 2 * steps.mean()
    assert means[-1] < 0.45 * means[0]


def test_the_shipped_endpoints_are_small_and_half_precision():
    for name in training.NAMES:
        assert (WEIGHTS / f"{name}.safetensors").stat().st_size < 1_000_000
        assert {v.dtype for v in shipped(name).values()} == {torch.float16}
