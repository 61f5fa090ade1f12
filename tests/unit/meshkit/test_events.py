"""User events as records: written one way, read in three."""

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from builders import make_context
from meshkit.events.envelope import (
    BadEvent,
    EventType,
    UserData,
    UserEvent,
    read_own,
    to_record,
)
from meshkit.events.log import Record
from meshkit.events.reading import from_record
from meshkit.tenancy.identity import TenantContext, TenantId

TENANT = make_context("tenant-a", "uid-a")


def resolve(tenant_id: TenantId) -> TenantContext | None:
    return TENANT if tenant_id == "tenant-a" else None


def make_event(**changes: Any) -> UserEvent:
    fields: dict[str, Any] = {
        "event_id": "e-1",
        "type": EventType.CREATED,
        "tenant": TENANT,
        "user_id": "u-1",
        "time": "2026-01-02T03:04:05.678Z",
        "data": UserData("tenant-a", "u-1", "alice@example.com", "Alice Doe", {"team": "x"}),
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    }
    return UserEvent(**(fields | changes))


def as_read(
    value: bytes | None, headers: dict[str, str] | None = None, key: bytes = b"uid-a/u-1"
) -> Record:
    pairs = tuple((name, text.encode()) for name, text in (headers or {}).items())
    return Record("user.events", 3, 17, key, value, pairs, 0)


def stored(event: UserEvent) -> Record:
    record = to_record(event)
    return Record("user.events", 3, 17, record.key, record.value, record.headers, 0)


def test_binary_mode_carries_every_attribute_in_headers() -> None:
    record = to_record(make_event())
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_source": b"/event-mesh/user-service",
        "content-type": b"application/json",
        "ce_id": b"e-1",
        "ce_type": b"user.created",
        "ce_time": b"2026-01-02T03:04:05.678Z",
        "ce_subject": b"u-1",
        "ce_tenantid": b"tenant-a",
        "ce_tenantuid": b"uid-a",
        "traceparent": b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
    }
    assert record.key == b"uid-a/u-1"
    assert json.loads(record.value or b"") == {
        "tenantId": "tenant-a",
        "userId": "u-1",
        "email": "alice@example.com",
        "name": "Alice Doe",
        "attributes": {"team": "x"},
    }


def test_deletion_is_a_tombstone() -> None:
    event = make_event(type=EventType.DELETED, data=None)
    assert to_record(event).value is None
    assert from_record(stored(event), resolve) == event


@given(
    st.text(min_size=1, max_size=40),
    st.dictionaries(st.text(max_size=8), st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8)),
)
def test_reads_what_it_wrote(name: str, attributes: dict[str, Any]) -> None:
    event = make_event(data=UserData("tenant-a", "u-1", "a@example.com", name, attributes))
    assert from_record(stored(event), resolve) == event


def as_others_write_it(record: Record) -> Record:
    """The same event with its headers in another order: it takes the long way."""
    return replace(record, headers=tuple(reversed(record.headers)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"traceparent": None},
        {"type": EventType.UPDATED},
        {"type": EventType.DELETED, "data": None},
        {"type": EventType.DELETED, "data": None, "user_id": "no id: %"},
    ],
)
def test_short_cut_reads_the_same_as_the_long_way(changes: dict[str, Any]) -> None:
    event = make_event(**changes)
    record = stored(event)
    assert read_own(record) == event
    assert read_own(as_others_write_it(record)) is None
    assert from_record(as_others_write_it(record), resolve) == event


@pytest.mark.parametrize(
    "changes",
    [
        {"user_id": "u-2"},
        {"user_id": "a%b", "data": UserData("tenant-a", "a%b", "a@example.com", "A")},
        {"data": UserData("tenant-b", "u-1", "a@example.com", "A")},
        {"data": None},
        {"type": EventType.DELETED, "data": None, "user_id": ""},
    ],
)
def test_short_cut_leaves_what_is_wrong_to_the_long_way(changes: dict[str, Any]) -> None:
    record = stored(make_event(**changes))
    assert read_own(record) is None
    with pytest.raises(BadEvent) as caught:
        from_record(record, resolve)
    with pytest.raises(BadEvent, match=re.escape(str(caught.value))):
        from_record(as_others_write_it(record), resolve)


@given(st.integers(0, 9), st.sampled_from([b"", b"\xff", b"x", b"1.0", b"tenant-b", b"/"]))
def test_short_cut_takes_nothing_that_the_long_way_refuses(place: int, value: bytes) -> None:
    record = stored(make_event())
    headers = list(record.headers)
    headers[place] = (headers[place][0], value)
    changed = replace(record, headers=tuple(headers))
    event = read_own(changed)
    if event is not None:
        assert from_record(as_others_write_it(changed), resolve) == event


def test_structured_cloudevent_is_understood() -> None:
    value = {
        "specversion": "1.0",
        "id": "e-9",
        "source": "/crm",
        "type": "user.updated",
        "subject": "u-9",
        "tenantid": "tenant-a",
        "data": {"tenantId": "tenant-a", "userId": "u-9", "email": "n@example.com", "name": "N"},
    }
    record = as_read(
        json.dumps(value).encode(), {"content-type": "application/cloudevents+json; charset=utf-8"}
    )
    event = from_record(record, resolve)
    assert (event.type, event.user_id, event.tenant) == (EventType.UPDATED, "u-9", TENANT)


def test_structured_deletion_without_data_is_understood() -> None:
    value = {"specversion": "1.0", "id": "e", "type": "user.deleted", "subject": "u-9"}
    record = as_read(
        json.dumps(value | {"tenantid": "tenant-a"}).encode(),
        {"content-type": "application/cloudevents+json"},
    )
    event = from_record(record, resolve)
    assert (event.type, event.data) == (EventType.DELETED, None)


def test_bare_json_that_names_its_tenant_is_understood() -> None:
    value = {"tenantId": "tenant-a", "userId": "u-2", "email": "b@example.com", "name": "Bob"}
    event = from_record(as_read(json.dumps(value).encode()), resolve)
    assert event.tenant == TENANT
    assert event.data is not None
    assert (event.data.name, event.user_id) == ("Bob", "u-2")


def test_bare_json_without_id_is_the_same_user_each_time() -> None:
    value = json.dumps({"tenantId": "tenant-a", "email": "b@example.com", "name": "Bob"}).encode()
    first = from_record(as_read(value), resolve)
    assert first.user_id == from_record(as_read(value), resolve).user_id != ""


BINARY = {
    "ce_specversion": "1.0",
    "ce_id": "e",
    "ce_type": "user.created",
    "ce_subject": "u-1",
    "ce_tenantid": "tenant-a",
    "ce_tenantuid": "uid-a",
}
GOOD = {"tenantId": "tenant-a", "userId": "u-1", "email": "a@example.com", "name": "A"}


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (b"{", BINARY, "cannot be read"),
        (b"[]", BINARY, "cannot be read"),
        (b'"x"', {}, "value: a JSON object is expected"),
        (b"\xff\xfe", BINARY, "cannot be read"),
        (None, {}, "key: the uid of a tenant in force"),
        (None, BINARY, "has data"),
        (json.dumps(GOOD), BINARY | {"ce_type": "order.created"}, "event type"),
        (json.dumps(GOOD), BINARY | {"ce_specversion": "0.3"}, "specversion"),
        (json.dumps(GOOD), BINARY | {"ce_tenantid": "Tenant_A"}, "tenant id"),
        (json.dumps(GOOD), BINARY | {"ce_tenantuid": "x' or '1'='1"}, "tenant uid"),
        (json.dumps(GOOD | {"tenantId": "tenant-b"}), BINARY, "another tenant"),
        (json.dumps(GOOD | {"userId": "u-2"}), BINARY, "another user"),
        (json.dumps(GOOD | {"name": 7}), BINARY, "cannot be read"),
        (json.dumps({"name": "A"}), {}, "tenantId: the id of the tenant is expected"),
        (json.dumps(GOOD | {"tenantId": "nobody"}), {}, "in force"),
        ("[" * 100_000, BINARY, "cannot be read"),
    ],
)
def test_bad_event_says_why(
    value: str | bytes | None, headers: dict[str, str], reason: str
) -> None:
    raw = value.encode() if isinstance(value, str) else value
    with pytest.raises(BadEvent, match=reason):
        from_record(as_read(raw, headers), resolve)


@given(st.binary(max_size=200), st.dictionaries(st.text(max_size=12), st.text(max_size=20)))
def test_any_record_is_an_event_or_a_bad_event(value: bytes, headers: dict[str, str]) -> None:
    pairs = tuple((n, t.encode(errors="surrogatepass")) for n, t in headers.items())
    with contextlib.suppress(BadEvent):
        from_record(Record("user.events", 0, 0, b"k", value, pairs, 0), resolve)
