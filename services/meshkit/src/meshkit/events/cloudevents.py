"""Takes records apart: the attributes of the event, its data, and what its fields are called.

A record holds a CloudEvent in binary mode (attributes in `ce_` headers), a CloudEvent in structured
mode (one JSON object with a `specversion`, whatever the content type says), or a bare JSON object
that names its `tenantId`. Header names and media types are compared without regard to case. The
official SDKs write JSON data as an object, as a JSON string that holds JSON, or in `data_base64`:
all of it is understood. What the fields mean is decided in `meshkit.events.reading`.
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Final, NamedTuple
from uuid import UUID, uuid5

import msgspec

from meshkit.events.envelope import BadEvent, EventType
from meshkit.events.log import Record
from meshkit.json_text import without_byte_order_mark

_EMAIL_NAMESPACE = UUID("6f1c1b0e-6b43-5f0c-9a53-3d4f7a0f7c11")
SPECVERSION: Final = "1.0"
_PREFIX = "ce_"
_CLOUDEVENTS = b"application/cloudevents"
_JSON_TYPES = frozenset({_CLOUDEVENTS, _CLOUDEVENTS + b"+json"})
TOMBSTONE_KEY: Final = "<tenantUid>/<userId>"


class FieldNames(NamedTuple):
    """What people call the fields of a record's form, for the reason of a dead letter."""

    prefix: str
    tenant: str
    user: str
    data: str


_BINARY = FieldNames(_PREFIX, "ce_tenantid", "ce_subject", "value")
_STRUCTURED = FieldNames("", "tenantid", "subject", "data")
_BARE = FieldNames("", "tenantId", "userId", "value")


class Event(msgspec.Struct, gc=False):
    """A CloudEvent, taken apart. Attributes that it leaves out are empty; `data` is JSON."""

    names: FieldNames
    specversion: str
    id: str
    type: str
    subject: str
    time: str
    tenantid: str
    tenantuid: str
    traceparent: str
    data: bytes | None


# A JSON null is the same as a member that is left out, and an integer is as good as its digits:
# the JSON format of CloudEvents has both. In binary mode there is only text.
_Attribute = str | int | None


class _StructuredEvent(msgspec.Struct):
    """A CloudEvent in structured mode. Without `specversion` it is none."""

    specversion: str | None = None
    id: _Attribute = None
    type: str | None = None
    subject: _Attribute = None
    time: str | None = None
    tenantid: _Attribute = None
    tenantuid: _Attribute = None
    traceparent: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    data_base64: str | None = None


class _Marks(msgspec.Struct):
    """What tells a structured CloudEvent from a bare JSON object."""

    specversion: msgspec.Raw = msgspec.Raw(b"null")


class _BareUser(msgspec.Struct, rename="camel"):
    """What a bare JSON object says about whose user it describes."""

    tenant_id: str | None = None
    email: str | None = None
    user_id: str | None = None


_decode_structured = msgspec.json.Decoder(_StructuredEvent).decode
_decode_marks = msgspec.json.Decoder(_Marks).decode
_decode_bare = msgspec.json.Decoder(_BareUser).decode
_decode_text = msgspec.json.Decoder(str).decode


def split(record: Record, headers: Mapping[str, bytes]) -> Event | None:
    """Return the event in `record`; None for a record without value and attributes, a tombstone.

    `headers` are those of the record. Raises BadEvent, UnicodeDecodeError, msgspec.DecodeError.
    """
    headers = {name.lower(): value for name, value in headers.items()}
    media_type = headers.get("content-type", b"").partition(b";")[0].strip().lower()
    if media_type.startswith(_CLOUDEVENTS) and record.value is not None:
        return _structured(record.value, media_type)
    if "ce_specversion" not in headers:
        return _without_attributes(record, headers)
    get = headers.get
    return Event(
        _BINARY,
        headers["ce_specversion"].decode(),
        get("ce_id", b"").decode(),
        get("ce_type", b"").decode(),
        get("ce_subject", b"").decode(),
        get("ce_time", b"").decode(),
        get("ce_tenantid", b"").decode(),
        get("ce_tenantuid", b"").decode(),
        get("ce_traceparent", b"").decode(),
        record.value,
    )


def _without_attributes(record: Record, headers: Mapping[str, bytes]) -> Event | None:
    if any(name.startswith(_PREFIX) for name in headers):
        raise BadEvent(f"ce_specversion: {SPECVERSION} is expected beside the other ce_ headers")
    if record.value is None:
        return None
    value = without_byte_order_mark(record.value)
    start = value.lstrip()[:1]
    if start != b"{":
        raise BadEvent(_not_an_object(start))
    if bytes(_decode_marks(value).specversion) != b"null":
        return _structured(value, _CLOUDEVENTS)
    return _bare(value, f"{record.topic}/{record.partition}/{record.offset}")


def _not_an_object(start: bytes) -> str:
    if not start:
        return (
            "value: is empty; a JSON object is expected, and no value at all (null)"
            " to delete the user of the key"
        )
    if start == b"[":
        return "value: one JSON object is expected, not an array; publish a record for each event"
    return "value: a JSON object is expected (or ce_ headers, for a CloudEvent in binary mode)"


def _structured(value: bytes, media_type: bytes) -> Event:
    if media_type.startswith(_CLOUDEVENTS + b"-batch"):
        raise BadEvent("content-type: a batch of CloudEvents is not read; publish one per record")
    if media_type not in _JSON_TYPES:
        raise BadEvent("content-type: application/cloudevents+json is expected, no other format")
    event = _decode_structured(without_byte_order_mark(value))
    return Event(
        _STRUCTURED,
        event.specversion or "",
        _text(event.id),
        event.type or "",
        _text(event.subject),
        event.time or "",
        _text(event.tenantid),
        _text(event.tenantuid),
        event.traceparent or "",
        _data(event),
    )


def _text(value: _Attribute) -> str:
    return "" if value is None else str(value)


def _data(event: _StructuredEvent) -> bytes | None:
    data = bytes(event.data)
    if event.data_base64 is None:
        return None if data == b"null" else data
    if data != b"null":
        raise BadEvent("data, data_base64: only one of them is expected")
    try:
        return b64decode(event.data_base64, validate=True)
    except (binascii.Error, ValueError):
        raise BadEvent("data_base64: base64 (RFC 4648, with padding) is expected") from None


def _bare(value: bytes, place: str) -> Event:
    bare = _decode_bare(value)
    return Event(
        _BARE,
        SPECVERSION,
        place,
        EventType.UPDATED.value,
        # Without an id the e-mail identifies the person, so that a second delivery converges.
        bare.user_id or str(uuid5(_EMAIL_NAMESPACE, bare.email or "")),
        "",
        bare.tenant_id or "",
        "",
        "",
        value,
    )


def json_of(data: bytes) -> bytes:
    """Return the JSON document in `data`, also where it is wrapped once into a JSON string."""
    text = without_byte_order_mark(data)
    if text.lstrip()[:1] != b'"':
        return text
    return without_byte_order_mark(_decode_text(text).encode())


__all__ = ["SPECVERSION", "TOMBSTONE_KEY", "Event", "FieldNames", "json_of", "split"]
