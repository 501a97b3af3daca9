"""The rules answer what people say, from nothing but the messages and the time."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicefsm.embedded import phrases
from voicefsm.embedded.numerals import find_numbers, in_words, ordinal, year
from voicefsm.embedded.responder import _FALLBACK, COUNT_MAX, REPEATED_CHARS_MAX, Message, respond
from voicefsm.embedded.tales import EXPLANATIONS, JOKES, STORIES

NOW = dt.datetime(2026, 11, 23, 16, 5, tzinfo=dt.UTC)
STORY = next(iter(STORIES.values()))
WORDS_PER_MINUTE_MAX = 200


def answer(*contents: str) -> str:
    """To the last of `contents`, which the user and the assistant said in turn."""
    said = [Message("user" if place % 2 == 0 else "assistant", content) for place, content in enumerate(contents)]
    return respond([Message("system", "You are a lighthouse."), *said], NOW)


def until(text: str, word: str) -> str:
    """`text` to the end of the first `word`."""
    return text[: text.index(word) + len(word)]


@pytest.mark.parametrize("pattern", [line for line in phrases.PATTERNS.splitlines() if line])
def test_whatever_the_recogniser_expects_is_answered(pattern: str) -> None:
    """Otherwise people are told that there is no rule for a sentence that the recogniser was biased towards."""
    unanswered = [sentence for sentence in phrases.expand(pattern) if answer(sentence) in _FALLBACK]
    assert unanswered == []


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text(max_size=200)), max_size=12))
def test_any_conversation_has_one_answer(conversation: list[tuple[str, str]]) -> None:
    """Otherwise some words break the server, or a journal cannot be replayed."""
    messages = [Message(*message) for message in conversation]
    text = respond(messages, NOW)
    assert text.strip()
    assert respond(messages, NOW) == text


@given(st.lists(st.sampled_from([*"count from to one hundred and plus times by zero go on thousand divided 7".split()])))
def test_any_numbers_have_an_answer(words: list[str]) -> None:
    """Otherwise a sum that nobody thought of breaks the server."""
    assert answer(" ".join(words))


def test_every_story_is_worth_interrupting() -> None:
    """Otherwise the story is over before anybody can interrupt it."""
    for text in STORIES.values():
        assert len(text.split()) > WORDS_PER_MINUTE_MAX
    assert answer("Tell me a long story, please.") == STORY
    assert answer("tell me along storey please") == STORY


def test_what_is_spoken_can_be_spoken() -> None:
    """Otherwise the voice reads figures and marks aloud."""
    for text in [*STORIES.values(), *EXPLANATIONS.values(), *JOKES]:
        assert not set(text) & set('0123456789*#_`()[]{}<>"\n')


def test_last_thing_is_what_was_heard_and_no_more() -> None:
    """Otherwise the assistant claims to have said what the user cut off."""
    heard = until(STORY, "wound the heavy")
    said = answer("tell me a story", heard, "Stop. What was the last thing you told me?")
    tail = "evening she climbed two hundred and twelve steps, lit the lamp, and wound the heavy"
    assert said.startswith("The last thing you heard from me was:")
    assert f"{tail}." in said
    assert answer("tell me a story", heard, "what was the last thank you told me") == said
    assert "not told you anything" in answer("what was the last thing you told me")


def test_last_thing_asked_twice_is_no_quote_of_a_quote() -> None:
    """Otherwise quotation marks pile up."""
    question = "what was the last thing you told me"
    first = answer("count to seven", "One, two, three, four, five. Six, seven.", question)
    assert first == "The last thing you heard from me was: One, two, three, four, five. Six, seven."
    assert answer("count to seven", "One, two, three, four, five. Six, seven.", question, first, question) == first


def test_story_goes_on_with_the_sentence_that_was_cut() -> None:
    """Otherwise an interrupted story is lost, or begins again."""
    heard = until(STORY, "wrote one line")
    told = answer("tell me a story", heard, "wait", "All right, I have stopped.", "please go on")
    assert "Every morning she climbed down again" in told
    assert "Every evening" not in told
    assert told.endswith("That is the end of the story.")
    twice = answer("tell me a story", heard, "go on", until(told, "a ship was sounding"), "continue")
    assert "Out on the water a fog was rising" in twice
    assert "One autumn night" not in twice
    assert "That was all" in answer("tell me a story", STORY, "go on")
    assert answer("tell me a story", heard, "start over") == STORY


def test_count_goes_on_with_the_next_number() -> None:
    """Otherwise "keep counting" counts the same numbers again."""
    assert answer("count to twenty", "One, two, three, four, five. Six, seven,", "keep counting").endswith(
        "Eight, nine, ten. Eleven, twelve, thirteen, fourteen, fifteen. Sixteen, seventeen, eighteen, nineteen, twenty."
    )


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ("Count to three.", "One, two, three."),
        ("stop count to six", "One, two, three, four, five. Six."),
        ("count from five to eight", "Five, six, seven, eight."),
        ("count backwards from three", "Three, two, one, zero."),
        ("count to 4", "One, two, three, four."),
    ],
)
def test_counting(said: str, counted: str) -> None:
    """Otherwise the numbers are wrong."""
    assert answer(said) == counted


def test_counting_has_an_end() -> None:
    """Otherwise "count to a million" occupies the line for days."""
    assert find_numbers(answer("count to fifty").lower().replace("-", " ")) == list(range(1, 51))
    assert len(find_numbers(answer("count to nine hundred thousand").lower().replace("-", " "))) == COUNT_MAX + 1  # "one breath"


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ("what is seven times eight", "fifty-six"),
        ("What's 3 + 4?", "seven"),
        ("twenty one minus thirty", "minus nine"),
        ("subtract three from ten", "seven"),
        ("add five and six", "eleven"),
        ("how much is ten divided by four", "two point five"),
        ("ten divided by three", "about three point three three three"),
        ("two hundred and five plus a thousand", "one thousand two hundred five"),
    ],
)
def test_sums(said: str, result: str) -> None:
    """Otherwise the assistant cannot add."""
    assert answer(said) == f"That is {result}."


def test_impossible_sums_are_refused() -> None:
    """Otherwise they break the server."""
    assert "divided by zero" in answer("five divided by zero")
    assert "more than I can count" in answer("999999999 times 999999999")


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ("Stop, what time is it?", "It is four oh five in the afternoon."),
        ("tell me the date", "Today is Monday, the twenty-third of November, twenty twenty-six."),
        ("Explain how a rainbow works.", "sunlight"),
        ("what is echo cancellation", "microphone"),
        ("tell me a story about a dragon", "princess"),
        ("tell me more about the tides", "moon pulls"),
        ("what is the capital of france", "Paris"),
        ("HELLO, CAN YOU HEAR ME", "I can hear you"),
        ("thank you and goodbye", "Goodbye"),
        ("are you a real person", "set of rules"),
        ("explain quantum mechanics", "only a set of rules"),
        ("florble", "only a set of rules"),
        ("", "did not hear anything"),
        ("tell me a story\nstop\nwhat time is it", "It is four oh five"),
    ],
)
def test_answers(said: str, part: str) -> None:
    """Otherwise a rule above took the sentence, or the last of several turns was not the one answered."""
    assert part in answer(said)


def test_names_are_remembered() -> None:
    """Otherwise the conversation has no memory."""
    assert "Tom" in answer("Hello, my name is Tom.")
    assert "Tom" in answer("i am tom", "Nice to meet you.", "what is my name")
    assert answer("hello").startswith("Hello. ")
    assert answer("my name is tom", "Nice to meet you.", "hello").startswith("Hello Tom")
    assert "not told me your name" in answer("i am tired", "Oh.", "who am i")


def test_same_question_gets_another_answer() -> None:
    """Otherwise the second joke is the first one."""
    said = ["tell me a joke"]
    for joke in JOKES:
        assert answer(*said) == joke
        said += [joke, "another joke please"]
    assert answer(*said) == JOKES[0]
    assert answer("tell me a story", until(STORY, "called Marta"), "tell me another story") not in {STORY, ""}


def test_words_are_said_again() -> None:
    """Otherwise "pardon?" is answered with a story."""
    assert answer("hello", "Hello there.", "say that again please") == "I said: Hello there."
    assert answer("hello", "Hello there.", "what did i say") == "You said: hello."
    assert len(answer("tell me a story", STORY, "repeat that")) < REPEATED_CHARS_MAX


@given(st.integers(0, 999_999))
def test_words_for_numbers_are_read_back(value: int) -> None:
    """Otherwise counts and sums say other numbers than they mean."""
    assert find_numbers(in_words(value).replace("-", " ")) == [value]


def test_ordinals_and_years() -> None:
    """Otherwise dates sound wrong."""
    assert [ordinal(day) for day in (1, 12, 20, 23, 31)] == ["first", "twelfth", "twentieth", "twenty-third", "thirty-first"]
    assert [year(value) for value in (1999, 2000, 2006, 2026, 1905)] == [
        "nineteen ninety-nine", "two thousand", "two thousand six", "twenty twenty-six", "nineteen oh five",
    ]  # fmt: skip
