import pytest

from scripts.mutation import chosen, interval, module_of, table

CHANGES = [f"hub.registry.vram.x_plan__mutmut_{i}" for i in range(100)]


def test_the_module_of_a_change():
    assert module_of("hub.registry.vram.x_plan__mutmut_3") == "hub.registry.vram"
    assert module_of("hub.stores.sqlite.xǁSqliteStoreǁopen__mutmut_12") == "hub.stores.sqlite"


def test_a_sample_follows_from_its_seed_and_repeats_nothing():
    sample = chosen(CHANGES, 20, seed=1)
    assert sample == chosen(list(reversed(CHANGES)), 20, seed=1)
    assert sample != chosen(CHANGES, 20, seed=2)
    assert len(set(sample)) == 20
    assert set(sample) < set(CHANGES)
    assert chosen(CHANGES, None, seed=1) == chosen(CHANGES, 1000, seed=1) == CHANGES


@pytest.mark.parametrize(
    ("noticed", "of", "low", "high"),
    [(9, 10, 0.596, 0.982), (360, 400, 0.867, 0.926), (0, 10, 0.0, 0.278), (0, 0, 0.0, 1.0)],
)
def test_the_interval_is_wilsons(noticed, of, low, high):
    assert interval(noticed, of) == pytest.approx((low, high), abs=0.0006)


def test_the_table_counts_what_was_judged():
    outcomes = [
        ("hub.stores.sqlite.xǁSqliteStoreǁopen__mutmut_1", "killed"),
        ("hub.stores.sqlite.xǁSqliteStoreǁopen__mutmut_2", "survived"),
        ("hub.stores.sqlite.xǁSqliteStoreǁopen__mutmut_3", "suspicious"),
        ("hub.registry.vram.x_plan__mutmut_1", "timeout"),
        ("hub.registry.vram.x_plan__mutmut_2", "no tests"),
        ("hub.registry.vram.x_plan__mutmut_3", "killed"),
        ("hub.registry.vram.x_plan__mutmut_4", "not checked"),
    ]
    rows = table(outcomes).splitlines()
    assert rows[2:5] == [
        "| `registry/vram.py` | 3 | 2 | 67 % |",
        "| `stores/sqlite.py` | 2 | 1 | 50 % |",
        "| together | 5 | 3 | 60 % |",
    ]
