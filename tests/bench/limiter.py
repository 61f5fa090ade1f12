"""TARGETS row 13, the local half: what one decision of the limiter costs."""

import sys
import time

from bench.harness import Figure, Result, report
from builders import make_context, make_limit
from meshkit.limits.gcra import RateLimiter

TENANTS = 1000


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    limiter = RateLimiter()
    limit = make_limit(requests=1000, burst=10_000)
    tenants = [make_context(f"t{number}") for number in range(TENANTS)]
    rounds = 50 if quick else 300
    costs = []
    for _ in range(6):
        started = time.process_time()
        for _ in range(rounds):
            for tenant in tenants:
                limiter.take(tenant, limit)
        costs.append((time.process_time() - started) / rounds / TENANTS * 1e6)
    figure = Figure.of(costs[1:])
    report(
        [
            Result(
                "13",
                "a local decision of the limiter, 1,000 tenants, µs",
                "≤ 1 µs",
                str(figure),
                figure.median <= 1,
            )
        ]
    )


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
