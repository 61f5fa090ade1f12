"""The admin port: what it says of a service's health."""

import httpx

from meshkit.web.admin import create_admin_app


async def asked(path: str, app: object) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as http:
        return await http.get(path)


async def fine() -> str | None:
    return None


async def test_details_are_as_they_are_when_somebody_asks_and_decide_nothing() -> None:
    heard = ["last heard 3 s ago", "last heard 900 s ago"]
    app = create_admin_app({"tenants": fine}, details={"policies": lambda: heard.pop(0)})
    for expected in heard:
        answer = await asked("/readyz", app)
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")
        assert answer.json()["details"] == {"policies": expected}


async def test_service_without_details_has_none() -> None:
    answer = await asked("/readyz", create_admin_app({"tenants": fine}))
    assert answer.json() == {"status": "ready", "checks": {"tenants": "ok"}, "details": {}}
