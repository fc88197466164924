"""Laws of the networks of others that are detected by their names: values, sizes, dialects, mixtures."""

import sys
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dnirender.errors import ModelError
from dnirender.networks.architectures import fast_style_transfer
from dnirender.networks.loading import load
from dnirender.networks.network import LUMA, Network
from dnirender.networks.weights import MixedModule
from support.clips import MODELS, needs_models


def saved(path, state):
    torch.save(dict(state), path)
    return path


def rendered(network, x):
    with torch.inference_mode():
        return network.forward(network.module.eval(), x)


def randomized(module):
    """Norms too: their weights are ones and zeros at first, which would hide a mistake."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def conv(inputs, outputs, kernel, stride=1):
    padding = nn.ReflectionPad2d(kernel // 2)
    layer = nn.Module()
    layer.conv2d = nn.Conv2d(inputs, outputs, kernel, stride)
    layer.run = lambda x: layer.conv2d(padding(x))
    return layer


class PlainTransformerNet(nn.Module):
    """Written from the description: c9s1-a, d-b, d-c, R-c x n, u-b, u-a, c9s1-3; instance norm after all but the last."""

    def __init__(self, a=4, b=6, c=8, blocks=2):
        super().__init__()
        self.blocks = blocks
        chain = [("conv1", 3, a, 9, 1), ("conv2", a, b, 3, 2), ("conv3", b, c, 3, 2)]
        chain += [("deconv1", c, b, 3, 1), ("deconv2", b, a, 3, 1), ("deconv3", a, 3, 9, 1)]
        for name, *sizes in chain:
            setattr(self, name, conv(*sizes))
        for number, width in enumerate((a, b, c, b, a), 1):
            setattr(self, f"in{number}", nn.InstanceNorm2d(width, affine=True))
        for number in range(1, blocks + 1):
            block = nn.Module()
            for half in (1, 2):
                setattr(block, f"conv{half}", conv(c, c, 3))
                setattr(block, f"in{half}", nn.InstanceNorm2d(c, affine=True))
            setattr(self, f"res{number}", block)

    def forward(self, x):
        for number in (1, 2, 3):
            x = F.relu(getattr(self, f"in{number}")(getattr(self, f"conv{number}").run(x)))
        for number in range(1, self.blocks + 1):
            block = getattr(self, f"res{number}")
            x = x + block.in2(block.conv2.run(F.relu(block.in1(block.conv1.run(x)))))
        for number in (1, 2):
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = F.relu(getattr(self, f"in{number + 3}")(getattr(self, f"deconv{number}").run(x)))
        return self.deconv3.run(x)


def test_transformer_net_takes_and_gives_codes_and_ignores_old_running_statistics(tmp_path):
    plain = randomized(PlainTransformerNet())
    old = {**plain.state_dict(), "in1.running_mean": torch.ones(4), "res1.in1.running_var": torch.ones(8)}
    files = {"old": saved(tmp_path / "old.pth", old), "new": saved(tmp_path / "new.pth", plain.state_dict())}
    network, path = load(files)
    assert (network.architecture, network.scale, network.multiple) == ("TransformerNet", 1, 4)
    assert torch.equal(path.stack[0], path.stack[1])
    x = torch.rand(2, 3, 16, 12)
    torch.testing.assert_close(rendered(network, x), plain(x * 255) / 255, rtol=1e-3, atol=1e-4)


def resnet(width=4, blocks=6, norm=nn.InstanceNorm2d, dropout=False):
    """Layer by layer as the generator's published description has them."""
    affine = norm is nn.BatchNorm2d
    bias = not affine

    class Block(nn.Module):
        def __init__(self, c):
            super().__init__()
            drop = [nn.Dropout(0.5)] if dropout else []
            one = [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=bias), norm(c), nn.ReLU(), *drop]
            self.conv_block = nn.Sequential(*one, nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=bias), norm(c))

        def forward(self, x):
            return x + self.conv_block(x)

    layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7, bias=bias), norm(width), nn.ReLU()]
    for c in (width, 2 * width):
        layers += [nn.Conv2d(c, 2 * c, 3, 2, 1, bias=bias), norm(2 * c), nn.ReLU()]
    layers += [Block(4 * width) for _ in range(blocks)]
    for c in (4 * width, 2 * width):
        layers += [nn.ConvTranspose2d(c, c // 2, 3, 2, 1, 1, bias=bias), norm(c // 2), nn.ReLU()]
    net = nn.Module()
    net.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())
    return net


def without_dropout(net):
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


@pytest.mark.parametrize("blocks", [3, 6, 9])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("norm", [nn.InstanceNorm2d, nn.BatchNorm2d])
def test_a_cyclegan_resnet_takes_and_gives_minus_one_to_one(tmp_path, blocks, dropout, norm):
    plain = without_dropout(randomized(resnet(blocks=blocks, norm=norm, dropout=dropout)))
    state = {f"module.{name}": tensor for name, tensor in plain.state_dict().items()}  # of nn.DataParallel
    network, _ = load({"a": saved(tmp_path / "net_G.pth", state)})
    assert (network.architecture, network.multiple) == ("CycleGAN ResNet", 4)
    x = torch.rand(1, 3, 16, 20)
    expected = (plain.train().model(x * 2 - 1) + 1) / 2  # one image: its own statistics in both norms
    torch.testing.assert_close(rendered(network, x), expected, rtol=1e-4, atol=1e-4)


def unet(widths=(2, 3, 4, 4, 4, 4, 4, 4), norm=nn.BatchNorm2d):
    bias = norm is nn.InstanceNorm2d

    class Level(nn.Module):
        def __init__(self, outer, inner, below, outermost=False):
            super().__init__()
            self.outermost = outermost
            down = nn.Conv2d(3 if outermost else outer, inner, 4, 2, 1, bias=bias)
            up = nn.ConvTranspose2d(2 * inner if below else inner, outer, 4, 2, 1, bias=bias or outermost)
            if outermost:
                layers = [down, below, nn.ReLU(True), up, nn.Tanh()]
            elif below is None:
                layers = [nn.LeakyReLU(0.2, True), down, nn.ReLU(True), up, norm(outer)]
            else:
                layers = [nn.LeakyReLU(0.2, True), down, norm(inner), below, nn.ReLU(True), up, norm(outer)]
            self.model = nn.Sequential(*layers)

        def forward(self, x):
            return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)

    level = None
    for outer, inner in reversed(list(pairwise(widths))):
        level = Level(outer, inner, level)
    net = nn.Module()
    net.model = Level(3, widths[0], level, outermost=True)
    return net


@pytest.mark.parametrize("halvings", [7, 8])
@pytest.mark.parametrize("norm", [nn.InstanceNorm2d, nn.BatchNorm2d])
def test_a_pix2pix_unet_takes_multiples_of_its_size_and_normalizes_each_image(tmp_path, halvings, norm):
    plain = randomized(unet((2, 3, 4, 4, 4, 4, 4, 4)[:halvings], norm)).train()
    state = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    network, _ = load({"a": saved(tmp_path / "net_G.pth", state)})
    side = 2**halvings
    assert (network.architecture, network.multiple) == (f"pix2pix U-Net {side}", side)
    x = torch.rand(1, 3, side, 2 * side)
    torch.testing.assert_close(rendered(network, x), (plain.model(x * 2 - 1) + 1) / 2, rtol=1e-4, atol=1e-4)
    two = torch.cat([x, torch.rand_like(x)])
    torch.testing.assert_close(rendered(network, two)[:1], rendered(network, x))


def tensorflow_variables():
    """Names and shapes of fast-style-transfer's variables, narrow."""
    shapes = [(9, 9, 3, 4), (3, 3, 4, 6), (3, 3, 6, 8), *[(3, 3, 8, 8)] * 10]
    shapes += [(3, 3, 6, 8), (3, 3, 4, 6), (9, 9, 4, 3)]
    torch.manual_seed(2)
    tensors = []
    for index, shape in enumerate(shapes):
        out = shape[2] if index in (13, 14) else shape[3]
        tensors += [torch.randn(shape) * 0.2, torch.randn(out), torch.randn(out)]
    return {f"Variable_{number}" if number else "Variable": tensor for number, tensor in enumerate(tensors)}


def same(x, weight, stride):
    """TensorFlow's SAME: the output has ceil(size / stride), and of an odd padding the smaller part is in front."""
    kernel = weight.shape[2]
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride)


def transposed(x, weight, size):
    """TensorFlow defines it as the gradient of the convolution of stride 2 from `size` to the size of `x`."""
    image = torch.zeros(len(x), weight.shape[1], *size, requires_grad=True)
    return torch.autograd.grad(same(image, weight, 2), image, x)[0]


def test_fast_style_transfer_pads_and_normalizes_as_tensorflow(tmp_path):
    state = tensorflow_variables()
    network, _ = load({"a": saved(tmp_path / "a.pth", state)})
    assert (network.architecture, network.multiple) == ("fast-style-transfer", 4)

    def norm(y, index):
        shift, scale = (state[f"Variable_{3 * index + k}"].view(1, -1, 1, 1) for k in (1, 2))
        mean, variance = y.mean((2, 3), keepdim=True), y.var((2, 3), correction=0, keepdim=True)
        return scale * (y - mean) / (variance + 1e-3).sqrt() + shift

    def weight(index):
        return state[f"Variable_{3 * index}" if index else "Variable"].permute(3, 2, 0, 1)

    x = torch.rand(1, 3, 12, 16)
    h = x * 255
    for index, stride in enumerate((1, 2, 2)):
        h = F.relu(norm(same(h, weight(index), stride), index))
    for index in range(3, 13, 2):
        inner = F.relu(norm(same(h, weight(index), 1), index))
        h = h + norm(same(inner, weight(index + 1), 1), index + 1)
    for index in (13, 14):
        h = F.relu(norm(transposed(h, weight(index), [2 * side for side in h.shape[2:]]), index))
    expected = torch.tanh(norm(same(h, weight(15), 1), 15)) * 150 + 127.5
    torch.testing.assert_close(rendered(network, x), expected / 255, rtol=1e-3, atol=1e-3)


def test_our_names_of_a_converted_network_load_too(tmp_path):
    network, path = load({"tf": saved(tmp_path / "tf.pth", tensorflow_variables())})
    _, again = load({"tf": tmp_path / "tf.pth", "ours": saved(tmp_path / "o.pth", network.module.state_dict())})
    assert torch.equal(again.stack[0], again.stack[1]) and torch.equal(again.stack[0], path.stack[0])
    assert not fast_style_transfer.detect({f"Variable_{n}": torch.zeros(1) for n in range(48)})


def onnx_names(widths=(4, 6, 8)):
    """Names and shapes of a converted fast-neural-style network."""
    a, b, c = widths
    shapes = [(a, 3, 9, 9), (b, a, 3, 3), (c, b, 3, 3), *[(c, c, 3, 3)] * 10, (c, b, 3, 3), (b, a, 3, 3), (3, a, 9, 9)]
    torch.manual_seed(3)
    state = {"Mul_B": torch.ones(3, 1, 1), "scale_B": torch.tensor([104.0, 117, 124]).view(3, 1, 1)}
    for index, shape in enumerate(shapes):
        number, out = index or "", shape[1] if index in (13, 14) else shape[0]
        state |= {f"convolution{number}_W": torch.randn(shape) * 0.2, f"convolution{number}_B": torch.randn(out)}
        if index < 15:
            state[f"InstanceNormalization_scale{number}"] = torch.randn(out)
            state[f"InstanceNormalization_B{number}"] = torch.randn(out)
    return state


def test_fast_neural_style_crops_its_skips_and_has_blue_first(tmp_path):
    state = onnx_names()
    network, _ = load({"a": saved(tmp_path / "a.pth", state)})
    assert (network.architecture, network.multiple, network.minimum) == ("fast-neural-style", 4, 44)

    def run(h, index, relu=True):
        number = index or ""
        w, b = state[f"convolution{number}_W"], state[f"convolution{number}_B"]
        if index in (13, 14):
            y = F.conv_transpose2d(h, w, b, stride=2)[..., 1:, 1:]
        else:
            y = F.conv2d(h, w, b, 2 if index in (1, 2) else 1, {0: 4, 1: 1, 2: 1}.get(index, 0))
        scale, shift = state[f"InstanceNormalization_scale{number}"], state[f"InstanceNormalization_B{number}"]
        y = F.instance_norm(y, weight=scale, bias=shift)
        return F.relu(y) if relu else y

    x = torch.rand(1, 3, 48, 44)
    h = F.pad(x[:, [2, 1, 0]] * 255, (40, 40, 40, 40), mode="reflect")
    for index in (0, 1, 2):
        h = run(h, index)
    for index in range(3, 13, 2):
        h = h[:, :, 2:-2, 2:-2] + run(run(h, index), index + 1, relu=False)
    h = run(run(h, 13), 14)
    y = torch.tanh(F.conv2d(h, state["convolution15_W"], state["convolution15_B"], padding=4)) * 150
    expected = (y * state["Mul_B"] + state["scale_B"])[:, [2, 1, 0]] / 255
    assert expected.shape == x.shape
    torch.testing.assert_close(rendered(network, x), expected, rtol=1e-3, atol=1e-3)


def dncnn(channels, bias, layers=5, width=6, norm=True, prefix="dncnn"):
    net = nn.Module()
    inner = []
    for _ in range(layers - 2):
        inner += [
            nn.Conv2d(width, width, 3, padding=1, bias=bias),
            *([nn.BatchNorm2d(width)] if norm else []),
            nn.ReLU(),
        ]
    first, last = (
        nn.Conv2d(channels, width, 3, padding=1, bias=bias),
        nn.Conv2d(width, channels, 3, padding=1, bias=bias),
    )
    chain = nn.Sequential(first, nn.ReLU(), *inner, last)
    setattr(net, prefix, chain)
    randomized(net)
    for module in chain:
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net, chain.eval()


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_dncnn_under_its_other_names(tmp_path, norm, bias):
    net, chain = dncnn(3, bias, norm=norm)
    network, _ = load({"a": saved(tmp_path / "net.pth", net.state_dict())})
    assert (network.architecture, network.channels, network.luma) == ("DnCNN", 3, False)
    x = torch.rand(1, 3, 9, 11)
    torch.testing.assert_close(rendered(network, x), x - chain(x), rtol=1e-4, atol=1e-4)


def test_both_namings_of_dncnn_mix(tmp_path):
    net, chain = dncnn(1, False, layers=17)
    theirs = {name.replace("dncnn", "model"): t for name, t in net.state_dict().items()}
    theirs |= {f"model.{i}.bias": torch.zeros(m.out_channels) for i, m in enumerate(chain) if isinstance(m, nn.Conv2d)}
    files = {"a": saved(tmp_path / "a.pth", net.state_dict()), "b": saved(tmp_path / "b.pth", theirs)}
    for names in ("ab", "ba"):
        network, path = load({name: files[name] for name in names})
        assert (network.architecture, network.channels, network.luma) == ("DnCNN", 1, True)
        # spandrel's batch normalization has another eps, 1e-4 instead of 1e-5
        torch.testing.assert_close(path.stack[0], path.stack[1], rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("fp32_input", [True, False])
def test_a_luma_network_changes_luma_and_keeps_color(scale, fp32_input):
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(0.5))

        def forward(self, x):
            assert x.shape[:2] == (2, 1)
            return (x * self.gain).repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    network = Network("half", Half(), channels=1, scale=scale, luma=True, fp32_input=fp32_input)
    x = torch.rand(2, 3, 1, 1).expand(2, 3, 6, 8).contiguous()
    luma = (x * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    expected = (x - luma + luma / 2)[:, :, :1, :1].expand(2, 3, 6 * scale, 8 * scale)
    torch.testing.assert_close(rendered(network, x), expected)
    bad = Network("bad", nn.Conv2d(1, 2, 1), channels=1, luma=True)
    with pytest.raises(Exception, match=r"bad: the output is \[2, 2, 6, 8\], expected \(?\[2, 1, 6, 8\]"):
        rendered(bad, x)


@needs_models
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("fast_style_la_muse", "fast_style_matta", ("fast-style-transfer", 3, 4, False)),
        ("fast_style16_candy", "fast_style16_mosaic", ("fast-neural-style", 3, 4, False)),
        ("dncnn_gray_sigma15", "dncnn_gray_sigma25", ("DnCNN", 1, 1, True)),
    ],
)
def test_real_files_render_at_their_ends_and_between(first, second, expected):
    network, path = load({"a": MODELS / f"{first}.pth", "b": MODELS / f"{second}.pth"})
    assert (network.architecture, network.channels, network.multiple, network.luma) == expected
    live = MixedModule(path, network.module)
    x = F.interpolate(torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0)), size=(64, 64), mode="bicubic")
    images = []
    for alpha in ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0)):
        live.write(alpha)
        images.append(rendered(network, x.clamp(0, 1)))
    assert all(image.shape == x.shape and bool(image.isfinite().all()) for image in images)
    assert float(images[0].std()) > 0.05 and float((images[0] - images[2]).abs().mean()) > 1e-4


def test_a_misfit_says_what_both_files_are(tmp_path):
    files = {
        "day": saved(tmp_path / "day.pth", resnet(width=4).state_dict()),
        "night": saved(tmp_path / "night.pth", resnet(width=6).state_dict()),
        "paint": saved(tmp_path / "paint.pth", onnx_names()),
        "other": saved(tmp_path / "other.pth", {"x.weight": torch.zeros(2, 2)}),
    }

    def size(state):
        return f"{sum(tensor.numel() for tensor in state.values()):,} numbers"

    described = {
        "night": f"CycleGAN ResNet (scale 1, channels 3), {size(resnet(width=6).state_dict())} in 36 tensors, such as model.1.weight [6, 3, 7, 7]",
        "paint": f"fast-neural-style (scale 1, channels 3), {size(onnx_names())} in 64 tensors, such as Mul_B [3, 1, 1]",
        "other": "weights of no known architecture, 4 numbers in 1 tensors, such as x.weight [2, 2]",
    }
    for name, text in described.items():
        with pytest.raises(ModelError) as error:
            load({"day": files["day"], name: files[name]})
        first, *notes = [str(error.value), *error.value.__notes__]
        assert first.startswith(f"{name}.pth does not fit day.pth: ") and "\n" not in first
        assert notes[0].startswith("  day.pth: CycleGAN ResNet (scale 1, channels 3), ")
        assert notes[1:] == [f"  {name}.pth: {text}"]


def onnx_file(path, state, **options):
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
    from onnx import helper, numpy_helper

    tensors = [numpy_helper.from_array(tensor.numpy(), name) for name, tensor in state.items()]
    tensors.append(numpy_helper.from_array(torch.ones(4).numpy(), "scales"))
    nodes = [helper.make_node("Conv", [name], [f"y.{name}"]) for name in state]
    nodes.append(helper.make_node("Upsample", ["x", "scales"], ["y"]))
    model = helper.make_model(helper.make_graph(nodes, "net", [], [], tensors))
    onnx.save(model, str(path), **options)
    return path


def test_initializers_of_onnx_files_are_weights(tmp_path):
    state = onnx_names()
    files = {"onnx": onnx_file(tmp_path / "a.onnx", state), "torch": saved(tmp_path / "b.pth", state)}
    network, path = load(files)
    assert network.architecture == "fast-neural-style"
    assert torch.equal(path.stack[0], path.stack[1])


def test_onnx_weights_in_other_files_and_corrupt_files_are_refused(tmp_path):
    state = {"a.weight": torch.zeros(2000)}
    external = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    path = onnx_file(tmp_path / "a.onnx", state, **external)
    with pytest.raises(ModelError, match=r"a.onnx: keeps its weights in another file; save it as one file"):
        load({"a": path})
    path = onnx_file(tmp_path / "b.onnx", state)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelError, match=r"b.onnx: not a valid ONNX file"):
        load({"a": path})


def test_without_onnx_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x051.8.1")
    with pytest.raises(ModelError) as error:
        load({"a": path})
    assert str(error.value) == (
        f"{path}: is an ONNX model, and reading its weights needs the package onnx: pip install 'dnirender[onnx]'; "
        "or use the PyTorch weights it was converted from (.pth, .safetensors)"
    )
