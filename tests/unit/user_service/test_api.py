"""The routes of user-service, from bytes to the record in the log."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from unittest import mock

import pytest

from apps import Mesh, running_mesh
from builders import make_context, make_limit, make_policy
from meshkit.errors import LogUnavailable
from meshkit.events.log import USER_EVENTS, NewRecord, Position, Record
from meshkit.events.memory_log import MemoryEventLog
from meshkit.events.position import PositionSealer, Written
from user_service.validation import validated

A = {"X-Tenant-Id": "tenant-a"}
ALICE = {"name": "Alice Doe", "email": "alice@example.com"}


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with running_mesh() as mesh:
        yield mesh


def records(mesh: Mesh) -> list[Record]:
    return [record for partition in mesh.log.partitions(USER_EVENTS) for record in partition]


async def test_accepted_user_is_one_event_in_the_log(mesh: Mesh) -> None:
    accepted = await mesh.create("tenant-a", attributes={"team": "x"})
    assert accepted["tenantId"] == "tenant-a"
    assert accepted["status"] == "accepted"
    (record,) = records(mesh)
    headers = dict(record.headers)
    assert headers["ce_id"].decode() == accepted["eventId"]
    assert headers["ce_subject"].decode() == accepted["userId"]
    assert headers["ce_type"] == b"user.created"
    assert record.key.decode() == f"uid-of-tenant-a/{accepted['userId']}"
    assert json.loads(record.value or b"")["attributes"] == {"team": "x"}


async def test_position_is_the_events_place_sealed(mesh: Mesh) -> None:
    accepted = await mesh.create("tenant-a")
    (record,) = records(mesh)
    opened = PositionSealer(bytes(range(32))).open(make_context("tenant-a"), accepted["position"])
    place = record.position
    assert opened == Written(accepted["userId"], place)


async def test_both_paths_create(mesh: Mesh) -> None:
    for path in ("/users", "/users/create"):
        assert (await mesh.users.post(path, headers=A, json=ALICE)).status_code == 202
    assert len(records(mesh)) == 2


async def test_idempotency_key_makes_a_retry_the_same_user(mesh: Mesh) -> None:
    ids = set()
    for key, tenant in [("k", "tenant-a"), ("k", "tenant-a"), ("l", "tenant-a"), ("k", "tenant-b")]:
        headers = {"X-Tenant-Id": tenant, "Idempotency-Key": key}
        ids.add((await mesh.users.post("/users", headers=headers, json=ALICE)).json()["userId"])
    assert len(ids) == 3


@pytest.mark.parametrize("key", ["", "x" * 256, "a b"])
async def test_odd_idempotency_key_is_refused(mesh: Mesh, key: str) -> None:
    answer = await mesh.users.post("/users", headers=A | {"Idempotency-Key": key}, json=ALICE)
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "Idempotency-Key")


async def test_given_user_id_is_kept(mesh: Mesh) -> None:
    assert (await mesh.create("tenant-a", userId="crm:42"))["userId"] == "crm:42"


@pytest.mark.parametrize("user_id", ["", "a%b", " x", "x" * 256, "a\u200bb", "..%2f", "a\n"])
async def test_odd_user_id_is_refused(mesh: Mesh, user_id: str) -> None:
    answer = await mesh.users.post("/users", headers=A, json=ALICE | {"userId": user_id})
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "userId")
    assert records(mesh) == []


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({"email": "a@example.com"}, ["name"]),
        ({"name": "A"}, ["email"]),
        ({"name": "A", "email": "nobody"}, ["email"]),
        ({"name": "\x00", "email": "nobody"}, ["name", "email"]),
        ({"name": "x" * 201, "email": "a@example.com"}, ["name"]),
        ({"name": 5, "email": "a@example.com"}, ["name"]),
        (ALICE | {"tenantId": "tenant-b"}, ["tenantId"]),
        (ALICE | {"attributes": []}, ["attributes"]),
    ],
)
async def test_bad_user_is_refused_with_every_field(
    mesh: Mesh, body: dict[str, Any], paths: list[str]
) -> None:
    answer = await mesh.users.post("/users/create", headers=A, json=body)
    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.json()["errors"]] == paths
    assert records(mesh) == []


async def test_put_replaces_and_delete_leaves_a_tombstone(mesh: Mesh) -> None:
    replaced = await mesh.users.put("/users/u-1", headers=A, json=ALICE)
    deleted = await mesh.users.delete("/users/u-1", headers=A)
    assert (replaced.status_code, deleted.status_code) == (202, 202)
    first, second = records(mesh)
    assert dict(first.headers)["ce_type"] == b"user.updated"
    assert (dict(second.headers)["ce_type"], second.value) == (b"user.deleted", None)
    assert first.key == second.key


async def test_put_with_another_id_in_the_body_is_refused(mesh: Mesh) -> None:
    answer = await mesh.users.put("/users/u-1", headers=A, json=ALICE | {"userId": "u-2"})
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "userId")


async def test_batch_has_a_result_for_each_user(mesh: Mesh) -> None:
    users = [ALICE, {"name": "", "email": "b@example.com"}, ALICE | {"userId": "u-3"}]
    answer = await mesh.users.post("/users:batch", headers=A, json=users)
    assert answer.status_code == 207
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (2, 1)
    assert [r["status"] for r in body["results"]] == ["accepted", "rejected", "accepted"]
    assert body["results"][1]["problem"]["code"] == "invalid-request"
    assert len(records(mesh)) == 2


async def test_ndjson_batch_is_the_same(mesh: Mesh) -> None:
    lines = "\n".join(json.dumps(ALICE | {"userId": f"u{n}"}) for n in range(3)) + "\n\n"
    headers = A | {"content-type": "application/x-ndjson"}
    answer = await mesh.users.post("/users:batch", headers=headers, content=lines)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 3)


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("path", "media_type", "body"),
    [
        ("/users", "application/json", json.dumps(ALICE)),
        ("/users:batch", "application/json", json.dumps([ALICE, ALICE])),
        ("/users:batch", "application/x-ndjson", "\r\n".join([json.dumps(ALICE)] * 2)),
    ],
)
async def test_one_byte_order_mark_is_skipped(
    mesh: Mesh, path: str, media_type: str, body: str
) -> None:
    headers = A | {"content-type": media_type}
    marked = await mesh.users.post(path, headers=headers, content=BOM + body.encode())
    assert marked.status_code == 202, marked.text
    twice = await mesh.users.post(path, headers=headers, content=BOM + BOM + body.encode())
    assert twice.status_code in (207, 400)
    assert "not well-formed JSON" in twice.text


async def test_byte_order_mark_within_a_batch_costs_its_line_only(mesh: Mesh) -> None:
    line = json.dumps(ALICE).encode()
    headers = A | {"content-type": "application/x-ndjson"}
    answer = await mesh.users.post(
        "/users:batch", headers=headers, content=line + b"\n" + BOM + line
    )
    assert [r["status"] for r in answer.json()["results"]] == ["accepted", "rejected"]


async def test_batch_over_the_bucket_is_taken_in_part() -> None:
    limit = make_limit("users.write", requests=2, burst=3)
    async with running_mesh(make_policy("tenant-a", limit)) as mesh:
        answer = await mesh.users.post("/users:batch", headers=A, json=[ALICE] * 5)
        again = await mesh.users.post("/users:batch", headers=A, json=[ALICE])
        body = answer.json()
        assert (answer.status_code, body["accepted"]) == (207, 3)
        refused = body["results"][3]["problem"]
        assert (refused["code"], refused["retryAfterSeconds"]) == ("rate-limited", 0.5)
        assert answer.headers["ratelimit"].startswith('"users.write";r=0')
        assert (again.status_code, again.headers["retry-after"]) == (429, "1")


async def test_batch_is_read_as_far_as_the_limit_admits() -> None:
    limit = make_limit("users.write", requests=3, window_seconds=3600)
    with mock.patch("user_service.batch.validated", wraps=validated) as read:
        async with running_mesh(make_policy("tenant-a", limit)) as mesh:
            answer = await mesh.users.post("/users:batch", headers=A, json=[ALICE] * 4 + [1])
            again = await mesh.users.post("/users:batch", headers=A, json=[ALICE] * 5)
    codes = [result["problem"]["code"] for result in answer.json()["results"][3:]]
    assert (codes, again.status_code) == (["rate-limited"] * 2, 429)
    assert read.call_count == 3


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"[]", 422), (b"{}", 422), (b"[", 400), (b"[1]", 207), (json.dumps([ALICE] * 1001), 422)],
)
async def test_odd_batch_is_refused(mesh: Mesh, content: bytes, status: int) -> None:
    headers = A | {"content-type": "application/json"}
    answer = await mesh.users.post("/users:batch", headers=headers, content=content)
    assert answer.status_code == status
    assert records(mesh) == []


async def test_idempotent_batch_is_the_same_users(mesh: Mesh) -> None:
    headers = A | {"Idempotency-Key": "b-1"}
    ids = []
    for _ in range(2):
        answer = await mesh.users.post("/users:batch", headers=headers, json=[ALICE, ALICE])
        ids.append([result["userId"] for result in answer.json()["results"]])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


async def test_trace_goes_from_the_request_into_the_event(mesh: Mesh) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for value in (trace, "nonsense"):
        await mesh.users.post("/users", headers=A | {"traceparent": value}, json=ALICE)
    traces = {dict(record.headers).get("traceparent") for record in records(mesh)}
    assert traces == {trace.encode(), None}


class BrokenLog(MemoryEventLog):
    """A log that takes no users."""

    async def publish_many(self, topic: str, records: Sequence[NewRecord]) -> Sequence[Position]:
        if topic == USER_EVENTS:
            raise LogUnavailable("the disk is full", retry_after=1.0)
        return await super().publish_many(topic, records)


@pytest.mark.parametrize("path", ["/users/create", "/users:batch"])
async def test_what_the_log_does_not_take_is_not_accepted(path: str) -> None:
    async with running_mesh(log=BrokenLog()) as mesh:
        body = [ALICE] if path.endswith("batch") else ALICE
        answer = await mesh.users.post(path, headers=A, json=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "log-unavailable")
    assert answer.headers["retry-after"] == "1"
