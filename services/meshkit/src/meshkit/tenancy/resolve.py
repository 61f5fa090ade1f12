"""From what people wrote to what holds: one pure function.

Four layers: the defaults below, the plan's `defaults`, the tenant's own values, and the plan's
`ceilings` as a cap. A list entry is taken whole from the highest layer that has it, since requests
without their window mean nothing. Absent is no opinion; 0 is a limit; unlimited is said. Every
resolved value knows its layer, and one that was capped says `ceiling`.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

from meshkit.tenancy.identity import InvalidTenantUid, TenantId, parse_tenant_uid
from meshkit.tenancy.policy import (
    Enforcement,
    Provenance,
    ResolvedLLM,
    ResolvedQuota,
    ResolvedRateLimit,
    ResolvedWeight,
    TenantPolicy,
    TenantState,
)
from meshkit.tenancy.spec import (
    LLM,
    UID_ANNOTATION,
    Limits,
    Quota,
    RateLimit,
    Tenant,
    TenantPlan,
)

BUILTIN_MODEL = "builtin/extractive"
DEFAULT_PLAN = "default"

DEFAULTS = Limits(
    weight=1,
    rate_limits=[
        RateLimit(name="users.write", requests=10, burst=20),
        RateLimit(name="users.search", requests=20, burst=40),
        RateLimit(name="ai.requests", requests=1, burst=5),
    ],
    quotas=[
        Quota(name="storedUsers", limit=10_000),
        Quota(name="eventsPerDay", limit=100_000),
        Quota(name="llmTokensPerDay", limit=20_000),
    ],
    llm=LLM(models=[BUILTIN_MODEL], default_model=BUILTIN_MODEL),
)
"""What holds where neither plan nor tenant says anything: enough to try the mesh out."""

_UID_NAMESPACE = UUID("c5c1b8a4-2f0e-5d43-9c2f-1e6a6f3c9b10")

Layer = tuple[Limits, Provenance]


class ResolutionError(Exception):
    """The tenant does not resolve: where in it, and why."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


def plan_name(tenant: Tenant) -> str:
    """Return the name of the plan that a tenant is on."""
    return tenant.spec.plan or DEFAULT_PLAN


def own_uid(tenant: Tenant) -> str:
    """Return the uid that a tenant has of itself: the object's, the one in its annotation, or one
    derived from its name."""
    metadata = tenant.metadata
    return (
        metadata.uid
        or metadata.annotations.get(UID_ANNOTATION)
        or str(uuid5(_UID_NAMESPACE, metadata.name))
    )


def tenant_uid(tenant: Tenant) -> str:
    """Return the incarnation: the uid adopted, else its own."""
    return tenant.spec.adopt_uid or own_uid(tenant)


def resolve(tenant: Tenant, plan: TenantPlan | None) -> TenantPolicy:
    """Return the policy of `tenant` on `plan` (None: there is no plan of its name).

    Raises ResolutionError with the path of what cannot hold.
    """
    spec = tenant.spec
    _check_uids(tenant)
    if plan is None and spec.plan is not None:
        raise ResolutionError("spec.plan", f"there is no TenantPlan named {spec.plan!r}")
    layers: list[Layer] = [(DEFAULTS, Provenance.DEFAULT)]
    ceilings = Limits()
    if plan is not None:
        layers.append((plan.spec.defaults, Provenance.PLAN))
        ceilings = plan.spec.ceilings
    layers.append((spec, Provenance.OVERRIDE))
    policy = TenantPolicy(
        tenant_id=TenantId(tenant.metadata.name),
        tenant_uid=tenant_uid(tenant),
        display_name=spec.display_name or tenant.metadata.name,
        plan=plan_name(tenant) if plan is not None else "",
        state=TenantState.SUSPENDED if spec.suspended else TenantState.ACTIVE,
        enforcement=Enforcement(spec.enforcement),
        weight=_weight(layers, ceilings),
        rate_limits=_rate_limits(layers, ceilings),
        quotas=_quotas(layers, ceilings),
        llm=_llm(layers, ceilings),
    )
    return _revised(policy)


def in_state(policy: TenantPolicy, state: TenantState) -> TenantPolicy:
    """Return a policy as it is in another state, with a revision of its own."""
    return policy if policy.state is state else _revised(policy, state=state)


def _check_uids(tenant: Tenant) -> None:
    # Every uid that is given, not only the one in force: the others take over when it is removed.
    given = {
        "spec.adoptUid": tenant.spec.adopt_uid,
        "metadata.uid": tenant.metadata.uid,
        f"metadata.annotations[{UID_ANNOTATION}]": tenant.metadata.annotations.get(UID_ANNOTATION),
    }
    for path, uid in given.items():
        if uid is None:
            continue
        try:
            parse_tenant_uid(uid)
        except InvalidTenantUid as error:
            raise ResolutionError(path, str(error)) from None


def _weight(layers: Sequence[Layer], ceilings: Limits) -> ResolvedWeight:
    value, provenance = 1, Provenance.DEFAULT
    for limits, layer in layers:
        if limits.weight is not None:
            value, provenance = limits.weight, layer
    if ceilings.weight is not None and value > ceilings.weight:
        value, provenance = ceilings.weight, Provenance.CEILING
    return ResolvedWeight(value=value, provenance=provenance)


def _rate_limits(layers: Sequence[Layer], ceilings: Limits) -> tuple[ResolvedRateLimit, ...]:
    chosen: dict[str, tuple[RateLimit, Provenance]] = {}
    for limits, layer in layers:
        for limit in limits.rate_limits:
            chosen[limit.name] = (limit, layer)
    caps: dict[str, RateLimit] = {limit.name: limit for limit in ceilings.rate_limits}
    return tuple(_capped_rate(*chosen[name], caps.get(name)) for name in sorted(chosen))


def _capped_rate(
    limit: RateLimit, provenance: Provenance, cap: RateLimit | None
) -> ResolvedRateLimit:
    requests, window = limit.requests or 0, limit.window_seconds
    burst = requests if limit.burst is None else limit.burst
    unlimited = limit.unlimited
    if cap is not None and not cap.unlimited:
        most, most_window = cap.requests or 0, cap.window_seconds
        most_burst = most if cap.burst is None else cap.burst
        # Cross-multiplied, so that rates over different windows compare exactly.
        if unlimited or requests * most_window > most * window:
            requests, window, provenance = most, most_window, Provenance.CEILING
        if unlimited or burst > most_burst:
            burst, provenance = most_burst, Provenance.CEILING
        unlimited = False
    return ResolvedRateLimit(
        name=limit.name,
        requests=requests,
        window_seconds=window,
        burst=burst,
        unlimited=unlimited,
        provenance=provenance,
    )


def _quotas(layers: Sequence[Layer], ceilings: Limits) -> tuple[ResolvedQuota, ...]:
    chosen: dict[str, tuple[Quota, Provenance]] = {}
    for limits, layer in layers:
        for quota in limits.quotas:
            chosen[quota.name] = (quota, layer)
    caps = {quota.name: quota for quota in ceilings.quotas}
    resolved = []
    for name in sorted(chosen):
        quota, provenance = chosen[name]
        limit, unlimited = quota.limit or 0, quota.unlimited
        cap = caps.get(quota.name)
        if cap is not None and cap.limit is not None and (unlimited or limit > cap.limit):
            limit, unlimited, provenance = cap.limit, False, Provenance.CEILING
        resolved.append(
            ResolvedQuota(name=name, limit=limit, unlimited=unlimited, provenance=provenance)
        )
    return tuple(resolved)


def _llm(layers: Sequence[Layer], ceilings: Limits) -> ResolvedLLM:
    models: tuple[str, ...] = ()
    provenance = Provenance.DEFAULT
    default, default_layer = BUILTIN_MODEL, Provenance.DEFAULT
    for limits, layer in layers:
        if limits.llm is not None and limits.llm.models is not None:
            models, provenance = tuple(dict.fromkeys(limits.llm.models)), layer
        if limits.llm is not None and limits.llm.default_model is not None:
            default, default_layer = limits.llm.default_model, layer
    allowed = ceilings.llm.models if ceilings.llm is not None else None
    if allowed is not None and not set(models) <= set(allowed):
        models, provenance = tuple(m for m in models if m in allowed), Provenance.CEILING
        if not models:
            raise ResolutionError("spec.llm.models", "the plan's ceilings allow none of these")
    if default not in models:
        # A default that the tenant chose itself has to hold; one from below gives way.
        if default_layer is Provenance.OVERRIDE:
            raise ResolutionError(
                "spec.llm.defaultModel", f"{default!r} is not among the allowed models"
            )
        default = models[0]
    return ResolvedLLM(models=models, default_model=default, provenance=provenance)


def _revised(policy: TenantPolicy, **changes: Any) -> TenantPolicy:
    """Return a policy with these changes, and the digest of what it then says."""
    document = policy.model_copy(update=changes | {"revision": ""}).document()
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    revision = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    return policy.model_copy(update=changes | {"revision": revision})


__all__ = [
    "BUILTIN_MODEL",
    "DEFAULTS",
    "DEFAULT_PLAN",
    "ResolutionError",
    "in_state",
    "own_uid",
    "plan_name",
    "resolve",
    "tenant_uid",
]
