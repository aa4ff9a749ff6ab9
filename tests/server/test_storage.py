import asyncio
from pathlib import Path

from structlog.testing import capture_logs

from hub.base.clock import ManualClock
from hub.base.data_dir import STORE_FILE
from hub.base.settings import RateLimitSettings
from hub.contract.rpcs import Tier
from hub.server.fleet import Fleet
from hub.server.observability import Observability
from hub.server.storage import Storage
from hub.service.records import durable_fields, encode_endpoint, endpoint_key, token_key
from hub.stores.store import Delete, Put
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import running_hub, settings_for


def storage_in(directory: Path) -> Storage:
    settings = settings_for(directory)
    return Storage(settings, Observability(settings), lambda: None)


async def test_stored_records_are_followed_and_loaded_again(tmp_path: Path) -> None:
    clock = ManualClock()
    gone: list[str] = []
    for found in (0, 1):
        storage = storage_in(tmp_path)
        fleet = Fleet(settings_for(tmp_path), clock, first_revision=1_000)
        storage.load(await storage.open(), fleet, gone.append)
        assert (len(fleet.registry), len(storage.access.tokens)) == (found, found)
        if not found:
            endpoint = Endpoint(id="a:1", host="a", port=1, scheme="http", name="a:1")
            _, info, token = storage.access.tokens.mint(ROLE_READER, "", None, "", clock.now_ms())
            stored = Put(endpoint_key("a:1"), encode_endpoint(durable_fields(endpoint)))
            await storage.store.commit([stored, token])
            assert (len(fleet.registry), len(storage.access.tokens)) == (1, 1)
        else:
            await storage.store.commit([Delete(token_key(info.id))])
            assert gone == [info.id]
        await fleet.stop()
        async with asyncio.timeout(10):
            await storage.store.close()


async def test_new_rate_limits_apply_at_once(tmp_path: Path) -> None:
    storage = storage_in(tmp_path)
    limiter = storage.access.limiters[ROLE_READER]
    storage.limit_rates(RateLimitSettings(reader={"light": 1, "normal": 1, "heavy": 1}))
    assert limiter.take("t", Tier.NORMAL, 0).allowed
    assert not limiter.take("t", Tier.NORMAL, 0).allowed
    assert storage.backup is not None


async def test_changes_that_are_missing_are_said_at_the_start(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        await hub.token(ROLE_READER)
    with capture_logs() as logs:
        async with running_hub(tmp_path):
            pass
    assert not [line for line in logs if line["log_level"] == "error"]
    (tmp_path / STORE_FILE).unlink()
    with capture_logs() as logs:
        async with running_hub(tmp_path):
            pass
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert line["event"].startswith("the store has lost changes that were acknowledged")
    assert line["acknowledged"] > line["found"] == 0
