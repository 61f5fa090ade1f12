"""A broken Tenant among a thousand hurts nobody else: fuzzed specs that pass the schema and do not
resolve leave the others' policies as they were, byte for byte."""

import asyncio
import json
import random
import re
from typing import Any

import pytest

from builders import plan_document, tenant_document
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import KubeRefused
from meshkit.tenancy.resources import PLANS, POLICIES, TENANTS
from operator_rig import running_operator

OTHERS = 1000
BROKEN = 40
_AT_ONCE = 16

pytestmark = pytest.mark.timeout(240)


def text(rng: random.Random) -> str:
    """Anything that JSON can carry, and some of what breaks parsers."""
    some = ["\u0000", "\ud7ff", "💥", "../", "{{", "%00", "\n", "'", '"', "\\", " ", "ß", "١"]
    return "".join(rng.choice([*some, chr(rng.randint(32, 0x2FFF))]) for _ in range(9))


def broken_spec(rng: random.Random) -> dict[str, Any]:
    """A spec that passes the schema mostly, and never resolves; the rest of it is fuzz as well."""
    models = [text(rng) for _ in range(rng.randint(1, 5))]
    broken: dict[str, Any] = rng.choice(
        [
            {"plan": f"nowhere-{rng.randint(0, 9)}"},
            {"plan": "broken", "llm": {"models": models}},
            {"llm": {"models": models, "defaultModel": f"not {models[0]}"}},
            {"llm": {"defaultModel": text(rng)}},
            {"adoptUid": text(rng)},
            {"adoptUid": "/" * rng.randint(1, 128)},
        ]
    )
    fuzz: dict[str, Any] = {
        # The schema refuses control characters here.
        "displayName": re.sub(r"[\x00-\x1f\x7f-\x9f]", "-", text(rng)),
        "weight": rng.choice([1, 100]),
        "suspended": rng.random() < 0.5,
        "quotas": [{"name": "storedUsers", "limit": rng.choice([0, 2**53 - 1])}],
        "rateLimits": [{"name": "users.write", "requests": rng.choice([0, 2**31 - 1])}],
    }
    kept = {key: value for key, value in fuzz.items() if rng.random() < 0.5}
    return kept | broken


async def declared(client: KubeClient, specs: dict[str, dict[str, Any]]) -> list[str]:
    """Declare Tenants, some at a time; return the names of those that the schema let pass."""
    left, passed = list(specs.items()), []

    async def work() -> None:
        while left:
            name, spec = left.pop()
            try:
                await client.apply(TENANTS, tenant_document(name, **spec), manager="people")
                passed.append(name)
            except KubeRefused:
                # The schema's part; here it is about what comes through.
                continue

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    return passed


async def policies(client: KubeClient) -> dict[str, str]:
    """Every policy as it is stored, byte for byte."""
    found, _ = await client.list(POLICIES)
    return {one["metadata"]["name"]: json.dumps(one) for one in found}


async def until_judged(client: KubeClient, names: list[str], status: str) -> None:
    """Wait until Tenants are accepted, or not."""
    async with asyncio.timeout(90):
        while True:
            tenants, _ = await client.list(TENANTS)
            said = {
                one["metadata"]["name"]: condition["status"]
                for one in tenants
                for condition in (one.get("status") or {}).get("conditions") or ()
                if condition["type"] == "Accepted"
            }
            if all(said.get(name) == status for name in names):
                return
            await asyncio.sleep(0.1)


async def test_broken_tenants_among_a_thousand_leave_the_others_as_they_were(
    client: KubeClient,
) -> None:
    rng = random.Random(20261124)
    async with running_operator(client) as operator:
        ceilings = {"llm": {"models": ["builtin/extractive"]}}
        await client.apply(PLANS, plan_document("broken", ceilings=ceilings), manager="people")
        others = await declared(client, {f"t-{n}": {"weight": 1 + n % 9} for n in range(OTHERS)})
        await until_judged(client, others, "True")
        before = await policies(client)
        assert len(before) == OTHERS
        broken = await declared(client, {f"b-{n}": broken_spec(rng) for n in range(BROKEN)})
        assert len(broken) > BROKEN / 2
        await until_judged(client, broken, "False")
        await operator.resync()
        assert await policies(client) == before
        # And the operator is there for them.
        await declared(client, {"t-0": {"plan": "broken", "weight": 50}})
        async with asyncio.timeout(20):
            while json.loads((await policies(client))["t-0"])["spec"]["weight"]["value"] != 50:
                await asyncio.sleep(0.05)
