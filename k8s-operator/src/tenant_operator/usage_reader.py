"""Asking one live user-service what all tenants use, every few seconds.

Every replica knows the sum of all, so one answer is enough, and nobody has to tell the operator.
"""

import asyncio

import aiohttp
import msgspec
import structlog

from tenant_operator.erasers import USERS
from tenant_operator.membership import Membership
from tenant_operator.observed import Observed
from tenant_operator.usage import TenantUsage, Used
from tenant_operator.work_queue import WorkQueue

log = structlog.get_logger()

ASK_EVERY_SECONDS = 5.0
_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=3)

_decode = msgspec.json.Decoder(dict[str, dict[str, dict[str, int]]]).decode


class UsageReader:
    """Keeps `usage` up to date from the admin ports of live replicas."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        membership: Membership,
        every_seconds: float = ASK_EVERY_SECONDS,
    ) -> None:
        self.usage = TenantUsage()
        self._http = http
        self._membership = membership
        self._every_seconds = every_seconds

    async def follow(self, observed: Observed, queue: WorkQueue) -> None:
        """Ask for ever; have the tenants looked at whose figures have moved, behind what is
        urgent."""
        while True:
            by_uid = await self._ask()
            moved = self.usage.told(by_uid) if by_uid is not None else set()
            for name in observed.policies.names_with_uids(moved) if moved else ():
                queue.add(name, background=True)
            await asyncio.sleep(self._every_seconds)

    async def _ask(self) -> dict[str, Used] | None:
        """Return what the first replica that answers tells, None where none does."""
        for member in self._membership.of(*USERS):
            url = f"{member.admin_url}/internal/usage"
            try:
                async with self._http.get(url, timeout=_TIMEOUT) as answer:
                    if answer.status == 200:
                        return dict(_decode(await answer.read())["usage"])
            except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
                log.warning("usage_not_told", member=member.identity, reason=str(error))
        return None
