import ssl
from pathlib import Path

import pytest

from hub.base.load_settings import StartError
from hub.contract.errors import InvalidToken
from hub.transports import peer_certificates
from hub.transports.peer_certificates import PeerCertificates, shown_certificate
from tests.support.authority import Authority, Shown, now_ms


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def der(shown: Shown) -> bytes:
    return ssl.PEM_cert_to_DER_cert(shown.cert.read_text())


def test_names_and_end_are_read_from_der_and_pem(authority):
    shown = authority.client("GPU.lan", "spiffe://fleet/Gpu", days=1)
    peers = PeerCertificates("")
    found = peers.read(der(shown))
    assert found is not None
    assert found.names == ("dns:gpu.lan", "uri:spiffe://fleet/Gpu")
    assert abs(found.expires_at_ms - now_ms() - 86_400_000) < 60_000
    assert peers.read(shown.cert.read_bytes()) == found


def test_a_peer_without_a_certificate():
    assert PeerCertificates("").read(None) is None
    assert shown_certificate(None) is None


def test_a_reload_marks_what_is_revoked_since(authority):
    first, second, unseen = (authority.client(name) for name in ("a", "b", "c"))
    authority.revoke(first)
    peers = PeerCertificates(str(authority.crl))
    with pytest.raises(InvalidToken, match="revoked"):
        peers.read(der(first))
    held = peers.read(der(second))
    assert held is not None
    authority.revoke(first, second, unseen)
    peers.reload()
    assert held.is_revoked
    for shown in (first, second, unseen):
        with pytest.raises(InvalidToken):
            peers.read(der(shown))
    authority.revoke(first)
    peers.reload()
    assert not held.is_revoked
    assert peers.read(der(second)) is held


def test_a_reload_marks_every_certificate_that_is_in_use(authority, monkeypatch):
    monkeypatch.setattr(peer_certificates, "_MAX_CACHED", 2)
    shown = [authority.client(name) for name in ("a", "b", "c", "d", "e")]
    authority.revoke()
    peers = PeerCertificates(str(authority.crl))
    held = [peers.read(der(each)) for each in shown]
    authority.revoke(*shown)
    peers.reload()
    assert [each.is_revoked for each in held if each is not None] == [True] * 5


def test_the_serial_number_of_another_authority_is_another_certificate(authority, tmp_path):
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    ours, theirs = authority.client("a"), other.client("a")
    authority.revoke(theirs)
    peers = PeerCertificates(str(authority.crl))
    assert peers.read(der(theirs)) is not None
    assert peers.read(der(ours)) is not None


def test_lists_of_several_authorities_in_one_file(authority, tmp_path):
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    ours, theirs = authority.client("a"), other.client("a")
    authority.revoke(ours)
    other.revoke(theirs)
    authority.crl.write_bytes(authority.crl.read_bytes() + b"# more\n" + other.crl.read_bytes())
    peers = PeerCertificates(str(authority.crl))
    for shown in (ours, theirs):
        with pytest.raises(InvalidToken):
            peers.read(der(shown))


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN X509 CRL-----\nAAAA\n"])
def test_a_file_without_a_list(tmp_path, text):
    file = tmp_path / "crl.pem"
    file.write_text(text)
    with pytest.raises(StartError, match=r"tls\.crl_file: .*no revocation list in PEM"):
        PeerCertificates(str(file))
    with pytest.raises(StartError, match=r"tls\.crl_file: .*No such file"):
        PeerCertificates(str(tmp_path / "none.pem"))


def test_what_is_remembered_has_a_bound(authority, monkeypatch):
    monkeypatch.setattr(peer_certificates, "_MAX_CACHED", 2)
    peers = PeerCertificates("")
    shown = [der(authority.client(name)) for name in ("a", "b", "c")]
    for each in shown:
        peers.read(each)
    assert list(peers._recent) == list(peers._known) == shown[1:]
