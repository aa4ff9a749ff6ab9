"""`llm-hub watch` in a process of its own, against a hub that runs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hub.cli.commands.watch import line
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DRAINING,
    BACKEND_OLLAMA,
    MODEL_STATE_LOADED,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    Endpoint,
)
from llmhub.v1.resources_pb2 import (
    EVENT_TYPE_DELETE,
    EVENT_TYPE_PUT,
    HostResources,
    RegistryEvent,
)
from tests.support.command import llm_hub
from tests.support.hub_process import HubProcess, hub_environment, running_hub


@contextmanager
def watching(hub: HubProcess, *arguments: str) -> Iterator[Iterator[str]]:
    """The lines that it prints."""
    with subprocess.Popen(
        [sys.executable, "-m", "hub.cli", "watch", *arguments],
        env={**hub_environment(), **hub.environment},
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdout is not None
        try:
            yield iter(process.stdout.readline, "")
        finally:
            process.kill()


def test_watch_shows_the_fleet_and_then_every_change(hub: HubProcess) -> None:
    environment = hub.environment
    assert llm_hub("register", "127.0.0.1:1", "--label", "zone=a", env=environment).code == 0
    with watching(hub, "-o", "json", "--label", "zone=a") as lines:
        first = json.loads(next(lines))
        assert (first["type"], first["endpoint"]["id"]) == ("put", "127.0.0.1:1")
        assert llm_hub("drain", "127.0.0.1:1", env=environment).code == 0
        states = (json.loads(each)["endpoint"]["admin_state"] for each in lines)
        assert "draining" in states
        assert llm_hub("remove", "127.0.0.1:1", env=environment).code == 0
        events = (json.loads(each) for each in lines)
        gone = next(each for each in events if each["type"] == "delete")
        assert gone["endpoint"]["id"] == "127.0.0.1:1"
        assert gone["revision"] > first["revision"]


def test_a_revision_of_another_hub_is_refused(hub: HubProcess) -> None:
    done = llm_hub("watch", "--after", "1", env=hub.environment)
    assert done.code == 1
    assert done.err.endswith("; leave out --after [REVISION_COMPACTED]\n")


def test_watch_ends_with_one_line_when_the_hub_stops(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as hub:
        assert llm_hub("register", "127.0.0.1:1", env=hub.environment).code == 0
        process = subprocess.Popen(
            [sys.executable, "-m", "hub.cli", "watch"],
            env={**hub_environment(), **hub.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert "127.0.0.1:1" in process.stdout.readline()
        assert hub.stop() == 0
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "watch again when it is back" in errors
    assert errors.count("\n") == 1


def test_an_event_is_one_readable_line() -> None:
    os.environ.setdefault("TZ", "UTC")
    endpoint = Endpoint(id="h:1", name="n\x1b", status=STATUS_HEALTHY, backend=BACKEND_OLLAMA)
    endpoint.models.add(name="a", state=MODEL_STATE_LOADED)
    endpoint.models.add(name="b")
    event = RegistryEvent(type=EVENT_TYPE_PUT, revision=1, endpoint=endpoint)
    assert line(event, 0.0).plain[10:] == (
        "put     endpoint  h:1 n\\x1b  healthy  ollama  1/2 models  a"
    )
    endpoint.status, endpoint.last_error = STATUS_UNHEALTHY, "refused"
    endpoint.admin_state = ADMIN_STATE_DRAINING
    event = RegistryEvent(type=EVENT_TYPE_PUT, revision=1, endpoint=endpoint)
    assert "unhealthy  draining  ollama  1/2 models  refused" in line(event, 0.0).plain
    gone = RegistryEvent(type=EVENT_TYPE_DELETE, revision=2, endpoint=Endpoint(id="h:1"))
    assert line(gone, 0.0).plain[10:] == "delete  endpoint  h:1"


def test_a_host_report_is_one_line() -> None:
    host = HostResources(agent_id="a", cpu_percent=7, ram_used_bytes=1, ram_total_bytes=4)
    event = RegistryEvent(type=EVENT_TYPE_PUT, revision=1, resources=host)
    assert line(event, 0.0).plain[10:] == "put     host      a  cpu 7 %  ram 25 %  vram ?"
