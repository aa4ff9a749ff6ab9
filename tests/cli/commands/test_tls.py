import ssl
import stat
import tomllib
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from hub.base.clock import SystemClock
from hub.base.private_ca import PrivateCa
from hub.server.hub_server import HubServer
from tests.support.authority import now_ms
from tests.support.command import Outcome, llm_hub
from tests.support.hub import settings_for


def tls(command: str, directory: Path, *arguments: str) -> Outcome:
    return llm_hub("tls", command, "--dir", str(directory), *arguments)


def certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


async def test_a_hub_serves_what_init_prints(tmp_path: Path) -> None:
    directory = tmp_path / "tls"
    done = tls("init", directory, "--host", "hub.lan")
    assert done.code == 0
    section = tomllib.loads(done.out)["tls"]
    assert stat.S_IMODE((directory / "hub.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600
    settings = settings_for(tmp_path / "data", tls=section)
    hub = HubServer(settings, SystemClock())
    await hub.start()
    try:
        trusting = ssl.create_default_context(cafile=directory / "ca.pem")
        url = f"https://{hub.info().http_address}/healthz"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=trusting) as answer:
            assert answer.status == 200
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        await refuses_old_ciphers(hub.info().http_address, directory / "ca.pem")
        # A renewed certificate is taken without a restart.
        assert tls("renew", directory).out == ""
        assert tls("renew", directory, "--all").out == f"renewed {directory / 'hub.pem'}\n"
        await hub.reconfigure(settings)
        async with aiohttp.ClientSession() as session, session.get(url, ssl=trusting) as answer:
            assert answer.connection is None or answer.status == 200
    finally:
        await hub.stop()


async def refuses_old_ciphers(address: str, ca: Path) -> None:
    old = ssl.create_default_context(cafile=ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("ECDHE+AES:@SECLEVEL=1:!AESGCM:!AESCCM")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"https://{address}/healthz", ssl=old)


def test_an_authority_is_never_overwritten(tmp_path: Path) -> None:
    assert tls("init", tmp_path, "--host", "h").code == 0
    before = (tmp_path / "ca.key").read_bytes()
    again = tls("init", tmp_path, "--host", "h")
    assert again.code == 1
    assert "already has an authority" in again.err
    assert (tmp_path / "ca.key").read_bytes() == before


def test_a_clients_certificate_is_renewed_with_its_names_and_can_be_revoked(tmp_path: Path) -> None:
    tls("init", tmp_path, "--host", "h")
    made = tls("client", tmp_path, "spiffe://fleet/gpu-1", "gpu-1.lan")
    file = tmp_path / "client-spiffe___fleet_gpu-1.pem"
    assert made.out == f"--tls-cert {file} --tls-key {file.with_suffix('.key')}\n"
    assert tls("client", tmp_path, "spiffe://fleet/gpu-1").code == 1
    # One that ends soon, as `renew` finds it months later.
    authority = PrivateCa.load(
        (tmp_path / "ca.pem").read_bytes(), (tmp_path / "ca.key").read_bytes()
    )
    file.write_bytes(
        authority.issue_client(["spiffe://fleet/gpu-1", "gpu-1.lan"], now_ms(), 29).certificate
    )
    old = certificate(file)
    assert tls("renew", tmp_path).out == f"renewed {file}\n"
    new = certificate(file)
    assert new.not_valid_after_utc > old.not_valid_after_utc
    for kind in (x509.SubjectAlternativeName, x509.ExtendedKeyUsage):
        assert (
            new.extensions.get_extension_for_class(kind).value
            == old.extensions.get_extension_for_class(kind).value
        )
    assert new.public_key() != old.public_key()

    tls("client", tmp_path, "other")
    other = tmp_path / "client-other.pem"
    for names, count in (([file], 1), ([file, other], 2)):
        done = tls("revoke", tmp_path, *map(str, names))
        assert done.out == f"{tmp_path / 'crl.pem'} names {count} certificates\n"
    crl = x509.load_pem_x509_crl((tmp_path / "crl.pem").read_bytes())
    assert {entry.serial_number for entry in crl} == {
        new.serial_number,
        certificate(other).serial_number,
    }


def test_without_an_authority(tmp_path: Path) -> None:
    for command, arguments in (("client", ["a"]), ("renew", []), ("revoke", ["x.pem"])):
        done = tls(command, tmp_path, *arguments)
        assert (done.code, "No such file" in done.err) == (5, True)
