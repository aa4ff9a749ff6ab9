from hub.sidecar.local_server import LocalServer


def test_unknown_values_are_left_out() -> None:
    assert LocalServer("http://h:1").report() == {
        "type": "endpoint_report",
        "url": "http://h:1",
        "reachable": True,
    }


def test_one_that_is_gone_says_why() -> None:
    frame = LocalServer("http://h:1", error="Connection refused").report()
    assert (frame["reachable"], frame["error"]) == (False, "Connection refused")
