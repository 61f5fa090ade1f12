"""The collection in a Qdrant server: made, named by an alias, and checked before it is used.

    user_embeddings          the alias that searches use
    user_embeddings_<n>      collections; `mesh reindex` makes the next one and moves the alias

What the points are (embedder, dimension, layout, the log they came from, and an id of their own) is
kept as the collection's metadata. A collection that is not what this process needs is refused with
the way out; nothing is repaired silently.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from ai_gateway.vector_store.port import DENSE, LEXICAL, StoreMismatch, StoreUnavailable
from meshkit.clock import unix_ms

ALIAS = "user_embeddings"
LAYOUT = 2
OLDEST_VERSION = (1, 16)
_TIMEOUT_SECONDS = 10
_NOT_FOUND, _CONFLICT = 404, 409


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """What the points of a collection are; kept as its metadata."""

    collection_id: str
    embedder: str
    dimension: int
    log_id: str
    layout: int
    made_ms: int
    scattered: bool = False
    """Whether the log may have records of users elsewhere than their deletions: then deletion
    markers are kept."""
    partitions: int = 0
    """How many partitions the log had when that was noted first; 0 while it is not known."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection of the server and what is in it."""

    name: str
    meta: Meta


class QdrantLayout:
    """Looks after the collections of one server. Every method raises StoreUnavailable."""

    def __init__(self, url: str, api_key: str | None, alias: str = ALIAS) -> None:
        self._url = url
        self._alias = alias
        self._client = AsyncQdrantClient(
            url=url,
            api_key=api_key,
            timeout=_TIMEOUT_SECONDS,
            # We check the version ourselves, and say what to do.
            check_compatibility=False,
        )

    async def current(self) -> Collection | None:
        """Return the collection behind the alias, None where there is none.

        Raises StoreMismatch.
        """
        name = await self.current_name()
        return await self.read(name) if name is not None else None

    async def current_name(self) -> str | None:
        """Return the name of what is behind the alias, whatever it is."""
        try:
            info = await self._client.info()
            aliases = (await self._client.get_aliases()).aliases
        except (ResponseHandlingException, UnexpectedResponse) as error:
            raise self._unavailable(error) from None
        _check_version(info.version)
        names = [alias.collection_name for alias in aliases if alias.alias_name == self._alias]
        return names[0] if names else None

    def number(self, name: str | None) -> int:
        """Return the number in a collection's name, 0 where it has none."""
        tail = (name or "").removeprefix(f"{self._alias}_")
        return int(tail) if tail.isdecimal() else 0

    def name(self, number: int) -> str:
        """Return the name of the collection with a number."""
        return f"{self._alias}_{number}"

    async def read(self, name: str) -> Collection:
        """Return a collection whose layout is right. Raises StoreMismatch."""
        info = await self._info(name)
        _check_layout(name, info)
        return Collection(name, _meta(name, info.config.metadata or {}))

    async def read_meta(self, name: str) -> Meta:
        """Return what a collection says its points are, whatever else was changed about it.

        Raises StoreMismatch.
        """
        return _meta(name, (await self._info(name)).config.metadata or {})

    async def _info(self, name: str) -> models.CollectionInfo:
        try:
            return await self._client.get_collection(name)
        except (ResponseHandlingException, UnexpectedResponse) as error:
            if isinstance(error, UnexpectedResponse) and error.status_code == _NOT_FOUND:
                raise StoreMismatch(f"the collection {name} is gone") from None
            raise self._unavailable(error) from None

    async def create(self, number: int, embedder: str, dimension: int, log_id: str) -> Collection:
        """Make the collection of this number, empty; one that was made by another is taken."""
        name = self.name(number)
        meta = Meta(str(uuid4()), embedder, dimension, log_id, LAYOUT, unix_ms())
        try:
            await self._client.create_collection(
                name, **_config(dimension), metadata=msgspec.to_builtins(meta)
            )
        except UnexpectedResponse as error:
            if error.status_code != _CONFLICT:
                raise self._unavailable(error) from None
        except ResponseHandlingException as error:
            raise self._unavailable(error) from None
        # Also where another process has made it: it may have died before it came to these.
        for field, schema in _INDEXES.items():
            try:
                await self._client.create_payload_index(name, field, schema, wait=True)
            except (ResponseHandlingException, UnexpectedResponse) as error:
                raise self._unavailable(error) from None
        return await self.read(name)

    async def change_meta(self, name: str, **changes: bool | int) -> None:
        """Change some of what a collection's metadata says, and leave the rest as it is: the server
        merges, so several processes may do it at once."""
        try:
            await self._client.update_collection(name, metadata=changes)
        except (ResponseHandlingException, UnexpectedResponse) as error:
            raise self._unavailable(error) from None

    async def point_alias_to(self, name: str) -> None:
        """Let searches see this collection from now on, atomically."""
        move: list[models.AliasOperations] = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self._alias)),
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=name, alias_name=self._alias)
            ),
        ]
        try:
            await self._client.update_collection_aliases(change_aliases_operations=move)
        except (ResponseHandlingException, UnexpectedResponse) as error:
            raise self._unavailable(error) from None

    async def numbers(self) -> list[int]:
        """Return the numbers of the collections that exist, the alias's among them."""
        try:
            found = (await self._client.get_collections()).collections
        except (ResponseHandlingException, UnexpectedResponse) as error:
            raise self._unavailable(error) from None
        return sorted(number for one in found if (number := self.number(one.name)))

    async def drop(self, name: str) -> None:
        """Remove a collection and all its points."""
        try:
            await self._client.delete_collection(name)
        except (ResponseHandlingException, UnexpectedResponse) as error:
            raise self._unavailable(error) from None

    async def close(self) -> None:
        """Release the connections."""
        await self._client.close()

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        if isinstance(error, UnexpectedResponse):
            if error.status_code in (401, 403):
                return StoreUnavailable(f"{self._url} refuses the API key (MESH_QDRANT_API_KEY)")
            return StoreUnavailable(f"{self._url} answers {error.status_code}")
        return StoreUnavailable(f"{self._url} does not answer")


_INDEXES: Mapping[str, models.PayloadSchemaType | Any] = {
    "tenantUid": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    # For sweeping. With payload_m the engine would build a graph for every indexed field.
    "deletedAt": models.IntegerIndexParams(
        type=models.IntegerIndexType.INTEGER, lookup=False, range=True, enable_hnsw=False
    ),
}


def _config(dimension: int) -> dict[str, Any]:
    return {
        "vectors_config": {
            DENSE: models.VectorParams(size=dimension, distance=models.Distance.COSINE)
        },
        # No modifier: inverse document frequencies would be counted over all tenants.
        "sparse_vectors_config": {LEXICAL: models.SparseVectorParams()},
        # No graph over all tenants; one for each that is large enough.
        "hnsw_config": models.HnswConfigDiff(m=0, payload_m=16, ef_construct=100),
        "strict_mode_config": models.StrictModeConfig(
            enabled=True,
            # With m = 0 the server refuses a vector search that names no tenant.
            search_allow_exact=False,
            unindexed_filtering_retrieve=False,
            # The revision guard filters by point id and by `revision`, which needs no index.
            unindexed_filtering_update=True,
        ),
    }


def _check_version(version: str) -> None:
    numbers = tuple(int(part) for part in version.split("-")[0].split(".")[:2])
    if numbers < OLDEST_VERSION:
        raise StoreMismatch(
            f"the Qdrant server is {version}; 1.16 or newer is needed, for conditional updates"
        )


def _check_layout(name: str, info: models.CollectionInfo) -> None:
    config, wrong = info.config, []
    vectors, sparse = config.params.vectors, config.params.sparse_vectors or {}
    dense = vectors.get(DENSE) if isinstance(vectors, dict) else None
    if dense is None or dense.distance != models.Distance.COSINE:
        wrong.append(f"no cosine vector {DENSE!r}")
    if LEXICAL not in sparse:
        wrong.append(f"no sparse vector {LEXICAL!r}")
    if config.hnsw_config.m != 0 or not config.hnsw_config.payload_m:
        wrong.append("a graph over all tenants (hnsw m is not 0)")
    strict = config.strict_mode_config
    if strict is None or not strict.enabled or strict.search_allow_exact is not False:
        wrong.append("no strict mode that refuses searches without a tenant")
    if not _is_tenant_index(info.payload_schema.get("tenantUid")):
        wrong.append("no tenant index on tenantUid")
    if wrong:
        raise StoreMismatch(
            f"the collection {name} has {', '.join(wrong)}: somebody else made or changed it. Run"
            " `mesh reindex` for one that is as it has to be; searches go on meanwhile"
        )


def _is_tenant_index(index: models.PayloadIndexInfo | None) -> bool:
    return index is not None and bool(getattr(index.params, "is_tenant", False))


def _meta(name: str, metadata: Mapping[str, Any]) -> Meta:
    try:
        return msgspec.convert(metadata, Meta)
    except msgspec.ValidationError as error:
        raise StoreMismatch(
            f"the collection {name} does not say what its points are ({error})."
            " Run `mesh reindex` to make one from the event log"
        ) from None
