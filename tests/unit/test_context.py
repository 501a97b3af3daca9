"""The model of one session."""

from __future__ import annotations

import dataclasses

import pytest

from voicefsm.context import NEVER, Context, TurnSettings
from voicefsm.events import Timer
from voicefsm.values import bounds_of, refusal


def test_two_sessions_are_never_the_same():
    """Otherwise two callers in equal states would be one model to a library that compares models."""
    assert Context() != Context()
    assert len({Context(), Context()}) == 2


def test_two_sessions_share_nothing():
    """Otherwise one caller's deadline would fire in another's call."""
    one, other = Context(), Context()
    one.arm(Timer.IDLE, 5)
    one.effects.append(object())  # type: ignore[arg-type]
    assert other.deadlines == [NEVER] * len(Timer)
    assert not other.effects


def test_a_context_has_no_room_for_surprises():
    """Otherwise a mistyped name in an action would silently make a new field."""
    assert not hasattr(Context(), "__dict__")


def test_deadlines():
    """Otherwise timers would be armed that nobody set."""
    context = Context()
    context.arm(Timer.IDLE, 5)
    context.arm(Timer.AGE, 0)
    assert (context.is_armed(Timer.IDLE), context.is_armed(Timer.AGE), context.is_armed(Timer.FINAL)) == (True, True, False)
    context.disarm(Timer.IDLE, Timer.AGE)
    assert context.deadlines == [NEVER] * len(Timer)


def test_heard_so_far():
    """Otherwise words would be lost or glued together where final meets partial."""
    assert Context().heard_so_far() == ""
    assert Context(user_text="a").heard_so_far() == "a"
    assert Context(partial="b").heard_so_far() == "b"
    assert Context(user_text="a", partial="b").heard_so_far() == "a b"


def test_default_settings_are_inside_their_bounds():
    """Otherwise a server without any configuration would refuse its own."""
    for name, bounds in bounds_of(TurnSettings).items():
        assert not refusal(getattr(TurnSettings(), name), bounds), name
    assert len(bounds_of(TurnSettings)) == len(dataclasses.fields(TurnSettings))


@pytest.mark.parametrize(
    ("language_code", "apology"),
    [("en-US", "Sorry."), ("EN", "Sorry."), ("hi-IN", "माफ़ कीजिए।"), ("de-DE", ""), ("end", ""), ("", "")],
)
def test_an_apology_is_in_the_language_of_the_session(language_code, apology):
    """Otherwise a voice reads words of a language that it does not speak."""
    settings = TurnSettings(apology_en=" Sorry. ", apology_hi="माफ़ कीजिए।")
    assert Context(settings, language_code).apology() == apology
