"""What documents and dashboard say of the metrics is what is exposed, and the scraping that is shown works."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from authgate.observe.exposition import expose
from tests import servers
from tests.observe.test_exposition import board

DOCUMENT = (servers.PACKAGE_ROOT / "docs" / "metrics.md").read_text()
DASHBOARD = json.loads((servers.PACKAGE_ROOT / "deploy" / "grafana" / "authgate.json").read_text())

# What Prometheus adds to everything that it scrapes.
ADDED = {"job", "instance"}


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def families() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Return name as queries write it, type and labels of everything that is exposed."""
    body, _ = expose(board(), lambda: "0123456789ab", "")
    for family in parse_text(body.decode()):
        labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        yield family.name + "_total" * (family.type == "counter"), family.type, labels


def samples() -> Mapping[str, frozenset[str]]:
    """Return the labels of every series by its name."""
    body, _ = expose(board(), lambda: "0123456789ab", "")
    found = [sample for family in parse_text(body.decode()) for sample in family.samples]
    return {sample.name: frozenset(sample.labels) for sample in found}


def check_query(query: str) -> None:
    """Fail when a query names a metric or a label that is not exposed."""
    known = samples()
    named = re.findall(r"\b(authgate_\w+)", query)
    assert named, query
    assert set(named) <= known.keys(), query
    labels = frozenset[str]().union(*(known[name] for name in named))
    asked = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", query)
    for group in re.findall(r"\bby \(([^)]*)\)", query):
        asked += group.split(", ")
    assert set(asked) <= labels | ADDED, query


def test_table_has_every_metric_with_its_type_and_labels() -> None:
    rows = re.findall(r"^\| `(authgate_\w+)` \| (\w+) \|([^|]*)\|", DOCUMENT, re.MULTILINE)

    documented = {(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}

    assert documented == set(families())
    assert len(rows) == len(documented)


def test_alerts_ask_for_what_is_exposed() -> None:
    [alerts] = [block for block in fenced("yaml") if "alert:" in block]

    queries = re.findall(r"expr: (.+)", alerts)
    assert len(queries) == alerts.count("- alert:") > 5
    for query in queries:
        if query != 'up{job="authgate"} == 0':
            check_query(query)


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: str(panel["title"]))
def test_panel_asks_for_what_is_exposed(panel: Mapping[str, Any]) -> None:
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        check_query(str(target["expr"]))
        legend = set(re.findall(r"{{(\w+)}}", str(target["legendFormat"])))
        assert legend == set(re.findall(r"\bby \((?!le\))(\w+)\)", str(target["expr"])))


def test_every_metric_is_on_the_dashboard_or_is_about_its_age() -> None:
    shown = set(re.findall(r"\b(authgate_\w+)", json.dumps(DASHBOARD["panels"])))

    assert {name.removesuffix("_bucket") for name in shown} == {name for name, _, _ in families()} - {
        "authgate_start_time_seconds", "authgate_policy_info"
    }  # fmt: skip


def test_dashboard_can_be_imported() -> None:
    # Grafana 10.0 writes schema 38; an id of another installation would replace a dashboard there.
    assert (DASHBOARD["id"], DASHBOARD["schemaVersion"]) == (None, 38)
    datasource, instance = DASHBOARD["templating"]["list"]
    assert (datasource["type"], datasource["query"], datasource["name"]) == ("datasource", "prometheus", "datasource")
    check_query(instance["query"]["query"])
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(set(places)) == len(ids)


@pytest.mark.parametrize(("allowed", "status"), [("127.0.0.1", 200), ("192.0.2.9", 403)])
def test_nginx_hands_on_metrics_to_prometheus_alone(allowed: str, status: int) -> None:
    [shown] = fenced("nginx")
    port = servers.free_port()
    with servers.open_folder() as folder:
        house(folder)
        block = shown
        for written, real in (
            ("192.0.2.5:9105", f"127.0.0.1:{port}"),
            ("192.0.2.9", allowed),
            ("/run/authgate/", f"{folder}/run/"),
        ):
            assert block.count(written) == 1, written
            block = block.replace(written, real)
        with (
            servers.authgate(folder / "authgate.toml"),
            servers.nginx(folder, block, port),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as prometheus,
        ):
            answer = prometheus.get("/metrics")
            assert answer.status_code == status
            assert ("authgate_workers_ready 2.0" in answer.text) == (status == 200)
            # What else the listener answers is nobody's business there.
            for path in ("/", "/healthz", "/readyz", "/metrics/", "/metrics/../readyz"):
                assert prometheus.get(path).status_code == 404


def house(folder: Path) -> None:
    [shown] = fenced("toml")
    group = servers.nginx_group()
    (folder / "authgate.toml").write_text(shown + (f'group = "{group}"\n' if group else ""))
