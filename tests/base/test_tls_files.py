from pathlib import Path

import pytest

from hub.base.tls_files import TlsFiles, TlsFilesError
from tests.support.certificates import Certificate, encrypted_key, self_signed


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("own"))


def test_missing_options_come_from_the_environment() -> None:
    environment = {"LLM_HUB_TLS_CA": "a", "LLM_HUB_TLS_CERT": "b", "LLM_HUB_TLS_KEY": "c"}
    assert TlsFiles.of(None, None, None, environment) == TlsFiles("a", "b", "c")
    assert TlsFiles.of("x", None, None, environment) == TlsFiles("x", "b", "c")
    nothing = TlsFiles.of(None, None, None, {})
    assert nothing == TlsFiles()
    assert not nothing
    assert TlsFiles(cert="b")


def test_pem_returns_roots_key_and_chain(own: Certificate) -> None:
    cert, key = own.cert.read_bytes(), own.key.read_bytes()
    assert TlsFiles().pem() == (None, None, None)
    assert TlsFiles(str(own.cert)).pem() == (cert, None, None)
    assert TlsFiles("", str(own.cert), str(own.key)).pem() == (None, key, cert)


def test_the_system_authorities_are_trusted_by_default(own: Certificate) -> None:
    assert TlsFiles(str(own.cert)).context().cert_store_stats()["x509"] == 1
    shown = TlsFiles("", str(own.cert), str(own.key)).context()
    assert shown.check_hostname
    assert shown.cert_store_stats() == TlsFiles().context().cert_store_stats()


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_bundle_may_have_comments_in_any_encoding(
    own: Certificate, tmp_path: Path, encoding: str
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes("# Autorité é\n".encode(encoding) + own.cert.read_bytes())
    assert TlsFiles(str(bundle)).context().cert_store_stats()["x509"] == 1
    assert TlsFiles(str(bundle)).pem()[0] == bundle.read_bytes()


def test_an_encrypted_key_never_prompts(own: Certificate, tmp_path: Path) -> None:
    locked = encrypted_key(own)
    with pytest.raises(
        TlsFilesError, match="is encrypted; use a key without a password"
    ) as refused:
        TlsFiles("", str(own.cert), str(locked)).context()
    assert refused.value.option == "key"


@pytest.mark.parametrize("content", ["", "no certificate\n", "ä"])
def test_a_file_without_a_certificate_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(content)
    with pytest.raises(TlsFilesError, match="contains no PEM certificate") as refused:
        TlsFiles(str(file)).context()
    assert refused.value.option == "ca"


def test_a_malformed_certificate_is_refused(own: Certificate, tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    with pytest.raises(TlsFilesError, match="are not a PEM certificate and its key"):
        TlsFiles("", str(file), str(own.key)).context()
