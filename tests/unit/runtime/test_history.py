"""What the model is told of the conversation."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from voicefsm.ports import Message
from voicefsm.runtime.history import History


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


OUTCOMES = st.sampled_from(["heard", "cut", "unheard", "retracted"])
TURNS = st.lists(st.tuples(st.text(min_size=1, max_size=20), OUTCOMES), max_size=30)


@given(TURNS)
def test_each_prompt_extends_the_one_before(turns: list[tuple[str, str]]) -> None:
    """Otherwise the model's prefix cache is cold, and every turn waits for the whole conversation to be read again."""
    history, prompts, before = History("S", 1000, 100_000), list[tuple[Message, ...]](), ""
    for text, outcome in turns:
        history.add_user(text)
        prompts.append(history.messages())
        if outcome == "retracted":
            history.retract_user()
        else:
            history.add_heard({"heard": "One two three.", "cut": "One two", "unheard": ""}[outcome])
        if len(prompts) > 1:
            last, this = prompts[-2:]
            whole = len(last) if before in ("heard", "cut") else len(last) - 1  # the last: a turn that was not over
            assert this[:whole] == last[:whole]
            assert this[whole].role == ("assistant" if before in ("heard", "cut") else "user")
        before = outcome
