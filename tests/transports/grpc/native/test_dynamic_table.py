from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st

from hub.transports.grpc.native.dynamic_table import TABLE_BYTES, DynamicTable

FIELDS = st.tuples(st.binary(max_size=8), st.integers(0, 5_000).map(bytes))


@given(st.lists(st.one_of(FIELDS, st.integers(0, TABLE_BYTES))))
def test_it_holds_what_a_librarys_table_holds(steps) -> None:
    library, table = HeaderTable(), DynamicTable()
    for step in steps:
        if isinstance(step, int):
            library.maxsize = step
            table.resize(step)
        else:
            library.add(*step)
            table.add(step)
        assert table.entries == library.dynamic_entries


def test_a_field_that_is_larger_than_the_table_empties_it() -> None:
    table = DynamicTable()
    table.add((b"a", b"1"))
    table.add((b"b", bytes(TABLE_BYTES)))
    assert not table.entries
    table.add((b"c", b"2"))
    assert [*table.entries] == [(b"c", b"2")]
