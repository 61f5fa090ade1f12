"""The dashboard and the alerts: made where they are wanted, of metrics that the mesh has."""

import json
import re
from typing import Any

import pytest
from prometheus_client import REGISTRY
from promql_parser import parse

from meshkit.telemetry import metrics

from .conftest import CHARTS, Render

OPERATIONS = CHARTS.parent / "docs/operations.md"
# What a name may end in beside that of its metric; counters have their `_total` in it already.
_SERIES = re.compile(r"\bmesh_[a-z_]+")


def unknown(query: str) -> set[str]:
    """The series in a query that no process of the mesh has."""
    assert metrics.exposition()
    known = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    # A metric with labels has no samples before it is used.
    for family in REGISTRY.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        known |= {family.name + suffix for suffix in suffixes.get(family.type, [""])}
    return set(_SERIES.findall(query)) - known


def label_names(query: str) -> set[str]:
    """The labels by which a query groups or selects."""
    grouped = re.findall(r"\bby \(([a-z_, ]+)\)", query)
    selected = re.findall(r"([a-z_]+)=", query)
    return {name.strip() for names in grouped for name in names.split(",")} | set(selected)


def fault(query: str) -> str | None:
    """Why Prometheus would refuse a query, None where it would not."""
    try:
        # Grafana puts a duration there.
        parse(query.replace("$__rate_interval", "5m"))
    except ValueError as error:
        return str(error)
    return None


def anchors(text: str) -> set[str]:
    """The fragments by which GitHub reaches the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        # A heading that is there before gets a number.
        taken = [name for name in found if re.fullmatch(rf"{re.escape(plain)}(-\d+)?", name)]
        found.add(f"{plain}-{len(taken)}" if taken else plain)
    return found


@pytest.fixture
def dashboard(render: Render) -> dict[str, Any]:
    """The dashboard as Grafana gets it."""
    objects = render("--set", "dashboards.enabled=true")
    made = objects["ConfigMap", "mesh-dashboard"]
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    document: dict[str, Any] = json.loads(made["data"]["event-mesh.json"])
    return document


@pytest.fixture
def rules(render: Render) -> list[dict[str, Any]]:
    """The alerts as Prometheus gets them."""
    objects = render("--set", "alerts.enabled=true,alerts.labels.release=prometheus")
    made = objects["PrometheusRule", "mesh-alerts"]
    assert made["metadata"]["labels"]["release"] == "prometheus"
    (group,) = made["spec"]["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def queries(dashboard: dict[str, Any]) -> list[str]:
    """All queries of a dashboard."""
    return [one["expr"] for panel in dashboard["panels"] for one in panel.get("targets", ())]


def test_neither_is_made_where_it_is_not_wanted(render: Render) -> None:
    kinds = {kind for kind, _ in render()}
    assert "PrometheusRule" not in kinds
    assert ("ConfigMap", "mesh-dashboard") not in render()


def test_dashboard_shows_metrics_that_there_are(dashboard: dict[str, Any]) -> None:
    asked = queries(dashboard)
    assert len(asked) > 25
    assert [unknown(query) for query in asked if unknown(query)] == []


def test_alerts_look_at_metrics_that_there_are(rules: list[dict[str, Any]]) -> None:
    assert len(rules) >= 10
    assert [unknown(rule["expr"]) for rule in rules if unknown(rule["expr"])] == []


def test_metric_that_there_is_not_would_be_found() -> None:
    assert unknown("rate(mesh_http_request_total[5m])") == {"mesh_http_request_total"}
    assert unknown("mesh_freshness_seconds") == {"mesh_freshness_seconds"}


def test_prometheus_can_read_every_query(
    dashboard: dict[str, Any], rules: list[dict[str, Any]]
) -> None:
    asked = [*queries(dashboard), *(rule["expr"] for rule in rules)]
    assert {query: fault(query) for query in asked if fault(query)} == {}


@pytest.mark.parametrize(
    "query",
    [
        "sum(rate(mesh_search_seconds_count[5m])",
        "rate(mesh_search_seconds_count)",
        "histogram_quantile(mesh_search_seconds_bucket, 0.5)",
        "rates(mesh_search_seconds_count[5m])",
    ],
)
def test_query_that_prometheus_cannot_read_would_be_found(query: str) -> None:
    assert fault(query)


def test_queries_select_the_namespace_and_labels_that_there_are(
    dashboard: dict[str, Any], rules: list[dict[str, Any]]
) -> None:
    labels = {"le", "namespace", "pod", "operation", "status", "limit", "quota", "enforcement"}
    labels |= {"state", "mode", "reason", "outcome"}
    for query in [*queries(dashboard), *(rule["expr"] for rule in rules)]:
        assert query.count("namespace=") == len(_SERIES.findall(query)), query
        assert label_names(query) <= labels, query


def test_panels_stand_beside_each_other(dashboard: dict[str, Any]) -> None:
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert {x for x, _ in cells} == set(range(24))
    identities = [panel["id"] for panel in dashboard["panels"]]
    assert len(identities) == len(set(identities))


def test_every_alert_says_what_to_do(rules: list[dict[str, Any]]) -> None:
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"]) > 40
        assert "$namespace" not in rule["expr"]
        page, _, heading = rule["annotations"]["runbook_url"].partition("#")
        assert page == "https://github.com/distributedai/event-mesh/blob/HEAD/docs/operations.md"
        assert heading in anchors(OPERATIONS.read_text()), heading


def test_heading_that_there_are_two_of_is_reached_by_number() -> None:
    assert anchors("## The log\n### The `log`\n## a_b, c!\n") == {"the-log", "the-log-1", "a_b-c"}
