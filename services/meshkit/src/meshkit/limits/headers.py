"""What an answer tells of a limit: draft-ietf-httpapi-ratelimit-headers-10, and Retry-After.

The numbers are the tenant's, never a replica's share. `q` and `w` are what the Tenant declares;
`burst`, a parameter of ours, is how many may come at once, so `r` may be above `q`. Seconds are
whole and rounded up: a client that waits exactly that long gets in. `fallback`, ours too, says that
the replica which runs the bucket cannot be reached, and what decides meanwhile.
"""

import math

from meshkit.limits.fallback import FallbackDecision
from meshkit.limits.gcra import Decision
from meshkit.tenancy.policy import ResolvedRateLimit

Header = tuple[bytes, bytes]


def policy_header(limit: ResolvedRateLimit) -> Header | None:
    """Return the RateLimit-Policy header of `limit`, None where it is unlimited."""
    if limit.unlimited:
        return None
    text = f'"{limit.name}";q={limit.requests};w={limit.window_seconds};burst={limit.burst}'
    return (b"ratelimit-policy", text.encode())


def limit_headers(decision: Decision) -> tuple[Header, ...]:
    """Return RateLimit and RateLimit-Policy for an answer, nothing where there is no limit."""
    policy = policy_header(decision.limit)
    if policy is None:
        return ()
    reset = math.ceil(decision.reset_after)
    state = f'"{decision.limit.name}";r={decision.remaining};t={reset}'
    if isinstance(decision, FallbackDecision):
        state += f";fallback={decision.fallback}"
    return (policy, (b"ratelimit", state.encode()))


def retry_after_seconds(seconds: float) -> int:
    """Return a delay as Retry-After takes it: whole seconds, at least one."""
    return max(1, math.ceil(seconds))


__all__ = ["Header", "limit_headers", "policy_header", "retry_after_seconds"]
