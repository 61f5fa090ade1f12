"""The real engine behind a door that is lied to: what comes out is checked once more."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_gateway.vector_store import edge, edge_collection, wire
from ai_gateway.vector_store.edge import EdgeVectorStore
from builders import DENSE, make_context, make_query, make_upsert
from meshkit.tenancy.identity import TenantContext

A, B = make_context("tenant-a"), make_context("tenant-b")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EdgeVectorStore]:
    store = await EdgeVectorStore.open(
        tmp_path / "v", embedder_name=DENSE.name, dimension=DENSE.dimension, log_id="log"
    )
    await store.apply([make_upsert(A, f"a-{n}", f"Alice {n}") for n in range(50)])
    await store.apply([make_upsert(B, f"b-{n}", f"Bob {n}") for n in range(50)])
    yield store
    await store.close()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(query=st.text(max_size=60), limit=st.integers(1, 100), of_a=st.booleans())
async def test_no_query_finds_a_foreign_point(
    store: EdgeVectorStore, query: str, limit: int, of_a: bool
) -> None:
    tenant, prefix = (A, "a-") if of_a else (B, "b-")
    hits = await store.search(tenant, make_query(query), limit)
    assert all(hit.user.user_id.startswith(prefix) for hit in hits)


async def test_foreign_hit_is_dropped_logged_and_never_served(
    store: EdgeVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store._read

    async def lied_to(command: wire.Command) -> object:
        # The engine is asked as tenant B; the caller is tenant A.
        if isinstance(command, wire.Search):
            command.tenant_uid = B.tenant_uid
        return await read(command)

    monkeypatch.setattr(store, "_read", lied_to)
    with structlog.testing.capture_logs() as logs:
        assert await store.search(A, make_query("bob"), 10) == []
    assert {line["event"] for line in logs} == {"foreign_point_dropped"}


@pytest.mark.parametrize("uid", ["", " ", "a b", "x' or '1'='1", "*", "a\x00", "é", "x" * 129])
def test_context_of_an_odd_uid_cannot_be_made(uid: str) -> None:
    with pytest.raises(ValueError, match="uid"):
        TenantContext(A.tenant_id, uid)


def test_every_read_of_the_engine_carries_the_tenant_filter() -> None:
    source = Path(edge_collection.__file__).read_text()
    for call in (".query_batch(", ".count(", "delete_points_by_filter(mine"):
        assert call in source
    # The calls that read without a vector are the ones that strict mode would not catch.
    assert ".scroll(" not in source
    assert ".facet(" not in source
    assert "import qdrant" not in Path(edge.__file__).read_text()
