"""Every metric of the mesh, named in one place.

Names are `mesh_<noun>_<unit>_total|seconds`. No metric has a tenant label: tenants are made by
customers' growth, and a label's values have to stay few. A tenant's own numbers are served by
`GET /tenants/self`.
"""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS = Counter(
    "mesh_http_requests_total", "Answers by operation and status.", ("operation", "status")
)
REQUEST_FAULTS = Counter(
    "mesh_http_faults_total", "Requests that met an unforeseen fault.", ("operation",)
)
REFUSALS = Counter(
    "mesh_rate_limit_refusals_total",
    "Requests over a tenant's rate limit: refused (enforced) or only counted (shadow).",
    ("limit", "enforcement"),
)
IN_FLIGHT = Gauge("mesh_http_requests_in_flight", "Requests of tenants that are being handled.")
OVERLOADED = Counter(
    "mesh_http_overloaded_total",
    "Requests refused because the process was at its capacity, whatever their tenant's limits.",
)
CONNECTIONS_DROPPED = Counter(
    "mesh_http_connections_dropped_total",
    "Connections that idled and were closed for new ones, because a port had too many.",
)
RATE_LIMIT_FALLBACKS = Counter(
    "mesh_rate_limit_fallbacks_total",
    "Decisions without the replica that runs the bucket, by the rule that was declared for that.",
    ("mode",),
)
RATE_LIMIT_PEERS_AWAY = Gauge(
    "mesh_rate_limit_peers_away", "Replicas of this service that do not answer this one."
)
RATE_LIMIT_UNPROVEN = Counter(
    "mesh_rate_limit_unproven_total",
    "Requests for tokens that did not prove to be from a replica, or were seen before.",
)
RATE_LIMIT_LEASE_SECONDS = Histogram(
    "mesh_rate_limit_lease_seconds",
    "Requests for tokens of buckets that other replicas run.",
    buckets=_FAST,
)
QUOTA_REFUSALS = Counter(
    "mesh_quota_refusals_total",
    "Items over a tenant's quota: refused (enforced) or only counted (shadow).",
    ("quota", "enforcement"),
)
QUOTA_WARNINGS = Counter(
    "mesh_quota_warnings_total",
    "Answers that told a tenant that four fifths of a quota are used.",
)
USAGE_RECORDS = Counter("mesh_usage_records_total", "Changes of usage told to other replicas.")
EVENTS_INDEXED = Counter("mesh_events_indexed_total", "Events whose effect is searchable.")
EVENTS_DEAD_LETTERED = Counter(
    "mesh_events_dead_lettered_total", "Events that cannot be understood."
)
EVENTS_FENCED = Counter(
    "mesh_events_fenced_total", "Events of tenants that are being deleted: read and passed over."
)
INDEXER_RETRIES = Counter(
    "mesh_indexer_retries_total", "Batches put off because something was away."
)
INDEXER_LAG = Gauge("mesh_indexer_lag_records", "Records published and not yet searchable.")
INDEXER_APART = Gauge(
    "mesh_indexer_apart_tenants",
    "Tenants whose waiting events are no lag: suspended, or catching up since they were resumed.",
    ("state",),
)
FRESHNESS = Histogram(
    "mesh_freshness_seconds", "From durable in the log to searchable.", buckets=_FAST
)
SEARCH_SECONDS = Histogram("mesh_search_seconds", "Searches, from query to results.", buckets=_FAST)
FOREIGN_POINTS = Counter(
    "mesh_foreign_points_total", "Hits of another tenant, dropped on the way out: has to stay 0."
)
POLICIES = Gauge("mesh_tenant_policies", "Tenant policies in force in this process.")
POLICIES_STALENESS = Gauge(
    "mesh_policies_staleness_seconds",
    "Seconds since the API server that policies come from was last heard, once its watch is lost or"
    " a bookmark is missing; 0 while it is watched.",
)
TENANT_PROBLEMS = Gauge("mesh_tenant_problems", "Tenants or plans declared but not in force.")
RECONCILES = Counter(
    "mesh_operator_reconciles_total", "Tenants looked at by the operator.", ("outcome",)
)
OPERATOR_QUEUE = Gauge("mesh_operator_queue_tenants", "Tenants that wait to be looked at.")
OPERATOR_TENANTS = Gauge("mesh_operator_tenants", "Tenants that the operator looks after.")
OPERATOR_ERASING = Gauge("mesh_operator_erasing_tenants", "Tenants that are being erased.")
OPERATOR_LEADER = Gauge("mesh_operator_leader", "1 in the operator that is at work, else 0.")
MEMBERS = Gauge("mesh_members", "Live replicas of the services.")
POLICY_PROPAGATION = Histogram(
    "mesh_policy_propagation_seconds",
    "From a policy written to obeyed by every live replica.",
    buckets=_FAST,
)
ACKNOWLEDGEMENTS = Counter(
    "mesh_member_acknowledgements_total",
    "Writes of this replica's Lease: policies acknowledged, and renewals.",
)
ACKNOWLEDGEMENT_FAILURES = Counter(
    "mesh_member_acknowledgement_failures_total",
    "Writes of this replica's Lease that failed: the API server was away, or refused.",
    ("reason",),
)

_requests: dict[tuple[str, int], Counter] = {}
_refusals: dict[tuple[str, str], Counter] = {}


def count_request(operation: str, status: int) -> None:
    """Count one answer. Looking a labelled child up costs more than counting, so it is kept."""
    counter = _requests.get((operation, status))
    if counter is None:
        counter = _requests[operation, status] = REQUESTS.labels(operation, str(status))
    counter.inc()


def count_refusal(limit: str, enforcement: str) -> None:
    """Count one request over a rate limit, in a child that is kept as above."""
    counter = _refusals.get((limit, enforcement))
    if counter is None:
        counter = _refusals[limit, enforcement] = REFUSALS.labels(limit, enforcement)
    counter.inc()


def exposition() -> tuple[bytes, str]:
    """Return all metrics in Prometheus' text format, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST


__all__ = [
    "ACKNOWLEDGEMENTS",
    "ACKNOWLEDGEMENT_FAILURES",
    "CONNECTIONS_DROPPED",
    "EVENTS_DEAD_LETTERED",
    "EVENTS_FENCED",
    "EVENTS_INDEXED",
    "FOREIGN_POINTS",
    "FRESHNESS",
    "INDEXER_APART",
    "INDEXER_LAG",
    "INDEXER_RETRIES",
    "IN_FLIGHT",
    "MEMBERS",
    "OPERATOR_ERASING",
    "OPERATOR_LEADER",
    "OPERATOR_QUEUE",
    "OPERATOR_TENANTS",
    "OVERLOADED",
    "POLICIES",
    "POLICIES_STALENESS",
    "POLICY_PROPAGATION",
    "QUOTA_REFUSALS",
    "QUOTA_WARNINGS",
    "RATE_LIMIT_FALLBACKS",
    "RATE_LIMIT_LEASE_SECONDS",
    "RATE_LIMIT_PEERS_AWAY",
    "RATE_LIMIT_UNPROVEN",
    "RECONCILES",
    "REFUSALS",
    "REQUESTS",
    "REQUEST_FAULTS",
    "SEARCH_SECONDS",
    "TENANT_PROBLEMS",
    "USAGE_RECORDS",
    "count_refusal",
    "count_request",
    "exposition",
]
