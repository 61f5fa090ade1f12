"""The servers that are compared, each run by itself: `python -m bench.servers KIND PORT DIR`.

`ours` is the product's application on the SQLite log; `ours-without-produce` the same with a log
that keeps nothing, to see what producing costs; `fastapi` is the stock way to write the same
handler: pydantic models, a header dependency, an awaited produce into the same log.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import uvicorn
import uvloop

from builders import make_limit, make_policy
from meshkit.clock import utc_now
from meshkit.events.envelope import EventType, UserData, UserEvent, timestamp, to_record
from meshkit.events.log import USER_EVENTS, EventLog, NewRecord, Position
from meshkit.events.memory_log import MemoryEventLog
from meshkit.events.position import PositionSealer
from meshkit.events.sqlite_log import SqliteEventLog
from meshkit.limits.gcra import RateLimiter
from meshkit.limits.headers import limit_headers
from meshkit.runtime import tune_garbage_collection
from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.static import StaticTenantSource
from meshkit.usage.accounts import Accounts
from meshkit.web.server import bind, serving
from user_service.app import create_app

SEALER = PositionSealer(bytes(range(32)))


class ForgetfulLog(MemoryEventLog):
    """Acknowledges at once and keeps nothing."""

    async def publish(self, topic: str, record: NewRecord) -> Position:
        return Position(0, 1)

    async def publish_many(self, topic: str, records: Sequence[NewRecord]) -> Sequence[Position]:
        return [Position(0, 1)] * len(records)


def policies() -> StaticTenantSource:
    """A tenant whose limit is checked and never reached."""
    return StaticTenantSource(make_policy("tenant-a", make_limit(requests=10**9)))


def ours(log: EventLog, accounts: Accounts) -> Any:
    """The product."""
    return create_app(
        log=log, tenants=policies(), sealer=SEALER, limiter=RateLimiter(), accounts=accounts
    )


def fastapi(log: EventLog) -> Any:
    """The stock handler."""
    from fastapi import Depends, FastAPI, Header, HTTPException, Response
    from pydantic import BaseModel, ConfigDict, EmailStr, Field

    tenants, limiter = policies(), RateLimiter()
    app = FastAPI()

    class CreateUser(BaseModel):
        model_config = ConfigDict(extra="forbid")
        name: str = Field(min_length=1, max_length=200)
        email: EmailStr
        userId: str | None = None
        attributes: dict[str, Any] = {}

    class UserAccepted(BaseModel):
        userId: str
        tenantId: str
        eventId: str
        status: str
        position: str

    def current_tenant(x_tenant_id: Annotated[str, Header()]) -> TenantPolicy:
        policy = tenants.get(x_tenant_id)
        if policy is None:
            raise HTTPException(403, "unknown tenant")
        return policy

    @app.post("/users/create", status_code=202)
    async def create(
        user: CreateUser,
        response: Response,
        tenant: Annotated[TenantPolicy, Depends(current_tenant)],
    ) -> UserAccepted:
        decision = limiter.take(tenant.context, tenant.rate_limit("users.write"))
        if not decision.admitted:
            raise HTTPException(429, "too many requests")
        for name, value in limit_headers(decision):
            response.headers[name.decode()] = value.decode()
        user_id = user.userId or str(uuid4())
        data = UserData(tenant.tenant_id, user_id, user.email, user.name, user.attributes)
        event = UserEvent(
            str(uuid4()), EventType.CREATED, tenant.context, user_id, timestamp(utc_now()), data
        )
        position = await log.publish(USER_EVENTS, to_record(event))
        return UserAccepted(
            userId=user_id,
            tenantId=tenant.tenant_id,
            eventId=event.event_id,
            status="accepted",
            position=SEALER.seal(tenant.context, user_id, position),
        )

    # FastAPI resolves annotations by module globals; these models are local to the function.
    globals().update(CreateUser=CreateUser, UserAccepted=UserAccepted)
    return app


async def serve(kind: str, port: int, folder: Path) -> None:
    """Serve one of the kinds until killed."""
    log: EventLog
    if kind == "ours-without-produce":
        log = ForgetfulLog()
    else:
        log = await SqliteEventLog.open(folder / "events.db")
    if kind == "fastapi":
        config = uvicorn.Config(
            fastapi(log), port=port, log_level="warning", access_log=False, loop="none"
        )
        await uvicorn.Server(config).serve()
    tune_garbage_collection()
    accounts = Accounts(MemoryEventLog() if kind == "ours-without-produce" else log, "bench")
    listener = bind("127.0.0.1", port, "PORT")
    async with accounts.running(), serving(ours(log, accounts), listener):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
