from pathlib import Path

from hub.base.clock import ManualClock
from hub.base.version import hub_version
from hub.server.fleet import Fleet
from hub.server.server_info import ServerInfo
from tests.support.hub import settings_for


async def test_addresses_appear_once_the_hub_listens(tmp_path: Path) -> None:
    clock = ManualClock()
    fleet = Fleet(settings_for(tmp_path), clock, first_revision=1_000)
    info = ServerInfo(fleet, clock, "sqlite", 5_000)
    before = info.get()
    assert (before.version, before.store, before.revision) == (hub_version(), "sqlite", 1_000)
    assert (before.started_at.ToMilliseconds(), before.ws_address) == (5_000, "")
    info.addresses = {"ws": "127.0.0.1:1", "grpc": "127.0.0.1:2", "http": "127.0.0.1:3"}
    after = info.get()
    assert [after.ws_address, after.grpc_address, after.http_address] == list(
        info.addresses.values()
    )
    await fleet.stop()
