import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.contract import validation
from hub.contract.errors import InvalidPageToken
from hub.service.handlers.paging import decode_page_token, encode_page_token, page_size
from llmhub.v1.admin_service_pb2 import ListSidecarsRequest, ListTokensRequest
from llmhub.v1.endpoint_pb2 import BACKEND_OLLAMA, STATUS_HEALTHY
from llmhub.v1.registry_service_pb2 import ListEndpointsRequest, ListModelsRequest


def test_zero_stands_for_the_default() -> None:
    assert page_size(0) == 100
    assert page_size(7) == 7


def test_the_first_page_begins_at_the_beginning() -> None:
    assert decode_page_token(ListEndpointsRequest(model="m", page_size=3)) == ""


@given(
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    labels=st.dictionaries(st.text("abc", min_size=1, max_size=2), st.text("xyz"), max_size=5),
    sizes=st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
)
def test_a_token_comes_back_to_its_request(
    key: str, labels: dict[str, str], sizes: tuple[int, int]
) -> None:
    first = ListEndpointsRequest(labels=labels, page_size=sizes[0])
    token = encode_page_token(first, key)
    reversed_labels = dict(reversed(labels.items()))
    following = ListEndpointsRequest(labels=reversed_labels, page_size=sizes[1], page_token=token)
    assert decode_page_token(following) == key
    # A third page's token is made by a request that has one itself.
    following.page_token = encode_page_token(following, key + "x")
    assert decode_page_token(following) == key + "x"


@pytest.mark.parametrize(
    "other",
    [
        ListEndpointsRequest(model="other"),
        ListEndpointsRequest(model="m", backend=BACKEND_OLLAMA),
        ListEndpointsRequest(model="m", status=STATUS_HEALTHY),
        ListEndpointsRequest(model="m", labels={"zone": "a"}),
        ListEndpointsRequest(),
    ],
    ids=["model", "backend", "status", "labels", "none"],
)
def test_a_token_of_other_filters_is_refused(other: ListEndpointsRequest) -> None:
    other.page_token = encode_page_token(ListEndpointsRequest(model="m"), "gpu-1:1")
    with pytest.raises(InvalidPageToken):
        decode_page_token(other)


def test_a_token_of_another_listing_is_refused() -> None:
    token = encode_page_token(ListModelsRequest(), "gpu-1:1")
    for other in (ListEndpointsRequest, ListSidecarsRequest, ListTokensRequest):
        with pytest.raises(InvalidPageToken):
            decode_page_token(other(page_token=token))


EMPTY_KEY = encode_page_token(ListEndpointsRequest(), "")


@pytest.mark.parametrize(
    "garbage",
    [
        "x",
        "not base64!",
        "====",
        "gpu-1:1",
        "\N{SNOWMAN}",
        "AAAA",
        EMPTY_KEY,
        EMPTY_KEY[:-2],
        " " + encode_page_token(ListEndpointsRequest(), "gpu-1:1"),
        encode_page_token(ListEndpointsRequest(), "gpu-1:1") + "\n",
        base64.urlsafe_b64encode(base64.urlsafe_b64decode(EMPTY_KEY) + b"\xff\xfe").decode(),
    ],
)
def test_garbage_is_refused(garbage: str) -> None:
    with pytest.raises(InvalidPageToken):
        decode_page_token(ListEndpointsRequest(page_token=garbage))


@given(st.text(max_size=40))
def test_any_text_is_refused_or_a_token(text: str) -> None:
    if text.encode("utf-8", "ignore").decode() != text:
        return
    request = ListEndpointsRequest(page_token=text)
    if text:
        with pytest.raises(InvalidPageToken):
            decode_page_token(request)


@pytest.mark.parametrize(
    ("request_type", "longest"),
    [
        (ListEndpointsRequest, "h" * 300),
        (ListModelsRequest, "\N{GRINNING FACE}" * 512),
        (ListSidecarsRequest, "\N{GRINNING FACE}" * 128),
        (ListTokensRequest, "t" * 64),
    ],
)
def test_the_contract_takes_the_token_of_the_longest_key(
    request_type: type[ListEndpointsRequest], longest: str
) -> None:
    request = request_type()
    request.page_token = encode_page_token(request, longest)
    assert validation.violations(request) == []
    assert decode_page_token(request) == longest
