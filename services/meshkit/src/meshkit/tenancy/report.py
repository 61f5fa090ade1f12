"""What a change of the tenants looks like in the log and in the metrics: each thing once.

What is not accepted is an error with file, name, path and message, said when it appears and not
again while it stays; when it is mended, one line says so.
"""

import structlog

from meshkit.telemetry import metrics
from meshkit.tenancy.catalogue import Outcome

log = structlog.get_logger()

_NAMES_MOST = 10


def report(before: Outcome, after: Outcome) -> None:
    """Log what changed from one outcome to the next."""
    known = {(p.source, p.name, p.path, p.message) for p in before.problems}
    for problem in after.problems:
        said = (problem.source, problem.name, problem.path, problem.message)
        if said not in known:
            log.error(
                "tenant_not_accepted",
                file=problem.source,
                name=problem.name,
                path=problem.path,
                message=problem.message,
                last_good_policy_kept=problem.kept,
            )
    broken = {(problem.source, problem.name) for problem in after.problems}
    for source, name in sorted({(p.source, p.name) for p in before.problems} - broken):
        # A file that is gone took its problem along; that is no mending.
        if source in after.files:
            log.info("tenant_accepted", file=source, name=name)
    _report_policies(before, after)
    metrics.POLICIES.set(len(after.policies))
    metrics.TENANT_PROBLEMS.set(len(after.problems))


def changed_tenants(before: Outcome, after: Outcome) -> frozenset[str]:
    """Return the ids of the tenants whose policy changed, came or went."""
    removed = before.policies.keys() - after.policies.keys()
    return frozenset(removed).union(
        name for name, policy in after.policies.items() if before.policies.get(name) is not policy
    )


def _report_policies(before: Outcome, after: Outcome) -> None:
    changed = changed_tenants(before, after)
    if not changed:
        return
    removed = sorted(name for name in changed if name not in after.policies)
    in_force = sorted(changed.difference(removed))
    # Names up to a point: ten thousand tenants at start are one line, too.
    log.info(
        "tenant_policies_changed",
        changed=in_force if len(in_force) <= _NAMES_MOST else len(in_force),
        removed=removed if len(removed) <= _NAMES_MOST else len(removed),
    )


__all__ = ["changed_tenants", "report"]
