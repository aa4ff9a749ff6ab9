from hub.transports.grpc.native.accounts import Account, Bodies, Ledger, Share
from hub.transports.grpc.native.limits import Limits


def test_an_account_is_bounded_per_address_and_in_total() -> None:
    account = Account(per_address=10, in_all=15)
    account.add("a", 8)
    assert account.has_room("a", 2)
    assert not account.has_room("a", 3)
    account.add("b", 6)
    assert not account.has_room("b", 2)
    assert account.total == 14


def test_an_address_may_exceed_its_own_bound_once_but_not_the_total() -> None:
    account = Account(per_address=10, in_all=15)
    assert account.has_room("a", 100)
    account.add("a", 12)
    assert not account.has_room("a", 1)
    assert account.has_room("b", 3)
    assert not account.has_room("b", 4)
    assert not account.has_room("b", 3, kept_free=1)


def test_an_address_that_holds_nothing_is_forgotten() -> None:
    account = Account(per_address=10, in_all=15)
    account.add("a", 5)
    account.add("a", -5)
    assert account.total == 0
    assert not account._by_address


def test_shares_of_an_address_add_up() -> None:
    ledger = Ledger(Limits(streams_per_address=5, calls_per_address=3))
    first, second = Share(ledger, "a"), Share(ledger, "a")
    first.note_streams(3)
    first.note_calls(2)
    assert second.fits_streams(2)
    assert not second.fits_streams(3)
    assert second.fits_calls(1)
    assert not second.fits_calls(2)
    # What a share holds itself does not count twice.
    assert first.fits_streams(5)
    first.note_streams(0)
    first.note_calls(0)
    assert (ledger.streams.total, ledger.calls.total) == (0, 0)


def test_a_body_counts_once_however_many_streams_wait_to_send_it() -> None:
    bodies = Bodies(10)
    body, other = bytes(8), bytes(range(8))
    assert bodies.have_room(bytes(100))
    bodies.hold(body)
    bodies.hold(body)
    assert bodies.total == 8
    assert bodies.have_room(body)
    assert not bodies.have_room(other)
    bodies.let_go(body)
    assert bodies.total == 8
    bodies.let_go(body)
    assert bodies.total == 0
    bodies.add(9)
    assert not bodies.have_room(other)


def test_unread_replies_are_bounded_by_address_by_token_and_in_all() -> None:
    limits = Limits(unsent_bytes_per_address=20, unsent_bytes_per_token=10, unsent_bytes_in_all=30)
    ledger = Ledger(limits)
    here, there = ledger.payer("a"), ledger.payer("b")
    token = ledger.token("t")
    assert ledger.token("t") is token
    mine, also_mine = here.with_token(token), there.with_token(token)
    first, second, third = bytes(8), bytes(range(8)), bytes(range(1, 9))
    mine.hold(first)
    assert not also_mine.has_room(second)
    assert here.has_room(second)
    here.hold(second)
    assert not here.has_room(third)
    there.hold(third)
    assert ledger.unsent.total == 24
    assert not ledger.payer("c").has_room(bytes(9))
    for payer, body in ((mine, first), (here, second), (there, third)):
        payer.let_go(body)
    assert (ledger.unsent.total, token.unsent.total) == (0, 0)


def test_the_account_of_a_token_lasts_as_long_as_a_call_refers_to_it() -> None:
    ledger = Ledger(Limits(streams_per_token=1))
    payer = ledger.payer("a").with_token(ledger.token("t"))
    assert ledger.token("t").open_stream()
    assert not ledger.token("t").open_stream()
    ledger.token("t").close_stream()
    assert ledger.token("t").open_stream()
    del payer
    assert ledger.token("t").streams == 0


def test_noting_received_bytes_replaces_the_earlier_count() -> None:
    ledger = Ledger(Limits(received_bytes_per_address=100))
    share, other = Share(ledger, "a"), Share(ledger, "a")
    share.note_received(70)
    share.note_received(60)
    assert ledger.received.total == share.received == 60
    assert other.fits_received(40)
    assert not other.fits_received(41)
