"""What kopf calls: every event of what people declare, handed on as it is.

Low-level handlers only. kopf's own bookkeeping (annotations, two patches for each change, waiting
for its own patches to come back) is for operators that act on differences; this one compares.
"""

from typing import Any

import kopf

from meshkit.kube.objects import Resource
from meshkit.tenancy.resources import PLANS, TENANTS
from tenant_operator.following import Told

_INACTIVITY_SECONDS = 70.0
# Whole seconds: kopf writes it into the address as it is, and the server reads an integer.
_SERVER_SECONDS = 600
# kopf keeps a task, a queue and the last event of every object for as long as it waits for the next
# one, by default five seconds. That is longer than a start takes, so it was all of them at once:
# 20 KiB each. Making a task anew costs no CPU that can be measured.
_WORKER_IDLE_SECONDS = 0.1
# By default a list comes in one piece, who wrote which field included.
_PAGE = 100


class Backoffs:
    """Delays before the next try of a request, in seconds: for ever, since an API server that is
    away for long is no reason to end."""

    def __iter__(self) -> Any:
        delay = 0.2
        while True:
            yield delay
            delay = min(10.0, delay * 2)


class NoDifferences(kopf.DiffBaseStorage):
    """kopf's memory of what objects were: none. Else it would copy every object in each event, to
    compare it for handlers that are not there; a fifth of what an event costs."""

    def build(self, **_: Any) -> Any:
        """Nothing is remembered."""
        return {}

    def fetch(self, **_: Any) -> Any:
        """Nothing was."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing is written."""


def create_registry(told: Told) -> kopf.OperatorRegistry:
    """Return the handlers: one for each kind, all of them `told`."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(login)
    for resource in (TENANTS, PLANS):
        _register(registry, resource, told)
    return registry


def _register(registry: kopf.OperatorRegistry, resource: Resource, told: Told) -> None:
    async def on_event(event: Any, **_: Any) -> None:
        told(resource, event["type"], event["object"])

    kopf.on.event(
        resource.group,
        resource.version,
        resource.plural,
        id=f"told-{resource.plural}",
        registry=registry,
    )(on_event)


def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """Return how to reach the API server: as the pod, else as the kubeconfig says."""
    return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)


def create_settings() -> kopf.OperatorSettings:
    """Return kopf's settings: watch, and write nothing."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = NoDifferences()
    settings.persistence.progress_storage = kopf.StatusProgressStorage()
    settings.watching.inactivity_timeout = _INACTIVITY_SECONDS
    settings.watching.server_timeout = _SERVER_SECONDS
    settings.watching.chunk_size = _PAGE
    settings.queueing.idle_timeout = _WORKER_IDLE_SECONDS
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 5.0
    settings.networking.error_backoffs = Backoffs()
    return settings
