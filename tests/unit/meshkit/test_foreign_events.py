"""Records of other producers: what the CloudEvents SDKs write, and what people write by hand."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from builders import make_context
from meshkit.events.envelope import BadEvent, EventType, UserData, UserEvent
from meshkit.events.log import Record
from meshkit.events.reading import from_record, tenant_of
from meshkit.tenancy.identity import TenantContext, TenantId
from meshkit.user_ids import USER_ID_RULE

TENANT = make_context("tenant-a", "uid-of-tenant-a")
USER = {"tenantId": "tenant-a", "userId": "u-1", "email": "bea@example.com", "name": "Bea Base"}
EVENT = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/crm",
    "type": "user.created",
    "subject": "u-1",
    "tenantid": "tenant-a",
}
STRUCTURED = {"content-type": "application/cloudevents+json"}
BINARY = {f"ce_{name}": text for name, text in EVENT.items()}
BOM = b"\xef\xbb\xbf"
FIXTURES = Path(__file__).parents[2] / "fixtures/cloudevents"


def by_id(tenant_id: TenantId) -> TenantContext | None:
    return TENANT if tenant_id == TENANT.tenant_id else None


def by_uid(uid: str) -> TenantContext | None:
    return TENANT if uid == TENANT.tenant_uid else None


def make_record(
    value: Any, headers: dict[str, str] | None = None, key: bytes = b"some key"
) -> Record:
    raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    pairs = tuple((name, text.encode()) for name, text in (headers or {}).items())
    return Record("user.events", 3, 17, key, raw, pairs, 0)


def read(value: Any, headers: dict[str, str] | None = None, key: bytes = b"some key") -> UserEvent:
    return from_record(make_record(value, headers, key), by_id, by_uid)


def reason(value: Any, headers: dict[str, str] | None = None, key: bytes = b"some key") -> str:
    with pytest.raises(BadEvent) as caught:
        read(value, headers, key)
    return str(caught.value)


def sdk_records() -> list[Any]:
    documents = [json.loads(path.read_text()) for path in sorted(FIXTURES.glob("*.json"))]
    return [
        pytest.param(record, id=f"{document['sdk']} {document['version']} {record['case']}")
        for document in documents
        for record in document["records"]
        if "fails" not in record
    ]


def test_every_official_sdk_has_its_records() -> None:
    sdks = {json.loads(path.read_text())["sdk"] for path in FIXTURES.glob("*.json")}
    assert {sdk.removeprefix("cloudevents for ").split()[0] for sdk in sdks} == {
        *("Python", "JavaScript", "Go", "Java")
    }
    assert len(sdk_records()) == 38


@pytest.mark.parametrize("written", sdk_records())
def test_record_of_an_official_sdk_is_read(written: dict[str, Any]) -> None:
    value = written["value"]
    raw = None if value is None else value.encode()
    event = read(raw, written["headers"])
    assert event.tenant == TENANT
    assert (event.event_id, event.user_id) == ("sdk-1", "auth0|5f7c8ec7")
    assert event.traceparent == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert event.time.startswith("2026-01-02T03:04:05.678")
    assert tenant_of(make_record(raw, written["headers"])) == TENANT
    if written["case"].endswith("none"):
        assert (event.type, event.data) == (EventType.DELETED, None)
    else:
        data = UserData("tenant-a", "auth0|5f7c8ec7", "bea@example.com", "Bea Base")
        assert (event.type, event.data) == (EventType.CREATED, data)


def encoded(user: Any) -> str:
    return b64encode(json.dumps(user).encode()).decode()


@pytest.mark.parametrize(
    "data",
    [
        {"data": USER},
        {"data": json.dumps(USER)},
        {"data_base64": encoded(USER)},
        {"data_base64": encoded(USER), "data": None},
        {"data": USER, "data_base64": None},
        {"data_base64": encoded(json.dumps(USER))},
        {"data_base64": b64encode(BOM + json.dumps(USER).encode()).decode()},
        {"data": USER, "datacontenttype": "Application/JSON; charset=utf-8"},
        {"data": USER, "dataschema": None, "time": None, "tenantuid": None, "traceparent": None},
        {"data": USER, "subject": None},
        {"data": USER | {"attributes": None}},
    ],
)
def test_data_of_a_structured_event_is_found_where_it_may_be(data: dict[str, Any]) -> None:
    assert read(EVENT | data, STRUCTURED).data == UserData(**_snake(USER))


def _snake(user: dict[str, str]) -> dict[str, Any]:
    names = {"tenantId": "tenant_id", "userId": "user_id"}
    return {names.get(name, name): text for name, text in user.items()}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"content-type": "Application/CloudEvents+JSON; charset=utf-8"},
        {"Content-Type": "application/cloudevents+json"},
        {"CONTENT-TYPE": " application/cloudevents "},
        {"content-type": "application/cloudevents+json", "ce_specversion": "1.0"},
        {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"},
    ],
)
def test_structured_event_is_recognised(headers: dict[str, str]) -> None:
    event = read(EVENT | {"data": USER}, headers)
    assert (event.event_id, event.type, event.user_id) == ("e-1", EventType.CREATED, "u-1")


@pytest.mark.parametrize(
    "headers",
    [
        BINARY,
        BINARY | {"content-type": "Application/JSON; charset=utf-8"},
        {name.upper(): text for name, text in BINARY.items()},
        {"Ce_" + name.removeprefix("ce_"): text for name, text in BINARY.items()},
    ],
)
@pytest.mark.parametrize("value", [USER, json.dumps(USER), BOM + json.dumps(USER).encode()])
def test_binary_event_is_recognised(headers: dict[str, str], value: Any) -> None:
    assert read(value, headers).data == UserData(**_snake(USER))


def test_integers_of_attributes_are_their_digits() -> None:
    event = read(EVENT | {"id": 7, "subject": 42, "type": "user.deleted"}, STRUCTURED)
    assert (event.event_id, event.user_id) == ("7", "42")


@pytest.mark.parametrize("value", [USER, EVENT | {"data": USER}])
def test_byte_order_mark_is_skipped_once(value: dict[str, Any]) -> None:
    raw = json.dumps(value).encode()
    assert read(BOM + raw).user_id == "u-1"
    assert "JSON" in reason(BOM + BOM + raw)


def test_bare_user_may_have_any_other_field() -> None:
    assert read(USER | {"specversion": None, "source": 7}).type is EventType.UPDATED


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"content-type": "application/cloudevents+json"},
        {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "x-written-by": "a tool"},
    ],
)
@pytest.mark.parametrize("user_id", ["u-1", "a/b", "auth0|5f7c8ec7", "é", "x" * 300])
def test_tombstone_deletes_the_user_of_its_key(headers: dict[str, str], user_id: str) -> None:
    event = read(None, headers, f"uid-of-tenant-a/{user_id}".encode())
    assert (event.type, event.tenant, event.user_id) == (EventType.DELETED, TENANT, user_id)
    assert (event.data, event.event_id) == (None, "user.events/3/17")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"", "<tenantUid>/<userId>"),
        (b"u-1", "<tenantUid>/<userId>"),
        (b"uid-of-tenant-a/", "<tenantUid>/<userId>"),
        (b"/u-1", "<tenantUid>/<userId>"),
        (b"uid-of-tenant-a/\xff", "<tenantUid>/<userId>"),
        (b"tenant-a/u-1", "uid of a tenant in force"),
        (b"uid-of-nobody/u-1", "uid of a tenant in force"),
    ],
)
def test_tombstone_of_nobody_we_know_says_what_its_key_must_be(key: bytes, expected: str) -> None:
    said = reason(None, {}, key)
    assert said.startswith("key: ")
    assert expected in said


def test_key_decides_nothing_beside_attributes() -> None:
    key = b"uid-of-tenant-b/u-2"
    deletion = EVENT | {"type": "user.deleted"}
    binary = {f"ce_{name}": text for name, text in deletion.items()}
    for event in (read(deletion, STRUCTURED, key), read(None, binary, key)):
        assert (event.tenant, event.user_id) == (TENANT, "u-1")


def test_deletion_may_name_its_user_in_the_data() -> None:
    deletion = EVENT | {"type": "user.deleted", "subject": None}
    assert read(deletion | {"data": {"userId": "u-1"}}, STRUCTURED).user_id == "u-1"
    other = deletion | {"data": {"userId": "u-1", "tenantId": "tenant-b"}}
    assert "another tenant" in reason(other, STRUCTURED)
    assert reason(deletion, STRUCTURED) == "subject: the id of the user is expected"


@pytest.mark.parametrize("user_id", ["a%2Fb", " u", "..", "a/../b", "é", "a\n", "x" * 256])
def test_id_outside_the_grammar_is_never_indexed(user_id: str) -> None:
    for said in (
        reason(USER | {"userId": user_id}),
        reason(EVENT | {"subject": user_id, "data": USER | {"userId": user_id}}, STRUCTURED),
        reason(USER | {"userId": user_id}, BINARY | {"ce_subject": user_id}),
    ):
        assert said.endswith(USER_ID_RULE)
        assert said.split(":")[0] in ("userId", "subject", "ce_subject")
    # What an older version has indexed can be deleted.
    deletion = EVENT | {"type": "user.deleted", "subject": user_id}
    assert read(deletion, STRUCTURED).user_id == user_id


SECRET = "secret@person.example"


@pytest.mark.parametrize(
    ("value", "headers", "expected"),
    [
        (b"", {}, "value: is empty"),
        (b"null", {}, "value: a JSON object is expected"),
        ([EVENT | {"data": USER}], {}, "value: one JSON object is expected, not an array"),
        (
            [EVENT | {"data": USER}],
            {"content-type": "application/cloudevents-batch+json; charset=utf-8"},
            "content-type: a batch of CloudEvents is not read",
        ),
        (USER, {"content-type": "application/cloudevents+avro"}, "content-type: application/cl"),
        (USER, {"ce_type": "user.created", "ce_id": "1"}, "ce_specversion: 1.0 is expected"),
        (None, {"ce_type": "user.deleted", "ce_id": "1"}, "ce_specversion: 1.0 is expected"),
        (USER, BINARY | {"ce_specversion": "0.3"}, "ce_specversion: 1.0 is expected"),
        (EVENT | {"specversion": "0.3", "data": USER}, {}, "specversion: 1.0 is expected"),
        (EVENT, STRUCTURED, "data: a user.created event has data"),
        (EVENT | {"data": None, "data_base64": None}, STRUCTURED, "data: a user.created event has"),
        (None, BINARY, "value: a user.created event has data"),
        (b"", BINARY, "value: a user.created event has data"),
        (EVENT | {"data": USER, "data_base64": encoded(USER)}, {}, "data, data_base64: only one"),
        (EVENT | {"data_base64": SECRET}, {}, "data_base64: base64"),
        (EVENT | {"data_base64": encoded(USER).rstrip("=")[:-1]}, {}, "data_base64: base64"),
        (EVENT | {"data": [SECRET]}, {}, "data: cannot be read: Expected `object`, got `array`"),
        (EVENT | {"data": SECRET}, {}, "data: cannot be read as JSON"),
        (EVENT | {"data": USER | {"name": 7}}, {}, "data.name: cannot be read: Expected `str`"),
        (EVENT | {"data": {"name": SECRET}}, {}, "data: cannot be read: Object missing required"),
        (EVENT | {"data": USER | {"userId": SECRET}}, {}, "data.userId: names another user"),
        (EVENT | {"data": USER | {"tenantId": "tenant-b"}}, {}, "data.tenantId: names another"),
        (EVENT | {"data": USER, "tenantid": None}, {}, "tenantid: the id of the tenant is exp"),
        (EVENT | {"data": USER, "tenantid": "Tenant_A"}, {}, "tenantid: a tenant id has"),
        (EVENT | {"data": USER, "tenantuid": "/" + SECRET}, {}, "tenantuid: a tenant uid has"),
        (EVENT | {"data": USER, "tenantid": "nobody"}, {}, "tenantid: no tenant of this name"),
        (EVENT | {"data": USER, "tenantid": True}, {}, "value.tenantid: cannot be read: Expected"),
        (EVENT | {"data": USER, "type": SECRET}, {}, "type: the event type is expected"),
        (USER | {"tenantId": "nobody"}, {}, "tenantId: no tenant of this name"),
        (USER | {"tenantId": 7}, {}, "value.tenantId: cannot be read: Expected `str"),
        (USER | {"email": None}, {}, "value.email: cannot be read: Expected `str`, got `null`"),
        (USER, BINARY | {"ce_tenantid": ""}, "ce_tenantid: the id of the tenant is expected"),
        (USER, BINARY | {"ce_tenantuid": "/"}, "ce_tenantuid: a tenant uid has"),
        (USER | {"email": SECRET, "userId": ""}, BINARY, "value.userId: names another user"),
        (b'{"name": "' + SECRET.encode(), BINARY, "value: cannot be read as JSON in UTF-8"),
        (json.dumps(USER).encode("utf-16"), {}, "value: a JSON object is expected"),
        ("[" * 99_999, BINARY, "value: cannot be read"),
        (b'{"specversion":"1.0","x":' + b"[" * 99_999, {}, "value: cannot be read"),
        (EVENT | {"data": "[" * 99_999}, {}, "data: cannot be read"),
    ],
)
def test_reason_names_the_field_and_what_is_expected(
    value: Any, headers: dict[str, str], expected: str
) -> None:
    said = reason(value, headers)
    assert said.startswith(expected)
    assert SECRET not in said
    assert "Bea" not in said
    assert "@" not in said


def test_header_that_is_not_utf_8_is_named() -> None:
    pairs = (*make_record(USER, BINARY).headers, ("ce_tenantuid", b"\xff"))
    record = Record("user.events", 0, 0, b"k", json.dumps(USER).encode(), pairs, 0)
    with pytest.raises(BadEvent, match="headers: UTF-8 is expected"):
        from_record(record, by_id, by_uid)
