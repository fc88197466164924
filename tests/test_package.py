"""Laws of the package as a whole: what it exports, what imports what, what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dnirender

PACKAGE = Path(dnirender.__file__).parent

# A module imports only from lines above its own; those on one line do not know each other.
ORDER = """
errors
stopping
easing
timeline
frames
preset checkpoint colour containers publish groups space wholeness stamps
parts receipt
weights pixels source device probe work picture_header deinterlace tonemap folding
network compose pictures scan
tiles
decode streams encoders
encode
animation
plan
identity compiled room lanes cuda
engine
ready
pipeline
sheet bench verify
cli
"""
HEAVY = {"torch", "torchvision", "spandrel", "cv2", "openvino"}


def imports(path):
    """(module, whether at import time) for every dnirender module that a file imports."""
    tree = ast.parse(path.read_text("utf-8"))
    guarded = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and ast.unparse(test.test) == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if (
            id(node) in guarded
            or not isinstance(node, ast.ImportFrom)
            or not (node.module or "").startswith("dnirender")
        ):
            continue
        if node.module == "dnirender":
            yield from (alias.name for alias in node.names if (PACKAGE / f"{alias.name}.py").exists())
        else:
            yield node.module.split(".")[1]


def test_the_package_exports_exactly_these_names():
    assert sorted(dnirender.__all__) == [
        "Engine",
        "Job",
        "MediaError",
        "ModelError",
        "OutputError",
        "Preset",
        "PresetError",
        "RenderError",
        "Report",
        "Timeline",
        "TimelineError",
        "UsageError",
        "WeightPath",
        "render",
    ]
    assert all(getattr(dnirender, name).__name__ == name for name in dnirender.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dnirender.nothing


def test_every_module_has_a_place_and_imports_only_from_above():
    rank = {name: number for number, line in enumerate(ORDER.split("\n")) for name in line.split()}
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert files <= rank.keys()
    wrong = [
        f"{name} imports {other}"
        for name in files
        for other in imports(PACKAGE / f"{name}.py")
        if other in rank and rank[other] >= rank[name]
    ]
    assert not wrong


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["presets"],
        ["clip.mp4", "-k", "0:0,0:1"],
        ["clip.mp4", "-p", "nothing"],
        ["clip.mp4", "--crf", "x"],
        ["missing.mp4"],
        ["train", "--help"],
        ["train", "nothing"],
    ],
    ids=" ".join,
)
def test_help_and_argument_errors_import_nothing_heavy(arguments):
    program = (
        "import sys; from dnirender.cli.main import main; main(sys.argv[1:]); "
        f"print('HEAVY', sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    heavy = ["cv2"] if arguments == ["missing.mp4"] else []  # the input is looked at only when all else is right
    assert done.stdout.splitlines()[-1] == f"HEAVY {heavy}"
