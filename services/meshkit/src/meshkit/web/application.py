"""The ASGI application of a service: the table of operations, served.

A request goes one straight way: route, query, tenant, policy, a place among those in flight, rate
limit, body, handler, answer. Each step either goes on or raises a MeshError, and there is one place
that turns those into answers; on a limited route they tell the tenant how it stands, whatever the
answer is. Pure ASGI: no middleware stack, because each layer of one costs more than all of this.
Our own listener begins a request by itself (`begin`), and is answered with a Reply.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any

import structlog

from meshkit.entropy import random_block
from meshkit.errors import InternalError, MeshError, TenantTerminating, TenantUnknown
from meshkit.json_text import without_byte_order_mark
from meshkit.limits.headers import limit_headers
from meshkit.telemetry import metrics
from meshkit.tenancy.admission import admit
from meshkit.tenancy.source import TenantSource
from meshkit.web.authentication import Authenticator
from meshkit.web.beginning import Begun, in_task
from meshkit.web.body import ClientDisconnected, Receive, content_type, read_body
from meshkit.web.call import Call, Reply, header
from meshkit.web.operation import Operation
from meshkit.web.overload import InFlight
from meshkit.web.problem import problem_reply
from meshkit.web.query import parse_query
from meshkit.web.rate_limits import RateLimits
from meshkit.web.routing import Router

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = structlog.get_logger()

_REQUEST_ID_MOST = 128
_PRINTABLE = frozenset(range(0x21, 0x7F))
_COMMON_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class Application:
    """Serves operations for the tenants of one source, under their limits."""

    def __init__(
        self,
        operations: Iterable[Operation],
        *,
        authenticator: Authenticator,
        tenants: TenantSource,
        limits: RateLimits,
        in_flight: InFlight | None = None,
    ) -> None:
        self.operations = tuple(operations)
        self._router = Router(self.operations)
        self._authenticator = authenticator
        self._tenants = tenants
        self._limits = limits
        self._in_flight = InFlight() if in_flight is None else in_flight
        self._handled: dict[str, int] = {}
        self._parameters = {
            operation.name: frozenset(p.name for p in operation.parameters if p.place == "query")
            for operation in self.operations
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"this application serves http, not {scope['type']}")
        reply = await self._answer(scope, receive)
        if reply is not None:
            body = reply.body if scope["method"] != "HEAD" else b""
            start = {"type": "http.response.start", "status": reply.status}
            await send(start | {"headers": reply.headers})
            await send({"type": "http.response.body", "body": body})

    def begin(self, scope: Scope, receive: Receive) -> Begun[Reply | None]:
        """Handle a request as far as it waits for nothing: what is refused by its head needs no
        more. The reply is whole, with every header; None where there is nobody to answer."""
        return Begun(self._answer(scope, receive))

    def busy_with(self, tenant_uid: str) -> bool:
        """Return whether a request of this tenant is being handled: once the tenant is not served
        any more and this is False, nothing that it was allowed before can still happen."""
        return tenant_uid in self._handled

    async def _answer(self, scope: Scope, receive: Receive) -> Reply | None:
        headers = scope["headers"]
        request_id = _request_id(header(headers, b"x-request-id"))
        call = Call(headers, {}, request_id)
        name, operation = "unknown", None
        try:
            operation, call.path = self._router.find(
                scope["method"], scope["path"], scope.get("raw_path") or b""
            )
            name = operation.name
            reply = await self._serve(operation, call, scope["query_string"], receive)
        except MeshError as error:
            self._tell_limit(operation, call)
            reply = problem_reply(error, request_id)
            if allow := error.extra.get("allow"):
                reply.headers = (*reply.headers, (b"allow", ", ".join(allow).encode()))
        except ClientDisconnected:
            return None
        except Exception:
            # The one place where an unforeseen fault becomes an answer instead of a dropped line.
            log.exception("request_failed", operation=name, request_id=request_id)
            metrics.REQUEST_FAULTS.labels(name).inc()
            reply = problem_reply(InternalError("the fault has been logged"), request_id)
        metrics.count_request(name, reply.status)
        return _whole(reply, call)

    async def _serve(
        self, operation: Operation, call: Call, query_string: bytes, receive: Receive
    ) -> Reply:
        known = self._parameters[operation.name]
        if query_string:
            try:
                call.query = parse_query(query_string, known)
            except MeshError:
                await self._look_who_it_is(operation, call)
                raise
        if not operation.tenant_scoped:
            await in_task()
            return await operation.handler(call)
        await self._identify(call, call.query.get("tenant_id") if known else None)
        uid = admit(call.policy).tenant_uid
        self._in_flight.enter(uid)
        try:
            if operation.limit is not None:
                await self._limits.charge(call, operation.limit, 1 if operation.charge else 0)
            await in_task()
            if (body := operation.body) is not None:
                media_type = content_type(call.headers, body.content_types)
                raw = await read_body(receive, call.headers, body.limit)
                call.body = body.decode(media_type, without_byte_order_mark(raw))
            return await self._handle(operation, call)
        finally:
            self._in_flight.leave(uid)

    async def _identify(self, call: Call, parameter: str | None) -> None:
        """Learn whose call it is. Raises what the authenticator does, and TenantUnknown."""
        policy = self._tenants.get(await self._authenticator.tenant_of(call.headers, parameter))
        if policy is None:
            raise TenantUnknown("no tenant of this name is known here")
        call.policy, call.tenant = policy, policy.context

    async def _look_who_it_is(self, operation: Operation, call: Call) -> None:
        """Learn whose call it is whose query cannot be read, where its headers say so."""
        if operation.tenant_scoped:
            with suppress(MeshError):
                await self._identify(call, None)

    def _tell_limit(self, operation: Operation | None, call: Call) -> None:
        """Have a refusal tell the limit of its route, too, where it came before the charge."""
        if call.decision is None and call.knows_tenant and operation and operation.limit:
            call.decision = self._limits.peek(call, operation.limit)

    async def _handle(self, operation: Operation, call: Call) -> Reply:
        """Run the handler of a tenant that is served still: its body may have taken its time, and
        so may what a reading waits for."""
        self._refuse_unless_served(call)
        uid = call.tenant.tenant_uid
        self._handled[uid] = self._handled.get(uid, 0) + 1
        try:
            reply = await operation.handler(call)
            if operation.method == "GET":
                self._refuse_unless_served(call)
            return reply
        finally:
            self._handled[uid] -= 1
            if not self._handled[uid]:
                del self._handled[uid]

    def _refuse_unless_served(self, call: Call) -> None:
        policy = self._tenants.get(call.tenant.tenant_id)
        if policy is not call.policy and admit(policy).tenant_uid != call.tenant.tenant_uid:
            raise TenantTerminating(f"tenant {call.tenant.tenant_id} was deleted and made again")


def _request_id(given: str | None) -> str:
    """Return the caller's request id where it is harmless, else a new one."""
    if given and len(given) <= _REQUEST_ID_MOST and _PRINTABLE.issuperset(given.encode("latin-1")):
        return given
    return random_block()[:8].hex()


def _whole(reply: Reply, call: Call) -> Reply:
    """Return `reply` with the headers that every answer has, too; a handler may keep its own."""
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-request-id", call.request_id.encode("latin-1")),
        *_COMMON_HEADERS,
        *reply.headers,
    ]
    if call.decision is not None:
        headers += limit_headers(call.decision)
    return Reply(reply.status, reply.body, reply.content_type, headers)


__all__ = ["Application", "Scope"]
