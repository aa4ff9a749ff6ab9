"""Which endpoint a key belongs to: rendezvous hashing with bounded load. Pure.

A conversation is answered sooner by the server that has its prompt in the cache, so requests
with the same affinity key go to the same server as long as it has no more than its share
of the load.

- **Order.** Each server has a weight for each key, `-slots / ln(u)`, where `u` is a hash of
  both between 0 and 1. The key belongs to the server with the greatest weight. If a server
  leaves, only its own keys move, each to the second in its order; a new one takes over only
  keys that become its own. (Thaler and Ravishankar, "Using name-based mappings to increase
  hit rates", 1998; the weights are those of Schindelhauer and Schomaker, 2005.)
- **Bound.** A server takes a request only while it has fewer leases than
  `ceil(1.25 * (leases + 1) * slots / all slots)`; else the next in the order does. At least
  one server is always below that. (Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing
  with bounded loads", 2018.)

The servers are those that fit best: their last probe did not fail, no required fact is unknown,
and the model is in memory if the weights of the request consider that.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from operator import itemgetter
from typing import Final

from hub.registry.same_server import server_id
from hub.registry.selection.criteria import Verdict
from hub.registry.selection.ranking import Ranking
from hub.registry.selection.scoring import slots_of
from llmhub.v1.endpoint_pb2 import MODEL_STATE_LOADED

LOAD_FACTOR: Final = 1.25
"""How much more than its even share of the leases a server may have."""

_MASK: Final = 2**64 - 1
_REMEMBERED: Final = 16_384


@dataclass(frozen=True, slots=True)
class Affinity:
    """The endpoints of a ranking in the order of a key.

    `pool` are the endpoints that fit best, in the order of the key, `bounds` the leases
    that each of them may have, and `rest` the others, in the order of the ranking.
    """

    pool: Sequence[Verdict]
    bounds: Sequence[int]
    rest: Sequence[Verdict]

    def order(self) -> Iterator[Verdict]:
        """All endpoints, the best first: those of the pool below their bound, then the others."""
        return chain(self._of_pool(below=True), self._of_pool(below=False), self.rest)

    def rank(self, verdict: Verdict) -> int | None:
        """The place of an endpoint in the order of the key; None if it is not in the pool."""
        return next((i for i, each in enumerate(self.pool) if each is verdict), None)

    def explain(self, verdict: Verdict) -> str:
        """The place of an endpoint in the order of the key, in words."""
        rank = self.rank(verdict)
        if rank is None:
            return "others fit better for the affinity key"
        bound = self.bounds[rank]
        full = "" if verdict.in_flight < bound else f", at its bound of {bound} leases"
        return f"place {rank + 1} for the affinity key{full}"

    def _of_pool(self, *, below: bool) -> Iterator[Verdict]:
        return (
            each
            for each, bound in zip(self.pool, self.bounds, strict=True)
            if (each.in_flight < bound) is below
        )


def affinity_of(ranking: Ranking, key: str) -> Affinity:
    """The order of a key. Only valid until the next change of the ranking."""
    verdicts = [*ranking.best()]
    if not verdicts:
        return Affinity((), (), ())
    is_failing, is_unknown = verdicts[0].is_failing, bool(verdicts[0].unknown)
    best = [
        (each, each.affinity_facts or _facts(each))
        for each in verdicts
        if each.is_failing is is_failing and bool(each.unknown) is is_unknown
    ]
    if ranking.criteria.prefers_loaded:
        best = [pair for pair in best if pair[1][3]] or best
    key_hash = _hash(key)
    pool: list[tuple[float, str, int, Verdict]] = []
    seen: set[str] = set()
    leases = all_slots = 0
    for verdict, (server, server_hash, slots, _) in best:
        # Of several addresses of one server, the first one stands for it.
        if server not in seen:
            seen.add(server)
            pool.append((_weight(key_hash, server_hash, slots), server, slots, verdict))
            leases += verdict.in_flight
            all_slots += slots
    pool.sort(key=itemgetter(0, 1), reverse=True)
    share = LOAD_FACTOR * (leases + 1) / all_slots
    rest: list[Verdict] = []
    if len(pool) < len(verdicts):
        chosen = {id(verdict) for *_, verdict in pool}
        rest = [each for each in verdicts if id(each) not in chosen]
    return Affinity(
        [verdict for *_, verdict in pool],
        [math.ceil(share * slots) for _, _, slots, _ in pool],
        rest,
    )


def _facts(verdict: Verdict) -> tuple[str, int, int, bool]:
    """The server's id, its hash and slots, and whether the model is in memory."""
    server = server_id(verdict.endpoint)
    is_loaded = verdict.model.state == MODEL_STATE_LOADED
    facts = (server, _server_hash(server), slots_of(verdict.endpoint), is_loaded)
    verdict.affinity_facts = facts
    return facts


def _weight(key_hash: int, server_hash: int, slots: int) -> float:
    """The weight of a server for a key; the greatest wins."""
    # The finalizer of MurmurHash3: each bit of the result depends on each bit of the input.
    x = key_hash ^ server_hash
    x = ((x ^ (x >> 33)) * 0xFF51AFD7ED558CCD) & _MASK
    x = ((x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53) & _MASK
    x ^= x >> 33
    # A float holds 52 bits and a half exactly: the logarithm exists and is below 0.
    return -slots / math.log(((x >> 12) + 0.5) / 2.0**52)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


_server_hash = lru_cache(_REMEMBERED)(_hash)
