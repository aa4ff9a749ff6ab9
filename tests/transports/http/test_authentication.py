import pytest

from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.browser_calls import SESSION, Browser
from tests.support.hub import REGISTRY_PATH

OWN = "<own>"


@pytest.fixture
async def browser(hub) -> Browser:
    signed_in = Browser(hub)
    await signed_in.sign_in()
    return signed_in


@pytest.mark.parametrize(
    ("headers", "read", "change"),
    [
        ({"Sec_Fetch_Site": "same-origin"}, 200, 201),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "https://proxy.example"}, 200, 201),
        ({"Origin": OWN}, 200, 201),
        # A browser sends Origin with every changing call, and not with a same-origin read.
        ({}, 200, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403, 403),
        ({"Sec_Fetch_Site": "none"}, 403, 403),
        ({"Sec_Fetch_Site": "cross-site", "Origin": OWN}, 403, 403),
        ({"Origin": "http://evil.example"}, 403, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403, 403),
        ({"Origin": "null"}, 403, 403),
        ({"Origin": "http://["}, 403, 403),
        ({"Sec_Fetch_Site": "same-origin", "X_LLM_Hub": ""}, 403, 403),
        ({"Origin": OWN, "X_LLM_Hub": ""}, 403, 403),
    ],
)
async def test_a_cookie_alone_proves_nothing(hub, browser, headers, read, change):
    own = f"http://{hub.http_address}"
    sent = {key: own if value == OWN else value for key, value in headers.items()}
    assert (await browser.call("GET", REGISTRY_PATH, **sent)).status == read
    changed = await browser.call("POST", REGISTRY_PATH, {"host": "h"}, **sent)
    assert changed.status == change
    if change == 403:
        assert await changed.json() == {"error": "forbidden"}
    listed = await hub.http("GET", REGISTRY_PATH)
    assert len(listed.json["endpoints"]) == (change == 201)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_other_sites_cannot_sign_in_or_out(browser, method):
    answer = await browser.call(method, SESSION, {"token": "x"}, Sec_Fetch_Site="cross-site")
    assert answer.status == 403


async def test_a_bearer_token_needs_no_proof_and_precedes_the_cookie(hub, browser):
    reader = await hub.token(ROLE_READER)
    refused = await browser.call(
        "POST",
        REGISTRY_PATH,
        {"host": "h"},
        Authorization=f"Bearer {reader}",
        Sec_Fetch_Site="same-origin",
    )
    assert refused.status == 403
    read = await browser.call("GET", REGISTRY_PATH, Authorization=f"Bearer {reader}", X_LLM_Hub="")
    assert read.status == 200


async def test_an_invented_cookie_is_refused(hub, browser):
    browser.cookie.set(browser.cookie.key, "x" * 43, "x" * 43)
    answer = await browser.call("GET", REGISTRY_PATH)
    assert (answer.status, (await answer.json())["error"]) == (401, "unauthorized")


async def test_no_preflight_is_answered(hub, browser):
    answer = await browser.call(
        "OPTIONS",
        REGISTRY_PATH,
        Origin="http://evil.example",
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="x-llm-hub",
    )
    assert answer.status == 405
    assert not [name for name in answer.headers if name.startswith("Access-Control")]
