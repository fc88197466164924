"""Laws of choosing a configuration: what a choice holds for, and what it says. What OpenVINO needs is in test_openvino."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dnirender.engine.autotune import Autotuner
from dnirender.engine.backend_trial import Workload
from dnirender.engine.engine import Engine
from dnirender.errors import ModelError
from support.toys import cpu, pictures, toy

WORKLOAD = Workload(90, 130, np.uint8, 100)


@pytest.mark.parametrize(
    ("change", "covered"),
    [({}, True), ({"count": 99}, True), ({"count": 101}, False)]
    + [(change, False) for change in ({"height": 91}, {"width": 131}, {"kind": np.uint16}, {"height": 1, "count": 1})],
)
def test_a_choice_holds_for_shorter_jobs_of_the_same_frames(change, covered):
    assert WORKLOAD.covers(replace(WORKLOAD, **change)) == covered


def test_a_job_is_planned_once_and_again_where_it_is_longer_or_of_other_frames(monkeypatch):
    planned = []
    choose = Autotuner.choose
    monkeypatch.setattr(Autotuner, "choose", lambda *a: planned.append(a[1]) or choose(*a))
    engine = cpu(*toy(), threads=1)
    for arguments in [(9, 13, 5), (9, 13, 5), (9, 13, 4), (9, 13, 6), (9, 13, 6, 10), (9, 13, 6, 16), (13, 9, 6)]:
        engine.autotune(*arguments)
    sizes = [(workload.height, workload.width, workload.kind, workload.count) for workload in planned]
    assert sizes == [(9, 13, np.uint8, 5), (9, 13, np.uint8, 6), (9, 13, np.uint16, 6), (13, 9, np.uint8, 6)]


def test_the_decision_tells_workers_and_tiles(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    engine = Engine(*toy(), device="cpu", dtype="fp32", backend="torch", tile=32)
    engine.autotune(90, 130, 2)
    assert engine.decision == "cpu, fp32: as requested; 2 frames in parallel; tiles of 32x32"
    assert (engine.workers, engine.tile, engine.threads) == (2, (32, 32), 3)
    engine.autotune(20, 30, 3)
    assert engine.decision == "cpu, fp32: as requested; 3 frames in parallel"


def test_tuning_changes_no_image(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    engine, [image] = cpu(*toy(), backend="torch"), pictures(1)
    before = engine.render(image, (0.5, 0.5))
    engine.autotune(9, 13, 100)
    assert np.array_equal(engine.render(image, (0.5, 0.5)), before)


def test_where_nothing_can_be_chosen_pytorch_has_all_workers(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    engine, [image] = cpu(*toy()), pictures(1)
    before = engine.render(image, (0.5, 0.5))

    def fail(*_):
        raise ModelError("OpenVINO cannot run it")

    with monkeypatch.context() as patch, pytest.raises(ModelError, match="cannot run"):
        patch.setattr(Autotuner, "choose", fail)
        engine.autotune(9, 13, 100)
    assert (engine.backend, engine.workers) == ("torch", 3)
    assert np.array_equal(engine.render(image, (0.5, 0.5)), before)
