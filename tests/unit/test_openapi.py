"""The OpenAPI documents: valid, complete, and true to the answers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from openapi_spec_validator import validate

from apps import Mesh, running_mesh
from meshkit.errors import catalogue

A = {"X-Tenant-Id": "tenant-a"}
SERVICES = ("users", "gateway")
# Refusals that no route declares for itself: they belong to paths that are not there, or not on
# the public ports.
UNDECLARED = {
    "route-not-found",
    "method-not-allowed",
    "overloaded",
    "quota-exceeded",
    "tenant-not-terminating",
}


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with running_mesh() as mesh:
        yield mesh


async def document(mesh: Mesh, service: str) -> dict[str, Any]:
    body: dict[str, Any] = (await getattr(mesh, service).get("/openapi.json")).json()
    return body


@pytest.mark.parametrize("service", SERVICES)
async def test_document_is_valid_openapi(mesh: Mesh, service: str) -> None:
    validate(await document(mesh, service))


@pytest.mark.parametrize("service", SERVICES)
async def test_every_operation_has_an_example_and_its_errors(mesh: Mesh, service: str) -> None:
    for path, methods in (await document(mesh, service))["paths"].items():
        for operation in methods.values():
            responses = operation["responses"]
            success = next(r for status, r in responses.items() if status.startswith("2"))
            (content,) = success["content"].values()
            assert content["example"], path
            assert "500" in responses, path
            if operation.get("security") != []:
                assert {"401", "403"} <= set(responses), path
            if "RateLimit" in success.get("headers", {}):
                assert "429" in responses, path


async def test_every_refusal_is_documented_somewhere(mesh: Mesh) -> None:
    documented = {
        code
        for service in SERVICES
        for methods in (await document(mesh, service))["paths"].values()
        for operation in methods.values()
        for response in operation["responses"].values()
        for content in response["content"].values()
        for code in content.get("examples", {})
    }
    assert {error.code for error in catalogue()} - documented <= UNDECLARED | {"token-invalid"}


async def test_request_examples_are_accepted(mesh: Mesh) -> None:
    for path, methods in (await document(mesh, "users"))["paths"].items():
        for method, operation in methods.items():
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                for example in content["examples"].values():
                    if media_type != "application/json":
                        continue
                    body = example["value"]
                    user_id = body.get("userId", "u") if isinstance(body, dict) else "u"
                    target = path.replace("{userId}", user_id)
                    answer = await mesh.users.request(method, target, headers=A, json=body)
                    assert answer.status_code == 202, (path, answer.text)


async def test_answers_have_the_shape_of_their_examples(mesh: Mesh) -> None:
    accepted = await mesh.create("tenant-a", userId="alice-1", attributes={"team": "x"})
    users, gateway = (await document(mesh, "users"))["paths"], (await document(mesh, "gateway"))
    await mesh.search("tenant-a", "alice", after=accepted["position"])
    for paths, client, path in (
        (users, mesh.users, "/health"),
        (users, mesh.users, "/tenants/self"),
        (gateway["paths"], mesh.gateway, "/ai/users/search"),
        (gateway["paths"], mesh.gateway, "/ai/users/{userId}"),
    ):
        response = paths[path]["get"]["responses"]["200"]
        example = response["content"]["application/json"]["example"]
        target = path.replace("{userId}", "alice-1")
        query = "?query=alice" if path.endswith("search") else ""
        answer = (await client.get(target + query, headers=A)).json()
        assert answer.keys() == example.keys(), path
    post = users["/users/create"]["post"]["responses"]["202"]
    assert accepted.keys() == post["content"]["application/json"]["example"].keys()
