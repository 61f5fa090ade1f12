"""List, then watch, for ever: what client-go calls a reflector.

    list ──► watch from its version ──► where a watch ends the next one begins
     ▲                                     │
     └── the server has forgotten that ◄───┘

Nothing is missed between two watches. Whatever goes wrong is told, and tried again a little later.
A watch that goes silent is opened anew at once: that is trouble only where the server does not
agree, since one that has just started, and has seen nothing happen, may leave a bookmark out.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

from meshkit.kube.client import KubeClient
from meshkit.kube.objects import (
    Expired,
    KubeRefused,
    KubeSilent,
    KubeUnavailable,
    Resource,
    WatchEvent,
)

log = structlog.get_logger()

_BACKOFF_LEAST, _BACKOFF_MOST = 0.1, 2.0


async def reflect(
    client: KubeClient,
    resource: Resource,
    *,
    listed: Callable[[], Awaitable[str]],
    heard: Callable[[WatchEvent], None],
    opened: Callable[[], None] = lambda: None,
    troubled: Callable[[Exception], None] = lambda _: None,
    labels: str = "",
) -> NoReturn:
    """Keep up with the objects of a kind (with `labels`, those that the selector takes).

    `listed` takes in all that there are and returns the version of that list; it is called at the
    start, and where a watch cannot go on. `heard` takes in an event, bookmarks included. `opened`
    is called as the server agrees to a watch, `troubled` with what is in the way.
    """
    version = ""
    backoff = _BACKOFF_LEAST

    def agreed() -> None:
        nonlocal backoff
        backoff = _BACKOFF_LEAST
        opened()

    while True:
        try:
            version = version or await listed()
            async for event in client.watch(resource, version, opened=agreed, labels=labels):
                heard(event)
                version = event.object["metadata"]["resourceVersion"]
            continue
        except Expired:
            version = ""
            continue
        except KubeSilent as silent:
            log.info("watch_silent", resource=resource.plural, reason=str(silent))
            continue
        except (KubeUnavailable, KubeRefused) as error:
            troubled(error)
        except Exception as error:
            # A loop that must survive: what was read may be odd, so it is read anew.
            log.exception("watch_failed", resource=resource.plural)
            troubled(error)
            version = ""
        await asyncio.sleep(backoff * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        backoff = min(_BACKOFF_MOST, backoff * 2)


__all__ = ["reflect"]
