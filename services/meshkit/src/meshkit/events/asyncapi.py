"""The AsyncAPI document: what is in the topics, for those who read or write them.

Made from the code that does it: the structs of the values, the topics' settings, the headers.
AsyncAPI 3.0.0 with the Kafka bindings 0.5.0.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
import yaml

from meshkit.events.asyncapi_foreign import (
    CONTENT_TYPE_OF_OTHERS,
    DATA_OF_OTHERS,
    USER_ID,
    or_null,
    tombstone_message,
)
from meshkit.events.asyncapi_keys import (
    KEY,
    KEY_OF_A_LETTER,
    KEY_OF_OTHERS,
    ONE_PARTITION,
    key_binding,
)
from meshkit.events.dead_letters import ATTEMPTS, REASON, SOURCE_PLACE
from meshkit.events.envelope import SOURCE, EventType, UserData
from meshkit.events.log import TOPICS, USER_EVENTS, USER_EVENTS_DLQ
from meshkit.events.topic_rules import topic_config
from meshkit.tenancy.identity import TENANT_ID_PATTERN, TENANT_UID_PATTERN

_TRACEPARENT_PATTERN = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
_ATTRIBUTES: dict[str, Any] = {
    "ce_specversion": {"type": "string", "const": "1.0"},
    "ce_id": {"type": "string", "minLength": 1, "description": "Identity of the event."},
    "ce_source": {"type": "string", "examples": [SOURCE]},
    "ce_time": {"type": "string", "format": "date-time", "description": "When it was accepted."},
    "ce_subject": USER_ID,
    "ce_tenantid": {"type": "string", "pattern": TENANT_ID_PATTERN},
    "ce_tenantuid": {
        "type": "string",
        "pattern": TENANT_UID_PATTERN,
        "description": "The tenant's incarnation: one that is made anew never sees old events.",
    },
    "content-type": {"type": "string", "const": "application/json"},
    "traceparent": {
        "type": "string",
        "pattern": _TRACEPARENT_PATTERN,
        "description": "W3C trace context of the request, where it had one.",
    },
}
_SUMMARIES = {
    EventType.CREATED: "A user was created, or created again under the same id",
    EventType.UPDATED: "A user was replaced",
    EventType.DELETED: "A user was deleted: no value, so that compaction ends the key",
}


def asyncapi_document() -> dict[str, Any]:
    """Return the document as JSON values."""
    messages = {
        **{_name(kind): _event_message(kind) for kind in EventType},
        "structuredCloudEvent": _structured_message(),
        "bareUser": _bare_message(),
        "tombstone": tombstone_message(key_binding(KEY)),
        "deadLetter": _dead_letter_message(),
    }
    written = [_name(kind) for kind in EventType]
    understood = [*written, "structuredCloudEvent", "bareUser", "tombstone"]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "DistributedAI Event Mesh",
            "version": "1.0.0",
            "description": "Events about the tenants' users. user-service writes them, the indexer"
            " of ai-gateway reads them. Records are CloudEvents 1.0 in Kafka's binary content"
            " mode; three more forms are understood from other producers.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "userEvents": _channel(USER_EVENTS, understood),
            "userEventsDlq": _channel(USER_EVENTS_DLQ, ["deadLetter"]),
        },
        "operations": {
            "publishUserEvent": _operation("send", "userEvents", written, "user-service"),
            "indexUserEvent": _operation("receive", "userEvents", understood, "the indexer"),
            "setEventAside": _operation("send", "userEventsDlq", ["deadLetter"], "the indexer"),
            "replayDeadLetter": _operation(
                "receive", "userEventsDlq", ["deadLetter"], "`mesh dlq replay`"
            ),
        },
        "components": {
            "messages": messages,
            "schemas": {"UserData": _user_data_schema()},
        },
    }


def asyncapi_yaml() -> str:
    """Return `docs/asyncapi.yaml`."""
    head = "# Generated from meshkit.events by `make docs`.\n"
    return head + yaml.dump(
        asyncapi_document(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100
    )


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice: people read this."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _name(kind: EventType) -> str:
    return "user" + kind.value.removeprefix("user.").capitalize()


def _user_data_schema() -> dict[str, Any]:
    _, components = msgspec.json.schema_components([UserData])
    schema: dict[str, Any] = components["UserData"]
    schema["properties"]["userId"] = USER_ID
    return schema


def _channel(topic: str, messages: Iterable[str]) -> dict[str, Any]:
    spec = next(spec for spec in TOPICS if spec.name == topic)
    config = topic_config(spec)
    return {
        "address": topic,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "kafka": {
                "topic": topic,
                "partitions": spec.partitions,
                "topicConfiguration": {
                    "cleanup.policy": [config["cleanup.policy"]],
                    "retention.ms": int(config["retention.ms"]),
                    "delete.retention.ms": int(config["delete.retention.ms"]),
                    "max.message.bytes": int(config["max.message.bytes"]),
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(action: str, channel: str, messages: Iterable[str], who: str) -> dict[str, Any]:
    verb = "writes" if action == "send" else "reads"
    return {
        "action": action,
        "summary": f"What {who} {verb}.",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _headers(required: Iterable[str], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": _ATTRIBUTES | more,
    }


def _event_message(kind: EventType) -> dict[str, Any]:
    optional = {"traceparent"}
    headers = _headers(
        [name for name in _ATTRIBUTES if name not in optional],
        ce_type={"type": "string", "const": kind.value},
    )
    headers["required"].append("ce_type")
    deleted = kind is EventType.DELETED
    return {
        "name": kind.value,
        "title": kind.value,
        "summary": _SUMMARIES[kind],
        "contentType": "application/json",
        "headers": headers,
        "payload": {"type": "null"} if deleted else {"$ref": "#/components/schemas/UserData"},
        "bindings": key_binding(KEY),
    }


def _structured_message() -> dict[str, Any]:
    names = ["ce_subject", "ce_source", "ce_time", "ce_tenantuid", "traceparent"]
    optional = {name.removeprefix("ce_"): or_null(_ATTRIBUTES[name]) for name in names}
    return {
        "name": "cloudevent",
        "title": "A CloudEvent in structured content mode",
        "summary": "Understood from other producers; without `tenantuid` the tenant of this name"
        " that is in force now is meant",
        "contentType": "application/cloudevents+json",
        "headers": {"type": "object", "properties": {"content-type": CONTENT_TYPE_OF_OTHERS}},
        "payload": {
            "type": "object",
            "required": ["specversion", "id", "type", "tenantid"],
            "properties": {
                "specversion": _ATTRIBUTES["ce_specversion"],
                "id": _ATTRIBUTES["ce_id"],
                "type": {"enum": [kind.value for kind in EventType]},
                "tenantid": _ATTRIBUTES["ce_tenantid"],
                **optional,
                **DATA_OF_OTHERS,
            },
        },
        "bindings": key_binding(KEY_OF_OTHERS),
    }


def _bare_message() -> dict[str, Any]:
    return {
        "name": "bare",
        "title": "A user as bare JSON",
        "summary": "Understood from other producers: creates or replaces the user. Without `userId`"
        " the e-mail identifies the person",
        "contentType": "application/json",
        "payload": {
            "type": "object",
            "required": ["tenantId", "email", "name"],
            "properties": _user_data_schema()["properties"],
        },
        "bindings": key_binding(KEY_OF_OTHERS),
    }


def _dead_letter_message() -> dict[str, Any]:
    added = {
        REASON: {"type": "string", "description": "Why it cannot be processed."},
        SOURCE_PLACE: {
            "type": "string",
            "pattern": r"^.+/\d+/\d+$",
            "description": "Topic, partition and offset that it came from.",
        },
        ATTEMPTS: {"type": "string", "pattern": r"^\d+$"},
    }
    return {
        "name": "dead-letter",
        "title": "A record that can never be processed",
        "summary": "The record with key, value and headers byte for byte; these are added",
        "headers": {"type": "object", "required": list(added), "properties": added},
        "payload": {},
        "bindings": key_binding(KEY_OF_A_LETTER, ONE_PARTITION),
    }


__all__ = ["asyncapi_document", "asyncapi_yaml"]
