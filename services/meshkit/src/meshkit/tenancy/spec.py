"""Tenant and TenantPlan as people write them.

These models are the one definition of the API objects: they read the files of directory mode, and
the Kubernetes CRDs are made from them. Unknown fields are refused, numbers are not guessed from
text, and every problem of a document is reported with its path, in words one can act on.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from meshkit.tenancy.identity import TENANT_ID_PATTERN
from meshkit.tenancy.policy import Enforcement

GROUP = "mesh.distributedai.io"
API_VERSION = f"{GROUP}/v1alpha1"
UID_ANNOTATION = f"{GROUP}/uid"
ERASE_FINALIZER = f"{GROUP}/erase"
"""Holds a Tenant that is being deleted until its data is erased (`deletionPolicy: Delete`)."""

RateLimitName = Literal["users.write", "users.search", "ai.requests"]
QuotaName = Literal["storedUsers", "eventsPerDay", "llmTokensPerDay"]

_INT32_MOST = 2_147_483_647
# What every JSON reader takes exactly; the API server compares with bounds as floats.
_SAFE_INTEGER_MOST = 2**53 - 1
# Read by the API server (Go), by pydantic (Rust) and by readers of JSON Schema alike.
_NO_CONTROL_CHARACTERS = r"^[^\x00-\x1F\x7F-\x9F]*$"


class SpecPart(BaseModel):
    """A part of an object's spec: camelCase, strict, nothing unknown."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True
    )


class RateLimit(SpecPart):
    """How often a kind of request may be made."""

    name: RateLimitName = Field(description="What is limited.")
    requests: int | None = Field(
        None,
        ge=0,
        le=_INT32_MOST,
        description="So many requests per window. 0 lets nothing pass.",
    )
    window_seconds: int = Field(
        1, ge=1, le=86_400, description="Length of the window in seconds; 1 where absent."
    )
    burst: int | None = Field(
        None,
        ge=0,
        le=_INT32_MOST,
        description="So many requests at once; as many as `requests` where absent. Fewer than"
        " `requests` spread them over the window.",
    )
    unlimited: bool = Field(False, description="True: there is no limit. Said, never implied.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.unlimited and (self.requests is not None or self.burst is not None):
            raise ValueError(f"{self.name}: unlimited goes with neither requests nor burst")
        if not self.unlimited and self.requests is None:
            raise ValueError(f"{self.name}: either requests or unlimited: true is needed")
        if self.burst == 0 and self.requests != 0:
            raise ValueError(f"{self.name}: burst must be at least 1, unless requests is 0")
        return self


class Quota(SpecPart):
    """How much of a stock, or of a day's budget, there is."""

    name: QuotaName = Field(description="What is counted.")
    limit: int | None = Field(
        None, ge=0, le=_SAFE_INTEGER_MOST, description="At most so much. 0 lets nothing pass."
    )
    unlimited: bool = Field(False, description="True: there is no limit. Said, never implied.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.unlimited == (self.limit is not None):
            raise ValueError(f"{self.name}: either limit or unlimited: true is needed, not both")
        return self


ModelName = Annotated[str, Field(min_length=1, max_length=253)]


class LLM(SpecPart):
    """Which language models may be used."""

    models: list[ModelName] | None = Field(
        None, min_length=1, max_length=64, description="Names of the models that may be used."
    )
    default_model: ModelName | None = Field(
        None, description="The model used where a request names none."
    )


class Limits(SpecPart):
    """One layer of values; what is absent here is decided by the layer below."""

    weight: int | None = Field(
        None, ge=1, le=100, description="Share of the indexing work under contention, 1 to 100."
    )
    rate_limits: list[RateLimit] = Field(
        default=[], max_length=16, description="Rate limits, keyed by name."
    )
    quotas: list[Quota] = Field(default=[], max_length=16, description="Quotas, keyed by name.")
    llm: LLM | None = Field(None, description="Language models.")

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for field, entries in (("rateLimits", self.rate_limits), ("quotas", self.quotas)):
            names = [entry.name for entry in entries]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{field}: {', '.join(twice)} is given more than once")
        return self


class TenantSpec(Limits):
    """What is wanted for a tenant."""

    display_name: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        pattern=_NO_CONTROL_CHARACTERS,
        description="The tenant's name for people, without control characters.",
    )
    plan: str | None = Field(
        None,
        pattern=TENANT_ID_PATTERN,
        description="TenantPlan whose defaults and ceilings hold; `default` where absent.",
    )
    suspended: bool = Field(
        False, description="True: data is kept, traffic is refused, indexing pauses."
    )
    enforcement: Literal["Enforce", "Shadow"] = Field(
        Enforcement.ENFORCE.value,
        description="Shadow counts what would be refused, and refuses nothing.",
    )
    deletion_policy: Literal["Retain", "Delete"] = Field(
        "Retain", description="What becomes of the data when the Tenant is deleted."
    )
    adopt_uid: str | None = Field(
        None, max_length=128, description="Uid of a retained tenant whose data this one takes over."
    )


class TenantPlanSpec(SpecPart):
    """What holds for the tenants of a plan."""

    defaults: Limits = Field(Limits(), description="Values where a tenant gives none.")
    ceilings: Limits = Field(Limits(), description="Bounds that no tenant's value exceeds.")


class Metadata(BaseModel):
    """The parts of an object's metadata that matter here; Kubernetes has many more."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(pattern=TENANT_ID_PATTERN)
    uid: str | None = None
    annotations: dict[str, str] = {}


class Tenant(SpecPart):
    """One tenant."""

    api_version: Literal["mesh.distributedai.io/v1alpha1"]
    kind: Literal["Tenant"]
    metadata: Metadata
    spec: TenantSpec = TenantSpec()
    status: Any = None


class TenantPlan(SpecPart):
    """A plan that tenants are on."""

    api_version: Literal["mesh.distributedai.io/v1alpha1"]
    kind: Literal["TenantPlan"]
    metadata: Metadata
    spec: TenantPlanSpec = TenantPlanSpec()


__all__ = [
    "API_VERSION",
    "ERASE_FINALIZER",
    "GROUP",
    "LLM",
    "UID_ANNOTATION",
    "Limits",
    "Metadata",
    "Quota",
    "QuotaName",
    "RateLimit",
    "RateLimitName",
    "Tenant",
    "TenantPlan",
    "TenantPlanSpec",
    "TenantSpec",
]
