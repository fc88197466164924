"""What pages and model cards state is what logs and results files hold."""

import importlib.util
import json
import re
import sys

import pytest

from support.clips import REPO

CARDS = sorted((REPO / "presets" / "weights").glob("*/"))
PERFORMANCE = (REPO / "docs" / "performance.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", PERFORMANCE, re.M))
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
UNITS = r"ms|MB|dB|GB/s|TFLOP/s|GFLOP|%"


def card_of(folder):
    return folder.with_suffix(".md").read_text("utf-8")


def logged_hours(folder):
    """Of all parts of a training; the seconds begin again in each."""
    lines = [json.loads(line) for line in folder.with_suffix(".log.jsonl").read_text("utf-8").splitlines()]
    ends = [
        line for line, after in zip(lines, [*lines[1:], {"seconds": -1}], strict=True)
        if after["seconds"] < line["seconds"] or after.get("part") != line.get("part")
    ]  # fmt: skip
    return sum(line["seconds"] for line in ends) / 3600


@pytest.mark.parametrize("folder", CARDS, ids=lambda folder: folder.name)
def test_a_card_states_the_hours_of_its_log(folder):
    stated = re.search(r"([\d.]+) hours in all", card_of(folder))
    assert stated, "expected 'N hours in all'"
    assert float(stated[1]) == pytest.approx(logged_hours(folder), rel=0.1)


@pytest.mark.parametrize("folder", CARDS, ids=lambda folder: folder.name)
def test_a_card_states_terms_sources_and_feature_networks(folder):
    card = " ".join(card_of(folder).split())
    for text in ("License of the weights: MIT.", "(sources.md)", "**Feature networks.**", "ImageNet"):
        assert text in card, text
    assert "Big Buck Bunny" not in card or "Blender Foundation" in card


def pictures():
    """(page, its paragraph with a picture, the file) of every picture in a page or card."""
    for page in (REPO / "README.md", *REPO.glob("docs/*.md"), *REPO.glob("presets/weights/*.md")):
        for paragraph in page.read_text("utf-8").split("\n\n"):
            for file in re.findall(r"!\[[^\]]*\]\(([^)]+)\)|`([\w-]+\.jpg)`", paragraph):
                yield page, paragraph, (page.parent / next(filter(None, file))).resolve()


def test_every_picture_of_big_buck_bunny_credits_the_blender_foundation():
    shown = {folder.with_suffix(".jpg") for folder in CARDS if "bunny_" in _shown_by_recipe(folder.name)}
    found = [(page, paragraph) for page, paragraph, file in pictures() if file in shown]
    assert len(found) > len(shown)  # each in its card, one on the page of quality too
    assert [page.name for page, paragraph in found if "Blender Foundation" not in paragraph] == []


def _shown_by_recipe(name):
    recipe = REPO / "presets" / "recipes" / f"{name}.yaml"  # masks have none, and no sheet of their training
    return re.search(r"^show: \[(.*?)\]", recipe.read_text("utf-8"), re.M | re.S)[1] if recipe.exists() else ""


def results(section):
    """The numbers of all results files that a section links."""
    files = re.findall(r"\]\(\.\./(benchmarks/results/[^)]+)\)", section)
    return [
        float(number.replace(",", ""))
        for file in files
        for number in re.findall(NUMBER, (REPO / file).read_text("utf-8"))
    ]


def figures(section):
    """Numbers in the cells of tables, but for first columns and heads, and numbers with a unit in the text."""
    section = re.sub(r"```.*?```", "", section, flags=re.S)
    for line in section.splitlines():
        if line.startswith("|"):
            text = line.strip("|").partition("|")[2] if "---" not in line else ""
            yield from re.findall(rf"(?<![\w.x-])[+-]?({NUMBER})(?![\w.]|x\d)", text)
        else:
            yield from re.findall(rf"(?<![\w.])({NUMBER}) (?:{UNITS})(?!\w)", line)


@pytest.mark.parametrize("title", SECTIONS)
def test_every_figure_of_speed_is_in_a_results_file_that_its_section_links(title):
    measured = results(SECTIONS[title])
    missing = []
    for figure in figures(SECTIONS[title]):
        digits = len(figure.partition(".")[2])
        if not any(round(one, digits) == float(figure.replace(",", "")) for one in measured):
            missing.append(figure)
    assert missing == []


def test_spelling_is_american():
    """License and color, but for names of endpoints and old names."""
    folders = ("benchmarks", "docs", "presets", "render", "samples", "tests")
    files = [
        path for folder in folders for path in (REPO / folder).rglob("*") if path.suffix in (".md", ".py", ".yaml")
    ]
    files += [path for path in REPO.glob("*") if path.suffix in (".md", ".toml") and path.name != "CHANGELOG.md"]
    british = "|".join(("lic" + "ence", r"\bcolo" + "ur"))
    found = [
        f"{path.relative_to(REPO)}: {match[0]}"
        for path in files
        for match in re.finditer(british, path.read_text("utf-8"), re.I)
    ]
    assert found == []


def test_the_faults_made_up_by_hand_still_fit_the_code_and_their_tests():
    spec = importlib.util.spec_from_file_location("mutate", REPO / "tests" / "stress" / "mutate.py")
    mutate = importlib.util.module_from_spec(spec)
    sys.modules["mutate"] = mutate
    spec.loader.exec_module(mutate)
    for name, (tests, module, old, _) in mutate.FAULTS.items():
        assert mutate.source_of(module).count(old) == 1, name
        assert all((REPO / "tests" / f"{test}.py").is_file() for test in tests), name
    for modules, tests in mutate.GROUPS.values():
        assert all(mutate.source_of(module) for module in modules)
        assert all((REPO / "tests" / f"{test}.py").is_file() for test in tests)
