"""Thousands of damaged files: each is refused in one line or rendered whole, in bounded time and memory."""

import os

import pytest

from support.mutations import MEDIA, TRUNCATIONS, make_seeds, run_cases

COUNT = int(os.environ.get("DNIRENDER_MUTATIONS", "10000"))
TS_PACKET = 188


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return make_seeds(tmp_path_factory.mktemp("seeds"))


def test_damaged_files_are_refused_or_whole(seeds):
    outcomes = run_cases(seeds[0].parent, range(COUNT))
    assert len(outcomes) == COUNT
    assert [outcome for outcome in outcomes if outcome.broken] == []
    # The damage does damage, and not all of it: else nothing was tried.
    assert 0.5 * COUNT < sum(outcome.strict != "whole" for outcome in outcomes) < 0.98 * COUNT


def test_no_cut_is_silent(seeds):
    numbers = [TRUNCATIONS + 100 * seed + percent for seed in range(len(MEDIA) + 2) for percent in range(1, 100)]
    silent = []
    for outcome in run_cases(seeds[0].parent, numbers):
        assert not outcome.broken
        seed, percent = seeds[(outcome.number - TRUNCATIONS) // 100], outcome.number % 100
        # Between two packets a transport stream ends like any other.
        at_packet = seed.suffix == ".ts" and seed.stat().st_size * percent // 100 % TS_PACKET == 0
        if outcome.strict == "whole" and not at_packet:
            silent.append((seed.name, percent))
    assert silent == []
