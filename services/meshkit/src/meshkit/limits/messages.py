"""What replicas say to each other about buckets, as JSON on the admin port.

One request asks for several buckets that one owner runs, and gives back what was not used. `life`
is the random name of one run of the owner's process: a request that is for another life changes
nothing, so what was lent by a process is never given back to the one after it, and a request that
was recorded before a restart is worth nothing after it.
"""

from typing import Annotated

import msgspec

PATH = "/internal/limits/lease"

_Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
ASKS_MOST = 512


class Ask(msgspec.Struct):
    """Tokens wanted of one bucket. `need` of them somebody waits for, and fewer than `least` help
    nobody; `more` would save the next request. `back` tokens of earlier leases were not used.

    The limit is the asker's: all replicas follow the same policies, and each of them may be the
    first to have heard of a change.
    """

    tenant_uid: _Name
    name: _Name
    requests: _Positive
    window_seconds: _Positive
    burst: _Positive
    need: _Count
    least: _Count
    more: _Count
    back: _Count


class LeaseRequest(msgspec.Struct):
    """Asks of one replica, by name. `away` are members that do not answer the asker."""

    sender: str
    receiver: str
    life: str
    away: list[str]
    asks: Annotated[list[Ask], msgspec.Meta(max_length=ASKS_MOST)]


class Grant(msgspec.Struct):
    """`tokens` to use at once or soon; after them the bucket owes `debt` seconds. With `owned`
    false the replica does not run this bucket, as far as it knows."""

    tokens: int
    debt: float
    owned: bool = True


class LeaseReply(msgspec.Struct):
    """A grant for each ask, in order; none where the request was for another `life`."""

    life: str
    grants: list[Grant]


encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(LeaseRequest).decode
decode_reply = msgspec.json.Decoder(LeaseReply).decode

__all__ = [
    "ASKS_MOST",
    "PATH",
    "Ask",
    "Grant",
    "LeaseReply",
    "LeaseRequest",
    "decode_reply",
    "decode_request",
    "encode",
]
