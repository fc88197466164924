"""Laws of the choice of the dtype: a faster one is chosen only where the hardware has it and it stays accurate."""

import numpy as np
import pytest
import torch
from torch import nn

from dnirender.cache import Cache
from dnirender.engine import configuration
from dnirender.engine.configuration import EngineConfiguration, configure
from dnirender.engine.measurements import MeasurementCache
from dnirender.engine.torch_model import TorchModel
from dnirender.errors import UsageError
from dnirender.networks.network import Network
from dnirender.networks.weights import WeightPath
from support.toys import Toy, cpu, pictures, toy

CPU = torch.device("cpu")


def test_a_configuration_is_in_pytorch_with_one_worker_until_it_is_measured():
    assert configure(*toy(), CPU, "fp32", 3, MeasurementCache(Cache(None), *toy())) == EngineConfiguration(
        device=CPU, dtype="fp32", backend="torch", workers=1, tile=None, threads=3, reason="cpu, fp32: as requested"
    )


@pytest.fixture
def bf16_is_fast(monkeypatch):
    monkeypatch.setattr(configuration, "fast_dtypes", lambda _: ["bf16"])


@pytest.mark.usefixtures("bf16_is_fast")
def test_auto_chooses_bf16_where_it_is_close():
    engine = cpu(*toy(), dtype="auto")
    assert engine.dtype == "bf16"
    assert engine.decision.startswith("cpu, bf16: mean error of bf16 0.")
    assert engine.decision.endswith(" of 255, at most 0.5 is allowed")
    assert engine.weight_writes == 0
    [image] = pictures(1, 16, 16)
    mean = np.abs(engine.render(image, (0.5, 0.5)).astype(int) - cpu(*toy()).render(image, (0.5, 0.5))).mean()
    assert mean <= 0.5
    assert [weights.flat.dtype for weights in TorchModel(*toy(), engine.dtype).weights] == [torch.bfloat16]


@pytest.mark.usefixtures("bf16_is_fast")
@pytest.mark.parametrize("fp32_input", [True, False])
def test_the_picture_is_cast_only_for_networks_that_want_it(fp32_input):
    engine = cpu(*toy(fp32_input=fp32_input), dtype="bf16")
    engine.render(pictures(1, 9, 13)[0], (0.5, 0.5))
    assert Toy.seen[-1] == ((1, 3, 12, 16), torch.float32 if fp32_input else torch.bfloat16)


class Cancel(nn.Module):
    """x + big - big: with a large weight, low precision loses the picture."""

    def __init__(self, big):
        super().__init__()
        self.big = nn.Parameter(torch.tensor(float(big)))

    def forward(self, x):
        return x.to(self.big.dtype) + self.big - self.big


@pytest.mark.usefixtures("bf16_is_fast")
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_auto_stays_with_fp32_where_one_endpoint_is_far(bad):
    path = WeightPath({"abc"[i]: Cancel(64 if i == bad else 0).state_dict() for i in range(3)})
    engine = cpu(Network("cancel", Cancel(0), fp32_input=True), path, dtype="auto")
    assert engine.dtype == "fp32"
    assert engine.decision.startswith("cpu, fp32: mean error of bf16 ")
    assert float(engine.decision.split()[6]) > 10


@pytest.mark.usefixtures("bf16_is_fast")
def test_auto_stays_with_fp32_where_the_network_does_not_support_it():
    engine = cpu(*toy(supports_bf16=False), dtype="auto")
    assert engine.decision == "cpu, fp32: bf16 does not work"
    assert cpu(*toy(), dtype="fp32").decision == "cpu, fp32: as requested"


def test_auto_says_when_the_hardware_has_nothing(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    assert cpu(*toy(), dtype="auto").decision == "cpu, fp32: the hardware has nothing faster"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert cpu(*toy(), dtype="auto").dtype == "bf16"
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert cpu(*toy(), dtype="auto").dtype == "fp32"


def test_a_requested_dtype_is_used_and_its_error_reported():
    engine = cpu(*toy(), dtype="bf16")
    assert engine.dtype == "bf16"
    assert engine.decision.startswith("cpu, bf16: mean error of bf16 0.")
    assert engine.decision.endswith(" of 255")


def test_a_dtype_that_does_not_work_is_refused():
    text = "dtype='fp16': toy does not work in it on cpu; use dtype='fp32'"
    with pytest.raises(UsageError, match=text):
        cpu(*toy(supports_half=False), dtype="fp16")
    big = WeightPath({"a": Cancel(1e5).state_dict()})
    with pytest.raises(UsageError, match="dtype='fp16': cancel does not work in it on cpu; use dtype='fp32'"):
        cpu(Network("cancel", Cancel(0)), big, dtype="fp16")
