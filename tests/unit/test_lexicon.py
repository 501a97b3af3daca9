"""What short utterances mean, language by language."""

from __future__ import annotations

import unicodedata

import pytest

from voicefsm.lexicon import ENGLISH, FRENCH, GERMAN, HINDI, LEXICONS, SPANISH, Lexicon, lexicon_of, normal


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("mm-hm", 0),
        ("okay got it", 0),
        ("i see i see", 0),
        ("yeah yeah of course", 0),
        ("uh huh", 0),
        ("okay but no", 2),
        ("i see a problem", 2),
        ("of", 1),
        ("stop", 1),
    ],
)
def test_english_backchannels(text, words):
    """Otherwise a listener who follows would lose the answer, or one who objects would not be heard."""
    assert ENGLISH.content_words(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [("i", 0), ("okay i", 0), ("of", 0), ("got", 0), ("i think", 2), ("i see a", 1), ("yeah of", 0), ("part of", 1), ("", 0)],
)
def test_a_backchannel_may_have_begun(text, words):
    """Otherwise "I" of "I see" would cut the answer before "see" is heard."""
    assert ENGLISH.content_words(text, is_open=True) == words


@pytest.mark.parametrize(("text", "words"), [("ठीक है ठीक है", 0), ("हाँ जी अच्छा", 0), ("ठीक", 0), ("नहीं", 1), ("ठीक है लेकिन", 1)])
def test_hindi_backchannels(text, words):
    """Otherwise Hindi listeners could not say 'ठीक है' twice."""
    assert HINDI.content_words(text) == words


@pytest.mark.parametrize(
    ("lexicon", "text", "words"),
    [
        (SPANISH, "sí sí claro que sí", 0),
        (SPANISH, "ya veo", 0),
        (SPANISH, "vale de acuerdo", 0),
        (SPANISH, "vale pero no", 2),
        (SPANISH, "de madrid", 2),
        (SPANISH, "no", 1),
        (GERMAN, "ja genau", 0),
        (GERMAN, "ach so ja ja", 0),
        (GERMAN, "alles klar", 0),
        (GERMAN, "alles falsch", 2),
        (GERMAN, "ja aber nicht hier", 3),
        (GERMAN, "nein", 1),
        (FRENCH, "oui oui c'est ça", 0),
        (FRENCH, "d'accord très bien", 0),
        (FRENCH, "tout à fait", 0),
        (FRENCH, "d'accord mais pas là", 3),
        (FRENCH, "tout à gauche", 3),
        (FRENCH, "non", 1),
    ],
)
def test_backchannels_of_other_languages(lexicon, text, words):
    """Otherwise they would be taken for words, as English ones are not, or words for them."""
    assert lexicon.content_words(text) == words


@pytest.mark.parametrize(
    ("lexicon", "text"),
    [(GERMAN, "na"), (GERMAN, "ja ich"), (SPANISH, "sí por"), (SPANISH, "claro que"), (FRENCH, "oui c'est"), (FRENCH, "tout à")],
)
def test_a_backchannel_of_another_language_may_have_begun(lexicon, text):
    """Otherwise the first word of "tout à fait" would cut the answer."""
    assert lexicon.content_words(text, is_open=True) == 0
    assert lexicon.content_words(text) > 0


@pytest.mark.parametrize(
    ("tag", "text", "is_stop"),
    [
        ("es-ES", "¡Espera, espera!", True),
        ("es-MX", "Un momento, por favor.", True),
        ("es", "Esto es para mañana.", False),
        ("de-DE", "Moment mal!", True),
        ("de-AT", "Hör auf.", True),
        ("de", "Das ist halt im Moment so.", False),
        ("fr-FR", "Tais\N{NON-BREAKING HYPHEN}toi\N{HORIZONTAL ELLIPSIS}", True),
        ("fr-CA", "Ça suffit !", True),
        ("fr", "C\N{RIGHT SINGLE QUOTATION MARK}est assez loin.", False),
    ],
)
def test_stops_of_other_languages(tag, text, is_stop):
    """Otherwise a user who wants silence would not get it, or a neighbour's "para" would cut the answer."""
    assert lexicon_of(tag).has_stop(normal(text)) is is_stop


@pytest.mark.parametrize("tag", LEXICONS)
def test_no_contradiction_is_a_backchannel(tag):
    """Otherwise a user who says no would be talked over."""
    for no in ("no", "nope", "नहीं", "nein", "nicht", "non", "pas", "nunca", "falsch", "faux"):
        assert LEXICONS[tag].content_words(no) == 1


@pytest.mark.parametrize(
    ("text", "is_stop"),
    [("stop", True), ("please hold on now", True), ("unstoppable", False), ("hold the door on", False), ("", False)],
)
def test_stop_phrases_stand_at_word_boundaries(text, is_stop):
    """Otherwise 'unstoppable' would stop."""
    assert ENGLISH.has_stop(text) is is_stop


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Okay, STOP!", "okay stop"),
        ("Mm-hm.", "mm-hm"),
        ("yeah - right", "yeah right"),
        ("'don't'", "don't"),
        ("  a \n b ", "a b"),
        ("रुको।", "रुको"),
        ("ठीक है?", "ठीक है"),
        ("...", ""),
        ("D\N{RIGHT SINGLE QUOTATION MARK}accord", "d'accord"),
        (unicodedata.normalize("NFD", "Está bien"), "está bien"),
    ],
)
def test_normal(text, expected):
    """Otherwise punctuation, capitals or vowel signs would hide a word from the lexicon."""
    assert normal(text) == expected


@pytest.mark.parametrize("lexicon", LEXICONS.values())
def test_lexicons_are_in_normal_form_and_at_odds_with_nothing(lexicon):
    """Otherwise an entry could never match, or mean both go on and stop."""
    for phrase in lexicon.backchannels | lexicon.stops:
        assert normal(phrase) == phrase
    assert not lexicon.backchannels & lexicon.stops
    assert all(lexicon.content_words(phrase) == 0 for phrase in lexicon.backchannels)


def test_the_longest_phrase_is_meant():
    """Otherwise what begins like another backchannel leaves its end behind, which counts as a word of its own."""
    lexicon = Lexicon(frozenset({"go on", "go on then please", "go on then"}), frozenset())
    assert [lexicon.content_words(text) for text in ("go on then", "go on then please", "go on please", "then")] == [0, 0, 1, 1]
    assert lexicon.content_words("do go on then", is_open=True) == 1, "more may follow"


def test_lexicon_by_language():
    """Otherwise a region would lose its lexicon, or a language without one would have none."""
    assert lexicon_of("hi-IN") is HINDI
    assert lexicon_of("HI") is HINDI
    assert lexicon_of("en-GB") is ENGLISH
    assert lexicon_of("de-DE") is GERMAN
    assert lexicon_of("es-419") is SPANISH
    assert lexicon_of("fr") is FRENCH
    assert lexicon_of("ta-IN") is ENGLISH
