"""What the AsyncAPI document says of user ids, and of what only other producers write."""

from typing import Any

from meshkit.user_ids import USER_ID_MAX_LENGTH, USER_ID_PATTERN, USER_ID_RULE

USER_ID: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": USER_ID_MAX_LENGTH,
    "pattern": USER_ID_PATTERN,
    "description": f"Id of the user within the tenant: {USER_ID_RULE}.",
}
DATA_OF_OTHERS: dict[str, Any] = {
    "data": {
        "type": ["object", "string", "null"],
        "description": "As UserData; also as a JSON string that holds it as JSON.",
    },
    "data_base64": {
        "type": ["string", "null"],
        "contentEncoding": "base64",
        "contentMediaType": "application/json",
        "description": "In place of `data`: the same as base64.",
    },
}
CONTENT_TYPE_OF_OTHERS: dict[str, Any] = {
    "type": "string",
    "examples": ["application/cloudevents+json", "application/json"],
    "description": "In any letter case, with any parameters. Not needed: a JSON object with a"
    " `specversion` is a CloudEvent. Batches are not read.",
}


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an attribute that may be null, which is as good as left out."""
    return {"anyOf": [schema, {"type": "null"}]}


def tombstone_message(bindings: dict[str, Any]) -> dict[str, Any]:
    """Return the message of a record that has neither a value nor attributes."""
    return {
        "name": "tombstone",
        "title": "A record without value and attributes",
        "summary": "Understood from other producers: deletes the user of its key. The uid in the"
        " key has to be that of a tenant in force",
        "payload": {"type": "null"},
        "bindings": bindings,
    }


__all__ = [
    "CONTENT_TYPE_OF_OTHERS",
    "DATA_OF_OTHERS",
    "USER_ID",
    "or_null",
    "tombstone_message",
]
