"""The routes of user-service: read, call the service, answer."""

import re
from dataclasses import replace
from typing import Any

import msgspec

from meshkit.errors import (
    BodyTooLarge,
    FieldProblem,
    InvalidRequest,
    LogUnavailable,
    MalformedBody,
    MeshError,
    QuotaExceeded,
    UnsupportedMediaType,
)
from meshkit.web.body import decode_json
from meshkit.web.call import Call, Reply
from meshkit.web.operation import Body, Operation, Parameter
from meshkit.web.rate_limits import RateLimits
from meshkit.web.user_ids import USER_ID_PARAMETER, checked_user_id
from user_service import examples
from user_service.batch import BATCH_BYTES, NDJSON, accept_batch, decode_batch
from user_service.quotas import WriteQuotas
from user_service.schemas import BatchResult, ItemAccepted, UserAccepted, UserInput
from user_service.service import UserService
from user_service.validation import validated

WRITE_LIMIT = "users.write"

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")

_encode = msgspec.json.Encoder().encode
_decode_user = msgspec.json.Decoder(UserInput).decode

_BODY_ERRORS: tuple[type[MeshError], ...] = (
    MalformedBody,
    InvalidRequest,
    BodyTooLarge,
    UnsupportedMediaType,
)


def user_operations(
    service: UserService, limits: RateLimits, quotas: WriteQuotas
) -> tuple[Operation, ...]:
    """Return the routes that accept users."""

    async def create(call: Call) -> Reply:
        key = _idempotency_key(call)
        with await quotas.charge(call, 1, users=True) as charge:
            accepted = await service.create_user(
                call.tenant,
                call.body,
                idempotency_key=key,
                traceparent=_traceparent(call),
                on_published=charge.published,
            )
        return Reply(202, _encode(accepted), headers=quotas.warnings(call))

    async def create_batch(call: Call) -> Reply:
        decision = await limits.charge(call, WRITE_LIMIT, len(call.body), partial=True)
        results = await accept_batch(
            call,
            decision,
            service,
            quotas,
            idempotency_key=_idempotency_key(call),
            traceparent=_traceparent(call),
        )
        accepted = sum(isinstance(result, ItemAccepted) for result in results)
        body = BatchResult(call.tenant.tenant_id, accepted, len(results) - accepted, results)
        status = 202 if accepted == len(results) else 207
        return Reply(status, _encode(body), headers=quotas.warnings(call))

    async def put(call: Call) -> Reply:
        user_id = _path_user_id(call)
        if call.body.user_id not in (msgspec.UNSET, user_id):
            problem = FieldProblem("userId", "must be the id in the path, or be left out")
            raise InvalidRequest("userId differs from the id in the path", fields=[problem])
        with await quotas.charge(call, 1, users=True, replaces=True) as charge:
            accepted = await service.replace_user(
                call.tenant,
                user_id,
                call.body,
                traceparent=_traceparent(call),
                on_published=charge.published,
            )
        return Reply(202, _encode(accepted), headers=quotas.warnings(call))

    async def delete(call: Call) -> Reply:
        user_id = _path_user_id(call)
        with await quotas.charge(call, 1, users=False) as charge:
            accepted = await service.delete_user(
                call.tenant,
                user_id,
                traceparent=_traceparent(call),
                on_published=charge.published,
            )
        return Reply(202, _encode(accepted), headers=quotas.warnings(call))

    return _table(create, create_batch, put, delete)


def _decode_one(_: str, raw: bytes) -> UserInput:
    return validated(decode_json(_decode_user, raw))


def _path_user_id(call: Call) -> str:
    return checked_user_id(call.path["userId"])


def _idempotency_key(call: Call) -> str | None:
    key = call.header(b"idempotency-key")
    if key is not None and _IDEMPOTENCY_KEY.fullmatch(key) is None:
        message = "must be 1 to 255 printable ASCII characters"
        raise InvalidRequest(
            f"Idempotency-Key {message}", fields=[FieldProblem("Idempotency-Key", message)]
        )
    return key


def _traceparent(call: Call) -> str | None:
    """Return the caller's trace context; W3C says to ignore what does not parse."""
    value = call.header(b"traceparent")
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None


_KEY_PARAMETER = Parameter(
    "Idempotency-Key",
    "header",
    "Makes a retry return the same user: send the same key again with the same body.",
    {"type": "string", "minLength": 1, "maxLength": 255},
    example="7c1f2f0e-order-17",
)


def _table(create: Any, create_batch: Any, put: Any, delete: Any) -> tuple[Operation, ...]:
    one = Operation(
        method="POST",
        path="/users/create",
        aliases=("/users",),
        name="createUser",
        summary="Create a user",
        description="Answers once the event is durable in the log.",
        tag="users",
        handler=create,
        status=202,
        response=UserAccepted,
        response_example=examples.ACCEPTED,
        limit=WRITE_LIMIT,
        body=Body(UserInput, _decode_one, examples.USERS),
        parameters=(_KEY_PARAMETER,),
        errors=(*_BODY_ERRORS, QuotaExceeded, LogUnavailable),
    )
    return (
        one,
        replace(
            one,
            path="/users:batch",
            aliases=(),
            name="createUsers",
            summary="Create up to 1,000 users",
            description="A JSON array or NDJSON. Each user costs one token of the rate limit and"
            " has a result of its own; those over the limit say when to come again.",
            handler=create_batch,
            charge=False,
            response=BatchResult,
            response_example=examples.BATCH_RESULT,
            also={207: "Some users were rejected; each result says which and why."},
            body=Body(
                list[UserInput],
                decode_batch,
                examples.BATCH,
                content_types=("application/json", NDJSON),
                limit=BATCH_BYTES,
            ),
        ),
        replace(
            one,
            method="PUT",
            path="/users/{userId}",
            aliases=(),
            name="replaceUser",
            summary="Replace a user",
            description="The user is as described from now on; one that does not exist is made.",
            handler=put,
            parameters=(USER_ID_PARAMETER,),
        ),
        replace(
            one,
            method="DELETE",
            path="/users/{userId}",
            aliases=(),
            name="deleteUser",
            summary="Delete a user",
            description="The user is gone from searches once the event is indexed. Deleting one"
            " that does not exist is accepted, too.",
            handler=delete,
            body=None,
            parameters=(USER_ID_PARAMETER,),
            errors=(InvalidRequest, QuotaExceeded, LogUnavailable),
        ),
    )
