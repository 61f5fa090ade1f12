"""The resolved policy of one tenant: the document that every service obeys.

It is the outcome of `resolve` (default, plan, override, ceiling) and carries for each value where
it came from. Services read it and nothing else: no plan, no override, no arithmetic of their own.
A policy is immutable; a change is a new one with another `revision`, swapped in whole.
"""

from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from meshkit.tenancy.identity import TENANT_ID_PATTERN, TenantContext, TenantId


class Document(BaseModel):
    """A frozen part of an API object: camelCase outside, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class Provenance(StrEnum):
    """Which layer a resolved value came from."""

    DEFAULT = "default"
    PLAN = "plan"
    OVERRIDE = "override"
    CEILING = "ceiling"


class TenantState(StrEnum):
    """Active serves; Suspended keeps data, refuses traffic; Terminating is on its way out."""

    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    TERMINATING = "Terminating"


class Enforcement(StrEnum):
    """Enforce refuses what is over a limit; Shadow only counts what would have been refused."""

    ENFORCE = "Enforce"
    SHADOW = "Shadow"


class ResolvedRateLimit(Document):
    """`requests` per `window_seconds`, with `burst` of them at once; or no limit at all."""

    name: str
    requests: int = Field(ge=0)
    window_seconds: int = Field(ge=1)
    burst: int = Field(ge=0)
    unlimited: bool = False
    provenance: Provenance


class ResolvedQuota(Document):
    """A stock or a day's budget: at most `limit` of it, or no limit at all."""

    name: str
    limit: int = Field(ge=0)
    unlimited: bool = False
    provenance: Provenance


class ResolvedLLM(Document):
    """The models that the tenant may use, and the one it gets when it names none."""

    models: tuple[str, ...]
    default_model: str
    provenance: Provenance


class ResolvedWeight(Document):
    """The tenant's share of the indexing work under contention, 1 to 100."""

    value: int = Field(ge=1, le=100)
    provenance: Provenance


class TenantPolicy(Document):
    """What holds for one tenant, resolved. `revision` is a digest of everything else in it."""

    # The lookups below are cached in the instance, which `frozen` alone would forbid.
    model_config = ConfigDict(ignored_types=(cached_property,))

    tenant_id: TenantId = Field(pattern=TENANT_ID_PATTERN)
    tenant_uid: str
    display_name: str
    plan: str
    state: TenantState
    enforcement: Enforcement
    weight: ResolvedWeight
    rate_limits: tuple[ResolvedRateLimit, ...]
    quotas: tuple[ResolvedQuota, ...]
    llm: ResolvedLLM
    revision: str = ""

    @cached_property
    def context(self) -> TenantContext:
        """The tenant that this policy is for, as stores take it."""
        return TenantContext(self.tenant_id, self.tenant_uid)

    @cached_property
    def _limits_by_name(self) -> dict[str, ResolvedRateLimit]:
        return {limit.name: limit for limit in self.rate_limits}

    def rate_limit(self, name: str) -> ResolvedRateLimit:
        """Return the rate limit called `name`; `resolve` sees to it that all known ones exist."""
        return self._limits_by_name[name]

    @cached_property
    def _quotas_by_name(self) -> dict[str, ResolvedQuota]:
        return {quota.name: quota for quota in self.quotas}

    def quota(self, name: str) -> ResolvedQuota:
        """Return the quota called `name`; `resolve` sees to it that all known ones exist."""
        return self._quotas_by_name[name]

    def document(self) -> dict[str, Any]:
        """Return the policy as JSON values with camelCase keys."""
        return self.model_dump(mode="json", by_alias=True)


__all__ = [
    "Document",
    "Enforcement",
    "Provenance",
    "ResolvedLLM",
    "ResolvedQuota",
    "ResolvedRateLimit",
    "ResolvedWeight",
    "TenantPolicy",
    "TenantState",
]
