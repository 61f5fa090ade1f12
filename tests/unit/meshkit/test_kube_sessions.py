"""Connections to an API server that die without a word: noticed in time, and not used again."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from meshkit.kube.client import KubeClient
from meshkit.kube.connection import KubeConnection
from meshkit.kube.objects import KubeUnavailable
from meshkit.kube.sessions import Sessions
from meshkit.tenancy.kubernetes import KubernetesTenantSource
from meshkit.tenancy.resources import POLICIES
from policy_objects import policy
from silent_proxy import SilentProxy, silent_proxy
from waiting import eventually

BOOKMARK = b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"11"}}}\n'
SILENCE = 0.4


@dataclass
class Server:
    """Lists one policy, answers patches, and sends bookmarks over its watches while `bookmarks`."""

    weight: int = 1
    bookmarks: bool = True
    watches: int = 0
    port: int = 0
    lists: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        found = policy("tenant-a", self.weight)
        found["metadata"]["resourceVersion"] = "10"
        if request.query.get("watch") != "true":
            self.lists += 1
            return web.json_response({"metadata": {"resourceVersion": "10"}, "items": [found]})
        self.watches += 1
        stream = web.StreamResponse()
        await stream.prepare(request)
        while True:
            if self.bookmarks:
                await stream.write(BOOKMARK)
            await asyncio.sleep(SILENCE / 4)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, SilentProxy]]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        async with silent_proxy(server.port) as proxy:
            yield server, proxy
    finally:
        await runner.cleanup()


def connection(port: int) -> KubeConnection:
    async def token() -> None:
        return None

    tls = ssl.create_default_context()
    return KubeConnection(f"http://127.0.0.1:{port}", tls, "default", token)


async def test_watch_with_bookmarks_is_left_alone() -> None:
    async with (
        serving() as (server, proxy),
        KubeClient(connection(proxy.port), watch_silence=SILENCE) as client,
        KubernetesTenantSource(client) as source,
    ):
        await source.loaded()
        await asyncio.sleep(3 * SILENCE)
        assert source.staleness == 0.0
        assert server.watches == 1


async def test_silent_watch_is_noticed_and_opened_anew_over_another_connection() -> None:
    async with (
        serving() as (server, proxy),
        KubeClient(connection(proxy.port), watch_silence=SILENCE) as client,
        KubernetesTenantSource(client) as source,
    ):
        await source.loaded()
        await eventually(lambda: server.watches == 1)
        proxy.silence()
        await eventually(lambda: server.watches == 2)
        await eventually(lambda: source.staleness == 0.0)


async def test_server_that_leaves_bookmarks_out_is_watched_all_the_same() -> None:
    async with (
        serving() as (server, proxy),
        KubeClient(connection(proxy.port), watch_silence=SILENCE) as client,
        KubernetesTenantSource(client) as source,
    ):
        server.bookmarks = False
        await source.loaded()
        await eventually(lambda: server.watches == 3)
        assert source.freshness().startswith("watched")
        # From where the last one ended: nothing is listed anew.
        assert server.lists == 1


async def test_silent_watch_that_cannot_be_opened_anew_is_trouble() -> None:
    async with (
        serving() as (server, proxy),
        KubeClient(connection(proxy.port), watch_silence=SILENCE) as client,
        KubernetesTenantSource(client) as source,
    ):
        await source.loaded()
        await eventually(lambda: server.watches == 1)
        await proxy.deafen()
        await eventually(lambda: "does not answer" in source.freshness())
        assert source.staleness > SILENCE


async def test_staleness_counts_from_the_last_sign_of_life_whatever_the_watch_does() -> None:
    now = [100.0]
    async with (
        serving() as (server, proxy),
        KubeClient(connection(proxy.port), watch_silence=60) as client,
        KubernetesTenantSource(client, clock=lambda: now[0]) as source,
    ):
        await source.loaded()
        await eventually(lambda: server.watches == 1)
        proxy.silence()
        await asyncio.sleep(SILENCE)
        now[0] += 74
        assert source.staleness == 0.0
        now[0] += 2
        assert source.staleness == 76.0
        assert source.freshness() == "last heard 76 s ago; not watched: bookmarks stay away"


async def test_call_over_a_dead_connection_ends_and_the_next_one_uses_a_new_one() -> None:
    async with serving() as (_, proxy):
        timeout = aiohttp.ClientTimeout(total=SILENCE)
        sessions = Sessions(ssl.create_default_context(), timeout)
        url = f"http://127.0.0.1:{proxy.port}/"
        try:
            # Several at once, so that several idle connections are left to die.
            await asyncio.gather(*(called(sessions, url) for _ in range(4)))
            opened = proxy.opened
            proxy.silence()
            with pytest.raises(TimeoutError):
                await called(sessions, url)
            assert proxy.opened == opened
            await called(sessions, url)
            assert proxy.opened == opened + 1
        finally:
            await sessions.close()


async def test_caller_that_does_not_wait_so_long_gets_a_new_connection_too() -> None:
    async with serving() as (_, proxy):
        sessions = Sessions(ssl.create_default_context())
        url = f"http://127.0.0.1:{proxy.port}/"
        try:
            await asyncio.gather(*(called(sessions, url) for _ in range(4)))
            proxy.silence()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SILENCE):
                    await called(sessions, url)
            async with asyncio.timeout(SILENCE):
                await called(sessions, url)
        finally:
            await sessions.close()


async def test_request_that_is_under_way_is_not_cut_off_by_anothers_timeout() -> None:
    held = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await held.wait()
        return web.Response(text="late")

    app = web.Application()
    app.router.add_get("/", slow)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sessions = Sessions(ssl.create_default_context())
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        waits = asyncio.create_task(called(sessions, url))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await called(sessions, url)
        held.set()
        assert await waits == "late"
    finally:
        await sessions.close()
        await runner.cleanup()


async def test_client_says_that_nothing_answers() -> None:
    async with serving() as (_, proxy), KubeClient(connection(proxy.port)) as client:
        await proxy.deafen()
        with pytest.raises(KubeUnavailable, match="does not answer"):
            await client.merge_patch(POLICIES, "tenant-a", {})


async def test_sockets_are_probed_by_the_kernel() -> None:
    async with serving() as (server, _):
        sessions = Sessions(ssl.create_default_context())
        url = f"http://127.0.0.1:{server.port}/?watch=true"
        watch = sessions.watch(url, silence=SILENCE, parameters={}, headers={})
        try:
            async with watch as answer:
                assert answer.connection is not None
                assert answer.connection.transport is not None
                one = answer.connection.transport.get_extra_info("socket")
                assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                if hasattr(socket, "TCP_USER_TIMEOUT"):
                    silent_ms = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                    assert 0 < silent_ms <= 30_000
        finally:
            await sessions.close()


async def called(sessions: Sessions, url: str) -> str:
    async with sessions.call("GET", url) as answer:
        return await answer.text()
