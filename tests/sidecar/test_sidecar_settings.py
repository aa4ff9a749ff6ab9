from pathlib import Path

import pytest

from hub.sidecar.sidecar_settings import SettingsError, TokenSource, endpoint_url, hub_url


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("ws://hub.lan:4000", "ws://hub.lan:4000/ws"),
        ("ws://hub.lan:4000/", "ws://hub.lan:4000/ws"),
        ("wss://hub.lan/side/ws", "wss://hub.lan/side/ws"),
        (" ws://[::1]:4000/ws ", "ws://[::1]:4000/ws"),
        ("hub.lan:4001", "ws://hub.lan:4001/ws"),
        ("127.0.0.1:4001/side/ws", "ws://127.0.0.1:4001/side/ws"),
        ("[::1]:4001", "ws://[::1]:4001/ws"),
        ("hub.lan", "ws://hub.lan:4000/ws"),
    ],
)
def test_a_hub_url_gets_the_usual_path(given: str, url: str) -> None:
    assert hub_url(given) == url


@pytest.mark.parametrize(
    "given", ["", ":4000", "http://hub.lan", "ws://", "ws://h:0", "h:x", "ws://h:x", "ws://u@h/ws"]
)
def test_invalid_hub_urls_are_refused(given: str) -> None:
    with pytest.raises(SettingsError):
        hub_url(given)


def test_a_bare_address_with_certificates_uses_tls() -> None:
    assert hub_url("hub.lan:4001", tls=True) == "wss://hub.lan:4001/ws"
    assert hub_url("ws://hub.lan:4001", tls=True) == "ws://hub.lan:4001/ws"


@pytest.mark.parametrize("scheme", ["http", "https", "grpc"])
def test_another_scheme_is_named(scheme: str) -> None:
    with pytest.raises(SettingsError, match=f"ws:// or wss://, not {scheme}://"):
        hub_url(f"{scheme}://hub.lan:4000")


def test_an_endpoint_gets_its_port() -> None:
    assert endpoint_url("localhost") == "http://localhost:11434"
    assert endpoint_url("https://h/x/") == "https://h:443/x"
    assert endpoint_url("[::1]:9") == "http://[::1]:9"
    with pytest.raises(SettingsError):
        endpoint_url("ftp://h")


def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    source = TokenSource(file=file)
    assert source.read() == "one"
    file.write_text("two\n")
    assert (source.read(), source.current) == ("two", "two")


@pytest.mark.parametrize("text", ["", "\n", "a b\nc", "ä", "x" * 257])
def test_a_file_without_a_token_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(SettingsError, match="contains no token"):
        TokenSource(file=file).read()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        TokenSource(file=tmp_path / "none").read()
