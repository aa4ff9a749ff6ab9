"""How many connections there may be, in all and from each address."""

from ipaddress import ip_network

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from hub.base.settings import WsSettings
from hub.service.metrics.counts import Traffic
from hub.transports.websocket.admission import Admission, Place, Refusal
from hub.transports.websocket.websocket_limits import WebSocketLimits

HERE, THERE = "192.0.2.1", "192.0.2.2"


def admission(**settings: int) -> Admission:
    limits = WebSocketLimits(handshakes=4, handshakes_per_address=2)
    made = WsSettings.model_validate(settings)
    return Admission(made, limits, Traffic(), (ip_network("198.51.100.0/24"),))


def place_in(counts: Admission) -> Place:
    return Place(counts, lambda: None)


def request(path: str = "/ws", forwarded: str = "") -> Request:
    headers = Headers({"X-Forwarded-For": forwarded} if forwarded else {})
    return Request(path, headers)


def opened(counts: Admission, peer: str = HERE) -> Place:
    place = place_in(counts)
    assert place.begin(peer) is None
    assert place.open(peer, request()) == peer
    return place


def refused(counts: Admission, answer: object) -> str:
    """The bound that refused, which was counted once more than before."""
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.retry_after_s) == (503, 5)
    ((bound, times),) = counts.traffic.websocket_refusals.items()
    assert times == 1
    return bound


def test_handshakes_of_one_address() -> None:
    counts = admission()
    places = [place_in(counts) for _ in range(3)]
    assert [place.begin(HERE) for place in places[:2]] == [None, None]
    assert refused(counts, places[2].begin(HERE)) == "handshakes_per_address"
    assert place_in(counts).begin(THERE) is None
    places[0].leave()
    assert place_in(counts).begin(HERE) is None


def test_one_more_handshake_cuts_the_oldest_of_the_address_with_the_most() -> None:
    counts, cut = admission(), []
    places = {}
    for name, peer in {"a": HERE, "b": THERE, "c": THERE, "d": "192.0.2.3", "e": HERE}.items():
        places[name] = Place(counts, lambda name=name: cut.append(name))
        assert places[name].begin(peer) is None
    assert cut == ["b"]
    places["b"].leave()
    assert Place(counts, lambda: None).begin("192.0.2.4") is None
    assert cut == ["b", "a"]
    assert counts.traffic.websocket_refusals == {"handshakes": 2}
    assert len(counts.handshakes) == 4


def test_a_proxy_has_no_bound_of_its_own_and_cuts_its_own_oldest() -> None:
    counts, cut = admission(), []
    for number in range(6):
        place = Place(counts, lambda number=number: cut.append(number))
        assert place.begin("198.51.100.1") is None
    assert cut == [0, 1]


def test_a_finished_handshake_makes_room() -> None:
    counts = admission()
    for _ in range(10):
        opened(counts)
    assert len(counts.handshakes) == 0


def test_connections_in_all() -> None:
    counts = admission(max_connections=2)
    opened(counts, HERE)
    opened(counts, THERE)
    late = place_in(counts)
    assert late.begin(HERE) is None
    assert refused(counts, late.open(HERE, request())) == "connections"
    late.leave()
    assert counts.traffic.websockets == 2


def test_connections_of_one_address() -> None:
    counts = admission(max_connections_per_address=2)
    first = opened(counts)
    opened(counts)
    late = place_in(counts)
    late.begin(HERE)
    assert refused(counts, late.open(HERE, request())) == "connections_per_address"
    opened(counts, THERE)
    first.leave()
    opened(counts)


def test_unidentified_connections_of_one_address() -> None:
    counts = admission(max_unidentified_per_address=1)
    first = opened(counts)
    late = place_in(counts)
    late.begin(HERE)
    assert refused(counts, late.open(HERE, request())) == "unidentified_per_address"
    first.identify()
    first.identify()
    opened(counts).identify()
    assert counts.connections[HERE] == 2


def test_an_ipv6_network_counts_as_one_address() -> None:
    counts = admission(max_unidentified_per_address=1)
    opened(counts, "2001:db8::1")
    late = place_in(counts)
    late.begin("2001:db8::2")
    assert refused(counts, late.open("2001:db8::2", request())) == "unidentified_per_address"


def test_a_proxy_counts_as_those_whom_it_speaks_for() -> None:
    counts = admission(max_unidentified_per_address=1)
    proxy = "198.51.100.1"
    for number in range(4):
        place = place_in(counts)
        assert place.begin(proxy) is None
        assert place.open(proxy, request(forwarded=f"203.0.113.{number}")) == f"203.0.113.{number}"
    late = place_in(counts)
    late.begin(proxy)
    answer = late.open(proxy, request(forwarded="203.0.113.1"))
    assert refused(counts, answer) == "unidentified_per_address"


@pytest.mark.parametrize("path", ["/", "/ws/", "/wsx"])
def test_another_path_is_not_found_and_not_counted(path: str) -> None:
    counts = admission()
    place = place_in(counts)
    place.begin(HERE)
    answer = place.open(HERE, request(path))
    assert answer == Refusal(404, "sidecars connect to /ws\n")
    assert not counts.traffic.websocket_refusals


def test_refused_connections_wait_up_to_a_bound() -> None:
    counts = admission()
    opened(counts)
    place_in(counts).begin(HERE)
    assert counts.has_room_to_refuse(2 + counts.limits.refused)
    assert not counts.has_room_to_refuse(2 + counts.limits.refused + 1)


def test_those_who_left_leave_nothing() -> None:
    counts = admission()
    begun, seen, known, never = place_in(counts), opened(counts), opened(counts), place_in(counts)
    begun.begin(HERE)
    known.identify()
    for place in (begun, seen, known, never):
        place.leave()
        place.leave()
    assert (len(counts.handshakes), counts.traffic.websockets) == (0, 0)
    assert [*counts.unidentified, *counts.connections] == []
