"""Builders of the objects that tests are about: everything has a sensible default, a test names
only what it is about."""

from typing import Any

from ai_gateway.embedding.features import FeatureExtractor
from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.embedding.lexical import LexicalEncoder
from ai_gateway.embedding.text import user_text
from ai_gateway.vector_store.port import Delete, Upsert, User
from ai_gateway.vectors import Query
from meshkit.events.log import Position
from meshkit.tenancy.documents import parse_plan, parse_tenant
from meshkit.tenancy.identity import TenantContext, TenantId
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
from meshkit.tenancy.spec import Tenant, TenantPlan

GENEROUS = 1_000_000

DENSE = HashEmbedder(FeatureExtractor())
LEXICAL = LexicalEncoder(FeatureExtractor())


def make_context(tenant_id: str = "tenant-a", uid: str | None = None) -> TenantContext:
    """A tenant with its uid derived from the name unless given."""
    return TenantContext(TenantId(tenant_id), uid or f"uid-of-{tenant_id}")


def make_limit(
    name: str = "users.write",
    requests: int = GENEROUS,
    window_seconds: int = 1,
    burst: int | None = None,
    *,
    unlimited: bool = False,
) -> ResolvedRateLimit:
    """A resolved rate limit; the burst is the requests unless given."""
    return ResolvedRateLimit(
        name=name,
        requests=requests,
        window_seconds=window_seconds,
        burst=requests if burst is None else burst,
        unlimited=unlimited,
        provenance=Provenance.OVERRIDE,
    )


def make_quota(name: str, limit: int = GENEROUS, *, unlimited: bool = False) -> ResolvedQuota:
    """A resolved quota."""
    return ResolvedQuota(
        name=name, limit=limit, unlimited=unlimited, provenance=Provenance.OVERRIDE
    )


def make_quotas(**limits: int) -> tuple[ResolvedQuota, ...]:
    """The quotas of a policy: generous, except for `limits`."""
    names = ("storedUsers", "eventsPerDay", "llmTokensPerDay")
    return tuple(make_quota(name, limits.get(name, GENEROUS)) for name in names)


def make_policy(
    tenant_id: str = "tenant-a", *limits: ResolvedRateLimit, **overrides: Any
) -> TenantPolicy:
    """A policy of an active tenant with generous limits, except for `limits` and `overrides`."""
    names = ("users.write", "users.search", "ai.requests")
    given = {limit.name: limit for limit in limits}
    fields: dict[str, Any] = {
        "tenant_id": tenant_id,
        "tenant_uid": f"uid-of-{tenant_id}",
        "display_name": tenant_id.replace("-", " ").title(),
        "plan": "standard",
        "state": TenantState.ACTIVE,
        "enforcement": Enforcement.ENFORCE,
        "weight": ResolvedWeight(value=1, provenance=Provenance.DEFAULT),
        "rate_limits": tuple(given.get(name, make_limit(name)) for name in names),
        "quotas": (
            ResolvedQuota(name="storedUsers", limit=GENEROUS, provenance=Provenance.PLAN),
            ResolvedQuota(name="eventsPerDay", limit=GENEROUS, provenance=Provenance.PLAN),
            ResolvedQuota(name="llmTokensPerDay", limit=GENEROUS, provenance=Provenance.PLAN),
        ),
        "llm": ResolvedLLM(
            models=("builtin/extractive",),
            default_model="builtin/extractive",
            provenance=Provenance.DEFAULT,
        ),
        "revision": "r1",
    }
    return TenantPolicy(**(fields | overrides))


def make_tenant(
    name: str = "tenant-a", metadata: dict[str, Any] | None = None, **spec: Any
) -> Tenant:
    """A Tenant with this spec (camelCase, as people write it)."""
    return parse_tenant(tenant_document(name, metadata, **spec))


def make_plan(name: str = "gold", **spec: Any) -> TenantPlan:
    """A TenantPlan with this spec."""
    return parse_plan(plan_document(name, **spec))


def tenant_document(
    name: str = "tenant-a", metadata: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """The document of a Tenant, as a file holds it."""
    return {
        "apiVersion": "mesh.distributedai.io/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": name} | (metadata or {}),
        "spec": spec,
    }


def tenant_object(
    name: str = "tenant-a",
    *conditions: dict[str, Any],
    generation: int = 1,
    metadata: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    **status: Any,
) -> dict[str, Any]:
    """A Tenant as the API server has it, with the status that an operator wrote."""
    given = {"uid": f"uid-of-{name}", "resourceVersion": "7", "generation": generation}
    document = tenant_document(name, given | (metadata or {}), **(spec or {}))
    document["status"] = {"observedGeneration": generation, "conditions": [*conditions]} | status
    return document


def condition(
    kind: str, status: str = "True", reason: str = "Told", message: str = "so it is", **more: Any
) -> dict[str, Any]:
    """A condition as an operator writes it."""
    moment = {"lastTransitionTime": "2026-11-24T10:00:00Z"}
    return {"type": kind, "status": status, "reason": reason, "message": message} | moment | more


def plan_document(name: str = "gold", **spec: Any) -> dict[str, Any]:
    """The document of a TenantPlan, as a file holds it."""
    return tenant_document(name, **spec) | {"kind": "TenantPlan"}


def at(place: int | Position) -> Position:
    """A position in partition 0: the record with this offset, taken at that millisecond."""
    return place if isinstance(place, Position) else Position(0, place, place)


def make_delete(
    tenant: TenantContext, user_id: str = "u-1", revision: int | Position = 1
) -> Delete:
    """A change that deletes a user."""
    return Delete(tenant, user_id, at(revision))


def make_upsert(
    tenant: TenantContext,
    user_id: str = "u-1",
    name: str = "Alice Doe",
    email: str = "alice@example.com",
    revision: int | Position = 1,
    **attributes: Any,
) -> Upsert:
    """A change that stores a user, with the vectors that the indexer would give it."""
    user = User(user_id, email, name, attributes)
    text = user_text(name, email, attributes)
    return Upsert(
        tenant, user, at(revision), DENSE.vectors([text])[0], LEXICAL.documents([text])[0]
    )


def make_query(text: str) -> Query:
    """What a search for `text` looks for."""
    return Query(DENSE.vectors([text])[0], LEXICAL.query(text))
