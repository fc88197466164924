"""Laws of the network for any style: a picture becomes gamma and beta, and styles mix as these do."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dnirender import Preset, render
from dnirender.cli.main import main
from dnirender.engine.engine import Engine
from dnirender.errors import MediaError, ModelError, PresetError
from dnirender.families import adain
from dnirender.families.loading import load_family
from dnirender.jobs.fingerprint import job_fingerprint
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.media.images import write_png
from dnirender.networks.architectures import paint
from dnirender.networks.architectures.paint import PaintNet
from dnirender.networks.architectures.style_encoder import AFFINE, StyleEncoder, StyleNet, affines
from dnirender.train.report import write_weights
from support.clips import make_clip

CODE = 5


def small_net():
    """A StyleNet of few numbers, all random."""
    torch.manual_seed(0)
    net = StyleNet()
    net.paint = PaintNet((4, 4, 4), (1, 1, 1))
    net.encoder = StyleEncoder(sum(value.numel() for value in affines(net.paint).values()), (4, 4, 6, 4), CODE)
    with torch.no_grad():
        for name, value in net.named_parameters():
            value.normal_(std=0.3 if value.ndim > 1 else 0.1)
            if name.endswith(".norm.weight"):
                value.add_(1)
    return net.eval()


@pytest.fixture(scope="module")
def net():
    return small_net()


@pytest.fixture(scope="module")
def state(net):
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


@pytest.fixture
def folder(tmp_path, state):
    rng = np.random.default_rng(0)
    for name, tint in (("one", (1, 0.3, 0.2)), ("two", (0.2, 0.4, 1))):
        write_png(tmp_path / f"{name}.png", (rng.integers(0, 256, (40, 56, 3)) * np.array(tint)).astype(np.uint8))
    kept = adain.code_of(state, adain.read_style(tmp_path / "two.png"))
    save_file(state | {"styles.kept": kept}, tmp_path / "adain.safetensors", {"architecture": "paint"})
    (tmp_path / "my.yaml").write_text(
        "name: Mine\nnetwork:\n  family: adain\n  endpoints:\n  - {name: photo, weights: adain.safetensors, identity: true}\n"
        "  - {name: one, weights: adain.safetensors, style: one.png}\n  - {name: kept, weights: adain.safetensors}\n"
    )
    return tmp_path


def code(state, folder, name):
    return adain.code_of(state, adain.read_style(folder / f"{name}.png"))


def rendered(weights, x):
    with torch.inference_mode():
        return paint.from_state_dict(weights)(x)


def test_a_style_differs_from_others_in_gamma_and_beta_alone(state, folder):
    one, two = (adain.endpoint(state, code(state, folder, name)) for name in ("one", "two"))
    for name, value in one.items():
        assert torch.equal(value, two[name]) != name.endswith(AFFINE), name
    assert one.keys() == paint.from_state_dict(one).state_dict().keys()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_between_two_styles_gamma_and_beta_are_mixed_and_so_is_the_network(net, state, folder, share):
    """Style to style is exactly DNI of the affine layers, and what training mixes is what is rendered."""
    one, two = code(state, folder, "one"), code(state, folder, "two")
    ends = [adain.endpoint(state, c) for c in (one, two)]
    mixed = {name: torch.lerp(value, ends[1][name], share) for name, value in ends[0].items()}
    expected = adain.endpoint(state, torch.lerp(one, two, share))
    for name, value in mixed.items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-5)
    x = torch.rand(2, 3, 32, 24)
    pictures = torch.cat([torch.from_numpy(adain.read_style(folder / f"{n}.png").copy())[None] for n in ("one", "two")])
    with torch.inference_mode():
        trained = net(x, pictures.permute(0, 3, 1, 2).float() / 255, torch.tensor([[0.0, 1 - share, share]]))
    torch.testing.assert_close(trained, rendered(mixed, x), atol=1e-4, rtol=1e-4)


def test_from_the_photograph_the_path_begins_at_the_picture_itself(net, state, folder):
    x = torch.rand(1, 3, 16, 24)
    ends = [adain.endpoint(state, None), adain.endpoint(state, code(state, folder, "one"))]
    assert torch.equal(rendered(ends[0], x), x)
    half = {name: torch.lerp(value, ends[1][name], 0.5) for name, value in ends[0].items()}
    picture = torch.from_numpy(adain.read_style(folder / "one.png").copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        trained = net(x, picture, torch.tensor([[0.5, 0.5]]))
    torch.testing.assert_close(trained, rendered(half, x), atol=1e-4, rtol=1e-4)
    assert (trained - x).abs().mean() > 0.01


def test_a_batch_has_a_mixture_for_each_group(net):
    x, styles = torch.rand(4, 3, 16, 16), torch.rand(2, 3, 32, 32)
    mix = torch.tensor([[0.2, 0.8, 0.0], [0.0, 0.0, 1.0]])
    with torch.inference_mode():
        together = net(x, styles, mix)
        for k in range(2):
            torch.testing.assert_close(together[2 * k : 2 * k + 2], net(x[2 * k : 2 * k + 2], styles, mix[k : k + 1]))


def test_presets_name_pictures_styles_of_the_file_and_the_picture_itself(state, folder):
    network = Preset.load(folder / "my.yaml").network
    engine = Engine(*load_family(network.family, network.files, network.levels, network.styles), dtype="fp32")
    image = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    assert np.array_equal(engine.render(image, {"photo": 1.0}), image)
    for name, picture in (("one", "one"), ("kept", "two")):
        wanted = rendered(adain.endpoint(state, code(state, folder, picture)), x)[0].permute(1, 2, 0).clamp(0, 1) * 255
        assert np.abs(engine.render(image, {name: 1.0}) - wanted.numpy()).max() < 0.6


def test_int8_changes_renders_by_little(state, folder):
    about = {"architecture": "paint"}
    write_weights(folder / "small.safetensors", state, about)
    files = {name: folder / f"{name}.safetensors" for name in ("adain", "small")}
    styles = dict.fromkeys(files, folder / "one.png")
    engine = Engine(*load_family("adain", files, {}, styles), dtype="fp32")
    image = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    one, other = (engine.render(image, {name: 1.0}).astype(float) for name in files)
    assert 0 < np.abs(one - other).mean() < 5  # of random numbers, with many values at both ends
    assert files["small"].stat().st_size < files["adain"].stat().st_size / 1.8


def test_styles_on_the_command_line_are_endpoints(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    clip = make_clip(folder / "clip.mp4", frames=4)
    one = ["-p", "my.yaml", "--codec", "ffv1", "--quiet"]
    assert main([str(clip), "--style", "two.png", "-k", "0:photo, 3:two", "-o", "a.mkv", *one]) == 0
    assert main([str(clip), "--style", "two.png", "-k", "0:0, 3:1", "-o", "b.mkv", *one]) == 0
    assert main([str(clip), "--style", "two.png", "--style", "kept", "-k", "0:kept", "-o", "c.mkv", *one]) == 0
    assert main([str(clip), "--style", "kept", "--style", "two.png", "-k", "0:1", "-o", "d.mkv", *one]) == 0
    assert capsys.readouterr().err == ""
    frames = {name: _frames(folder / f"{name}.mkv") for name in "abcd"}
    assert np.array_equal(frames["a"], frames["b"])
    assert np.array_equal(frames["c"], frames["d"])  # kept is the style of two.png
    assert np.abs(frames["a"][3].astype(int) - frames["c"][3]).max() <= 1
    assert np.abs(frames["a"][0].astype(int) - _frames(clip)[0]).max() <= 3
    assert np.abs(frames["a"][3].astype(int) - frames["a"][0]).mean() > 3


def _frames(path):
    from dnirender.decoding.open import open_source

    source = open_source(path)
    return np.stack([frame.image for frame in source.frames(range(4))])


def test_python_takes_one_picture_or_several(folder):
    clip = make_clip(folder / "clip.mp4", frames=3)
    for style, ends in (
        ("two.png", ("photo", "two")),
        (["one.png", "two.png"], ("one", "two")),
        (["two.png", "photo", "one"], ("two", "photo", "one")),
        (["two.png", "two.png"], ("two", "two_2")),
        (["1.png", "a b.png", "t.jpg"], ("style_1", "a_b", "style_t")),
    ):
        job = make_job(clip, folder / "o.mp4", folder / "my.yaml", style=style)
        assert job.preset.endpoints == ends
        assert [endpoint.identity for endpoint in job.preset.network.endpoints] == [name == "photo" for name in ends]
    out = folder / "o.mkv"
    render(
        clip, out, preset=folder / "my.yaml", style=folder / "two.png", keyframes="0:two", strength=0.0, codec="ffv1"
    )
    assert np.abs(_frames(out)[0].astype(int) - _frames(clip)[0]).max() <= 3


def test_the_pictures_are_part_of_what_frames_depend_on(folder):
    clip = make_clip(folder / "clip.mp4", frames=3)
    prints = set[str]()
    for name in ("one", "two"):
        write_png(folder / "same.png", adain.read_style(folder / f"{name}.png"))
        job = make_job(clip, folder / "o.mp4", folder / "my.yaml", style=folder / "same.png")
        prints.add(job_fingerprint(make_plan(job))["weights"])
    assert len(prints) == 2


def test_what_is_no_style_is_told(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    clip = make_clip(folder / "clip.mp4", frames=3)
    (folder / "text.jpg").write_text("no picture")
    write_png(folder / "tiny.png", np.zeros((20, 400, 3), np.uint8))
    network = Preset.load(folder / "my.yaml").network
    for picture, message in (
        ("text.jpg", "text.jpg: cannot be read as an image"),
        ("none.jpg", "none.jpg: cannot be read (No such file"),
        ("tiny.png", "tiny.png: 400x20: expected a style picture of 32 pixels or more each way"),
    ):
        assert main([str(clip), "-p", "my.yaml", "--style", picture, "-o", "o.mp4"]) != 0
        assert message in capsys.readouterr().err
    assert main([str(clip), "-p", "painters", "--style", "one.png", "-o", "o.mp4"]) == 2
    assert "--style: the network is of family dni; expected adain" in capsys.readouterr().err
    with pytest.raises(PresetError, match="expected a picture, got photo alone"):
        make_job(clip, preset=folder / "my.yaml", style="photo")
    with pytest.raises(ModelError, match="other: has no style, and the file none of that name.*kept"):
        load_family("adain", {"other": network.files["photo"]}, {}, {"other": None})
    with pytest.raises(ModelError, match=r"family: adain, but no tensor is called \*encoder"):
        paint_only = folder / "paint.safetensors"
        save_file(PaintNet((4, 4, 4), (1, 1, 1)).state_dict(), paint_only, {"architecture": "paint"})
        load_family("adain", {"a": paint_only, "b": paint_only}, {}, {"b": folder / "one.png"})
    with pytest.raises(MediaError):
        adain.read_style(folder / "text.jpg")


def test_style_pictures_of_presets_lie_beside_them_or_below(folder):
    text = "name: X\nnetwork: {family: adain, style: [%s]}\n"
    for bad in ("/etc/passwd", "../one.png"):
        (folder / "x.yaml").write_text(text % bad)
        with pytest.raises(PresetError, match=r"endpoints\[1\].style: expected a file in the preset's folder or below"):
            Preset.load(folder / "x.yaml")
    (folder / "x.yaml").write_text(text % "one.png, two.png")
    preset = Preset.load(folder / "x.yaml")
    assert preset.network.styles == {"one": folder / "one.png", "two": folder / "two.png"}
    assert all(path == Preset.load("style").network.endpoints[0].weights for path in preset.network.files.values())
    (folder / "x.yaml").write_text(
        "name: X\nnetwork: {endpoints: [{name: a, weights: a}, {name: b, weights: b, style: c}]}"
    )
    with pytest.raises(PresetError, match="b has a style; expected none of family dni"):
        Preset.load(folder / "x.yaml")


def test_a_style_picture_is_looked_at_in_one_size(folder):
    rng = np.random.default_rng(0)
    for shape, size in (((40, 56), (384, 544)), ((300, 2000), (384, 1536)), ((900, 100), (1536, 384))):
        write_png(folder / "p.png", rng.integers(0, 256, (*shape, 3), np.uint8))
        assert adain.read_style(folder / "p.png").shape == (*size, 3)


def test_one_encoder_of_less_than_a_million_numbers():
    net = StyleNet()
    assert sum(value.numel() for value in net.encoder.parameters()) < 1e6
    assert isinstance(net.encoder.code, nn.Linear)
