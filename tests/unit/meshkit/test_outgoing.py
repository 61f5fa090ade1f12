"""What is written to a connection, and when it goes out."""

import asyncio
from unittest import mock

from meshkit.web.outgoing import Outgoing


def make_transport() -> mock.Mock:
    transport = mock.Mock(spec=asyncio.Transport)
    transport.is_closing.return_value = False
    return transport


def written(transport: mock.Mock) -> list[bytes]:
    return [call.args[0] for call in transport.write.call_args_list]


async def test_head_and_body_go_out_together() -> None:
    transport = make_transport()
    outgoing = Outgoing(transport)
    outgoing.write(b"head")
    outgoing.write(b"body")
    await asyncio.sleep(0)
    outgoing.write(b"next")
    await asyncio.sleep(0)
    assert written(transport) == [b"headbody", b"next"]


async def test_what_waits_is_out_before_it_closes() -> None:
    transport = make_transport()
    outgoing = Outgoing(transport)
    outgoing.write(b"last")
    outgoing.close()
    await asyncio.sleep(0)
    assert [call[0] for call in transport.method_calls if call[0] != "is_closing"] == [
        "write",
        "close",
    ]


async def test_nothing_is_written_to_a_connection_that_is_gone() -> None:
    transport = make_transport()
    outgoing = Outgoing(transport)
    outgoing.write(b"late")
    transport.is_closing.return_value = True
    await asyncio.sleep(0)
    assert written(transport) == []
