"""User events as records of the log: CloudEvents 1.0 in Kafka's binary content mode.

Written: attributes in headers `ce_*`, the data as JSON in the value, key `<tenantUid>/<userId>`.
A deletion has no value: in binary mode that is a tombstone, which compaction understands.
`meshkit.events.reading` reads these and two further forms.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from meshkit.events.log import NewRecord
from meshkit.tenancy.identity import TenantContext

SOURCE = "/event-mesh/user-service"


class EventType(StrEnum):
    """What happened to the user."""

    CREATED = "user.created"
    UPDATED = "user.updated"
    DELETED = "user.deleted"


class BadEvent(Exception):
    """The record can never be understood. The message says why, without personal data."""


class UserData(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The value of a user event."""

    tenant_id: str
    user_id: str
    email: str
    name: str
    attributes: dict[str, Any] = {}


class UserEvent(msgspec.Struct, frozen=True, gc=False):
    """Something that happened to one user of one tenant. `data` is None for a deletion."""

    event_id: str
    type: EventType
    tenant: TenantContext
    user_id: str
    time: str
    data: UserData | None
    traceparent: str | None = None


def record_key(tenant: TenantContext, user_id: str) -> bytes:
    """Return the key under which all events of a user are kept in order."""
    return f"{tenant.tenant_uid}/{user_id}".encode()


_encode = msgspec.json.Encoder().encode
_CONSTANT_HEADERS = (
    ("ce_specversion", b"1.0"),
    ("ce_source", SOURCE.encode()),
    ("content-type", b"application/json"),
)


def to_record(event: UserEvent) -> NewRecord:
    """Return `event` as a record to publish."""
    headers: tuple[tuple[str, bytes], ...] = (
        *_CONSTANT_HEADERS,
        ("ce_id", event.event_id.encode()),
        ("ce_type", event.type.encode()),
        ("ce_time", event.time.encode()),
        ("ce_subject", event.user_id.encode()),
        ("ce_tenantid", event.tenant.tenant_id.encode()),
        ("ce_tenantuid", event.tenant.tenant_uid.encode()),
    )
    if event.traceparent is not None:
        headers = (*headers, ("traceparent", event.traceparent.encode()))
    value = None if event.data is None else _encode(event.data)
    return NewRecord(record_key(event.tenant, event.user_id), value, headers)


def timestamp(moment: datetime) -> str:
    """Return `moment` as CloudEvents write it: RFC 3339 in UTC with a Z."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


__all__ = [
    "SOURCE",
    "BadEvent",
    "EventType",
    "UserData",
    "UserEvent",
    "record_key",
    "timestamp",
    "to_record",
]
