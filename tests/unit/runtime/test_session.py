"""Whole conversations with one session, in virtual time, everything but the wire and the backends being real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from voicefsm.audio.samples import FRAME_SAMPLES
from voicefsm.context import State, TurnSettings
from voicefsm.effects import Outcome
from voicefsm.errors import BackendError, InvalidMessage, LocalProtocolError, TooMuch
from voicefsm.events import PlayoutAdvanced, PlayoutStarted
from voicefsm.ports import Hypothesis, Message, Tool, WantedCall
from voicefsm.runtime import messages
from voicefsm.runtime.earcon import earcon
from voicefsm.runtime.session import Session
from voicefsm.simulation.client import Habits, Line
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer, FakeSynthesizer, FakeVoice, Reply, ramp
from voicefsm.simulation.stage import Stage, plan_with, saying
from voicefsm.values import Backend, CancelReason, EndReason, Epoch

pytestmark = pytest.mark.looptime

STORY = "Once upon a time there was a king. He had a very long story to tell. It went on and on."
"""5.22 s of the fake voice."""


def hang_up_at(ms: int) -> list[Line]:
    return [(ms, Session.hang_up)]


def assert_is_ramp(heard: np.ndarray, *, pauses: int) -> None:
    """The fake voice from its beginning, nothing lost, repeated or reordered; the fade of a pause takes one sample's sound."""
    sounding = heard != 0
    assert np.array_equal(heard[sounding], ramp(0, len(heard))[sounding])
    assert len(heard) - sounding.sum() == pauses


def roles_of(stage: Stage, nth: int = -1) -> list[Message]:
    """What the model was asked, without the system prompt."""
    return list(stage.model.requests[nth].messages[1:])


def moves_of(stage: Stage) -> list[State]:
    return [change.after for change in stage.client.all(messages.StateChanged)]


def kinds_of(stage: Stage) -> list[type[messages.Outbound]]:
    return [type(received.message) for received in stage.client.received]


def story_stage(*more: tuple[int, Hypothesis], replies: Sequence[Reply] = (STORY, "It is noon."), **fields: Any) -> Stage:
    """The user asks for a story in the second second."""
    script = [*saying((2000, "tell me a story")), *more]
    return Stage(recognizer=FakeRecognizer(script), model=FakeLanguageModel(replies), **fields)


ASKS = (1000, 2000)
"""When the user of `story_stage` asks; the reply is heard from about 2.7 s on."""


# --- turns ---


async def test_a_turn() -> None:
    """Otherwise nothing works at all: a question is not heard, not answered, or its answer not played to the last sample."""
    stage = story_stage()
    ended = await stage.play(speech=[ASKS], script=hang_up_at(10_000))
    assert ended.reason is EndReason.CLIENT
    assert moves_of(stage) == [State.LISTENING, State.PROCESSING, State.SPEAKING, State.IDLE, State.CLOSED]
    assert kinds_of(stage)[0] is messages.SessionReady
    (turn,) = stage.client.all(messages.TurnCompleted)
    assert (turn.user_text, turn.assistant_text, turn.heard_text, turn.heard_source) == ("tell me a story", STORY, STORY, "all")
    assert turn.outcome is Outcome.COMPLETED
    heard = stage.client.heard(1)
    assert np.array_equal(heard, ramp(0, stage.synthesizer.stream.delivered_samples))
    assert roles_of(stage) == [Message("user", "tell me a story")]
    assert not stage.remains()


async def test_latencies_of_a_turn_add_up() -> None:
    """Otherwise an operator tunes by numbers that mean something else."""
    stage = story_stage()
    await stage.play(speech=[ASKS], script=hang_up_at(10_000))
    latencies = stage.client.all(messages.TurnCompleted)[0].latencies
    assert latencies.endpointing_ms is not None
    assert stage.plan.turns.silence_ms <= latencies.endpointing_ms < 2 * stage.plan.turns.silence_ms
    assert latencies.first_token_ms == 50
    assert latencies.first_audio_ms is not None
    assert latencies.first_heard_ms is not None
    assert latencies.first_token_ms < latencies.first_audio_ms < latencies.first_heard_ms
    assert (latencies.onset_to_pause_ms, latencies.onset_to_cancel_ms) == (None, None)


async def test_confirmed_barge_in_cuts_the_reply_to_what_was_heard() -> None:
    """Otherwise the assistant talks on over the user, or later refers to things it never got to say."""
    stage = story_stage(
        (6500, Hypothesis("wait what time is it", is_final=False)), (7800, Hypothesis("wait what time is it", is_final=True))
    )
    await stage.play(speech=[ASKS, (6000, 7500)], script=hang_up_at(14_000))
    first, second = stage.client.all(messages.TurnCompleted)
    (cancel,) = stage.client.all(messages.CancelTts)
    assert cancel.reason is CancelReason.BARGE_IN
    assert first.outcome is Outcome.INTERRUPTED
    assert STORY.startswith(first.heard_text)
    assert 0 < len(first.heard_text) < len(STORY)
    assert roles_of(stage) == [
        Message("user", "tell me a story"),
        Message("assistant", first.heard_text),
        Message("user", "wait what time is it"),
    ]
    assert (second.heard_text, second.outcome) == ("It is noon.", Outcome.COMPLETED)
    assert (stage.model.completed, stage.synthesizer.aborted) == (2, 0), "the whole story was made before the user spoke"
    assert not stage.remains()


async def test_the_client_renders_nothing_after_the_pause_and_nothing_twice() -> None:
    """Otherwise a barge-in is answered by more talk; or the far end's numbers lie, and with them the echo canceller's reference."""
    stage = story_stage((6500, Hypothesis("wait what time is it", is_final=False)))
    await stage.play(speech=[ASKS, (6000, 7500)], script=hang_up_at(9000))
    pause = next(r for r in stage.client.received if isinstance(r.message, messages.PausePlayout))
    (cancel,) = stage.client.all(messages.CancelTts)
    assert_is_ramp(stage.client.heard(1), pauses=1)
    fade_samples = 1
    assert stage.client.positions(1)[-1] == pause.position - 1 + fade_samples == cancel.last_valid_sample
    assert max(block.at_ms for block in stage.client.rendered for span in block.spans if span.epoch == 1) <= pause.at_ms + 20, (
        "one frame of fade"
    )


async def test_a_ducked_reply_goes_on_quietly_and_loses_nothing() -> None:
    """Otherwise an "okay" of the user costs him a syllable, or a barge-in talks on at full level."""
    stage = story_stage((4700, Hypothesis("okay", is_final=False)), plan=plan_with(turns={"duck_db": 12}))
    await stage.play(speech=[ASKS, (4500, 4800)], script=hang_up_at(12_000))
    assert len(stage.client.all(messages.DuckPlayout)) == len(stage.client.all(messages.ResumePlayout)) == 1
    assert not [*stage.client.all(messages.PausePlayout), *stage.client.all(messages.CancelTts)]
    assert stage.client.positions(1) == list(range(stage.synthesizer.stream.delivered_samples)), "no sample lost or late"
    duck = next(r for r in stage.client.received if isinstance(r.message, messages.DuckPlayout))
    resume = next(r for r in stage.client.received if isinstance(r.message, messages.ResumePlayout))
    heard, sent = stage.client.heard(1), ramp(0, stage.synthesizer.stream.delivered_samples)
    is_quiet = (np.arange(len(sent)) >= duck.position) & (np.arange(len(sent)) < resume.position)
    assert np.array_equal(heard[~is_quiet], sent[~is_quiet])
    assert np.abs(heard[is_quiet] - sent[is_quiet] / 4).max() < 0.01 * 32768
    assert 200 < is_quiet.sum() / 16 < 500, "as long as the decision took"
    (turn,) = stage.client.all(messages.TurnCompleted)
    assert (turn.heard_text, turn.outcome) == (STORY, Outcome.COMPLETED)


async def test_nothing_of_a_cancelled_reply_leaves_but_its_completion() -> None:
    """Otherwise a client plays or shows a reply that the user has already cut off."""
    stage = Stage(
        recognizer=FakeRecognizer([*saying((2000, "tell me a story")), (4800, Hypothesis("wait stop", is_final=False))]),
        model=FakeLanguageModel([STORY, "Yes."], token_ms=130),
        synthesizer=FakeSynthesizer(FakeVoice(chunk_period_ms=90)),
    )
    await stage.play(speech=[ASKS, (4300, 5000)], script=hang_up_at(9000))
    kinds = kinds_of(stage)
    at = kinds.index(messages.CancelTts)
    late = [m for m in (r.message for r in stage.client.received[at + 1 :]) if getattr(m, "epoch", 0) == 1]
    assert [type(m) for m in late] == [messages.TurnCompleted]
    assert (stage.model.aborted, stage.synthesizer.aborted) == (1, 1), "both streams were cut in the middle"
    assert not stage.remains()


async def test_backchannel_resumes_at_the_exact_sample() -> None:
    """Otherwise an "okay" of the user costs him a syllable, or makes the assistant repeat one."""
    stage = story_stage((4700, Hypothesis("okay", is_final=False)))
    await stage.play(speech=[ASKS, (4500, 4800)], script=hang_up_at(12_000))
    assert len(stage.client.all(messages.PausePlayout)) == len(stage.client.all(messages.ResumePlayout)) == 1
    assert stage.client.all(messages.CancelTts) == []
    assert_is_ramp(stage.client.heard(1), pauses=1)
    assert stage.client.positions(1) == list(range(stage.synthesizer.stream.delivered_samples))
    (turn,) = stage.client.all(messages.TurnCompleted)
    assert (turn.heard_text, turn.outcome) == (STORY, Outcome.COMPLETED)
    assert len(stage.model.requests) == 1


async def test_cough_with_network_latency_loses_nothing() -> None:
    """Otherwise what was on the wire when the pause came is lost or played twice."""
    stage = story_stage()
    await stage.play(speech=[ASKS, (4500, 4620)], script=hang_up_at(14_000), habits=Habits(latency_ms=70))
    assert len(stage.client.all(messages.ResumePlayout)) == 1
    assert_is_ramp(stage.client.heard(1), pauses=1)
    assert stage.client.positions(1) == list(range(stage.synthesizer.stream.delivered_samples))
    assert stage.client.all(messages.TurnCompleted)[0].heard_text == STORY


async def test_pause_comes_within_100_ms_of_the_onset() -> None:
    """Otherwise the user has to shout against the assistant."""
    stage = story_stage((4700, Hypothesis("okay", is_final=False)))
    await stage.play(speech=[ASKS, (4500, 4800)], script=hang_up_at(12_000))
    latencies = stage.client.all(messages.TurnCompleted)[0].latencies
    assert latencies.onset_to_pause_ms is not None
    assert latencies.onset_to_pause_ms <= 100


async def test_going_on_before_the_reply_takes_the_turn_back() -> None:
    """Otherwise a pause for breath splits a sentence into two turns, and the model answers half a question."""
    model = FakeLanguageModel(["Never heard.", "Both at once."], first_token_ms=3000)
    script = [
        *saying((2000, "book a table")),
        (3700, Hypothesis("for two people", is_final=False)),
        (4400, Hypothesis("for two people", is_final=True)),
    ]
    stage = Stage(recognizer=FakeRecognizer(script), model=model)
    await stage.play(speech=[ASKS, (3000, 4000)], script=hang_up_at(12_000))
    assert [m for r in stage.model.requests[1:] for m in r.messages[1:]] == [Message("user", "book a table for two people")]
    retracted, turn = stage.client.all(messages.TurnCompleted)
    assert (retracted.outcome, retracted.heard_text) == (Outcome.RETRACTED, "")
    assert (turn.user_text, turn.heard_text) == ("book a table for two people", "Both at once.")
    assert stage.model.aborted == 1
    assert stage.client.all(messages.CancelTts) == [], "nothing of the first reply had left"
    assert not stage.remains()


async def test_onset_before_the_reply_holds_it_and_a_cough_releases_it() -> None:
    """Otherwise the assistant begins to speak into the user's words, or a cough swallows its answer."""
    stage = story_stage(replies=("It is noon.",))
    stage.model = FakeLanguageModel(["It is noon."], first_token_ms=400)
    await stage.play(speech=[ASKS, (2700, 2780)], script=hang_up_at(9000))
    (turn,) = stage.client.all(messages.TurnCompleted)
    assert (turn.heard_text, turn.outcome) == ("It is noon.", Outcome.COMPLETED)
    assert stage.client.all(messages.PausePlayout) == []


async def test_typed_text_without_a_microphone() -> None:
    """Otherwise a chat client that plays audio but has no microphone never gets an answer."""
    stage = Stage(model=FakeLanguageModel(["It is noon."]))
    script = [(500, lambda s: s.type_text("what time is it")), *hang_up_at(5000)]
    await stage.play(script=script, habits=Habits(has_microphone=False))
    (turn,) = stage.client.all(messages.TurnCompleted)
    assert (turn.user_text, turn.heard_text) == ("what time is it", "It is noon.")
    assert turn.latencies.endpointing_ms is None


async def test_typed_text_after_speech_has_no_endpointing_time() -> None:
    """Otherwise the time since the last spoken word, minutes perhaps, counts as a slow end of turn."""
    stage = story_stage(replies=("Hi.", "It is noon."))
    script = [(8000, lambda s: s.type_text("what time is it")), *hang_up_at(12_000)]
    await stage.play(speech=[ASKS], script=script)
    assert stage.client.all(messages.TurnCompleted)[1].latencies.endpointing_ms is None


async def test_typed_text_cuts_the_reply() -> None:
    """Otherwise a typed correction waits until a wrong answer has been read to its end."""
    stage = story_stage()
    script = [(4000, lambda s: s.type_text("stop, what time is it")), *hang_up_at(12_000)]
    await stage.play(speech=[ASKS], script=script)
    (cancel,) = stage.client.all(messages.CancelTts)
    assert cancel.reason is CancelReason.NEW_INPUT
    first, second = stage.client.all(messages.TurnCompleted)
    assert (first.outcome, second.user_text) == (Outcome.INTERRUPTED, "stop, what time is it")
    assert roles_of(stage)[1] == Message("assistant", first.heard_text)


async def test_stop_button() -> None:
    """Otherwise pressing stop does nothing, or loses what was heard."""
    stage = story_stage()
    await stage.play(speech=[ASKS], script=[(4000, lambda s: s.cancel_tts(Epoch(1))), *hang_up_at(9000)])
    (cancel,) = stage.client.all(messages.CancelTts)
    assert (cancel.epoch, cancel.reason) == (1, CancelReason.CLIENT)
    rendered = stage.client.positions(1)[-1]
    assert 0 <= rendered - cancel.last_valid_sample <= 2 * 320, "the server knows the ear to two blocks, and never hopes"
    (turn,) = stage.client.all(messages.TurnCompleted)
    assert turn.outcome is Outcome.INTERRUPTED
    assert turn.heard_text


async def test_a_stop_button_says_what_was_heard() -> None:
    """Otherwise the history has a word that the user's finger was faster than."""
    stage = story_stage()

    def press(session: Session) -> None:
        stage.client.player.cancel(Epoch(1))
        session.cancel_tts(Epoch(1), stage.client.player.position)

    await stage.play(speech=[ASKS], script=[(4000, press), *hang_up_at(9000)], habits=Habits(latency_ms=100))
    (cancel,) = stage.client.all(messages.CancelTts)
    assert cancel.last_valid_sample == stage.client.positions(1)[-1], "to the sample, although the line is slow"


async def test_stop_button_for_an_earlier_reply_is_ignored() -> None:
    """Otherwise a late press cuts the answer to the next question."""
    stage = story_stage()
    script = [(4000, lambda s: s.cancel_tts(Epoch(7))), *hang_up_at(10_000)]
    await stage.play(speech=[ASKS], script=script)
    assert stage.client.all(messages.TurnCompleted)[0].outcome is Outcome.COMPLETED


async def test_push_to_talk() -> None:
    """Otherwise a pause for thought ends the turn although the talk button is still pressed."""
    stage = story_stage(replies=("Hi.",))
    stage.plan = plan_with(turns={"push_to_talk": True})
    await stage.play(speech=[ASKS], script=[(5000, Session.finish_speech), *hang_up_at(9000)])
    moved = next(
        r for r in stage.client.received if isinstance(r.message, messages.StateChanged) and r.message.after is State.PROCESSING
    )
    assert moved.at_ms >= 5000
    assert stage.client.all(messages.TurnCompleted)[0].heard_text == "Hi."


async def test_second_turn_goes_on_where_the_first_ended() -> None:
    """Otherwise far-end positions are used twice, and the reference signal is that of another reply."""
    stage = story_stage(replies=("It is noon.", "Still noon."))
    await stage.play(speech=[ASKS], script=[(6000, lambda s: s.type_text("and now")), *hang_up_at(10_000)])
    both = stage.client.positions(1) + stage.client.positions(2)
    assert both == list(range(len(both)))
    assert len(stage.client.heard(2))
    assert roles_of(stage) == [Message("user", "tell me a story"), Message("assistant", "It is noon."), Message("user", "and now")]


async def test_a_client_that_never_reports_is_played_to_at_real_time() -> None:
    """Otherwise simple clients never leave PROCESSING, or the machine believes a reply is over that is still being heard."""
    stage = story_stage()
    await stage.play(speech=[ASKS], script=hang_up_at(10_000), habits=Habits(reports=False))
    assert moves_of(stage) == [State.LISTENING, State.PROCESSING, State.SPEAKING, State.IDLE, State.CLOSED]
    idle = next(r for r in stage.client.received if isinstance(r.message, messages.StateChanged) and r.message.after is State.IDLE)
    last = max(block.at_ms for block in stage.client.rendered if block.spans)
    assert idle.at_ms >= last
    assert len(stage.client.heard(1)) == stage.synthesizer.stream.delivered_samples


async def test_a_reply_that_ends_in_a_pause_pauses_no_other() -> None:
    """Otherwise the next reply to a client that never reports has no reference, and its echo is taken for the user."""
    model = FakeLanguageModel([["It is noon.\n", " "], ["And now it is one."]], token_ms=2600)  # slow to say that this was all
    stage = Stage(recognizer=FakeRecognizer(saying((2000, "what time is it"))), model=model)
    typed: Line = (9000, lambda session: session.type_text("and now?"))
    await stage.play(speech=[ASKS, (4900, 5060)], script=[typed, *hang_up_at(14_000)], habits=Habits(reports=False))
    kinds = kinds_of(stage)
    assert messages.PausePlayout in kinds
    assert not {messages.ResumePlayout, messages.CancelTts} & set(kinds)
    rendered = sum(len(stage.client.heard(epoch)) for epoch in (1, 2)) / FRAME_SAMPLES
    assert stage.cancellers[0].audible_frames == pytest.approx(rendered, abs=2)


@pytest.mark.parametrize("began_ms", [100, 9000])
async def test_what_was_heard_without_a_microphone_is_no_echo_of_later(began_ms: int) -> None:
    """Otherwise who types, or is muted, and then speaks, and never reports, has the reference of minutes ago for ever."""
    stage = Stage(model=FakeLanguageModel(["It is noon."]))

    def speak(at_ms: int) -> Line:
        return at_ms, lambda session: session.hear(np.zeros(320, np.int16), (at_ms - began_ms) * 16, None)

    typed: Line = (200, lambda session: session.type_text("what time is it?"))
    spoken = [speak(at_ms) for at_ms in sorted({began_ms, 9000})]
    script = sorted([typed, *spoken, *hang_up_at(10_000)], key=lambda line: line[0])
    await stage.play(script=script, habits=Habits(has_microphone=False, reports=False))
    assert stage.client.all(messages.TurnCompleted)[0].heard_text == "It is noon."
    assert stage.cancellers[0].audible_frames == 0


async def test_audio_is_sent_no_further_ahead_than_allowed() -> None:
    """Otherwise a barge-in has seconds of audio to throw away, and a client that obeys late speaks for seconds."""
    for reports in (True, False):
        stage = story_stage()
        await stage.play(speech=[ASKS], script=hang_up_at(10_000), habits=Habits(reports=reports))
        ahead = [
            r.message.first_sample + len(r.message.samples) - r.position
            for r in stage.client.received
            if isinstance(r.message, messages.AudioOutput)
        ]
        limit_ms = stage.plan.playout.playout_ahead_ms_max + stage.plan.playout.piece_ms
        assert max(ahead) <= (limit_ms + stage.client.habits.frame_ms) * 16
        assert max(ahead) >= stage.plan.playout.playout_ahead_ms_max * 16 // 2, "it is sent ahead at all"


# --- backends that fail ---


async def test_ears_that_die_are_opened_again_and_told_what_they_missed() -> None:
    """Otherwise every restart of the ASR server costs each user a sentence."""
    recognizer = FakeRecognizer(
        scripts=[[(1400, BackendError(Backend.ASR, "Gone."))], saying((2100, "tell me a story"))],
        open_errors={1: BackendError(Backend.ASR, "Not yet.")},
    )
    stage = Stage(recognizer=recognizer, model=FakeLanguageModel(["It is noon."]))
    await stage.play(speech=[ASKS], script=hang_up_at(8000))
    assert len(recognizer.requests) == 3
    first, second = recognizer.streams
    sent_ms = stage.client.now_ms() // 20 * 20
    assert first.received_ms == 1400
    assert second.received_ms == pytest.approx(8000, abs=60), sent_ms
    assert stage.client.all(messages.TurnCompleted)[0].user_text == "tell me a story"
    assert not stage.remains()


async def test_ears_that_stay_dead_end_the_session_and_say_why() -> None:
    """Otherwise a user talks to a deaf assistant for ever."""
    recognizer = FakeRecognizer(open_errors={k: BackendError(Backend.ASR, "The ASR server is away.") for k in range(99)})
    stage = Stage(plan_with(turns={"asr_reopen_attempts_max": 3}), recognizer=recognizer)
    ended = await stage.play(script=hang_up_at(60_000))
    assert (ended.reason, ended.message) == (EndReason.FAILURE, "The ASR server is away.")
    assert len(recognizer.requests) == 4
    assert not stage.remains()


async def test_model_that_fails_is_named_and_the_session_lives() -> None:
    """Otherwise one bad answer of a model ends a conversation, or leaves the user in silence."""
    error = BackendError(Backend.LLM, "The model is on fire.", remedy="Pour water.", retryable=False)
    stage = story_stage(replies=(error, "It is noon."))
    await stage.play(speech=[ASKS], script=[(7000, lambda s: s.type_text("again")), *hang_up_at(9000)])
    (failure,) = stage.client.all(messages.Failure)
    assert (failure.backend, failure.message, failure.remedy, failure.epoch) == ("llm", "The model is on fire.", "Pour water.", 1)
    assert [t.outcome for t in stage.client.all(messages.TurnCompleted)] == [Outcome.FAILED, Outcome.COMPLETED]
    apology = stage.client.all(messages.TurnCompleted)[0].heard_text
    assert apology == TurnSettings().apology_en
    assert roles_of(stage) == [Message("user", "tell me a story"), Message("assistant", apology), Message("user", "again")]


async def test_model_that_fails_for_a_moment_is_asked_again() -> None:
    """Otherwise one overloaded second of the model costs the user an answer."""
    busy = BackendError(Backend.LLM, "The model is busy.", retry_after_ms=700)
    stage = story_stage(replies=(busy, busy, "It is noon."))
    await stage.play(speech=[ASKS], script=hang_up_at(9000))
    assert not stage.client.all(messages.Failure)
    (turn,) = stage.client.all(messages.TurnCompleted)
    assert (turn.outcome, turn.heard_text) == (Outcome.COMPLETED, "It is noon.")
    first, *others = stage.model.requests
    assert others == [first, first]


async def test_voice_that_fails_for_a_moment_is_asked_again() -> None:
    """Otherwise a restart of the TTS server costs the user an answer."""
    synthesizer = FakeSynthesizer(errors={0: BackendError(Backend.TTS, "Hoarse.")})
    stage = story_stage(replies=("It is noon.",), synthesizer=synthesizer)
    await stage.play(speech=[ASKS], script=[(2700, lambda _: synthesizer.errors.clear()), *hang_up_at(9000)])
    assert not stage.client.all(messages.Failure)
    (turn,) = stage.client.all(messages.TurnCompleted)
    assert (turn.outcome, turn.heard_text) == (Outcome.COMPLETED, "It is noon.")


async def test_voice_that_fails_for_good_leaves_a_tone_and_the_text() -> None:
    """Otherwise the user waits in silence; or what nobody said goes into the history."""
    error = BackendError(Backend.TTS, "Mute.", retryable=False)
    stage = story_stage(synthesizer=FakeSynthesizer(errors={0: error}))
    await stage.play(speech=[ASKS], script=[(7000, lambda s: s.type_text("again")), *hang_up_at(9000)])
    turn, *_ = stage.client.all(messages.TurnCompleted)
    assert (turn.outcome, turn.heard_text, turn.assistant_text) == (Outcome.FAILED, "", STORY)
    tone = [message for message in stage.client.all(messages.AudioOutput) if message.epoch == 1]
    assert sum(len(message.samples) for message in tone) == len(earcon(stage.plan.output_format.rate_hz))
    assert roles_of(stage) == [Message("user", "tell me a story\nagain")], "nobody answered: both belong together"


async def test_voice_that_fails_in_mid_reply_leaves_what_was_heard_and_no_more() -> None:
    """Otherwise the model is told that it said things which no server ever spoke."""
    stage = story_stage(synthesizer=FakeSynthesizer(errors={1: BackendError(Backend.TTS, "Hoarse.")}))
    await stage.play(speech=[ASKS], script=[(6000, lambda s: s.type_text("again")), *hang_up_at(6100)])
    (failure,) = stage.client.all(messages.Failure)
    assert failure.backend == "tts"
    turn = stage.client.all(messages.TurnCompleted)[0]
    assert turn.outcome is Outcome.FAILED
    assert turn.heard_text == "Once upon a time there was a king."
    assert roles_of(stage)[1] == Message("assistant", "Once upon a time there was a king.")


async def test_silent_voice_is_a_failure() -> None:
    """Otherwise a TTS server that makes no sound leaves the user waiting for a reply that counts as given."""
    stage = story_stage(replies=("…",), synthesizer=FakeSynthesizer(FakeVoice(char_ms=0)))
    await stage.play(speech=[ASKS], script=hang_up_at(9000))
    assert [f.backend for f in stage.client.all(messages.Failure)] == ["llm", "tts"], "no words, and no voice for an apology"
    assert stage.client.all(messages.TurnCompleted)[0].outcome is Outcome.FAILED


# --- ends ---


async def test_client_that_hangs_up_in_every_state_leaves_nothing() -> None:
    """Otherwise every call leaks a task, a stream on a paid server, or a file."""
    for ms in (100, 1500, 2520, 3500, 6300):
        stage = story_stage()
        ended = await stage.play(speech=[ASKS, (6000, 7500)], script=hang_up_at(ms))
        assert ended.reason is EndReason.CLIENT
        assert stage.witness.closed == [("s-1", "client")]
        assert stage.journal.records[-1][0] == "end"
        assert not stage.remains()


async def test_shutdown_is_an_end_with_a_reason() -> None:
    """Otherwise a user hears a click in mid-sentence, and the operator reads "client"."""
    stage = story_stage()
    ended = await stage.play(speech=[ASKS], script=[(4000, Session.shut_down)])
    assert ended.reason is EndReason.SHUTDOWN
    assert stage.client.all(messages.CancelTts)[0].reason is CancelReason.SESSION_END
    assert stage.client.all(messages.TurnCompleted)[0].outcome is Outcome.INTERRUPTED
    assert not stage.remains()


async def test_idle_limit_ends_the_session() -> None:
    """Otherwise a forgotten client holds an ASR stream for ever."""
    stage = Stage(plan_with(turns={"idle_ms_max": 5000}))
    ended = await stage.play()
    assert ended.reason is EndReason.IDLE
    assert stage.witness.last_words == [ended.message]
    assert not stage.remains()


async def test_client_that_does_not_read_is_stopped() -> None:
    """Otherwise its messages fill the memory."""
    stage = story_stage()
    stage.plan = plan_with(session={"outbox_messages_max": 10})
    with pytest.raises(TooMuch, match="has not read 10 messages"):
        await stage.play(speech=[ASKS], habits=Habits(reads=False))
    assert stage.witness.closed == [("s-1", "client_error")]
    assert "has not read 10 messages" in stage.witness.last_words[0]
    assert not stage.remains()


async def test_client_that_leaves_messages_lying_is_stopped_early() -> None:
    """Otherwise model and voice work for minutes for somebody who reads nothing."""
    stage = story_stage()
    stage.plan = plan_with(session={"outbox_ms_max": 2000})
    with pytest.raises(TooMuch, match="has not read for 2000 ms"):
        await stage.play(speech=[ASKS], habits=Habits(reads=False))
    assert not stage.remains()


async def test_more_facts_than_the_inbox_holds_end_the_session() -> None:
    """Otherwise a flood of messages becomes a flood of memory."""

    def flood(session: Session) -> None:
        for _ in range(1001):
            session.finish_speech()

    stage = Stage()
    with pytest.raises(TooMuch, match="1000 facts"):
        await stage.play(script=[(100, flood)])
    assert not stage.remains()


async def test_audio_from_the_future_is_refused() -> None:
    """Otherwise a client makes the server work ten times as hard as a person can speak."""

    def flood(session: Session) -> None:
        for k in range(100, 400):
            session.hear(np.zeros(320, np.int16), k * 320, None)

    stage = Stage()
    with pytest.raises(TooMuch, match="ahead of real time"):
        await stage.play(script=[(100, flood)])
    assert not stage.remains()


async def test_audio_from_the_past_is_the_clients_mistake() -> None:
    """Otherwise a client that counts wrongly corrupts every time the session knows."""
    stage = Stage()
    with pytest.raises(InvalidMessage, match="steps back"):
        await stage.play(script=[(1000, lambda s: s.hear(np.zeros(320, np.int16), 0, None))])
    assert not stage.remains()


async def test_a_defect_ends_this_session_and_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a bug of ours leaks whatever the session held."""

    def broken(*_: object) -> None:
        raise LocalProtocolError("A bug.")

    stage = story_stage()
    monkeypatch.setattr("voicefsm.runtime.history.History.add_user", broken)
    with pytest.raises(LocalProtocolError):
        await stage.play(speech=[ASKS])
    assert stage.witness.closed == [("s-1", "failed")]
    assert stage.witness.last_words == ["A bug."]
    assert not stage.remains()


# --- lies ---


async def test_lies_about_playout_do_no_harm() -> None:
    """Otherwise a client with a broken counter makes the engine believe that everything was heard, or crash."""
    for lie in (10**15, 0):
        stage = story_stage()
        script = [(ms, lambda s, lie=lie: s.report_playout(lie)) for ms in range(2000, 6000, 37)]
        await stage.play(speech=[ASKS], script=[*script, *hang_up_at(14_000)])
        (turn,) = stage.client.all(messages.TurnCompleted)
        assert turn.outcome in Outcome
        assert not stage.remains()


async def test_progress_never_goes_back() -> None:
    """Otherwise the machine's picture of what was heard flickers with the network."""
    stage = story_stage()
    await stage.play(speech=[ASKS], script=hang_up_at(10_000), habits=Habits(latency_ms=90))
    progress = [step.fact.heard_ms for step in stage.witness.steps if isinstance(step.fact, PlayoutAdvanced)]
    assert progress == sorted(progress)
    assert sum(isinstance(step.fact, PlayoutStarted) for step in stage.witness.steps) == 1


# --- tools ---

WEATHER = Tool("weather", "", '{"type":"object","properties":{}}')
ASKS_FOR_WEATHER: Reply = ["Let me see. ", WantedCall("weather", "{}")]


def answer(stage: Stage, **result: str) -> Line:
    """Answer the last call at 4 s."""

    def do(session: Session) -> None:
        call = stage.client.all(messages.ToolCalled)[-1]
        session.answer_tool(call.epoch, call.call_id, **result)

    return (4000, do)


async def test_a_tool_is_part_of_a_turn() -> None:
    """Otherwise the model's call goes nowhere, or what comes of it does."""
    stage = story_stage(replies=(ASKS_FOR_WEATHER, "It is sunny."), plan=plan_with(tools=(WEATHER,)))
    await stage.play(speech=[ASKS], script=[answer(stage, output="sun"), *hang_up_at(9000)])
    (turn,) = stage.client.all(messages.TurnCompleted)
    assert turn.heard_text == "Let me see. It is sunny."
    assert [message.role for message in roles_of(stage)] == ["user", "assistant", "tool"]
    assert roles_of(stage)[-1].content == "sun"
    assert not stage.remains()


async def test_an_output_beyond_the_limit_has_failed() -> None:
    """Otherwise one tool fills the model's context, and every reply after it is refused."""
    plan = plan_with(tools=(WEATHER,), session={"tool_output_chars_max": 100})
    stage = story_stage(replies=(ASKS_FOR_WEATHER, "It is sunny."), plan=plan)
    await stage.play(speech=[ASKS], script=[answer(stage, output="x" * 101), *hang_up_at(9000)])
    assert roles_of(stage)[-1].content == "Error: The output has 101 characters; 100 are allowed."


async def test_a_barge_in_takes_the_tool_with_it() -> None:
    """Otherwise the model believes that it has said what nobody heard, or that a tool has failed which it was not waited for."""
    more = (Hypothesis("no", is_final=False, stability=1.0), Hypothesis("no stop that", is_final=True))
    stage = story_stage(
        (3400, more[0]), (3700, more[1]), replies=(ASKS_FOR_WEATHER, "All right."), plan=plan_with(tools=(WEATHER,))
    )
    await stage.play(speech=[ASKS, (2800, 3600)], script=[answer(stage, output="sun"), *hang_up_at(9000)])
    (ended,) = stage.client.all(messages.ToolCallCancelled)
    assert not ended.is_late
    asked = roles_of(stage)
    assert [message.role for message in asked] == ["user", "assistant", "tool", "assistant", "user"]
    assert "Let me see.".startswith(asked[1].content)
    assert asked[1].content != "Let me see."
    assert not stage.remains()


async def test_rounds_end_in_an_answer_without_tools() -> None:
    """Otherwise a model that asks and asks is never heard."""
    plan = plan_with(tools=(WEATHER,), turns={"tool_rounds_max": 1})
    stage = story_stage(replies=(ASKS_FOR_WEATHER, "It is sunny."), plan=plan)
    await stage.play(speech=[ASKS], script=[answer(stage, output="sun"), *hang_up_at(9000)])
    assert [request.may_call for request in stage.model.requests] == [True, False]
    assert all(request.tools == (WEATHER,) for request in stage.model.requests)
