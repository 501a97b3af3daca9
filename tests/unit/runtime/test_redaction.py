"""Stand-ins for words: nothing is left of what was said, and everything of what the machine makes of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voicefsm.lexicon import LEXICONS, normal
from voicefsm.runtime.redaction import Redaction, without_texts

WORDS = st.sampled_from("hold on wait uh-huh don't Don't WAIT i I see a b secret Secret another मेरा हाँ घर".split())
TEXTS = st.lists(WORDS | st.sampled_from([",", ".", "?", "-", "_"]), max_size=12).map(" ".join)


def test_what_is_left_of_a_sentence() -> None:
    """Otherwise a reader of redacted journals finds names in them, or nothing that explains a decision."""
    redaction = Redaction()
    assert redaction.text("Call Bob, wait: call bob_1!") == "Xxxx Xxx, wait: xxxx xxx_x!"
    assert redaction.text("mail Ann") == "xxxa Xxa"
    assert redaction.text("मेरा घर") == "xxxb xx"


@given(TEXTS, TEXTS)
def test_what_the_machine_asks_of_texts_is_kept(one: str, other: str) -> None:
    """Otherwise a redacted journal would take another course, and replay would call it a change of the machine."""
    redaction = Redaction()
    new, newer = redaction.text(one), redaction.text(other)
    for text, stand_in in ((one, new), (other, newer)):
        assert len(stand_in) == len(text)
        assert len(normal(stand_in).split()) == len(normal(text).split())
        for lexicon in LEXICONS.values():
            assert lexicon.content_words(normal(stand_in)) == lexicon.content_words(normal(text))
            assert lexicon.has_stop(normal(stand_in)) == lexicon.has_stop(normal(text))
    assert (normal(new) == normal(newer)) == (normal(one) == normal(other))
    pairs = zip(one.split(), other.split(), strict=False)
    assert [a == b for a, b in zip(new.split(), newer.split(), strict=False)] == [a == b for a, b in pairs]


def test_texts_are_found_however_deep_they_stand() -> None:
    """Otherwise the words of a final are hidden in its text and told in its word timings."""
    record = {"text": "secret", "effects": [{"type": "X", "words": [{"text": "secret", "end_ms": 1}]}], "why": "2 words"}
    assert Redaction().record(record) == {
        "text": "xxxxxx",
        "effects": [{"type": "X", "words": [{"text": "xxxxxx", "end_ms": 1}]}],
        "why": "2 words",
    }
    assert without_texts(record) == {"effects": [{"type": "X", "words": [{"end_ms": 1}]}], "why": "2 words"}


def test_words_never_run_out() -> None:
    """Otherwise the hundredth one-letter word hangs the session."""
    redaction = Redaction()
    assert {len(redaction.text(chr(0x4E00 + k))) for k in range(100)} == {1}
