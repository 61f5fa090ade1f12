"""Which replica owns a bucket, as one of them sees it: rendezvous hashing over those that stand.

Members are told by their Leases; but the Lease of a replica that was killed stays for many seconds,
so who cannot be reached is looked at more closely:

- Its address refuses connections for half a second: the process is dead, its buckets move on.
- It is silent for a second, and more than half of the living can be reached: it is the one that is
  cut off, its buckets move on.
- Less than half of the living can be reached: we are cut off. The others go on without us, so we
  may not go on as an owner (`isolated`).

Every change of this view is an epoch. A replica that becomes the owner of a bucket starts with an
empty one: the owner before it may have admitted all that there was. Pure: `now` is monotonic
seconds, given.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import inf

from meshkit.limits.gcra import BucketKey

REFUSED_SECONDS = 0.5
SILENT_SECONDS = 1.0
PROBE_SECONDS = 0.5
PROBE_IN_TROUBLE_SECONDS = 0.2
_NEIGHBOURS = 2
_VIEWS_REMEMBERED = 32


@dataclass(slots=True)
class _Peer:
    """Another member: when it last answered, and since when it does not."""

    url: str
    heard_at: float
    tried_at: float
    trouble_since: float | None = None
    refused_since: float | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class _View:
    """Who stood from a time on; nobody while this replica was cut off."""

    since: float
    standing: tuple[str, ...]


class Peers:
    """The members of one service, from the eyes of `me`."""

    def __init__(self, me: str) -> None:
        self.me = me
        self.epoch = 0
        """Rises whenever an owner may be another one; 0 until there is another member."""
        self.isolated = False
        self._peers: dict[str, _Peer] = {}
        self._views: deque[_View] = deque([_View(-inf, ())], maxlen=_VIEWS_REMEMBERED)
        self._told = False

    @property
    def count(self) -> int:
        """How many members there are, dead or alive, this one included."""
        return len(self._peers) + 1

    @property
    def away(self) -> list[str]:
        """Members that do not answer."""
        return [name for name, peer in self._peers.items() if peer.trouble_since is not None]

    @property
    def gone(self) -> list[str]:
        """Members that are held to be dead or cut off."""
        return [name for name, peer in self._peers.items() if peer.gone]

    def url(self, identity: str) -> str | None:
        """Return where a member's admin port is, None where there is no such member."""
        peer = self._peers.get(identity)
        return peer.url if peer else None

    def answers(self, identity: str) -> bool:
        """Return whether a member answered when it was last asked, or was not asked yet."""
        peer = self._peers.get(identity)
        return peer is not None and peer.trouble_since is None

    def listed(self, members: Mapping[str, str], now: float) -> None:
        """Take in who is a member, with their addresses; this one may be among them."""
        known = self._peers
        self._peers = {
            name: known[name]
            if name in known and known[name].url == url
            else _Peer(url, heard_at=now, tried_at=now)
            for name, url in members.items()
            if name != self.me
        }
        if not self._told and not self._peers:
            # Nobody was there before us: buckets are full, as in a process of its own.
            self._views.append(_View(-inf, (self.me,)))
        self._told = True
        self.look(now)

    def answered(self, identity: str, now: float) -> None:
        """A member has answered."""
        peer = self._peers.get(identity)
        if peer is None:
            return
        was_in_trouble = peer.trouble_since is not None
        peer.heard_at, peer.gone = now, False
        peer.trouble_since = peer.refused_since = None
        if was_in_trouble:
            self.look(now)

    def failed(self, identity: str, now: float, *, refused: bool) -> None:
        """A member has not answered; `refused` where nothing listens at its address."""
        peer = self._peers.get(identity)
        if peer is None:
            return
        if peer.trouble_since is None:
            peer.trouble_since = now
        if not refused:
            peer.refused_since = None
        elif peer.refused_since is None:
            peer.refused_since = now
        self.look(now)

    def suspect(self, identity: str) -> None:
        """Another member gets no answer from this one: ask it soon."""
        peer = self._peers.get(identity)
        if peer is not None and peer.trouble_since is None:
            peer.tried_at = peer.heard_at = -inf

    def look(self, now: float) -> None:
        """Judge anew who stands; begin an epoch where that is different."""
        reachable = 1 + sum(peer.trouble_since is None for peer in self._peers.values())
        alive = 1 + sum(not (peer.gone and peer.refused_since) for peer in self._peers.values())
        for peer in self._peers.values():
            if peer.trouble_since is None:
                continue
            refused = peer.refused_since
            dead = refused is not None and now - refused >= REFUSED_SECONDS
            silent = now - peer.trouble_since >= SILENT_SECONDS
            peer.gone = peer.gone or dead or (silent and 2 * reachable > alive)
        self.isolated = 2 * reachable < alive
        standing = [name for name, peer in self._peers.items() if not peer.gone]
        view = () if self.isolated else tuple(sorted([*standing, self.me]))
        if view != self._views[-1].standing:
            self.epoch += 1
            self._views.append(_View(now, view))

    def owner(self, key: BucketKey) -> str:
        """Return which member runs a bucket; empty while this replica is cut off."""
        return _owner(key, self._views[-1].standing)

    def owned_since(self, key: BucketKey) -> float:
        """Return since when this replica has owned a bucket that it owns."""
        since = inf
        for view in reversed(self._views):
            if _owner(key, view.standing) != self.me:
                break
            since = view.since
        return since

    def due(self, now: float) -> list[str]:
        """Return the members to ask now for a sign of life, and count them as asked.

        While all is well that is a few neighbours that were not heard for a while, so that a
        replica that is cut off finds out; with one away, all of them.
        """
        names = sorted(self._peers)
        trouble = any(peer.trouble_since is not None for peer in self._peers.values())
        after = [name for name in names if name > self.me] + names
        chosen = names if trouble else list(dict.fromkeys(after))[:_NEIGHBOURS]
        wait = PROBE_IN_TROUBLE_SECONDS if trouble else PROBE_SECONDS
        due = [
            name
            for name in names
            if now - max(self._peers[name].heard_at, self._peers[name].tried_at) >= wait
            and (name in chosen or self._peers[name].heard_at == -inf)
        ]
        for name in due:
            self._peers[name].tried_at = now
        return due


def _owner(key: BucketKey, standing: Sequence[str]) -> str:
    """Rendezvous hashing (Thaler and Ravishankar, 1998): the member with the highest hash. One that
    goes moves only its own buckets."""
    if len(standing) < 2:
        return standing[0] if standing else ""
    # A uid and a limit's name hold no zero byte.
    subject = f"{key[0]}\0{key[1]}\0".encode()
    return max(standing, key=lambda name: blake2b(subject + name.encode(), digest_size=8).digest())


__all__ = ["PROBE_SECONDS", "Peers"]
