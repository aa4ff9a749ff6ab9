from hub.registry.state import Registry
from hub.service.handlers.kept_answers import KeptAnswers
from tests.support.fleet_of import add


class Made:
    """Counts what is made."""

    def __init__(self) -> None:
        self.of: list[str] = []

    def answer(self, kept: KeptAnswers, asked: str, size: int = 1) -> bytes:
        def make() -> bytes:
            self.of.append(asked)
            return asked.encode() * size

        return kept.get(asked, make)


def test_an_answer_is_made_once_until_the_fleet_changes():
    registry, made = Registry(first_revision=1000), Made()
    kept = KeptAnswers(registry)
    for asked in "aabab":
        assert made.answer(kept, asked) == asked.encode()
    assert made.of == ["a", "b"]
    add(registry, "a:1")
    made.answer(kept, "a")
    assert made.of == ["a", "b", "a"]


def test_the_bytes_have_a_bound_and_the_one_unused_for_longest_goes():
    kept, made = KeptAnswers(Registry(first_revision=1000), max_bytes=10), Made()
    for asked in "abac":
        made.answer(kept, asked, 4)
    assert made.of == ["a", "b", "c"]
    made.answer(kept, "a", 4)
    assert made.of == ["a", "b", "c"]
    made.answer(kept, "b", 4)
    assert made.of == ["a", "b", "c", "b"]


def test_an_answer_beyond_the_bound_is_given_and_not_kept():
    kept, made = KeptAnswers(Registry(first_revision=1000), max_bytes=10), Made()
    assert len(made.answer(kept, "a", 11)) == 11
    made.answer(kept, "b", 4)
    made.answer(kept, "a", 11)
    assert made.of == ["a", "b", "a"]
    assert kept._bytes == 0
