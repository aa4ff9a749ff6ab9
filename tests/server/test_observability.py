import sys

import pytest

from hub.base.load_settings import StartError
from hub.server.observability import Observability
from tests.support.hub import running_hub, settings_for

COLLECTOR = "http://127.0.0.1:9"


def test_missing_opentelemetry_names_the_extra_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hub.server.tracing", None)
    with pytest.raises(StartError, match=r"\.\[otel\]"):
        Observability(settings_for(tmp_path, tracing={"otlp_endpoint": COLLECTOR}))


async def test_opentelemetry_is_imported_only_if_configured(tmp_path):
    before = {name for name in sys.modules if name.startswith("opentelemetry")}
    async with running_hub(tmp_path):
        assert {name for name in sys.modules if name.startswith("opentelemetry")} == before
