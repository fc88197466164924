"""Laws of the package: what it exports, what imports what, where third-party libraries live, what an import costs."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dnirender
from support.clips import REPO

PACKAGE = Path(dnirender.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path.name not in ("__main__.py",)
}
MODULES["__init__"] = PACKAGE / "__init__.py"

# Rooms in import order, and in each its modules in import order. A module imports from rooms above its own, and from
# modules before it in its own. `base` is what lies in the package's own folder.
ORDER = """
base: version errors options concurrency cache files frames progress
timeline: easing simplification expression keyframes mixture parser audio cuts noise interpolation timeline pace tracks wipe
preset: yaml_file timeline_settings mask_settings preset_files preset_styles network_settings preset
sound: spectrum beats loudness
media: image_files truncation colorspace planar channels timecode containers opencv motion steadying resize luma noise pixel_formats color_profile images
decoding: timestamps deinterlace image_header metadata reorder concealment packets tonemap scan source still webp video open clip sound cuts
networks: pixel_shuffle signatures wrappers onnx_weights checkpoint architectures.gain architectures.unet architectures.focus architectures.segment architectures.adapters architectures.denoise architectures.compact architectures.paint architectures.style_encoder architectures.relight
    architectures.ada_resnet architectures.transformer_net architectures.dynamic_net architectures.fast_style_transfer architectures.fast_neural_style
    architectures.conditional_style architectures.resnet_generator architectures.unet_generator architectures.dncnn network registry detected weights repair loading reestimation modules segmentation
families: adafm ftn dynamic_net cfsnet adain loading
layout: drawing charts contact_sheet alpha_track panels
masks: alpha_map regions edges files tracking found fronts masking
encoding: provenance image_record segment_file transcode stream_plan stream_copy sink encoders size_estimate image_sequence animation video boomerang
    output
engine: arrays color calibration device measurements torch_model executor memory_usage receptive_field tiling memory memory_retry
    fp32_retry openvino parallel cpu cuda_graphs cuda configuration backend_trial autotune engine layered frame_work levels
models: files report_files family groups combining similarity inspection rescaling channels alignment packs onnx_export sweep finetuning aligning compatibility check_report
    analysis analysis_report
jobs: disk_space workspace options constant_rate job mixtures sampling clip_keyframes frame_selection targets plan verify_images verify fingerprint pace repair alpha_maps prepare compose notebook contact_sheet preview pipeline finish
    estimate render background frames benchmark
train: losses subspace family_space adain_space features recipe report task loop data.photos data.style_pictures data.relighting data.filters data.drawing data.scenes.canvas
    data.scenes.lights data.scenes.photographs data.scenes.houses data.scenes.objects data.scenes.street data.augment data.batches data.subjects
    tasks.relight tasks.sketch tasks.style tasks.adain tasks.detail tasks.focus tasks.denoise add_endpoint
cli: start signals default_command app presets options output info verify train model align check sheet render bench main
"""

# Third-party libraries and the rooms, or modules, that may import them.
HOMES = {
    "numpy": "base sound media decoding networks.segmentation families.adain layout masks encoding jobs engine models train",
    "av": "media decoding encoding jobs",
    "cv2": "media decoding layout masks encoding networks jobs train",
    "torch": "networks families models engine train cli.train",
    "safetensors": "networks.checkpoint models.files train",
    "spandrel": "networks.loading",
    "openvino": "engine.openvino",
    "onnx": "networks.onnx_weights models.onnx_export",
    "onnxruntime": "models.onnx_export",
    "scipy": "models.alignment models.analysis",
    "pydantic": "options preset jobs.options cli.options encoding.provenance train.recipe",
    "ruamel": "yaml_file train.report",
    "filelock": "jobs.workspace",
    "platformdirs": "cache",
    "tqdm": "cli train",
    "typer": "cli",
}
HEAVY = {"torch", "torchvision", "spandrel", "cv2", "openvino"}
MAX_LINES = {"module": 350, "class": 200}


def places():
    """{module: (number of its room, number in its room, room)} as ORDER has them."""
    rooms = [line.partition(":") for line in ORDER.replace("\n    ", " ").strip().splitlines()]
    found = {}
    for number, (room, _, names) in enumerate(rooms):
        for place, name in enumerate(names.split()):
            full = name if room in ("base", "preset") else f"{room}.{name}"
            found[full] = (number, place, room)
    return found


def nodes(path):
    """Import statements, but for those that only a type checker sees."""
    tree = ast.parse(path.read_text("utf-8"))
    guarded = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and ast.unparse(test.test) == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    return [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) and id(n) not in guarded]


def own_imports(path):
    """The modules of this package that a file imports."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dnirender":
            base = node.module.removeprefix("dnirender").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}" if base else alias.name
                found.add(full if full in MODULES else base)
    return found - {""}


def libraries(path):
    names = []
    for node in nodes(path):
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"dnirender", ""}


def test_the_package_exports_exactly_these_names():
    assert sorted(dnirender.__all__) == [
        "Cancelled",
        "Engine",
        "Job",
        "MediaError",
        "ModelError",
        "OutputError",
        "Preset",
        "PresetError",
        "Progress",
        "Render",
        "RenderError",
        "Report",
        "Sheet",
        "Timeline",
        "TimelineError",
        "UsageError",
        "WeightPath",
        "open",
        "render",
        "render_frames",
        "sheet",
    ]
    assert all(getattr(dnirender, name).__name__ == name for name in dnirender.__all__ if name != "open")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dnirender.nothing


def test_every_module_has_a_place_and_imports_only_from_above():
    place = places()
    rooms = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert set(MODULES) - rooms == set(place)
    wrong = [
        f"{name} imports {other}"
        for name, path in MODULES.items()
        if name in place
        for other in own_imports(path)
        if other not in place or place[other][:2] >= place[name][:2]
    ]
    assert not wrong


def test_the_init_of_a_room_imports_nothing():
    assert [n for n, p in MODULES.items() if p.name == "__init__.py" and n != "__init__" and own_imports(p)] == []


def test_third_party_libraries_stay_at_home():
    place = places()
    wrong = []
    for name, (_, _, room) in place.items():
        for library in libraries(MODULES[name]):
            homes = HOMES.get(library, "").split()
            if room not in homes and name not in homes:
                wrong.append(f"{name} imports {library}")
    assert not wrong


def test_modules_and_classes_can_be_read_in_one_sitting():
    long = []
    for name, path in MODULES.items():
        text = path.read_text("utf-8")
        if len(text.splitlines()) > MAX_LINES["module"]:
            long.append(name)
        classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
        long += [f"{name}.{c.name}" for c in classes if c.end_lineno - c.lineno + 1 > MAX_LINES["class"]]
    assert not long


def imported_names(path):
    """(module, name) of every name that a script imports from the package."""
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dnirender":
            yield from ((node.module, alias.name) for alias in node.names)


SCRIPTS = sorted([*REPO.glob("benchmarks/**/*.py"), *REPO.glob("docs/*.py"), *REPO.glob("samples/*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(REPO)))
def test_a_script_imports_names_that_exist(script):
    missing = [
        f"{module}.{name}"
        for module, name in imported_names(script)
        if f"{module}.{name}".removeprefix("dnirender.") not in MODULES
        and not hasattr(importlib.import_module(module), name)
    ]
    assert not missing


@pytest.mark.parametrize(
    "script", [path for path in SCRIPTS if path.parent.name != "quality"], ids=lambda path: path.name
)
def test_a_script_imports_from_the_public_api_what_it_has(script):
    homes = {(f"dnirender.{home}", name) for name, home in dnirender._HOMES.items()}
    homes |= {(f"dnirender.networks.{home}", name) for name, home in dnirender.networks._HOMES.items()}
    assert not homes & set(imported_names(script))


def test_the_architecture_page_shows_every_room_and_every_arrow():
    page = (REPO / "docs" / "architecture.md").read_text("utf-8")
    block = re.search(r"<!-- rooms -->\n```\n(.*?)```", page, re.DOTALL)[1]
    shown = {
        line.split()[0]: set(line.partition("->")[2].partition("|")[0].split())
        for line in block.splitlines()
        if "->" in line
    }
    place = places()
    arrows = {room: set() for room in dict.fromkeys(room for _, _, room in place.values()) if room != "base"}
    for name, (_, _, room) in place.items():
        for other in own_imports(MODULES[name]):
            if room != "base" and place[other][2] not in ("base", room):
                arrows[room].add(place[other][2])
    assert shown == arrows


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
        ["model", "--help"],
        ["model", "mix", "a.pth", "-o", "b.pth"],
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
