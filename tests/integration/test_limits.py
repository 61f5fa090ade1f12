"""Limits over real replicas: 1, 2, 4 and 8 processes with their policies from a real API server.

Prints the table of `docs/tenancy.md`. Times are the client's, so a machine that is busy adds some
milliseconds of its own to every window, and a process that gets no turn for half a second is taken
for silent. So what is asserted here leaves room for that; the simulation
(`tests/unit/meshkit/test_shared_limits.py`) holds the same code to the last token.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import network_split
from builders import make_limit
from kube_api import KubeApi
from limits_processes import LimitedReplicas, limited_replicas
from limits_rig import Measured
from replica_process import Replica

pytestmark = pytest.mark.timeout(400)

RATE = BURST = 100
LIMIT = make_limit(requests=RATE, burst=BURST)
OFFERED = 250
SECONDS = 6
# Of what one bucket admits, at least and at most.
LEAST, MOST = 0.98, 1.02


@pytest.fixture
async def replicas(kube_api: KubeApi, tmp_path: Path) -> AsyncIterator[LimitedReplicas]:
    async with limited_replicas(kube_api, tmp_path, requests=RATE, burst=BURST) as found:
        yield found


def tell(count: int | str, what: str, measured: Measured, p99: float) -> None:
    """One row of the table."""
    print(  # noqa: T201
        f"| {count} | {what} | {measured.excess:.1f} | {measured.ratio:.4f}"
        f" | {measured.fallbacks} | {p99 * 1000:.1f} |"
    )


def skewed(replicas: LimitedReplicas, hot: float | None) -> list[tuple[Replica, float]]:
    """Equal shares, or `hot` of all on one that has to borrow where there is one."""
    running = replicas.running
    if hot is None or len(running) == 1:
        return [(replica, 1.0) for replica in running]
    owner = replicas.owner()
    borrower = next(replica for replica in running if replica is not owner)
    rest = (1.0 - hot) / (len(running) - 1)
    return [(replica, hot if replica is borrower else rest) for replica in running]


def result(replicas: LimitedReplicas) -> tuple[Measured, float]:
    """How the run compares with one bucket, and the 99th percentile of the answers' times."""
    waited = sorted(replicas.waited)
    return replicas.tally.measured(LIMIT), waited[int(len(waited) * 0.99)]


@pytest.mark.parametrize("count", [1, 2, 4, 8])
async def test_any_skew_admits_what_one_bucket_would(replicas: LimitedReplicas, count: int) -> None:
    await replicas.start(count)
    runs = {"uniform": None, "90/10": 0.9, "99/1": 0.99, "all on one": 1.0}
    failures = []
    for name, hot in runs.items():
        await replicas.begin(BURST)
        await replicas.traffic(SECONDS, OFFERED, skewed(replicas, hot))
        measured, p99 = result(replicas)
        tell(count, name, measured, p99)
        few = OFFERED * SECONDS // 100
        if not LEAST <= measured.ratio <= MOST or measured.fallbacks > few or replicas.failed:
            failures.append((name, measured))
    print(f"| {count} | 99 of 100 leases | within {await replicas.lease_p99() * 1000:g} ms |")  # noqa: T201
    assert failures == []


async def test_moving_traffic_and_bursts_admit_what_one_bucket_would(
    replicas: LimitedReplicas,
) -> None:
    await replicas.start(8)
    await replicas.begin(BURST)
    for replica in replicas.running[:4]:
        await replicas.traffic(2, OFFERED, [(replica, 1.0)])
    moving, p99 = result(replicas)
    tell(8, "hot replica moves every 2 s", moving, p99)
    await replicas.begin(BURST)
    await asyncio.gather(*(replicas.request(r) for r in replicas.running for _ in range(40)))
    burst, p99 = result(replicas)
    tell(8, "burst at all after idle", burst, p99)
    assert LEAST <= moving.ratio <= MOST
    # It takes a while until all of it has been answered; the bucket fills meanwhile.
    spent = max(replicas.waited)
    assert BURST <= burst.admitted <= BURST + RATE * spent + 1


async def test_killed_owner_costs_no_excess_and_two_seconds_later_all_is_exact(
    replicas: LimitedReplicas,
) -> None:
    await replicas.start(4)
    await replicas.begin(BURST)
    loop = asyncio.get_running_loop()
    owner = replicas.owner()
    shares = [(replica, 1.0) for replica in replicas.running if replica is not owner]
    traffic = asyncio.create_task(replicas.traffic(10, OFFERED, shares))
    await asyncio.sleep(3)
    killed_at = loop.time()
    owner.kill()
    await traffic
    measured, p99 = result(replicas)
    tell(4, "owner killed", measured, p99)
    assert measured.fallbacks > 0
    after = replicas.tally.between(killed_at + 2, killed_at + 6)
    assert LEAST * RATE * 4 <= after <= MOST * RATE * 4
    # What three of four members have of the limit meanwhile, and what was in hand.
    assert replicas.tally.between(killed_at, killed_at + 2) <= 2 * RATE + 0.1 * RATE


async def test_frozen_owner_is_gone_after_a_while_and_starts_empty_when_it_is_back(
    replicas: LimitedReplicas,
) -> None:
    await replicas.start(4)
    await replicas.begin(BURST)
    loop = asyncio.get_running_loop()
    owner = replicas.owner()
    shares = [(replica, 1.0) for replica in replicas.running if replica is not owner]
    traffic = asyncio.create_task(replicas.traffic(14, OFFERED, shares))
    await asyncio.sleep(3)
    frozen_at = loop.time()
    owner.send(signal.SIGSTOP)
    await asyncio.sleep(5)
    owner.send(signal.SIGCONT)
    back_at = loop.time()
    await traffic
    measured, p99 = result(replicas)
    tell(4, "owner silent for 5 s", measured, p99)
    tally = replicas.tally
    for since in (frozen_at, back_at):
        # Over two seconds a turn that comes late counts twice as much.
        assert abs(tally.between(since + 3, since + 5) - 2 * RATE) <= 0.05 * 2 * RATE
    assert tally.between(back_at, back_at + 3) <= 3 * RATE + 2 * RATE


async def test_replica_that_is_cut_off_from_the_others_adds_its_part_of_the_limit_and_no_more(
    replicas: LimitedReplicas,
) -> None:
    if problem := network_split.lack():
        pytest.skip(problem)
    others = await replicas.start(3)
    (lonely,) = await replicas.start(1, group=network_split.GROUP)
    await replicas.begin(BURST)
    loop = asyncio.get_running_loop()
    shares = [(replica, 1.0) for replica in replicas.running]
    traffic = asyncio.create_task(replicas.traffic(16, OFFERED, shares))
    await asyncio.sleep(3)
    cut_at = loop.time()
    with network_split.cut_off(lonely.admin_port, [one.admin_port for one in others]):
        await asyncio.sleep(5)
    healed_at = loop.time()
    await traffic
    measured, p99 = result(replicas)
    role = "owner" if replicas.owner() is lonely else "borrower"
    tell(4, f"{role} cut off for 5 s (of 16 s)", measured, p99)
    tally = replicas.tally
    assert measured.fallbacks > 50
    # The three go on with all of it, the one with its quarter.
    assert 1.2 * RATE * 2 <= tally.between(cut_at + 3, cut_at + 5) <= 1.3 * RATE * 2
    assert tally.between(cut_at, healed_at) <= 1.25 * RATE * 5 + BURST
    # Over two seconds a turn that comes late counts twice as much.
    after = tally.between(healed_at + 3, healed_at + 7)
    assert LEAST * RATE * 4 <= after <= MOST * RATE * 4
    assert not replicas.failed


async def test_scaling_up_and_down_costs_no_more_than_the_members_disagree(
    replicas: LimitedReplicas,
) -> None:
    await replicas.start(2)
    await replicas.begin(BURST)
    first = [(replica, 1.0) for replica in replicas.running]
    traffic = asyncio.create_task(replicas.traffic(20, OFFERED, first))
    more = await replicas.start(6)
    await asyncio.sleep(1)
    for replica in more:
        await asyncio.to_thread(replica.stop)
    await traffic
    await replicas.share()
    measured, p99 = result(replicas)
    tell("2→8→2", "uniform", measured, p99)
    # For each member that comes or goes all hear of it within a tenth of a second, as a rule.
    assert measured.excess <= 12 * 3 * 0.1 * RATE
