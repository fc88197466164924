"""Laws of other scales of RRDB networks: there and back is the same file, and networks of one scale mix."""

import pytest
import spandrel
import torch

from dnirender.cli.main import main
from dnirender.errors import ModelError, UsageError
from dnirender.models.combining import mix
from dnirender.models.family import Family
from dnirender.models.rescaling import SCALES, rescale
from dnirender.networks.loading import load
from support.states import DIALECTS, rrdb


def equal(one, two):
    return list(one) == list(two) and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("ups", [0, 1, 2])
def test_enlarging_and_going_back_is_the_same_file(dialect, ups):
    state = rrdb(dialect, ups=ups)
    for scale in SCALES[ups:]:
        there = rescale(state, scale)
        assert spandrel.ModelLoader().load_from_state_dict(dict(there)).scale == scale
        assert equal(rescale(there, 2**ups), state)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_layers_have_the_role_that_they_had(dialect):
    state = rrdb(dialect, ups=2)
    ups = [DIALECTS[dialect][3].format(3 * n if dialect == "old" else n) for n in (1, 2, 3)]
    large, small = rescale(state, 8), rescale(state, 2)
    assert torch.equal(large[f"{ups[2]}.weight"], state[f"{ups[1]}.weight"])
    assert torch.equal(small[f"{ups[0]}.weight"], state[f"{ups[0]}.weight"])
    assert f"{ups[1]}.weight" not in small or dialect == "old"
    last = {"old": ("model.10", "model.13")}.get(dialect, ("conv_last", "conv_last"))
    assert torch.equal(large[f"{last[1]}.bias"], state[f"{last[0]}.bias"])


def test_a_network_without_upsamplings_gets_its_next_convolution():
    state = rrdb("modern", ups=0)
    assert torch.equal(rescale(state, 4)["upconv2.weight"], state["HRconv.weight"])


def test_networks_of_different_scale_mix(tmp_path):
    torch.save(rrdb("old", ups=1), tmp_path / "two.pth")
    torch.save(rrdb("realesrgan", seed=1), tmp_path / "four.pth")
    with pytest.raises(ModelError, match="does not fit"):
        load({"a": tmp_path / "two.pth", "b": tmp_path / "four.pth"})
    assert main(["model", "rescale", str(tmp_path / "four.pth"), "--scale", "2", "-o", str(tmp_path / "r.pth")]) == 0
    network, _ = load({"a": tmp_path / "two.pth", "b": tmp_path / "r.pth"})
    assert network.scale == 2
    mixed = mix(Family([tmp_path / "two.pth", tmp_path / "r.pth"]), (0.5, 0.5))
    hr = 0.5 * rrdb("old", ups=1)["model.5.weight"] + 0.5 * rrdb("realesrgan", seed=1)["conv_hr.weight"]
    torch.testing.assert_close(mixed["model.5.weight"], hr)


@pytest.mark.parametrize(("factor", "ups"), [(2, 2), (4, 2)])
def test_the_unshuffle_of_the_input_changes_the_first_convolution_only(factor, ups):
    state = rrdb("realesrgan", ups=ups)
    there = rescale(state, 4 // factor, factor)
    model = spandrel.ModelLoader().load_from_state_dict(dict(there))
    assert model.scale == 4 // factor
    assert equal(rescale(there, 4, 1), state)
    changed = [
        name for name in state if state[name].shape != there[name].shape or not torch.equal(state[name], there[name])
    ]
    assert changed == ["conv_first.weight"]
    flat = torch.full((1, 3, 16, 16), 0.5)
    plain = spandrel.ModelLoader().load_from_state_dict(dict(state)).model(flat[..., : 16 // factor, : 16 // factor])
    torch.testing.assert_close(model.model(flat), plain, atol=1e-5, rtol=1e-4)


def test_what_is_no_rrdb_is_refused():
    with pytest.raises(ModelError, match=r"rescale: expected an RRDB network .*, got the names body\.0\.weight"):
        rescale({"body.0.weight": torch.zeros(3)}, 2)
    with pytest.raises(UsageError, match="scale=3: expected one of 1, 2, 4, 8, 16"):
        rescale(rrdb("old"), 3)
    with pytest.raises(UsageError, match="unshuffle=3: expected one of 1, 2, 4"):
        rescale(rrdb("old"), 2, 3)
    broken = rrdb("modern")
    del broken["HRconv.bias"]
    with pytest.raises(ModelError, match=r"no HRconv\.bias, which an RRDB network with 2 upsamplings has"):
        rescale(broken, 2)


def test_the_type_stays(tmp_path):
    torch.save({name: tensor.half() for name, tensor in rrdb("modern").items()}, tmp_path / "a.pth")
    assert main(["model", "rescale", str(tmp_path / "a.pth"), "--scale", "8", "-o", str(tmp_path / "b.pth")]) == 0
    assert {tensor.dtype for tensor in torch.load(tmp_path / "b.pth").values()} == {torch.float16}
