"""A share of `make torture`, and that its ledger sees what is lost."""

from pathlib import Path

import pytest

from tests.torture import damage
from tests.torture.__main__ import SHARE, TORTURES
from tests.torture.outcome import Ledger, Row, table, total


@pytest.mark.parametrize("name", TORTURES)
async def test_nothing_is_lost(name: str, tmp_path: Path) -> None:
    rows = await TORTURES[name](SHARE, tmp_path)
    assert total(rows) == 0, table(rows)


async def _done() -> None:
    """An acknowledged write."""


async def _cut() -> None:
    raise ConnectionError


async def test_a_lost_write_and_a_record_that_is_back_are_seen() -> None:
    ledger = Ledger()
    for key, value in (("kept", "1"), ("lost", "1"), ("old", "1"), ("old", "2"), ("gone", None)):
        await ledger.write(key, value, _done())
    loss = ledger.settle({"kept": "1", "old": "1", "gone": "1"})
    assert (loss.lost, loss.resurrected) == (2, 1)
    assert loss.examples == [
        "lost: acknowledged '1', found None",
        "old: acknowledged '2', found '1'",
        "gone: acknowledged None, found '1'",
    ]


@pytest.mark.parametrize("found", [{"a": "1"}, {"a": "2"}])
async def test_an_unanswered_write_may_be_done_or_not(found: dict[str, str]) -> None:
    ledger = Ledger()
    await ledger.write("a", "1", _done())
    with pytest.raises(ConnectionError):
        await ledger.write("a", "2", _cut())
    assert ledger.settle(found).lost == 0
    assert ledger.settle(found).lost == 0, "from then on it is one of the two"
    assert ledger.settle({"a": "3"}).lost == 1


def test_the_table_ends_in_what_was_lost() -> None:
    rows = [
        Row(torture="t", times=1_000, checked="c", lost=2),
        Row(torture="u", times=1, checked="d", lost=0, seen="s"),
    ]
    assert total(rows) == 2
    assert table(rows).splitlines()[2] == "| t | 1,000 | c | 2 |  |"


@pytest.mark.parametrize("harm", damage.DAMAGES, ids=lambda harm: harm.__name__)
def test_damage_changes_a_file(harm: damage.Damage) -> None:
    from random import Random

    whole = bytes(range(1, 256)) * 40
    assert all(harm(whole, Random(seed)) != whole for seed in range(50))
