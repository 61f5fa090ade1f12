"""Every refusal of the mesh, said once.

An error class carries its HTTP status, its stable code, whether a retry can help, and two short
texts: what it means and what to do. HTTP answers (`meshkit.web.problem`), the pages under
`/errors/<code>` and `docs/errors.md` are all rendered from this tree, so they cannot disagree.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from meshkit.user_ids import USER_ID_RULE


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field that was refused: where it is and what is wrong with it."""

    path: str
    message: str


class MeshError(Exception):
    """Base of all refusals. `detail` is for the caller of this very request; it never holds
    another tenant's data. `retry_after` is in seconds and only set where a retry can help.
    `extra` holds further members for the problem document (JSON values)."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    meaning: ClassVar[str]
    remedy: ClassVar[str]
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str,
        *,
        retry_after: float | None = None,
        fields: Sequence[FieldProblem] = (),
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.fields = tuple(fields)
        self.extra = extra or {}


class StartError(Exception):
    """A process cannot start as it was told to. The message says why and the way out; it is shown
    to a person as it is."""


class TenantRequired(MeshError):
    status, code, title = 401, "tenant-required", "No tenant named"
    meaning = "The request does not say which tenant it is for."
    remedy = "Send the header X-Tenant-Id, or tenant_id where the route takes it, exactly once."


class TokenInvalid(MeshError):
    status, code, title = 401, "token-invalid", "The token was not accepted"
    meaning = "The bearer token is missing, malformed, expired, or signed by nobody we trust."
    remedy = "Get a fresh token from your identity provider and send it as Authorization: Bearer."


class TenantUnknown(MeshError):
    status, code, title = 403, "tenant-unknown", "Unknown tenant"
    meaning = "No tenant of this name exists here, or it has not been accepted yet."
    remedy = "Check the spelling; the platform team lists tenants with `mesh tenants list`."


class TenantMismatch(MeshError):
    status, code, title = 403, "tenant-mismatch", "Two different tenants named"
    meaning = "Header, parameter or token disagree about the tenant."
    remedy = "Name one tenant, the one your credentials are for, in every place."


class TenantSuspended(MeshError):
    status, code, title = 403, "tenant-suspended", "The tenant is suspended"
    meaning = "The platform team has suspended this tenant: its data is kept, traffic is refused."
    remedy = "Ask the platform team; a retry does not help before they resume the tenant."


class TenantTerminating(MeshError):
    status, code, title = 403, "tenant-terminating", "The tenant is being deleted"
    meaning = "The tenant has been deleted; its data is being removed or retained as declared."
    remedy = "Nothing more can be done with this tenant."


class TenantNotTerminating(MeshError):
    status, code, title = 409, "tenant-not-terminating", "The tenant is not being deleted"
    meaning = "This process does not hold the tenant to be on its way out, so it erases nothing."
    remedy = "Only the operator erases tenants; it asks again once this process has the new policy."
    retryable = True


class RateLimited(MeshError):
    status, code, title = 429, "rate-limited", "Too many requests for this tenant's rate limit"
    meaning = "The tenant's bucket for this kind of request is empty for the moment."
    remedy = (
        "Wait as many seconds as Retry-After says and send it again. A limit of 0 lets nothing"
        " pass and has no Retry-After: ask the platform team."
    )
    retryable = True


class QuotaExceeded(MeshError):
    status, code, title = 403, "quota-exceeded", "A quota of the tenant is used up"
    meaning = "A stock (such as stored users) or a day's budget has reached its limit."
    remedy = "Free some of it, wait for the reset named in the answer, or ask for a larger plan."


class Overloaded(MeshError):
    status, code, title = 503, "overloaded", "The service is at its capacity"
    meaning = "The process has as many requests in flight as it can serve well."
    remedy = "Send it again after the seconds in Retry-After."
    retryable = True


class LogUnavailable(MeshError):
    status, code, title = 503, "log-unavailable", "The event log cannot take events now"
    meaning = "The event was not made durable, so it was not accepted."
    remedy = "Send it again after the seconds in Retry-After; an Idempotency-Key makes it safe."
    retryable = True


class SearchUnavailable(MeshError):
    status, code, title = 503, "search-unavailable", "The vector store does not answer now"
    meaning = "Searches cannot be served for the moment. Accepted users are safe in the log."
    remedy = "Send it again after the seconds in Retry-After."
    retryable = True


class InvalidRequest(MeshError):
    status, code, title = 422, "invalid-request", "The request is not valid"
    meaning = "A field is missing, unknown, or holds a value that is not allowed."
    remedy = (
        "The member `errors` names each field by its path and says what it must be."
        f" A userId has {USER_ID_RULE}."
    )


class MalformedBody(MeshError):
    status, code, title = 400, "malformed-body", "The body cannot be read"
    meaning = "The body is not the JSON that this route takes."
    remedy = "Send one well-formed JSON document in UTF-8."


class InvalidPosition(MeshError):
    status, code, title = 400, "invalid-position", "The position is not one of this tenant's"
    meaning = "`after` is not a position that this tenant was given by this mesh."
    remedy = "Pass the `position` of an accepted write on, unchanged and for the same tenant."


class UserNotFound(MeshError):
    status, code, title = 404, "user-not-found", "No such user"
    meaning = "The tenant has no searchable user with this id."
    remedy = "Check the id; a user just accepted is found once indexed (see `after`)."


class RouteNotFound(MeshError):
    status, code, title = 404, "route-not-found", "No such route"
    meaning = "Nothing is served under this path."
    remedy = "The routes of this service are listed in /openapi.json."


class MethodNotAllowed(MeshError):
    status, code, title = 405, "method-not-allowed", "The route does not take this method"
    meaning = "The path exists, but not for this HTTP method."
    remedy = "The header Allow names the methods that the path takes."


class BodyTooLarge(MeshError):
    status, code, title = 413, "body-too-large", "The body is too large"
    meaning = "The body is over the size that this route takes."
    remedy = "Send less at once; POST /users:batch takes up to 1,000 users and 1 MiB."


class UnsupportedMediaType(MeshError):
    status, code, title = (
        415,
        "unsupported-media-type",
        "The content type is not one of the route's",
    )
    meaning = "The Content-Type of the body is not one that this route reads."
    remedy = "Send application/json (batches also as application/x-ndjson)."


class InternalError(MeshError):
    status, code, title = 500, "internal-error", "Something went wrong on our side"
    meaning = "A fault in the mesh; it has been logged with the request id of the answer."
    remedy = "Tell the platform team the request id."


def catalogue() -> Iterator[type[MeshError]]:
    """Yield every error class, in the order in which they are defined."""
    yield from MeshError.__subclasses__()


__all__ = [
    "BodyTooLarge",
    "FieldProblem",
    "InternalError",
    "InvalidPosition",
    "InvalidRequest",
    "LogUnavailable",
    "MalformedBody",
    "MeshError",
    "MethodNotAllowed",
    "Overloaded",
    "QuotaExceeded",
    "RateLimited",
    "RouteNotFound",
    "SearchUnavailable",
    "StartError",
    "TenantMismatch",
    "TenantNotTerminating",
    "TenantRequired",
    "TenantSuspended",
    "TenantTerminating",
    "TenantUnknown",
    "TokenInvalid",
    "UnsupportedMediaType",
    "UserNotFound",
    "catalogue",
]
