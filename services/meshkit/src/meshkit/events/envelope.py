"""User events as records of the log: CloudEvents 1.0 in Kafka's binary content mode.

Written: attributes in headers `ce_*`, the data as JSON in the value, key `<tenantUid>/<userId>`.
A deletion has no value: in binary mode that is a tombstone, which compaction understands.
`meshkit.events.reading` reads these and what other producers write.
"""

from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

import msgspec

from meshkit.events.log import NewRecord, Record
from meshkit.tenancy.identity import TenantContext, parse_tenant_id
from meshkit.user_ids import is_user_id

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


_DELETED = EventType.DELETED
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


_KINDS = {kind.value.encode(): kind for kind in EventType}
_decode = msgspec.json.Decoder(UserData).decode


def read_own(record: Record) -> UserEvent | None:
    """Return the event in a record that is just as `to_record` writes it, None for any other.

    A short cut: nearly all records are, and looking up each header by its name takes longer.
    """
    try:
        (
            specversion,
            _,
            content_type,
            (id_name, event_id),
            (type_name, kind_text),
            (time_name, time),
            (subject_name, subject),
            (tenantid_name, tenant_id),
            (tenantuid_name, tenant_uid),
            *more,
        ) = record.headers
        kind = _KINDS[kind_text]
        if (
            specversion != _CONSTANT_HEADERS[0]
            or content_type != _CONSTANT_HEADERS[2]
            or id_name != "ce_id"
            or type_name != "ce_type"
            or time_name != "ce_time"
            or subject_name != "ce_subject"
            or tenantid_name != "ce_tenantid"
            or tenantuid_name != "ce_tenantuid"
        ):
            return None
        traceparent = None
        if more:
            ((traceparent_name, value),) = more
            if traceparent_name != "traceparent":
                return None
            traceparent = value.decode() or None
        tenant = _tenant(tenant_id, tenant_uid)
        user_id = subject.decode()
        data = None
        if kind is not _DELETED:
            data = _decode(record.value or b"")
            if data.user_id != user_id or data.tenant_id != tenant.tenant_id:
                return None
            if not is_user_id(user_id):
                return None
        elif not user_id:
            return None
        return UserEvent(event_id.decode(), kind, tenant, user_id, time.decode(), data, traceparent)
    except (KeyError, ValueError, RecursionError):
        return None


_OWN_HEADERS = (
    *(name for name, _ in _CONSTANT_HEADERS),
    "ce_id",
    "ce_type",
    "ce_time",
    "ce_subject",
    "ce_tenantid",
    "ce_tenantuid",
)
_OWN_FORMS = (_OWN_HEADERS, (*_OWN_HEADERS, "traceparent"))


def own_uid(record: Record) -> bytes | None:
    """Return the uid of the tenant whose record it is, of one that has the headers of `to_record`
    in their order; None for any other. The value is not looked at."""
    headers = record.headers
    names = tuple([name for name, _ in headers])
    if names not in _OWN_FORMS:
        return None
    if headers[0] != _CONSTANT_HEADERS[0] or headers[2] != _CONSTANT_HEADERS[2]:
        return None
    return headers[8][1]


@lru_cache(maxsize=4096)
def _tenant(tenant_id: bytes, tenant_uid: bytes) -> TenantContext:
    """Return the checked tenant. The same few come again and again."""
    return TenantContext(parse_tenant_id(tenant_id.decode()), tenant_uid.decode())


def timestamp(moment: datetime) -> str:
    """Return `moment` as CloudEvents write it: RFC 3339 in UTC with a Z."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


__all__ = [
    "SOURCE",
    "BadEvent",
    "EventType",
    "UserData",
    "UserEvent",
    "own_uid",
    "read_own",
    "record_key",
    "timestamp",
    "to_record",
]
