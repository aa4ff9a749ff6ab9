from hub.service.access.caller import Principal
from hub.service.access.token_uses import TokenUses
from hub.service.changes.use_recorder import BATCH, BATCHES_AT_ONCE, UseRecorder
from hub.service.records import USES, RecordRouter
from hub.stores.sqlite import SqliteStore
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.waiting import wait_until

NOW = 1_800_000_000_000


async def test_it_writes_bounded_batches_and_what_is_left_next_time(tmp_path):
    uses, transactions = TokenUses(), []
    store = SqliteStore(
        tmp_path / "hub.db", on_transaction=lambda batches, _: transactions.append(batches)
    )
    router = RecordRouter({USES: [uses]})
    router.load(await store.open(router.apply))
    tokens = BATCH * BATCHES_AT_ONCE + 1
    for i in range(tokens):
        uses.note(Principal(ROLE_READER, "", f"t{i:05}"), "10.0.0.1", NOW)
    recorder = UseRecorder(store, uses)
    await recorder.write()
    assert len(transactions) == BATCHES_AT_ONCE
    assert sum(uses.is_stored(f"t{i:05}") for i in range(tokens)) == tokens - 1
    await recorder.write()
    await recorder.write()
    assert len(transactions) == BATCHES_AT_ONCE + 1
    await store.close()


async def test_a_stop_writes_what_is_due_once(tmp_path):
    uses = TokenUses()
    store = SqliteStore(tmp_path / "hub.db")
    router = RecordRouter({USES: [uses]})
    router.load(await store.open(router.apply))
    recorder = UseRecorder(store, uses)
    recorder.start(lambda: None)
    uses.note(Principal(ROLE_READER, "", "t"), "10.0.0.1", NOW)
    await recorder.stop()
    await recorder.stop()
    await wait_until(lambda: uses.is_stored("t"))
    await store.close()
    # A store that is gone keeps no hub from stopping.
    uses.note(Principal(ROLE_READER, "", "t2"), "10.0.0.1", NOW)
    recorder.start(lambda: None)
    await recorder.stop()
    assert not uses.is_stored("t2")
