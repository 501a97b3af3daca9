from __future__ import annotations

import math

import pytest

from voicefsm.embedded.phrases import PATTERNS, SLOTS, expand, sentences


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("hello", ["hello"]),
        ("(hi|hello) [there]", ["hi", "hi there", "hello", "hello there"]),
        ("[a [b]] c", ["c", "a c", "a b c"]),
        ("stop [stop]", ["stop", "stop stop"]),
    ],
)
def test_brackets_and_bars_mean_what_they_say(pattern, expected):
    """Otherwise the recogniser expects sentences that nobody says."""
    assert expand(pattern) == expected


def test_every_value_stands_in_every_slot_without_all_pairs():
    """Otherwise sums either miss numbers or make millions of sentences."""
    found = [sentence.split(" plus ") for sentence in expand("{number} plus {number}")]
    assert {pair[0] for pair in found} == {pair[1] for pair in found} == set(SLOTS["number"])
    assert len(found) == len(SLOTS["number"])
    assert any(first != second for first, second in found)


@pytest.mark.parametrize("pattern", ["(a|b", "a) b", "[a", "(a]"])
def test_an_unbalanced_bracket_is_an_error(pattern):
    """Otherwise a slip of the pen silently loses half of a pattern."""
    with pytest.raises(ValueError, match="bracket"):
        expand(pattern)


def test_every_pattern_weighs_the_same():
    """Otherwise patterns with numbers drown the others."""
    patterns = [line for line in PATTERNS.splitlines() if line]
    assert math.isclose(sum(weight for _, weight in sentences()), len(patterns))
    assert len(list(sentences())) < 20_000


def test_they_are_words_as_the_dictionary_has_them():
    """Otherwise a word cannot be heard at all."""
    assert all(
        text == text.lower() and text.replace("'", "").replace("-", "").replace(" ", "").isalpha() for text, _ in sentences()
    )
