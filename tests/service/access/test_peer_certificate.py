import pytest

from hub.contract.errors import InvalidToken
from hub.service.access.peer_certificate import PeerCertificate, require_valid


def test_only_a_revoked_certificate_is_refused():
    certificate = PeerCertificate(("dns:a",), 0)
    require_valid(None)
    require_valid(certificate)
    certificate.is_revoked = True
    with pytest.raises(InvalidToken, match="the client certificate is revoked"):
        require_valid(certificate)
