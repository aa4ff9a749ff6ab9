"""The documented metrics, the dashboard and the alerts are about metrics that there are."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import ROOT, running_hub
from tests.support.metrics import MetricFacts, metric_facts
from tests.support.scrape import scrape
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, FakeVllm, Fleet

PACKAGING = ROOT / "packaging"
DASHBOARD = PACKAGING / "grafana-dashboard.json"
ALERTS = PACKAGING / "prometheus-alerts.yml"
SCRAPE = PACKAGING / "prometheus-scrape.yml"

_YAML_BLOCK = re.compile(r"^```yaml[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_METRIC = re.compile(r"\b(?:llmhub|process|python)_[a-z_]+\b")
_SELECTOR = re.compile(r"\b((?:llmhub|process)_[a-z_]+)\{([^}]*)\}")
_GROUPED = re.compile(r"\b(?:by|without) \(([^)]*)\)")
# Prometheus adds these to every series.
_OF_TARGETS = {"instance", "job"}


@pytest.fixture
async def facts(tmp_path) -> list[MetricFacts]:
    async with running_hub(tmp_path) as hub:
        return metric_facts(hub.hub)


def samples_of(facts: list[MetricFacts]) -> dict[str, set[str]]:
    """The labels of each sample that a scrape may have."""
    labels = {}
    for each in facts:
        if each.kind == "histogram":
            for suffix, further in (("_bucket", {"le"}), ("_count", set()), ("_sum", set())):
                labels[each.name + suffix] = {*each.labels, *further}
        else:
            labels[each.name] = set(each.labels)
    return labels


def dashboard_expressions() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def alert_rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


async def test_every_metric_is_documented_and_nothing_else(facts):
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in (ROOT / "docs" / "metrics.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    assert rows == [
        (f"`{each.name}`", each.kind, ", ".join(f"`{label}`" for label in each.labels), each.help)
        for each in facts
    ]


async def test_names_are_as_prometheus_wants_them(facts):
    for each in facts:
        assert re.fullmatch(r"llmhub_[a-z_]+", each.name)
        assert each.help.endswith("."), each
        assert not each.name.endswith(("_ms", "_milliseconds", "_bucket", "_count", "_sum"))


async def test_a_scrape_has_every_metric(tmp_path):
    async with running_hub(tmp_path) as hub:
        seen = set(await scrape(hub))
        listed = {each.name.removesuffix("_info") for each in metric_facts(hub.hub)}
    missing = {name for name in listed if not {name, f"{name}_info"} & seen}
    assert missing == set()
    assert {"process_resident_memory_bytes", "python_gc_collections_total"} <= seen


async def test_dashboard_and_alerts_ask_for_what_there_is(facts, tmp_path):
    known = samples_of(facts)
    async with running_hub(tmp_path) as hub:
        scraped = await scrape(hub)
    others = {sample.name for family in scraped.values() for sample in family.samples}
    expressions = [*dashboard_expressions(), *(rule["expr"] for rule in alert_rules())]
    assert len(expressions) > 40
    for expression in expressions:
        names = set(_METRIC.findall(expression))
        assert names or expression.startswith("up{"), expression
        unknown = {name for name in names if name not in known and name not in others}
        assert unknown == set(), expression
        for name, selectors in _SELECTOR.findall(expression):
            used = set(re.findall(r"(\w+) ?(?:=~|!=|!~|=)", selectors))
            assert used <= known.get(name, set()) | _OF_TARGETS, (expression, name)
        labels = set().union(*(known.get(name, set()) for name in names)) | _OF_TARGETS
        for group in _GROUPED.findall(expression):
            assert {label.strip() for label in group.split(",")} <= labels, expression


async def test_every_metric_of_the_hub_is_on_the_dashboard_or_in_an_alert(facts):
    used = set()
    for expression in [*dashboard_expressions(), *(rule["expr"] for rule in alert_rules())]:
        used |= {re.sub(r"_(bucket|count|sum)$", "", name) for name in _METRIC.findall(expression)}
    # These are for reading beside another one.
    spare = {
        *("llmhub_first_revision", "llmhub_ring_floor_revision"),
        *("llmhub_models", "llmhub_probes_watched", "llmhub_sidecar_frame_wait_seconds"),
    }
    assert {each.name for each in facts} - used == spare


def test_panels_do_not_lie_on_top_of_each_other():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"].endswith(".")


def test_every_alert_says_what_it_means():
    for rule in alert_rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_prometheus_takes_the_rules_and_the_configuration(tmp_path: Path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH (Debian: the package prometheus)")
    for file in (ALERTS, SCRAPE):
        shutil.copy(file, tmp_path)
    for arguments in (
        ["check", "rules", ALERTS.name],
        ["check", "config", "--syntax-only", SCRAPE.name],
    ):
        done = subprocess.run(
            [promtool, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def service_discovery() -> dict[str, Any]:
    """The scrape configuration in the documentation of service discovery."""
    text = (ROOT / "docs" / "for-services.md").read_text()
    [block] = [each for each in _YAML_BLOCK.findall(text) if "http_sd_configs" in each]
    configuration: dict[str, Any] = yaml.safe_load(block)
    return configuration


def test_the_documented_configurations_name_the_type_of_their_credentials():
    """Service discovery of Prometheus 2.42 sends the token without a type if none is named."""
    [discovered] = service_discovery()["scrape_configs"]
    [discovery] = discovered["http_sd_configs"]
    [scraped] = yaml.safe_load(SCRAPE.read_text())["scrape_configs"]
    for each in (discovery, scraped):
        assert each["authorization"]["type"] == "Bearer"
        assert set(each["authorization"]) == {"type", "credentials_file"}


async def test_prometheus_discovers_servers_by_the_documented_configuration(tmp_path: Path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH (Debian: the package prometheus)")
    async with running_hub(tmp_path / "data") as hub, Fleet() as fleet:
        vllm, ollama = await fleet.add(FakeVllm()), await fleet.add(FakeOllama())
        for server, name in ((vllm, "with-metrics"), (ollama, "without")):
            body = {"host": server.host, "port": server.port, "name": name}
            assert (await hub.http("POST", "/api/admin/llm-registry", body=body)).status == 201
        await wait_until(lambda: hub.hub.info().healthy_count == 2)
        configuration = service_discovery()
        [job] = configuration["scrape_configs"]
        [discovery] = job["http_sd_configs"]
        token, file = tmp_path / "token", tmp_path / "prometheus.yml"
        token.write_text(await hub.token(ROLE_READER) + "\n")
        path = urlsplit(discovery["url"]).path
        discovery["url"] = f"http://{hub.http_address}{path}"
        discovery["authorization"]["credentials_file"] = str(token)
        file.write_text(yaml.safe_dump(configuration))
        arguments = ("check", "service-discovery", "--timeout=5s", str(file), job["job_name"])
        process = await asyncio.create_subprocess_exec(
            promtool, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(30):
            out, errors = await process.communicate()
    assert process.returncode == 0, errors
    found = json.loads(out)
    assert len(found) == 2, "it lists what it drops too, without labels"
    [kept] = [each["labels"] for each in found if each.get("labels")]
    assert (kept["__address__"], kept["endpoint"]) == (vllm.id, "with-metrics")
