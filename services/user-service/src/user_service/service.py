"""What user-service does: turn what clients say of users into durable events.

There is no database here. The event log is the system of record; an answer is given only after
the log has acknowledged the event. Which user an event is about is decided by the caller's id, or
by its Idempotency-Key, or is new: the same key is the same user, however often it is sent.
"""

from collections.abc import Callable, Sequence
from uuid import UUID, uuid5

import msgspec

from meshkit.clock import WallClock, utc_now
from meshkit.events.envelope import EventType, UserData, UserEvent, timestamp, to_record
from meshkit.events.log import USER_EVENTS, EventLog, Position
from meshkit.events.position import PositionSealer
from meshkit.ids import random_id
from meshkit.tenancy.identity import TenantContext
from user_service.schemas import ItemAccepted, UserAccepted, UserInput

OnPublished = Callable[[Sequence[Position]], None]
"""Is told where in the log the events stand, as soon as they do."""

_IDEMPOTENCY_NAMESPACE = UUID("0d2bf6a2-7d14-5c1e-8a5f-1f4f5f2f9a61")


def idempotent_user_id(tenant: TenantContext, key: str) -> str:
    """Return the id of the user that an Idempotency-Key stands for within a tenant."""
    return str(uuid5(_IDEMPOTENCY_NAMESPACE, f"{tenant.tenant_uid}/{key}"))


def _nobody(_: Sequence[Position]) -> None:
    return


class UserService:
    """Publishes user events for one tenant at a time."""

    def __init__(self, log: EventLog, sealer: PositionSealer, clock: WallClock = utc_now) -> None:
        self._log = log
        self._sealer = sealer
        self._clock = clock

    async def create_user(
        self,
        tenant: TenantContext,
        user: UserInput,
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        on_published: OnPublished = _nobody,
    ) -> UserAccepted:
        """Publish `user.created`. Raises LogUnavailable; then nothing was accepted."""
        user_id = self._user_id(tenant, user, idempotency_key)
        event = self._event(tenant, EventType.CREATED, user_id, user, traceparent)
        return await self._publish(event, on_published)

    async def replace_user(
        self,
        tenant: TenantContext,
        user_id: str,
        user: UserInput,
        *,
        traceparent: str | None = None,
        on_published: OnPublished = _nobody,
    ) -> UserAccepted:
        """Publish `user.updated`: the user is as described from now on. Raises LogUnavailable."""
        event = self._event(tenant, EventType.UPDATED, user_id, user, traceparent)
        return await self._publish(event, on_published)

    async def delete_user(
        self,
        tenant: TenantContext,
        user_id: str,
        *,
        traceparent: str | None = None,
        on_published: OnPublished = _nobody,
    ) -> UserAccepted:
        """Publish `user.deleted`, a tombstone. Raises LogUnavailable."""
        event = self._event(tenant, EventType.DELETED, user_id, None, traceparent)
        return await self._publish(event, on_published)

    async def create_users(
        self,
        tenant: TenantContext,
        users: Sequence[tuple[int, UserInput]],
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        on_published: OnPublished = _nobody,
    ) -> list[ItemAccepted]:
        """Publish `user.created` for each (index, user), all or none. Raises LogUnavailable."""
        events = []
        for index, user in users:
            key = f"{idempotency_key}/{index}" if idempotency_key else None
            user_id = self._user_id(tenant, user, key)
            events.append(self._event(tenant, EventType.CREATED, user_id, user, traceparent))
        positions = await self._log.publish_many(USER_EVENTS, [to_record(e) for e in events])
        on_published(positions)
        return [
            ItemAccepted(
                index,
                event.user_id,
                event.event_id,
                self._sealer.seal(tenant, event.user_id, position),
            )
            for (index, _), event, position in zip(users, events, positions, strict=True)
        ]

    def _user_id(self, tenant: TenantContext, user: UserInput, key: str | None) -> str:
        if user.user_id is not msgspec.UNSET:
            return user.user_id
        return idempotent_user_id(tenant, key) if key else random_id()

    def _event(
        self,
        tenant: TenantContext,
        kind: EventType,
        user_id: str,
        user: UserInput | None,
        traceparent: str | None,
    ) -> UserEvent:
        data = None
        if user is not None:
            data = UserData(tenant.tenant_id, user_id, user.email, user.name, user.attributes)
        return UserEvent(
            event_id=random_id(),
            type=kind,
            tenant=tenant,
            user_id=user_id,
            time=timestamp(self._clock()),
            data=data,
            traceparent=traceparent,
        )

    async def _publish(self, event: UserEvent, on_published: OnPublished) -> UserAccepted:
        position = await self._log.publish(USER_EVENTS, to_record(event))
        on_published((position,))
        return UserAccepted(
            user_id=event.user_id,
            tenant_id=event.tenant.tenant_id,
            event_id=event.event_id,
            status="accepted",
            position=self._sealer.seal(event.tenant, event.user_id, position),
        )
