import ssl

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from hub.base.private_ca import CA_DAYS, LEAF_DAYS, PrivateCa
from tests.support.authority import now_ms

DAY_MS = 86_400_000


def loaded(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def purposes(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_servers_certificate_has_its_names_and_no_other_purpose():
    ca = PrivateCa.create("hub", now_ms())
    issued = loaded(ca.issue_server(["Hub.lan", "10.0.0.1", "[::1]"], now_ms()).certificate)
    sans = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sans.get_values_for_type(x509.DNSName) == ["Hub.lan"]
    assert [str(ip) for ip in sans.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "::1"]
    assert purposes(issued) == [ExtendedKeyUsageOID.SERVER_AUTH]
    issued.verify_directly_issued_by(loaded(ca.pem().certificate))


def test_a_clients_certificate_names_uris_and_dns_names():
    ca = PrivateCa.create("hub", now_ms())
    issued = loaded(ca.issue_client(["gpu-1.lan", "spiffe://fleet/gpu-1"], now_ms()).certificate)
    sans = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sans.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://fleet/gpu-1"]
    assert purposes(issued) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_strict_verification_accepts_a_handshake():
    ca = PrivateCa.create("hub", now_ms())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=ca.pem().certificate.decode())
    server = x509.verification.PolicyBuilder().store(
        x509.verification.Store([loaded(ca.pem().certificate)])
    )
    leaf = loaded(ca.issue_server(["hub.lan"], now_ms()).certificate)
    chain = server.build_server_verifier(x509.DNSName("hub.lan")).verify(leaf, [])
    assert len(chain) == 2


def test_how_long_they_are_valid():
    now = now_ms()
    ca = PrivateCa.create("hub", now)
    assert abs(ca.expires_at_ms - now - CA_DAYS * DAY_MS) < 2_000
    end = loaded(ca.issue_server(["h"], now).certificate).not_valid_after_utc
    assert abs(end.timestamp() * 1000 - now - LEAF_DAYS * DAY_MS) < 2_000
    # None outlives its authority.
    late = now + (CA_DAYS - 1) * DAY_MS
    end = loaded(ca.issue_server(["h"], late).certificate).not_valid_after_utc
    assert end.timestamp() * 1000 == ca.expires_at_ms


def test_an_authority_is_read_again_from_its_files():
    ca = PrivateCa.create("hub", now_ms())
    again = PrivateCa.load(*vars_of(ca))
    leaf = loaded(again.issue_client(["a"], now_ms()).certificate)
    leaf.verify_directly_issued_by(loaded(ca.pem().certificate))
    other = PrivateCa.create("other", now_ms())
    with pytest.raises(ValueError, match="does not belong"):
        PrivateCa.load(ca.pem().certificate, other.pem().key)


def vars_of(ca: PrivateCa) -> tuple[bytes, bytes]:
    return ca.pem().certificate, ca.pem().key


def test_a_revocation_list():
    ca = PrivateCa.create("hub", now_ms())
    leaf = ca.issue_client(["a"], now_ms())
    crl = x509.load_pem_x509_crl(ca.revoke([leaf.certificate], now_ms()))
    assert [entry.serial_number for entry in crl] == [loaded(leaf.certificate).serial_number]
    assert crl.is_signature_valid(loaded(ca.pem().certificate).public_key())
