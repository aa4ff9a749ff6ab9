"""The settings of TLS, of client certificates and of the key ring for secrets."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hub.base.section import Section


class CertificateIdentity(Section):
    """One `[[tls.identities]]`: what the bearer of a client certificate is."""

    san: Annotated[str, Field(pattern=r"^(dns|uri):[^\s*]*\*?[^\s*]*$", max_length=512)]
    """a SAN of the certificate, as dns:NAME or uri:URI; one * stands for a part without . or /"""
    role: Literal["admin", "reader", "sidecar"]
    """what the bearer may do"""
    agent_id: Annotated[str, Field(max_length=128)] = ""
    """the agent of a sidecar; * stands for what the one of `san` stands for"""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if (self.role == "sidecar") != bool(self.agent_id):
            raise ValueError("a sidecar needs an agent_id, and no other role has one")
        if "*" in self.agent_id and "*" not in self.san:
            raise ValueError("agent_id has a *, and san has none")
        return self


class TlsSettings(Section):
    """TLS for all three servers; without a certificate they use plain text."""

    cert_file: str = ""
    """PEM file with the hub's certificate, followed by the rest of its chain; empty: no TLS"""
    key_file: str = ""
    """PEM file with the certificate's key, not encrypted"""
    client_ca_file: str = ""
    """PEM file with the CAs of client certificates; empty: clients need no certificate"""
    insecure: bool = False
    """whether plain text is allowed on addresses that other machines reach"""
    crl_file: str = ""
    """PEM file with the revocation lists of those CAs; empty: none is revoked"""
    identities: tuple[CertificateIdentity, ...] = ()
    """what client certificates prove, one table each; the first that fits counts"""

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file must be set together")
        if self.client_ca_file and not self.cert_file:
            raise ValueError("client_ca_file requires cert_file and key_file")
        if (self.crl_file or self.identities) and not self.client_ca_file:
            raise ValueError("crl_file and identities require client_ca_file")
        return self


class SecretSettings(Section):
    """The key ring that encrypts the endpoints' API keys in the store."""

    key_file: str = ""
    """file with the key ring; empty: systemd's credential llm-hub.key, or data_dir/secrets.key"""
    key: Annotated[str, Field(repr=False)] = ""
    """the key ring itself, keys separated by commas; meant for its environment variable"""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.key and self.key_file:
            raise ValueError("give key or key_file, not both")
        return self
