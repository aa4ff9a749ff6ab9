import pytest

from hub.base.security_settings import SecretSettings, TlsSettings


def test_one_source_of_keys():
    with pytest.raises(ValueError, match="give key or key_file, not both"):
        SecretSettings(key="a", key_file="b")


def test_keys_are_not_shown():
    assert "s3cret" not in repr(SecretSettings(key="s3cret"))


@pytest.mark.parametrize(
    "fields",
    [
        {"crl_file": "crl.pem"},
        {"identities": ({"san": "dns:a", "role": "reader"},)},
    ],
)
def test_what_says_who_clients_are_needs_their_authority(fields):
    with pytest.raises(ValueError, match="crl_file and identities require client_ca_file"):
        TlsSettings(cert_file="a", key_file="b", **fields)
    assert TlsSettings(cert_file="a", key_file="b", client_ca_file="c", **fields)
