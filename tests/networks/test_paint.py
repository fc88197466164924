"""PaintNet: its own layers equal torch's, and a last layer of zeros is the identity."""

import pytest
import torch
import torch.nn.functional as F

from dnirender.networks.architectures.paint import (
    MAX_CODE,
    MID_CODE,
    Convolution,
    InstanceNorm,
    Normalised,
    PaintNet,
    ReplicatePad,
    Stem,
    from_state_dict,
    with_deviations,
    without_deviations,
)
from dnirender.networks.pixel_shuffle import pixel_shuffle


@pytest.mark.parametrize("shape", [(2, 5, 7, 6), (1, 3, 1, 1), (2, 4, 2, 3)])
def test_borders_are_those_of_replicate_padding_with_their_gradient(shape):
    x = torch.rand(shape, dtype=torch.double, requires_grad=True)
    expected, actual = F.pad(x, (1, 1, 1, 1), mode="replicate"), ReplicatePad.apply(x)
    assert torch.equal(actual, expected)
    grad = torch.rand_like(expected)
    torch.testing.assert_close(torch.autograd.grad(actual, x, grad), torch.autograd.grad(expected, x, grad))


def test_a_picture_is_normalised_the_same_alone_and_among_others():
    norm = InstanceNorm(4, affine=True)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.rand(3, 4, 6, 5).to(memory_format=torch.channels_last)
    actual = norm(x)
    torch.testing.assert_close(actual, F.instance_norm(x, None, None, norm.weight, norm.bias))
    assert actual.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(norm(x[1:2]), actual[1:2])


def test_the_smallest_picture_is_painted(tmp_path):
    from safetensors.torch import save_file

    from dnirender.engine.engine import Engine
    from dnirender.networks.loading import load

    save_file(PaintNet((16, 16, 16), (1, 1, 1)).state_dict(), tmp_path / "a.safetensors", {"architecture": "paint"})
    engine = Engine(*load({"a": tmp_path / "a.safetensors"}), device="cpu", dtype="fp32")
    picture = torch.randint(0, 256, (1, 1, 3), dtype=torch.uint8).numpy()
    assert (engine.render(picture, (1.0,)) == picture).all()


def test_the_stem_sees_codes_of_8_bits_exactly_in_bf16_and_the_constant_added_changes_nothing():
    net = PaintNet((16, 16, 16), (1, 1, 1)).bfloat16()
    seen: list[torch.Tensor] = []
    net.stem.conv.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    codes = torch.arange(256).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    net(codes / 255)
    assert torch.equal(
        pixel_shuffle(seen[0].permute(0, 2, 3, 1), 2).permute(0, 3, 1, 2).float() + MID_CODE, codes.float()
    )
    torch.manual_seed(0)
    stem = Normalised(Stem(16)).double()
    x = 0.5 + 0.01 * torch.rand(1, 12, 8, 8, dtype=torch.double)  # so flat that the norm's epsilon counts
    scaled = PaintNet((16, 16, 16), (1, 1, 1)).stem.double()
    scaled.load_state_dict(stem.state_dict())
    torch.testing.assert_close(scaled(x * MAX_CODE - MID_CODE), stem(x), rtol=0, atol=1e-9)


def painter():
    torch.manual_seed(0)
    net = PaintNet((16, 16, 16), (1, 1, 1))
    torch.nn.init.normal_(net.last.weight, std=0.05)
    return net


def test_a_layer_with_deviations_divides_by_a_mean_of_both_variances():
    torch.manual_seed(0)
    layer, x = Normalised(Convolution(4, 6)).double(), torch.rand(2, 4, 9, 7, dtype=torch.double)
    torch.nn.init.normal_(layer.norm.weight)
    torch.nn.init.normal_(layer.norm.bias)
    layer.norm.deviation = torch.nn.Parameter(torch.rand(6, dtype=torch.double) + 0.1)
    y = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), layer.conv.weight)
    variance = 0.6 * y.var((2, 3), correction=0) + 0.4 * layer.norm.deviation**2
    normal = (y - y.mean((2, 3), keepdim=True)) / variance.sqrt()[..., None, None]
    wanted = layer.norm.weight[:, None, None] * normal + layer.norm.bias[:, None, None]
    torch.testing.assert_close(layer(x), wanted)
    assert (layer.norm(y) - wanted).abs().max() > 0.1


def test_a_picture_like_those_of_the_training_is_painted_as_without_deviations():
    net, x = painter(), torch.rand(1, 3, 32, 40)
    state = with_deviations(net.state_dict(), [x])
    assert without_deviations(state).keys() == net.state_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(from_state_dict(state)(x), net(x), atol=1e-3, rtol=0)


def test_the_deviations_are_the_geometric_mean_over_pictures_and_replace_those_there_are():
    net, (one, two) = painter(), torch.rand(2, 1, 3, 32, 40) * torch.tensor([1.0, 0.2]).view(2, 1, 1, 1, 1)
    alone = [with_deviations(net.state_dict(), [x])["stem.norm.deviation"] for x in (one, two)]
    assert (alone[0] > 3 * alone[1]).all()
    both = with_deviations(with_deviations(net.state_dict(), [one]), [one, two])["stem.norm.deviation"]
    torch.testing.assert_close(both, (alone[0] * alone[1]).sqrt())


def test_a_picture_that_fades_to_black_loses_its_strokes():
    net, x = painter(), torch.rand(1, 3, 32, 40)
    damped = from_state_dict(with_deviations(net.state_dict(), [x]))

    def strokes(net, share):
        with torch.no_grad():
            return float((net(share * x) - share * x).std())

    assert strokes(net, 0.02) > 0.8 * strokes(net, 1)
    assert strokes(damped, 0.02) < 0.6 * strokes(damped, 1)
