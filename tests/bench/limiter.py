"""TARGETS row 13, the local half: what one decision of the limiter costs, in a process of its own,
as the owner of the buckets among four replicas, and with borrowed tokens in hand."""

import sys
import time
from collections.abc import Callable, Sequence

from bench.harness import Figure, Result, report
from builders import make_context, make_limit
from meshkit.limits.borrowing import Borrowing
from meshkit.limits.exchange import Exchange
from meshkit.limits.fallback import Fallback
from meshkit.limits.gcra import RateLimiter
from meshkit.limits.lender import Lender
from meshkit.limits.peers import Peers
from meshkit.limits.shared import SharedLimiter
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.policy import ResolvedRateLimit

TENANTS = 1000
LIMIT = make_limit(requests=1000, burst=10_000)
_PLENTY = 10**9

Take = Callable[[TenantContext, ResolvedRateLimit], object]


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    rounds = 50 if quick else 300
    tenants = [make_context(f"t{number}") for number in range(TENANTS)]
    owned, owner = _replica(owns=True)
    held, borrower = _replica(owns=False)
    cases: tuple[tuple[str, Take, Sequence[TenantContext]], ...] = (
        ("a local decision of the limiter, 1,000 tenants, µs", RateLimiter().take, tenants),
        ("the same as the owner among four replicas, µs", owner.take, owned),
        ("the same with borrowed tokens in hand, µs", borrower.take, held),
    )
    report([_measured(*case, rounds) for case in cases])


def _replica(*, owns: bool) -> tuple[list[TenantContext], SharedLimiter]:
    """One of four, and tenants whose buckets it owns, or has plenty borrowed of."""
    peers = Peers("a")
    peers.listed(dict.fromkeys("abcd", ""), 0.0)
    buckets = RateLimiter()
    # Nothing is ever asked: there is no network here.
    exchange = Exchange(peers, None)  # type: ignore[arg-type]
    limiter = SharedLimiter(buckets, peers, Lender(buckets, peers), Fallback("divide"), exchange)
    many = (make_context(f"t{number}") for number in range(100 * TENANTS))
    mine = (t for t in many if (peers.owner((t.tenant_uid, LIMIT.name)) == "a") is owns)
    tenants = [next(mine) for _ in range(TENANTS)]
    for tenant in tenants if not owns else ():
        key = (tenant.tenant_uid, LIMIT.name)
        borrowing = Borrowing(key, LIMIT, peers.owner(key), peers.epoch)
        borrowing.hand, borrowing.until = _PLENTY, float("inf")
        limiter._borrowed[key] = borrowing
    return tenants, limiter


def _measured(what: str, take: Take, tenants: Sequence[TenantContext], rounds: int) -> Result:
    costs = []
    for _ in range(6):
        started = time.process_time()
        for _ in range(rounds):
            for tenant in tenants:
                take(tenant, LIMIT)
        costs.append((time.process_time() - started) / rounds / TENANTS * 1e6)
    figure = Figure.of(costs[1:])
    return Result("13", what, "≤ 1 µs", str(figure), figure.median <= 1)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
