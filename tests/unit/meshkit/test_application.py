"""The pipeline of a request: who may call, what is charged, how a refusal looks."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builders import make_limit, make_policy
from meshkit.errors import UserNotFound
from meshkit.limits.gcra import RateLimiter
from meshkit.tenancy.policy import Enforcement, TenantPolicy, TenantState
from meshkit.tenancy.source import TenantProblem
from meshkit.web.application import Application
from meshkit.web.authentication import HeaderAuthenticator
from meshkit.web.body import decode_json
from meshkit.web.call import Call, Reply
from meshkit.web.common import with_common_operations
from meshkit.web.operation import Body, Operation, Parameter
from meshkit.web.rate_limits import RateLimits
from waiting import eventually


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    """A body."""

    size: int
    tags: list[str] = []


class Policies:
    """A tenant source that holds what the test puts in."""

    def __init__(self, *policies: TenantPolicy) -> None:
        self.all = {policy.tenant_id: policy for policy in policies}

    def get(self, tenant_id: str) -> TenantPolicy | None:
        return self.all.get(tenant_id)  # type: ignore[call-overload, no-any-return]

    def policies(self) -> dict[Any, TenantPolicy]:
        return dict(self.all)

    def problems(self) -> list[TenantProblem]:
        return []

    async def start(self) -> None: ...

    async def loaded(self) -> None:
        """Everything is there."""

    async def check(self) -> str | None:
        return None

    def freshness(self) -> str:
        return "as given"

    async def close(self) -> None: ...


async def echo(call: Call) -> Reply:
    body = {"tenant": call.tenant.tenant_id, "body": msgspec.to_builtins(call.body)}
    return Reply(200, msgspec.json.encode(body | {"query": dict(call.query)}))


async def fail(_: Call) -> Reply:
    raise ZeroDivisionError("secret detail")


async def missing(_: Call) -> Reply:
    raise UserNotFound("nobody")


decode_thing = msgspec.json.Decoder(Thing).decode
PUT_THING = Operation(
    method="POST",
    path="/things",
    name="postThing",
    summary="s",
    description="d",
    tag="t",
    handler=echo,
    status=200,
    response=Thing,
    response_example={"size": 1},
    limit="users.write",
    body=Body(Thing, lambda _, raw: decode_json(decode_thing, raw), {}, limit=1024),
)
OPERATIONS = (
    PUT_THING,
    replace(
        PUT_THING,
        method="GET",
        name="getThings",
        body=None,
        parameters=(Parameter("tenant_id", "query", "", {}), Parameter("q", "query", "", {})),
    ),
    replace(PUT_THING, path="/fail", name="fail", handler=fail, body=None, limit=None),
    replace(PUT_THING, path="/missing/{id}", name="missing", handler=missing, body=None),
)
A = {"x-tenant-id": "tenant-a"}


def make_app(*policies: TenantPolicy) -> Application:
    limits = RateLimits(RateLimiter(lambda: 1000.0))

    async def usage(_: Any) -> dict[str, int]:
        return {"storedUsers": 7}

    table = with_common_operations(
        OPERATIONS, service="test", description="", version="1", limits=limits, usage=usage
    )
    return Application(
        table, authenticator=HeaderAuthenticator(), tenants=Policies(*policies), limits=limits
    )


def client_of(*policies: TenantPolicy) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(make_app(*policies))
    return httpx.AsyncClient(transport=transport, base_url="http://mesh")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_policy("tenant-a"), make_policy("tenant-b")) as client:
        yield client


async def test_answers_for_the_tenant_of_the_header(client: httpx.AsyncClient) -> None:
    answer = await client.post("/things", headers=A, json={"size": 3})
    assert answer.status_code == 200
    assert answer.json() == {"tenant": "tenant-a", "body": {"size": 3, "tags": []}, "query": {}}


@pytest.mark.parametrize(
    ("headers", "query", "status", "code"),
    [
        ([], "", 401, "tenant-required"),
        ([("x-tenant-id", "")], "", 401, "tenant-required"),
        ([("x-tenant-id", "nobody")], "", 403, "tenant-unknown"),
        ([("x-tenant-id", "Tenant-A")], "", 403, "tenant-unknown"),
        ([("x-tenant-id", "tenant-a%2f..")], "", 403, "tenant-unknown"),
        ([("x-tenant-id", "tenant-a, tenant-b")], "", 403, "tenant-unknown"),
        ([("x-tenant-id", "tenant-a"), ("x-tenant-id", "tenant-b")], "", 403, "tenant-mismatch"),
        ([("x-tenant-id", "tenant-a"), ("x-tenant-id", "tenant-a")], "", 403, "tenant-mismatch"),
        ([("x-tenant-id", "tenant-a")], "?tenant_id=tenant-b", 403, "tenant-mismatch"),
        ([("x-tenant-id", "tenant-a")], "?tenant_id=", 403, "tenant-mismatch"),
        ([], "?tenant_id=tenant-a&tenant_id=tenant-b", 422, "invalid-request"),
        ([], "?tenant=tenant-a", 422, "invalid-request"),
    ],
)
async def test_doubt_about_the_tenant_is_refused(
    client: httpx.AsyncClient, headers: list[tuple[str, str]], query: str, status: int, code: str
) -> None:
    answer = await client.get(f"/things{query}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"/errors/{code}"


async def test_header_and_parameter_that_agree_are_one_tenant(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things?tenant_id=tenant-a", headers=A)
    assert answer.json()["tenant"] == "tenant-a"


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (TenantState.SUSPENDED, "tenant-suspended"),
        (TenantState.TERMINATING, "tenant-terminating"),
    ],
)
async def test_tenant_that_is_not_active_is_refused(state: TenantState, code: str) -> None:
    async with client_of(make_policy("tenant-a", state=state)) as client:
        answer = await client.get("/things", headers=A)
    assert (answer.status_code, answer.json()["code"]) == (403, code)


async def test_empty_bucket_is_a_429_with_the_tenants_numbers() -> None:
    limit = make_limit("users.write", requests=2, window_seconds=10)
    async with client_of(make_policy("tenant-a", limit)) as client:
        answers = [await client.get("/things", headers=A) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit"] == '"users.write";r=1;t=5'
    refused = answers[2]
    assert refused.headers["retry-after"] == "5"
    assert refused.headers["ratelimit-policy"] == '"users.write";q=2;w=10;burst=2'
    assert refused.json()["limit"] == {
        "name": "users.write",
        "requests": 2,
        "windowSeconds": 10,
        "burst": 2,
        "remaining": 0,
        "resetSeconds": 10.0,
        "provenance": "override",
    }


async def test_limit_of_zero_lets_nothing_pass_and_names_no_time() -> None:
    async with client_of(make_policy("tenant-a", make_limit(requests=0))) as client:
        answer = await client.get("/things", headers=A)
    assert answer.status_code == 429
    assert "retry-after" not in answer.headers


async def test_shadow_refuses_nothing() -> None:
    policy = make_policy("tenant-a", make_limit(requests=1), enforcement=Enforcement.SHADOW)
    async with client_of(policy) as client:
        answers = [await client.get("/things", headers=A) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}


async def test_shadow_counts_what_it_would_refuse_and_shows_it_to_the_tenant() -> None:
    limits = [make_limit(name, requests=2) for name in ("users.write", "users.search")]
    shadow = make_policy("tenant-a", *limits, enforcement=Enforcement.SHADOW)
    async with client_of(shadow, make_policy("tenant-b", *limits)) as client:
        for tenant in ("tenant-a", "tenant-b"):
            for _ in range(5):
                await client.get("/things", headers={"x-tenant-id": tenant})
        seen = {
            tenant: (await client.get("/tenants/self", headers={"x-tenant-id": tenant})).json()
            for tenant in ("tenant-a", "tenant-b")
        }
    counts = {
        tenant: {limit["name"]: limit["wouldRefuse"] for limit in myself["rateLimits"]}
        for tenant, myself in seen.items()
    }
    # Three of tenant-b's were refused, so there is nothing that would be.
    nothing = {"users.write": 0, "users.search": 0, "ai.requests": 0}
    assert counts == {"tenant-a": nothing | {"users.write": 3}, "tenant-b": nothing}


TOLD = [
    ("GET", "/things", A, 200),
    ("GET", "/things?q=%ff", A, 422),
    ("GET", "/things?unknown=1", A, 422),
    ("GET", "/things?q=1&q=2", A, 422),
    ("POST", "/things", A, 415),
    ("POST", "/missing/1", A, 404),
    ("HEAD", "/things", A, 200),
    ("GET", "/things", {"x-tenant-id": "tenant-s"}, 403),
    ("GET", "/things?q=%ff", {"x-tenant-id": "tenant-s"}, 422),
    ("POST", "/things", {"x-tenant-id": "tenant-t"}, 403),
]


@pytest.mark.parametrize(("method", "path", "headers", "status"), TOLD)
async def test_every_answer_of_a_limited_route_tells_the_limit(
    method: str, path: str, headers: dict[str, str], status: int
) -> None:
    policies = [
        make_policy("tenant-a"),
        make_policy("tenant-s", state=TenantState.SUSPENDED),
        make_policy("tenant-t", state=TenantState.TERMINATING),
    ]
    async with client_of(*policies) as client:
        answer = await client.request(method, path, headers=headers)
    assert answer.status_code == status
    assert answer.headers["ratelimit"].startswith('"users.write";r=')
    assert answer.headers["ratelimit-policy"].startswith('"users.write";q=')


async def test_fault_on_a_limited_route_tells_the_limit_too() -> None:
    app = Application(
        [replace(PUT_THING, handler=fail)],
        authenticator=HeaderAuthenticator(),
        tenants=Policies(make_policy("tenant-a")),
        limits=RateLimits(RateLimiter(lambda: 1000.0)),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mesh") as c:
        answer = await c.post("/things", headers=A, json={"size": 1})
    assert (answer.status_code, "ratelimit" in answer.headers) == (500, True)


async def test_stranger_is_told_no_limit(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"x-tenant-id": "nobody"}, {"x-tenant-id": "tenant-a,tenant-b"}):
        answer = await client.get("/things?q=%ff", headers=headers)
        assert answer.status_code == 422
        assert "ratelimit" not in answer.headers


async def test_query_that_cannot_be_read_costs_nothing(client: httpx.AsyncClient) -> None:
    before = (await client.get("/things?unknown=1", headers=A)).headers["ratelimit"]
    assert (await client.get("/things?unknown=1", headers=A)).headers["ratelimit"] == before


class SettableClock:
    """A monotonic clock that moves when a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@settings(max_examples=60, deadline=None)
@given(
    requests=st.integers(1, 10_000),
    window=st.integers(1, 86_400),
    burst=st.integers(1, 20),
    arrivals=st.lists(st.floats(0, 100), max_size=30),
    by_body=st.booleans(),
)
# The sum of these floats is a second and a little.
@example(requests=1, window=1, burst=1, arrivals=[23.595098102929924], by_body=False)
# To the nearest thousandth it would be too early.
@example(requests=3, window=1, burst=1, arrivals=[], by_body=True)
async def test_waiting_as_long_as_retry_after_says_lets_it_in(
    requests: int, window: int, burst: int, arrivals: list[float], by_body: bool
) -> None:
    """By the header alone, in whole seconds, or by the body alone, in thousandths."""
    clock = SettableClock()
    limit = make_limit("users.write", requests=requests, window_seconds=window, burst=burst)
    app = Application(
        OPERATIONS,
        authenticator=HeaderAuthenticator(),
        tenants=Policies(make_policy("tenant-a", limit)),
        limits=RateLimits(RateLimiter(clock)),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mesh") as c:
        for pause in arrivals:
            clock.now += pause
            await c.get("/things", headers=A)
        while (refused := await c.get("/things", headers=A)).status_code == 200:
            pass
        assert refused.status_code == 429
        exact, whole = refused.json()["retryAfterSeconds"], int(refused.headers["retry-after"])
        assert exact <= whole < max(exact, 1.0) + 1
        clock.now += exact if by_body else whole
        assert (await c.get("/things", headers=A)).status_code == 200


async def test_refused_body_still_costs_and_tells_the_limit(client: httpx.AsyncClient) -> None:
    answer = await client.post("/things", headers=A, json={"size": "big"})
    assert answer.status_code == 422
    assert "ratelimit" in answer.headers


@pytest.mark.parametrize(
    ("body", "status", "code", "path"),
    [
        (b'{"size": "x"}', 422, "invalid-request", "size"),
        (b'{"size": 1, "tags": ["a", 2]}', 422, "invalid-request", "tags[1]"),
        (b'{"size": 1, "colour": "red"}', 422, "invalid-request", "colour"),
        (b"{}", 422, "invalid-request", "size"),
        (b"[]", 422, "invalid-request", "body"),
        (b"{", 400, "malformed-body", None),
        (b"", 400, "malformed-body", None),
        (b"\xff", 400, "malformed-body", None),
        (b"[" * 1000, 422, "invalid-request", "body"),
        (b'{"size": 1, "tags": ["' + b"x" * 2000 + b'"]}', 413, "body-too-large", None),
    ],
)
async def test_bad_body_is_refused_with_the_fields_path(
    client: httpx.AsyncClient, body: bytes, status: int, code: str, path: str | None
) -> None:
    answer = await client.post(
        "/things", headers=A | {"content-type": "application/json"}, content=body
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert [problem["path"] for problem in answer.json().get("errors", [])] == (
        [path] if path else []
    )


async def test_body_without_declared_length_is_bounded_too(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b"x" * 512

    headers = A | {"content-type": "application/json"}
    answer = await client.post("/things", headers=headers, content=endless())
    assert answer.status_code == 413


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/jsonx"])
async def test_other_content_types_are_refused(
    client: httpx.AsyncClient, content_type: str
) -> None:
    headers = A | {"content-type": content_type}
    answer = await client.post("/things", headers=headers, content=b'{"size":1}')
    assert answer.status_code == 415


async def test_unknown_path_is_a_problem_too(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nothing/here", headers=A)
    assert (answer.status_code, answer.json()["code"]) == (404, "route-not-found")


async def test_other_method_names_those_there_are(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/things", headers=A)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


async def test_fault_is_a_500_that_tells_nothing_but_the_request_id(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/fail", headers=A | {"x-request-id": "abc"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["requestId"] == answer.headers["x-request-id"] == "abc"


@pytest.mark.parametrize("given", ["x" * 129, "a b", "é"])
async def test_harmful_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    headers = [(b"x-tenant-id", b"tenant-a"), (b"x-request-id", given.encode())]
    answer = await client.get("/things", headers=headers)
    assert answer.headers["x-request-id"] != given


async def test_health_needs_no_tenant(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")
    assert answer.json() == {"status": "ok", "service": "test", "version": "1"}


async def test_head_has_the_headers_of_get_and_no_body(client: httpx.AsyncClient) -> None:
    answer = await client.head("/health")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


async def test_error_page_says_what_to_do(client: httpx.AsyncClient) -> None:
    page = await client.get("/errors/rate-limited", headers={"accept": "text/html"})
    assert "Retry-After" in page.text
    assert (await client.get("/errors/rate-limited")).json()["status"] == 429
    assert (await client.get("/errors/nonsense")).status_code == 404


async def test_tenant_sees_its_own_limits_and_usage(client: httpx.AsyncClient) -> None:
    await client.get("/things", headers=A)
    myself = (await client.get("/tenants/self", headers=A)).json()
    assert myself["tenantId"] == "tenant-a"
    write = next(limit for limit in myself["rateLimits"] if limit["name"] == "users.write")
    assert write["remaining"] == write["burst"] - 1
    assert write["provenance"] == "override"
    stored = next(quota for quota in myself["quotas"] if quota["name"] == "storedUsers")
    assert stored["used"] == 7


async def test_changed_policy_holds_from_the_next_request() -> None:
    app = make_app(make_policy("tenant-a"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://mesh") as client:
        assert (await client.get("/things", headers=A)).status_code == 200
        app._tenants.all["tenant-a"] = make_policy("tenant-a", make_limit(requests=0))  # type: ignore[attr-defined]
        assert (await client.get("/things", headers=A)).status_code == 429


LATER = [
    (make_policy("tenant-a", state=TenantState.TERMINATING), "tenant-terminating"),
    (make_policy("tenant-a", state=TenantState.SUSPENDED), "tenant-suspended"),
    (make_policy("tenant-a", tenant_uid="second-life"), "tenant-terminating"),
    (None, "tenant-unknown"),
]


@pytest.mark.parametrize(("later", "code"), LATER)
async def test_body_that_takes_its_time_does_not_outlast_its_tenant(
    later: TenantPolicy | None, code: str
) -> None:
    app = make_app(make_policy("tenant-a"))
    policies = app._tenants
    assert isinstance(policies, Policies)

    async def body() -> AsyncIterator[bytes]:
        yield b'{"size":'
        policies.all = {later.tenant_id: later} if later is not None else {}
        yield b" 3}"

    headers = A | {"content-type": "application/json"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mesh") as c:
        answer = await c.post("/things", headers=headers, content=body())
    assert (answer.status_code, answer.json()["code"]) == (403, code)


@pytest.mark.parametrize(("later", "code"), LATER)
async def test_reading_that_waits_does_not_outlast_its_tenant(
    later: TenantPolicy | None, code: str
) -> None:
    policies = Policies(make_policy("tenant-a"))

    async def wait(call: Call) -> Reply:
        policies.all = {later.tenant_id: later} if later is not None else {}
        return await echo(call)

    def make(operation: Operation) -> httpx.AsyncClient:
        app = Application(
            [replace(operation, handler=wait)],
            authenticator=HeaderAuthenticator(),
            tenants=policies,
            limits=RateLimits(RateLimiter(lambda: 1000.0)),
        )
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mesh")

    async with make(OPERATIONS[1]) as client:
        answer = await client.get("/things", headers=A)
    assert (answer.status_code, answer.json()["code"]) == (403, code)
    policies = Policies(make_policy("tenant-a"))
    async with make(PUT_THING) as client:
        # What was written was written.
        assert (await client.post("/things", headers=A, json={"size": 1})).status_code == 200


async def test_application_is_busy_with_a_tenant_while_it_handles_its_requests() -> None:
    go = asyncio.Event()

    async def wait(call: Call) -> Reply:
        await go.wait()
        return await echo(call)

    limits = RateLimits(RateLimiter(lambda: 1000.0))
    app = Application(
        [replace(PUT_THING, handler=wait), replace(PUT_THING, path="/fail", handler=fail)],
        authenticator=HeaderAuthenticator(),
        tenants=Policies(make_policy("tenant-a"), make_policy("tenant-b")),
        limits=limits,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mesh") as c:
        requests = [
            asyncio.create_task(c.post("/things", headers=A, json={"size": n})) for n in range(3)
        ]
        await eventually(lambda: app.busy_with("uid-of-tenant-a"))
        assert not app.busy_with("uid-of-tenant-b")
        go.set()
        assert {answer.status_code for answer in await asyncio.gather(*requests)} == {200}
        assert not app.busy_with("uid-of-tenant-a")
        assert (await c.post("/fail", headers=A, json={"size": 1})).status_code == 500
    assert not app.busy_with("uid-of-tenant-a")
