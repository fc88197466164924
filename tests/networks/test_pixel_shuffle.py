"""Pixel-shuffle: the values of torch's in another channel order, and layers that read and write that order."""

import pytest
import torch
import torch.nn.functional as F

from dnirender.networks.architectures import compact
from dnirender.networks.architectures.gain import GainHead, UnshuffledConv
from dnirender.networks.pixel_shuffle import pixel_shuffle, pixel_unshuffle, reorder_channels


def last(x):
    return x.permute(0, 2, 3, 1)


def first(x):
    return x.permute(0, 3, 1, 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.float32])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_groups_hold_what_pixel_unshuffle_gives_by_row_column_and_color(factor, dtype):
    images = torch.randint(0, 256, (2, 5 * factor, 7 * factor, 3)).to(dtype)
    blocks = pixel_unshuffle(images, factor)
    unshuffled = F.pixel_unshuffle(first(images).float(), factor).unflatten(1, (3, factor, factor))
    assert torch.equal(blocks.float(), unshuffled.permute(0, 4, 5, 2, 3, 1).flatten(3))
    assert blocks.dtype == dtype
    assert torch.equal(pixel_shuffle(blocks, factor), images)
    assert pixel_shuffle(blocks, factor).is_contiguous()


def test_pictures_may_lie_in_memory_as_they_like():
    images = torch.randint(0, 256, (1, 4, 9, 6), dtype=torch.uint8).permute(0, 3, 2, 1)[:, :, 1:, :3]
    assert torch.equal(pixel_shuffle(pixel_unshuffle(images, 2), 2), images)


def test_the_first_layer_reads_groups_as_its_weight_reads_pixel_unshuffled_pictures():
    conv, x = UnshuffledConv(7, 1), torch.rand(2, 3, 8, 10)
    expected = F.conv2d(F.pixel_unshuffle(x, 2), conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(first(pixel_unshuffle(last(x), 2))), expected)


def test_the_last_layer_gives_gain_and_offset_as_its_weight_does_for_pixel_shuffled_ones():
    head, h = GainHead(5, 1), torch.rand(2, 5, 4, 6)
    expected = F.pixel_shuffle(F.conv2d(h, head.weight, head.bias, padding=1), 2).chunk(2, 1)
    for actual, target in zip(head(h), expected, strict=True):
        torch.testing.assert_close(first(pixel_shuffle(actual, 2)), target)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_compact_network_in_groups_is_the_compact_network(scale):
    spandrel = pytest.importorskip("spandrel.architectures.Compact")
    net = spandrel.Compact(num_feat=8, num_conv=2, upscale=scale)
    x = torch.rand(2, 3, 5, 7)
    torch.testing.assert_close(first(pixel_shuffle(compact.forward_unshuffled(net, last(x)), scale)), net(x))


def test_details_are_added_to_the_picture_in_its_own_precision():
    spandrel = pytest.importorskip("spandrel.architectures.Compact")
    net = spandrel.Compact(num_feat=8, num_conv=1, upscale=2).bfloat16()
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    codes = torch.arange(65536.0).view(1, 256, 256, 1).expand(1, 256, 256, 3) / 65535
    expected = codes.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(pixel_shuffle(compact.forward_unshuffled(net, codes), 2), expected)


def test_biases_are_regrouped_like_weights():
    weight, bias = torch.rand(24, 5, 3, 3), torch.rand(24)
    assert torch.equal(reorder_channels(weight, 2).sum((1, 2, 3)), reorder_channels(weight.sum((1, 2, 3)), 2))
    assert sorted(reorder_channels(bias, 2).tolist()) == sorted(bias.tolist())
    assert torch.equal(reorder_channels(bias, 2)[:3], bias[[0, 4, 8]])
