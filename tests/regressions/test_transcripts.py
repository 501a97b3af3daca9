"""Complaints about other voice engines, as scenarios of ours. Their names say where they come from.

Each transcript is run and compared byte for byte, and the symptom of its complaint is asserted besides: `pytest tests/regressions
--rewrite` writes down whatever happens, but cannot make a symptom pass. What needs audio, a client or hours is in test_sessions.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from voicefsm import effects as fx
from voicefsm.context import Context, State
from voicefsm.simulation import scenario

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.txt"))
HEAD = re.compile(r"# .+ #\d+, invariants? \d+")
AFTERMATH = (fx.CancelGeneration, fx.CompleteTurn, fx.RetractUserTurn)
"""All that may be said of a reply after its CancelTts."""

E = TypeVar("E", bound=fx.Effect)


class Lived:
    """One scenario, lived through."""

    def __init__(self, text: str) -> None:
        given = scenario.read(text)
        self.context = Context(settings=given.settings, language_code=given.language_code)
        self.states: list[State] = []
        self.idle_ms: list[int] = []
        """When nobody had the floor after a fact."""
        self.orders: list[fx.Effect] = []
        self.at_ms: dict[int, int] = {}
        """When each order was given, by its place."""
        for fact in given.facts:
            taken = scenario.take(self.context, fact)
            assert not taken.verdict.startswith("refused"), taken
            self.at_ms |= dict.fromkeys(range(len(self.orders), len(self.orders) + len(taken.effects)), fact.at_ms)
            self.orders += taken.effects
            self.states.append(self.context.state)
            self.idle_ms += [fact.at_ms] if self.context.state is State.IDLE else []

    def all(self, kind: type[E]) -> list[E]:
        return [order for order in self.orders if isinstance(order, kind)]

    def when(self, kind: type[fx.Effect]) -> list[int]:
        return [self.at_ms[place] for place, order in enumerate(self.orders) if isinstance(order, kind)]

    def spoken(self, epoch: int) -> list[str]:
        return [order.text for order in self.all(fx.SpeakText) if order.epoch == epoch]

    def asked(self) -> list[str]:
        return [order.user_text for order in self.all(fx.StartGeneration)]

    def outcomes(self) -> list[tuple[int, fx.Outcome]]:
        return [(order.epoch, order.outcome) for order in self.all(fx.CompleteTurn)]

    def assert_cut(self, epoch: int) -> None:
        """Cancelled, and silent from then on."""
        places = [place for place, order in enumerate(self.orders) if order == _cancel(self.orders, epoch)]
        assert len(places) == 1
        late = [order for order in self.orders[places[0] + 1 :] if getattr(order, "epoch", 0) == epoch]
        assert all(isinstance(order, AFTERMATH) for order in late), late

    def assert_heard_to_its_end(self, epoch: int) -> None:
        """Every pause was followed by a resume, nothing was cut, and the exchange is complete."""
        moves = [type(order) for order in self.orders if isinstance(order, fx.PausePlayout | fx.ResumePlayout)]
        assert moves == [fx.PausePlayout, fx.ResumePlayout] * (len(moves) // 2)
        assert epoch not in [order.epoch for order in self.all(fx.CancelTts)]
        assert (epoch, fx.Outcome.COMPLETED) in self.outcomes()


def _cancel(orders: list[fx.Effect], epoch: int) -> fx.CancelTts | None:
    return next((order for order in orders if isinstance(order, fx.CancelTts) and order.epoch == epoch), None)


# --- the symptoms ------------------------------------------------------------------------------------------------------------


def cut_and_silent(lived: Lived) -> None:
    lived.assert_cut(1)
    assert lived.outcomes() == [(1, fx.Outcome.INTERRUPTED)]
    assert lived.context.state is State.LISTENING


def answer_goes_on(lived: Lived) -> None:
    lived.assert_heard_to_its_end(1)
    assert lived.asked() == ["What is the weather?"]


def sentence_of_the_last_turn(lived: Lived) -> None:
    lived.assert_cut(1)
    assert "And next week too." not in lived.spoken(1) + lived.spoken(2)
    assert lived.spoken(2) == ["It is noon.", "Lunch is ready."]
    lived_through = [order for order in lived.orders if getattr(order, "epoch", 0) == 2]
    assert lived_through[-1] == fx.CompleteTurn(lived_through[0].epoch, fx.Outcome.COMPLETED)  # type: ignore[attr-defined]


def yes_is_answered(lived: Lived) -> None:
    assert lived.asked() == ["Yes."]
    assert lived.when(fx.StartGeneration) == [2000]


def no_words_no_hole(lived: Lived) -> None:
    last_voiced_ms, settings = 1700, lived.context.settings
    free_ms = next(at_ms for at_ms in lived.idle_ms if at_ms > last_voiced_ms)
    assert free_ms - last_voiced_ms <= settings.silence_ms + settings.final_ms_max
    assert lived.asked() == ["Hello."]


def decided_in_time(lived: Lived) -> None:
    answer_goes_on(lived)
    (paused,), (resumed,) = lived.when(fx.PausePlayout), lived.when(fx.ResumePlayout)
    assert resumed - paused <= lived.context.settings.decision_ms_max


def resumed_soon(lived: Lived) -> None:
    answer_goes_on(lived)
    (paused,), (resumed,) = lived.when(fx.PausePlayout), lived.when(fx.ResumePlayout)
    settings = lived.context.settings
    assert resumed - paused <= settings.verdict_ms_max + settings.barge_in_quiet_ms


def both_sentences(lived: Lived) -> None:
    answer_goes_on(lived)
    assert lived.spoken(1) == ["It is sunny.", "It stays sunny all week."]
    assert not lived.all(fx.PausePlayout)
    assert not lived.all(fx.HoldPlayout)


def silence_is_not_speaking(lived: Lived) -> None:
    assert lived.asked() == ["What is the weather?", "What is the weather? In Paris."]
    assert State.SPEAKING not in lived.states
    assert [failure.epoch for failure in lived.all(fx.ReportFailure)] == [2, 2], "of the voice, and of the tone that nobody heard"
    assert lived.context.state is State.IDLE


def bounded_by_the_last_words(lived: Lived) -> None:
    assert lived.asked() == ["What is the weather?"]
    assert lived.when(fx.StartGeneration)[0] - 2300 == lived.context.settings.wordless_ms_max


def responding_ends(lived: Lived) -> None:
    assert (1, fx.Outcome.FAILED) in lived.outcomes()
    assert lived.states[-3] is State.IDLE
    assert lived.context.state is State.LISTENING


def held_while_the_user_speaks(lived: Lived) -> None:
    assert lived.when(fx.HoldPlayout) == [2800]
    assert not lived.all(fx.ReleasePlayout)
    assert lived.all(fx.RetractUserTurn)
    assert State.SPEAKING not in lived.states


def silent_in_the_same_step(lived: Lived) -> None:
    assert lived.when(fx.PausePlayout) == [3150], "when the ear reports its first sample"
    assert State.SPEAKING not in lived.states
    lived.assert_cut(1)


def only_the_new_reply(lived: Lived) -> None:
    assert not lived.spoken(1)
    assert lived.asked()[-1] == "What is the weather? in Paris"
    assert lived.outcomes() == [(2, fx.Outcome.COMPLETED)]
    lived.assert_cut(1)


def one_generation_at_a_time(lived: Lived) -> None:
    live = 0
    for order in lived.orders:
        live += isinstance(order, fx.StartGeneration) - isinstance(order, fx.CancelGeneration)
        assert live <= 1
    assert lived.asked()[1:] == ["what time is it", "what time is it in Tokyo"]
    assert lived.spoken(3) == ["It is noon."]


def next_turn_is_answered(lived: Lived) -> None:
    assert lived.outcomes()[0] == (1, fx.Outcome.COMPLETED)
    assert lived.asked()[-1] == "No, wait, what time is it?"


def next_reply_is_unharmed(lived: Lived) -> None:
    lived.assert_cut(1)
    assert not lived.all(fx.ReportFailure)
    assert lived.outcomes()[-1] == (2, fx.Outcome.COMPLETED)


def held_and_completed(lived: Lived) -> None:
    answer_goes_on(lived)
    assert lived.when(fx.HoldPlayout) < lived.when(fx.ReleasePlayout)
    assert not lived.all(fx.RetractUserTurn)


def nothing_is_cut_after_the_end(lived: Lived) -> None:
    assert not lived.all(fx.CancelTts)
    assert lived.outcomes() == [(1, fx.Outcome.COMPLETED)]
    assert lived.asked()[-1] == "Thanks, and tomorrow?"


def patience_differs(lived: Lived) -> None:
    assert not lived.all(fx.RetractUserTurn), "a second of speech takes nothing back"
    (resume,), (cancel,) = lived.all(fx.ResumePlayout), lived.all(fx.CancelTts)
    assert resume.why.startswith("backchannel"), "a second of speech cut nothing before it turned out to be one"
    assert cancel.why == "600 ms of speech"


def not_before_the_minimum(lived: Lived) -> None:
    assert lived.when(fx.CancelTts) == [5000]


def words_of_both_streams(lived: Lived) -> None:
    assert len(lived.all(fx.OpenRecognition)) == 2
    assert lived.asked() == ["What is the weather in Paris?"]


def partial_is_answered(lived: Lived) -> None:
    assert lived.asked() == ["what is the weather"]
    asked, answered = lived.when(fx.FinalizeUtterance)[0], lived.when(fx.StartGeneration)[0]
    assert answered - asked <= lived.context.settings.final_ms_max


SYMPTOMS: dict[str, Callable[[Lived], None]] = {
    "agents_js_1430_the_next_turn_is_swallowed": next_turn_is_answered,
    "agents_js_1791_a_late_reply_of_an_old_turn": only_the_new_reply,
    "flowcat_28_a_final_that_never_comes": partial_is_answered,
    "home_assistant_142363_stuck_in_responding": responding_ends,
    "livekit_1229_a_cough_before_the_reply": held_and_completed,
    "livekit_2197_words_go_around_the_minimum": not_before_the_minimum,
    "livekit_2368_speech_that_never_ends": bounded_by_the_last_words,
    "livekit_315_the_end_of_our_own_sentence": answer_goes_on,
    "livekit_3418_speaking_without_a_sound": silence_is_not_speaking,
    "livekit_3427_one_rule_for_thinking_and_speaking": patience_differs,
    "livekit_3515_words_override_the_duration": answer_goes_on,
    "livekit_3903_a_noise_as_long_as_a_word": resumed_soon,
    "livekit_4039_mhm_does_not_resume": answer_goes_on,
    "livekit_4047_a_blip_of_the_reply": silent_in_the_same_step,
    "livekit_5038_paused_before_the_first_sample": held_and_completed,
    "livekit_5100_two_generations_at_once": one_generation_at_a_time,
    "livekit_5509_a_reply_begins_into_the_users_words": held_while_the_user_speaks,
    "openai_agents_js_523_speech_after_the_reply_cuts_history": nothing_is_cut_after_the_end,
    "pipecat_1391_noise_costs_the_answer": answer_goes_on,
    "pipecat_1626_it_interrupts_itself_every_two_seconds": answer_goes_on,
    "pipecat_1771_a_click_of_echo_with_our_own_words": answer_goes_on,
    "pipecat_1919_a_failed_cancel": next_reply_is_unharmed,
    "pipecat_2941_silent_after_the_first_sentence": both_sentences,
    "pipecat_3077_half_a_syllable_after_the_cut": cut_and_silent,
    "pipecat_3643_a_yes_that_only_the_recogniser_hears": yes_is_answered,
    "pipecat_3986_the_cut_reply_reports_on": cut_and_silent,
    "pipecat_4308_a_detector_that_never_lets_go": decided_in_time,
    "pipecat_4512_the_stream_drops_in_mid_word": words_of_both_streams,
    "pipecat_5240_speech_that_is_never_transcribed": no_words_no_hole,
    "pipecat_754_a_sentence_of_the_last_turn": sentence_of_the_last_turn,
    "vellum_37061_everything_was_sent_already": cut_and_silent,
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_symptom_is_not_ours(path):
    """Otherwise our users would complain of the same."""
    SYMPTOMS[path.stem](Lived(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_transcript(path, pytestconfig):
    """Otherwise a user would live through something else than the transcript tells."""
    text = path.read_text(encoding="utf-8")
    made = scenario.write(scenario.read(text))
    if pytestconfig.getoption("rewrite", default=False):
        path.write_text(made, encoding="utf-8")
        text = made
    assert made == text


def test_every_transcript_names_its_source_and_its_invariant():
    """Otherwise nobody could look up what a regression is about."""
    for path in FILES:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert HEAD.match(first), path
        number = re.search(r"#(\d+)", first)
        assert number is not None
        assert f"_{number[1]}_" in path.name
    assert {path.stem for path in FILES} == SYMPTOMS.keys()
    assert len(FILES) >= 30
