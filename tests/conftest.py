"""Fixtures, and what is left out unless it is named."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clips import REPO, make_clip, tiny_endpoints

# What tests measure stays in a folder of its own; commands that they start inherit it.
_CACHE = tempfile.TemporaryDirectory(prefix="dnirender-tests")
os.environ["DNIRENDER_CACHE"] = _CACHE.name

STRESS = REPO / "tests" / "stress"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What takes minutes runs only where it is named: `pytest tests/stress`."""
    named = any(STRESS in (path, *path.parents) for path in (Path(arg.split("::")[0]).resolve() for arg in config.args))
    return True if collection_path == STRESS and not named else None


@pytest.fixture
def one_lane() -> Iterator[None]:
    """One picture at a time on the CPU, so that weights are written as often as the plan says."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Twelve frames of 96x64 at 25 per second with sound."""
    return make_clip(tmp_path / "clip.mp4", audio="aac", b_frames=2)


@pytest.fixture
def endpoints(tmp_path: Path) -> dict[str, Path]:
    """The `day` and `night` weights of `tiny_endpoints`."""
    return tiny_endpoints(tmp_path)
