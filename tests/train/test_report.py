"""Laws of the weights files that a training writes."""

import zlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from dnirender.errors import ModelError
from dnirender.networks.checkpoint import load_state_dict
from dnirender.train.report import MANTISSA, rounded, write_weights


def test_weights_are_rounded_to_nearest_and_pack_well(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(20_000) * torch.logspace(-2, 1, 20_000)
    x = x[x.abs() > 2.0**-14]  # what has all bits in float16
    near = rounded(x)
    assert near.dtype == torch.float16
    assert float(((near.float() - x) / x).abs().max()) <= 2.0 ** -(MANTISSA + 1) + 2.0**-11  # and float16's own
    assert torch.equal(rounded(-x), -near)
    assert torch.equal(rounded(near), near)
    assert torch.equal(rounded(torch.tensor([0.0, 1.0, -0.5])), torch.tensor([0.0, 1.0, -0.5]).half())
    bias = float((near.float() / x - 1).mean())
    assert abs(bias) < 1e-4, "not cut off"
    packed = [len(zlib.compress(value.numpy().tobytes())) for value in (near, x.half())]
    assert packed[0] < 0.87 * packed[1]


def test_convolutions_of_painters_are_stored_as_int8_and_read_back(tmp_path):
    torch.manual_seed(0)
    weights = {
        "body.weight": torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last),
        "body.bias": torch.randn(8),
        "last.weight": torch.zeros(3, 8, 1, 1),
    }
    file, about = tmp_path / "a.safetensors", {"name": "a", "architecture": "paint"}
    write_weights(file, weights, about)
    stored = load_file(file)
    assert stored["body.weight"].dtype == torch.int8
    loaded = load_state_dict(file).state
    assert set(loaded) == set(weights)
    away = (loaded["body.weight"] - weights["body.weight"]).abs().flatten(1).amax(1)
    assert bool((away <= weights["body.weight"].abs().flatten(1).amax(1) / 254 * 1.001).all())
    assert not loaded["last.weight"].any(), "what is zero stays zero: the picture itself"
    assert torch.equal(loaded["body.bias"], rounded(weights["body.bias"]).float())
    write_weights(file, loaded, about)
    assert all(torch.equal(load_file(file)[name], value) for name, value in stored.items())
    save_file(stored | {"body.weight.scale": torch.ones(7)}, file)
    with pytest.raises(ModelError, match="expected one number per output channel, got \\[7\\] for body.weight"):
        load_state_dict(file)
    save_file({"a": torch.ones(2, 2, dtype=torch.int8), "b.scale": torch.ones(2)}, file)
    assert load_state_dict(file).state["a"].dtype == torch.int8, "no scale of its own"


def test_a_file_has_the_rounded_weights(tmp_path):
    x = torch.linspace(-1, 1, 99)
    write_weights(tmp_path / "a.safetensors", {"x": x}, {"name": "a"})
    assert torch.equal(load_file(tmp_path / "a.safetensors")["x"], rounded(x))
