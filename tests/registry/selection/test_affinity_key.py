import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.registry.selection.affinity_key import PREFIX_CHARACTERS, key_of_head, key_of_request

SYSTEM = {"role": "system", "content": "You are helpful."}
HELLO = {"role": "user", "content": "Hello"}
TURNS = [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "And now?"}]


def chat(*messages: object, **fields: object) -> dict[str, object]:
    return {"model": "m", "messages": [*messages], **fields}


def test_the_turns_of_a_conversation_have_one_key() -> None:
    first = key_of_request(chat(SYSTEM, HELLO))
    assert first
    assert key_of_request(chat(SYSTEM, HELLO, *TURNS)) == first
    assert key_of_request(chat(SYSTEM, HELLO, *TURNS, temperature=1)) == first
    assert key_of_request(chat(SYSTEM, {"role": "user", "content": "Bye"})) != first
    assert key_of_request(chat(HELLO)) != first


def test_parts_of_a_message_count_whatever_the_order_of_their_keys() -> None:
    one = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
    two = {"content": [{"text": "Hello", "type": "text"}], "role": "user"}
    assert key_of_request(chat(one)) == key_of_request(chat(two))


def test_an_explicit_key_comes_first_and_the_user_last() -> None:
    keyed = key_of_request(chat(HELLO, prompt_cache_key="k"))
    assert keyed == key_of_request(chat(SYSTEM, prompt_cache_key="k"))
    assert key_of_request(chat(HELLO, user="u")) == key_of_request(chat(HELLO))
    alone = key_of_request({"user": "u"})
    assert alone
    assert alone != key_of_request({"prompt_cache_key": "u"})


def test_a_plain_prompt_counts_up_to_its_prefix() -> None:
    prompt = "Once upon a time " * 1000
    assert key_of_request({"prompt": prompt}) == key_of_request({"prompt": prompt + "more"})
    other = "x" + prompt[:PREFIX_CHARACTERS]
    assert key_of_request({"prompt": prompt}) != key_of_request({"prompt": other})


@pytest.mark.parametrize(
    "body",
    [{}, {"messages": []}, {"messages": 7}, {"prompt": ""}, {"user": 7}, {"prompt_cache_key": 7}],
)
def test_a_request_without_a_prompt_has_no_key(body) -> None:
    assert key_of_request(body) == ""


def test_instructions_belong_to_the_prompt() -> None:
    assert key_of_request({"input": "Hi", "instructions": "a"}) != key_of_request(
        {"input": "Hi", "instructions": "b"}
    )
    assert key_of_request({"input": ["a", "b"]}) == key_of_request({"input": ["a", "c"]})


def test_a_head_of_the_body_is_enough() -> None:
    whole = json.dumps(chat(SYSTEM, HELLO, *TURNS)).encode()
    key = key_of_request(json.loads(whole))
    assert key_of_head(whole) == key
    assert key_of_head(whole[:-30]) == key
    first = json.dumps(chat(SYSTEM, HELLO)).encode()
    assert key_of_head(first) == key


def test_a_head_that_ends_in_the_first_message_counts_as_far_as_it_goes() -> None:
    long = {"role": "user", "content": "x" * 100_000}
    bodies = [json.dumps(chat(SYSTEM, long, *more)).encode() for more in ([], TURNS)]
    assert key_of_head(bodies[0][:8192]) == key_of_head(bodies[1][:8192]) != ""


def test_a_head_without_a_prompt_has_no_key() -> None:
    assert key_of_head(b'{"model": "m", "stream"') == ""
    assert key_of_head(b"") == ""
    assert key_of_head(b"[1]") == ""


@given(st.binary(max_size=200))
def test_any_bytes_have_a_short_key_or_none(head: bytes) -> None:
    assert len(key_of_head(b'{"messages":' + head)) in (0, 32)
    assert len(key_of_head(head)) in (0, 32)


def test_deeply_nested_bodies_are_no_problem() -> None:
    assert len(key_of_head(b'{"messages":' + b"[" * 100_000)) == 32
