"""What the model is told of the conversation."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicefsm.events import ToolCall
from voicefsm.ports import Message
from voicefsm.runtime.history import UNANSWERED, History


def said(history: History) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in history.messages()]


def test_a_conversation() -> None:
    """Otherwise the model answers without knowing who said what."""
    history = History("Be brief.", 10, 10_000)
    history.add_user("one")
    history.add_heard("two")
    history.add_user("three")
    assert said(history) == [("system", "Be brief."), ("user", "one"), ("assistant", "two"), ("user", "three")]


def test_an_answer_that_nobody_heard_leaves_no_trace_and_its_question_stays() -> None:
    """Otherwise chat templates that insist on alternation refuse the request, or the model believes it was heard."""
    history = History("", 10, 10_000)
    history.add_user("one")
    history.add_heard("")
    history.add_user("two")
    assert said(history)[1:] == [("user", "one\ntwo")]


def test_a_turn_taken_back_is_gone_before_its_longer_self_comes() -> None:
    """Otherwise the model reads the first half of the question twice."""
    history = History("", 10, 10_000)
    history.add_user("hello")
    history.add_heard("hi")
    history.add_user("book a")
    history.retract_user()
    history.add_user("book a table")
    assert said(history)[1:] == [("user", "hello"), ("assistant", "hi"), ("user", "book a table")]


def test_only_the_users_words_are_taken_back() -> None:
    """Otherwise a late retraction erases what the assistant was heard to say."""
    history = History("", 10, 10_000)
    history.retract_user()
    history.add_user("hello")
    history.add_heard("hi")
    history.retract_user()
    assert said(history)[1:] == [("user", "hello"), ("assistant", "hi")]


def test_the_oldest_are_dropped_in_blocks_and_the_rest_begins_with_the_user() -> None:
    """Otherwise memory grows for ever; or the prefix cache is cold at every turn; or strict templates refuse what is left."""
    history = History("S", 40, 10_000)
    prompts = []
    for k in range(200):
        history.add_user(f"q{k}")
        prompts.append(history.messages())
        history.add_heard(f"a{k}")
    assert all(len(prompt) <= 41 for prompt in prompts)
    assert all(prompt[1].role == "user" and prompt[-1].content == f"q{k}" for k, prompt in enumerate(prompts))
    kept = sum(later[: len(earlier)] == earlier for earlier, later in itertools.pairwise(prompts))
    assert kept > len(prompts) * 3 // 4, "most prompts extend the one before"
    assert prompts[0][0] == Message("system", "S")


def test_an_odd_number_dropped_does_not_leave_an_answer_without_its_question() -> None:
    """Otherwise strict chat templates refuse every prompt from the day the history is full."""
    history = History("S", 6, 10_000)
    for k in range(20):
        history.add_user(f"q{k}")
        assert said(history)[1][0] == "user"
        history.add_heard(f"a{k}")


def test_characters_have_a_limit_of_their_own() -> None:
    """Otherwise a few long turns go beyond the model's context, and every turn after them is refused."""
    history = History("S" * 500, 100, 1000)
    prompts = []
    for k in range(50):
        history.add_user(f"{k} " + "q" * 98)
        prompts.append(history.messages())
        history.add_heard("a" * 50)
    assert all(sum(len(message.content) for message in prompt[1:]) <= 1000 for prompt in prompts)
    assert all(prompt[1].role == "user" and prompt[-1].content.startswith(f"{k} ") for k, prompt in enumerate(prompts))
    kept = sum(later[: len(earlier)] == earlier for earlier, later in itertools.pairwise(prompts))
    assert kept >= len(prompts) // 2, "a quarter goes at a time"
    assert len(prompts[-1]) > 6


def test_a_turn_beyond_the_limit_is_asked_alone() -> None:
    """Otherwise the prompt ends without the question."""
    history = History("", 10, 1000)
    history.add_user("one")
    history.add_heard("two")
    history.add_user("x" * 2000)
    assert said(history)[1:] == [("user", "x" * 2000)]


def test_half_is_dropped_when_the_model_takes_no_more() -> None:
    """Otherwise the session is over, and nobody says so: each later prompt is longer than the one that was refused."""
    history = History("S", 10, 1000)
    for k in range(4):
        history.add_user(f"q{k}")
        history.add_heard(f"a{k}")
    history.add_user("q4")
    assert history.halve()
    assert said(history) == [("system", "S"), ("user", "q3"), ("assistant", "a3"), ("user", "q4")]
    assert history.halve()
    assert said(history)[1:] == [("user", "q4")], "what is being answered stays"
    assert not history.halve()
    history.add_heard("a4")
    history.add_user("q5")
    assert said(history)[1:] == [("user", "q5")], "what alone was too long, its answer, and nothing of the next turn"


def call(number: int) -> ToolCall:
    return ToolCall(f"{number:09}", "weather", "{}")


def test_calls_and_their_results_stand_between_question_and_answer() -> None:
    """Otherwise the model does not know that it has asked, or asks again at the next turn."""
    history = History("S", 100, 10_000)
    history.add_user("weather?")
    history.add_calls("Let me see.", (call(1), call(2)))
    history.add_result(call(2).id, "rain")
    history.add_result(call(1).id, "sun")
    history.add_result(call(1).id, "again")
    history.add_result("unknown", "what?")
    asked = history.messages()
    assert asked[2:] == (
        Message("assistant", "Let me see.", (call(1), call(2))),
        Message("tool", "rain", call_id=call(2).id),
        Message("tool", "sun", call_id=call(1).id),
    )
    history.add_heard("Let me see. Sunny and rainy.")
    history.add_user("thanks")
    assert history.messages() == (*asked, Message("assistant", "Sunny and rainy."), Message("user", "thanks"))


@pytest.mark.parametrize(
    ("heard", "contents"),
    [
        ("One two. Three four. Five six.", ["One two.", "Three four.", "Five six."]),
        ("One two. Three four. Five", ["One two.", "Three four.", "Five"]),
        ("One two. Three four.", ["One two.", "Three four.", ""]),
        ("One two. Three", ["One two.", "Three", ""]),
        ("One", ["One", "", ""]),
        ("", ["", "", ""]),
    ],
)
def test_of_the_words_around_calls_the_history_keeps_what_was_heard(heard: str, contents: list[str]) -> None:
    """Otherwise the model believes it has said what nobody heard, or forgets what was heard."""
    history = History("S", 100, 10_000)
    history.add_user("weather?")
    for k, written in enumerate(["One two.", "Three four."]):
        history.add_calls(written, (call(k),))
        history.add_result(call(k).id, "sun")
    history.add_heard(heard)
    assert [message.content for message in history.messages() if message.role == "assistant"] == contents


def test_what_was_called_for_stays_when_the_turn_goes_on() -> None:
    """Otherwise the table is booked twice: once before the user said for how many, once after."""
    history = History("S", 100, 10_000)
    history.add_user("hello")
    history.add_heard("hi")
    history.add_user("book a table")
    history.add_calls("", (call(1),))
    history.retract_user()
    history.add_user("book a table for four")
    assert [(message.role, message.content) for message in history.messages()[3:]] == [
        ("user", "book a table"),
        ("assistant", ""),
        ("tool", UNANSWERED),
        ("assistant", ""),
        ("user", "book a table for four"),
    ]


def test_a_long_history_drops_calls_with_their_results() -> None:
    """Otherwise the model's server refuses a result without its call, at every turn."""
    history = History("S", 12, 10_000)
    for k in range(40):
        history.add_user(f"q{k}")
        history.add_calls("", (call(k),))
        history.add_result(call(k).id, "sun")
        history.add_heard("a")
        prompt = history.messages()
        assert prompt[1].role == "user"
        assert [m.call_id for m in prompt if m.call_id] == [call.id for m in prompt for call in m.calls]
        assert len(prompt) < 20


def test_arguments_count_as_characters() -> None:
    """Otherwise a few long calls go beyond the model's context."""
    history = History("S", 100, 1000)
    for k in range(10):
        history.add_user(f"q{k}")
        history.add_calls("", (ToolCall(str(k), "weather", "x" * 400),))
        history.add_heard("a")
    assert sum(len(message.calls) for message in history.messages()) <= 2


def test_nothing_is_added_to_a_history_that_was_too_long_alone() -> None:
    """Otherwise an answer without its question stands at the beginning, and strict templates refuse every prompt."""
    history = History("S", 100, 1000)
    history.add_user("q")
    assert not history.halve()
    history.add_calls("", (call(1),))
    history.add_result(call(1).id, "sun")
    history.add_heard("a")
    assert history.messages() == (Message("system", "S"),)


def test_halving_keeps_the_call_that_is_being_answered() -> None:
    """Otherwise the model gets a result without its call."""
    history = History("S", 100, 10_000)
    for k in range(3):
        history.add_user(f"q{k}")
        history.add_heard("a" * 50)
    history.add_user("q")
    history.add_calls("", (call(1),))
    history.add_result(call(1).id, "sun" * 100)
    assert history.halve()
    assert [message.role for message in history.messages()] == ["system", "user", "assistant", "tool"]


OUTCOMES = st.sampled_from(["heard", "cut", "unheard", "retracted"])
TURNS = st.lists(st.tuples(st.text(min_size=1, max_size=20), OUTCOMES, st.integers(0, 2)), max_size=30)


@given(TURNS)
def test_each_prompt_extends_the_one_before(turns: list[tuple[str, str, int]]) -> None:
    """Otherwise the model's prefix cache is cold, and every turn waits for the whole conversation to be read again."""
    history, stays = History("S", 1000, 100_000), 1
    last: tuple[Message, ...] = (Message("system", "S"),)
    for number, (text, outcome, rounds) in enumerate(turns):
        history.add_user(text)
        last, stays = extended(last, stays, history)
        for k in range(rounds):
            history.add_calls("One.", (call(2 * number + k),))
            history.add_result(call(2 * number + k).id, "sun")
            last, stays = extended(last, stays, history)
        if outcome == "retracted":
            history.retract_user()
        else:
            history.add_heard({"heard": "One. " * rounds + "Two three.", "cut": "On", "unheard": ""}[outcome])
        is_whole = outcome == "heard" or (outcome == "cut" and not rounds)
        # What was not heard is cut from the first call on; a turn that was not over, and called nothing, goes on or is taken back.
        first_call = next((k for k, m in enumerate(last) if m.call_id == call(2 * number).id), len(last)) - 1
        stays = len(last) if is_whole else first_call


def extended(last: tuple[Message, ...], stays: int, history: History) -> tuple[tuple[Message, ...], int]:
    """The next prompt, whose first messages are those of the last one."""
    this = history.messages()
    assert this[:stays] == last[:stays]
    assert len(this) >= stays
    return this, len(this)
