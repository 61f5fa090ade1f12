"""The fence around tenants that are being deleted: nothing of theirs gets past it to the store.

Each event is held against the fence when it becomes work. Those that pass are remembered with
their batch until it is stored, so that "is anything of this tenant still on its way?" has an exact
answer: once a tenant is fenced and nothing of it is on its way, no older write of it can come.
"""

from collections.abc import Container

from ai_gateway.partition import Item


class Fence:
    """Which tenants' events go no further, and whose are on their way. Not thread-safe: passing and
    remembering are one step of the event loop."""

    def __init__(self, fenced: Container[str]) -> None:
        self._fenced = fenced
        self._on_the_way: dict[int, set[str]] = {}

    def passes(self, tenant_uid: str, batch: list[Item]) -> bool:
        """Return whether an event of this tenant may go on; then it is on its way with `batch`."""
        if tenant_uid in self._fenced:
            return False
        self._on_the_way.setdefault(id(batch), set()).add(tenant_uid)
        return True

    def arrived(self, batch: list[Item]) -> None:
        """Say that everything of a batch is stored, or set aside."""
        self._on_the_way.pop(id(batch), None)

    def busy_with(self, tenant_uid: str) -> bool:
        """Return whether anything of this tenant is on its way."""
        return any(tenant_uid in tenants for tenants in self._on_the_way.values())
