"""Reads user events from records of the log: of user-service and of other producers.

A record in one of the forms of `meshkit.events.cloudevents` becomes a UserEvent, or BadEvent is
raised. Its message goes into the dead letter: it names the field and what is expected there, and
never repeats what the record says, because that may be personal data.

A record without value and attributes deletes the user of its key: that is how other tools write a
tombstone, and what compaction makes of it. The key alone decides then; in every other record the
attributes do, and the key decides nothing.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from meshkit.events.cloudevents import SPECVERSION, TOMBSTONE_KEY, Event, json_of, split
from meshkit.events.envelope import BadEvent, EventType, UserData, UserEvent, read_own
from meshkit.events.log import Record
from meshkit.tenancy.identity import (
    InvalidTenantId,
    InvalidTenantUid,
    TenantContext,
    TenantId,
    parse_tenant_id,
)
from meshkit.user_ids import USER_ID_RULE, is_user_id

ResolveTenant = Callable[[TenantId], TenantContext | None]
"""Looks up the incarnation of a tenant that is in force now, for events that name no uid."""

ResolveUid = Callable[[str], TenantContext | None]
"""Looks up the tenant that has a uid, for tombstones, which name nothing else."""

_KINDS = {kind.value: kind for kind in EventType}
_KIND_NAMES = ", ".join(_KINDS)
_DELETED = EventType.DELETED
# "Expected `str`, got `int` - at `$.name`", "Object missing required field `name`".
_AT_PATH = re.compile(r"(?P<message>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)


def no_uid(_: str) -> TenantContext | None:
    """Know no tenant by its uid."""
    return None


def from_record(
    record: Record, resolve_tenant: ResolveTenant, resolve_uid: ResolveUid = no_uid
) -> UserEvent:
    """Return the event in `record`. Raises BadEvent."""
    own = read_own(record)
    if own is not None:
        return own
    headers = dict(record.headers)
    try:
        event = split(record, headers)
        if event is None:
            return _tombstone(record, headers, resolve_uid)
        traceparent = event.traceparent or headers.get("traceparent", b"").decode() or None
        return _user_event(event, traceparent, resolve_tenant)
    except UnicodeDecodeError:
        raise BadEvent("headers: UTF-8 is expected") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadEvent(_not_readable("value", error)) from None


def tenant_of(record: Record) -> TenantContext | None:
    """Return the tenant that a record names by its uid; None where it names none, or cannot be
    read. Whether the rest of it is an event is not looked at."""
    try:
        event = split(record, dict(record.headers))
        return None if event is None else _context(event.tenantid, event.tenantuid)
    except (BadEvent, ValueError, RecursionError):
        return None


def tenant_id_of(record: Record) -> TenantId | None:
    """Return the id of the tenant that a record names in its attributes, or in a bare value; None
    where it names none. Whether the rest of it is an event is not looked at."""
    try:
        event = split(record, dict(record.headers))
        return None if event is None else parse_tenant_id(event.tenantid)
    except (BadEvent, ValueError, RecursionError):
        return None


def named_tenant(record: Record) -> tuple[str, str] | None:
    """Return the id and the uid by which a record names its tenant, as they stand there: unchecked,
    and each of them empty where it is left out. None for a record that has no attributes or cannot
    be read. Whether the rest of it is an event is not looked at."""
    try:
        event = split(record, dict(record.headers))
    except (BadEvent, ValueError, RecursionError):
        return None
    return None if event is None else (event.tenantid, event.tenantuid)


class _Value(msgspec.Struct, rename="camel"):
    """The data of an event; which user it describes may be said in the attributes only."""

    email: str
    name: str
    tenant_id: str | None = None
    user_id: str | None = None
    attributes: dict[str, Any] | None = None


class _Named(msgspec.Struct, rename="camel"):
    """Which user the data of a deletion names."""

    tenant_id: str | None = None
    user_id: str | None = None


_decode_value = msgspec.json.Decoder(_Value).decode
_decode_named = msgspec.json.Decoder(_Named).decode


def _user_event(event: Event, traceparent: str | None, resolve_tenant: ResolveTenant) -> UserEvent:
    names = event.names
    if event.specversion != SPECVERSION:
        raise BadEvent(f"{names.prefix}specversion: {SPECVERSION} is expected")
    kind = _KINDS.get(event.type)
    if kind is None:
        raise BadEvent(f"{names.prefix}type: the event type is expected to be one of {_KIND_NAMES}")
    tenant = _tenant(event, resolve_tenant)
    data = None
    if kind is _DELETED:
        user_id = event.subject or _deleted_user(event, tenant)
    else:
        data = _data(event, kind, tenant)
        user_id = data.user_id
        if user_id and not is_user_id(user_id):
            raise BadEvent(f"{names.user}: {USER_ID_RULE}")
    if not user_id:
        raise BadEvent(f"{names.user}: the id of the user is expected")
    return UserEvent(event.id, kind, tenant, user_id, event.time, data, traceparent)


def _tenant(event: Event, resolve_tenant: ResolveTenant) -> TenantContext:
    if not event.tenantid:
        raise BadEvent(f"{event.names.tenant}: the id of the tenant is expected")
    try:
        if event.tenantuid:
            return _context(event.tenantid, event.tenantuid)
        tenant = resolve_tenant(parse_tenant_id(event.tenantid))
    except InvalidTenantId as error:
        raise BadEvent(f"{event.names.tenant}: {error}") from None
    except InvalidTenantUid as error:
        raise BadEvent(f"{event.names.prefix}tenantuid: {error}") from None
    if tenant is None:
        raise BadEvent(
            f"{event.names.tenant}: no tenant of this name is in force (and no uid given)"
        )
    return tenant


@lru_cache(maxsize=4096)
def _context(tenant_id: str, tenant_uid: str) -> TenantContext:
    """Return the checked tenant. The same few come again and again."""
    return TenantContext(parse_tenant_id(tenant_id), tenant_uid)


def _data(event: Event, kind: EventType, tenant: TenantContext) -> UserData:
    if not event.data:
        raise BadEvent(f"{event.names.data}: a {kind.value} event has data, the user as JSON")
    raw = _decoded(_decode_value, event)
    user_id = event.subject if raw.user_id is None else raw.user_id
    if event.subject and user_id != event.subject:
        raise BadEvent(f"{event.names.data}.userId: names another user than the event's subject")
    _check_tenant(event, raw.tenant_id, tenant)
    return UserData(tenant.tenant_id, user_id, raw.email, raw.name, raw.attributes or {})


def _deleted_user(event: Event, tenant: TenantContext) -> str:
    """Return the user that the data of a deletion names, for one without a subject."""
    if not event.data or event.data == b"null":
        return ""
    named = _decoded(_decode_named, event)
    _check_tenant(event, named.tenant_id, tenant)
    return named.user_id or ""


def _check_tenant(event: Event, named: str | None, tenant: TenantContext) -> None:
    if named is not None and named != tenant.tenant_id:
        raise BadEvent(
            f"{event.names.data}.tenantId: names another tenant than the event's attributes"
        )


def _decoded(decode: Callable[[bytes], Any], event: Event) -> Any:
    """Decode the data of an event, which is JSON, or a JSON string that holds JSON."""
    try:
        return decode(json_of(event.data or b""))
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadEvent(_not_readable(event.names.data, error)) from None
    except UnicodeDecodeError:
        raise BadEvent(f"{event.names.data}: UTF-8 is expected") from None


def _not_readable(field: str, error: Exception) -> str:
    """Return what is wrong with the JSON of a field. msgspec names types, never values."""
    if isinstance(error, RecursionError):
        return f"{field}: cannot be read, it is nested too deeply"
    if not isinstance(error, msgspec.ValidationError):
        return f"{field}: cannot be read as JSON in UTF-8: {error}"
    match = _AT_PATH.fullmatch(str(error))
    message, path = (match["message"], match["path"]) if match else (str(error), None)
    return f"{field}{'.' + path if path else ''}: cannot be read: {message}"


def _tombstone(record: Record, headers: dict[str, bytes], resolve_uid: ResolveUid) -> UserEvent:
    try:
        uid, _, user_id = record.key.decode().partition("/")
    except UnicodeDecodeError:
        uid = user_id = ""
    if not uid or not user_id:
        raise BadEvent(
            f"key: {TOMBSTONE_KEY} is expected where the record has no value and no ce_ headers:"
            " it names no tenant otherwise"
        )
    tenant = resolve_uid(uid)
    if tenant is None:
        raise BadEvent(
            "key: the uid of a tenant in force is expected before the first slash; where its"
            " tenant comes back (adoptUid), replay this with `mesh dlq replay`"
        )
    place = f"{record.topic}/{record.partition}/{record.offset}"
    traceparent = headers.get("traceparent", b"").decode() or None
    return UserEvent(place, EventType.DELETED, tenant, user_id, "", None, traceparent)


__all__ = [
    "ResolveTenant",
    "ResolveUid",
    "from_record",
    "named_tenant",
    "no_uid",
    "tenant_id_of",
    "tenant_of",
]
