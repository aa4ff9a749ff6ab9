import pytest

from hub.service.access.browser_sessions import LIFETIME_MS
from llmhub.v1.admin_service_pb2 import RevokeTokenRequest
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.browser_calls import SESSION, Browser
from tests.support.hub import REGISTRY_PATH, running_hub


@pytest.fixture
def browser(hub) -> Browser:
    return Browser(hub)


async def test_a_token_is_exchanged_for_a_cookie(hub, browser):
    answer = await browser.sign_in()
    assert (answer.status, (await answer.json())["role"]) == (200, "admin")
    cookie = browser.cookie
    assert cookie.key == f"llm_hub_session_{hub.http_address.rpartition(':')[2]}"
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert cookie["path"] == "/"
    assert int(cookie["max-age"]) == LIFETIME_MS // 1000
    assert hub.admin_token not in str(answer.headers)
    assert (await browser.call("GET", REGISTRY_PATH)).status == 200


async def test_a_cookie_lives_no_longer_than_its_token(hub, browser):
    await browser.sign_in(await hub.token(ROLE_READER, ttl_s=60))
    assert 0 < int(browser.cookie["max-age"]) <= 60


@pytest.mark.parametrize("trusted", ["127.0.0.1", "10.0.0.0/8"])
async def test_the_cookie_is_secure_behind_a_trusted_proxy_with_tls(tmp_path, trusted):
    async with running_hub(tmp_path, ws={"trusted_proxies": [trusted]}) as hub:
        browser = Browser(hub)
        sent = {"Sec_Fetch_Site": "same-origin", "X_Forwarded_Proto": "https"}
        await browser.call("POST", SESSION, {"token": hub.admin_token}, **sent)
        assert bool(browser.cookie["secure"]) == (trusted == "127.0.0.1")
        sent["X_Forwarded_Proto"] = "http"
        await browser.call("POST", SESSION, {"token": hub.admin_token}, **sent)
        assert not browser.cookie["secure"]


@pytest.mark.parametrize("token", ["", "nonsense", "llmhub_aaaaaaaaaaaa_" + "x" * 43])
async def test_a_wrong_token_gets_no_cookie(browser, token):
    answer = await browser.sign_in(token)
    assert (answer.status, (await answer.json())["error"]) == (401, "unauthorized")
    assert browser.cookie is None


async def test_a_sidecar_cannot_sign_in(hub, browser):
    answer = await browser.sign_in(await hub.token(ROLE_SIDECAR, "node-1"))
    assert (answer.status, await answer.json()) == (403, {"error": "forbidden"})
    assert browser.cookie is None


@pytest.mark.parametrize("body", [{}, {"token": None}, {"token": 7}])
async def test_a_missing_token_is_a_violation(browser, body):
    answer = await browser.call("POST", SESSION, body, Sec_Fetch_Site="same-origin")
    assert (answer.status, (await answer.json())["errors"][0]["field"]) == (422, "token")


async def test_the_session_shows_who_is_signed_in(hub, browser):
    anonymous = {"role": None, "token_id": None}
    assert await (await browser.call("GET", SESSION)).json() == anonymous
    await browser.sign_in(await hub.token(ROLE_READER))
    assert (await (await browser.call("GET", SESSION)).json())["role"] == "reader"


async def test_a_reader_may_view_but_not_change(hub, browser):
    await browser.sign_in(await hub.token(ROLE_READER))
    assert (await browser.call("GET", REGISTRY_PATH)).status == 200
    refused = await browser.call("POST", REGISTRY_PATH, {"host": "h"}, Sec_Fetch_Site="same-origin")
    assert (refused.status, await refused.json()) == (403, {"error": "forbidden"})


async def test_signing_out_ends_the_session_on_the_hub_too(browser):
    await browser.sign_in()
    kept = browser.cookie
    answer = await browser.call("DELETE", SESSION, Sec_Fetch_Site="same-origin")
    assert answer.status == 200
    assert browser.cookie is None
    browser.cookie = kept
    assert (await browser.call("GET", REGISTRY_PATH)).status == 401


async def test_revoking_the_token_ends_the_session(hub, browser):
    created = await hub.created_token(ROLE_READER)
    await browser.sign_in(created.token)
    assert (await browser.call("GET", REGISTRY_PATH)).status == 200
    await hub.call("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
    assert (await browser.call("GET", REGISTRY_PATH)).status == 401


async def test_a_session_survives_a_restart_of_the_hub(tmp_path):
    async with running_hub(tmp_path) as hub:
        browser = Browser(hub)
        await browser.sign_in()
        port = hub.http_address
    async with running_hub(tmp_path, http={"address": port}) as hub:
        browser.hub = hub
        assert (await browser.call("GET", REGISTRY_PATH)).status == 200
