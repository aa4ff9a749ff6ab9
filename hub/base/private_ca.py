"""A private certificate authority: makes certificates for a hub and for its clients.

Keys are P-256. Every certificate has what strict verification demands (RFC 5280): key
usage, the identifiers of its own and its issuer's key, and names in the SAN alone.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS: Final = 3650
LEAF_DAYS: Final = 397
"""How long certificates are valid. Clients such as browsers refuse a longer-lived one."""

# Clocks of two machines differ.
_BACKDATED: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


class PrivateCa:
    """Signs certificates with the authority's key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str, now_ms: int, days: int = CA_DAYS) -> Self:
        """Makes a new authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            _builder(subject, subject, key.public_key(), now_ms, _time(now_ms) + timedelta(days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(is_ca=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
                critical=False,
            )
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> Self:
        """Reads an authority from PEM. Raises ValueError if the two do not belong together."""
        found = x509.load_pem_x509_certificate(certificate)
        private = serialization.load_pem_private_key(key, password=None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("not a key that this authority makes")  # noqa: TRY004 - of the file
        if found.public_key() != private.public_key():
            raise ValueError("the key does not belong to the certificate")
        return cls(found, private)

    def pem(self) -> Issued:
        """The authority's own certificate and key."""
        return Issued(_certificate_pem(self._certificate), _key_pem(self._key))

    @property
    def expires_at_ms(self) -> int:
        """When the authority ends, in epoch ms."""
        return round(self._certificate.not_valid_after_utc.timestamp() * 1000)

    def issue_server(self, hosts: Sequence[str], now_ms: int, days: int = LEAF_DAYS) -> Issued:
        """A certificate for a hub that is reached under these host names and IP addresses."""
        return self._issue(
            [_host_name(host) for host in hosts], ExtendedKeyUsageOID.SERVER_AUTH, now_ms, days
        )

    def issue_client(self, names: Sequence[str], now_ms: int, days: int = LEAF_DAYS) -> Issued:
        """A certificate for a client; a name is a URI if it has a scheme, else a DNS name."""
        general = [
            x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name)
            for name in names
        ]
        return self._issue(general, ExtendedKeyUsageOID.CLIENT_AUTH, now_ms, days)

    def renew(self, old: x509.Certificate, now_ms: int, days: int = LEAF_DAYS) -> Issued:
        """A certificate with the names and the purpose of another one, and a new key."""
        extensions = old.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (purpose,) = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        return self._issue([*names], purpose, now_ms, days)

    def revoke(
        self, certificates: Iterable[bytes], now_ms: int, before: bytes = b"", days: int = 365
    ) -> bytes:
        """A revocation list (CRL) of these certificates and those of the list `before`, in PEM."""
        now = _time(now_ms)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now)
            .next_update(now + timedelta(days=days))
        )
        listed = {}
        for entry in x509.load_pem_x509_crl(before) if before else ():
            listed[entry.serial_number] = entry
            builder = builder.add_revoked_certificate(entry)
        for pem in certificates:
            serial = x509.load_pem_x509_certificate(pem).serial_number
            if serial in listed:
                continue
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            )
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def _issue(
        self,
        names: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
        now_ms: int,
        days: int,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        # No certificate outlives its authority.
        end = min(_time(now_ms) + timedelta(days=days), self._certificate.not_valid_after_utc)
        certificate = (
            _builder(x509.Name([]), self._certificate.subject, key.public_key(), now_ms, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(is_ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            # Critical, because the subject is empty (RFC 5280, section 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(own, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer.value),
                critical=False,
            )
        )
        return Issued(_certificate_pem(certificate.sign(self._key, hashes.SHA256())), _key_pem(key))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now_ms: int,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(now_ms) - _BACKDATED)
        .not_valid_after(end)
    )


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(host)


def _time(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms / 1000, UTC)


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
