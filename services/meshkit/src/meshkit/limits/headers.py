"""What an answer tells of a limit: draft-ietf-httpapi-ratelimit-headers-10, and Retry-After.

The numbers are the tenant's, never a replica's share. `q` and `w` are what the Tenant declares;
`burst`, a parameter of ours, is how many may come at once, so `r` may be above `q`. Seconds are
whole in headers, in thousandths in bodies, and rounded up: a client that waits exactly that long
gets in. `fallback`, ours too, says that the replica which runs the bucket cannot be reached, and
what decides meanwhile.
"""

import math

from meshkit.limits.fallback import FallbackDecision
from meshkit.limits.gcra import Decision
from meshkit.tenancy.policy import ResolvedRateLimit

Header = tuple[bytes, bytes]

# A sum of floats is off by less: nobody is to wait another second for it.
_ROUNDING = 1e-9


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
    reset = whole_seconds(decision.reset_after)
    state = f'"{decision.limit.name}";r={decision.remaining};t={reset}'
    if isinstance(decision, FallbackDecision):
        state += f";fallback={decision.fallback}"
    return (policy, (b"ratelimit", state.encode()))


def retry_after_seconds(seconds: float) -> int:
    """Return a delay as Retry-After takes it: whole seconds, at least one."""
    return max(1, whole_seconds(seconds))


def whole_seconds(seconds: float) -> int:
    """Return a delay in whole seconds, rounded up."""
    return math.ceil(seconds - _ROUNDING)


def milliseconds_up(seconds: float) -> float:
    """Return a delay in seconds, rounded up to a thousandth."""
    return math.ceil((seconds - _ROUNDING) * 1000) / 1000


__all__ = [
    "Header",
    "limit_headers",
    "milliseconds_up",
    "policy_header",
    "retry_after_seconds",
    "whole_seconds",
]
