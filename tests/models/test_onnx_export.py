"""The exported graph mixes as we do: alpha is its input, endpoints are exact."""

import numpy as np
import pytest
import torch

from dnirender.cli.main import main
from dnirender.engine.engine import Engine
from dnirender.errors import ModelError
from dnirender.models import onnx_export
from dnirender.networks.architectures.conditional_style import split_styles
from dnirender.networks.loading import load
from models.test_packs import initializers
from support.clips import paint
from support.states import compact


@pytest.fixture
def runtime():
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"the package {package} is not installed")
    return pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")


def styles(folder):
    files = {}
    for number, state in enumerate(split_styles(initializers())[:3]):
        files[f"s{number}"] = folder / f"s{number}.pth"
        torch.save(state, files[f"s{number}"])
    return files


def test_a_mixture_is_ours(tmp_path, runtime, capsys):
    files = styles(tmp_path)
    target = tmp_path / "path.onnx"
    words = [word for name, file in files.items() for word in ("-m", f"{name}={file}")]
    assert main(["model", "export", *words, "--onnx", "-o", str(target)]) == 0
    assert "inputs image and alpha (s0, s1, s2), differs by" in capsys.readouterr().err
    session = runtime.InferenceSession(str(target))
    engine = Engine(*load(files), device="cpu", dtype="fp32")
    for size, alpha in (((48, 32), (0.2, 0.3, 0.5)), ((64, 36), (0.0, 1.0, 0.0)), ((64, 36), (0.0, 0.75, 0.25))):
        frame = paint(3, size)
        x = np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32) / 255
        (output,) = session.run(None, {"image": x, "alpha": np.array(alpha, np.float32)})
        exact = engine.render(torch.from_numpy(x), alpha).numpy()
        assert np.abs(output - exact).max() <= 1e-4
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["endpoints"] == "s0,s1,s2" and facts["multiple"] == "4"


def test_a_coefficient_of_zero_is_zero(tmp_path, runtime):
    a, b = compact(0), compact(1)
    torch.save(a, tmp_path / "a.pth")
    torch.save(b | {"body.0.bias": torch.full((8,), 1e38)}, tmp_path / "b.pth")
    network, path = load({"a": tmp_path / "a.pth", "b": tmp_path / "b.pth"})
    mixing = onnx_export._Mixing(network, path).eval()
    file = tmp_path / "path.onnx"
    onnx_export._export(mixing, torch.tensor([0.5, 0.5]), network, file)
    x = torch.rand(1, 3, 20, 24)
    with torch.inference_mode():
        expected = network.forward(network.module, x).clamp(0, 1)
    (output,) = runtime.InferenceSession(str(file)).run(None, {"image": x.numpy(), "alpha": np.float32([1, 0])})
    assert np.abs(output - expected.numpy()).max() <= 1e-5


def test_a_graph_that_computes_something_else_is_not_written(tmp_path, runtime, monkeypatch):
    files = styles(tmp_path)
    monkeypatch.setattr(onnx_export, "_export", lambda *_: None)
    monkeypatch.setattr(onnx_export, "_describe", lambda *_: None)
    monkeypatch.setattr(onnx_export, "_largest_error", lambda *_: 0.01)
    with pytest.raises(ModelError, match="in onnxruntime the output differs by 0.01"):
        onnx_export.export_onnx(*load(files), tmp_path / "path.onnx")
    assert not list(tmp_path.glob("*.onnx*"))


def test_arguments_are_checked_before_any_work(tmp_path, capsys, monkeypatch):
    files = styles(tmp_path)
    words = ["model", "export", *(word for name, file in files.items() for word in ("-m", f"{name}={file}"))]
    assert main([*words, "-o", str(tmp_path / "a.onnx")]) == 2
    assert "expected either --alpha, for a checkpoint, or --onnx" in capsys.readouterr().err
    assert main([*words, "--onnx", "-o", str(tmp_path / "a.pth")]) == 2
    assert "expected a name that ends in .onnx" in capsys.readouterr().err
    (tmp_path / "a.onnx").touch()
    assert main([*words, "--onnx", "-o", str(tmp_path / "a.onnx")]) == 5
    assert "exists already; --overwrite replaces it" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main([*words, "--onnx", "-o", str(tmp_path / "b.onnx")]) == 4
    assert "needs the package onnx: pip install 'dnirender[onnx]'" in capsys.readouterr().err
