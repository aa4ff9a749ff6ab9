import base64

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from hub.contract import validation
from hub.contract.errors import InvalidPageToken
from hub.service.handlers.paging import Pager
from llmhub.v1.admin_service_pb2 import ListSidecarsRequest, ListTokensRequest
from llmhub.v1.endpoint_pb2 import BACKEND_OLLAMA, STATUS_HEALTHY
from llmhub.v1.registry_service_pb2 import ListEndpointsRequest, ListModelsRequest


def token_after(request: Message, key: str) -> str:
    """The token of a page that starts after `key`."""
    first = type(request)()
    first.CopyFrom(request)
    first.page_size = 1
    first.page_token = ""
    return Pager(first).cut([key, "more"], str)[1]


def key_of(request: Message) -> str:
    return Pager(request).after


@pytest.mark.parametrize(("wanted", "size"), [(0, 100), (7, 7)])
def test_a_page_has_the_requested_size(wanted: int, size: int) -> None:
    page, token = Pager(ListModelsRequest(page_size=wanted)).cut(map(str, range(1000)), str)
    assert page == [str(i) for i in range(size)]
    assert Pager(ListModelsRequest(page_token=token)).after == str(size - 1)


@pytest.mark.parametrize("entries", ["", "a", "abc"])
def test_the_last_page_has_no_token(entries: str) -> None:
    assert Pager(ListModelsRequest(page_size=3)).cut(entries, str) == (list(entries), "")


def test_a_page_reads_at_most_one_entry_more() -> None:
    entries = iter("abcdef")
    assert Pager(ListModelsRequest(page_size=2)).cut(entries, str)[0] == ["a", "b"]
    assert "".join(entries) == "def"


def test_the_first_page_starts_at_the_first_entry() -> None:
    assert key_of(ListEndpointsRequest(model="m", page_size=3)) == ""


@given(
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    labels=st.dictionaries(st.text("abc", min_size=1, max_size=2), st.text("xyz"), max_size=5),
    sizes=st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
)
def test_a_page_token_is_valid_for_its_request(
    key: str, labels: dict[str, str], sizes: tuple[int, int]
) -> None:
    first = ListEndpointsRequest(labels=labels, page_size=sizes[0])
    token = token_after(first, key)
    reversed_labels = dict(reversed(labels.items()))
    following = ListEndpointsRequest(labels=reversed_labels, page_size=sizes[1], page_token=token)
    assert key_of(following) == key
    # A third page's token is made by a request that has one itself.
    following.page_token = token_after(following, key + "x")
    assert key_of(following) == key + "x"


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
def test_a_page_token_of_other_filters_is_refused(other: ListEndpointsRequest) -> None:
    other.page_token = token_after(ListEndpointsRequest(model="m"), "gpu-1:1")
    with pytest.raises(InvalidPageToken):
        key_of(other)


def test_a_page_token_of_another_listing_is_refused() -> None:
    token = token_after(ListModelsRequest(), "gpu-1:1")
    for other in (ListEndpointsRequest, ListSidecarsRequest, ListTokensRequest):
        with pytest.raises(InvalidPageToken):
            key_of(other(page_token=token))


EMPTY_KEY = token_after(ListEndpointsRequest(), "")


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
        " " + token_after(ListEndpointsRequest(), "gpu-1:1"),
        token_after(ListEndpointsRequest(), "gpu-1:1") + "\n",
        base64.urlsafe_b64encode(base64.urlsafe_b64decode(EMPTY_KEY) + b"\xff\xfe").decode(),
    ],
)
def test_a_malformed_page_token_is_refused(garbage: str) -> None:
    with pytest.raises(InvalidPageToken):
        key_of(ListEndpointsRequest(page_token=garbage))


@given(st.text(max_size=40))
def test_arbitrary_text_is_refused_or_a_page_token(text: str) -> None:
    if text.encode("utf-8", "ignore").decode() != text:
        return
    request = ListEndpointsRequest(page_token=text)
    if text:
        with pytest.raises(InvalidPageToken):
            key_of(request)


@pytest.mark.parametrize(
    ("request_type", "longest"),
    [
        (ListEndpointsRequest, "h" * 300),
        (ListModelsRequest, "\N{GRINNING FACE}" * 512),
        (ListSidecarsRequest, "\N{GRINNING FACE}" * 128),
        (ListTokensRequest, "t" * 64),
    ],
)
def test_the_contract_accepts_the_longest_page_token(
    request_type: type[ListEndpointsRequest], longest: str
) -> None:
    request = request_type()
    request.page_token = token_after(request, longest)
    assert validation.violations(request) == []
    assert key_of(request) == longest
