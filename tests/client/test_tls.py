"""Both clients, with a real hub that requires certificates."""

from collections.abc import Iterator

import pytest

from hub.client import AsyncHub, CallFailed, ClientError, Hub, Tls
from tests.support.mutual_tls import MutualTls, mutual_tls_hub


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MutualTls]:
    with mutual_tls_hub(tmp_path_factory.mktemp("tls")) as running:
        yield running


async def test_a_certificate_from_files_is_accepted(mutual: MutualTls) -> None:
    tls = Tls.from_files(mutual.own.cert, mutual.client.cert, mutual.client.key)
    with Hub(mutual.hub.grpc, mutual.hub.admin_token, tls=tls) as hub:
        revision = hub.snapshot().revision
    async with AsyncHub(mutual.hub.grpc, mutual.hub.admin_token, tls=tls) as hub:
        assert (await hub.snapshot()).revision == revision > 0


async def test_a_certificate_from_the_environment(
    mutual: MutualTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_HUB_TLS_CA", str(mutual.own.cert))
    monkeypatch.setenv("LLM_HUB_TLS_CERT", str(mutual.client.cert))
    monkeypatch.setenv("LLM_HUB_TLS_KEY", str(mutual.client.key))
    with Hub(mutual.hub.grpc, mutual.hub.admin_token) as hub:
        assert hub.snapshot().revision > 0
    async with AsyncHub(mutual.hub.grpc, mutual.hub.admin_token) as hub:
        assert (await hub.snapshot()).revision > 0


async def test_a_missing_or_foreign_client_certificate_is_refused(mutual: MutualTls) -> None:
    for tls in (
        Tls.from_files(mutual.own.cert),
        Tls.from_files(mutual.own.cert, mutual.stranger.cert, mutual.stranger.key),
    ):
        with (
            Hub(mutual.hub.grpc, mutual.hub.admin_token, tls=tls, timeout_s=1) as hub,
            pytest.raises(CallFailed, match=r"UNAVAILABLE|DEADLINE_EXCEEDED"),
        ):
            hub.snapshot()


def test_an_unusable_file_is_named(mutual: MutualTls) -> None:
    with pytest.raises(ClientError) as refused:
        Tls.from_files(mutual.own.cert, mutual.client.cert, mutual.stranger.key)
    assert (
        str(refused.value) == f"key: {mutual.stranger.key} is not the key of {mutual.client.cert}"
    )
