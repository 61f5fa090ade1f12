"""Reading user events from the log, in the three forms that are understood.

A binary-mode CloudEvent (what we write), a structured one (`content-type:
application/cloudevents+json`), and a bare JSON value that names its `tenantId`. Whatever cannot be
read that way raises BadEvent, which says why in words for the dead-letter topic and never repeats
personal data.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

import msgspec

from meshkit.events.envelope import BadEvent, EventType, UserData, UserEvent
from meshkit.events.log import Record
from meshkit.tenancy.identity import TenantContext, TenantId, parse_tenant_id

_EMAIL_NAMESPACE = UUID("6f1c1b0e-6b43-5f0c-9a53-3d4f7a0f7c11")
_SPECVERSION = "1.0"

ResolveTenant = Callable[[TenantId], TenantContext | None]
"""Looks up the incarnation of a tenant that is in force now, for events that name no uid."""


def from_record(record: Record, resolve_tenant: ResolveTenant) -> UserEvent:
    """Return the event in `record`. Raises BadEvent."""
    headers = dict(record.headers)
    try:
        if headers.get("content-type", b"").startswith(b"application/cloudevents"):
            attributes, value = _structured(record.value)
        elif "ce_specversion" in headers:
            attributes, value = _binary(headers), record.value
        else:
            attributes, value = _bare(record)
        traceparent = attributes.traceparent or headers.get("traceparent", b"").decode()
        return _event(attributes, value, traceparent or None, resolve_tenant)
    except UnicodeDecodeError:
        raise BadEvent("a header is not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadEvent(f"the value cannot be read: {error}") from None
    except ValueError as error:
        raise BadEvent(str(error)) from None


def tenant_of(record: Record) -> TenantContext | None:
    """Return the tenant that a record names by its uid; None where it names none, or cannot be
    read. Whether the rest of it is an event is not looked at."""
    headers = dict(record.headers)
    try:
        if headers.get("content-type", b"").startswith(b"application/cloudevents"):
            attributes, _ = _structured(record.value)
        elif "ce_specversion" in headers:
            attributes = _binary(headers)
        else:
            return None
        return _context(attributes.tenantid, attributes.tenantuid)
    except (BadEvent, ValueError, msgspec.DecodeError, RecursionError):
        return None


class _Attributes(msgspec.Struct):
    """What a CloudEvent says beside its data; empty where it does not."""

    specversion: str = ""
    id: str = ""
    type: str = ""
    subject: str = ""
    time: str = ""
    tenantid: str = ""
    tenantuid: str = ""
    traceparent: str = ""


class _Structured(_Attributes):
    """A CloudEvent in structured content mode."""

    data: msgspec.Raw = msgspec.Raw(b"null")


class _Bare(msgspec.Struct, rename="camel"):
    """A JSON value that is no CloudEvent but names its tenant."""

    tenant_id: str
    email: str = ""
    user_id: str = ""


class _Value(msgspec.Struct, rename="camel"):
    """The data of an event; who it is about may be said in the attributes only."""

    email: str
    name: str
    tenant_id: str | None = None
    user_id: str | None = None
    attributes: dict[str, Any] = {}


_decode_structured = msgspec.json.Decoder(_Structured).decode
_decode_bare = msgspec.json.Decoder(_Bare).decode
_decode_value = msgspec.json.Decoder(_Value).decode


def _binary(headers: Mapping[str, bytes]) -> _Attributes:
    return _Attributes(
        headers["ce_specversion"].decode(),
        headers.get("ce_id", b"").decode(),
        headers.get("ce_type", b"").decode(),
        headers.get("ce_subject", b"").decode(),
        headers.get("ce_time", b"").decode(),
        headers.get("ce_tenantid", b"").decode(),
        headers.get("ce_tenantuid", b"").decode(),
    )


def _structured(value: bytes | None) -> tuple[_Attributes, bytes | None]:
    if value is None:
        raise BadEvent("a structured CloudEvent has a value")
    event = _decode_structured(value)
    data = bytes(event.data)
    return event, None if data == b"null" else data


def _bare(record: Record) -> tuple[_Attributes, bytes]:
    if record.value is None:
        raise BadEvent("a tombstone without CloudEvents headers names no tenant")
    bare = _decode_bare(record.value)
    attributes = _Attributes(
        specversion=_SPECVERSION,
        id=f"{record.topic}/{record.partition}/{record.offset}",
        type=EventType.UPDATED.value,
        tenantid=bare.tenant_id,
        # Without an id the e-mail identifies the person, so that a second delivery converges.
        subject=bare.user_id or str(uuid5(_EMAIL_NAMESPACE, bare.email)),
    )
    return attributes, record.value


def _event(
    attributes: _Attributes,
    value: bytes | None,
    traceparent: str | None,
    resolve_tenant: ResolveTenant,
) -> UserEvent:
    if attributes.specversion != _SPECVERSION:
        raise BadEvent("only CloudEvents specversion 1.0 is understood")
    kind = _TYPES.get(attributes.type)
    if kind is None:
        raise BadEvent("the event type is not one of user.created, .updated, .deleted")
    tenant = _tenant(attributes, resolve_tenant)
    user_id = attributes.subject
    data = None
    if kind is not EventType.DELETED:
        if value is None:
            raise BadEvent(f"a {kind.value} event has data")
        data = _data(value, tenant, user_id)
        user_id = data.user_id
    if not user_id:
        raise BadEvent("the event names no user (ce_subject)")
    return UserEvent(attributes.id, kind, tenant, user_id, attributes.time, data, traceparent)


_TYPES = {kind.value: kind for kind in EventType}


def _tenant(attributes: _Attributes, resolve_tenant: ResolveTenant) -> TenantContext:
    if not attributes.tenantid:
        raise BadEvent("the event names no tenant (ce_tenantid, or tenantId in a bare value)")
    if attributes.tenantuid:
        return _context(attributes.tenantid, attributes.tenantuid)
    tenant = resolve_tenant(parse_tenant_id(attributes.tenantid))
    if tenant is None:
        raise BadEvent("the event names no tenant uid, and no tenant of its name is in force")
    return tenant


@lru_cache(maxsize=4096)
def _context(tenant_id: str, tenant_uid: str) -> TenantContext:
    """Return the checked tenant. The same few come again and again."""
    return TenantContext(parse_tenant_id(tenant_id), tenant_uid)


def _data(value: bytes, tenant: TenantContext, user_id: str) -> UserData:
    raw = _decode_value(value)
    if raw.tenant_id is not None and raw.tenant_id != tenant.tenant_id:
        raise BadEvent("the value names another tenant than the event's attributes")
    named = user_id if raw.user_id is None else raw.user_id
    if user_id and named != user_id:
        raise BadEvent("the value names another user than the event's subject")
    return UserData(tenant.tenant_id, named, raw.email, raw.name, raw.attributes)


__all__ = ["ResolveTenant", "from_record", "tenant_of"]
