"""One grammar of user ids for both ways in: what comes through the log can be read, replaced and
deleted over HTTP, and what HTTP refuses is not indexed."""

import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from apps import Mesh, running_mesh
from meshkit.events.log import USER_EVENTS, USER_EVENTS_DLQ, NewRecord
from waiting import eventually

A = {"X-Tenant-Id": "tenant-a"}
USER = {"name": "Ida Ident", "email": "ida@example.com"}


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with running_mesh() as mesh:
        yield mesh


async def publish(mesh: Mesh, user_id: str) -> None:
    value = json.dumps(USER | {"tenantId": "tenant-a", "userId": user_id}).encode()
    await mesh.log.publish(USER_EVENTS, NewRecord(user_id.encode(), value))


def stored(mesh: Mesh) -> list[str]:
    context = mesh.tenants.policies()["tenant-a"].context
    return [one.user.user_id for one in mesh.store._users(context)]


@pytest.mark.parametrize("over_http", [True, False])
@pytest.mark.parametrize(
    "user_id",
    [
        "auth0|5f7c8ec7",
        "ana+x@example.com",
        "a/b",
        "/a//b/",
        "cn=Ana First,ou=people",
        "https://idp.example.com/users/42?x=1#y",
        "x" * 255,
        "/" * 255,
        "search",
        "create",
        "-a;b&c=d",
        '<"\\^`{}>',
    ],
)
async def test_id_of_either_way_in_can_be_read_replaced_and_deleted(
    mesh: Mesh, user_id: str, over_http: bool
) -> None:
    if over_http:
        assert (await mesh.create("tenant-a", userId=user_id, **USER))["userId"] == user_id
    else:
        await publish(mesh, user_id)
    await eventually(lambda: stored(mesh) == [user_id])
    path = quote(user_id, safe="")
    if user_id == "search":
        path = "%73earch"  # as the description of the route says
    found = await mesh.gateway.get(f"/ai/users/{path}", headers=A)
    assert (found.status_code, found.json()["userId"]) == (200, user_id)
    changed = USER | {"name": "Ida Changed"}
    replaced = await mesh.users.put(f"/users/{path}", headers=A, json=changed | {"userId": user_id})
    assert replaced.status_code == 202
    await mesh.search("tenant-a", "ida", after=replaced.json()["position"])
    assert (await mesh.gateway.get(f"/ai/users/{path}", headers=A)).json()["name"] == "Ida Changed"
    deleted = await mesh.users.delete(f"/users/{path}", headers=A)
    assert deleted.status_code == 202
    await mesh.search("tenant-a", "ida", after=deleted.json()["position"])
    assert (await mesh.gateway.get(f"/ai/users/{path}", headers=A)).status_code == 404


@pytest.mark.parametrize("user_id", ["..", "a/../b", "a%2Fb", " a", "é", "x" * 256])
async def test_id_outside_the_grammar_is_refused_both_ways(mesh: Mesh, user_id: str) -> None:
    refused = await mesh.users.post("/users", headers=A, json=USER | {"userId": user_id})
    assert refused.status_code == 422
    path = quote(user_id, safe="").replace("..", "%2E%2E")
    for answer in (
        await mesh.users.put(f"/users/{path}", headers=A, json=USER),
        await mesh.users.delete(f"/users/{path}", headers=A),
        await mesh.gateway.get(f"/ai/users/{path}", headers=A),
    ):
        # httpx tidies `..` away, whatever way it is written.
        assert answer.status_code in ((422, 404, 405) if user_id == ".." else (422,))
    await publish(mesh, user_id)
    await eventually(lambda: len(mesh.log.partitions(USER_EVENTS_DLQ)[0]) == 1)
    assert stored(mesh) == []
    why = dict(mesh.log.partitions(USER_EVENTS_DLQ)[0][0].headers)["mesh_dlq_reason"].decode()
    rule = refused.json()["errors"][0]["message"].removeprefix("must be ")
    assert why == f"userId: {rule}"
