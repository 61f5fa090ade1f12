"""The admin port: alive, ready, and the routes of the other parts of the mesh."""

from collections.abc import Mapping

import httpx
import pytest
from starlette.applications import Starlette

from builders import make_policy
from meshkit.errors import LogUnavailable
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.policy import TenantState
from meshkit.tenancy.static import StaticTenantSource
from meshkit.web.admin import create_admin_app
from meshkit.web.erasure import erasure_route


async def well() -> str | None:
    return None


async def stuck() -> str | None:
    return "the loop is stuck"


async def call(app: Starlette, path: str, method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        return await client.request(method, path)


async def test_process_without_reasons_to_die_is_alive_whatever_is_not_ready() -> None:
    app = create_admin_app({"log": stuck})
    alive = await call(app, "/livez")
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    ready = await call(app, "/readyz")
    assert ready.status_code == 503
    assert ready.json()["status"] == "not-ready"
    assert ready.json()["checks"] == {"log": "the loop is stuck"}


async def test_details_are_as_they_are_when_somebody_asks_and_decide_nothing() -> None:
    heard = ["last heard 3 s ago", "last heard 900 s ago"]
    app = create_admin_app({"tenants": well}, details={"policies": lambda: heard.pop(0)})
    for expected in tuple(heard):
        answer = await call(app, "/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")
        assert answer.json()["details"] == {"policies": expected}


async def test_service_without_details_has_none() -> None:
    answer = await call(create_admin_app({"tenants": well}), "/readyz")
    assert answer.json() == {"status": "ready", "checks": {"tenants": "ok"}, "details": {}}


async def test_failing_check_of_being_alive_is_named() -> None:
    answer = await call(create_admin_app({}, alive={"watch": stuck, "loop": well}), "/livez")
    assert answer.status_code == 503
    checks = {"watch": "the loop is stuck", "loop": "ok"}
    assert answer.json() == {"status": "not-alive", "checks": checks}
    assert (await call(create_admin_app({}, alive={"loop": well}), "/livez")).status_code == 200


class Acts:
    """Remembers for whom it was called."""

    def __init__(self) -> None:
        self.tenants: list[TenantContext] = []

    async def act(self, tenant: TenantContext) -> Mapping[str, object]:
        self.tenants.append(tenant)
        return {"done": True}

    async def fail(self, _: TenantContext) -> Mapping[str, object]:
        raise LogUnavailable("the log is away", retry_after=2.0)


@pytest.fixture
def acts() -> Acts:
    return Acts()


@pytest.fixture
def app(acts: Acts) -> Starlette:
    tenants = StaticTenantSource(
        make_policy("tenant-a", state=TenantState.TERMINATING), make_policy("tenant-b")
    )
    route = erasure_route("things", tenants, {"DELETE": acts.act, "GET": acts.fail})
    return create_admin_app({}, routes=[route])


async def test_act_is_for_the_terminating_tenant_of_that_uid(app: Starlette, acts: Acts) -> None:
    answer = await call(app, "/internal/tenants/uid-of-tenant-a/things", "DELETE")
    assert answer.json() == {"tenantUid": "uid-of-tenant-a", "done": True}
    assert [tenant.tenant_id for tenant in acts.tenants] == ["tenant-a"]


@pytest.mark.parametrize("uid", ["uid-of-tenant-b", "uid-of-nobody", "tenant-a", "uid-of-tenant"])
async def test_uid_that_is_not_terminating_is_a_conflict(
    app: Starlette, acts: Acts, uid: str
) -> None:
    answer = await call(app, f"/internal/tenants/{uid}/things", "DELETE")
    assert (answer.status_code, answer.json()["code"]) == (409, "tenant-not-terminating")
    assert answer.headers["content-type"] == "application/problem+json"
    assert acts.tenants == []


@pytest.mark.parametrize("uid", ["", "%20", "a%2F..%2Fuid-of-tenant-a", "a%00", "*", "x" * 129])
async def test_what_is_no_uid_is_refused_by_its_grammar(
    app: Starlette, acts: Acts, uid: str
) -> None:
    answer = await call(app, f"/internal/tenants/{uid}/things", "DELETE")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert acts.tenants == []


async def test_refusal_of_an_act_is_a_problem_with_its_retry(app: Starlette) -> None:
    answer = await call(app, "/internal/tenants/uid-of-tenant-a/things")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["code"] == "log-unavailable"


async def test_method_without_an_act_is_not_taken(app: Starlette, acts: Acts) -> None:
    answer = await call(app, "/internal/tenants/uid-of-tenant-a/things", "POST")
    assert answer.status_code == 405
    assert acts.tenants == []
