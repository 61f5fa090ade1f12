"""The count of TARGETS: divergences of the operator under a thousand seeded fault schedules.

As `tests/integration/test_operator_faults.py`, longer; and every bug of `operator_bugs` has to be
convicted by the same schedules, or a count of nothing would say nothing.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import pytest
import structlog

import operator_faults
from bench.harness import Result, console, report
from kube_api import KubeApi, assets
from operator_bugs import BUGS
from operator_faults import run_schedules

SCHEDULES = 1000
_AT_A_TIME = 50
_MOST_UNTIL_CONVICTED = 120


async def diverged(api: KubeApi, schedules: int) -> list[str]:
    """Run so many schedules; return every divergence."""
    found: list[str] = []
    for first in range(0, schedules, _AT_A_TIME):
        seeds = range(first, min(first + _AT_A_TIME, schedules))
        found += await run_schedules(api, seeds)
        console.print(f"{seeds.stop} schedules, {len(found)} divergences")
        for one in found[-3:]:
            console.print(one)
    return found


async def convicted(api: KubeApi, most: int) -> list[str]:
    """Return the names of the bugs that schedules convict."""
    names = []
    for bug in BUGS:
        with pytest.MonkeyPatch.context() as patch:
            bug(patch)
            patch.setattr(operator_faults, "SETTLE_SECONDS", 4.0)
            if found := await run_schedules(api, range(most), until_found=True):
                names.append(bug.__name__)
                console.print(f"{bug.__name__}: {found[0][:120]}")
    return names


async def measure(api: KubeApi, *, quick: bool) -> list[Result]:
    """Run the schedules, then the bugs; return the rows."""
    schedules = 40 if quick else SCHEDULES
    found = await diverged(api, schedules)
    names = await convicted(api, 20 if quick else _MOST_UNTIL_CONVICTED)
    missed = [bug.__name__ for bug in BUGS if bug.__name__ not in names]
    return [
        Result(
            "counts",
            f"divergences of the operator under {schedules:,} seeded fault schedules",
            "0",
            str(len(found)),
            not found,
            f"the same schedules convict {len(names)} of {len(BUGS)} seeded bugs"
            + (f", not {', '.join(missed)}" if missed else ""),
        )
    ]


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if assets() is None:
        console.print("operator_faults is left out: KUBEBUILDER_ASSETS is not set")
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as folder:
        api = KubeApi(Path(folder))
        try:
            api.start()
            api.install_crds()
            report(asyncio.run(measure(api, quick=quick)))
        finally:
            api.stop()


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
