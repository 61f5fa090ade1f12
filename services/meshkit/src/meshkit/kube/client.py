"""The few requests that the mesh makes of the Kubernetes API: list, watch, read, apply, remove.

Thin on purpose: objects are JSON values, and every outcome that a caller has to tell apart has a
class of its own. A watch that starts where the last one ended, and notices that it cannot, is what
keeping up with policies within a quarter of a second rests on; so that part is ours.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Self

import aiohttp
import msgspec

from meshkit.kube.connection import KubeConnection
from meshkit.kube.objects import (
    KubeSilent,
    KubeUnavailable,
    NotFound,
    Object,
    Page,
    Resource,
    WatchEvent,
    refusal,
)
from meshkit.kube.sessions import Sessions

# The server ends a watch after so long.
_WATCH_SECONDS = 240
# It sends a bookmark a minute: where none comes, the connection may be dead.
WATCH_SILENCE_SECONDS = 70.0
_SILENT = "the watch brought nothing for {:g} s, not even a bookmark"
_PAGE = 500
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class KubeClient:
    """Requests over keep-alive connections. An asynchronous context manager."""

    def __init__(
        self, connection: KubeConnection, watch_silence: float = WATCH_SILENCE_SECONDS
    ) -> None:
        self._connection = connection
        self._watch_silence = watch_silence
        self._sessions: Sessions | None = None

    @property
    def namespace(self) -> str:
        """The namespace that objects are in where none is named."""
        return self._connection.namespace

    @property
    def pod_namespace(self) -> str | None:
        """The namespace of the pod that this process runs in, None where it runs in none."""
        return self._connection.pod_namespace

    async def __aenter__(self) -> Self:
        self._sessions = Sessions(self._connection.tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sessions is not None:
            await self._sessions.close()

    async def list(
        self, resource: Resource, *, namespace: str | None = None, labels: str = ""
    ) -> tuple[list[Object], str]:
        """Return all objects (with `labels`, those that the selector takes) and the version from
        which to watch. Raises KubeUnavailable, KubeRefused."""
        items: list[Object] = []
        version = ""
        async for page in self.pages(resource, namespace=namespace, labels=labels):
            items += page.objects
            version = page.version
        return items, version

    async def pages(
        self, resource: Resource, *, namespace: str | None = None, labels: str = ""
    ) -> AsyncGenerator[Page, None]:
        """Yield all objects (with `labels`, those that the selector takes), some at a time.
        Raises KubeUnavailable, KubeRefused."""
        path = resource.path(namespace or self.namespace)
        parameters = {"limit": str(_PAGE)} | _selected(labels)
        while True:
            page = await self._call("GET", path, parameters=parameters)
            for found in page["items"]:
                # Who wrote which field: half of an object, and nobody here reads it.
                found["metadata"].pop("managedFields", None)
            yield Page(page["items"], page["metadata"]["resourceVersion"])
            following = page["metadata"].get("continue")
            if not following:
                return
            parameters["continue"] = following

    async def watch(
        self,
        resource: Resource,
        version: str,
        *,
        namespace: str | None = None,
        labels: str = "",
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yield what happens from `version` on, with bookmarks, until the server ends the watch.

        `opened` is called once the server has agreed, which may be long before the first event.
        Raises Expired where the server does not remember that version, KubeUnavailable, KubeSilent
        once not even a bookmark has come for more than a minute.
        """
        parameters = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        } | _selected(labels)
        agreed = False
        try:
            async with self._started().watch(
                self._connection.url + resource.path(namespace or self.namespace),
                silence=self._watch_silence,
                parameters=parameters,
                headers=await self._headers(),
            ) as answer:
                if answer.status != 200:
                    raise refusal(answer.status, await answer.read())
                opened()
                agreed = True
                async for line in answer.content:
                    yield _event(line)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if agreed and isinstance(error, TimeoutError):
                raise KubeSilent(_SILENT.format(self._watch_silence)) from None
            raise KubeUnavailable(_told(error)) from None

    async def get(self, resource: Resource, name: str, *, namespace: str | None = None) -> Object:
        """Return one object. Raises NotFound, KubeUnavailable, KubeRefused."""
        return await self._call("GET", resource.path(namespace or self.namespace, name))

    async def create(
        self, resource: Resource, document: Object, *, namespace: str | None = None
    ) -> Object:
        """Make an object and return it. Raises Conflict where there is one, KubeUnavailable."""
        path = resource.path(namespace or self.namespace)
        return await self._call("POST", path, document)

    async def replace(
        self, resource: Resource, document: Object, *, namespace: str | None = None
    ) -> Object:
        """Write an object whole and return it. Raises Conflict where it is another version by now,
        NotFound, KubeUnavailable."""
        path = resource.path(namespace or self.namespace, document["metadata"]["name"])
        return await self._call("PUT", path, document)

    async def apply(
        self,
        resource: Resource,
        document: Object,
        *,
        manager: str,
        namespace: str | None = None,
        subresource: str = "",
        force: bool = True,
    ) -> Object:
        """Declare the fields that `manager` wants to own (server-side apply); return the object.

        Raises Conflict where others own them and `force` is not set, KubeUnavailable.
        """
        name = document["metadata"]["name"]
        path = resource.path(namespace or self.namespace, name)
        parameters = {"fieldManager": manager, "force": str(force).lower()}
        suffix = f"/{subresource}" if subresource else ""
        return await self._call("PATCH", path + suffix, document, parameters, _APPLY)

    async def delete(
        self, resource: Resource, name: str, *, version: str = "", namespace: str | None = None
    ) -> None:
        """Remove an object, or with `version` that version of it; one that is not there is no
        error. Raises Conflict where it is another version by now, KubeUnavailable."""
        path = resource.path(namespace or self.namespace, name)
        only = {"preconditions": {"resourceVersion": version}} if version else None
        try:
            await self._call("DELETE", path, only)
        except NotFound:
            return

    async def merge_patch(
        self, resource: Resource, name: str, patch: Object, *, namespace: str | None = None
    ) -> Object:
        """Change the fields in `patch` (RFC 7386: None removes, lists go whole); return the object.

        With `metadata.resourceVersion` in the patch it holds for that version only.

        Raises NotFound, Conflict where the object is another one by now, KubeUnavailable.
        """
        path = resource.path(namespace or self.namespace, name)
        return await self._call("PATCH", path, patch, content_type=_MERGE)

    async def _call(
        self,
        method: str,
        path: str,
        document: Object | None = None,
        parameters: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        headers = await self._headers()
        body = None
        if document is not None:
            body, headers["content-type"] = msgspec.json.encode(document), content_type
        try:
            async with self._started().call(
                method,
                self._connection.url + path,
                params=parameters,
                data=body,
                headers=headers,
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KubeUnavailable(_told(error)) from None
        if answer.status >= 300:
            raise refusal(answer.status, content)
        result: Object = msgspec.json.decode(content)
        return result

    async def _headers(self) -> dict[str, str]:
        token = await self._connection.token()
        return {"authorization": f"Bearer {token}"} if token else {}

    def _started(self) -> Sessions:
        assert self._sessions is not None, "use it in `async with`"  # noqa: S101
        return self._sessions


def _selected(labels: str) -> dict[str, str]:
    return {"labelSelector": labels} if labels else {}


def _event(line: bytes) -> WatchEvent:
    event = msgspec.json.decode(line)
    if event["type"] == "ERROR":
        raise refusal(event["object"].get("code", 500), msgspec.json.encode(event["object"]))
    return WatchEvent(event["type"], event["object"])


def _told(error: Exception) -> str:
    return f"the API server does not answer ({type(error).__name__})"


__all__ = ["WATCH_SILENCE_SECONDS", "KubeClient"]
