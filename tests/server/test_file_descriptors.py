from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hub.base.settings import Settings
from hub.server.file_descriptors import log_shares, shared_out


def _settings(**most: int) -> Settings:
    sections = {name: {"max_connections": count} for name, count in most.items()}
    return Settings.model_validate({"data_dir": Path("/tmp"), **sections})


def _connections(settings: Settings) -> tuple[int, int, int]:
    return tuple(each.max_connections for each in (settings.ws, settings.grpc, settings.http))


@pytest.mark.parametrize("descriptors", [None, 100_000])
def test_enough_descriptors_change_nothing(descriptors: int | None) -> None:
    settings = Settings(data_dir=Path("/tmp"))
    with capture_logs() as logs:
        assert shared_out(settings, descriptors) is settings
        log_shares(settings, settings)
    assert not logs


@pytest.mark.parametrize(("descriptors", "level"), [(20_000, "info"), (1_024, "warning")])
def test_too_few_are_shared_out_in_proportion(descriptors: int, level: str) -> None:
    settings = Settings(data_dir=Path("/tmp"))
    with capture_logs() as logs:
        fewer = shared_out(settings, descriptors)
        assert not logs
        log_shares(settings, fewer)
    ws, grpc, http = _connections(fewer)
    assert (ws + grpc + http) * 1.25 < descriptors
    assert ws // grpc == settings.ws.max_connections // settings.grpc.max_connections
    (line,) = logs
    assert (line["log_level"], line["ws"], line["grpc"], line["http"]) == (level, ws, grpc, http)


def test_every_transport_keeps_a_connection() -> None:
    assert _connections(shared_out(_settings(ws=1, grpc=1, http=1), 64)) == (1, 1, 1)
