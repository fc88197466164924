"""Laws of tunable networks: each module at a level is the engine's network at an alpha."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from dnirender.errors import ModelError
from dnirender.families import adafm, adain, cfsnet, dynamic_net, ftn
from dnirender.families.loading import ENDPOINTS, load_family
from dnirender.networks.architectures import ada_resnet, conditional_style
from dnirender.networks.architectures import dynamic_net as dynamic_style
from dnirender.networks.architectures.adapters import set_level
from dnirender.networks.architectures.denoise import DenoiseNet
from dnirender.networks.architectures.paint import PaintNet
from dnirender.networks.architectures.transformer_net import TransformerNet
from dnirender.networks.weights import MixedModule, WeightPath

light = settings(max_examples=8, deadline=None)
levels = st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0])
seeds = st.integers(0, 1000)
sides = {
    "denoise": st.sampled_from([(8, 12), (18, 10), (32, 32)]),
    "paint": st.sampled_from([(16, 24), (40, 16), (32, 32)]),
}
NETS = {"denoise": lambda: DenoiseNet(8, 3), "paint": lambda: PaintNet((8, 12, 16), (2, 1, 1))}
TUNABLE = {
    "adafm": adafm.tunable,
    "adafm of 3": lambda net: adafm.tunable(net, kernel=3),
    "ftn": ftn.tunable,
    "dynamic": dynamic_net.tunable,
    "cfs": cfsnet.tunable,
}


def randomized(module, seed=0, scale=0.1):
    """What is zero at first would hide a mistake."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=scale)
    return module


def saved(path, state, **metadata):
    save_file({name: tensor.detach().contiguous() for name, tensor in state.items()}, path, metadata)
    return path


def engine(family, file, alpha, groups=(), places=(0.0, 1.0)):
    """The network of the endpoints of one file at `places`, with the weights of `alpha`."""
    names = [f"p{number}" for number in range(len(places))]
    network, path = load_family(
        family, dict.fromkeys(names, file), dict(zip(names, places, strict=True)), groups=groups
    )
    mixed = MixedModule(path, network.module)
    mixed.write(alpha)
    return network, lambda x: network.forward(mixed.module, x)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("families")


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", TUNABLE)
@light
@given(seed=seeds, level=levels, data=st.data())
def test_a_module_at_a_level_is_the_engine_at_that_alpha(folder, kind, net, seed, level, data):
    module = randomized(TUNABLE[kind](NETS[net]()), seed).eval()
    file = saved(folder / "x.safetensors", module.state_dict(), architecture=net)
    set_level(module, level)
    network, render = engine(kind.split()[0], file, (1 - level, level))
    x = torch.rand(2, 3, *data.draw(sides[net]))
    with torch.inference_mode():
        expected = module(x)
        assert (expected - x).abs().mean() > 0.01
        torch.testing.assert_close(render(x), expected, atol=1e-5, rtol=1e-4)
    assert network.channels_last


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", TUNABLE)
def test_level_0_is_the_network_without_additions_and_level_1_is_another(kind, net):
    plain = randomized(NETS[net]())
    x = torch.rand(1, 3, 16, 16)
    before = plain(x)
    module = TUNABLE[kind](plain)
    names = dict(NETS[net]().named_parameters())
    for name, parameter in module.named_parameters():
        if name not in names:
            nn.init.normal_(parameter, std=0.5)
    set_level(module, 0)
    torch.testing.assert_close(module(x), before)
    set_level(module, 1)
    assert (module(x) - before).abs().mean() > 0.001


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", ["adafm", "adafm of 3", "ftn", "dynamic"])
def test_training_begins_at_the_network_as_it_is(kind, net):
    plain = randomized(NETS[net]())
    x = torch.rand(1, 3, 16, 16)
    before = plain(x)
    torch.testing.assert_close(TUNABLE[kind](plain)(x), before)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", ["adafm", "ftn"])
def test_folded_networks_have_no_layers_more(kind, net):
    state = randomized(TUNABLE[kind](NETS[net]())).state_dict()
    folded, plain = ENDPOINTS[kind](state, 0.3), NETS[net]().state_dict()
    assert {name: t.shape for name, t in folded.items()} == {name: t.shape for name, t in plain.items()}


def test_branches_of_cfsnet_are_folded_to_their_blocks():
    state = randomized(cfsnet.tunable(DenoiseNet(8, 3))).state_dict()
    added = set(ENDPOINTS["cfs"](state, 0.3)) - set(DenoiseNet(8, 3).state_dict())
    assert added == {f"body.{n}.skip.weight" for n in range(3)}


def test_every_norm_but_the_first_has_adafm():
    state = adafm.tunable(PaintNet((8, 12, 16), (2, 1, 1))).state_dict()
    norms = {name.removesuffix(".norm.weight") for name in state if name.endswith(".norm.weight")}
    assert {
        name.removesuffix(".norm.transformer.weight") for name in state if "transformer.weight" in name
    } == norms - {"stem"}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", TUNABLE)
def test_endpoints_are_linear_in_the_level(kind, net):
    state = randomized(TUNABLE[kind](NETS[net]())).state_dict()
    family = kind.split()[0]
    ends, quarter = [ENDPOINTS[family](state, level) for level in (0, 1)], ENDPOINTS[family](state, 0.25)
    for name, tensor in quarter.items():
        torch.testing.assert_close(tensor, torch.lerp(ends[0][name], ends[1][name], 0.25))


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", TUNABLE)
def test_weights_have_gradients_through_the_endpoint(kind, net):
    state = dict(randomized(TUNABLE[kind](NETS[net]())).named_parameters())
    sum(tensor.sum() for tensor in ENDPOINTS[kind.split()[0]](state, 0.5).values()).backward()
    assert all(tensor.grad is not None for tensor in state.values())


class Blueprint(nn.Module):
    """AdaFM's network written from its description, with its authors' names; `layers` are AdaFM's, level * g."""

    def __init__(self, state, level):
        super().__init__()
        self.state, self.level = state, level

    def conv(self, x, name, **options):
        return F.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], **options)

    def adapted(self, x, conv, layer):
        y = self.conv(x, conv, padding=1)
        gain = self.state.get(f"{layer}.transformer.weight")
        if gain is None:
            return y
        return y + self.level * self.conv(y, f"{layer}.transformer", padding=gain.shape[-1] // 2, groups=len(gain))

    def forward(self, x):
        h = first = self.conv(x, "model.0", stride=2, padding=1)
        for block in ("model.1.sub.0", "model.1.sub.1"):
            inner = self.adapted(h, f"{block}.res.0", f"{block}.res.1").relu()
            h = h + self.adapted(inner, f"{block}.res.3", f"{block}.res.4")
        h = first + self.adapted(h, "model.1.sub.2", "model.1.sub.3")
        if "model.2.weight" in self.state:
            h = F.pixel_shuffle(self.conv(h, "model.2", padding=1), 2).relu()
        else:
            h = self.conv(F.interpolate(h, scale_factor=2), "model.3", padding=1).relu()
        return self.conv(self.conv(h, "model.5", padding=1).relu(), "model.7", padding=1)


@pytest.mark.parametrize("kernel", [1, 3, 0])
@pytest.mark.parametrize("shuffles", [True, False])
def test_files_of_adafm_load_as_their_authors_write_them(tmp_path, kernel, shuffles):
    module = randomized(ada_resnet.AdaResNet(3, 6, 2, kernel, shuffles=shuffles))
    state = module.state_dict()
    names = {"model.0.weight", "model.1.sub.0.res.0.bias", "model.1.sub.1.res.3.weight", "model.1.sub.2.weight"}
    assert names | {"model.2.weight" if shuffles else "model.3.weight", "model.5.weight", "model.7.bias"} <= set(state)
    path = tmp_path / "ada.pth"
    torch.save(state, path)
    x = torch.rand(1, 3, 10, 14)
    if not kernel:
        network, mixed = engine("dni", path, (1, 0))
        torch.testing.assert_close(mixed(x), Blueprint(state, 0)(x), atol=1e-5, rtol=1e-4)
        return
    assert "model.1.sub.0.res.1.transformer.weight" in state and "model.1.sub.3.transformer.bias" in state
    for level in (0.0, 0.3, 1.0):
        network, mixed = engine("adafm", path, (1 - level, level))
        assert network.architecture == "AdaResNet"
        assert any(isinstance(layer, ada_resnet.AdaFM) for layer in network.module.modules()) == (kernel > 1)
        torch.testing.assert_close(mixed(x), Blueprint(state, level)(x), atol=1e-5, rtol=1e-4)


def dynamic_state(*sets):
    net = dynamic_style.DynamicNet(TransformerNet((4, 6, 8), 5), sets)
    return randomized(net, scale=0.3).state_dict()


class PlainDynamic(nn.Module):
    """Dynamic-Net written from its description, with its authors' names: levels of three places, below zero with the
    blocks of `lower`."""

    def __init__(self, state):
        super().__init__()
        self.state = state

    def conv(self, x, name, stride=1):
        weight = self.state[f"{name}.weight"]
        x = F.pad(x, (weight.shape[-1] // 2,) * 4, mode="reflect")
        return F.conv2d(x, weight, self.state[f"{name}.bias"], stride)

    def norm(self, x, name):
        return F.instance_norm(x, weight=self.state[f"main.{name}.weight"], bias=self.state[f"main.{name}.bias"])

    def tuned(self, z, level, site):
        dual = "tuning_blocks.tuning_block0.conv0.weight" not in self.state
        blocks = f"tuning_blocks_{'higher' if level > 0 else 'lower'}" if dual else "tuning_blocks"
        level = abs(level) if dual else level
        h = z
        for number in range(3):
            h = self.conv(h, f"{blocks}.tuning_block{site}.conv{number}")
            h = h.relu() if number < 2 else h
        return z + level * h

    def forward(self, x, *levels):
        mean, spread = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])
        spread = spread[:, None, None]
        h = (x - mean) / spread
        for number in (1, 2, 3):
            h = self.norm(self.conv(h, f"main.conv{number}.conv2d", 1 if number == 1 else 2), f"in{number}").relu()
        for number in range(1, 6):
            h = self.tuned(h, levels[0], 0) if number == 3 else h
            inner = self.norm(self.conv(h, f"main.res{number}.conv1.conv2d"), f"res{number}.in1").relu()
            h = h + self.norm(self.conv(inner, f"main.res{number}.conv2.conv2d"), f"res{number}.in2")
        h = self.tuned(h, levels[1], 1)
        for number in (1, 2):
            wide = F.interpolate(h, scale_factor=2)
            h = self.norm(self.conv(wide, f"main.deconv{number}.conv2d"), f"in{number + 3}").relu()
        return self.conv(self.tuned(h, levels[2], 2), "main.deconv3.conv2d") * spread + mean


def test_files_of_dynamic_net_load_and_each_place_has_a_track(tmp_path):
    state = dynamic_state("tuning_blocks")
    path = tmp_path / "dynamic.pth"
    torch.save(state, path)
    x = torch.rand(1, 3, 16, 20)
    network, mixed = engine("dynamic", path, (0.6, 0.4))
    assert network.architecture == "Dynamic-Net"
    torch.testing.assert_close(mixed(x), PlainDynamic(state)(x, 0.4, 0.4, 0.4), atol=1e-5, rtol=1e-4)
    groups = [f"tuning_blocks.tuning_block{site}.*" for site in (0, 1, 2)]
    own = (0.0, 0.9, 0.25)
    alpha = (1.0, 0.0, *(share for level in own for share in (1 - level, level)))
    _, mixed = engine("dynamic", path, alpha, groups)
    torch.testing.assert_close(mixed(x), PlainDynamic(state)(x, *own), atol=1e-5, rtol=1e-4)
    weights = dynamic_net.endpoint(state, own)
    torch.testing.assert_close(
        dynamic_style.from_state_dict(weights)(x), PlainDynamic(state)(x, *own), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("level", [-1.0, -0.3, 0.0, 0.7, 1.0])
def test_dual_dynamic_nets_run_from_lower_to_higher(tmp_path, level):
    state = dynamic_state("tuning_blocks_lower", "tuning_blocks_higher")
    path = tmp_path / "dual.pth"
    torch.save(state, path)
    alpha = (max(-level, 0.0), 1 - abs(level), max(level, 0.0))
    _, mixed = engine("dynamic", path, alpha, places=(-1.0, 0.0, 1.0))
    x = torch.rand(1, 3, 16, 20)
    torch.testing.assert_close(mixed(x), PlainDynamic(state)(x, level, level, level), atol=1e-5, rtol=1e-4)


@light
@given(seed=seeds, level=levels)
def test_styles_and_content_are_endpoints_of_adain(seed, level):
    torch.manual_seed(seed)
    f, one, two = torch.randn(1, 6, 9, 7), 2 * torch.randn(1, 6, 8, 8) + 1, torch.randn(1, 6, 5, 5) - 2

    def styled(style):
        mean, spread = f.mean((2, 3), keepdim=True), (f.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
        sigma = (style.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
        return sigma * (f - mean) / spread + style.mean((2, 3), keepdim=True)

    def rendered(first, last):
        module = adain.StyledNorm(6)
        mixed = MixedModule(WeightPath({"a": first, "b": last}), module)
        mixed.write((1 - level, level))
        return module(f)

    contents = adain.content_endpoint(6)
    expected = (1 - level) * f + level * styled(one)
    torch.testing.assert_close(rendered(contents, adain.style_endpoint(one)), expected, atol=1e-5, rtol=1e-4)
    sigma, mu = (torch.lerp(a, b, level) for a, b in zip(adain.style_of(one), adain.style_of(two), strict=True))
    norm = F.instance_norm(f, eps=1e-5)
    expected = norm * sigma[:, None, None] + mu[:, None, None]
    found = rendered(adain.style_endpoint(one), adain.style_endpoint(two))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_styles_of_conditional_norms_differ_in_their_affines_alone():
    torch.manual_seed(0)
    shapes = {"contract.0": (4, 3, 9, 9), "contract.1": (6, 4, 3, 3), "contract.2": (8, 6, 3, 3)}
    shapes |= {"res.0.0": (8, 8, 3, 3), "res.0.1": (8, 8, 3, 3)}
    shapes |= {"expand.0": (6, 8, 3, 3), "expand.1": (4, 6, 3, 3), "expand.2": (3, 4, 9, 9)}
    state = {f"{name}.w": torch.randn(shape) for name, shape in shapes.items()}
    state |= {f"{n}.norm.{k}": torch.randn(2, s[0]) for n, s in shapes.items() for k in ("gamma", "beta")}
    one, two = (adain.conditional_endpoint(state, style) for style in (0, 1))
    assert {name for name in one if not torch.equal(one[name], two[name])} == {
        f"{name}.norm.{kind}" for name in shapes for kind in ("weight", "bias")
    }
    assert conditional_style.detect(one)


def test_a_file_without_the_familys_tensors_is_refused_by_name(tmp_path):
    file = saved(tmp_path / "plain.safetensors", DenoiseNet(8, 3).state_dict(), architecture="denoise")
    for family, addition in (("ftn", r"\*.transition.\*"), ("cfs", r"\*adaptive_alpha\*")):
        with pytest.raises(
            ModelError, match=rf"plain.safetensors: family: {family}, but no tensor is called {addition}"
        ):
            load_family(family, {"a": file, "b": file}, {"a": 0, "b": 1})


def test_a_base_of_its_own_file_is_an_endpoint(tmp_path):
    net = randomized(DenoiseNet(8, 3))
    base = saved(tmp_path / "base.safetensors", net.state_dict(), architecture="denoise")
    state = randomized(adafm.tunable(net), 1).state_dict()
    adapted = saved(tmp_path / "adafm.safetensors", state, architecture="denoise")
    files, places = {"a": base, "b": adapted}, {"a": 0.0, "b": 1.0}
    _, path = load_family("adafm", files, places)
    assert path.names == ("a", "b")
    file = saved(tmp_path / "broken.safetensors", {n: t for n, t in state.items() if "bias" not in n})
    with pytest.raises(ModelError, match=r"broken.safetensors: its tensors are not those of the family adafm"):
        load_family("adafm", {"a": file, "b": file}, places)
