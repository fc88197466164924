"""Laws of architectures that programs and installed packages register."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dnirender import Engine, ModelError, UsageError, networks
from dnirender.errors import PackageWarning
from dnirender.networks import registry
from support.clips import make_clip, paint


class Shade(nn.Module):
    """Maps -1..1 to 0..255, and multiplies brightness by `shade`."""

    def __init__(self):
        super().__init__()
        self.shade = nn.Parameter(torch.ones(()))

    def forward(self, x):
        assert x.shape[2] % 8 == 0 and x.shape[3] % 8 == 0
        return (x + 1) * 127.5 * self.shade


def is_shade(state):
    return set(state) == {"shade"}


RANGES = {"input_range": (-1, 1), "output_range": (0, 255), "multiple": 8}


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_loaded", set())


@pytest.fixture
def shades(tmp_path):
    """Weights that halve and that keep brightness, by endpoint."""
    return written(tmp_path, half=0.5, full=1.0)


def written(folder, metadata=None, **shades):
    files = {name: folder / f"{name}.safetensors" for name in shades}
    for name, shade in shades.items():
        save_file({"shade": torch.tensor(shade)}, files[name], metadata)
    return files


def shade(files):
    engine = Engine(*networks.load(files), device="cpu", dtype="fp32")
    return engine.render(paint(5, (21, 13)), (0.5, 0.5))


DARKER = np.rint(paint(5, (21, 13)) * 0.75)


@pytest.mark.parametrize("build", [Shade, lambda state: loaded(Shade(), state)], ids=["class", "function"])
def test_a_registered_architecture_is_detected_and_rendered_in_its_ranges_and_sizes(shades, build):
    with pytest.raises(ModelError, match="no known network has these weights.*register_architecture adds others"):
        networks.load(shades)
    networks.register_architecture("shade", build, is_shade, **RANGES)
    assert np.abs(shade(shades) - DARKER).max() <= 1
    network, _ = networks.load(shades)
    assert (network.architecture, network.multiple, network.scale) == ("shade", 8, 1)


def loaded(module, state):
    module.load_state_dict(dict(state))
    return module


def test_metadata_may_name_it_instead(tmp_path):
    files = written(tmp_path, {"architecture": "shade"}, half=0.5, full=1.0)
    networks.register_architecture("shade", Shade, lambda _: False, **RANGES)
    assert np.abs(shade(files) - DARKER).max() <= 1


def test_the_scale_is_measured_and_the_channels_hold(shades):
    def doubled(channels):
        class Doubled(Shade):
            def forward(self, x):
                assert x.shape[1] == channels
                return (x * self.shade).repeat_interleave(2, 2).repeat_interleave(2, 3)

        return Doubled

    for channels in (1, 3):
        networks.register_architecture("doubled", doubled(channels), is_shade, channels=channels)
        assert networks.load(shades)[0].scale == 2
        assert np.abs(shade(shades) - DARKER.repeat(2, 0).repeat(2, 1)).max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name: expected a text, got ''"),
        (
            {"name": "paint"},
            "name: expected another than the built-in relight, paint, compact, focus, denoise, got 'paint'",
        ),
        ({"build": 3}, "build: expected a class of torch.nn.Module or a function, got 3"),
        ({"build": dict}, "build: expected a class of torch.nn.Module"),
        ({"detect": "shade"}, "detect: expected a function, got 'shade'"),
        ({"channels": 4}, "channels: expected 1 or 3, got 4"),
        ({"multiple": 0}, "multiple: expected 1 or more, got 0"),
        ({"multiple": True}, "multiple: expected 1 or more, got True"),
        ({"minimum": -1}, "minimum: expected 0 or more, got -1"),
        ({"input_range": (1, 1)}, r"input_range: expected \(low, high\) with low < high, got \(1, 1\)"),
        ({"output_range": 255}, r"output_range: expected \(low, high\) with low < high, got 255"),
    ],
    ids=str,
)
def test_properties_out_of_range_are_refused_by_name(change, message):
    arguments = {"name": "shade", "build": Shade, "detect": is_shade} | change
    with pytest.raises(UsageError, match=message):
        networks.register_architecture(**arguments)


def failing(state):
    raise KeyError("conv.weight")


@pytest.mark.parametrize(
    ("build", "detect", "message"),
    [
        (
            lambda _: nn.Conv2d(3, 4, 1),
            is_shade,
            r"half.safetensors: architecture shade: shade makes \[1, 4, 32, 32\]",
        ),
        (lambda _: nn.Conv2d(4, 4, 1), is_shade, "architecture shade: shade fails on 1 x 3 x 32 x 32"),
        (lambda _: None, is_shade, "architecture shade: build made a NoneType, expected a torch.nn.Module"),
        (lambda _: nn.Identity(), is_shade, "the endpoints have no weights|no tensor named|no weights"),
        (failing, is_shade, "architecture shade: the weights do not fit: 'conv.weight'"),
        (Shade, failing, r"detect of the architecture shade failed \(KeyError: 'conv.weight'\); let it return False"),
    ],
    ids=["form", "call", "none", "weights", "build", "detect"],
)
def test_what_fails_is_a_model_error_with_file_and_architecture(shades, build, detect, message):
    networks.register_architecture("shade", build, detect)
    with pytest.raises(ModelError, match=message):
        networks.load(shades)


def test_two_that_fit_are_refused_and_one_that_is_registered_again_replaced(shades):
    networks.register_architecture("shade", Shade, is_shade)
    networks.register_architecture("shade", Shade, is_shade, **RANGES)
    assert np.abs(shade(shades) - DARKER).max() <= 1
    networks.register_architecture("tint", Shade, is_shade)
    with pytest.raises(ModelError, match="shade, tint all detect these weights; expected one, or `architecture`"):
        networks.load(shades)


GOOD = """
from dnirender.networks import register_architecture
import tests_networks_shade

def register():
    print("CALLED")
    register_architecture("shade", tests_networks_shade.Shade, lambda state: set(state) == {"shade"})
"""
SHADE = """
import torch
from torch import nn

class Shade(nn.Module):
    def __init__(self):
        super().__init__()
        self.shade = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x * self.shade
"""


def distribution(folder, name, code):
    """A package as pip would have installed it into `folder`."""
    (folder / f"{name}.py").write_text(f"print('IMPORTED')\n{code}", "utf-8")
    info = folder / f"{name}_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[dnirender.architectures]\n{name} = {name}:register\n", "utf-8")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path, whose packages are found by this process and by those that it starts."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "tests_networks_shade.py").write_text(SHADE, "utf-8")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for file in folder.glob("*.py"):
        sys.modules.pop(file.stem, None)


def test_a_package_is_called_once_and_only_when_nothing_else_fits(tmp_path, site, shades, endpoints, capsys):
    distribution(site, "tests_shades", GOOD)
    networks.load(endpoints)
    assert capsys.readouterr().out == ""
    networks.register_architecture("shade", Shade, is_shade, **RANGES)
    networks.load(shades)
    assert capsys.readouterr().out == ""  # what the program itself registers comes first
    registry._registered.clear()
    assert np.abs(shade(shades) - DARKER).max() <= 1
    networks.load(shades)
    assert capsys.readouterr().out == "IMPORTED\nCALLED\n"
    networks.register_architecture("mine", Shade, is_shade)
    assert networks.load(shades)[0].architecture == "mine"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ImportError('no libshade')", "its architectures are skipped, as it failed (ImportError: no libshade)"),
        ("import sys; sys.exit(3)", "its architectures are skipped, as it failed (SystemExit: 3)"),
        (GOOD.replace("register():", "register(needed):"), "is skipped|missing 1 required positional argument"),
        (
            GOOD.replace('"shade", tests', '"paint", tests'),
            "expected another than the built-in relight, paint, compact, focus, denoise",
        ),
        (
            GOOD.replace('"shade", t', '"tint", t').replace("set(state)", "state.x"),
            "its architecture tint is skipped, as it failed (AttributeError",
        ),
    ],
    ids=["import", "exit", "signature", "name", "detect"],
)
def test_a_package_that_raises_is_reported_by_name_and_skipped(site, shades, code, reason):
    distribution(site, "tests_broken", code)
    with (
        pytest.warns(PackageWarning, match="^tests_broken-dist: ") as seen,
        pytest.raises(ModelError, match="no known"),
    ):
        networks.load(shades)
    assert any(part in str(seen[0].message) for part in reason.split("|"))
    distribution(site, "tests_shades", GOOD)
    with pytest.warns(PackageWarning, match="^tests_broken-dist: "):  # the others are asked all the same
        assert networks.load(shades)[0].architecture == "shade"


def test_a_package_cannot_take_a_name_that_is_taken(site, shades):
    distribution(site, "tests_shades", GOOD)
    networks.register_architecture("shade", nn.Identity, lambda _: False)
    taken = pytest.warns(PackageWarning, match="shade is registered already, by the program")
    with taken, pytest.raises(ModelError, match="no known network"):
        networks.load(shades)


def test_the_command_line_asks_packages_for_weights_alone_and_reports_those_that_fail(tmp_path, site, shades):
    def run(*arguments):
        program = "import sys; from dnirender.cli.main import main; sys.exit(main(sys.argv[1:]))"
        path = [str(site), *sys.path]
        command = [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}; {program}", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)

    distribution(site, "tests_shades", GOOD)
    for arguments in (["--help"], ["presets"], ["render", "--help"]):
        assert "IMPORTED" not in run(*arguments).stdout
    clip = make_clip(tmp_path / "clip.mp4", frames=2)
    models = [word for name, file in shades.items() for word in ("-m", f"{name}={file}")]
    done = run(clip, *models, "-k", "0:half", "-o", tmp_path / "out.mp4")
    assert (done.returncode, done.stdout) == (0, "IMPORTED\nCALLED\n"), done.stderr
    distribution(site, "tests_broken", "raise ImportError('no libshade')")
    done = run(clip, *models, "-k", "0:half", "-o", tmp_path / "again.mp4")
    assert done.returncode == 0
    assert "warning: tests_broken-dist: its architectures are skipped" in done.stderr
