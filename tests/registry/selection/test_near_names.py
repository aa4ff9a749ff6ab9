import pytest

from hub.registry.selection import near_names as module
from hub.registry.selection.near_names import near_names

NAMES = (
    "llama3.1:8b",
    "llama3.1:70b",
    "llama3:8b",
    "mistral:latest",
    "nomic-embed-text:latest",
    "qwen2.5:7b",
)


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("lama3.1:8b", ["llama3.1:8b", "llama3:8b", "llama3.1:70b"]),
        ("llama3", ["llama3:8b", "llama3.1:8b", "llama3.1:70b"]),
        ("QWEN2.5:7B", ["qwen2.5:7b"]),
        ("mistral", ["mistral:latest"]),
        ("nomic", ["nomic-embed-text:latest"]),
        ("qwen2.5:7b-instruct-q4_K_M", ["qwen2.5:7b"]),
        ("gpt-4o", []),
        ("x", []),
        ("", []),
        ("l" * 5000, []),
    ],
)
def test_similar_names_are_suggested(wanted: str, near: list[str]) -> None:
    assert near_names(wanted, NAMES) == near


def test_at_most_the_requested_number_of_names_is_suggested() -> None:
    assert near_names("llama3", NAMES, most=1) == ["llama3:8b"]


def test_the_number_of_examined_names_is_bounded() -> None:
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield f"model-{read}"

    assert len(near_names("model-0", endless())) == 3
    assert read == module.MAX_EXAMINED


def test_names_too_long_to_compare_are_left_out() -> None:
    assert near_names("llama", ["llama" + "x" * 500, "llama2"]) == ["llama2"]


def test_no_suggestion_is_too_long_for_an_error() -> None:
    longest = "é" * 50
    assert near_names("é" * 49, ["é" * 51, longest]) == [longest]


def test_of_names_that_are_equally_near_the_shorter_one_comes_first() -> None:
    assert near_names("llama", ["llama-x-y-z-one", "llama-x-y-z-three"]) == [
        "llama-x-y-z-one",
        "llama-x-y-z-three",
    ]


@pytest.mark.parametrize(("wanted", "near"), [("abc", ["abcdefghijklmnop"]), ("ab", [])])
def test_a_beginning_of_three_letters_is_near(wanted: str, near: list[str]) -> None:
    assert near_names(wanted, ["abcdefghijklmnop"]) == near
    assert near_names("abcdefghijklmnop", [wanted]) == ([wanted] if near else [])


def test_the_longest_name_that_is_compared() -> None:
    assert near_names("l" * 200, ["lll"]) == ["lll"]
    assert near_names("l" * 201, ["lll"]) == []
    assert near_names("l", ["l"]) == ["l"]
