"""Fault schedules: whatever goes wrong on the way, the operator comes to where it would have come.

And the proof that they would notice: operators with a bug each, which the same schedules convict.
`make bench` runs a thousand schedules, and every bug there is in `operator_bugs`.
"""

import pytest

import operator_faults
from kube_api import KubeApi
from operator_bugs import BUGS, Bug
from operator_faults import run_schedules

SCHEDULES = 100
# Convicted by the first few schedules; the others take longer than anybody wants to wait here.
QUICK = 6

pytestmark = pytest.mark.timeout(600)


async def test_a_hundred_fault_schedules_end_where_undisturbed_ones_do(kube_api: KubeApi) -> None:
    assert await run_schedules(kube_api, range(SCHEDULES)) == []


@pytest.mark.parametrize("bug", BUGS[:QUICK], ids=lambda bug: bug.__name__)
async def test_schedules_convict_an_operator_that(
    bug: Bug, kube_api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    # Convicted it is when this has passed: schedules of a good operator have far longer.
    monkeypatch.setattr(operator_faults, "SETTLE_SECONDS", 3.0)
    assert await run_schedules(kube_api, range(80), until_found=True)
