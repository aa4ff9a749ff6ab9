import pytest

from hub.base.security_settings import CertificateIdentity
from hub.contract.errors import InvalidToken, TokenAgentMismatch
from hub.service.access.certificates import CertificateIdentities, PeerCertificate
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR

NOW = 1_800_000_000_000
END = NOW + 1000


def identities(*rows: tuple[str, str, str]) -> CertificateIdentities:
    return CertificateIdentities(
        [CertificateIdentity(san=san, role=role, agent_id=agent) for san, role, agent in rows]
    )


def certificate(*names: str) -> PeerCertificate:
    return PeerCertificate(names, END)


FLEET = identities(
    ("dns:GPU-0.lan", "admin", ""),
    ("dns:gpu-*.lan", "sidecar", "node-*"),
    ("uri:spiffe://fleet/reader/*", "reader", ""),
    ("dns:(a|b)", "reader", ""),
)


@pytest.mark.parametrize(
    ("names", "role", "agent_id", "token_id"),
    [
        (["dns:gpu-7.lan"], ROLE_SIDECAR, "node-7", "cert:dns:gpu-7.lan"),
        (["dns:gpu-7.lan", "dns:gpu-0.lan"], ROLE_ADMIN, "", "cert:dns:gpu-0.lan"),
        (["uri:spiffe://fleet/reader/ci"], ROLE_READER, "", "cert:uri:spiffe://fleet/reader/ci"),
        (["dns:(a|b)"], ROLE_READER, "", "cert:dns:(a|b)"),
    ],
)
def test_the_first_identity_that_fits_counts(names, role, agent_id, token_id):
    principal = FLEET.principal(certificate(*names), NOW)
    assert (principal.role, principal.agent_id, principal.token_id) == (role, agent_id, token_id)
    assert principal.expires_at_ms == END
    assert principal.is_certified


@pytest.mark.parametrize(
    "name",
    [
        "dns:gpu-7.lan.evil",
        "dns:x.gpu-7.lan",
        "dns:gpu-7.x.lan",
        "dns:gpu-.lan",
        # The kind of a name counts: a client may have a URI that reads as a DNS name.
        "uri:gpu-7.lan",
        "dns:spiffe://fleet/reader/ci",
        "uri:spiffe://fleet/reader/a/b",
        "dns:a",
    ],
)
def test_what_looks_like_an_identity_is_none(name):
    with pytest.raises(InvalidToken, match="stands for no role"):
        FLEET.principal(certificate(name), NOW)


def test_a_certificate_ends():
    with pytest.raises(InvalidToken, match="has expired"):
        FLEET.principal(certificate("dns:gpu-7.lan"), END)


def test_a_sidecars_certificate_is_for_its_agent():
    shown = certificate("dns:gpu-7.lan")
    assert FLEET.agent(shown, "node-7", NOW).agent_id == "node-7"
    with pytest.raises(TokenAgentMismatch):
        FLEET.agent(shown, "node-8", NOW)
    with pytest.raises(InvalidToken):
        FLEET.agent(certificate("dns:gpu-0.lan"), "node-0", NOW)


@pytest.mark.parametrize(
    "fields",
    [
        {"san": "gpu-1.lan", "role": "reader"},
        {"san": "dns:a.*.*", "role": "reader"},
        {"san": "dns:a", "role": "sidecar"},
        {"san": "dns:a", "role": "reader", "agent_id": "x"},
        {"san": "dns:a", "role": "sidecar", "agent_id": "*"},
        {"san": "dns:a", "role": "owner"},
    ],
)
def test_identities_that_make_no_sense_are_refused(fields):
    with pytest.raises(ValueError, match="CertificateIdentity"):
        CertificateIdentity(**fields)
