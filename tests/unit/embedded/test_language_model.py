from __future__ import annotations

import math

import pytest

from voicefsm.embedded.language_model import END, START, Ngrams

SENTENCES = [("count to ten", 2.0), ("count to two", 1.0), ("tell me a joke", 1.0), ("stop", 3.0)]


@pytest.fixture
def ngrams() -> Ngrams:
    return Ngrams(SENTENCES)


@pytest.mark.parametrize("history", [(), (START,), ("count",), ("count", "to"), ("nobody",), ("never", "seen")])
def test_what_may_follow_adds_up_to_one(ngrams, history):
    """Otherwise some words are cheaper than the counts say. What is missing belongs to words nobody said."""
    total = sum(ngrams.probability((*history, word)) for word in ngrams.vocabulary)
    assert 0.9 < total <= 1.0 + 1e-9


def test_what_was_said_more_often_is_likelier(ngrams):
    """Otherwise the phrases do not bias anything."""
    assert (
        ngrams.probability(("count", "to", "ten"))
        > ngrams.probability(("count", "to", "two"))
        > ngrams.probability(("count", "to", "me"))
    )


def test_weights_count(ngrams):
    """Otherwise a pattern with a thousand numbers drowns "hello"."""
    light = Ngrams([(text, 1.0) for text, _ in SENTENCES])
    assert ngrams.probability((START, "stop")) > light.probability((START, "stop"))


def test_the_back_off_weight_is_what_the_seen_words_leave(ngrams):
    """Otherwise the ARPA text says something else than the model."""
    history = ("count", "to")
    unseen = [word for word in ngrams.vocabulary if (*history, word) not in ngrams.counts]
    for word in unseen:
        direct = ngrams.probability((*history, word))
        assert math.isclose(direct, ngrams.back_off(history) * ngrams.probability((history[-1], word)))


def test_the_text_is_arpa(ngrams):
    """Otherwise pocketsphinx refuses it, or reads other numbers."""
    text = "\n".join(ngrams.arpa())
    sections = text.split("\n\\")
    assert sections[0].startswith("\\data\\")
    for order, section in enumerate(sections[1:4], 1):
        lines = [line for line in section.splitlines()[1:] if line]
        assert section.startswith(f"{order}-grams:")
        assert f"ngram {order}={len(lines)}" in sections[0]
        assert all(len(line.split()) == order + (1 if order == 3 else 2) for line in lines)
    assert f"-99.0000 {START} " in text
    assert f" {END} 0.0000" in text
