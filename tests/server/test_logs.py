import io
import json
import logging
from contextvars import ContextVar

import pytest
import structlog

from hub.base import request_id
from hub.base.settings import LogSettings
from hub.server import logs

TOKEN = "llmhub_3f9ac1_q7-x_VYb0123456789"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log outside of any request, whatever a test before this one left in the context."""
    monkeypatch.setattr(request_id, "_current", ContextVar("request", default=""))


def test_events_are_json_without_a_terminal() -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(), stream)
    structlog.get_logger("hub.test").info("endpoint registered", id="a:1", models=3)
    [line] = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "endpoint registered",
        "id": "a:1",
        "models": 3,
        "level": "info",
        "logger": "hub.test",
    }


def test_standard_loggers_produce_the_same_form() -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(format="json"), stream)
    logging.getLogger("some.library").warning("%s of %d", "one", 2, extra={"peer": "b:2"})
    [line] = lines(stream)
    assert (line["event"], line["logger"], line["level"]) == (
        "one of 2",
        "some.library",
        "warning",
    )
    assert line["peer"] == "b:2"


def test_colours_are_used_only_on_a_terminal() -> None:
    plain, terminal, json_on_terminal = io.StringIO(), Terminal(), Terminal()
    for settings, stream in (
        (LogSettings(format="console"), plain),
        (LogSettings(), terminal),
        (LogSettings(format="json"), json_on_terminal),
    ):
        logs.configure(settings, stream)
        structlog.get_logger().info("started", port=1)
    assert "started" in plain.getvalue()
    assert "\x1b[" not in plain.getvalue()
    assert "\x1b[" in terminal.getvalue()
    assert lines(json_on_terminal)[0]["event"] == "started"


def test_the_level_applies_to_structlog_and_standard_loggers() -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(level="warning"), stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("x").info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


@pytest.mark.parametrize("output", ["json", "console"])
def test_secrets_do_not_reach_the_log(output: str) -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(format=output), stream)
    log = structlog.get_logger()
    log.info(f"got {TOKEN}", token="s3cret-1", api_key="s3cret-2", Authorization="s3cret-3")
    log.info("nested", request={"headers": [{"authorization": "s3cret-4"}, f"x={TOKEN}"]})
    log.info("object", value=ValueError(f"Bearer s3cret-5 and {TOKEN}"))
    logging.getLogger("lib").warning("header %s", "Authorization: Bearer s3cret-6")
    try:
        raise RuntimeError(TOKEN)
    except RuntimeError:
        log.exception("failed")
    text = stream.getvalue()
    assert text.count(logs.REDACTED) >= 9
    assert "s3cret" not in text
    assert TOKEN not in text
    assert "RuntimeError" in text


def test_other_values_are_not_redacted() -> None:
    event = {"token": None, "has_api_key": True, "token_id": "3f9ac1", "tokens": 5, "event": "x"}
    assert logs.redact(None, "info", dict(event)) == event
