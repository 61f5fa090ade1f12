"""The route of the admin port where other replicas borrow tokens of the buckets of this one.

Only who has the key of the replicas is heard, and each request once (`meshkit.limits.signing`):

    POST /internal/limits/lease

    200  a grant for each ask, proven    401  not proven, or seen before    422  cannot be read
"""

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meshkit.limits.lender import Lender
from meshkit.limits.messages import PATH, decode_request, encode
from meshkit.limits.signing import (
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIME_HEADER,
    Proofs,
    answer_signature,
)
from meshkit.telemetry import metrics

log = structlog.get_logger()

BODY_BYTES = 512 * 1024


def leases_route(lender: Lender, key: bytes) -> Route:
    """Return the route for who has the key."""
    proofs = Proofs(key)

    async def lease(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return JSONResponse({"error": "the body is too large"}, status_code=413)
        given = request.headers
        nonce = given.get(NONCE_HEADER, "")
        problem = proofs.problem(
            "POST",
            PATH,
            given.get(TIME_HEADER, ""),
            nonce,
            given.get(SIGNATURE_HEADER, ""),
            body,
        )
        if problem is not None:
            metrics.RATE_LIMIT_UNPROVEN.inc()
            log.warning("lease_request_refused", reason=problem)
            return JSONResponse({"error": problem}, status_code=401)
        try:
            reply = encode(lender.lend(decode_request(body)))
        except msgspec.DecodeError as error:
            # Proven, so from a replica: of another version, perhaps.
            log.warning("lease_request_not_readable", reason=str(error))
            return JSONResponse({"error": "the request cannot be read"}, status_code=422)
        headers = {SIGNATURE_HEADER: answer_signature(key, nonce, reply)}
        return Response(reply, headers=headers, media_type="application/json")

    return Route(PATH, lease, methods=["POST"])


async def _body(request: Request) -> bytes | None:
    """Return the body, None where there is more of it than any request has."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            return None
    return bytes(body)


__all__ = ["leases_route"]
