"""SIGKILL in the middle of every kind of write."""

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

from tests.support.hub import hub_process
from tests.torture.outcome import Loss, Row, Scale, settings_file
from tests.torture.unseen import unseen_writers
from tests.torture.writers import settled, writers, writing
from tools.fleetsim import Fleet

_LONGEST_LIFE_S = 0.4


async def run(scale: Scale, directory: Path) -> list[Row]:
    """Kills a hub again and again while clients write, and asks the next one what it has."""
    random = Random(9)
    working = writers(scale.writers)
    loss, by_kind = Loss(), Counter[str]()
    config = settings_file(directory)
    async with Fleet() as fleet, hub_process(directory / "data", "--config", config) as process:
        async with process.client() as hub:
            working += await unseen_writers(fleet, hub, scale.writers)
        for _ in range(scale.kills):
            async with process.client() as hub, writing(hub, working):
                await asyncio.sleep(random.uniform(0.02, _LONGEST_LIFE_S))
                await process.kill()
            await process.start()
            async with process.client() as hub:
                loss += await settled(hub, working)
    for writer in working:
        by_kind[writer.name] += writer.ledger.writes
    assert all(by_kind.values()), f"nothing was written: {by_kind}"
    seen = ", ".join(f"{count:,} {name}" for name, count in by_kind.items())
    return [
        Row(
            torture="kill -9 under writes of every kind",
            times=scale.kills,
            checked="every acknowledged write and removal, after each restart; no lease is back",
            lost=loss.lost + loss.resurrected,
            seen=f"acknowledged: {seen}" + "".join(f"; {each}" for each in loss.examples[:3]),
        )
    ]
