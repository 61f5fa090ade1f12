"""What people do to a namespace of tenants, from a seed: the half of a schedule that is no fault.

Everything that the API server lets pass is done: tenants made, edited, suspended, deleted and made
again, plans that come, change and go, values that pass the schema and do not resolve, uids that
belong to somebody else, policies that somebody edits or removes, replicas that come, obey and go.

`REST` is where a run comes to rest before it goes on. What people may do depends on it in two ways.
A Tenant whose data is to be erased is deleted only at rest, and what may have a finalizer is not
touched again before the next one: whether that was set in time, or the name is free again, is a
race that people would lose with any operator. And no two tenants ask for one gone uid, since the
first to be seen has it.
"""

import random
from dataclasses import dataclass, field
from typing import Any

TENANTS = ("t-0", "t-1", "t-2", "t-3")
PLANS = ("gold", "tin", "default")
REPLICAS = ("r-0", "r-1")
REST, MADE, DELETED, PLANNED, UNPLANNED = "rest", "tenant", "delete", "plan", "unplan"
TAMPERED, REMOVED, JOINED, LEFT, OBEYED = "tamper", "remove", "join", "leave", "obey"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that somebody does. `@name` in `adoptUid` is the uid that a tenant had last."""

    what: str
    name: str = ""
    spec: dict[str, Any] = field(default_factory=dict)


class People:
    """Draws steps; remembers what it needs to stay within the rules above."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"people {seed}")
        self._tenants: dict[str, dict[str, Any]] = {}
        self._known: set[str] = set()
        self._plans: set[str] = set()
        self._erased: set[str] = set()
        # Has a finalizer maybe; is leaving, maybe slowly.
        self._held: set[str] = set()
        self._leaving: set[str] = set()
        # By name, whether it obeys what is new.
        self._replicas: dict[str, bool] = {}

    def steps(self, count: int) -> list[Step]:
        """Return so many steps, and rests among them; the last one is a rest."""
        present = self._rng.sample(REPLICAS, self._rng.choice((0, 1, 1, 2)))
        result = [self._join(name) for name in present]
        for number in range(count):
            if number and number % 6 == 0:
                result.append(self._rest())
            step = self._step()
            if step.what == DELETED and step.spec.get("deletionPolicy") == "Delete":
                result.append(self._rest())
                self._erased.add(step.name)
            result.append(step)
        return [*result, Step(REST)]

    def _step(self) -> Step:
        draw = self._rng.choices(
            (self._make, self._delete, self._plan, self._unplan, self._meddle, self._replica),
            weights=(10, 3, 3, 1, 2, 3),
        )[0]
        return draw() or self._step()

    def _make(self) -> Step | None:
        free = [name for name in TENANTS if name not in self._erased | self._leaving]
        if not free:
            return None
        name = self._rng.choice(free)
        self._tenants[name] = self._spec(name)
        self._known.add(name)
        if self._tenants[name].get("deletionPolicy") == "Delete":
            self._held.add(name)
        return Step(MADE, name, self._tenants[name])

    def _delete(self) -> Step | None:
        there = [name for name in self._tenants if name not in self._erased]
        if not there:
            return None
        name = self._rng.choice(there)
        if name in self._held:
            self._leaving.add(name)
        return Step(DELETED, name, self._tenants.pop(name))

    def _plan(self) -> Step:
        name = self._rng.choice(PLANS)
        self._plans.add(name)
        spec: dict[str, Any] = {"defaults": {"weight": self._rng.randint(1, 9)}}
        if self._rng.random() < 0.5:
            spec["ceilings"] = {"rateLimits": [self._rate(5)]}
        if self._rng.random() < 0.3:
            spec["ceilings"] = {"llm": {"models": ["builtin/extractive"]}}
        return Step(PLANNED, name, spec)

    def _unplan(self) -> Step | None:
        if not self._plans:
            return None
        name = self._rng.choice(sorted(self._plans))
        self._plans.remove(name)
        return Step(UNPLANNED, name)

    def _meddle(self) -> Step | None:
        if not self._tenants:
            return None
        return Step(self._rng.choice((TAMPERED, REMOVED)), self._rng.choice(list(self._tenants)))

    def _replica(self) -> Step:
        name = self._rng.choice(REPLICAS)
        if name not in self._replicas:
            return self._join(name)
        # Whether who leaves was there for long enough for what is being erased is a race, too.
        if self._rng.random() < 0.3 and not self._erased:
            del self._replicas[name]
            return Step(LEFT, name)
        return Step(OBEYED, name)

    def _join(self, name: str) -> Step:
        # Some never come to obey anything new.
        self._replicas[name] = self._rng.random() < 0.8
        return Step(JOINED, name, {"stuck": not self._replicas[name]})

    def _rest(self) -> Step:
        self._leaving.clear()
        self._held = {
            name for name, spec in self._tenants.items() if spec.get("deletionPolicy") == "Delete"
        }
        # Who waits for a replica that never obeys is there after the rest, too.
        if self._replicas and all(self._replicas.values()):
            self._erased.clear()
        return Step(REST)

    def _spec(self, name: str) -> dict[str, Any]:
        rng = self._rng
        spec: dict[str, Any] = {"rateLimits": [self._rate(20)]}
        if rng.random() < 0.5:
            spec["plan"] = rng.choice(("gold", "gold", "tin", "nowhere"))
        if rng.random() < 0.2:
            spec["suspended"] = True
        if rng.random() < 0.25:
            spec["deletionPolicy"] = "Delete"
        if rng.random() < 0.15:
            # Passes the schema; is not among the models.
            spec["llm"] = {"models": ["mesh/other"], "defaultModel": "builtin/extractive"}
        elif rng.random() < 0.1:
            # Passes the schema; resolves unless the plan's ceilings allow none of it.
            spec["llm"] = {"models": ["mesh/other"]}
        if rng.random() < 0.25 and (uid := self._adoptable(name)):
            spec["adoptUid"] = uid
        return spec

    def _adoptable(self, name: str) -> str | None:
        taken = {t.get("adoptUid") for other, t in self._tenants.items() if other != name}
        uids = [f"@{other}" for other in sorted(self._known) if other != name]
        return self._rng.choice([uid for uid in uids if uid not in taken] + ["no uid/at all"])

    def _rate(self, most: int) -> dict[str, Any]:
        return {"name": "users.write", "requests": self._rng.randint(0, most), "windowSeconds": 1}
