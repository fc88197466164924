"""Laws of the lens and of the network that finds what it blurs."""

import itertools

import pytest

pytest.importorskip("torch")

import torch
import torch.nn.functional as F

from dnirender.networks.architectures.focus import RADIUS, STEEPNESS, FocusNet, from_state_dict, lens
from dnirender.networks.architectures.gain import SIDE, unshuffle
from dnirender.networks.pixel_shuffle import pixel_shuffle

SURE = 0.5 / STEEPNESS


def picture(rows=64, cols=96, seed=0):
    return torch.rand(1, 3, rows, cols, generator=torch.Generator().manual_seed(seed))


def through(x, subject, radius):
    """The lens on n 3 h w, with `subject` n 1 h w 0..1 and one radius in pixels everywhere."""
    logits = F.pixel_unshuffle(1 - 2 * subject, SIDE).permute(0, 2, 3, 1) * SURE
    coarse = torch.full((len(x), 1, x.shape[2] // 32, x.shape[3] // 32), radius / RADIUS, dtype=x.dtype)
    return pixel_shuffle(lens(unshuffle(x), logits.to(x.dtype), coarse), SIDE).permute(0, 3, 1, 2)


def roughness(x):
    return float(x.diff(dim=3).abs().mean())


def half_subject(x):
    mask = torch.zeros(len(x), 1, *x.shape[2:])
    mask[..., : x.shape[3] // 2] = 1
    return mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_a_last_layer_it_is_the_identity(dtype):
    net = FocusNet()
    torch.nn.init.zeros_(net.last.weight)
    torch.nn.init.zeros_(net.last.bias)
    x = picture().to(dtype)
    with torch.no_grad():
        assert torch.equal(net.to(dtype)(x), x)


def test_the_subject_stays_and_the_background_is_blurred():
    x = picture()
    out = through(x, half_subject(x), RADIUS)
    assert torch.equal(out[..., :48], x[..., :48])
    assert roughness(out[..., 52:]) < 0.1 * roughness(x)


def test_the_background_is_softer_with_every_step_of_alpha():
    x = picture()
    rough = [roughness(through(x, half_subject(x), alpha * RADIUS)[..., 52:]) for alpha in (0, 0.1, 0.25, 0.5, 0.75, 1)]
    assert all(later < 0.95 * earlier for earlier, later in itertools.pairwise(rough))


def test_no_color_of_the_subject_leaks_into_the_background():
    x = torch.full((1, 3, 96, 96), 0.2)
    x[..., :48] = torch.tensor((1.0, 0.0, 0.0)).view(3, 1, 1)
    out = through(x, half_subject(x), RADIUS)
    torch.testing.assert_close(out[..., 48:], x[..., 48:], atol=0.02, rtol=0)


def test_a_bright_point_becomes_a_disc():
    x = torch.zeros(1, 3, 128, 128)
    x[..., 63:66, 63:66] = 1
    for radius in (7, 11, 16):
        out = through(x, torch.zeros(1, 1, 128, 128), radius)[0, 0]
        y, cols = torch.meshgrid(torch.arange(128) - 64, torch.arange(128) - 64, indexing="ij")
        away = torch.hypot(y.float(), cols.float())
        inside = out[away < radius - 3]
        assert inside.min() > 0.5 * inside.max() > 0
        assert out[away > radius + 6].max() < 0.25 * inside.max()


@pytest.mark.parametrize("value", [0.0, 0.03, 0.5, 0.97, 1.0])
def test_a_plain_picture_stays_plain(value):
    x = torch.full((1, 3, 64, 64), value)
    torch.testing.assert_close(through(x, half_subject(x), RADIUS), x, atol=2e-3, rtol=0)


def test_weights_half_way_have_half_the_radius():
    torch.manual_seed(0)
    net = FocusNet()
    state = net.state_dict()
    half = from_state_dict({name: w * 0.5 if name.startswith("last.") else w for name, w in state.items()})
    x = unshuffle(picture(96, 96))
    with torch.no_grad():
        (cover, radius), (same, smaller) = net.find(x), half.find(x)
    assert torch.equal(cover, same)
    torch.testing.assert_close(smaller, radius / 2)


def test_the_result_is_finite_where_all_is_subject():
    x = picture().requires_grad_()
    out = through(x, torch.ones(1, 1, 64, 96), RADIUS)
    out.sum().backward()
    assert torch.equal(out, x)
    assert torch.isfinite(x.grad).all()


def test_it_is_built_for_the_widths_of_its_weights():
    net = FocusNet((16, 16, 24, 32, 32))
    again = from_state_dict(net.state_dict())
    assert again.widths == net.widths
    x = picture()
    with torch.no_grad():
        assert torch.equal(again(x), net(x))
