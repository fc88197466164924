"""Mixed weights: endpoints are bit-exact, mixes are rounded once, addresses never change."""

import copy
import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dnirender.errors import ModelError, UsageError
from dnirender.networks import weights
from dnirender.networks.weights import MixedModule, WeightPath, check_same_shapes


def make_module():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(8), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 3, padding=1))


def make_states(count, seed=0):
    torch.manual_seed(seed)
    states = []
    for index in range(count):
        state = make_module().state_dict()
        state["2.running_var"] += 0.1 * index
        state["2.num_batches_tracked"] += 7 * (index + 1)
        states.append(state)
    return states


def make_path(count, **options):
    return WeightPath(named(make_states(count)), **options)


def named(states):
    return {"abcdef"[index]: state for index, state in enumerate(states)}


def bits(tensor):
    return tensor.flatten().view(torch.int32 if tensor.dtype == torch.float32 else torch.int16)


def alphas(count):
    return st.lists(st.floats(-1, 2, width=32), min_size=count, max_size=count).map(tuple)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_an_endpoint_is_its_file_bit_for_bit(index, dtype):
    states = make_states(3)
    states[index]["0.bias"][:2] = torch.tensor([-0.0, 1e-30])
    live = MixedModule(WeightPath(named(states)), make_module(), dtype)
    live.write((0.3, 0.3, 0.4))
    live.write(tuple(float(index == i) for i in range(3)))
    for name, tensor in live.module.state_dict().items():
        if tensor.is_floating_point():
            expected = states[index][name].to(dtype)
            assert torch.equal(bits(tensor), bits(expected)), name


@pytest.mark.parametrize("alpha", [(1.0, 0.0, 0.0), (0.5, 0.5, 0.0)])
def test_an_endpoint_with_coefficient_zero_is_not_read(alpha):
    states = make_states(3)
    states[2]["0.weight"][:] = float("nan")
    live = MixedModule(WeightPath(named(states)), make_module())
    live.write(alpha)
    assert live.flat.isfinite().all()


def test_the_gap_between_two_endpoints_is_not_read():
    states = make_states(3)
    states[1]["0.weight"][:] = float("nan")
    live = MixedModule(WeightPath(named(states)), make_module())
    live.write((0.5, 0.0, 0.5))
    assert torch.equal(live.module[0].weight, 0.5 * states[0]["0.weight"] + 0.5 * states[2]["0.weight"])


SUBSETS = [used for count in range(1, 7) for used in itertools.combinations(range(6), count)]


@pytest.mark.parametrize("used", SUBSETS, ids=lambda used: "".join(map(str, used)))
def test_any_choice_of_endpoints_is_their_sum_and_reads_no_other(used):
    path = make_path(6)
    alpha = [0.0] * 6
    for place, index in enumerate(used):
        alpha[index] = (place + 1.0) / sum(range(1, len(used) + 1))
    terms = path.stack.double() * torch.tensor(alpha, dtype=torch.float64)[:, None]
    path.stack[[index for index in range(6) if index not in used]] = float("nan")
    flat = torch.empty_like(path.stack[0])
    path.mix(tuple(alpha), flat)
    assert ((flat - terms.sum(0)).abs() <= 2**-22 * terms.abs().sum(0) + 1e-37).all()


def test_the_middle_is_the_mean_to_the_last_bit():
    a, b = make_states(2)
    live = MixedModule(make_path(2), make_module())
    live.write((0.5, 0.5))
    for name, tensor in live.module.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, 0.5 * a[name] + 0.5 * b[name]), name


@settings(deadline=None, max_examples=30)
@given(alphas(3))
def test_a_mix_is_the_exact_sum_within_the_rounding_of_its_terms(alpha):
    path = make_path(3)
    flat = torch.full_like(path.stack[0], float("nan"))
    path.mix(alpha, flat)
    terms = path.stack.double() * torch.tensor(alpha, dtype=torch.float64)[:, None]
    assert ((flat - terms.sum(0)).abs() <= 2**-22 * terms.abs().sum(0) + 1e-37).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_summed_in_float32_and_rounded_once(dtype):
    path = make_path(3)
    exact, low = torch.empty_like(path.stack[0]), torch.empty_like(path.stack[0], dtype=dtype)
    path.mix((0.2, 0.3, 0.5), exact)
    path.mix((0.2, 0.3, 0.5), low)
    assert torch.equal(low, exact.to(dtype))


def test_the_fused_write_is_the_naive_load_state_dict():
    states, alpha = make_states(4), (0.1, 0.2, 0.3, 0.4)
    naive = make_module().eval()
    naive.load_state_dict({name: sum(a * s[name] for a, s in zip(alpha, states, strict=True)) for name in states[0]})
    live = MixedModule(make_path(4), make_module())
    live.write(alpha)
    for name, tensor in naive.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(live.module.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)
    x = torch.rand(2, 3, 9, 11)
    with torch.inference_mode():
        torch.testing.assert_close(live.module(x), naive(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", [(0.2, 0.8, 0.0), (0.2, 0.0, 0.8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_make_no_difference(monkeypatch, alpha, dtype):
    path = make_path(3)
    at_once, blocks = (torch.empty_like(path.stack[0], dtype=dtype) for _ in range(2))
    path.mix(alpha, at_once)
    monkeypatch.setattr(weights, "BLOCK", 192)
    path.mix(alpha, blocks)
    torch.testing.assert_close(blocks, at_once)


def test_equal_alpha_writes_nothing():
    live = MixedModule(make_path(2), make_module())
    assert live.write((0.25, 0.75))
    live.flat.zero_()
    assert not live.write((0.25, 0.75))
    assert live.weight_writes == 1
    assert not live.flat.any()
    assert live.write((0.75, 0.25))
    assert live.weight_writes == 2
    assert live.alpha == (0.75, 0.25)


@pytest.mark.parametrize("pair", [*itertools.permutations(range(6), 2)], ids=str)
def test_a_change_between_any_two_endpoints_is_written(pair):
    live = MixedModule(make_path(6), make_module())
    for index in pair:
        assert live.write(tuple(float(index == i) for i in range(6)))
        assert torch.equal(live.flat, live.path.stack[index])


@pytest.mark.parametrize("channels_last", [True, False])
def test_addresses_never_change_and_all_lie_in_one_buffer(channels_last):
    live = MixedModule(make_path(2, channels_last=channels_last), make_module())
    tensors = {k: v for k, v in live.module.state_dict().items() if v.is_floating_point()}
    before = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    for alpha in [(1.0, 0.0), (0.3, 0.7), (0.0, 1.0)]:
        live.write(alpha)
        assert {name: live.module.state_dict()[name].data_ptr() for name in before} == before
    for name, tensor in tensors.items():
        assert tensor.untyped_storage().data_ptr() == live.flat.untyped_storage().data_ptr(), name
        assert (tensor.data_ptr() - live.flat.data_ptr()) % (weights.ALIGN * 4) == 0
    conv = live.module[3].weight
    assert conv.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def test_entries_do_not_overlap():
    path = make_path(1)
    marks = torch.zeros(path.stack.shape[1])
    for view in path.layout:
        view.of(marks).add_(1)
    assert marks.max() == 1
    assert int(marks.sum()) == sum(t.numel() for t in make_states(1)[0].values() if t.is_floating_point())
    assert path.stack.is_contiguous()
    assert path.stack.dtype == torch.float32


def test_a_view_of_a_row_is_the_tensor_in_every_row():
    states = make_states(3)
    path = WeightPath(named(states))
    for row, state in zip(path.stack, states, strict=True):
        for view in path.layout:
            assert torch.equal(view.of(row), state[view.name]), view.name


def test_integers_are_the_modules_own():
    states = make_states(2)
    module = make_module()
    module.load_state_dict(states[0])
    live = MixedModule(WeightPath(named(states)), module, torch.bfloat16)
    live.write((0.5, 0.5))
    assert live.module[2].num_batches_tracked == 7
    assert live.module[2].num_batches_tracked.dtype == torch.int64


def test_tied_parameters_stay_tied():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    states = [{name: tensor + index for name, tensor in module.state_dict().items()} for index in range(2)]
    live = MixedModule(WeightPath(named(states)), copy.deepcopy(module))
    live.write((0.5, 0.5))
    assert live.module[0].weight is live.module[1].weight
    assert torch.equal(live.module[0].weight, 0.5 * states[0]["0.weight"] + 0.5 * states[1]["1.weight"])


def test_bad_alphas_say_what_is_wrong():
    live = MixedModule(make_path(2), make_module())
    with pytest.raises(ModelError, match=re.escape("alpha has 3 coefficients, expected 2: one for each of ('a', 'b')")):
        live.write((1.0, 0.0, 0.0))
    with pytest.raises(ModelError, match=re.escape("alpha is (nan, 1.0), expected finite numbers")):
        live.write((float("nan"), 1.0))
    assert live.weight_writes == 0


def test_a_module_without_the_tensors_is_refused():
    with pytest.raises(ModelError, match=r"the network has no tensor named 0\.weight \(9 missing in total\)"):
        MixedModule(make_path(2), nn.ReLU())
    with pytest.raises(ModelError, match="the endpoints have no weights: all their tensors are integers"):
        WeightPath({"a": {"x": torch.zeros(3, dtype=torch.int64)}})


# --- fitting


def test_the_first_differences_are_named():
    base = {f"body.{i}.weight": torch.zeros(32, 32, 3, 3) for i in range(16)}
    wide = {name: torch.zeros(64, 32, 3, 3) for name in base}
    with pytest.raises(ModelError) as error:
        check_same_shapes({"day.safetensors": base, "night.safetensors": wide})
    assert str(error.value) == (
        "night.safetensors does not fit day.safetensors: body.0.weight is [64, 32, 3, 3], expected [32, 32, 3, 3]; "
        "body.1.weight is [64, 32, 3, 3], expected [32, 32, 3, 3]; body.2.weight is [64, 32, 3, 3], expected "
        "[32, 32, 3, 3] (and 13 more); endpoints must be fine-tuned from one another"
    )


def test_missing_extra_and_other_kinds_are_named():
    with pytest.raises(ModelError) as error:
        check_same_shapes(
            {
                "a": {"x": torch.zeros(2), "y": torch.zeros(2)},
                "b": {"x": torch.zeros(2), "y": torch.zeros(2)},
                "c": {"x": torch.zeros(2, dtype=torch.int64), "z": torch.zeros(1)},
            }
        )
    assert str(error.value) == (
        "c does not fit a: x is torch.int64, expected torch.float32; y is missing; z is not expected; "
        "endpoints must be fine-tuned from one another"
    )
    with pytest.raises(ModelError, match="b does not fit a: x is missing"):
        WeightPath({"a": {"x": torch.zeros(2)}, "b": {}})


# --- groups of layers


GROUPS = ("3.*", "*.bias")


def test_groups_are_mixed_as_by_hand():
    states = make_states(3)
    live = MixedModule(WeightPath(named(states), groups=GROUPS), make_module())
    main, last, biases = (0.2, 0.3, 0.5), (0.0, 1.0, 0.0), (0.25, 0.0, 0.75)
    live.write((*main, *last, *biases))
    for name, tensor in live.module.state_dict().items():
        if tensor.is_floating_point():
            alpha = last if name.startswith("3.") else biases if name.endswith("bias") else main
            expected = sum(a * state[name] for a, state in zip(alpha, states, strict=True))
            torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(live.module[3].weight, states[1]["3.weight"])


@pytest.mark.parametrize("alpha", [(0.2, 0.3, 0.5), (1.0, 0.0, 0.0)])
def test_equal_coefficients_of_all_groups_are_those_of_all_layers(alpha):
    path, plain = make_path(3, groups=GROUPS), make_path(3)
    short, long, ungrouped = (torch.empty_like(path.stack[0]) for _ in range(3))
    path.mix(alpha, short)
    path.mix(alpha * 3, long)
    plain.mix(alpha, ungrouped)
    assert torch.equal(short, long)
    for view in path.layout:
        (same,) = (other for other in plain.layout if other.name == view.name)
        torch.testing.assert_close(view.of(short), same.of(ungrouped), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_segments_divide_the_row_and_each_is_written(dtype, monkeypatch):
    path = make_path(2, groups=GROUPS)
    starts, stops = zip(*path.segments, strict=True)
    assert (0, *stops[:-1]) == starts and stops[-1] == path.stack.shape[1]
    monkeypatch.setattr(weights, "BLOCK", 192)
    out = torch.full_like(path.stack[0], float("nan"), dtype=dtype)
    path.mix((0.5, 0.5, 0.25, 0.75, 0.0, 1.0), out)
    assert out.isfinite().all()
    assert torch.equal(out[starts[2] :], path.stack[1, starts[2] :].to(dtype))


def test_a_group_of_all_layers_leaves_the_first_segment_empty():
    path = make_path(2, groups=["*"])
    assert path.segments == ((0, 0), (0, path.stack.shape[1]))
    out = torch.empty_like(path.stack[0])
    path.mix((1.0, 0.0, 0.0, 1.0), out)
    assert torch.equal(out, path.stack[1])


def test_a_pattern_that_matches_nothing_lists_the_layers():
    with pytest.raises(UsageError) as error:
        make_path(2, groups=["0.*", "4.*"])
    assert str(error.value).startswith("tracks='4.*': matches no tensor; expected a pattern of their names, such as")
    assert error.value.__notes__ == ["  the layers are 0, 1, 2, 3"]
    message = r"tracks='0\.w\*': all that it matches belongs to tracks before it; put it before them"
    with pytest.raises(UsageError, match=message):
        make_path(2, groups=["0.*", "0.w*"])


def test_coefficients_are_for_all_layers_or_for_each_group():
    live = MixedModule(make_path(2, groups=GROUPS), make_module())
    with pytest.raises(
        ModelError, match=r"alpha has 4 coefficients, expected 2: .*, or as many for each of 3 segments"
    ):
        live.write((1.0, 0.0, 0.0, 1.0))
