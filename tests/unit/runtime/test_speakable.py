"""What the voice is given to say: sentences, cut the same however the text arrives, without markup and without loss."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voicefsm.runtime.speakable import SENTENCE_CHARS_MAX, SentenceCutter, speakable

FORBIDDEN = set("*{}<>#`_")


def cut(text: str, *places: int) -> list[str]:
    """The sentences of a text that comes in pieces cut at `places`."""
    cutter = SentenceCutter()
    edges = [0, *sorted(places), len(text)]
    sentences = [s for a, b in pairwise(edges) for s in cutter.feed(text[a:b])]
    return sentences + cutter.flush()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It is warm. The sun shines.", ["It is warm.", "The sun shines."]),
        ("Pi is 3.14 and e is 2.72. Both are odd.", ["Pi is 3.14 and e is 2.72.", "Both are odd."]),
        ("I met Dr. Who and Mr. J. R. Smith. They left.", ["I met Dr. Who and Mr. J. R. Smith.", "They left."]),
        ("Eat e.g. apples or i.e. fruit. Eat it.", ["Eat e.g. apples or i.e. fruit.", "Eat it."]),
        ("We met at 5 p.m. on Monday. It rained.", ["We met at 5 p.m. on Monday.", "It rained."]),
        ("We met at 5 p.m. Then it rained.", ["We met at 5 p.m.", "Then it rained."]),
        ("In the U.S. it is so. In the U.S. They do.", ["In the U.S. it is so.", "In the U.S.", "They do."]),
        ("Well... maybe so. Or not.", ["Well... maybe so.", "Or not."]),
        ("I wait… Then I go.", ["I wait…", "Then I go."]),
        ("See example.com for more. Or not.", ["See example.com for more.", "Or not."]),
        ("See https://a.com/?q=1!x now. Or not.", ["See a.com now.", "Or not."]),
        ("So do I. You too.", ["So do I.", "You too."]),
        ('She said "Stop!" and left. He stayed.', ['She said "Stop!" and left.', "He stayed."]),
        ('She said "Stop it." Then she left.', ['She said "Stop it."', "Then she left."]),
        ("It works (does it?) now. Yes it does.", ["It works (does it?) now.", "Yes it does."]),
        ("यह एक वाक्य है। यह दूसरा है।", ["यह एक वाक्य है।", "यह दूसरा है।"]),
        ("तापमान 23.5 डिग्री है। कुल ₹1,50,000 हुए।", ["तापमान 23.5 डिग्री है।", "कुल ₹1,50,000 हुए।"]),
        ("समय ५.३० है। ठीक है।", ["समय ५.३० है।", "ठीक है।"]),
        ("डॉ. शर्मा 5 कि.मी. दूर हैं। चलो?", ["डॉ. शर्मा 5 कि.मी. दूर हैं।", "चलो?"]),
        ("बातें:\n१. पहली बात\n२. दूसरी बात", ["बातें:", "१. पहली बात", "२. दूसरी बात"]),
        ("这是第一句。这是第二句！", ["这是第一句。", "这是第二句！"]),  # noqa: RUF001
        ("Yes. It is so.", ["Yes. It is so."]),
        ("Hello! How are you? Fine.", ["Hello! How are you?", "Fine."]),
        ("Yes.", ["Yes."]),
        ("Really?! No way at all!", ["Really? No way at all!"]),
        ("One line\nAnother line", ["One line", "Another line"]),
        ("Things:\n1. First thing\n2. Second thing", ["Things:", "1. First thing", "2. Second thing"]),
        ("Code:\n```python\nprint('x. y')\n```\nThat was it.", ["Code:", "That was it."]),
        ("Never closed:\n```\nx = 1", ["Never closed:"]),
        ("", []),
        ("...", []),
    ],
)
def test_sentences_end_where_they_end(text: str, sentences: list[str]) -> None:
    """Otherwise numbers and names are torn apart, or the voice waits for a whole paragraph."""
    assert cut(text) == sentences
    assert cut(text, *range(len(text))) == sentences


def test_marks_that_are_sure_cut_at_once() -> None:
    """Otherwise each question waits for the token after it, or for the end of the reply."""
    for mark in "?!।。":
        cutter = SentenceCutter()
        assert cutter.feed(f"It is so{mark}") == [f"It is so{mark}"]
    cutter = SentenceCutter()
    assert cutter.feed("It is so.") == []
    assert cutter.feed(" And") == ["It is so."]


def test_first_sentence_may_end_at_a_comma() -> None:
    """Otherwise the first sound waits for a long sentence to be written to its end."""
    cutter = SentenceCutter()
    assert cutter.feed("Well, that is a very good question, and") == ["Well, that is a very good question,"]
    assert cutter.feed(" it has a long answer, as you can imagine, too. ") == ["and it has a long answer, as you can imagine, too."]
    assert SentenceCutter().feed("There are about ten thousand or 10,000 of them") == []


def test_long_sentence_is_cut_between_words() -> None:
    """Otherwise a model without full stops is never heard."""
    text = "word " * 200
    sentences = cut(text)
    assert len(sentences) > 3
    assert all(len(s) <= SENTENCE_CHARS_MAX and set(s.split()) == {"word"} for s in sentences)
    assert " ".join(sentences).split() == text.split()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("**Bold** and _soft_ and ***both***", "Bold and soft and both"),
        ("## A heading", "A heading"),
        ("- a bullet", "a bullet"),
        ("* [x] a task", "a task"),
        ("> a quote", "a quote"),
        ("3. third", "3. third"),
        ("Use `my_var` or `{}` here", "Use my var or here"),
        ("A [link](https://a.b/c?d) and ![a picture](x.png)", "A link and a picture"),
        ("A [link][1] and a note[^2].", "A link and a note."),
        ("Go to https://www.example.com/a/b?c=d.", "Go to example.com."),
        ("Go to <https://example.com> now", "Go to example.com now"),
        ("| Name | Age |", "Name, Age"),
        ("|---|:-:|", ""),
        ("<b>Bold</b><br/>text", "Bold text"),
        ("if a &lt; b &amp; c", "if a b & c"),
        ("Great 👍🏽 job 👨‍👩‍👧 team 🇮🇳!", "Great job team!"),
        ("It is 20°C", "It is 20°C"),
        ("2 * 3 = 6 and 4*5", "2 times 3 = 6 and 4 times 5"),
        ("C# and #1 of #topics", "C sharp and number 1 of topics"),
        ("a\u0000b\u202ec\u2028d", "a bc d"),
        ("क्‍ष और नहीं", "क्‍ष और नहीं"),
        ("---", ""),
        ("!", ""),
        (") and so on", "and so on"),
        ("\\*not bold\\*", "not bold"),
        (".5 of it", ".5 of it"),
        ("-5 degrees - really", "-5 degrees - really"),
    ],
)
def test_markup_is_not_said(text: str, said: str) -> None:
    """Otherwise the voice says "asterisk asterisk", or a reserved character makes it fail."""
    assert speakable(text) == said


PARTS = [
    *["**", "_", "`", "```", "~~~", "\n", "# ", "- ", "1. ", "| ", "[a](http://b.c)", "<b>", "</b>", "{", "}", "👍🏽", "\u200d"],
    *["word", "Word", "I", "e.g.", "Dr.", "3.14", "U.S.", "हाँ", "。", "।", " ", " ", ".", ". ", "?", "!", ", ", "…", "..."],
    *["(", ")", "'", '"', "http://x.y/?z", "&lt;", "\\", "*", "<", ">", "#", "\u2028", "\t"],
]
MARKUP = st.lists(st.sampled_from(PARTS), max_size=40).map("".join)


@settings(deadline=None)
@given(st.one_of(MARKUP, st.text(max_size=80)), st.data())
def test_any_split_gives_the_same_sentences(text: str, data: st.DataObject) -> None:
    """Otherwise what is said depends on how the network cut it."""
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=10))
    assert cut(text, *places) == cut(text)
    assert cut(text, *range(len(text))) == cut(text)


@settings(deadline=None)
@given(st.one_of(MARKUP, st.text(max_size=200)))
@example("<_b>")
@example("&#42;&#123;&lt;")
@example("&amp;lt;b&amp;gt;")
def test_nothing_forbidden_and_nothing_empty_is_said(text: str) -> None:
    """Otherwise one token makes the TTS server fail, or a request holds nothing to say."""
    for sentence in [*cut(text), speakable(text)]:
        assert not FORBIDDEN & set(sentence)
        assert all(char.isprintable() for char in sentence if char not in "\u200c\u200d")
        assert sentence == sentence.strip()
    assert all(any(char.isalnum() for char in sentence) for sentence in cut(text))


WORDS = st.one_of(
    st.text(alphabet="abcdefgXYZäéßñ", min_size=1, max_size=12),
    st.integers(0, 9999).map(str),
    st.sampled_from(["Dr", "I", "etc"]),
)
ENDS = [" ", " ", " ", ", ", ". ", "? ", "! ", "... ", "; ", ": ", ".\n", "\n", " (", ") ", ' "', '" ', " - "]
PLAIN = st.lists(st.tuples(WORDS, st.sampled_from(ENDS)), max_size=120).map(lambda words: "".join(w + end for w, end in words))


@settings(deadline=None)
@given(PLAIN)
def test_no_word_of_plain_text_is_lost(text: str) -> None:
    """Otherwise the assistant leaves out what the model said, and its history claims otherwise."""
    assert re.findall(r"\w+", " ".join(cut(text))) == re.findall(r"\w+", text)


@pytest.mark.parametrize(
    ("pieces", "after"),
    [
        (["It is", " noon."], 2),
        (["Go to", " Paris."], 2),
        (["Ask", " Dr."], None),
        (["At", " the", " Acme", " Co."], None),
        (["It", " costs", " 3."], None),
        (["Take", " it,", " e.g."], None),
        (["He", " said:", ' "Yes', " please."], None),
        (["Is", " it", " U.S."], None),
    ],
)
def test_an_eager_cutter_cuts_with_the_full_stop(pieces, after):
    """Otherwise the first audio of each reply comes a token late; or a doctor loses his name."""
    cutter = SentenceCutter(is_eager=True)
    cut_after = next((k + 1 for k, piece in enumerate(pieces) if cutter.feed(piece)), None)
    assert cut_after == after


def test_only_the_first_sentence_is_cut_eagerly():
    """Otherwise all of a text is cut with less care, and nobody hears it sooner."""
    cutter = SentenceCutter(is_eager=True)
    assert cutter.feed("It is noon.") == ["It is noon."]
    assert cutter.feed(" It will rain.") == []
    assert cutter.feed(" ") == ["It will rain."]
