"""Operations that every service has: health, error pages, its own description, and what a tenant
may know of itself."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from meshkit.clock import WallClock, utc_now
from meshkit.errors import MeshError, RouteNotFound
from meshkit.tenancy.identity import TenantContext
from meshkit.web.call import Call, Reply
from meshkit.web.openapi import openapi_document
from meshkit.web.operation import Operation, Parameter
from meshkit.web.problem import error_page
from meshkit.web.rate_limits import RateLimits
from meshkit.web.tenant_self import TENANT_SELF_EXAMPLE, TenantSelf, tenant_self

Usage = Callable[[TenantContext], Awaitable[Mapping[str, int]]]
"""Returns how much of each quota a tenant has used, as far as this service knows."""

_encode = msgspec.json.Encoder().encode


class Health(msgspec.Struct):
    """The service answers."""

    status: str
    service: str
    version: str


class ErrorPage(msgspec.Struct):
    """What an error code means and what to do about it."""

    code: str
    status: int
    title: str
    meaning: str
    remedy: str
    retryable: bool


def with_common_operations(
    operations: tuple[Operation, ...],
    *,
    service: str,
    description: str,
    version: str,
    limits: RateLimits,
    usage: Usage,
    wall_clock: WallClock = utc_now,
) -> tuple[Operation, ...]:
    """Return a service's whole table: its own operations and those that every service has."""
    health = _encode(Health("ok", service, version))
    document: list[bytes] = []

    async def answer_health(_: Call) -> Reply:
        return Reply(200, health)

    async def answer_error_page(call: Call) -> Reply:
        wants_html = "text/html" in (call.header(b"accept") or "")
        page = error_page(call.path["id"], html=wants_html)
        if page is None:
            raise RouteNotFound("there is no error code of this name")
        return page

    async def answer_self(call: Call) -> Reply:
        await limits.learn(call)
        used = await usage(call.tenant)
        return Reply(200, _encode(tenant_self(call, limits, used, wall_clock())))

    async def answer_openapi(_: Call) -> Reply:
        return Reply(200, document[0])

    table = (*operations, *_common(answer_health, answer_self, answer_error_page, answer_openapi))
    document.append(_encode(openapi_document(service, description, version, table)))
    return table


def _common(health: Any, myself: Any, page: Any, openapi: Any) -> tuple[Operation, ...]:
    error: tuple[type[MeshError], ...] = (RouteNotFound,)
    return (
        Operation(
            method="GET",
            path="/health",
            name="getHealth",
            summary="Is the service up",
            description="Answers as soon as the service takes requests.",
            tag="service",
            handler=health,
            status=200,
            response=Health,
            response_example={"status": "ok", "service": "user-service", "version": "0.1.0"},
            tenant_scoped=False,
        ),
        Operation(
            method="GET",
            path="/tenants/self",
            name="getTenantSelf",
            summary="My limits and usage",
            description="The tenant's own limits, where each comes from, and what is left of them.",
            tag="tenant",
            handler=myself,
            status=200,
            response=TenantSelf,
            response_example=TENANT_SELF_EXAMPLE,
        ),
        Operation(
            method="GET",
            path="/errors/{id}",
            name="getErrorPage",
            summary="What an error means",
            description="The page that the `type` of a problem document points to.",
            tag="service",
            handler=page,
            status=200,
            response=ErrorPage,
            response_example={
                "code": "tenant-unknown",
                "status": 403,
                "title": "Unknown tenant",
                "meaning": "No tenant of this name exists here.",
                "remedy": "Check the spelling.",
                "retryable": False,
            },
            tenant_scoped=False,
            parameters=(
                Parameter("id", "path", "Error code.", {"type": "string"}, True, "tenant-unknown"),
            ),
            errors=error,
        ),
        Operation(
            method="GET",
            path="/openapi.json",
            name="getOpenApi",
            summary="This document",
            description="The OpenAPI document of this service.",
            tag="service",
            handler=openapi,
            status=200,
            response=dict[str, Any],
            response_example={"openapi": "3.1.0"},
            tenant_scoped=False,
        ),
    )


__all__ = ["Usage", "with_common_operations"]
