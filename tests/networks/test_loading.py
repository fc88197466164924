import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from dnirender.errors import ModelError
from dnirender.networks import loading, network
from dnirender.networks.architectures import paint, relight
from dnirender.networks.checkpoint import Checkpoint
from dnirender.networks.loading import load
from dnirender.networks.network import Network
from dnirender.networks.weights import MixedModule
from support.clips import MODELS, needs_models
from support.states import compact, dncnn


class Toy(nn.Module):
    multiple = 4

    def __init__(self, width=8):
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x):
        return x + self.last(self.first(x.to(self.first.weight.dtype))).to(x.dtype)


def toy_from_state_dict(state):
    toy = Toy(state["first.weight"].shape[0])
    toy.load_state_dict(dict(state))
    return toy


@pytest.fixture
def toys(tmp_path, monkeypatch):
    monkeypatch.setitem(loading.ARCHITECTURES, "toy", toy_from_state_dict)

    def write(name, width=8, metadata=None):
        path = tmp_path / f"{name}.safetensors"
        save_file(Toy(width).state_dict(), path, {"architecture": "toy"} if metadata is None else metadata)
        return path

    return write


def prefixed(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


PREFIXES = ["", "model.", "generator.", "module.", "netG.", "net_g.", "_orig_mod.", "model._orig_mod.", "x.y.", "body."]


@pytest.mark.parametrize("state", [compact(), dncnn()], ids=["compact", "DnCNN"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_goes_only_where_no_architecture_fits_with_it(tmp_path, prefix, state):
    plain, wrapped = saved(tmp_path / "a.pth", state), saved(tmp_path / "b.pth", prefixed(prefix, state))
    network, path = load({"a": plain, "b": wrapped})
    assert torch.equal(path.stack[0], path.stack[1])
    assert network.architecture == {"body": "RealESRGAN Compact", "model": "DnCNN"}[next(iter(state)).split(".")[0]]
    if prefix not in ("", "module.", "netG."):  # which spandrel removes
        assert network.notes == (f"{wrapped}: reads the tensors' names without {prefix!r}",)
    alone, _ = load({"b": wrapped})
    assert alone.architecture == network.architecture


def test_of_a_lightning_checkpoint_the_generator_is_taken(tmp_path):
    state, other = compact(), compact(features=4)
    lightning = {
        "epoch": 3,
        "pytorch-lightning_version": "2.0",
        "state_dict": prefixed("generator.", state) | prefixed("discriminator.", other) | {"loss.w": torch.zeros(1)},
        "optimizer_states": [{"state": {}}],
        "hyper_parameters": {"lr": 1e-4},
    }
    files = {"a": saved(tmp_path / "a.pth", state), "b": saved(tmp_path / "b.ckpt", lightning)}
    network, path = load(files)
    assert torch.equal(path.stack[0], path.stack[1])
    assert network.notes == (
        f"{files['b']}: takes the weights under 'state_dict'; reads the tensors' names without 'generator.'",
    )
    chosen, _ = load({"b": files["b"]}, weights_key="discriminator")
    assert chosen.module.num_feat == 4


def test_ema_is_preferred_and_a_key_chooses(tmp_path):
    state, other = compact(), compact()
    plain = saved(tmp_path / "a.pth", state)
    gan = saved(tmp_path / "b.pth", {"g": prefixed("module.", other), "g_ema": prefixed("module.", state), "d": {}})
    network, path = load({"a": plain, "b": gan})
    assert torch.equal(path.stack[0], path.stack[1])
    assert network.notes == (f"{gan}: takes the weights under 'g_ema'; there is g too (weights_key='g')",)
    _, path = load({"a": saved(tmp_path / "a.pth", other), "b": gan}, weights_key="g")
    assert torch.equal(path.stack[0], path.stack[1])
    with pytest.raises(ModelError, match=r"weights_key='d': there are no weights under it; there are under g, g_ema$"):
        load({"b": gan}, weights_key="d")
    with pytest.raises(ModelError, match=r"weights_key='params': no file has several entries to choose from$"):
        load({"a": plain}, weights_key="params")


def test_our_own_architectures_lose_their_prefix_too(tmp_path, toys):
    path = tmp_path / "wrapped.safetensors"
    save_file(prefixed("_orig_mod.model.", Toy().state_dict()), path, {"architecture": "toy"})
    network, _ = load({"a": toys("a"), "b": path})
    assert network.architecture == "toy" and "without '_orig_mod.model.'" in network.notes[0]


def test_what_fits_nothing_is_said_of_the_names_in_the_file(tmp_path):
    path = saved(tmp_path / "x.pth", {"model.a.weight": torch.zeros(3), "model.a.bias": torch.zeros(3)})
    assert "no known network has these weights (model.a.weight, model.a.bias, ...)" in refused({"a": path})


def saved(path, state):
    torch.save(state, path)
    return path


def refused(endpoints):
    with pytest.raises(ModelError) as error:
        load(endpoints)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- our architectures


def test_our_architectures_load_by_their_metadata(toys):
    net, path = load({"day": toys("a"), "dusk": toys("b"), "night": toys("c", metadata={})})
    assert isinstance(net.module, Toy)
    assert (net.architecture, net.scale, net.channels, net.multiple) == ("toy", 1, 3, 4)
    assert net.fp32_input
    assert net.supports_half
    assert net.supports_bf16
    assert net.parameters == 8 * 27 + 8 + 3 * 72 + 3
    assert path.names == ("day", "dusk", "night")


@pytest.mark.parametrize(("name", "scale"), [("relight", 1), ("compact", 2)])
def test_ours_load_without_importing_spandrel(tmp_path, name, scale):
    ours = pytest.importorskip(f"dnirender.networks.architectures.{name}")
    net = ours.RelightNet() if name == "relight" else ours.CompactNet(8, 1, scale)
    save_file(net.state_dict(), tmp_path / "day.safetensors", {"architecture": name})
    code = """if True:
        import sys
        from pathlib import Path
        from dnirender.networks.loading import load
        path = Path(sys.argv[1])
        net, _ = load({"day": path, "night": path})
        print(net.architecture, net.scale, net.multiple, "spandrel" in sys.modules, "torchvision" in sys.modules)
    """
    command = [sys.executable, "-c", code, str(tmp_path / "day.safetensors")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = [name, str(scale), str(getattr(net, "multiple", 1)), "False", "False"]
    assert result.stdout.split() == expected, result.stderr


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_compact_net_is_what_spandrel_makes_of_it(tmp_path, scale, dtype):
    torch.manual_seed(scale)
    state = {
        name: torch.randn(value.shape).mul_(0.1).to(dtype) for name, value in compact(convs=2, scale=scale).items()
    }
    for name, metadata in (("ours", {"architecture": "compact"}), ("theirs", {})):
        save_file(state, tmp_path / f"{name}.safetensors", metadata)
    ours, theirs = (load({"a": tmp_path / f"{name}.safetensors"})[0] for name in ("ours", "theirs"))
    assert (ours.architecture, theirs.architecture) == ("compact", "RealESRGAN Compact")
    assert ours == replace(theirs, architecture="compact")
    x = torch.rand(2, 3, 9, 7)
    assert torch.equal(ours.module(x), theirs.module(x))
    assert torch.equal(ours.forward(ours.module, x), theirs.forward(theirs.module, x))
    mixed, path = load({"ours": tmp_path / "ours.safetensors", "theirs": tmp_path / "theirs.safetensors"})
    assert mixed == ours and torch.equal(path.stack[0], path.stack[1])


@pytest.mark.parametrize("lacking", ["body.0.weight", "body.4.bias", "body.2.weight"])
def test_an_incomplete_compact_net_is_refused(tmp_path, lacking):
    state = compact(convs=1)
    del state[lacking]
    save_file(state, tmp_path / "x.safetensors", {"architecture": "compact"})
    message = refused({"a": tmp_path / "x.safetensors"})
    assert message.startswith(f"{tmp_path / 'x.safetensors'}: its weights do not fit the architecture compact: ")


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_rounding_is_to_nearest_half_to_even_and_clamped(dtype, traced, monkeypatch):
    monkeypatch.setattr(torch.jit, "is_tracing", lambda: traced)  # then PyTorch rounds, else OpenCV
    peak = torch.iinfo(dtype).max
    steps = torch.arange(-8, 4 * peak + 9, dtype=torch.float64).view(1, 1, -1, 1) / 4  # quarters of a code: ties too
    y = (steps / peak).float()
    expected = (y * peak).round().clamp(0, peak)
    assert torch.equal(network.quantize(y.expand(2, 3, -1, 3), dtype).float(), expected.expand(2, 3, -1, 3))
    assert network.quantize(y.permute(0, 2, 1, 3), dtype).is_contiguous()
    assert network.quantize(torch.tensor([-1e30, 1e5, 1e30]).view(1, 1, 1, 3), dtype).flatten().tolist() == [
        0,
        peak,
        peak,
    ]


def test_groups_of_another_size_than_stated_are_refused():
    net = Network("odd", nn.Identity(), lambda _, x: x[..., :9], (2, 2))
    with pytest.raises(ModelError, match=r"odd: the output is \[1, 2, 3, 9\], expected \[1, 2, 3, 12\]"):
        net.render(net.module, torch.zeros((1, 4, 6, 3), dtype=torch.uint8))


@pytest.mark.parametrize("name", ["relight", "paint"])
def test_ours_run_on_groups_of_pixels(tmp_path, name):
    module = {"relight": relight.RelightNet, "paint": paint.PaintNet}[name]()
    nn.init.normal_(module.last.weight, std=0.05)
    save_file(module.state_dict(), tmp_path / "a.safetensors", {"architecture": name})
    net, _ = load({"a": tmp_path / "a.safetensors"})
    x = torch.rand(2, 3, 32, 64)
    assert net.shuffle_factors == (2, 2)
    torch.testing.assert_close(net.forward(net.module, x), module(x))


def test_the_first_differences_are_named(toys):
    message = refused({"day": toys("day"), "night": toys("night", width=12)})
    assert message == (
        "night.safetensors does not fit day.safetensors: first.weight is [12, 3, 3, 3], expected [8, 3, 3, 3]; "
        "first.bias is [12], expected [8]; last.weight is [3, 12, 3, 3], expected [3, 8, 3, 3]; "
        "endpoints must be fine-tuned from one another"
    )


def test_a_file_that_lacks_tensors_is_compared_by_name(toys, tmp_path):
    state = Toy().state_dict()
    del state["last.bias"]
    save_file(state, tmp_path / "cut.safetensors", {"architecture": "toy"})
    message = refused({"day": toys("day"), "night": tmp_path / "cut.safetensors"})
    assert message.startswith("cut.safetensors does not fit day.safetensors: last.bias is missing; endpoints must be")
    message = refused({"night": tmp_path / "cut.safetensors"})
    assert message.startswith(f"{tmp_path / 'cut.safetensors'}: its weights do not fit the architecture toy: ")
    assert 'Missing key(s) in state_dict: "last.bias"' in message


def test_files_with_the_same_name_are_distinguished(toys, tmp_path):
    first = toys("x")
    (tmp_path / "other").mkdir()
    second = first.replace(tmp_path / "other" / first.name)
    message = refused({"day": toys("x", width=4), "night": second})
    assert message.startswith(f"night ({second}) does not fit day ({first}): ")


# --- spandrel


def test_a_compact_net_loads_through_spandrel(tmp_path):
    paths = {name: saved(tmp_path / f"{name}.pth", {"params": compact(scale=2)}) for name in ("a", "b")}
    net, path = load(paths)
    assert (net.architecture, net.scale, net.channels, net.multiple) == ("RealESRGAN Compact", 2, 3, 1)
    assert net.shuffle_factors == (1, 2)
    assert net.fp32_input  # the residual is added to the float32 input
    assert net.channels_last
    assert net == load({"c": paths["b"]})[0]
    live = MixedModule(path, net.module)
    live.write((0.5, 0.5))
    assert net.forward(live.module, torch.rand(2, 3, 5, 7)).shape == (2, 3, 10, 14)


def test_the_first_differences_of_a_foreign_net_are_named(tmp_path):
    wide = compact(convs=2)
    wide["body.2.weight"] = torch.zeros(16, 8, 3, 3)
    paths = {"a": saved(tmp_path / "day.pth", compact(convs=2)), "b": saved(tmp_path / "night.pth", wide)}
    assert refused(paths) == (
        "night.pth does not fit day.pth: body.2.weight is [16, 8, 3, 3], expected [8, 8, 3, 3]; "
        "endpoints must be fine-tuned from one another"
    )


def test_different_scales_are_refused(tmp_path):
    paths = {f"x{scale}": saved(tmp_path / f"x{scale}.pth", compact(scale=scale)) for scale in (2, 4)}
    assert refused(paths) == (
        "x4.pth does not fit x2.pth: it is RealESRGAN Compact (scale 4, channels 3), "
        "expected RealESRGAN Compact (scale 2, channels 3); endpoints must be fine-tuned from one another"
    )


def test_old_and_new_names_of_one_architecture_meet(tmp_path):
    torch.manual_seed(0)
    shapes = {"conv_first": (8, 3), "conv_body": (8, 8), "conv_up1": (8, 8), "conv_up2": (8, 8), "conv_hr": (8, 8)}
    shapes |= {f"body.0.rdb{j}.conv{k}": (8 if k == 5 else 32, 32 * k - 24) for j in (1, 2, 3) for k in range(1, 6)}
    shapes["conv_last"] = (3, 8)
    new = {}
    for name, (out, into) in shapes.items():
        new[f"{name}.weight"], new[f"{name}.bias"] = torch.randn(out, into, 3, 3), torch.randn(out)
    net, _ = load({"new": saved(tmp_path / "new.pth", new)})
    old = {name: tensor.clone() for name, tensor in net.module.state_dict().items()}
    assert set(old) != set(new)
    _, path = load({"new": tmp_path / "new.pth", "old": saved(tmp_path / "old.pth", old)})
    assert torch.equal(path.stack[0], path.stack[1])


def test_unknown_networks_are_refused(tmp_path):
    state = {name: torch.zeros(2) for name in ("Variable", "Variable_1", "Variable_2", "Variable_3")}
    path = saved(tmp_path / "x.pth", state)
    assert refused({"a": path}) == (
        f"{path}: no known network has these weights (Variable, Variable_1, Variable_2, ...); expected one of ours "
        "(relight, paint, compact, focus, denoise) or one that spandrel detects, such as ESRGAN, RealESRGAN Compact, DnCNN or SwinIR; "
        "register_architecture adds others"
    )


def test_a_corrupt_spandrel_network_is_refused(tmp_path):
    state = compact(convs=2)
    del state["body.2.bias"]
    path = saved(tmp_path / "x.pth", state)
    message = refused({"a": path})
    assert message.startswith(f"{path}: spandrel recognizes the architecture, but the weights do not fit: ")


def test_without_spandrel_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.pth", compact())
    monkeypatch.setitem(sys.modules, "spandrel", None)
    message = refused({"a": path})
    assert message.startswith(f"{path}: needs spandrel, which cannot be imported (import of spandrel halted")
    assert re.search(r"install the torchvision build for PyTorch \S+: pip install torch torchvision ", message)
    assert re.search(r"--index-url https://download\.pytorch\.org/whl/(cpu|cu\d+)$", message)


def test_a_mismatched_torchvision_is_reported(tmp_path, monkeypatch):
    (tmp_path / "spandrel.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    path = saved(tmp_path / "x.pth", compact())
    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    message = refused({"a": path})
    assert "cannot be imported (operator torchvision::nms does not exist); install the torchvision" in message


# --- properties


@given(st.integers(1, 99), st.integers(1, 99), st.integers(1, 17), st.integers(0, 50), st.booleans())
def test_the_padded_size_is_the_smallest_that_fits(height, width, multiple, minimum, square):
    net = Network("toy", nn.Identity(), multiple=multiple, minimum=minimum, square=square)
    up, across = net.padded_size(height, width)
    assert up % multiple == across % multiple == 0
    if square:
        assert up == across
        height = width = max(height, width)
    for padded, side in ((up, height), (across, width)):
        assert max(side, minimum) <= padded < max(side, minimum) + multiple


def test_attention_keeps_plain_memory():
    assert Network("toy", nn.Sequential(nn.Conv2d(3, 3, 3), nn.PReLU(), nn.ReLU())).channels_last
    assert not Network("toy", nn.Sequential(nn.Conv2d(3, 3, 3), nn.LayerNorm(3))).channels_last


def test_a_gray_net_takes_each_channel_as_a_picture():
    module = nn.Conv2d(1, 1, 3, padding=1)
    net = Network("toy", module, channels=1)
    x = torch.rand(2, 3, 5, 7).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = torch.cat([module(x[:, i : i + 1]) for i in range(3)], 1)
        torch.testing.assert_close(net.forward(module, x), expected)


def test_batchnorm_is_mixed_in_its_deployed_form(tmp_path, monkeypatch):
    def from_state_dict(state):
        module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, eps=0.1))
        module.load_state_dict(dict(state))
        return module.eval()

    monkeypatch.setitem(loading.ARCHITECTURES, "bn", from_state_dict)
    torch.manual_seed(0)
    x, modules, paths = torch.rand(1, 3, 4, 4), {}, {}
    for name in "ab":
        state = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).state_dict()
        state["0.weight"], state["0.bias"] = torch.eye(3)[:, :, None, None], torch.zeros(3)
        state |= {f"1.{k}": torch.rand(3) + 0.1 for k in ("weight", "bias", "running_mean", "running_var")}
        modules[name], paths[name] = from_state_dict(state), tmp_path / f"{name}.safetensors"
        save_file(state, paths[name], {"architecture": "bn"})
    net, path = load(paths)
    live = MixedModule(path, net.module)
    with torch.no_grad():
        ends = [modules[name](x) for name in "ab"]
        for alpha in ((1.0, 0.0), (0.0, 1.0), (0.3, 0.7)):  # behind equal convolutions, the output itself is linear
            live.write(alpha)
            torch.testing.assert_close(live.module(x), alpha[0] * ends[0] + alpha[1] * ends[1], atol=1e-5, rtol=1e-5)


# --- third-party weights


@needs_models
@pytest.mark.parametrize(
    ("first", "second", "metadata"),
    [
        ("realesr_general_x4v3", "realesr_general_wdn_x4v3", ("RealESRGAN Compact", 4, 3)),
        ("dncnn_color_sigma15", "dncnn_color_sigma50", ("DnCNN", 1, 3)),
        ("dncnn_gray_sigma15", "dncnn_gray_sigma25", ("DnCNN", 1, 1)),
    ],
)
def test_known_pairs_load(first, second, metadata):
    net, path = load({"a": MODELS / f"{first}.pth", "b": MODELS / f"{second}.pth"})
    assert (net.architecture, net.scale, net.channels) == metadata
    assert path.stack.shape[0] == 2
    assert path.stack.shape[1] >= net.parameters


# --- endpoints that need no module of their own


def _counted(monkeypatch):
    built = []
    build = loading._build
    monkeypatch.setattr(loading, "_build", lambda path, *rest: built.append(path.stem) or build(path, *rest))
    return built


def _relights(folder, count, change=None):
    """Weights files of our own architecture; `change` alters the state of the last."""
    files = {}
    for number in range(count):
        torch.manual_seed(number)
        state = {
            name: torch.randn_like(tensor) for name, tensor in relight.RelightNet((16, 16, 16)).state_dict().items()
        }
        if change and number == count - 1:
            state = change(state)
        files[f"e{number}"] = folder / f"e{number}.safetensors"
        save_file(state, files[f"e{number}"], {"architecture": "relight"})
    return files


def test_endpoints_like_the_first_need_no_module_and_have_their_own_weights(tmp_path, monkeypatch):
    files, built = _relights(tmp_path, 3), _counted(monkeypatch)
    _, quick = load(files)
    assert built == ["e0"]
    monkeypatch.setattr(loading, "_ready_states", lambda *_: {})
    _, slow = load(files)
    assert built == ["e0", "e0", "e1", "e2"]
    assert torch.equal(quick.stack, slow.stack) and quick.layout == slow.layout and quick.names == slow.names
    assert len({row.sum().item() for row in quick.stack}) == 3


def test_what_is_not_like_the_first_is_built_and_told(tmp_path, monkeypatch):
    built = _counted(monkeypatch)
    files = _relights(tmp_path, 2, lambda state: dict(list(state.items())[1:]))
    with pytest.raises(ModelError, match="does not fit"):
        load(files)
    assert built == ["e0", "e1"]


def test_modules_with_statistics_or_renamed_tensors_are_all_built():
    """Batch normalization is folded, and integers may say how a network is built."""

    def ready(module, first, second):
        return loading._ready_states(module, {"a": Checkpoint(first, {}), "b": Checkpoint(second, {})})

    conv = nn.Conv2d(3, 3, 1)
    state = {name: tensor.detach() for name, tensor in conv.state_dict().items()}
    other = {name: tensor + 1 for name, tensor in state.items()}
    assert list(ready(conv, state, other)) == ["b"]
    assert ready(nn.Sequential(conv), state, other) == {}
    assert ready(conv, other, other) == {}
    norm = nn.BatchNorm2d(3)
    assert ready(norm, dict(norm.state_dict()), dict(norm.state_dict())) == {}
    counted = nn.Module()
    counted.register_buffer("heads", torch.tensor(4))
    first = dict(counted.state_dict())
    assert list(ready(counted, first, {"heads": torch.tensor(4)})) == ["b"]
    assert ready(counted, first, {"heads": torch.tensor(8)}) == {}
