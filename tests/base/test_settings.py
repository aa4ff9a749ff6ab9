import pytest
from pydantic import ValidationError

from hub.base.security_settings import TlsSettings
from hub.base.settings import ProbeSettings, Settings, WsSettings


def test_settings_are_frozen() -> None:
    settings = WsSettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.max_connections = 1  # type: ignore[misc]


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_conections"):
        Settings.model_validate({"ws": {"max_conections": 1}})


def test_a_bool_is_not_a_number() -> None:
    with pytest.raises(ValidationError, match="must be a number, not true or false"):
        WsSettings.model_validate({"max_connections": True})


def test_an_address_is_split_into_host_and_port() -> None:
    settings = WsSettings(address="[::1]:0")
    assert (settings.host, settings.port) == ("::1", 0)


@pytest.mark.parametrize("path", ["ws", "/ws/", "/a b", "/ws?x=1", ""])
def test_an_invalid_path_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="is not a path such as /ws"):
        WsSettings(path=path)


def test_networks_are_a_list_or_text_with_commas() -> None:
    as_list = ProbeSettings.model_validate({"allow": ["127.0.0.0/8", "::1/128"]})
    as_text = ProbeSettings.model_validate({"allow": "127.0.0.0/8, ::1/128"})
    assert as_list.allow == as_text.allow
    assert [str(network) for network in as_list.allow] == ["127.0.0.0/8", "::1/128"]


@pytest.mark.parametrize("value", [7, "127.0.0.1/8", ["localhost"], [None]])
def test_invalid_networks_are_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="CIDR block"):
        ProbeSettings.model_validate({"allow": value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cert_file": "a.pem"}, "cert_file and key_file must be set together"),
        ({"key_file": "a.pem"}, "cert_file and key_file must be set together"),
        ({"client_ca_file": "a.pem"}, "client_ca_file requires cert_file and key_file"),
    ],
)
def test_incomplete_tls_settings_are_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TlsSettings(**fields)
