"""The services' side of an erasure, over their admin ports.

The operator has no client of Kafka or of the vector store: each service erases what it alone knows
how to. And each looks into the policies that it follows itself, and refuses for a tenant that is
not `Terminating` there: an admin port that somebody else reaches erases nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import msgspec

from meshkit.membership.lease import Member
from tenant_operator.membership import Membership

USERS = ("user-service", "mesh")
GATEWAYS = ("ai-gateway", "mesh")
# A scan of a large log takes minutes; a service that is gone is noticed at once.
_TIMEOUT = aiohttp.ClientTimeout(total=3600, connect=3)


class ErasureWaits(Exception):
    """A service that is needed is away, or cannot now. The message says which and why."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of a tenant: points in the vector store, keys in the log that live, and counters
    of its usage."""

    points: int
    keys: int
    counters: int = 0

    @property
    def nothing(self) -> bool:
        """Whether nothing is left."""
        return not (self.points or self.keys or self.counters)


class Erasers(Protocol):
    """Erases a tenant's data. Every method raises ErasureWaits, and may be called again."""

    async def draining(self, tenant_uid: str) -> bool:
        """Return whether anything of the tenant is still under way that began before the fence:
        a request that was let in, events that an indexer took."""

    async def remains(self, tenant_uid: str) -> Remains:
        """Return what is left of a tenant."""

    async def erase(self, tenant_uid: str) -> Remains:
        """Remove the tenant's points, end its keys, drop its counters; return what is left."""


class AdminErasers:
    """Erasers over the admin ports of live replicas."""

    def __init__(self, http: aiohttp.ClientSession, membership: Membership) -> None:
        self._http = http
        self._membership = membership

    async def draining(self, tenant_uid: str) -> bool:
        """Ask every replica."""
        for member in self._membership.live:
            answer = await self._ask(member, "GET", f"{tenant_uid}/draining")
            if answer["busy"]:
                return True
        return False

    async def remains(self, tenant_uid: str) -> Remains:
        """Ask one replica of each service."""
        points = await self._ask_one(GATEWAYS, "GET", f"{tenant_uid}/points")
        keys = await self._ask_one(USERS, "GET", f"{tenant_uid}/tombstones")
        usage = await self._ask_one(USERS, "GET", f"{tenant_uid}/usage")
        return _remains(points, keys, usage)

    async def erase(self, tenant_uid: str) -> Remains:
        """Have one replica of each service do its part."""
        points = await self._ask_one(GATEWAYS, "DELETE", f"{tenant_uid}/points")
        keys = await self._ask_one(USERS, "POST", f"{tenant_uid}/tombstones")
        usage = await self._ask_one(USERS, "DELETE", f"{tenant_uid}/usage")
        return _remains(points, keys, usage)

    async def _ask_one(self, services: Sequence[str], method: str, what: str) -> dict[str, Any]:
        members = self._membership.of(*services)
        trouble = f"no replica of {services[0]} is live"
        for member in members:
            try:
                return await self._ask(member, method, what)
            except ErasureWaits as error:
                trouble = str(error)
        raise ErasureWaits(trouble)

    async def _ask(self, member: Member, method: str, what: str) -> dict[str, Any]:
        url = f"{member.admin_url}/internal/tenants/{what}"
        who = f"{member.service} {member.identity}"
        try:
            async with self._http.request(method, url, timeout=_TIMEOUT) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ErasureWaits(f"{who} does not answer ({type(error).__name__})") from None
        if answer.status != 200:
            raise ErasureWaits(f"{who} answers {answer.status}: {content[:200]!r}")
        result: dict[str, Any] = msgspec.json.decode(content)
        return result


def _remains(points: dict[str, Any], keys: dict[str, Any], usage: dict[str, Any]) -> Remains:
    return Remains(int(points["points"]), int(keys["remaining"]), int(usage["counters"]))
