"""Batches of users: a JSON array or NDJSON in, a result for each item out.

One bad user does not cost the others their place, and a batch larger than the tenant's bucket is
not refused whole: the first items that the rate limit admits are taken, the others say when to
come again. So it is with quotas: the first valid ones that there is room for are taken.

What the rate limit does not admit is not looked into: whoever is over it would still have a
thousand users read in each request, at everybody's cost.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from meshkit.errors import InvalidRequest, MeshError
from meshkit.limits.gcra import Decision
from meshkit.web.body import decode_json
from meshkit.web.call import Call
from meshkit.web.problem import problem_document
from meshkit.web.rate_limits import rate_limited
from user_service.quotas import WriteQuotas
from user_service.schemas import BATCH_MOST, ItemAccepted, ItemRejected, UserInput
from user_service.service import UserService
from user_service.validation import validated

NDJSON = "application/x-ndjson"
BATCH_BYTES = 1024 * 1024

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_user = msgspec.json.Decoder(UserInput).decode


def decode_batch(media_type: str, body: bytes) -> Sequence[bytes | msgspec.Raw]:
    """Return the users of a batch in order, each as it came.

    Raises MalformedBody or InvalidRequest where the batch as a whole cannot be read.
    """
    raw: list[Any]
    if media_type == NDJSON:
        raw = [line for line in body.splitlines() if line.strip()]
    else:
        raw = decode_json(_decode_array, body)
    if not raw:
        raise InvalidRequest(f"the batch holds no user: send 1 to {BATCH_MOST}")
    if len(raw) > BATCH_MOST:
        raise InvalidRequest(f"the batch holds {len(raw)} users, at most {BATCH_MOST} are taken")
    return raw


def _decode_item(raw: bytes | msgspec.Raw) -> UserInput | MeshError:
    try:
        return validated(decode_json(_decode_user, raw))
    except MeshError as error:
        return error


async def accept_batch(
    call: Call, decision: Decision, service: UserService, quotas: WriteQuotas, **event: Any
) -> list[ItemAccepted | ItemRejected]:
    """Publish the valid ones of the users that the rate limit admits, which are the first, as far
    as quotas have room; return a result for every user. Raises QuotaExceeded where there is room
    for none."""
    results: dict[int, ItemAccepted | ItemRejected] = {}
    valid: list[tuple[int, UserInput]] = []
    for index, raw in enumerate(call.body[: decision.admitted]):
        item = _decode_item(raw)
        if isinstance(item, MeshError):
            results[index] = ItemRejected(index, problem_document(item, call.request_id))
        else:
            valid.append((index, item))
    if decision.admitted < len(call.body):
        problem = problem_document(rate_limited(call.policy, decision), call.request_id)
        late = range(decision.admitted, len(call.body))
        results |= {index: ItemRejected(index, problem) for index in late}
    if valid:
        with await quotas.charge(call, len(valid), users=True) as charge:
            if charge.refusal is not None:
                problem = problem_document(charge.refusal, call.request_id)
                over = valid[charge.admitted :]
                results |= {index: ItemRejected(index, problem) for index, _ in over}
            for accepted in await service.create_users(
                call.tenant, valid[: charge.admitted], on_published=charge.published, **event
            ):
                results[accepted.index] = accepted
    return [results[index] for index in sorted(results)]
