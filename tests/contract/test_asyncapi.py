"""The AsyncAPI document is true: what the services publish is what it says, and what it says is
understood by the indexer."""

from collections.abc import AsyncIterator
from typing import Any

import jsonschema
import msgspec
import pytest

from apps import Mesh, running_mesh
from builders import make_context
from meshkit.events.asyncapi import asyncapi_document
from meshkit.events.envelope import BadEvent
from meshkit.events.log import TOPICS, USER_EVENTS, USER_EVENTS_DLQ, NewRecord, Record
from meshkit.events.reading import from_record
from meshkit.events.topic_rules import topic_config
from waiting import eventually

A = {"X-Tenant-Id": "tenant-a"}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
DOCUMENT = asyncapi_document()
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with running_mesh() as mesh:
        yield mesh


def check(schema: Any, value: Any) -> None:
    validator = jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]})
    validator.validate(value)


def records(mesh: Mesh, topic: str) -> list[Record]:
    return [record for partition in mesh.log.partitions(topic) for record in partition]


def message_of(record: Record) -> dict[str, Any]:
    """Check a record against the message of its type, and return that."""
    headers = {name: value.decode() for name, value in record.headers}
    message: dict[str, Any] = next(m for m in MESSAGES.values() if m["name"] == headers["ce_type"])
    check(message["headers"], headers)
    check(message["payload"], None if record.value is None else msgspec.json.decode(record.value))
    assert set(headers) <= set(message["headers"]["properties"])
    return message


async def test_everything_that_is_published_is_what_the_document_says(mesh: Mesh) -> None:
    user = {"name": "Alice Doe", "email": "alice@example.com", "attributes": {"team": "blue"}}
    headers = A | {"traceparent": TRACEPARENT}
    await mesh.users.post("/users/create", headers=headers, json=user | {"userId": "u-1"})
    await mesh.users.put("/users/u-1", headers=headers, json=user)
    await mesh.users.post("/users:batch", headers=A, json=[user, user])
    await mesh.users.delete("/users/u-1", headers=headers)
    published = records(mesh, USER_EVENTS)
    names = sorted(message_of(record)["name"] for record in published)
    assert names == ["user.created"] * 3 + ["user.deleted", "user.updated"]
    carried = [dict(record.headers).get("traceparent") for record in published]
    assert sorted(filter(None, carried)) == [TRACEPARENT.encode()] * 3


async def test_dead_letter_is_what_the_document_says(mesh: Mesh) -> None:
    await mesh.log.publish(USER_EVENTS, NewRecord(b"k", b"no JSON", (("ce_specversion", b"1.0"),)))
    await eventually(lambda: bool(records(mesh, USER_EVENTS_DLQ)))
    (letter,) = records(mesh, USER_EVENTS_DLQ)
    headers = {name: value.decode() for name, value in letter.headers}
    check(MESSAGES["deadLetter"]["headers"], headers)


@pytest.mark.parametrize(
    ("message", "headers", "value"),
    [
        (
            "structuredCloudEvent",
            {"content-type": "application/cloudevents+json"},
            {
                "specversion": "1.0",
                "id": "e-1",
                "type": "user.created",
                "tenantid": "tenant-a",
                "subject": "u-1",
                "data": {"name": "Alice", "email": "alice@example.com"},
            },
        ),
        ("bareUser", {}, {"tenantId": "tenant-a", "name": "Alice", "email": "alice@example.com"}),
    ],
)
def test_what_other_producers_may_send_is_understood(
    message: str, headers: dict[str, str], value: dict[str, Any]
) -> None:
    described = MESSAGES[message]
    check(described.get("headers", {}), headers)
    check(described["payload"], value)

    def read(value: dict[str, Any]) -> str:
        pairs = tuple((name, content.encode()) for name, content in headers.items())
        record = Record(USER_EVENTS, 0, 0, b"k", msgspec.json.encode(value), pairs, 0)
        event = from_record(record, make_context)
        return event.tenant.tenant_id

    assert read(value) == "tenant-a"
    for name in described["payload"]["required"]:
        without = {key: content for key, content in value.items() if key != name}
        with pytest.raises(jsonschema.ValidationError):
            check(described["payload"], without)
        if name != "id":
            with pytest.raises(BadEvent):
                read(without)


def test_topics_are_made_as_the_document_says() -> None:
    for channel in DOCUMENT["channels"].values():
        spec = next(spec for spec in TOPICS if spec.name == channel["address"])
        binding = channel["bindings"]["kafka"]
        assert binding["partitions"] == spec.partitions
        for name, value in binding["topicConfiguration"].items():
            made = topic_config(spec)[name]
            assert made == (value[0] if isinstance(value, list) else str(value))


def test_every_reference_leads_somewhere() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                target: Any = DOCUMENT
                for part in node["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(DOCUMENT)
