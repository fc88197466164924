"""The disk space that is estimated before a render is what the render of a real clip takes, within a factor of two."""

import pytest

from dnirender.encoding.output import COPIES
from dnirender.jobs.job import make_job
from dnirender.jobs.plan import make_plan
from dnirender.jobs.prepare import prepare
from dnirender.jobs.render import run
from support.clips import CLIPS, needs_shared


@needs_shared
@pytest.mark.parametrize("crf", [1, 10, 17, 28])
def test_the_estimate_is_within_a_factor_of_two(tmp_path, crf):
    job = make_job(
        CLIPS / "road.mp4", tmp_path / "out.mp4", audio=False, encoder_options={"crf": str(crf)}, device="cpu"
    )
    prepared = prepare(make_plan(job))
    run(prepared)
    taken, estimated = COPIES * job.output.stat().st_size, prepared.output.estimated_bytes
    print(f"\ncrf {crf}: {estimated / 1e6:.1f} MB estimated, {taken / 1e6:.1f} MB taken")
    assert taken / 2 <= estimated <= taken * 2
