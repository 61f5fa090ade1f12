"""How many requests a service handles at once, and whose turn it is not when they are too many.

This is about the process, not about what a tenant has agreed to. Up to a bound everybody is let in,
so one tenant alone may use all of it. Above it there is a reserve as large as the bound, of which a
tenant may have no more than what is left of it: who floods has far more than that and is refused,
who has little in flight is let in until the very last place. Dynamic thresholds: Choudhury and
Hahne, "Dynamic queue length thresholds for shared-memory packet switches", IEEE/ACM Transactions
on Networking 6(2), 1998.

Requests that name no tenant are answered without waiting for anything, and hold no place.
"""

from weakref import WeakSet

from meshkit.entropy import random_block
from meshkit.errors import Overloaded
from meshkit.telemetry import metrics

_MOST = 512

# Not all who were refused at once are to come again at once: they are spread over two seconds.
_RETRY_LEAST, _RETRY_SPREAD = 1.0, 2.0


class InFlight:
    """The requests that are being handled, by tenant. Not thread-safe: it lives in the event
    loop."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._total = 0
        self._by_tenant: dict[str, int] = {}
        _all.add(self)

    def __len__(self) -> int:
        """Return how many requests are in flight."""
        return self._total

    def enter(self, tenant_uid: str) -> None:
        """Give a request of this tenant a place, until `leave`. Raises Overloaded."""
        its = self._by_tenant.get(tenant_uid, 0)
        if self._total >= self._most and its >= 2 * self._most - self._total:
            metrics.OVERLOADED.inc()
            raise Overloaded(
                f"{self._total} requests are being handled, {its} of them this tenant's",
                retry_after=_RETRY_LEAST + _RETRY_SPREAD * random_block()[0] / 256,
            )
        self._by_tenant[tenant_uid] = its + 1
        self._total += 1

    def leave(self, tenant_uid: str) -> None:
        """Free the place of a request that was answered."""
        self._total -= 1
        left = self._by_tenant[tenant_uid] - 1
        if left:
            self._by_tenant[tenant_uid] = left
        else:
            del self._by_tenant[tenant_uid]


_all: WeakSet[InFlight] = WeakSet()
metrics.IN_FLIGHT.set_function(lambda: float(sum(len(one) for one in _all)))

__all__ = ["InFlight"]
