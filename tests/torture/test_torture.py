"""A share of `make torture`, and that its ledger sees what is lost."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.torture import damage, soak
from tests.torture.__main__ import SHARE, TORTURES
from tests.torture.attacked import Outcome, Pair, Phase
from tests.torture.outcome import Ledger, Row, table, total
from tests.torture.soak import Reading


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


def _phase(milliseconds: float, *failures: str) -> Phase:
    return Phase({"gRPC": milliseconds, "HTTP": 2 * milliseconds}, [*failures])


def test_the_median_of_the_pairs_counts_and_every_failure() -> None:
    pairs = [
        Pair(_phase(slow, *failed), _phase(1.0), count=1, accepted=accepted, peak_bytes=peak)
        for slow, failed, accepted, peak in (
            (9.0, (), 0, 5_000_000),
            (2.0, ("HTTP: refused",), 2, 7_000_000),
            (1.0, (), 0, 6_000_000),
        )
    ]
    outcome = Outcome("an attack", pairs)
    assert outcome.median is pairs[1]
    assert (outcome.wrong, outcome.peak_bytes) == (3, 7_000_000)
    assert outcome.line() == ("| an attack | 1.0 → 2.0 (2.0) | 2.0 → 4.0 (2.0) | 3 | 7 |")
    assert Outcome("too much", [Pair(_phase(1), _phase(1), 1, 0, 2_000_000_000)]).wrong == 1


def test_a_soak_whose_memory_grows_is_lost() -> None:
    scale = replace(SHARE, soak_s=1_800.0)
    readings = [Reading(60.0 * n, (200 + 2 * n) << 20, 39, 9, n > 3, n) for n in range(30)]
    assert "memory grew by" in soak.row(scale, readings, []).seen
    flat = [replace(each, resident_bytes=200 << 20) for each in readings]
    assert soak.row(scale, flat, []).lost == 0
    assert soak.row(scale, flat[:3], []).lost == 1
    leaking = [replace(each, descriptors=each.done) for each in flat]
    assert "descriptors more" in soak.row(scale, leaking, []).seen
    assert soak.row(scale, flat, ["reads: TimeoutError()"]).lost == 1


@pytest.mark.parametrize("harm", damage.DAMAGES, ids=lambda harm: harm.__name__)
def test_damage_changes_a_file(harm: damage.Damage) -> None:
    from random import Random

    whole = bytes(range(1, 256)) * 40
    assert all(harm(whole, Random(seed)) != whole for seed in range(50))
