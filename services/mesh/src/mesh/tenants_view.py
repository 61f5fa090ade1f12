"""How tenants look: as tables for people, as JSON for programs, as lines to search and copy.

JSON has the policy's document with its own keys; on a cluster `generation` and `status` of the
Tenant come beside them, as they are there. What was written by others is never taken for markup.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from mesh.tenants_status import Condition, Entry, Found, TenantStatus, age
from meshkit.tenancy.policy import ResolvedQuota, ResolvedRateLimit, TenantPolicy
from meshkit.tenancy.source import TenantProblem

_LIMITS = ("users.write", "users.search", "ai.requests")


def listing(found: Found) -> Table:
    """Return a row for each tenant; on a cluster with whether it is ready, and where in force."""
    table = Table()
    # Names are copied from here; where it is narrow, other things are broken first.
    table.add_column("tenant", no_wrap=True)
    for title in ("plan", "state", "write", "search", "ai", "stored users"):
        table.add_column(title)
    if found.namespace is not None:
        table.add_column("ready")
        table.add_column("enforced", no_wrap=True)
    for entry in found.entries.values():
        cells = _limits(entry)
        if found.namespace is not None:
            cells += [ready(entry.tenant), enforced(entry.tenant)]
        table.add_row(*map(escape, cells))
    return table


def documents(found: Found) -> list[dict[str, Any]]:
    """Return every tenant as JSON values."""
    return [document(entry) for entry in found.entries.values()]


def document(entry: Entry) -> dict[str, Any]:
    """Return a tenant as JSON values: its policy, and on a cluster what its object says."""
    if entry.policy is not None:
        values = entry.policy.document()
    else:
        values = {"tenantId": entry.name, "plan": _plan(entry)}
    if entry.tenant is not None:
        metadata = entry.tenant.document["metadata"]
        values |= {"generation": metadata.get("generation"), "status": entry.tenant.status}
        if entry.tenant.deleting_since:
            values["deletionTimestamp"] = entry.tenant.deleting_since
    return values


def details(entry: Entry, now: datetime) -> Iterator[str | Table]:
    """Yield everything about a tenant, part by part."""
    policy = entry.policy
    if policy is not None:
        yield f"[bold]{escape(policy.display_name)}[/bold]  {policy.tenant_id}"
        yield (
            f"plan {escape(policy.plan) or '-'}, {policy.state.value},"
            f" enforcement {policy.enforcement.value}, revision {escape(policy.revision)}"
        )
        yield f"uid {escape(policy.tenant_uid)}"
    else:
        yield f"[bold]{escape(entry.name)}[/bold]"
        yield f"plan {escape(_plan(entry))}; no policy of it is in force"
    if entry.tenant is not None:
        yield from _in_cluster(entry.tenant, now)
    if policy is not None:
        yield _effective(policy)


def ready(tenant: TenantStatus | None) -> str:
    """Return whether a tenant is ready, and in one word why not."""
    if tenant is None:
        return "-"
    if tenant.deleting_since:
        return "being deleted"
    condition = tenant.current("Ready")
    if condition is None:
        return "not looked at yet"
    return condition.status if condition.status == "True" else _why(condition)


def enforced(tenant: TenantStatus | None) -> str:
    """Return how many replicas obey the policy, as far as that is known of the newest spec."""
    if tenant is None or not tenant.looked_at:
        return "-"
    return str(tenant.status.get("enforcedReplicas", "-"))


def problem_line(problem: TenantProblem) -> str:
    """Return a problem as one line."""
    parts = (problem.source, problem.name, problem.path, problem.message)
    return ": ".join(filter(None, parts))


def problem_documents(found: Found) -> list[dict[str, Any]]:
    """Return the problems as JSON values: each with its file, or its namespace."""
    place = {} if found.namespace is None else {"namespace": found.namespace}
    return [
        (place or {"file": p.source}) | {"name": p.name, "path": p.path, "message": p.message}
        for p in found.problems
    ]


def _plan(entry: Entry) -> str:
    if entry.policy is not None:
        return entry.policy.plan or "-"
    return str(entry.tenant.spec.get("plan", "default")) if entry.tenant is not None else "-"


def _limits(entry: Entry) -> list[str]:
    policy = entry.policy
    if policy is None:
        return [entry.name, _plan(entry), "no policy", "-", "-", "-", "-"]
    stored = next((_quota(q) for q in policy.quotas if q.name == "storedUsers"), "-")
    if entry.tenant is not None:
        # The operator's count has the quota in it: `87/100000`.
        stored = str((entry.tenant.status.get("usage") or {}).get("storedUsers", stored))
    rates = {limit.name: _rate(limit) for limit in policy.rate_limits}
    shown = [rates.get(name, "-") for name in _LIMITS]
    return [entry.name, _plan(entry), policy.state.value, *shown, stored]


def _in_cluster(tenant: TenantStatus, now: datetime) -> Iterator[str | Table]:
    if tenant.deleting_since:
        held = f", held by {', '.join(tenant.finalizers)}" if tenant.finalizers else ""
        yield escape(f"being deleted since {tenant.deleting_since}{held}")
    if not tenant.looked_at:
        yield "The newest edit was not looked at yet (is the operator running?)."
    told = {"enforced by": tenant.status.get("enforcedReplicas")}
    told |= (tenant.status.get("usage") or {}).items()
    if line := ", ".join(f"{what} {value}" for what, value in told.items() if value):
        yield escape(line)
    if tenant.conditions:
        table = Table("condition", "status", "reason", "message", "age")
        for one in tenant.conditions.values():
            status = one.status if one.current else f"{one.status}, of an older edit"
            passed = age(one.since, now) if one.since is not None else "-"
            table.add_row(*map(escape, (one.type, status, one.reason, one.message, passed)))
        yield table


def _why(condition: Condition) -> str:
    return f"{condition.status}: {condition.reason}" if condition.reason else condition.status


def _rate(limit: ResolvedRateLimit) -> str:
    if limit.unlimited:
        return "unlimited"
    per = "s" if limit.window_seconds == 1 else f"{limit.window_seconds} s"
    return f"{limit.requests}/{per}, {limit.burst} at once"


def _quota(quota: ResolvedQuota) -> str:
    return "unlimited" if quota.unlimited else f"{quota.limit:,}"


def _effective(policy: TenantPolicy) -> Table:
    table = Table("what", "value", "from")
    for limit in policy.rate_limits:
        table.add_row(limit.name, _rate(limit), limit.provenance.value)
    for quota in policy.quotas:
        table.add_row(quota.name, _quota(quota), quota.provenance.value)
    table.add_row("weight", str(policy.weight.value), policy.weight.provenance.value)
    models = f"{', '.join(policy.llm.models)} (default {policy.llm.default_model})"
    table.add_row("models", escape(models), policy.llm.provenance.value)
    return table
