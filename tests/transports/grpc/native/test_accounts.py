from hub.transports.grpc.native.accounts import Account, Ledger, Share
from hub.transports.grpc.native.limits import Limits


def test_an_account_is_bounded_per_address_and_in_total() -> None:
    account = Account(per_address=10, in_all=15)
    account.add("a", 8)
    assert account.has_room("a", 2)
    assert not account.has_room("a", 3)
    account.add("b", 6)
    assert not account.has_room("b", 2)
    assert account.total == 14


def test_an_addresss_first_always_has_room() -> None:
    account = Account(per_address=10, in_all=15)
    assert account.has_room("a", 100)
    account.add("a", 100)
    assert account.has_room("b", 100)
    assert not account.has_room("a", 1)


def test_an_address_that_holds_nothing_is_forgotten() -> None:
    account = Account(per_address=10, in_all=15)
    account.add("a", 5)
    account.add("a", -5)
    assert account.total == 0
    assert not account._by_address


def test_shares_of_an_address_add_up() -> None:
    ledger = Ledger(Limits(streams_per_address=5, calls_per_address=3, unsent_bytes_per_address=9))
    first, second = Share(ledger, "a"), Share(ledger, "a")
    first.note(streams=3, unsent=8)
    first.note_calls(2)
    assert second.fits_streams(2)
    assert not second.fits_streams(3)
    assert second.fits_calls(1)
    assert not second.fits_calls(2)
    assert not second.fits_unsent(2)
    # What a share holds itself does not count twice.
    assert first.fits_streams(5)
    first.note(streams=0, unsent=0)
    first.note_calls(0)
    assert (ledger.streams.total, ledger.unsent.total, ledger.calls.total) == (0, 0, 0)


def test_noting_received_bytes_replaces_the_earlier_count() -> None:
    ledger = Ledger(Limits(received_bytes_per_address=100))
    share, other = Share(ledger, "a"), Share(ledger, "a")
    share.note_received(70)
    share.note_received(60)
    assert ledger.received.total == share.received == 60
    assert other.fits_received(40)
    assert not other.fits_received(41)
