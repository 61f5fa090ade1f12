"""Examples in the OpenAPI document. The tests compare each with the shape of a real answer."""

_ALICE = {"userId": "alice-1", "email": "alice@example.com", "name": "Alice Doe"}

RESULTS = {
    "tenantId": "tenant-a",
    "query": "alice",
    "results": [{**_ALICE, "score": 0.74, "attributes": {"team": "billing"}}],
    "upToDate": True,
}
USER = {"tenantId": "tenant-a", **_ALICE, "attributes": {"team": "billing"}}
