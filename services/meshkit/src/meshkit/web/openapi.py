"""The OpenAPI 3.1 document of a service, from its table of operations.

Schemas come from the msgspec types that decode and encode the bodies, errors from the tree in
`meshkit.errors`: what the document says is what the code does.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from meshkit.errors import (
    InternalError,
    MeshError,
    Overloaded,
    RateLimited,
    TenantMismatch,
    TenantRequired,
    TenantSuspended,
    TenantTerminating,
    TenantUnknown,
)
from meshkit.web.operation import Operation
from meshkit.web.problem import problem_document

_TENANT_ERRORS: tuple[type[MeshError], ...] = (
    TenantRequired,
    TenantUnknown,
    TenantMismatch,
    TenantSuspended,
    TenantTerminating,
    Overloaded,
)
_PROBLEM_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem document.",
    "required": ["type", "title", "status", "code", "detail", "requestId"],
    "properties": {
        "type": {"type": "string", "description": "Path of a page about this kind of refusal."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable code, for programs."},
        "detail": {"type": "string", "description": "What is wrong with this very request."},
        "requestId": {"type": "string"},
        "retryAfterSeconds": {"type": "number"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_LIMIT_HEADERS = {
    "RateLimit": {
        "description": "What is left of the tenant's rate limit (draft-ietf-httpapi-ratelimit-10).",
        "schema": {"type": "string"},
        "example": '"users.write";r=99;t=1',
    },
    "RateLimit-Policy": {
        "description": "The tenant's rate limit.",
        "schema": {"type": "string"},
        "example": '"users.write";q=50;w=1;burst=100',
    },
}
_REF = "#/components/schemas/{name}"


def openapi_document(
    title: str, description: str, version: str, operations: Iterable[Operation]
) -> dict[str, Any]:
    """Return the document as JSON values."""
    table = tuple(operations)
    types = [t for o in table for t in (o.response, o.body.type if o.body else None) if t]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = {id(t): schema for t, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in table:
        for path in (operation.path, *operation.aliases):
            described = _operation(operation, by_type, alias=path != operation.path)
            paths.setdefault(path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": description,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"tenant": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM_SCHEMA},
            "securitySchemes": {
                "tenant": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Tenant-Id",
                    "description": "The tenant, where MESH_AUTH_MODE is `header`.",
                }
            },
        },
    }


def _operation(operation: Operation, by_type: Mapping[int, Any], *, alias: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "operationId": f"{operation.name}_alias" if alias else operation.name,
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
        "parameters": [_parameter(p) for p in operation.parameters],
        "responses": _responses(operation, by_type),
    }
    if not operation.tenant_scoped:
        document["security"] = []
    if operation.body is not None:
        schema = by_type[id(operation.body.type)]
        examples = {name: {"value": value} for name, value in operation.body.examples.items()}
        document["requestBody"] = {
            "required": True,
            "content": {
                media_type: {"schema": schema, "examples": examples}
                for media_type in operation.body.content_types
            },
        }
    return document


def _parameter(parameter: Any) -> dict[str, Any]:
    document = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.required,
        "schema": dict(parameter.schema),
    }
    if parameter.example is not None:
        document["example"] = parameter.example
    return document


def _responses(operation: Operation, by_type: Mapping[int, Any]) -> dict[str, Any]:
    limited = {"headers": _LIMIT_HEADERS} if operation.limit else {}
    content: dict[str, Any] = {}
    if operation.response is not None:
        content = {
            operation.response_content_type: {
                "schema": by_type[id(operation.response)],
                "example": operation.response_example,
            }
        }
    responses: dict[str, Any] = {
        str(operation.status): {
            "description": HTTPStatus(operation.status).phrase,
            "content": content,
            **limited,
        }
    }
    for status, description in operation.also.items():
        responses[str(status)] = {"description": description, "content": content, **limited}
    for status, errors in sorted(_errors_by_status(operation).items()):
        responses[str(status)] = {
            "description": "; ".join(f"`{e.code}`: {e.meaning}" for e in errors),
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": _REF.format(name="Problem")},
                    "examples": {e.code: {"value": _example(e)} for e in errors},
                }
            },
            **(limited if status == 429 else {}),
        }
    return responses


def _errors_by_status(operation: Operation) -> dict[int, list[type[MeshError]]]:
    errors: list[type[MeshError]] = [*operation.errors, InternalError]
    if operation.tenant_scoped:
        errors += _TENANT_ERRORS
    if operation.limit is not None:
        errors.append(RateLimited)
    by_status: dict[int, list[type[MeshError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return by_status


def _example(error: type[MeshError]) -> dict[str, object]:
    example = error(error.meaning, retry_after=1.0 if error.retryable else None)
    return problem_document(example, "4f1d0c9be2a74d10")


__all__ = ["openapi_document"]
