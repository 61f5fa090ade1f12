"""Whose turn it is: weighted deficit round robin over the tenants that have work waiting.

Shreedhar and Varghese, "Efficient Fair Queueing using Deficit Round Robin", SIGCOMM 1995: each
turn adds a tenant's weight to its credit, and it is served while that lasts; every event costs one.
So among tenants with work waiting each gets its weight's share, whatever the others have waiting,
and what one does not use goes to the others. A tenant that has just come gets its first turn before
the others' next one, as new flows do in RFC 8290 (section 4.2): who sends little hardly waits for
who sends much. In it a few events may go at once, but those over its weight are borrowed from its
next turns; and it has to wait a round, and pay back, before it is new again. So shares stay what
they are and nobody starves.

Pure: no clock, no input or output. Order within a tenant is that of arrival.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

WeightOf = Callable[[str], int]
"""The weight of a tenant, by its uid; 0 means that it is not served for now: what it has waiting is
given up when its turn comes."""


# The first turn of a newcomer is as long as so many turns: what it sends in the time of a batch or
# two goes together.
_FIRST_TURNS = 4


class _Queue(Generic[T]):
    """One tenant's waiting items and what is left of its turn; below zero it is in debt."""

    __slots__ = ("credit", "items")

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.credit = 0


class FairQueues(Generic[T]):
    """Queues by tenant, and the order in which they are served."""

    def __init__(self, weight_of: WeightOf) -> None:
        self._weight_of = weight_of
        self._queues: dict[str, _Queue[T]] = {}
        # The front is served next. A queue that has become empty stays for one more round.
        self._new: OrderedDict[str, None] = OrderedDict()
        self._old: OrderedDict[str, None] = OrderedDict()
        self._count = 0
        self._given_up: list[T] = []

    def __len__(self) -> int:
        return self._count

    def push(self, tenant: str, item: T, *, backlogged: bool = False) -> None:
        """Put an item at the end of its tenant's queue. Who is known to be backlogged is no
        newcomer, even where its queue has run empty."""
        queue = self._queues.get(tenant)
        if queue is None:
            queue = self._queues[tenant] = _Queue()
            (self._old if backlogged else self._new)[tenant] = None
        queue.items.append(item)
        self._count += 1

    def take(self, most: int, *, newcomers_only: bool = False) -> list[T]:
        """Return the next items, at most `most`; none where nobody who is served has any.

        With `newcomers_only` nobody gets more than the first turn.
        """
        taken: list[T] = []
        weights: dict[str, int] = {}
        while len(taken) < most and self._queues:
            turns = self._new if newcomers_only else self._new or self._old
            if not turns:
                break
            tenant = next(iter(turns))
            queue = self._queues[tenant]
            # Asked once for all of its turns: it takes longer than a turn.
            weight = weights.get(tenant)
            if weight is None:
                weight = weights[tenant] = self._weight_of(tenant)
            if weight <= 0 or (not queue.items and queue.credit >= 0):
                self._given_up += queue.items
                self._count -= len(queue.items)
                self._forget(tenant)
                continue
            if queue.credit <= 0:
                queue.credit += weight * (_FIRST_TURNS if tenant in self._new else 1)
            if queue.credit <= 0 or not queue.items:
                self._to_the_end(tenant)
                continue
            if queue.credit == 1:
                count = 1
                taken.append(queue.items.popleft())
            else:
                count = min(queue.credit, len(queue.items), most - len(taken))
                taken += [queue.items.popleft() for _ in range(count)]
            queue.credit -= count
            if queue.credit <= 0 or not queue.items:
                if tenant in self._new:
                    queue.credit -= weight * (_FIRST_TURNS - 1)
                # Without work there is no credit to keep: a share cannot be saved up.
                queue.credit = min(queue.credit, 0)
                self._to_the_end(tenant)
        self._count -= len(taken)
        return taken

    def given_up(self) -> list[T]:
        """Return what was given up since this was last asked, in its tenants' order."""
        given_up, self._given_up = self._given_up, []
        return given_up

    def waits(self, tenant: str) -> bool:
        """Return whether a tenant has any item waiting."""
        queue = self._queues.get(tenant)
        return queue is not None and bool(queue.items)

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out every item that is not wanted any more, and return them."""
        removed: list[T] = []
        for tenant, queue in list(self._queues.items()):
            kept: deque[T] = deque()
            for item in queue.items:
                (removed if unwanted(item) else kept).append(item)
            queue.items = kept
            if not kept:
                self._forget(tenant)
        self._count -= len(removed)
        return removed

    def _to_the_end(self, tenant: str) -> None:
        if tenant in self._old:
            self._old.move_to_end(tenant)
        else:
            del self._new[tenant]
            self._old[tenant] = None

    def _forget(self, tenant: str) -> None:
        del self._queues[tenant]
        self._new.pop(tenant, None)
        self._old.pop(tenant, None)
