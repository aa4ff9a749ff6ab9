"""Counts what all connections hold together: per address, per token and in total."""

from collections import Counter
from typing import Final
from weakref import WeakValueDictionary

from hub.transports.grpc.native.limits import Limits


class Account:
    """A quantity (streams, bytes) that is bounded per address and in total."""

    __slots__ = ("_by_address", "_in_all", "_per_address", "total")

    def __init__(self, *, per_address: int, in_all: int) -> None:
        self._per_address: Final = per_address
        self._in_all: Final = in_all
        self._by_address: Counter[str] = Counter()
        self.total = 0
        """The amount that is held now."""

    def has_room(self, address: str, count: int, *, kept_free: int = 0) -> bool:
        """Whether `count` more fit, with `kept_free` of the total bound left over.

        The first amount of an address may exceed the bound of the address.
        """
        total = self.total + count
        if self.total and total > self._in_all - kept_free:
            return False
        if total <= self._per_address:
            return True
        held = self._by_address.get(address, 0)
        return not held or held + count <= self._per_address

    def has_ample_room(self, count: int, kept_free: int) -> bool:
        """Whether `count` more fit even if one address held all that is held."""
        total = self.total + count
        return total <= self._per_address and total <= self._in_all - kept_free

    def add(self, address: str, count: int) -> None:
        """Adds to what the address holds; a negative `count` subtracts."""
        self.total += count
        held = self._by_address[address] + count
        if held:
            self._by_address[address] = held
        else:
            del self._by_address[address]


class Bodies:
    """Bytes of unread replies. A body that several streams wait to send counts once."""

    __slots__ = ("__weakref__", "_limit", "_waiting", "total")

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes."""
        self._limit: Final = limit
        # The number of streams that wait to send a body, by the id() of its bytes.
        self._waiting: dict[int, int] = {}
        self.total = 0
        """The bytes held now."""

    def have_room(self, body: bytes) -> bool:
        """Whether the body may be queued. One that is already queued may; so may the first."""
        return not self.total or id(body) in self._waiting or self.total + len(body) <= self._limit

    def hold(self, body: bytes) -> None:
        """Counts a stream that waits to send the body. Keep the object alive until `let_go`."""
        waiting = self._waiting.get(id(body), 0)
        self._waiting[id(body)] = waiting + 1
        if not waiting:
            self.total += len(body)

    def let_go(self, body: bytes) -> None:
        """Uncounts a stream that has sent or dropped the body."""
        waiting = self._waiting[id(body)] - 1
        if waiting:
            self._waiting[id(body)] = waiting
        else:
            del self._waiting[id(body)]
            self.total -= len(body)

    def add(self, count: int) -> None:
        """Adds bytes that belong to no body; a negative `count` subtracts."""
        self.total += count


class TokenAccount:
    """What all calls with one token hold, across connections."""

    __slots__ = ("__weakref__", "_max_streams", "streams", "unsent")

    def __init__(self, *, unsent_bytes: int, streams: int) -> None:
        self._max_streams: Final = streams
        self.unsent = Bodies(unsent_bytes)
        self.streams = 0
        """The open streaming calls."""

    def open_stream(self) -> bool:
        """Counts a streaming call; returns False if there is no room for it."""
        if self.streams >= self._max_streams:
            return False
        self.streams += 1
        return True

    def close_stream(self) -> None:
        """Uncounts a streaming call that has ended."""
        self.streams -= 1


class Payer:
    """The accounts that are charged for the unread replies of a stream."""

    __slots__ = ("_accounts", "token")

    def __init__(self, *accounts: Bodies, token: TokenAccount | None = None) -> None:
        self._accounts = accounts if token is None else (*accounts, token.unsent)
        self.token = token
        """The account of the call's token, once the token is known."""

    def with_token(self, token: TokenAccount) -> "Payer":
        """These accounts, plus that of a token."""
        return Payer(*self._accounts, token=token)

    def has_room(self, body: bytes) -> bool:
        """Whether every account has room for the body."""
        return all(account.have_room(body) for account in self._accounts)

    def hold(self, body: bytes) -> None:
        """See `Bodies`."""
        for account in self._accounts:
            account.hold(body)

    def let_go(self, body: bytes) -> None:
        """See `Bodies`."""
        for account in self._accounts:
            account.let_go(body)

    def add(self, count: int) -> None:
        """See `Bodies`."""
        for account in self._accounts:
            account.add(count)


class Ledger:
    """The accounts of one server."""

    __slots__ = ("_limits", "_tokens", "_unsent", "calls", "received", "streams", "unsent")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.calls = Account(per_address=limits.calls_per_address, in_all=limits.calls_in_all)
        self.streams = Account(per_address=limits.streams_per_address, in_all=limits.streams_in_all)
        self.received = Account(
            per_address=limits.received_bytes_per_address, in_all=limits.received_bytes_in_all
        )
        self.unsent = Bodies(limits.unsent_bytes_in_all)
        # An entry lives as long as a connection or a call refers to it.
        self._unsent: WeakValueDictionary[str, Bodies] = WeakValueDictionary()
        self._tokens: WeakValueDictionary[str, TokenAccount] = WeakValueDictionary()

    def payer(self, address: str) -> Payer:
        """The accounts that are charged for what the connections of an address leave unread."""
        bodies = self._unsent.get(address)
        if bodies is None:
            bodies = self._unsent[address] = Bodies(self._limits.unsent_bytes_per_address)
        return Payer(self.unsent, bodies)

    def token(self, key: str) -> TokenAccount:
        """The account of a token; `key` is the token or anything that identifies it."""
        account = self._tokens.get(key)
        if account is None:
            account = self._tokens[key] = TokenAccount(
                unsent_bytes=self._limits.unsent_bytes_per_token,
                streams=self._limits.streams_per_token,
            )
        return account


class Share:
    """The part of a server's accounts that one connection holds."""

    __slots__ = ("_address", "_calls", "_ledger", "_received", "_streams")

    def __init__(self, ledger: Ledger, address: str) -> None:
        self._ledger = ledger
        self._address = address
        self._calls = self._streams = self._received = 0

    @property
    def received(self) -> int:
        """Bytes received but not handled, as last noted."""
        return self._received

    def fits_streams(self, count: int) -> bool:
        """Whether the connection may have this many streams open."""
        return self._ledger.streams.has_room(self._address, count - self._streams)

    def fits_calls(self, count: int, *, kept_free: int = 0) -> bool:
        """Whether this many calls may have handlers, with `kept_free` calls left over."""
        return self._ledger.calls.has_room(self._address, count - self._calls, kept_free=kept_free)

    def fits_easily(self, streams: int, calls: int, *, kept_free: int) -> bool:
        """Whether there is room for so many, whoever holds the rest; False may be wrong."""
        ledger = self._ledger
        return ledger.streams.has_ample_room(streams, 0) and ledger.calls.has_ample_room(
            calls, kept_free
        )

    def fits_received(self, count: int) -> bool:
        """Whether it may hold this many unhandled bytes."""
        return self._ledger.received.has_room(self._address, count - self._received)

    def token(self, key: str) -> TokenAccount:
        """The account of a token."""
        return self._ledger.token(key)

    def note_received(self, count: int) -> None:
        """Updates the number of bytes that are not handled yet."""
        if count != self._received:
            self._ledger.received.add(self._address, count - self._received)
            self._received = count

    def note_calls(self, count: int) -> None:
        """Updates the number of calls whose handlers run or wait."""
        self._ledger.calls.add(self._address, count - self._calls)
        self._calls = count

    def note_streams(self, count: int) -> None:
        """Updates the number of open streams."""
        if count != self._streams:
            self._ledger.streams.add(self._address, count - self._streams)
            self._streams = count
