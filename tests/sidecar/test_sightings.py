from hub.sidecar.sightings import Sighting


def test_what_is_not_known_is_left_out() -> None:
    assert Sighting("http://h:1").report() == {
        "type": "endpoint_report",
        "url": "http://h:1",
        "reachable": True,
    }


def test_one_that_is_gone_says_why() -> None:
    frame = Sighting("http://h:1", error="Connection refused").report()
    assert (frame["reachable"], frame["error"]) == (False, "Connection refused")
