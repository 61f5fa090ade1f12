"""Random blocks are handed out once, whoever asks."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshkit.entropy import BLOCK_BYTES, random_block


def test_no_block_is_handed_out_twice_by_many_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        blocks = list(pool.map(lambda _: random_block(), range(20_000)))
    assert len(set(blocks)) == 20_000
    assert {len(block) for block in blocks} == {BLOCK_BYTES}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_gets_blocks_of_its_own() -> None:
    random_block()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, random_block())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, BLOCK_BYTES)
    os.close(reading)
    os.close(writing)
    assert theirs != random_block()
