"""Laws of fingerprints: a job whose networks are built by other code is another job."""

import importlib
import sys

import pytest
from torch import nn

from dnirender import networks
from dnirender.jobs.fingerprint import job_fingerprint
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.networks import registry
from support.clips import preset_of

SOURCE = """
from torch import nn

class Tint(nn.Module):
    strength = 1.0
"""


@pytest.fixture
def fingerprint(tmp_path, clip, endpoints, monkeypatch):
    """The fingerprint of one job, after the architecture of a module with this source was registered."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    plan = make_plan(make_job(clip, tmp_path / "out.mp4", preset_of(endpoints), dtype="fp32"))

    def of(source=None, **settings):
        if source is not None:
            (tmp_path / "tinting.py").write_text(source, "utf-8")
            sys.modules.pop("tinting", None)
            importlib.invalidate_caches()
            module = importlib.import_module("tinting")
            networks.register_architecture("tint", module.Tint, lambda _: False, **settings)
        return job_fingerprint(plan)

    yield of
    sys.modules.pop("tinting", None)


def test_edited_code_of_a_registered_architecture_makes_another_job(fingerprint):
    assert "architectures" not in fingerprint()
    before = fingerprint(SOURCE)
    assert fingerprint(SOURCE) == before
    after = fingerprint(SOURCE.replace("1.0", "0.9"))
    assert [name for name in after if after[name] != before.get(name)] == ["architectures"]


def test_other_ranges_make_another_job(fingerprint):
    assert fingerprint(SOURCE) != fingerprint(SOURCE, input_range=(-1, 1))


def test_code_without_a_source_is_no_error(fingerprint):
    networks.register_architecture("tint", type("Tint", (nn.Module,), {"__module__": "nowhere"}), lambda _: False)
    assert "tint=" in fingerprint()["architectures"]
