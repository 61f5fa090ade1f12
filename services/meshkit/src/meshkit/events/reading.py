"""Reading user events from the log, in the three forms that are understood.

A binary-mode CloudEvent (what we write), a structured one (`content-type:
application/cloudevents+json`), and a bare JSON value that names its `tenantId`. Whatever cannot be
read that way raises BadEvent, which says why in words for the dead-letter topic and never repeats
personal data.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid5

import msgspec

from meshkit.events.envelope import BadEvent, EventType, UserData, UserEvent
from meshkit.events.log import Record
from meshkit.tenancy.identity import TenantContext, TenantId, parse_tenant_id

_EMAIL_NAMESPACE = UUID("6f1c1b0e-6b43-5f0c-9a53-3d4f7a0f7c11")

ResolveTenant = Callable[[TenantId], TenantContext | None]
"""Looks up the incarnation of a tenant that is in force now, for events that name no uid."""


def from_record(record: Record, resolve_tenant: ResolveTenant) -> UserEvent:
    """Return the event in `record`. Raises BadEvent."""
    try:
        headers = {name: value.decode() for name, value in record.headers}
        if headers.get("content-type", "").startswith("application/cloudevents"):
            attributes, data = _structured(record.value)
        elif "ce_specversion" in headers:
            attributes = {
                name.removeprefix("ce_"): value
                for name, value in headers.items()
                if name.startswith("ce_")
            }
            data = record.value
        else:
            attributes, data = _bare(record)
        attributes.setdefault("traceparent", headers.get("traceparent", ""))
        return _event(attributes, data, resolve_tenant)
    except UnicodeDecodeError:
        raise BadEvent("a header is not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadEvent(f"the value cannot be read: {error}") from None
    except ValueError as error:
        raise BadEvent(str(error)) from None


class _Structured(msgspec.Struct):
    """A CloudEvent in structured content mode."""

    specversion: str
    id: str
    type: str
    subject: str = ""
    time: str = ""
    tenantid: str = ""
    tenantuid: str = ""
    traceparent: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Bare(msgspec.Struct, rename="camel"):
    """A JSON value that is no CloudEvent but names its tenant."""

    tenant_id: str
    email: str = ""
    user_id: str = ""


_decode_structured = msgspec.json.Decoder(_Structured).decode
_decode_bare = msgspec.json.Decoder(_Bare).decode
_decode_json = msgspec.json.Decoder(dict[str, Any]).decode


def _structured(value: bytes | None) -> tuple[dict[str, str], bytes | None]:
    if value is None:
        raise BadEvent("a structured CloudEvent has a value")
    event = _decode_structured(value)
    attributes = {
        name: getattr(event, name)
        for name in (
            "specversion",
            "id",
            "type",
            "subject",
            "time",
            "tenantid",
            "tenantuid",
            "traceparent",
        )
        if getattr(event, name)
    }
    data = bytes(event.data)
    return attributes, None if data == b"null" else data


def _bare(record: Record) -> tuple[dict[str, str], bytes]:
    if record.value is None:
        raise BadEvent("a tombstone without CloudEvents headers names no tenant")
    bare = _decode_bare(record.value)
    place = f"{record.topic}/{record.partition}/{record.offset}"
    attributes = {
        "specversion": "1.0",
        "id": place,
        "type": EventType.UPDATED.value,
        "tenantid": bare.tenant_id,
        # Without an id the e-mail identifies the person, so that a second delivery converges.
        "subject": bare.user_id or str(uuid5(_EMAIL_NAMESPACE, bare.email)),
    }
    return attributes, record.value


def _event(
    attributes: dict[str, str], value: bytes | None, resolve_tenant: ResolveTenant
) -> UserEvent:
    if attributes.get("specversion") != "1.0":
        raise BadEvent("only CloudEvents specversion 1.0 is understood")
    try:
        kind = EventType(attributes.get("type", ""))
    except ValueError:
        raise BadEvent("the event type is not one of user.created, .updated, .deleted") from None
    tenant = _tenant(attributes, resolve_tenant)
    user_id = attributes.get("subject", "")
    data = None
    if kind is not EventType.DELETED and value is not None:
        data = _data(value, tenant, user_id)
        user_id = data.user_id
    elif kind is not EventType.DELETED:
        raise BadEvent(f"a {kind.value} event has data")
    if not user_id:
        raise BadEvent("the event names no user (ce_subject)")
    return UserEvent(
        event_id=attributes.get("id", ""),
        type=kind,
        tenant=tenant,
        user_id=user_id,
        time=attributes.get("time", ""),
        data=data,
        traceparent=attributes.get("traceparent") or None,
    )


def _tenant(attributes: dict[str, str], resolve_tenant: ResolveTenant) -> TenantContext:
    if "tenantid" not in attributes:
        raise BadEvent("the event names no tenant (ce_tenantid, or tenantId in a bare value)")
    tenant_id = parse_tenant_id(attributes["tenantid"])
    if uid := attributes.get("tenantuid"):
        return TenantContext(tenant_id, uid)
    tenant = resolve_tenant(tenant_id)
    if tenant is None:
        raise BadEvent("the event names no tenant uid, and no tenant of its name is in force")
    return tenant


def _data(value: bytes, tenant: TenantContext, user_id: str) -> UserData:
    raw = _decode_json(value)
    raw.setdefault("userId", user_id)
    raw.setdefault("tenantId", tenant.tenant_id)
    data = msgspec.convert(raw, UserData)
    if data.tenant_id != tenant.tenant_id:
        raise BadEvent("the value names another tenant than the event's attributes")
    if user_id and data.user_id != user_id:
        raise BadEvent("the value names another user than the event's subject")
    return data


__all__ = ["ResolveTenant", "from_record"]
