"""A hub's /metrics, read by Prometheus' own parser."""

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.hub import HubClient


async def scrape(hub: HubClient, token: str | None = None) -> dict[str, Metric]:
    """The metrics by family name, which ends in _total for counters."""
    headers = {key.title(): value for key, value in hub.metadata(token)}
    async with hub.session.get(f"http://{hub.http_address}/metrics", headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/plain"
        text = await response.text()
    families = text_string_to_metric_families(text)
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in families
    }


def value(families: dict[str, Metric], sample: str, **labels: str) -> float:
    """The value of one sample; 0 if there is none."""
    found = [
        each.value
        for family in families.values()
        for each in family.samples
        if each.name == sample and each.labels == labels
    ]
    assert len(found) <= 1, found
    return found[0] if found else 0.0
