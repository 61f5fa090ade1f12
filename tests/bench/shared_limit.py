"""TARGETS row 13, the half with processes: four user-services and one limit of 100 a second, for a
minute each with all requests on one that has to borrow, and spread over all.

Twice as much is sent as may pass, at random times. Counted by the client's clock, from when the
burst is used up.
"""

import asyncio
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cluster import running_api
from bench.harness import Result, console, report
from builders import make_limit
from kube_api import KubeApi, assets
from limits_processes import LimitedReplicas, limited_replicas
from replica_process import Replica

RATE = BURST = 100
OFFERED = 200
REPLICAS = 4
_WARM_SECONDS = 3.0


async def minute(
    replicas: LimitedReplicas, shares: list[tuple[Replica, float]], seconds: int
) -> tuple[float, list[int]]:
    """Return how many passed a second, and in each of the seconds, from when the burst is used."""
    await replicas.begin(BURST)
    started = asyncio.get_running_loop().time()
    await replicas.traffic(_WARM_SECONDS + seconds, OFFERED, shares)
    begin = started + _WARM_SECONDS
    assert not replicas.failed
    assert not replicas.tally.fallbacks, "no replica was away"
    by_second = Counter(
        int(at - begin) for at, _, admitted in replicas.tally.requests if admitted and at >= begin
    )
    passed = replicas.tally.between(begin, begin + seconds)
    return passed / seconds, [by_second[second] for second in range(seconds)]


async def measure(api: KubeApi, folder: Path, seconds: int) -> list[Result]:
    """Run both minutes and return the rows."""
    rows = []
    async with limited_replicas(api, folder, requests=RATE, burst=BURST) as replicas:
        await replicas.start(REPLICAS)
        owner = replicas.owner()
        borrower = next(one for one in replicas.running if one is not owner)
        spread = [(one, 1.0) for one in replicas.running]
        for what, shares in (("all on one that borrows", [(borrower, 1.0)]), ("spread", spread)):
            passed, each = await minute(replicas, shares, seconds)
            over = replicas.tally.measured(make_limit(requests=RATE, burst=BURST)).excess
            console.print(
                f"{what}: {passed:.2f} a second, single seconds {min(each)} to {max(each)}"
            )
            rows.append(
                Result(
                    "13",
                    f"four replicas for a minute, a limit of 100/s, {what}: admitted a second",
                    "99 to 101",
                    f"{passed:.2f}",
                    99 <= passed <= 101,
                    f"single seconds {min(each)} to {max(each)}, by the client's clock; worst"
                    f" window {over:.1f} tokens over",
                )
            )
    return rows


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if assets() is None:
        console.print("shared_limit is left out: KUBEBUILDER_ASSETS is not set")
        return
    with running_api() as api, TemporaryDirectory() as folder:
        report(asyncio.run(measure(api, Path(folder), 5 if quick else 60)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
