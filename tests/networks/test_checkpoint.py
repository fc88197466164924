"""Checkpoints: formats that load, files that are refused, and no code execution."""

import os
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dnirender.errors import ModelError
from dnirender.networks.checkpoint import load_state_dict
from dnirender.networks.wrappers import WRAPPERS, find_weights


def refused(path):
    with pytest.raises(ModelError) as error:
        load_state_dict(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def saved(path, data, **options):
    torch.save(data, path, **options)
    return path


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth", "misnamed.pth", "misnamed.safetensors", "legacy.pt"])
def test_every_format_gives_the_same(tmp_path, name):
    state = {"w": torch.randn(4, 3, 2, 2).half(), "n": torch.tensor(3), "d": torch.randn(5).double()}
    path = tmp_path / name
    if name in ("x.safetensors", "misnamed.pth"):
        save_file(state, path, metadata={"architecture": "toy"})
    else:
        saved(path, state, _use_new_zipfile_serialization=name != "legacy.pt")
    checkpoint = load_state_dict(path)
    assert checkpoint.unwrapped is None
    assert checkpoint.metadata == ({"architecture": "toy"} if name in ("x.safetensors", "misnamed.pth") else {})
    assert {k: v.dtype for k, v in checkpoint.state.items()} == {
        "w": torch.float32,
        "n": torch.int64,
        "d": torch.float32,
    }
    for key, tensor in state.items():
        assert torch.equal(checkpoint.state[key], tensor.to(checkpoint.state[key].dtype))


def test_tensors_come_out_contiguous(tmp_path):
    path = saved(
        tmp_path / "x.pth", {"w": torch.randn(4, 3).t(), "p": nn.Parameter(torch.randn(2, 3, 4).permute(2, 0, 1))}
    )
    state = load_state_dict(path).state
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in state.values())


def test_weights_are_unwrapped_in_order(tmp_path):
    order = (
        "params_ema", "params-ema", "g_ema", "ema", "params", "generator", "g", "netG", "model_state_dict", "state_dict",
        "model", "net", "weights",
    )  # fmt: skip
    data = {key: {"w": torch.tensor([float(index)])} for index, key in reversed(list(enumerate(order)))}
    data["optimizer"] = {"lr": 0.1}
    for index, key in enumerate(order):
        checkpoint = load_state_dict(saved(tmp_path / "x.pth", data))
        assert (checkpoint.unwrapped, checkpoint.state["w"].item()) == (key, index)
        del data[key]


def one(value):
    return {"w": torch.tensor([float(value)])}


@pytest.mark.parametrize(
    ("data", "key", "where", "others"),
    [
        ({"model": {"ema": one(1), "online": one(0)}, "step": 3}, None, "model.ema", ()),
        ({"g": one(0), "g_ema": one(1), "d": one(0), "g_optim": {"state": {}}}, None, "g_ema", ("g", "d")),
        ({"g": one(1), "g_ema": one(0), "d": one(0)}, "g", "g", ("g_ema", "d")),
        ({"ema": {"decay": 0.99, "updates": torch.tensor(7)}, "params": one(1)}, None, "params", ()),
        ({"ema": {}, "model": one(1)}, None, "model", ()),
        ({"ema": {"shadow": one(1), "decay": 0.9}, "net": one(0)}, None, "ema.shadow", ("net",)),
        ({"mine": one(1), "yours": one(0)}, "mine", "mine", ("yours",)),
        ({"a": {"b.c": {"params": one(1)}}, "d": one(0)}, "a.b.c", "a.b.c.params", ("d",)),
        ({"state_dict": {"gen.w": one(1)["w"], "dis.w": one(0)["w"]}}, "gen", "state_dict.gen", ()),
        ({"gen.w": one(1)["w"], "dis.w": one(0)["w"]}, "gen", "gen", ()),
        (one(1), "params", None, ()),
        (one(1), None, None, ()),
    ],
)
def test_every_wrapper_is_opened_and_a_key_chooses(tmp_path, data, key, where, others):
    checkpoint = load_state_dict(saved(tmp_path / "x.pth", data), key)
    assert (checkpoint.unwrapped, checkpoint.others) == (where, others)
    assert list(checkpoint.state) == ["w"] and checkpoint.state["w"].item() == 1


def test_a_key_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    path = saved(tmp_path / "x.pth", {"g": one(1), "d": one(0), "step": 3})
    with pytest.raises(ModelError) as caught:
        load_state_dict(path, "h")
    assert str(caught.value) == f"{path}: weights_key='h': there are no weights under it; there are under g, d"


def test_wrappers_in_wrappers_are_searched_once(tmp_path):
    inner, counted = {}, {}
    for _ in range(6):
        inner, counted = dict.fromkeys(WRAPPERS, inner), Counted(dict.fromkeys(WRAPPERS, counted))
    assert refused(saved(tmp_path / "x.pth", inner)).startswith(f"entry {WRAPPERS[0]!r} is a dict")
    assert find_weights({"model": counted, "net": {"w": torch.zeros(1)}})[1] == "net"
    assert Counted.gets <= 6 * len(WRAPPERS)


class Counted(dict):
    gets = 0

    def get(self, *arguments):
        Counted.gets += 1
        return super().get(*arguments)


def test_names_stay_as_they_are(tmp_path):
    names = ["module.netG.a", "module.netG.b"]
    assert list(load_state_dict(saved(tmp_path / "x.pth", dict.fromkeys(names, torch.zeros(1)))).state) == names


def test_numbers_are_skipped_and_containers_are_refused(tmp_path):
    data = OrderedDict(w=torch.zeros(1), epoch=3, note="x", best=None)
    assert list(load_state_dict(saved(tmp_path / "x.pth", data)).state) == ["w"]
    message = refused(saved(tmp_path / "gan.pth", {"mine": {"w": torch.zeros(1)}, "disc": {}}))
    assert message == "entry 'mine' is a dict, expected a tensor; weights_key='mine' opens it"
    message = refused(saved(tmp_path / "gan.pth", {"a": {"w": torch.zeros(1)}, "b": {"w": torch.zeros(1)}}))
    assert message == "entry 'a' is a dict, expected a tensor; weights_key= one of a, b opens it"
    assert refused(saved(tmp_path / "x.pth", {"epoch": 3})) == "holds no tensors"
    assert refused(saved(tmp_path / "x.pth", [torch.zeros(1)])) == "holds a list, expected named tensors (a state dict)"


def test_other_files_are_refused_with_a_reason(tmp_path):
    assert refused(tmp_path / "none.pth") == "cannot be read: No such file or directory"
    assert refused(tmp_path) == "cannot be read: Is a directory"
    path = tmp_path / "x.pth"
    path.write_bytes(b"")
    assert refused(path) == "the file is empty"
    text = "not a checkpoint, or corrupt; expected safetensors or a file from torch.save"
    complete = saved(tmp_path / "whole.pth", {"w": torch.zeros(99)}).read_bytes()
    legacy = saved(tmp_path / "whole.pth", {"w": torch.zeros(99)}, _use_new_zipfile_serialization=False).read_bytes()
    noise = np.random.default_rng(0).bytes(4000)
    for content in (
        b"hello",
        noise,
        b"PK\x03\x04" + noise,
        complete[: len(complete) // 2],
        legacy[:-200],
    ):
        path.write_bytes(content)
        assert refused(path) == text
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.pth", "hi")
    assert refused(path) == "is a zip archive with 'a.pth', no checkpoint; unpack it and name the weights"
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"hello, I am not what my name says")
    assert refused(path).startswith("not a valid safetensors file (")
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    assert refused(path).startswith("not a valid safetensors file (")


CONVERTED = "expected the PyTorch weights it was converted from (.pth, .safetensors)"
KINDS = {
    b"7767517\n75 83\nInput": f"is an ncnn network (.param); {CONVERTED}",
    b"\x47\x6b\x30\x01\x12\x34\x56\x78": f"is ncnn weights (.bin); {CONVERTED}",
    b"<!DOCTYPE html><html>": "is an HTML page, such as a download or login page; download the file itself",
    b"\xef\xbb\xbf\n <HTML lang=en>": "is an HTML page, such as a download or login page; download the file itself",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n": (
        "is a Git LFS pointer, not the weights; run git lfs pull, or download the file itself"
    ),
    b"/annex/objects/SHA256E-s1--2": "is a git-annex pointer, not the weights; run git annex get",
    b'<?xml version="1.0"?>\n<net name="x">': f"is an OpenVINO network; {CONVERTED}",
    b"<?xml version='1.0'?><Error><Code>AccessDenied": (
        "is an XML file, such as the error of a server; download the file itself"
    ),
    b'{"metadata": {}, "weight_map"': "is JSON, such as an index or the error of a server; name the weights themselves",
    b"\x1c\0\0\0TFL3\x14": f"is a TensorFlow Lite model; {CONVERTED}",
    b"\x89HDF\r\n\x1a\n\0": f"is an HDF5 file, such as Keras writes; {CONVERTED}",
    b"GGUF\x03\0\0\0": f"is a GGUF model; {CONVERTED}",
    b"\x1f\x8b\x08\0": "is a packed archive; unpack it and name the file inside",
    b"a.pth".ljust(257, b"\0") + b"ustar\0": "is a packed archive; unpack it and name the file inside",
    b"\x89PNG\r\n\x1a\n": "is a picture or a video; name weights as the model",
    b"\0\0\0\x20ftypisom": "is a picture or a video; name weights as the model",
    bytes(100): f"is ncnn weights (.bin) or an incomplete download; {CONVERTED}",
}


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors", "x.bin"])
@pytest.mark.parametrize("head", KINDS, ids=lambda head: KINDS[head][:20])
def test_other_formats_are_named_by_their_first_bytes(tmp_path, name, head):
    path = tmp_path / name
    path.write_bytes(head + b"\x01" * 50)
    assert refused(path) == KINDS[head]


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_called_safetensors_is_read(tmp_path, legacy):
    state = {"w": torch.arange(5.0)}
    path = saved(tmp_path / "x.safetensors", state, _use_new_zipfile_serialization=not legacy)
    assert torch.equal(load_state_dict(path).state["w"], state["w"])


class Evil:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_code_in_a_pickle_never_runs(tmp_path, kind):
    canary, path = tmp_path / "canary", tmp_path / "evil.pth"
    data = {"w": torch.zeros(1), "evil": Evil(canary)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"evil": Evil(canary)}, protocol=2))
    else:
        saved(path, data, _use_new_zipfile_serialization=kind == "zip")
    assert refused(path) == (
        f"holds more than weights ({os.mkdir.__module__}.mkdir) and is not loaded, because that would run code "
        "from it; if you trust it, save its state dict as safetensors and use that"
    )
    assert not canary.exists()
    with path.open("rb") as file:  # check that the file would run code
        if kind == "pickle":
            pickle.load(file)
            assert canary.exists()


def test_a_whole_module_is_not_loaded(tmp_path):
    message = refused(saved(tmp_path / "module.pth", nn.Linear(2, 2)))
    assert message.startswith("holds more than weights (torch.nn.modules.linear.Linear) and is not loaded")


def test_stride_zero_is_refused_before_any_arithmetic(tmp_path):
    path = saved(tmp_path / "huge.pth", {"w": torch.zeros(1).expand(2**34)})
    assert path.stat().st_size < 2000
    assert refused(path) == "w claims 17179869184 elements, but the file holds 1: refused"


def test_a_thousand_tensors_on_one_storage_are_refused(tmp_path):
    shared = torch.zeros(1000)
    path = saved(tmp_path / "x.pth", {f"w{i}": shared for i in range(1000)})
    assert refused(path) == "its tensors claim 1000000 elements, but the file holds 1000: refused"
    assert len(load_state_dict(saved(tmp_path / "tied.pth", {"a": shared, "b": shared})).state) == 2


def test_a_deflate_bomb_is_refused_by_its_directory(tmp_path):
    honest = saved(tmp_path / "x.pth", {"w": torch.zeros(1_000_000)})
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(honest) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    size = bomb.stat().st_size
    message = refused(bomb)
    assert re.fullmatch(
        rf"{size} bytes that unpack to 400\d+: refused, trained weights do not compress that well", message
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_values_that_are_not_finite_in_float32_are_refused(tmp_path, value):
    tensor = torch.zeros(4, 5, dtype=torch.float64)
    tensor[1, 1:4] = value
    path = saved(tmp_path / "x.pth", {"ok": torch.zeros(2), "body.3.weight": tensor})
    assert refused(path) == "body.3.weight has 3 of 20 values that are not finite (NaN or Inf)"


def test_tensors_that_are_not_plain_are_refused(tmp_path):
    for tensor in (torch.zeros(2, dtype=torch.complex64), torch.eye(2).to_sparse()):
        message = refused(saved(tmp_path / "x.pth", {"w": tensor}))
        assert message == "w is not a plain tensor of real numbers"


def zipped(path, pickled, others=0):
    """A file like those of torch.save with this pickle and so many more members."""
    with zipfile.ZipFile(saved(path, {"w": torch.zeros(4)})) as honest:
        members = {member.filename: honest.read(member) for member in honest.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, pickled if pickled and name.endswith("data.pkl") else data)
        for number in range(others):
            archive.writestr(f"x/more/{number}", b"")
    return path


def test_endless_lists_are_refused_by_their_length(tmp_path):
    text = refused(zipped(tmp_path / "x.pth", b"\x80\x02" + b"(" * 2_100_000 + b"."))
    assert text == "its pickle has 2100003 bytes, expected at most 2097152: refused"
    assert "tensors, expected at most 10000: refused" in refused(zipped(tmp_path / "x.pth", b"", 20_100))
    assert "its directory has" in refused(zipped(tmp_path / "x.pth", b"", 45_000))
    path = tmp_path / "legacy.pth"
    path.write_bytes(b"\x80\x02" + b"(" * 3_100_000)
    assert refused(path) == "needs more than 3000000 reads: refused"
    path = tmp_path / "x.safetensors"
    path.write_bytes((17_000_000).to_bytes(8, "little") + b"{" + b" " * 17_000_000)
    assert refused(path) == "its header has 17000000 bytes, expected at most 16777216: refused"
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = b"{" + b",".join(entry % number for number in range(10_001)) + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert refused(path) == "holds 10001 tensors, expected at most 10000: refused"


def test_storage_that_the_file_does_not_hold_is_refused(tmp_path):
    legacy = saved(tmp_path / "x.pth", {"w": torch.zeros(4)}, _use_new_zipfile_serialization=False).read_bytes()
    at = legacy.rindex((4).to_bytes(8, "little"))
    for claimed in (2**31, 2**60):
        (tmp_path / "x.pth").write_bytes(legacy[:at] + claimed.to_bytes(8, "little") + legacy[at + 8 :])
        assert refused(tmp_path / "x.pth").startswith("not a checkpoint, or corrupt")


def test_nested_pickles_are_refused(tmp_path):
    laughs = b"(X\x01\x00\x00\x00at" + b"q\x00"
    for level in range(40):
        laughs += b"0(" + (b"h" + bytes([level])) * 10 + b"tq" + bytes([level + 1])
    for pickled in (laughs, b"}(" + laughs + b"K\x01u", b"(]" * 9000 + b"e" * 8999):
        refused(zipped(tmp_path / "x.pth", b"\x80\x02" + pickled + b"."))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_devices_and_pipes_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path / "pipe.pth", Path("/dev/zero")):
        assert refused(path) == "is a device or a pipe, expected a file"


def test_large_files_of_the_old_format_are_read(tmp_path):
    state = {"a": torch.arange(300_000.0), "b": torch.arange(7)}
    checkpoint = load_state_dict(saved(tmp_path / "x.pth", state, _use_new_zipfile_serialization=False)).state
    assert torch.equal(checkpoint["a"], state["a"]) and torch.equal(checkpoint["b"], state["b"])
